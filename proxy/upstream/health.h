// Health: asks servers whether they are well, and says when that has changed.
//
//   HealthChecker checker(scheduler, ChecksOf(plan), index, workers, sink, seed);
//   checker.Start();
//   ... checker.Stop(); ... until checker.idle()
//
// One check for one exchange: servers of several upstreams with the same address and the same
// question share it, and of all workers one makes it. Each server draws its own conclusions (rise,
// fall). A check is a task: it sleeps without a stack, and keeps one while it waits for an answer.
//
//   before the first check  the server counts as health_initial; the first outcome decides at once
//   up                      `fall` failures in a row bring it down
//   down                    `rise` successes in a row bring it up
//   in between              it is asked every fast_interval
//
// Owner thread only. ChecksOf: any.
//
// Invariants
//   1. The sink hears of a server only when its state has changed, and once for each change.
//   2. At most kMostAtOnce probes of one worker are under way.
//   3. After Stop() no task of it waits longer than one turn.
#ifndef PROXY_UPSTREAM_HEALTH_H_
#define PROXY_UPSTREAM_HEALTH_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "poller/clock.h"
#include "poller/poll_desc.h"
#include "poller/scheduler.h"
#include "poller/task.h"
#include "proxy/core/health_plan.h"
#include "proxy/core/plan.h"
#include "proxy/upstream/probe.h"

namespace parkway {

// What one server concludes from a row of outcomes.
class HealthTally {
 public:
  explicit HealthTally(bool up) : up_(up) {}

  // True: the state has changed.
  bool Count(bool ok, const HealthPlan& plan);
  bool up() const { return up_; }
  // Nothing is known yet, or the last outcome spoke against the state.
  bool changing() const { return !known_ || against_ > 0; }
  // Outcomes in a row that brought the last change.
  uint32_t needed() const { return needed_; }

 private:
  bool up_;
  bool known_ = false;
  uint32_t against_ = 0;  // outcomes in a row that speak against the state
  uint32_t needed_ = 0;
};

struct ServerRef {
  uint16_t upstream = 0;
  uint16_t server = 0;
};

// One exchange and whom it concerns. Points into the plan.
struct HealthCheck {
  const ProbePlan* probe = nullptr;
  struct Member {
    ServerRef ref;
    const HealthPlan* plan = nullptr;
  };
  std::vector<Member> members;
};

// All checks of `plan`, each once, in the order of their first server.
std::vector<HealthCheck> ChecksOf(const Plan& plan);

struct HealthChange {
  ServerRef ref;
  bool up = false;
  const HealthPlan* plan = nullptr;
  const ProbeResult* result = nullptr;
  uint32_t outcomes = 0;  // in a row, that brought it
  MonotonicTime now;
  MonotonicTime since;  // the state that ends now began; zero: it was only assumed
};

class HealthSink {
 public:
  // Every outcome that says something, before what follows from it.
  virtual void OnHealthOutcome(ServerRef ref, const ProbeResult& result, MonotonicTime now) = 0;
  virtual void OnHealthChange(const HealthChange& change) = 0;
  // When the last connection to the server was made; zero: never.
  virtual MonotonicTime LastConnect(ServerRef ref) = 0;
  // Every server has an outcome; once.
  virtual void OnFirstRoundEnded() {}
  // After Stop(): all tasks have ended.
  virtual void OnChecksEnded() = 0;

 protected:
  ~HealthSink() = default;
};

class HealthChecker {
 public:
  static constexpr size_t kMostAtOnce = 64;

  // Makes every `workers`-th check, beginning with the `index`-th.
  HealthChecker(Scheduler& scheduler, const std::vector<HealthCheck>& checks, size_t index,
                size_t workers, HealthSink& sink, uint64_t seed);
  ~HealthChecker();
  HealthChecker(const HealthChecker&) = delete;
  HealthChecker& operator=(const HealthChecker&) = delete;

  void Start();
  void Stop();
  // Whether all tasks have ended.
  bool idle() const { return live_ == 0; }
  size_t checks() const { return checks_.size(); }
  uint64_t probes() const { return probes_; }

 private:
  class Check;

  bool stopping() const { return stopping_; }
  // `whole` give or take 10 %.
  int64_t Jittered(absl::Duration whole);

  Scheduler& scheduler_;
  HealthSink& sink_;
  std::mt19937_64 random_;
  std::vector<std::unique_ptr<Check>> checks_;
  size_t under_way_ = 0;
  size_t without_outcome_ = 0;  // checks that have told nothing yet
  size_t live_ = 0;
  uint64_t probes_ = 0;
  bool stopping_ = false;
};

}  // namespace parkway

#endif  // PROXY_UPSTREAM_HEALTH_H_
