// What the engine itself costs: one park, one activation, one deadline, one timer, one descriptor,
// and whether any of it grows with the number of descriptors that are open.
//
// A process may hold a few ten thousand sockets; the engine is asked about a million. So this
// program is linked with script_kernel, whose epoll hands out events from a prepared list: all of
// the engine's path is real (Netpoll::Poll, the words, the queues, the stacks, the wheel), and no
// system call is counted in. bare_memory.h is the baseline.
//
// Per-operation figures come from turns of 256 events, a full batch.
#include <sys/epoll.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"
#include "poller/clock.h"
#include "poller/netpoll.h"
#include "poller/poll_cache.h"
#include "poller/poll_desc.h"
#include "poller/scheduler.h"
#include "poller/task.h"
#include "poller/timer_wheel.h"
#include "tests/bench/bare_memory.h"
#include "tests/bench/script_kernel.h"

namespace parkway {
namespace {

using bench::BareMemory;
using bench::kBatch;
using bench::RandomOrder;
using bench::ScriptKernel;

static_assert(kBatch == Scheduler::kActivationsPerTurn, "one turn handles one full batch");

constexpr int64_t kHourNs = 3'600'000'000'000;

// Waits with its stack, again and again.
class ParkingTask final : public Task {
 public:
  Next Run(Scheduler& scheduler, Wake) noexcept override {
    while (static_cast<void>(desc->Reset(Direction::kRead)),
           scheduler.Wait(*desc, Direction::kRead) == WaitResult::kReady) {
      ++rounds;
    }
    return Next::Done();
  }

  PollDesc* desc = nullptr;
  uint64_t rounds = 0;
};

// Waits without one, as a session's relay does: drop the readiness, (here the relay would read,)
// move the idle deadline, wait again.
class alignas(64) ReturningTask final : public Task {
 public:
  Next Run(Scheduler& scheduler, Wake wake) noexcept override {
    if (wake == Wake::kClosing) return Next::Done();
    static_cast<void>(desc->Reset(Direction::kRead));
    ++rounds;
    if (deadline_ns != 0) {
      desc->PushLater(Direction::kRead, scheduler.now().PlusNs(deadline_ns));
    }
    return Next::AwaitReadable(*desc);
  }

  PollDesc* desc = nullptr;
  uint64_t rounds = 0;
  int64_t deadline_ns = 0;
};
static_assert(sizeof(ReturningTask) == 64, "the bare-memory baseline has one line per task");

epoll_event Readable(const PollDesc& desc) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = static_cast<uint64_t>(desc.fdseq()) << 32 | desc.index();
  return event;
}

// A worker with N open descriptors and a task on each.
template <typename T>
class World {
 public:
  explicit World(size_t count)
      : scheduler_(std::make_unique<Scheduler>(
            Scheduler::Options{.max_stacks = static_cast<uint32_t>(std::max<size_t>(count, 4))},
            nullptr)),
        tasks_(count) {
    ScriptKernel::Get().SetScript({});
    for (T& task : tasks_) {
      task.desc = scheduler_->netpoll().Allocate(1, nullptr);
      scheduler_->Spawn(task);
    }
    TurnAll();
  }

  ~World() {
    ScriptKernel::Get().SetScript({});
    for (T& task : tasks_) scheduler_->Evict(*task.desc);
    TurnAll();
    for (T& task : tasks_) scheduler_->Close(*task.desc);
  }

  Scheduler& scheduler() { return *scheduler_; }
  std::vector<T>& tasks() { return tasks_; }

  // Every task waits with a deadline, an hour away, and moves it at each activation.
  void SetDeadlines() {
    for (T& task : tasks_) {
      scheduler_->SetDeadline(*task.desc, Directions::kRead, scheduler_->now().PlusNs(kHourNs));
      task.deadline_ns = kHourNs;
    }
  }

  // From now on these become ready, in this order, round and round.
  void Script(const std::vector<uint32_t>& order) {
    std::vector<epoll_event> script;
    script.reserve(order.size());
    for (uint32_t i : order) script.push_back(Readable(*tasks_[i].desc));
    ScriptKernel::Get().SetScript(std::move(script));
  }

  uint64_t Rounds() const {
    uint64_t rounds = 0;
    for (const T& task : tasks_) rounds += task.rounds;
    return rounds;
  }

 private:
  void TurnAll() {
    do {
      scheduler_->Turn();
    } while (scheduler_->HasReady());
  }

  const std::unique_ptr<Scheduler> scheduler_;  // too large for the stack of a benchmark
  std::vector<T> tasks_;
};

// The engine did what was asked, each time.
void CheckRounds(benchmark::State& state, uint64_t before, uint64_t after) {
  if (after - before != static_cast<uint64_t>(state.iterations())) {
    state.SkipWithError("activations and events differ");
  }
}

// --- One park -----------------------------------------------------------------------------------

void ParkAndReadyWithAStack(benchmark::State& state) {
  World<ParkingTask> world(kBatch);
  world.Script(RandomOrder(kBatch, kBatch));
  const uint64_t before = world.Rounds();
  while (state.KeepRunningBatch(kBatch)) world.scheduler().Turn();
  CheckRounds(state, before, world.Rounds());
}
BENCHMARK(ParkAndReadyWithAStack);

void ActivationWithoutAStack(benchmark::State& state) {
  World<ReturningTask> world(kBatch);
  world.Script(RandomOrder(kBatch, kBatch));
  const uint64_t before = world.Rounds();
  while (state.KeepRunningBatch(kBatch)) world.scheduler().Turn();
  CheckRounds(state, before, world.Rounds());
}
BENCHMARK(ActivationWithoutAStack);

// A whole turn for a single event: what a lonely ping-pong pays, the clock's reading included.
void TurnOfOneEvent(benchmark::State& state) {
  World<ReturningTask> world(1);
  PollDesc& desc = *world.tasks()[0].desc;
  Task* const task = &world.tasks()[0];
  Scheduler& scheduler = world.scheduler();
  // The event is delivered by hand, for the scripted epoll only knows full batches.
  for (auto _ : state) {
    if (desc.Ready(Direction::kRead) != task) state.SkipWithError("nobody waited");
    scheduler.PostReady(*task);
    scheduler.Turn();
  }
}
BENCHMARK(TurnOfOneEvent);

// --- Deadlines and timers, among N others -------------------------------------------------------

void PushADeadlineLater(benchmark::State& state) {
  World<ReturningTask> world(state.range(0));
  world.SetDeadlines();
  const std::vector<uint32_t> order = RandomOrder(state.range(0), state.range(0));
  int64_t when = world.scheduler().now().ns() + kHourNs;
  size_t i = 0;
  size_t failed = 0;
  for (auto _ : state) {
    PollDesc& desc = *world.tasks()[order[i]].desc;
    failed += !desc.PushLater(Direction::kRead, MonotonicTime(++when));
    if (++i == order.size()) i = 0;
  }
  if (failed != 0) state.SkipWithError("a push was refused");
}
BENCHMARK(PushADeadlineLater)->Arg(1)->Arg(1000)->Arg(1'000'000);

// The whole way: lock, sequence, wheel.
void SetAndClearADeadline(benchmark::State& state) {
  World<ReturningTask> world(state.range(0));
  world.SetDeadlines();
  Scheduler& scheduler = world.scheduler();
  PollDesc& desc = *world.tasks()[0].desc;
  int64_t when = scheduler.now().ns() + kHourNs;
  for (auto _ : state) {
    scheduler.SetDeadline(desc, Directions::kRead, MonotonicTime(0));
    scheduler.SetDeadline(desc, Directions::kRead, MonotonicTime(when += 1'000'000));
  }
}
BENCHMARK(SetAndClearADeadline)->Arg(1)->Arg(1000)->Arg(1'000'000);

void ArmAndCancelATimer(benchmark::State& state) {
  const MonotonicTime start(1'000'000'000);
  TimerWheel wheel(start);
  std::mt19937_64 random(45211);
  std::uniform_int_distribution<int64_t> within(1, kHourNs);
  std::vector<TimerWheel::Node> others(state.range(0));
  for (TimerWheel::Node& node : others) wheel.Arm(node, start.PlusNs(within(random)));
  std::vector<MonotonicTime> times(4096);
  for (MonotonicTime& time : times) time = start.PlusNs(within(random));
  TimerWheel::Node node;
  size_t i = 0;
  for (auto _ : state) {
    wheel.Arm(node, times[i++ % times.size()]);
    benchmark::DoNotOptimize(wheel.NextWake());
    wheel.Cancel(node);
  }
  for (TimerWheel::Node& other : others) wheel.Cancel(other);
}
BENCHMARK(ArmAndCancelATimer)->Arg(0)->Arg(1000)->Arg(1'000'000);

// --- Descriptors --------------------------------------------------------------------------------

void OpenAndCloseADescriptor(benchmark::State& state) {
  World<ReturningTask> world(state.range(0));
  Scheduler& scheduler = world.scheduler();
  for (auto _ : state) {
    PollDesc* desc = scheduler.netpoll().Allocate(1, nullptr);
    benchmark::DoNotOptimize(desc);
    scheduler.Evict(*desc);
    scheduler.Close(*desc);
  }
}
BENCHMARK(OpenAndCloseADescriptor)->Arg(1)->Arg(1000)->Arg(1'000'000);

// Opened 1,000 at a time and closed in random order, so that the free list is no straight line.
void OpenAndCloseAThousandDescriptors(benchmark::State& state) {
  World<ReturningTask> world(state.range(0));
  Scheduler& scheduler = world.scheduler();
  const std::vector<uint32_t> order = RandomOrder(1000, 1000);
  std::vector<PollDesc*> open(1000);
  while (state.KeepRunningBatch(1000)) {
    for (PollDesc*& desc : open) desc = scheduler.netpoll().Allocate(1, nullptr);
    for (uint32_t i : order) {
      scheduler.Evict(*open[i]);
      scheduler.Close(*open[i]);
    }
  }
}
BENCHMARK(OpenAndCloseAThousandDescriptors)->Arg(1)->Arg(1000)->Arg(1'000'000);

// --- Growth -------------------------------------------------------------------------------------

void RunScripted(benchmark::State& state, size_t open, size_t active) {
  World<ReturningTask> world(open);
  world.SetDeadlines();
  world.Script(RandomOrder(open, active));
  for (size_t i = 0; i < 2 * active; i += kBatch) world.scheduler().Turn();
  const uint64_t before = world.Rounds();
  while (state.KeepRunningBatch(kBatch)) world.scheduler().Turn();
  CheckRounds(state, before, world.Rounds());
}

// 1,000 descriptors become ready in turn, N are open, all of them with a deadline.
void AThousandActiveAmong(benchmark::State& state) { RunScripted(state, state.range(0), 1000); }
BENCHMARK(AThousandActiveAmong)->Arg(1000)->Arg(10'000)->Arg(100'000)->Arg(1'000'000);

void RunBare(benchmark::State& state, size_t open, size_t active) {
  BareMemory memory(open);
  std::vector<epoll_event> events;
  for (uint32_t i : RandomOrder(open, active)) {
    epoll_event event{};
    event.data.u64 = i;
    events.push_back(event);
  }
  size_t at = 0;
  for (size_t i = 0; i < 2 * active; i += kBatch) memory.Turn(events, at);
  while (state.KeepRunningBatch(kBatch)) memory.Turn(events, at);
}

void AThousandActiveAmongInBareMemory(benchmark::State& state) {
  RunBare(state, state.range(0), 1000);
}
BENCHMARK(AThousandActiveAmongInBareMemory)->Arg(1000)->Arg(10'000)->Arg(100'000)->Arg(1'000'000);

// All N in turn: the caches of the machine decide, so see the baseline beside it.
void AllActive(benchmark::State& state) { RunScripted(state, state.range(0), state.range(0)); }
BENCHMARK(AllActive)->Arg(1000)->Arg(10'000)->Arg(100'000)->Arg(1'000'000);

void AllActiveInBareMemory(benchmark::State& state) {
  RunBare(state, state.range(0), state.range(0));
}
BENCHMARK(AllActiveInBareMemory)->Arg(1000)->Arg(10'000)->Arg(100'000)->Arg(1'000'000);

}  // namespace
}  // namespace parkway

BENCHMARK_MAIN();
