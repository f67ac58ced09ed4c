// Stage: whole proxies in one world, on one thread, turn by turn.
//
//   World world(seed, faults);
//   Cast cast(world);
//   Stage stage(world);
//   SimProxy& proxy = stage.AddProxy(plan, {.workers = 2});
//   stage.Run([&] { return cast.AllOver(); });
//   stage.StopAndCheck();                         // drains; complains about what is left
//
// A turn is given to a worker that has something to do, chosen by the seed; if none has, the time
// goes on to the next event. Each turn is watched: at most one reading of the clock.
#ifndef TESTS_SIM_STAGE_H_
#define TESTS_SIM_STAGE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proxy/core/close_cause.h"
#include "proxy/core/plan.h"
#include "proxy/drain.h"
#include "proxy/observe/log_ring.h"
#include "proxy/slot_use.h"
#include "proxy/upstream/generation.h"
#include "proxy/worker.h"
#include "tests/sim/world.h"

namespace parkway::sim {

struct ProxyOptions {
  uint32_t workers = 1;
  size_t chunk_cap_bytes = size_t{1} << 30;
  uint32_t max_stacks = 1024;
  uint32_t max_pipes = 32;
};

// One process.
class SimProxy {
 public:
  SimProxy(World& world, int process, const Plan& plan, const ProxyOptions& options);

  int process() const { return process_; }
  const Plan& plan() const { return *generation().plan; }
  const Generation& generation() const { return *shared_.generations.current(); }
  // Of all workers; false: one has not heard of the latest plan.
  bool all_caught_up() const;
  std::vector<std::unique_ptr<Worker>>& workers() { return workers_; }
  // What refers to a slot that was gone from generation `since` on; empty: nothing.
  std::string WhoRefersTo(const SlotRef& slot, uint64_t since) const;
  // Whether there are connections that are to get a server of this upstream.
  bool SomebodyWaitsFor(uint16_t upstream) const;
  // From now on nothing is counted of it, and its numbers will be cleared.
  void NoteVacated(const SlotRef& slot);
  // Of the connections that have ended.
  const std::vector<ClosedRecord>& records() const { return records_; }
  uint32_t sessions() const;
  bool accepting() const;
  uint64_t turns() const;
  uint64_t Sum(Counter WorkerStats::*counter) const;

 private:
  friend class Stage;
  bool Due(size_t worker) const;
  void TakeRecords();
  // What is left, when nothing should be; empty: nothing.
  std::string Leftovers() const;
  // Part of it: numbers that do not agree.
  std::string Miscounts() const;

  struct ServerSums {
    uint64_t attempts = 0;
    uint64_t connected = 0;
    uint64_t failed = 0;
    uint64_t to_servers = 0;
    uint64_t from_servers = 0;
    void Add(const ServerStats& server);
  };

  World& world_;
  const int process_;
  WorkerShared shared_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<Epoll*> epolls_;
  std::vector<ClosedRecord> records_;
  ServerSums vacated_;
  uint64_t vacated_received_ = 0;  // by listeners
  uint64_t vacated_sent_ = 0;
};

class Stage {
 public:
  explicit Stage(World& world) : world_(world) {}
  ~Stage();

  SimProxy& AddProxy(const Plan& plan, const ProxyOptions& options);
  // Until `done`, which is asked before each turn. False: nothing will ever happen again, or a
  // virtual day has passed.
  bool Run(const std::function<bool()>& done);
  bool RunFor(int64_t ns);
  // As the main thread of that process does it, by message.
  void StopAccepting(SimProxy& proxy);
  void AbortAll(SimProxy& proxy, CloseCause cause);
  void Drain(SimProxy& proxy, const DrainOrder& order);
  // From now on `proxy` goes by `plan`, which follows from its own: each worker hears of it within
  // 20 ms.
  void SetPlan(SimProxy& proxy, const Plan& plan);
  // What listens for one slot listens for another from now on.
  void Retarget(SimProxy& proxy, size_t from, size_t to);
  // Calls `call` in a turn of that worker.
  void PostToSlots(SimProxy& proxy, size_t worker, std::function<void(SlotUse&)> call);
  // Drains all proxies, ends them and looks for what they left behind.
  void StopAndCheck();

  std::vector<std::unique_ptr<SimProxy>>& proxies() { return proxies_; }
  // Turns in which nothing was found to do.
  uint64_t idle_turns() const { return idle_turns_; }
  uint64_t turns() const { return turns_; }

 private:
  void Turn(SimProxy& proxy, size_t worker);

  World& world_;
  std::vector<std::unique_ptr<SimProxy>> proxies_;
  uint64_t turns_ = 0;
  uint64_t idle_turns_ = 0;
};

}  // namespace parkway::sim

#endif  // TESTS_SIM_STAGE_H_
