// Collector: makes Readings of what the workers count.
//
//   Collector collector(control_scheduler, source);
//   collector.Collect({.slowest = true}, [](const std::shared_ptr<const Readings>& readings) { ...
//   });
//
// It asks every worker for fresh totals and waits for their answers as a task, for at most
// kPatience; then it adds up what the workers have, whether they answered or not: of one that is
// stuck the last numbers are read, and WorkerReading::answered says so. Questions that come
// meanwhile are answered together by the next round, so that many askers cost what one costs.
//
// Control thread only.
//
// Invariants
//   1. Each Collect calls back once, on the control thread, unless the collector ends before.
//   2. One round at a time.
#ifndef PROXY_OBSERVE_COLLECT_H_
#define PROXY_OBSERVE_COLLECT_H_

#include <time.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "poller/clock.h"
#include "poller/scheduler.h"
#include "poller/task.h"
#include "proxy/core/plan.h"
#include "proxy/core/stats.h"
#include "proxy/observe/readings.h"
#include "proxy/observe/slow_sample.h"
#include "proxy/upstream/generation.h"

namespace parkway {

// Where the numbers come from: the process fills it.
struct CollectSource {
  struct OfWorker {
    const WorkerStats* stats = nullptr;
    std::function<uint32_t()> connections;
    std::function<uint64_t()> turns;
    // Asks the worker; `done` may be called on any thread, or never.
    std::function<void(MonotonicTime posted, bool slowest,
                       std::function<void(std::vector<SlowSample>)> done)>
        ask;
    clockid_t cpu_clock = CLOCK_THREAD_CPUTIME_ID;  // of its thread
    bool has_cpu_clock = false;
  };

  std::vector<OfWorker> workers;
  std::function<std::shared_ptr<const Generation>()> generation;
  // Fills in what the process alone knows: generation, reload, drain, limits, names, which
  // listeners are paused. Everything else is in its place when it is called.
  std::function<void(Readings&)> add;
};

class Collector {
 public:
  struct Wanted {
    bool slowest = false;
  };
  using Done = std::function<void(const std::shared_ptr<const Readings>&)>;

  static constexpr int64_t kPatienceNs = 100'000'000;

  Collector(Scheduler& control, CollectSource source);
  ~Collector();
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;

  void Collect(const Wanted& wanted, Done done);
  // Whether a round is under way: a task of the control scheduler waits then.
  bool busy() const { return round_ != nullptr; }
  // Ends a round under way soon, with what is there.
  void Hurry();

 private:
  class Round;
  struct Question {
    Wanted wanted;
    Done done;
  };
  // What a thread's processor time was.
  struct CpuMark {
    int64_t at_ns;
    int64_t cpu_ns;
  };

  void Begin();
  // Of the round, which is over; this deletes it.
  void Finish();
  std::shared_ptr<const Readings> Assemble(const Round& round);
  WorkerReading ReadWorker(size_t index, bool answered);
  // The part of the last seconds that the worker's thread ran.
  double BusyRatio(size_t index);
  SlowReading Describe(const Plan& plan, const SlowSample& sample) const;

  Scheduler& control_;
  const CollectSource source_;
  std::vector<Question> waiting_;   // for the next round
  std::vector<Question> answered_;  // by the present one
  std::shared_ptr<Round> round_;
  std::vector<std::deque<CpuMark>> cpu_marks_;
  // For each worker: since when it owes an answer; 0: it does not. Kept alive by answers under way.
  const std::shared_ptr<std::vector<int64_t>> silent_since_;
  const absl::Time started_;
  const int64_t started_ns_;
};

// Of the process as the system has it: descriptors, memory, processor time.
void ReadSystem(ProcessReading& to);

}  // namespace parkway

#endif  // PROXY_OBSERVE_COLLECT_H_
