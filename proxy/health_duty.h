// HealthDuty: a worker's part of the health checks, and what follows for everybody: the server's
// flag, a line in the log, the end of connections.
//
//   duty.Begin()             before the worker runs, and with each later generation
//   duty.Stop()              on its thread; done() once nothing of it waits any more
//
// Owner thread only, but for done() and first_round_done().
//
// Invariants
//   1. A drain that was begun by a change ends nobody if the state has changed again meanwhile, or
//      if the server counts as up because its checks have ended, or begun anew.
#ifndef PROXY_HEALTH_DUTY_H_
#define PROXY_HEALTH_DUTY_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "poller/scheduler.h"
#include "proxy/core/stats.h"
#include "proxy/drain.h"
#include "proxy/observe/log_ring.h"
#include "proxy/upstream/health.h"
#include "proxy/upstream/views.h"

namespace parkway {

class HealthDuty final : private HealthSink {
 public:
  // What it needs from the worker that it belongs to.
  class Host {
   public:
    virtual void Log(const LogRecord& record) = 0;
    // On all workers, soon.
    virtual void DrainEverywhere(const DrainOrder& order) = 0;

   protected:
    ~Host() = default;
  };

  HealthDuty(Host& host, Scheduler& scheduler, const Views& views, WorkerStats& stats, size_t index,
             size_t workers, uint64_t seed);
  ~HealthDuty();

  // Checks what the present view has to be checked.
  void Begin();
  void Stop();
  bool done() const { return done_.load(std::memory_order_acquire); }
  // Whether each of its servers has been asked. Any thread.
  bool first_round_done() const { return first_round_done_.load(std::memory_order_acquire); }

 private:
  void OnHealthOutcome(ServerRef ref, const ProbeResult& result, MonotonicTime now) override;
  void OnHealthChange(const HealthChange& change) override;
  void OnHealthState(ServerRef ref, bool up, MonotonicTime now) override;
  void OnHealthEnd(ServerRef ref, MonotonicTime now) override;
  MonotonicTime LastConnect(ServerRef ref) override;
  void OnFirstRoundEnded() override;
  void OnChecksEnded() override;

  // What a change has begun: the end of the server's connections, or of those of its backups.
  struct Drain {
    bool up = false;  // the change
    std::shared_ptr<DrainTally> tally;
  };
  using Followed = std::map<std::pair<uint16_t, uint16_t>, Drain>;  // by server

  void Log(const HealthChange& change);
  void Follow(const HealthChange& change);
  void Cancel(Followed::iterator drain);
  size_t CountUp(size_t upstream) const;
  const Roster& RosterOf(ServerRef ref) const { return views_.now().roster(ref.upstream); }

  Host& host_;
  const Views& views_;
  WorkerStats& stats_;
  HealthChecker checker_;
  Followed drains_;
  std::atomic<bool> done_{true};
  std::atomic<bool> first_round_done_{true};
  bool begun_ = false;
};

}  // namespace parkway

#endif  // PROXY_HEALTH_DUTY_H_
