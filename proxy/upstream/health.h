// Health: asks servers whether they are well, and says when that has changed.
//
//   HealthChecker checker(scheduler, index, workers, sink, seed);
//   checker.Set(ChecksOf(plan));         // and again for each later plan
//   ... checker.Stop(); ... until checker.idle()
//
// One check for one exchange: servers of several upstreams with the same address and the same
// question share it, and of all workers one makes it, always the same. Each server draws its own
// conclusions (rise, fall). A check is a task: it sleeps without a stack, and keeps one while it
// waits for an answer.
//
//   before the first check  the server counts as health_initial; the first outcome decides at once
//   up                      `fall` failures in a row bring it down
//   down                    `rise` successes in a row bring it up
//   in between              it is asked every fast_interval
//
// A later plan leaves a check alone that is in both, with what its servers have concluded, but that
// it is made sooner if a shorter interval, or a server that is new, asks for that; others begin or
// end.
//
// Owner thread only. ChecksOf: any.
//
// Invariants
//   1. The sink hears of a server when it begins to be checked, when its state has changed, and
//      once for each change.
//   2. At most kMostAtOnce probes of one worker are under way.
//   3. After Stop() no task of it waits longer than one turn.
#ifndef PROXY_UPSTREAM_HEALTH_H_
#define PROXY_UPSTREAM_HEALTH_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <random>
#include <string>
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

// One exchange and whom it concerns.
struct HealthCheck {
  std::string key;  // two with the same are one
  std::shared_ptr<const ProbePlan> probe;
  struct Member {
    ServerRef ref;
    std::shared_ptr<const HealthPlan> plan;
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
  // What the server counts as: when its checks begin here, and after each outcome.
  virtual void OnHealthState(ServerRef ref, bool up, MonotonicTime now) = 0;
  // It is not checked here any more.
  virtual void OnHealthEnd(ServerRef ref, MonotonicTime now) = 0;
  // When the last connection to the server was made; zero: never.
  virtual MonotonicTime LastConnect(ServerRef ref) = 0;
  // Every server has an outcome; once.
  virtual void OnFirstRoundEnded() {}
  // All tasks have ended: after Stop(), or because there is nothing to check.
  virtual void OnChecksEnded() = 0;

 protected:
  ~HealthSink() = default;
};

class HealthChecker {
 public:
  static constexpr size_t kMostAtOnce = 64;

  HealthChecker(Scheduler& scheduler, size_t index, size_t workers, HealthSink& sink,
                uint64_t seed);
  ~HealthChecker();
  HealthChecker(const HealthChecker&) = delete;
  HealthChecker& operator=(const HealthChecker&) = delete;

  // Of `checks` those that are this worker's.
  void Set(const std::vector<HealthCheck>& checks);
  void Stop();
  // Whether all tasks have ended.
  bool idle() const { return live_ == 0; }
  size_t checks() const { return checks_.size(); }
  bool stopped() const { return stopping_; }
  uint64_t probes() const { return probes_; }

 private:
  class Check;

  void Ended(Check& check);
  // `whole` give or take 10 %.
  int64_t Jittered(absl::Duration whole);

  Scheduler& scheduler_;
  const size_t index_;
  const size_t workers_;
  HealthSink& sink_;
  std::mt19937_64 random_;
  std::map<std::string, std::unique_ptr<Check>> checks_;
  std::list<std::unique_ptr<Check>> ending_;  // told to end, and not ended yet
  size_t under_way_ = 0;
  size_t without_outcome_ = 0;  // checks that have told nothing yet
  size_t live_ = 0;
  uint64_t probes_ = 0;
  bool stopping_ = false;
};

}  // namespace parkway

#endif  // PROXY_UPSTREAM_HEALTH_H_
