// IdleExit: says so once nobody has been connected for some time (--exit_idle_time).
//
//   IdleExit idle(scheduler, crew, [&] { ... stop ... });
//   idle.After(absl::Minutes(5));
//   ... idle.End(); ... until idle.ended()
//
// Control thread only.
#ifndef PROXY_IDLE_EXIT_H_
#define PROXY_IDLE_EXIT_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>

#include "absl/time/time.h"
#include "poller/clock.h"
#include "poller/scheduler.h"
#include "proxy/crew.h"
#include "proxy/repeated.h"

namespace parkway {

class IdleExit {
 public:
  // Both outlive this. `idle` is called again and again from then on.
  IdleExit(Scheduler& scheduler, const Crew& crew, std::function<void()> idle)
      : scheduler_(scheduler),
        crew_(crew),
        idle_(std::move(idle)),
        look_("idle", [this] { Look(); }) {}

  // Infinite: never.
  void After(absl::Duration time) {
    time_ = time;
    if (time == absl::InfiniteDuration()) return;
    since_ = scheduler_.now();
    look_.Every(scheduler_, std::clamp(time / 4, absl::Milliseconds(1), absl::Seconds(1)));
  }
  void End() { look_.End(scheduler_); }
  bool ended() const { return look_.ended(); }

 private:
  void Look() {
    const uint64_t accepted = crew_.accepted();
    if (crew_.sessions() > 0 || accepted != accepted_) {
      accepted_ = accepted;
      since_ = scheduler_.now();
    } else if (scheduler_.now() >= since_ + time_) {
      idle_();
    }
  }

  Scheduler& scheduler_;
  const Crew& crew_;
  const std::function<void()> idle_;
  Repeated look_;
  absl::Duration time_ = absl::InfiniteDuration();
  MonotonicTime since_;    // nobody was seen connected since
  uint64_t accepted_ = 0;  // and so many had been until then
};

}  // namespace parkway

#endif  // PROXY_IDLE_EXIT_H_
