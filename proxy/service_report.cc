#include "proxy/service_report.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace parkway {

namespace {

constexpr absl::Duration kLookPeriod = absl::Seconds(1);
// However impatient the watchdog is.
constexpr absl::Duration kLeastLookPeriod = absl::Milliseconds(10);
// While whoever started us waits.
constexpr absl::Duration kStartLookPeriod = absl::Milliseconds(20);
// A server that never answers must not keep the service from starting. Less than TimeoutStartSec=.
constexpr absl::Duration kFirstRoundPatience = absl::Seconds(10);
// Beats in the time of one watchdog: some may be late.
constexpr int kBeatsPerWatchdog = 4;
// More time is asked for so often, and so much.
constexpr absl::Duration kExtensionPeriod = absl::Seconds(5);
constexpr absl::Duration kExtension = absl::Seconds(20);
constexpr size_t kMostDrains = 3;

std::string Counted(uint32_t number, const char* what) {
  return absl::StrCat(number, " ", what, number == 1 ? "" : "s");
}

// Some of them by name, the others by their number.
void AppendDrains(const std::vector<DrainProgress>& drains, std::string* status) {
  for (size_t i = 0; i < drains.size(); ++i) {
    if (i == kMostDrains) {
      absl::StrAppend(status, "; and ", Counted(drains.size() - i, "more drain"));
      return;
    }
    const DrainProgress& drain = drains[i];
    absl::StrAppend(status, "; draining ", drain.what, ": ", drain.left, " of ", drain.total,
                    " left");
  }
}

}  // namespace

ServiceReport::ServiceReport(Systemd& systemd, ServiceSources sources)
    : systemd_(systemd),
      sources_(std::move(sources)),
      tick_("service report", [this] { Tick(); }) {}

void ServiceReport::Announce(Control& control) {
  if (!systemd_.present()) return;
  control.reload = [this, reload = std::move(control.reload)](const Control::Reload& how,
                                                              const OnOutcome& done) {
    if (how.dry_run) return reload(how, done);
    if (reloads_++ == 0 && ready_ && !stopping_) systemd_.Reloading();
    reload(how, [this, done](const Outcome& outcome) {
      // Before whoever asked hears of it: `systemctl reload` then leaves a service that is ready.
      if (--reloads_ == 0 && ready_ && !stopping_) {
        systemd_.Ready(StatusOf(sources_.look(), sources_.reload_state()));
      }
      done(outcome);
    });
  };
}

void ServiceReport::Start(Scheduler& scheduler) {
  if (!systemd_.present()) return;
  scheduler_ = &scheduler;
  started_ = next_beat_ = scheduler.now();
  tick_.Every(scheduler, kStartLookPeriod);
}

void ServiceReport::End(Scheduler& scheduler) {
  tick_.End(scheduler);
  scheduler_ = nullptr;
}

void ServiceReport::Tick() {
  BeatIfDue();
  Look();
}

void ServiceReport::BeatIfDue() {
  if (systemd_.watchdog() == absl::InfiniteDuration() || scheduler_->now() < next_beat_) return;
  const std::vector<uint64_t> turns = sources_.turns();
  const bool all = std::equal(turns.begin(), turns.end(), turns_.begin(), turns_.end(),
                              [](uint64_t now, uint64_t before) { return now > before; });
  // A worker that is late keeps its mark: the beat comes when it has passed it. At the first look
  // nobody has a mark yet.
  if (!all && !turns_.empty()) return;
  systemd_.Beat();
  turns_ = turns;
  sources_.nudge();
  next_beat_ = scheduler_->now() + systemd_.watchdog() / kBeatsPerWatchdog;
}

void ServiceReport::GetReady(const ServiceView& view) {
  if (!view.first_round_done && scheduler_->now() < started_ + kFirstRoundPatience) return;
  ready_ = true;
  systemd_.Ready(StatusOf(view, sources_.reload_state()));
  tick_.Every(*scheduler_, std::clamp(systemd_.watchdog() / (2 * kBeatsPerWatchdog),
                                      kLeastLookPeriod, kLookPeriod));
}

void ServiceReport::Look() {
  if (scheduler_ == nullptr) return;
  const ServiceView view = sources_.look();
  if (view.stopping) {
    const std::string status = StatusOf(view, sources_.reload_state());
    if (!std::exchange(stopping_, true)) {
      systemd_.Stopping(status);
    } else {
      systemd_.Status(status);
    }
    if (view.stop_left > absl::ZeroDuration() &&
        scheduler_->now() >= last_extension_ + kExtensionPeriod) {
      last_extension_ = scheduler_->now();
      systemd_.Extend(kExtension);
    }
  } else if (!ready_) {
    GetReady(view);
  } else {
    systemd_.Status(StatusOf(view, sources_.reload_state()));
  }
}

std::string ServiceReport::StatusOf(const ServiceView& view, const ReloadState& reload) {
  if (view.stopping) {
    std::string status =
        absl::StrCat("Stopping: ", Counted(view.connections, "connection"), " left");
    if (view.stop_left > absl::ZeroDuration() && view.stop_left < absl::InfiniteDuration()) {
      absl::StrAppend(&status, ", at most ",
                      absl::FormatDuration(absl::Ceil(view.stop_left, absl::Seconds(1))), " more");
    }
    AppendDrains(view.drains, &status);
    return status;
  }
  std::string status =
      absl::StrCat(Counted(view.connections, "connection"), ", ", view.servers_up, " of ",
                   Counted(view.servers, "server"), " up, generation ", reload.generation);
  AppendDrains(view.drains, &status);
  if (!reload.last_ok) absl::StrAppend(&status, "; last reload refused: ", reload.last_text);
  return status;
}

}  // namespace parkway
