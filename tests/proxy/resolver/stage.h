// A scheduler that a test turns by hand until something holds.
#ifndef TESTS_PROXY_RESOLVER_STAGE_H_
#define TESTS_PROXY_RESOLVER_STAGE_H_

#include <functional>
#include <string>
#include <vector>

#include "poller/clock.h"
#include "poller/scheduler.h"
#include "poller/task.h"

namespace parkway {

class ResolverStage {
 public:
  ResolverStage() : clock_(*this) { scheduler_.Spawn(clock_); }
  ~ResolverStage() {
    ended_ = true;
    TurnUntil([this] { return clock_.done; });
  }

  Scheduler& scheduler() { return scheduler_; }

  // False: it did not come to hold within ten seconds.
  bool TurnUntil(const std::function<bool()>& holds) {
    const MonotonicTime deadline = ReadMonotonicClock().PlusNs(10'000'000'000);
    while (!holds()) {
      if (ReadMonotonicClock() > deadline) return false;
      scheduler_.Turn();
    }
    return true;
  }
  void TurnFor(absl::Duration time) {
    const MonotonicTime end = ReadMonotonicClock() + time;
    TurnUntil([end] { return ReadMonotonicClock() >= end; });
  }

 private:
  // Ends the scheduler's sleep every few milliseconds.
  struct Clock final : public Task {
    explicit Clock(ResolverStage& stage_in) : stage(stage_in) {}
    Next Run(Scheduler& scheduler, Wake) noexcept override {
      done = stage.ended_;
      if (done) return Next::Done();
      return Next::SleepUntil(timer, scheduler.now().PlusNs(3'000'000));
    }
    ResolverStage& stage;
    SleepTimer timer;
    bool done = false;
  };

  Scheduler scheduler_{{.max_stacks = 16}, nullptr};
  bool ended_ = false;
  Clock clock_;
};

}  // namespace parkway

#endif  // TESTS_PROXY_RESOLVER_STAGE_H_
