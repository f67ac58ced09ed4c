// Task: something that runs on one worker as if it blocked, and Next: what it wants when its
// entry returns. A task is what a goroutine is in Go, but pinned to its worker.
//
// Two ways to wait:
//   with its stack    call Scheduler::Wait, Sleep or Yield in the middle of Run(): frames stay.
//   without a stack   return Next::AwaitReadable(d) and the like from Run(): the stack goes back
//                     to the pool, and Run() is called again from its top when the time has come,
//                     told why (Wake). Nothing on the stack survives, so state lives in the task.
//                     A task that only waits so may say that it needs no stack (set_stackless).
//
// One call of Run() is an activation.
//
// Owner thread only (the worker's), but for Scheduler::PostReady.
//
// Invariants
//   1. A task is in at most one of: running, a run queue, the queue of those that pause, one waiter
//      word of one descriptor, the timer wheel, the inbox.
//   2. After Run() returned Done the scheduler never touches the task again: Run() may have
//      destroyed it.
#ifndef POLLER_TASK_H_
#define POLLER_TASK_H_

#include <cstdint>

#include "poller/clock.h"
#include "poller/intrusive_list.h"

namespace parkway {

class PollDesc;
class Scheduler;
struct SleepTimer;

enum class Direction : uint8_t { kRead = 0, kWrite = 1 };

// Why an activation happens.
enum class Wake : uint8_t {
  kStart,        // first activation
  kReady,        // the awaited direction became ready
  kClosing,      // the descriptor was evicted
  kTimeout,      // the deadline of the awaited direction has passed
  kNotPollable,  // epoll refused the descriptor
  kYield,        // its turn again
  kTimer,        // SleepUntil is over
  kKick,         // somebody called Scheduler::Kick while it slept
};

// What a task wants after its entry returned.
class [[nodiscard]] Next {
 public:
  enum class Kind : uint8_t { kDone, kYield, kPause, kAwait, kSleep };

  static Next Done() { return Next(Kind::kDone); }
  // Run again after the others that are ready.
  static Next Yield() { return Next(Kind::kYield); }
  // The same, but not before Scheduler::Options::pause has passed: for what comes in faster than
  // it is worth to wake up for. Nobody can end it early: it is over before that would matter.
  static Next Pause() { return Next(Kind::kPause); }
  static Next AwaitReadable(PollDesc& desc) { return Await(desc, Direction::kRead); }
  static Next AwaitWritable(PollDesc& desc) { return Await(desc, Direction::kWrite); }
  static Next Await(PollDesc& desc, Direction direction) {
    Next next(Kind::kAwait);
    next.direction_ = direction;
    next.desc_ = &desc;
    return next;
  }
  // `timer` lives as long as the task.
  static Next SleepUntil(SleepTimer& timer, MonotonicTime when) {
    Next next(Kind::kSleep);
    next.timer_ = &timer;
    next.when_ = when;
    return next;
  }

  Kind kind() const { return kind_; }
  Direction direction() const { return direction_; }
  PollDesc& desc() const { return *desc_; }
  SleepTimer& timer() const { return *timer_; }
  MonotonicTime when() const { return when_; }

 private:
  explicit Next(Kind kind) : kind_(kind) {}

  Kind kind_;
  Direction direction_ = Direction::kRead;
  union {
    PollDesc* desc_ = nullptr;
    SleepTimer* timer_;
  };
  MonotonicTime when_;
};

class Task {
 public:
  // One activation. Never throws. REQUIRES: called by the scheduler.
  virtual Next Run(Scheduler& scheduler, Wake wake) noexcept = 0;

  // For reports, such as a stack overflow; a string that lives for ever.
  virtual const char* name() const { return "task"; }

  // A background task runs after all others, in turn with the other background tasks and within
  // the scheduler's budget (Scheduler::Charge). Bulk transfers say this of themselves.
  void set_background(bool background) { background_ = background; }
  bool background() const { return background_; }

  // From its next activation on, Run() never waits in the middle: it is called on the thread's own
  // stack, which saves two switches. To wait all the same ends the program.
  void set_stackless(bool stackless) { stackless_ = stackless; }

  // What it waited for has come, and it has not run since.
  bool queued() const { return queued_; }

  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

 protected:
  Task() = default;
  ~Task() = default;

 private:
  friend class Scheduler;
  friend class Inbox;

  // Where the task goes on when it is activated next. It keeps this while it stands in a queue.
  enum class State : uint8_t {
    kFresh,     // at its entry, never run before
    kRunning,   // on its stack, now
    kParked,    // in the middle, on its stack; parking_ says what for
    kIdle,      // at its entry: waits for desc_
    kSleeping,  // at its entry: waits for timer_
    kYielded,   // at its entry, for wake_
  };
  struct Parking;  // lives on the stack of a parked task

  Task* link_ = nullptr;  // run queue or inbox
  union {
    Parking* parking_ = nullptr;
    PollDesc* desc_;
    SleepTimer* timer_;
    int64_t paused_until_ns_;  // in the queue of those that pause
  };
  State state_ = State::kFresh;
  Wake wake_ = Wake::kStart;
  Direction direction_ = Direction::kRead;
  bool background_ : 1 = false;
  bool stackless_ : 1 = false;
  bool queued_ : 1 = false;  // in a run queue of the scheduler, or in that of those that pause

 public:
  using Queue = IntrusiveQueue<Task, &Task::link_>;
};

static_assert(sizeof(Task) <= 32, "two of them live in every session");

}  // namespace parkway

#endif  // POLLER_TASK_H_
