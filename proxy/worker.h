// Worker: one thread's share of the proxy: its scheduler, its listening sockets, its sessions.
//
// A connection's way through it, from top to bottom:
//   Acceptor::Accept   takes it from the queue, within the limits
//   OnAccepted         gives it to the least loaded worker (Spread)
//   Adopt              makes the session, whose first task runs the connector
//   Connect            Connector: a server is chosen and connected
//   Session            two relays until both ends have ended, or one has failed
//   Finished           counted, logged, freed
//
// Owner thread only, but for what is marked. Nothing here starts a thread: process.cc runs a
// worker by Run(), a simulation by turns of its scheduler.
#ifndef PROXY_WORKER_H_
#define PROXY_WORKER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "poller/pipe_pool.h"
#include "poller/pools.h"
#include "poller/scheduler.h"
#include "proxy/census.h"
#include "proxy/conn_walk.h"
#include "proxy/core/plan.h"
#include "proxy/core/stats.h"
#include "proxy/drain.h"
#include "proxy/health_duty.h"
#include "proxy/inbound/acceptor.h"
#include "proxy/inbound/connector.h"
#include "proxy/inbound/limits.h"
#include "proxy/inbound/listener_limits.h"
#include "proxy/inbound/reception.h"
#include "proxy/inbound/spread.h"
#include "proxy/observe/log_record.h"
#include "proxy/observe/log_ring.h"
#include "proxy/progress_log.h"
#include "proxy/session/session.h"
#include "proxy/session/session_pool.h"
#include "proxy/slot_use.h"
#include "proxy/upstream/generation.h"
#include "proxy/upstream/views.h"
#include "proxy/worker_log.h"

namespace parkway {

class Worker;

// What the workers of one process share. Outlives them.
struct WorkerShared {
  WorkerShared(std::shared_ptr<const Plan> plan, size_t workers)
      : generations(std::move(plan)),
        latest(generations.current()),
        limit(generations.current()->plan->max_connections),
        spread(workers),
        worker_count(workers),
        stats(workers) {}

  Generations generations;  // the control thread's, once the workers run
  LatestGeneration latest;
  ConnectionLimit limit;
  Spread spread;
  const size_t worker_count;
  std::vector<Worker*> workers;           // filled before any of them runs
  std::vector<const WorkerStats*> stats;  // theirs, by number
  // Who begins and watches the drains that a health check asks for; any worker's thread. Nobody:
  // the worker itself tells all of them.
  std::function<void(const DrainOrder&)> drain;
};

class Worker final : public SessionHost,
                     public Scheduler::Delegate,
                     public Acceptor::Sink,
                     public Reception::Witness,
                     public HealthDuty::Host,
                     private Views::Owner {
 public:
  struct Options {
    uint32_t index = 0;
    uint64_t seed = 1;
    uint32_t max_stacks = 1024;
    size_t chunk_cap_bytes = size_t{1} << 30;  // for directions that are blocked on a receiver
    uint32_t max_pipes = 32;                   // lent at once; 0: never splice
    bool tcp_of_some = false;                  // look at it as they end, though no log wants it
  };

  Worker(const Options& options, WorkerShared& shared);

  // 0 or -errno.
  int init_error() const { return scheduler_.init_error(); }

  // Before Run(), or on the worker's thread. Takes over `fd`, which listens. 0 or -errno, and then
  // the fd is closed.
  int AddListener(size_t listener, int fd, bool inherited);
  // Before Run().
  void StartChecks() {
    health_.Begin();
    progress_.Follow(log_.plan().progress);
  }
  // Until Stop().
  void Run();

  // --- Any thread ---

  void Stop() { scheduler_.Stop(); }
  // Stops accepting, resetting nobody; sessions go on.
  void PostStopAccepting();
  // From now on it goes by the latest generation; connections go on, and look at it where they look
  // at anything.
  void PostGeneration();
  // Takes over `fd`; `refused` hears why epoll did not, on the worker's thread.
  void PostAddListener(size_t listener, int fd, bool inherited,
                       std::function<void(int error)> refused);
  // Closes its socket, resetting nobody. `while_open`: kept until it is closed.
  void PostRemoveListener(size_t listener, std::shared_ptr<const void> while_open);
  // Sockets that accepted for one slot accept for another from now on: all at once, for two may
  // change places.
  void PostRetarget(std::vector<std::pair<size_t, size_t>> moves);
  // Whether this listener accepts; clients wait in the backlog meanwhile.
  void PostHold(size_t listener, bool hold);
  // Ends all sessions now.
  void PostAbortAll(CloseCause cause);
  // Checks and drains.
  void PostStopChecks();
  // Ends connections, evenly over a time.
  void PostDrain(const DrainOrder& order);
  // Whether neither a check nor a drain runs here, nor a look at who is connected.
  bool checks_done() const { return health_.done() && drains_.done() && progress_.done(); }
  // Whether each server that is checked here has been asked.
  bool first_checks_done() const { return health_.first_round_done(); }
  // Whether all listening sockets are closed.
  bool accepting() const { return open_acceptors_.load(std::memory_order_acquire) > 0; }
  uint32_t sessions() const { return shared_.spread.load(options_.index); }
  const WorkerStats& worker_stats() const { return stats_; }
  LogRing& log_ring() { return log_.ring(); }
  // Asks for fresh gauges in worker_stats().
  void PostRefreshGauges();
  // Asks for fresh gauges and totals; `done` is called on this worker's thread. See Census.
  // `posted`: now, as who asks has it.
  void PostCensus(MonotonicTime posted, bool slowest, Census::Done done);
  // Calls `call` on the worker's thread.
  void PostToWalks(std::function<void(ConnWalks&)> call);
  void PostToSlots(std::function<void(SlotUse&)> call);
  uint64_t turns() const { return scheduler_.turns(); }

  // --- Owner: what messages and the simulation call ---

  Scheduler& scheduler_ref() { return scheduler_; }
  void Adopt(size_t listener, int fd, const Address& peer, bool counted);
  Views& views() { return views_; }
  void StopAccepting();
  void RemoveListener(size_t listener, std::shared_ptr<const void> while_open);
  void Retarget(const std::vector<std::pair<size_t, size_t>>& moves);
  void Hold(size_t listener, bool hold);
  void AbortAll(CloseCause cause);
  void SlotFreed();
  void RefreshGauges();
  // Adds what the open sessions have moved to the totals, in one go.
  void Sweep();
  const SessionPool& sessions_pool() const { return sessions_; }
  const ChunkPool& chunk_pool() const { return chunks_; }
  const PipePool& pipe_pool() const { return pipes_; }

 private:
  Progress Connect(Session& session, Wake wake) override;
  void LeaveQueue(Session& session) override;
  void Finished(Session& session, const SessionEnd& end) override;
  void CountMoved(Session& session) override;
  Keepalive ServerKeepalive(const Session& session) const override;
  void OnHangup(PollDesc& desc) override;
  void OnTimer(TimerWheel::Node& node) override;
  void OnTrim() override { chunks_.Trim(); }
  void OnBusyTurn(int64_t ns) override { stats_.turns.Add(scheduler_.now(), ns); }
  void OnAccepted(size_t listener, int fd, const Address& peer, bool counted) override;
  void OnAcceptorClosed(Acceptor& acceptor) override;
  void OnAcceptTrouble(size_t listener, int error) override;
  void OnRefused(size_t listener, int fd, const Address& peer) override;
  void WouldRefuse(const Session& session, CloseCause cause) override {
    log_.WouldBeRefused(session, cause);
  }

  void OnNewView(const Generation& before) override;
  void DrainEverywhere(const DrainOrder& order) override;
  void Log(const LogRecord& record) override { log_.Write(record); }

  void OutOfMemory(size_t listener, int fd, const Address& peer, bool counted);
  void Refuse(size_t listener, int fd, const Address& peer, CloseCause cause);
  void TakeWishes();
  void ReleaseSlot(size_t listener, bool counted);
  void SetLimits(const Generation& before);
  void CountAnew(size_t listener);
  void WakeWaitingListeners();

  const Options options_;
  WorkerShared& shared_;
  WorkerStats stats_;
  Scheduler scheduler_;
  ChunkPool chunks_;
  PipePool pipes_;
  const std::unique_ptr<char[]> buffer_;
  SessionPool sessions_;
  Views views_;
  std::mt19937_64 random_;
  Reception reception_;
  Drains drains_;
  ProgressLog progress_;
  Connector connector_;
  std::vector<std::unique_ptr<Acceptor>> acceptors_;
  std::atomic<uint32_t> open_acceptors_{0};
  WorkerLog log_;
  HealthDuty health_;
  Census census_;
  ConnWalks walks_;
  uint64_t last_session_ = 0;
  SlotUse slots_;
};

}  // namespace parkway

#endif  // PROXY_WORKER_H_
