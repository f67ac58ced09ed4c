#include "proxy/ending.h"

#include "absl/strings/str_cat.h"
#include "proxy/core/close_cause.h"

namespace parkway {

namespace {

// How often it looks whether a drain is done.
constexpr absl::Duration kLook = absl::Milliseconds(20);
// How long connections that are told to end may take for it, since the last of them that has.
constexpr absl::Duration kAbortPatience = absl::Seconds(5);

}  // namespace

Outcome Ending::Ask(Control::StopHow how, const std::string& why) {
  if (asked_ || how == Control::StopHow::kNow) {
    at_once_ = asked_ ? how != Control::StopHow::kWait : true;
  }
  if (!asked_) {
    asked_ = true;
    const absl::Duration time = host_.drain_timeout();
    patient_ = how == Control::StopHow::kWait || time == absl::ZeroDuration();
    const std::string rest =
        at_once_   ? " connections end now"
        : patient_ ? " connections may finish"
                   : absl::StrCat(" connections may finish within ", absl::FormatDuration(time));
    host_.say(absl::StrCat(why, ": no longer accepting, ", crew_.sessions(), rest));
  }
  host_.wake();
  return Outcome::Done(at_once_ ? "stopping now" : "stopping");
}

absl::Duration Ending::left() const {
  if (patient_) return absl::InfiniteDuration();
  return absl::Nanoseconds(deadline_.ns() - scheduler_.now().ns());
}

void Ending::Run() {
  for (const auto& worker : crew_.workers()) worker->PostStopAccepting();
  const absl::Duration time = host_.drain_timeout();
  deadline_ = scheduler_.now() + time;
  if (patient_) {
    drains_.Watch(DrainDesk::kStop, crew_.sessions(), [this] { return crew_.sessions(); });
  } else if (!at_once_) {
    DrainOrder order;
    order.over = time;
    drains_.Begin(DrainDesk::kStop, order);
  }
  host_.begun();
  Wait();
  // Sockets that are closing may still let somebody in whose handshake was done. Nobody cuts their
  // grace short: who stands in the queue of a closed one is reset by the kernel, and nobody says
  // so.
  MonotonicTime patience = scheduler_.now() + kAbortPatience;
  for (uint32_t left = crew_.sessions(); crew_.accepting() || crew_.sessions() > 0;) {
    if (const uint32_t now = crew_.sessions(); now < left) {
      left = now;
      patience = scheduler_.now() + kAbortPatience;
    }
    if (scheduler_.now() >= patience) return;
    for (const auto& worker : crew_.workers()) worker->PostAbortAll(CloseCause::kDrain);
    static_cast<void>(scheduler_.SleepUntil(scheduler_.now() + kLook));
  }
}

// Until all have gone by themselves, the time is over, or somebody is impatient.
void Ending::Wait() {
  while (crew_.accepting() || crew_.sessions() > 0) {
    if (at_once_) {
      host_.say(absl::StrCat("second signal: ", crew_.sessions(), " connections end now"));
      return;
    }
    if (!patient_ && scheduler_.now() >= deadline_) {
      host_.say(absl::StrCat("drain_timeout: ", crew_.sessions(), " connections end now"));
      return;
    }
    static_cast<void>(scheduler_.SleepUntil(scheduler_.now() + kLook));
  }
}

}  // namespace parkway
