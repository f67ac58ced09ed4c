#include "poller/scheduler.h"

#include <algorithm>
#include <utility>

#include "poller/check.h"
#include "poller/context.h"
#include "poller/test_point.h"

namespace parkway {

// Why a task keeps its stack. Lives on that stack, so it is there exactly as long as needed.
struct Task::Parking {
  enum class Kind : uint8_t { kWait, kSleep, kYield, kCompletion };

  Kind kind;
  Direction direction = Direction::kRead;
  PollDesc* desc = nullptr;
  SleepTimer* timer = nullptr;
  MonotonicTime until{};
  Stack* stack = nullptr;
};

namespace {

// What the scheduler tells a stack: run this task from its entry.
struct Order {
  Scheduler* scheduler;
  Task* task;
  Wake wake;
};

// After this many activations in a row the others get their turn.
constexpr int kReruns = 16;
// Idle stacks are looked at so often, and so many always keep their memory.
constexpr int64_t kTrimIntervalNs = 1'000'000'000;
constexpr size_t kLeastWarmStacks = 4;
// How long a worker that has no stack left waits before it looks again.
constexpr int64_t kNoStackPauseNs = 1'000'000;

// Who waits for a connect is told of room to write. Else a fresh connection has it, and that would
// be its first event.
uint8_t MutedAtFirst(Direction first) {
  return first == Direction::kWrite ? 0 : PollDesc::kWriteMuted;
}

Wake WakeOf(WaitResult result) {
  switch (result) {
    case WaitResult::kReady:
      return Wake::kReady;
    case WaitResult::kClosing:
      return Wake::kClosing;
    case WaitResult::kTimeout:
      return Wake::kTimeout;
    case WaitResult::kNotPollable:
      return Wake::kNotPollable;
  }
  return Wake::kReady;
}

}  // namespace

Scheduler::Scheduler(const Options& options, Delegate* delegate)
    : options_(options),
      delegate_(delegate),
      now_(ReadMonotonicClock()),
      wheel_(now_),
      // Two more than may park: one for the activation under way, one in hand.
      stacks_({.max_stacks = options.max_stacks + 2, .worker = options.worker}, &StackMain),
      netpoll_(this) {}

Scheduler::~Scheduler() {
  PARKWAY_CHECK(parked_ == 0, "a scheduler ends while tasks wait on its stacks");
  if (hot_ != nullptr) stacks_.Release(*hot_);
}

// ---------------------------------------------------------------------------------------------
// The loop

void Scheduler::Run() {
  while (!stop_.load(std::memory_order_relaxed)) Turn();
}

void Scheduler::Stop() {
  stop_.store(true, std::memory_order_seq_cst);
  netpoll_.Break();
}

void Scheduler::Turn() {
  int64_t timeout = 0;
  if (foreground_.empty() && background_.empty()) {
    netpoll_.PrepareToSleep();
    PARKWAY_TEST_POINT("Scheduler::Turn:about_to_sleep");
    // Whoever posts now sees that we sleep; whoever posted before is seen here.
    if (inbox_.empty() && !stop_.load(std::memory_order_seq_cst)) {
      // Never 0 before its time: the wheel's tick is rounded up, and so is the wait.
      timeout = netpoll_.TimeoutNs(NextWake(), now_);
    }
    PARKWAY_TEST_POINT("Scheduler::Turn:asleep");
  } else if (out_of_stacks_) {
    timeout = kNoStackPauseNs;
  }
  out_of_stacks_ = false;
  netpoll_.Poll(timeout, polled_);
  netpoll_.Awake();
  now_ = ReadMonotonicClock();
  turns_.store(turns_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);

  while (Task* task = polled_.runnable.PopFront()) Ready(*task);
  Task::Queue posted;
  inbox_.TakeTasks(posted);
  while (Task* task = posted.PopFront()) Ready(*task);
  bool busy = inbox_.DeliverMessages(*this);
  EndPauses();
  busy |= FireTimers();
  for (int i = 0; i < polled_.hangup_count; ++i) {
    PollDesc* desc = netpoll_.cache().Find(polled_.hangups[i].index);
    // The handling of an earlier one may have closed it.
    if (desc->fdseq() != polled_.hangups[i].fdseq || delegate_ == nullptr) continue;
    delegate_->OnHangup(*desc);
  }
  busy |= polled_.hangup_count >= static_cast<int>(kBusyActivations);
  polled_.hangup_count = 0;
  if (next_trim_ <= now_) {
    Trim();
    busy = true;
  }
  busy |= RunReady();
  if (busy && delegate_ != nullptr) {
    delegate_->OnBusyTurn(ReadMonotonicClock().ns() - now_.ns());
  }
}

void Scheduler::Trim() {
  stacks_.Trim(static_cast<uint32_t>(std::max(parked_lately_, kLeastWarmStacks)));
  parked_lately_ = parked_;
  next_trim_ = now_.PlusNs(kTrimIntervalNs);
  if (delegate_ != nullptr) delegate_->OnTrim();
}

void Scheduler::Pause(Task& task) {
  const absl::Duration wanted =
      options_.pause + options_.pause_for_each * static_cast<int64_t>(paused_.size());
  const int64_t ns = absl::ToInt64Nanoseconds(std::min(wanted, options_.longest_pause));
  last_pause_end_ns_ = std::max(last_pause_end_ns_, now_.PlusNs(ns).ns());
  task.paused_until_ns_ = last_pause_end_ns_;
  paused_.PushBack(task);
}

void Scheduler::EndPauses() {
  for (Task* task = paused_.Front(); task != nullptr; task = paused_.Front()) {
    if (task->paused_until_ns_ > now_.ns()) return;
    paused_.PopFront();
    task->queued_ = false;
    Ready(*task);
  }
}

bool Scheduler::FireTimers() {
  TimerWheel::NodeList fired;
  wheel_.Advance(now_, fired);
  if (fired.empty()) return false;
  while (TimerWheel::Node* node = fired.PopFront()) {
    switch (node->kind) {
      case TimerKind::kDescriptor: {
        PollDesc& desc = PollDesc::OfTimer(*node);
        const PollDesc::Expired expired = desc.Expire(node->rseq, node->wseq, now_);
        if (expired.rearm) Rearm(desc);
        Ready(expired.woken);
        break;
      }
      case TimerKind::kTask: {
        Task& task = *static_cast<SleepTimer*>(node)->task;
        task.wake_ = Wake::kTimer;
        Ready(task);
        break;
      }
      default:
        delegate_->OnTimer(*node);
    }
  }
  return true;
}

bool Scheduler::RunReady() {
  const uint64_t activations_before = activations_;
  // A task that found no stack is queued again; those behind it may hold one, and run. But what
  // has been queued meanwhile waits for the next turn.
  size_t queued = foreground_.size();
  for (int i = 0; i < kActivationsPerTurn; ++i) {
    if (out_of_stacks_ && queued == 0) break;
    Task* task = foreground_.PopFront();
    if (task == nullptr) break;
    if (queued > 0) --queued;
    Activate(*task);
  }
  const bool shared =
      now_.PlusNs(-absl::ToInt64Nanoseconds(options_.shared_window)) < last_foreground_io_;
  budget_ = shared ? options_.turn_bytes_shared : options_.turn_bytes;
  charged_ = 0;
  const bool busy = !background_.empty() || activations_ - activations_before >= kBusyActivations;
  // Each runs at most once a turn, so that one that moves nothing cannot hold the turn open.
  for (size_t left = background_.size(); left > 0 && charged_ < budget_; --left) {
    Activate(*background_.PopFront());
  }
  // If anything ran, a stack may have come free: no pause.
  if (activations_ != activations_before) out_of_stacks_ = false;
  return busy;
}

void Scheduler::Ready(Task& task) {
  PARKWAY_DCHECK(!task.queued_, "a task was made ready twice");
  task.queued_ = true;
  (task.background_ ? background_ : foreground_).PushBack(task);
}

void Scheduler::SpawnNext(Task& task) {
  PARKWAY_DCHECK(!task.queued_ && !task.background_, "a task was made ready twice");
  task.queued_ = true;
  foreground_.PushFront(task);
}

void Scheduler::Ready(const WokenTasks& woken) {
  if (woken.reader != nullptr) Ready(*woken.reader);
  if (woken.writer != nullptr) Ready(*woken.writer);
}

// ---------------------------------------------------------------------------------------------
// Activations

void Scheduler::Activate(Task& task) {
  task.queued_ = false;
  Wake wake = task.wake_;
  switch (task.state_) {
    case Task::State::kFresh:
      wake = Wake::kStart;
      break;
    case Task::State::kParked: {
      Stack& stack = *task.parking_->stack;
      --parked_;
      Enter(task, stack, nullptr);
      if (Settle(task, stack, wake)) break;
      return;
    }
    case Task::State::kIdle:
      if (WokenIdle(task, wake)) break;
      return;
    case Task::State::kSleeping:
    case Task::State::kYielded:
      break;
    case Task::State::kRunning:
      PARKWAY_CHECK(false, "a running task was queued");
  }
  RunFromEntry(task, wake);
}

void Scheduler::RunFromEntry(Task& task, Wake wake) {
  for (int runs = 0;; ++runs) {
    if (task.stackless_ && runs < kReruns) {
      if (!RunHere(task, wake)) return;
      continue;
    }
    Stack* stack = runs < kReruns ? TakeStack() : nullptr;
    if (stack == nullptr) {
      out_of_stacks_ = runs < kReruns;
      task.state_ = Task::State::kYielded;
      task.wake_ = wake;
      Ready(task);
      return;
    }
    Order order{this, &task, wake};
    Enter(task, *stack, &order);
    if (!Settle(task, *stack, wake)) return;
  }
}

bool Scheduler::RunHere(Task& task, Wake& wake) {
  ++activations_;
  task.state_ = Task::State::kRunning;
  current_ = &task;
  // After this the task may be gone.
  const Next next = task.Run(*this, wake);
  current_ = nullptr;
  return SettleReturned(task, next, wake);
}

// A task that waits without a stack was taken out of its word: why? False: for no reason that
// still holds (a deadline that was moved on before it ran), and it waits again.
bool Scheduler::WokenIdle(Task& task, Wake& wake) {
  PollDesc& desc = *task.desc_;
  const Direction direction = task.direction_;
  if (desc.BlockEnd(direction)) {
    wake = Wake::kReady;
    return true;
  }
  const WaitResult error = desc.CheckError(direction);
  if (error != WaitResult::kReady) {
    wake = WakeOf(error);
    return true;
  }
  return CommitIdle(task, desc, direction, wake);
}

// True: run it (again) for `wake`. False: it waits, or another thread has it already.
bool Scheduler::CommitIdle(Task& task, PollDesc& desc, Direction direction, Wake& wake) {
  task.state_ = Task::State::kIdle;
  task.desc_ = &desc;
  task.direction_ = direction;
  if (!desc.registered() && netpoll_.Register(desc, MutedAtFirst(direction)) != 0) {
    wake = Wake::kNotPollable;
    return true;
  }
  netpoll_.Unmute(desc, direction);
  if (!desc.CommitIdle(direction, &task)) {
    wake = Wake::kReady;
    return true;
  }
  // An eviction or expiry that came before the commit found nobody; one that comes after finds
  // the task. Whoever takes it out of the word has it.
  const WaitResult error = desc.CheckError(direction);
  if (error == WaitResult::kReady) return false;
  if (!desc.RetractIdle(direction, &task)) return false;
  wake = WakeOf(error);
  return true;
}

// Runs the task on `stack` until it parks (parking_in_ is set) or returns (returned_ is).
void Scheduler::Enter(Task& task, Stack& stack, void* order) {
  ++activations_;
  task.state_ = Task::State::kRunning;
  current_ = &task;
  current_stack_ = &stack;
  stack.set_owner_name(task.name());
  parking_in_ = nullptr;
  stack.context().SwitchTo(order);
  current_ = nullptr;
  current_stack_ = nullptr;
}

void* Scheduler::StackMain(void* message) {
  const Order order = *static_cast<Order*>(message);
  // After this the task may be gone.
  order.scheduler->returned_ = order.task->Run(*order.scheduler, order.wake);
  return nullptr;
}

bool Scheduler::Settle(Task& task, Stack& stack, Wake& wake) {
  while (parking_in_ != nullptr) {
    parking_in_->stack = &stack;
    if (SettleParked(task)) return false;
    Enter(task, stack, nullptr);
  }
  GiveBack(stack);
  return SettleReturned(task, returned_, wake);
}

// False: do not park, resume it.
bool Scheduler::SettleParked(Task& task) {
  const Task::Parking& parking = *task.parking_;
  task.state_ = Task::State::kParked;
  if (++parked_ > parked_high_water_) parked_high_water_ = parked_;
  if (parked_ > parked_lately_) parked_lately_ = parked_;
  switch (parking.kind) {
    case Task::Parking::Kind::kWait:
      // From here on another thread may have the task; it can only post it.
      if (parking.desc->BlockCommit(parking.direction, &task)) return true;
      --parked_;
      return false;
    case Task::Parking::Kind::kSleep:
      parking.timer->task = &task;
      wheel_.Arm(*parking.timer, parking.until);
      return true;
    case Task::Parking::Kind::kYield:
      Ready(task);
      return true;
    case Task::Parking::Kind::kCompletion:
      return true;
  }
  return true;
}

bool Scheduler::SettleReturned(Task& task, const Next& next, Wake& wake) {
  switch (next.kind()) {
    case Next::Kind::kDone:
      return false;
    case Next::Kind::kYield:
      task.state_ = Task::State::kYielded;
      task.wake_ = Wake::kYield;
      Ready(task);
      return false;
    case Next::Kind::kPause:
      task.state_ = Task::State::kYielded;
      task.wake_ = Wake::kYield;
      task.queued_ = true;
      Pause(task);
      return false;
    case Next::Kind::kAwait:
      return CommitIdle(task, next.desc(), next.direction(), wake);
    case Next::Kind::kSleep:
      task.state_ = Task::State::kSleeping;
      task.timer_ = &next.timer();
      next.timer().task = &task;
      wheel_.Arm(next.timer(), next.when());
      return false;
  }
  return false;
}

Stack* Scheduler::TakeStack() {
  if (hot_ != nullptr) return std::exchange(hot_, nullptr);
  return stacks_.Acquire();
}

void Scheduler::GiveBack(Stack& stack) {
  if (hot_ == nullptr) {
    hot_ = &stack;
  } else {
    stacks_.Release(stack);
  }
}

// ---------------------------------------------------------------------------------------------
// What a task calls

void Scheduler::Park(Task::Parking& parking) {
  PARKWAY_CHECK(current_stack_ != nullptr, "only a running task with a stack can wait");
  current_->parking_ = &parking;
  parking_in_ = &parking;
  current_stack_->context().SwitchBack(nullptr);
}

WaitResult Scheduler::Wait(PollDesc& desc, Direction direction) {
  for (;;) {
    WaitResult error = desc.CheckError(direction);
    if (error != WaitResult::kReady) return error;
    PARKWAY_TEST_POINT("Scheduler::Wait:checked");
    if (!desc.registered() && netpoll_.Register(desc, MutedAtFirst(direction)) != 0) {
      return WaitResult::kNotPollable;
    }
    netpoll_.Unmute(desc, direction);
    if (desc.BlockBegin(direction)) return WaitResult::kReady;
    // Announced. An error that was published before this is seen here; the publisher of a later
    // one sees the announcement, and the commit fails.
    if (desc.CheckError(direction) == WaitResult::kReady) {
      Task::Parking parking{.kind = Task::Parking::Kind::kWait};
      parking.direction = direction;
      parking.desc = &desc;
      Park(parking);
    }
    if (desc.BlockEnd(direction)) return WaitResult::kReady;
    // Neither readiness nor an error: the deadline fired and was moved on before this task ran.
  }
}

Wake Scheduler::SleepUntil(MonotonicTime when) {
  SleepTimer timer;
  Task::Parking parking{.kind = Task::Parking::Kind::kSleep};
  parking.timer = &timer;
  parking.until = when;
  Task* self = current_;
  Park(parking);
  return self->wake_;
}

void Scheduler::Yield() {
  Task::Parking parking{.kind = Task::Parking::Kind::kYield};
  Park(parking);
}

void Scheduler::Await(Completion& completion) {
  if (completion.done_) return;
  PARKWAY_CHECK(completion.waiter_ == nullptr, "two tasks wait for one completion");
  completion.waiter_ = current_;
  Task::Parking parking{.kind = Task::Parking::Kind::kCompletion};
  Park(parking);
}

void Scheduler::Complete(Completion& completion) {
  completion.done_ = true;
  if (Task* waiter = std::exchange(completion.waiter_, nullptr)) Ready(*waiter);
}

void Scheduler::SpawnAwaiting(Task& task, PollDesc& desc, Direction direction) {
  Wake wake;
  if (!CommitIdle(task, desc, direction, wake)) return;
  task.state_ = Task::State::kYielded;
  task.wake_ = wake;
  Ready(task);
}

bool Scheduler::Kick(Task& task) {
  if (task.queued_) return false;
  SleepTimer* timer = nullptr;
  if (task.state_ == Task::State::kSleeping) timer = task.timer_;
  if (task.state_ == Task::State::kParked && task.parking_->kind == Task::Parking::Kind::kSleep) {
    timer = task.parking_->timer;
  }
  if (timer == nullptr || !timer->linked()) return false;
  wheel_.Cancel(*timer);
  task.wake_ = Wake::kKick;
  Ready(task);
  return true;
}

void Scheduler::PostReady(Task& task) {
  inbox_.Push(task);
  netpoll_.Break();
}

void Scheduler::Post(std::unique_ptr<Message> message) {
  inbox_.Push(message.release());
  netpoll_.Break();
}

// ---------------------------------------------------------------------------------------------
// Descriptors

void Scheduler::SetDeadline(PollDesc& desc, Directions directions, MonotonicTime deadline) {
  const PollDesc::Change change = desc.SetDeadline(desc.fdseq(), directions, deadline, now_);
  if (change.rearm) Rearm(desc);
  Ready(change.woken);
}

void Scheduler::Rearm(PollDesc& desc) {
  wheel_.Cancel(desc.timer());
  const MonotonicTime when = desc.PrepareTimer();
  if (when != MonotonicTime::InfiniteFuture()) wheel_.Arm(desc.timer(), when);
}

void Scheduler::Evict(PollDesc& desc) { Ready(desc.Evict(desc.fdseq()).woken); }

void Scheduler::Close(PollDesc& desc) {
  wheel_.Cancel(desc.timer());
  netpoll_.Close(desc);
}

void Scheduler::End(PollDesc& desc) {
  wheel_.Cancel(desc.timer());
  netpoll_.End(desc);
}

}  // namespace parkway
