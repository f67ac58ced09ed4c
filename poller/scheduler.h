// Scheduler: runs the tasks of one worker. One per thread.
//
//   Scheduler scheduler({.max_stacks = 1024}, &delegate);
//   scheduler.Spawn(task);
//   scheduler.Run();                        // until Stop(), from any thread
//
// One turn: poll (asleep until the next timer if nothing is ready), read the clock once, take what
// other threads posted, fire timers, report hang-ups, run what is ready, foreground first, then
// background within its budget. The run queue is first in, first out.
//
// A task runs on a stack of the pool. When its entry returns, the stack goes to the next task;
// only a task that waits in the middle (Wait, Sleep, Yield) keeps it. One that never does so may
// run on the thread's own stack instead. See poller/task.h.
//
// Owner thread only, but for Post, PostReady and Stop.
//
// Invariants
//   1. A task that was taken out of a word, the wheel or the inbox is queued exactly once.
//   2. The commit of a park is made here, on the thread's own stack, after the task has left its
//      stack: a task is never resumed on a stack that is in use (golang's gopark).
//   3. Between two polls: at most kActivationsPerTurn activations of foreground tasks, and
//      background tasks until Charge() has seen the budget of the turn.
//   4. The clock is read once per turn, and once more at the end of one that did much (see
//      Delegate::OnBusyTurn).
#ifndef POLLER_SCHEDULER_H_
#define POLLER_SCHEDULER_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>

#include "poller/clock.h"
#include "poller/inbox.h"
#include "poller/netpoll.h"
#include "poller/stack_pool.h"
#include "poller/task.h"
#include "poller/timer_wheel.h"

namespace parkway {

// The timer of one sleep; lives in the task, or on its stack.
struct SleepTimer : TimerWheel::Node {
  SleepTimer() : Node(TimerKind::kTask) {}
  Task* task = nullptr;
};

// Something that happens once, and that one task may wait for: how a task is joined.
class Completion {
 public:
  bool done() const { return done_; }

 private:
  friend class Scheduler;
  bool done_ = false;
  Task* waiter_ = nullptr;
};

class Scheduler {
 public:
  // What the layer above does on this thread between activations. Must not wait.
  class Delegate {
   public:
    // The descriptor reported ERR or HUP and nobody waits on it.
    virtual void OnHangup(PollDesc& desc) = 0;
    // A timer of kind kOwner0 or above has fired.
    virtual void OnTimer(TimerWheel::Node& node) = 0;
    // At most once a second, in a turn that there was anyway: what is kept warm and was not needed
    // lately may give its memory back, as idle stacks do.
    virtual void OnTrim() {}
    // A turn that did much has ended, from the poll to the last activation: so long have others
    // waited. Turns of a few activations are not looked at: another look at the clock would cost
    // them more than there is to learn.
    virtual void OnBusyTurn(int64_t /*ns*/) {}

   protected:
    ~Delegate() = default;
  };

  struct Options {
    uint32_t max_stacks = 1024;  // tasks that may wait with a stack at once
    uint32_t worker = 0;         // number, for reports
    // What background tasks may move between two polls, and how much less if a foreground task
    // moved something within the window: a ping-pong then waits for less.
    size_t turn_bytes = 512 * 1024;
    size_t turn_bytes_shared = 128 * 1024;
    absl::Duration shared_window = absl::Milliseconds(10);
    // Next::Pause: the longer, the more do so, for each of them then gets less in the same time.
    absl::Duration pause = absl::Microseconds(200);
    absl::Duration pause_for_each = absl::Microseconds(40);
    absl::Duration longest_pause = absl::Milliseconds(1);
    void* context = nullptr;  // the layer above's; see context()
  };

  static constexpr int kActivationsPerTurn = 256;
  // So many activations, or anything but activations of foreground tasks, make a turn a busy one.
  static constexpr uint64_t kBusyActivations = 32;

  // `delegate` may be null if no descriptor hangs up unattended and no owner timers are used.
  Scheduler(const Options& options, Delegate* delegate);
  // REQUIRES: no task is parked and no descriptor open.
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // 0 or the -errno that kept it from being whole.
  int init_error() const { return netpoll_.init_error(); }

  // --- Running ---

  // Turns until Stop().
  void Run();
  // One turn. It sleeps in the kernel only if nothing is ready; in a simulated one, never.
  void Turn();
  // Any thread. Run returns after the present turn; tasks stay where they are.
  void Stop();
  // Whether a turn would find something ready without waiting.
  bool HasReady() const { return !foreground_.empty() || !background_.empty() || !inbox_.empty(); }
  // When a turn is due though nothing happens; InfiniteFuture if never.
  MonotonicTime NextWake() const {
    const Task* paused = paused_.Front();
    const MonotonicTime timer = wheel_.NextWake();
    return paused == nullptr ? timer : std::min(timer, MonotonicTime(paused->paused_until_ns_));
  }
  // The clock as of this turn.
  MonotonicTime now() const { return now_; }
  // What the layer above wants to find again from a task or a descriptor (Of(desc).context()).
  void* context() const { return options_.context; }

  // --- Tasks ---

  // A fresh task: its first activation comes with Wake::kStart.
  void Spawn(Task& task) { Ready(task); }
  // As Spawn, and it runs before all others that are ready: for what should follow at once on what
  // the running task does, such as opening a second socket right after the first. REQUIRES: a
  // foreground task.
  void SpawnNext(Task& task);
  // A fresh task that starts out waiting, without a first activation: with Wake::kReady and the
  // like when the time has come.
  void SpawnAwaiting(Task& task, PollDesc& desc, Direction direction);
  // Ends the sleep of a task early (Wake::kKick); false if it does not sleep.
  bool Kick(Task& task);

  // The running task. REQUIRES: called from one.
  Task& running() { return *current_; }

  // For the running task; it keeps its stack meanwhile.
  WaitResult Wait(PollDesc& desc, Direction direction);
  Wake SleepUntil(MonotonicTime when);  // kTimer or kKick
  void Yield();
  void Await(Completion& completion);
  // Makes `completion` done and its waiter ready.
  void Complete(Completion& completion);

  // Any thread. The task has left its word and belongs to the caller.
  void PostReady(Task& task);
  // Any thread.
  void Post(std::unique_ptr<Message> message);

  // A task moved `bytes`: counts against the budget of the turn if it is a background task.
  void Charge(const Task& task, size_t bytes) {
    if (task.background()) {
      charged_ += bytes;
    } else {
      last_foreground_io_ = now_;
    }
  }

  // What a background task may move now: what the turn has left, and always something worth a call.
  size_t BudgetLeft() const {
    return budget_ > charged_ + kLeastStepBytes ? budget_ - charged_ : kLeastStepBytes;
  }
  static constexpr size_t kLeastStepBytes = 64 * 1024;

  // False while as many tasks as allowed wait with a stack: begin nothing that may park.
  bool StackAvailable() const { return parked_ < options_.max_stacks; }

  // --- Descriptors ---

  Netpoll& netpoll() { return netpoll_; }
  const Netpoll& netpoll() const { return netpoll_; }
  static Scheduler& Of(const PollDesc& desc) {
    return *static_cast<Scheduler*>(PollCache::OwnerOf(desc));
  }

  // Zero clears, a time that has passed expires at once.
  void SetDeadline(PollDesc& desc, Directions directions, MonotonicTime deadline);
  // Wakes whoever waits with kClosing, and keeps anybody from waiting again.
  void Evict(PollDesc& desc);
  // Frees the descriptor and its timer. The fd is the caller's. REQUIRES: evicted, nobody waits.
  void Close(PollDesc& desc);
  // Both at once, for who knows that nobody waits.
  void End(PollDesc& desc);
  // After a change from another thread (poller/remote.h): arms the timer by what is set now.
  void Rearm(PollDesc& desc);

  TimerWheel& wheel() { return wheel_; }
  const TimerWheel& wheel() const { return wheel_; }
  const StackPool& stacks() const { return stacks_; }
  // Tasks that wait with a stack: stacks in use between turns.
  size_t parked() const { return parked_; }
  size_t parked_high_water() const { return parked_high_water_; }
  // Turns so far; may be read by any thread, to see that the worker goes on.
  uint64_t turns() const { return turns_.load(std::memory_order_relaxed); }
  uint64_t activations() const { return activations_; }

 private:
  void Ready(Task& task);
  void Ready(const WokenTasks& woken);
  // True: any fired.
  bool FireTimers();
  void Pause(Task& task);
  void EndPauses();
  // Idle stacks that the last second did not need give their memory back; the delegate's turn.
  void Trim();
  // True: that was much.
  bool RunReady();

  void Activate(Task& task);
  bool WokenIdle(Task& task, Wake& wake);
  void RunFromEntry(Task& task, Wake wake);
  // Without a stack of its own. True: run it again at once, for `wake`.
  bool RunHere(Task& task, Wake& wake);
  // What becomes of the task that ran on `stack`. True: run it again at once, for `wake`.
  bool Settle(Task& task, Stack& stack, Wake& wake);
  bool SettleParked(Task& task);
  bool SettleReturned(Task& task, const Next& next, Wake& wake);
  bool CommitIdle(Task& task, PollDesc& desc, Direction direction, Wake& wake);
  void Enter(Task& task, Stack& stack, void* order);
  void Park(Task::Parking& parking);
  static void* StackMain(void* order);

  Stack* TakeStack();
  void GiveBack(Stack& stack);

  const Options options_;
  Delegate* const delegate_;
  MonotonicTime now_;
  TimerWheel wheel_;
  StackPool stacks_;
  Netpoll netpoll_;
  Inbox inbox_;
  Task::Queue foreground_;
  Task::Queue background_;
  Task::Queue paused_;  // none of them ends before one that is ahead of it
  int64_t last_pause_end_ns_ = 0;
  Netpoll::Polled polled_;
  Task* current_ = nullptr;
  Stack* current_stack_ = nullptr;
  // How the activation that just ended has ended: parked, or returned.
  Task::Parking* parking_in_ = nullptr;
  Next returned_ = Next::Done();
  Stack* hot_ = nullptr;  // the stack that was used last, warm in the cache
  size_t budget_ = 0;     // of background tasks in this turn
  size_t charged_ = 0;    // of it
  MonotonicTime last_foreground_io_{std::numeric_limits<int64_t>::min() / 2};
  size_t parked_ = 0;
  size_t parked_high_water_ = 0;
  size_t parked_lately_ = 0;  // most since the last trim
  MonotonicTime next_trim_;
  uint64_t activations_ = 0;
  bool out_of_stacks_ = false;
  std::atomic<uint64_t> turns_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace parkway

#endif  // POLLER_SCHEDULER_H_
