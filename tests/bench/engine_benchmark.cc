// What the engine itself costs: one park, one activation, one deadline, one timer, one descriptor,
// and whether any of it grows with the number of descriptors that are open.
//
// A process may hold a few ten thousand sockets; the engine is asked about a million. So this
// program is linked with a kernel of its own, whose epoll hands out events from a prepared list:
// all of the engine's path is real (Netpoll::Poll, the words, the queues, the stacks, the wheel),
// and no system call is counted in.
//
// Per-operation figures come from turns of 256 events, a full batch.
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <ctime>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"
#include "poller/clock.h"
#include "poller/kernel.h"
#include "poller/netpoll.h"
#include "poller/poll_cache.h"
#include "poller/poll_desc.h"
#include "poller/scheduler.h"
#include "poller/task.h"
#include "poller/timer_wheel.h"

namespace parkway {
namespace {

constexpr int kBatch = Netpoll::kEventsPerPoll;
static_assert(kBatch == Scheduler::kActivationsPerTurn, "one turn handles one full batch");

// The list that epoll hands out, round and round; empty: nothing is ready.
std::vector<epoll_event> script;
size_t script_at = 0;

}  // namespace

namespace kernel {

int EpollCreate() { return 1 << 30; }
int EventFd() { return 1 << 30; }
int EventFdSignal(int) { return 0; }
int EpollAdd(int, int, uint32_t, uint64_t) { return 0; }
int EpollMod(int, int, uint32_t, uint64_t) { return 0; }
int EpollDel(int, int) { return 0; }
int Close(int) { return 0; }

int EpollWait(int, epoll_event* events, int capacity, int64_t) {
  if (script.empty()) return 0;
  for (int i = 0; i < capacity; ++i) {
    events[i] = script[script_at];
    if (++script_at == script.size()) script_at = 0;
  }
  return capacity;
}

void* Map(size_t bytes) {
  void* start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return start == MAP_FAILED ? nullptr : start;
}
int Unmap(void* start, size_t bytes) { return munmap(start, bytes) == 0 ? 0 : -errno; }
int Advise(void* start, size_t bytes, int advice) {
  return madvise(start, bytes, advice) == 0 ? 0 : -errno;
}
int ProtectNone(void* start, size_t bytes) {
  return mprotect(start, bytes, PROT_NONE) == 0 ? 0 : -errno;
}

}  // namespace kernel

MonotonicTime ReadMonotonicClock() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return MonotonicTime(now.tv_sec * 1'000'000'000LL + now.tv_nsec);
}

namespace {

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
    script.clear();
    script_at = 0;
    for (T& task : tasks_) {
      task.desc = scheduler_->netpoll().Allocate(1, nullptr);
      scheduler_->Spawn(task);
    }
    TurnAll();
  }

  ~World() {
    script.clear();
    script_at = 0;
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
    script.clear();
    script_at = 0;
    for (uint32_t i : order) script.push_back(Readable(*tasks_[i].desc));
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

// `active` of `open`, at random places, in random order.
std::vector<uint32_t> RandomOrder(size_t open, size_t active) {
  std::vector<uint32_t> order(open);
  for (size_t i = 0; i < open; ++i) order[i] = static_cast<uint32_t>(i);
  std::mt19937 random(20220623);
  std::shuffle(order.begin(), order.end(), random);
  order.resize(active);
  return order;
}

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

// The least that any engine must do for the same events: fetch the event, swap the word of the
// descriptor, queue, look at the task, swap the word back. It has a million descriptors in the
// same slabs and a line for each task, visits them in the same order in the same batches, and
// decides nothing. What it takes longer at a larger N is the memory's doing.
class BareMemory {
 public:
  explicit BareMemory(size_t count) : count_(count), slabs_((count + kPerSlab - 1) / kPerSlab) {
    memory_ = static_cast<char*>(kernel::Map((slabs_ + 1) * kSlabBytes));
    base_ = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(memory_) + kSlabBytes - 1) &
                                    ~(kSlabBytes - 1));
    static_cast<void>(kernel::Advise(memory_, (slabs_ + 1) * kSlabBytes, MADV_NOHUGEPAGE));
    tasks_ = std::vector<Line>(count);
    for (size_t i = 0; i < count; ++i) {
      Twin& twin = At(i);
      twin.word.store(reinterpret_cast<uintptr_t>(&tasks_[i]), std::memory_order_relaxed);
      tasks_[i].desc = &twin;
    }
  }
  ~BareMemory() { kernel::Unmap(memory_, (slabs_ + 1) * kSlabBytes); }

  void Turn(const std::vector<epoll_event>& events, size_t& at) {
    Line* batch[kBatch];
    for (int i = 0; i < kBatch; ++i) {
      Twin& twin = At(static_cast<uint32_t>(events[at].data.u64));
      if (++at == events.size()) at = 0;
      twin.bits |= twin.info == 0;
      batch[i] = reinterpret_cast<Line*>(twin.word.exchange(1, std::memory_order_seq_cst));
    }
    for (Line* task : batch) {
      ++task->rounds;
      Twin& twin = *task->desc;
      twin.deadline += 1;
      twin.word.exchange(reinterpret_cast<uintptr_t>(task), std::memory_order_seq_cst);
    }
  }

  size_t count() const { return count_; }

 private:
  static constexpr uintptr_t kSlabBytes = 4096;
  static constexpr size_t kPerSlab = 36;
  // What an activation touches of a PollDesc, at the same distances.
  struct Twin {
    uint64_t link_and_user[2];
    uint64_t info;
    std::atomic<uintptr_t> word;
    uint64_t other_word;
    uint64_t deadline;
    uint64_t fd_and_sequences[3];
    uint64_t bits;
    uint64_t timer[4];
  };
  static_assert(sizeof(Twin) == sizeof(PollDesc));
  struct alignas(64) Line {
    Twin* desc;
    uint64_t rounds;
  };

  Twin& At(size_t place) {
    char* slab = base_ + place / kPerSlab * kSlabBytes;
    return reinterpret_cast<Twin*>(slab + 64)[place % kPerSlab];
  }

  const size_t count_;
  const size_t slabs_;
  char* memory_ = nullptr;
  char* base_ = nullptr;
  std::vector<Line> tasks_;
};

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
