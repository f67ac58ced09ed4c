// Repeated: does something again and again on the engine of the control thread, without a stack.
//
//   Repeated beat("numbers", [this] { WriteNumbers(); });
//   beat.Every(scheduler, absl::Seconds(10));
//   ... beat.End(scheduler); ... until beat.ended()
//
// What it does must not wait. Owner thread only.
#ifndef PROXY_REPEATED_H_
#define PROXY_REPEATED_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>

#include "absl/time/time.h"
#include "poller/scheduler.h"
#include "poller/task.h"

namespace parkway {

class Repeated final : public Task {
 public:
  // `name` lives for ever.
  Repeated(const char* name, std::function<void()> what) : name_(name), what_(std::move(what)) {}

  // For the first time after `period`, and from now on in its steps. A later call changes that;
  // InfiniteDuration: not until another call.
  void Every(Scheduler& scheduler, absl::Duration period) {
    period_ = period;
    if (state_ == State::kNew) {
      state_ = State::kLive;
      scheduler.Spawn(*this);
    } else {
      scheduler.Kick(*this);
    }
  }
  // Once, after `delay`.
  void Once(Scheduler& scheduler, absl::Duration delay) {
    once_ = true;
    Every(scheduler, delay);
  }
  // For good.
  void End(Scheduler& scheduler) {
    if (state_ != State::kLive) return;
    state_ = State::kEnding;
    scheduler.Kick(*this);
  }
  bool ended() const { return state_ == State::kNew || state_ == State::kEnded; }

  Next Run(Scheduler& scheduler, Wake wake) noexcept override {
    if (state_ == State::kLive && wake == Wake::kTimer && period_ != absl::InfiniteDuration()) {
      if (once_) period_ = absl::InfiniteDuration();
      once_ = false;
      what_();
    }
    if (state_ == State::kEnding) {
      state_ = State::kEnded;
      return Next::Done();
    }
    return Next::SleepUntil(timer_, scheduler.now() + std::min(period_, kLong));
  }
  const char* name() const override { return name_; }

 private:
  enum class State : uint8_t { kNew, kLive, kEnding, kEnded };
  static constexpr absl::Duration kLong = absl::Hours(24);

  const char* const name_;
  const std::function<void()> what_;
  absl::Duration period_ = absl::InfiniteDuration();
  bool once_ = false;
  State state_ = State::kNew;
  SleepTimer timer_;
};

}  // namespace parkway

#endif  // PROXY_REPEATED_H_
