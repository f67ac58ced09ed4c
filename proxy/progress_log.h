// ProgressLog: a worker's part of --log_progress: a line about each connection that is open, again
// and again.
//
//   progress.Follow(interval)    with each later plan; zero: none
//   progress.Stop()              done() soon
//
// Sessions are looked through in slices with pauses between them, as a background task, so that the
// ring of the log has room for them. There is no task until there was an interval.
//
// Owner thread only, but for done().
//
// Invariants
//   1. Between two polls at most kSlice sessions are visited, but for the rest of one slab.
#ifndef PROXY_PROGRESS_LOG_H_
#define PROXY_PROGRESS_LOG_H_

#include <atomic>
#include <cstddef>
#include <functional>
#include <utility>

#include "absl/time/time.h"
#include "poller/clock.h"
#include "poller/scheduler.h"
#include "poller/task.h"
#include "proxy/session/session.h"
#include "proxy/session/session_pool.h"

namespace parkway {

class ProgressLog final : public Task {
 public:
  static constexpr size_t kSlice = 256;

  // `tell` is called for each session that has been open for an interval at least.
  ProgressLog(Scheduler& scheduler, SessionPool& sessions, std::function<void(Session&)> tell)
      : scheduler_(scheduler), sessions_(sessions), tell_(std::move(tell)) {
    set_background(true);
  }

  void Follow(absl::Duration interval);
  void Stop();
  // Any thread.
  bool done() const { return !live_.load(std::memory_order_acquire); }

  Next Run(Scheduler& scheduler, Wake wake) noexcept override;
  const char* name() const override { return "progress log"; }

 private:
  Scheduler& scheduler_;
  SessionPool& sessions_;
  const std::function<void(Session&)> tell_;
  absl::Duration interval_;
  MonotonicTime round_;  // when the one under way has begun, or the next does
  size_t slab_ = 0;
  SleepTimer timer_;
  std::atomic<bool> live_{false};
  bool stopped_ = false;
};

}  // namespace parkway

#endif  // PROXY_PROGRESS_LOG_H_
