#include "poller/poll_desc.h"

#include <cstddef>

#include "poller/check.h"
#include "poller/test_point.h"

namespace parkway {

namespace {

uint8_t Bit(Direction direction) { return direction == Direction::kRead ? 1 : 2; }

bool Has(Directions directions, Direction direction) {
  return (static_cast<uint8_t>(directions) & Bit(direction)) != 0;
}

}  // namespace

PollDesc& PollDesc::OfTimer(TimerWheel::Node& node) {
  // Nodes of kind kDescriptor live in descriptors and nowhere else. The type has no bases and no
  // virtual functions, for which every compiler knows the place of a member.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof"
  constexpr size_t kPlace = offsetof(PollDesc, timer_);
#pragma GCC diagnostic pop
  return *reinterpret_cast<PollDesc*>(reinterpret_cast<char*>(&node) - kPlace);
}

void PollDesc::Open(int fd, void* user) {
  const uintptr_t reader = rg_.load(std::memory_order_relaxed);
  const uintptr_t writer = wg_.load(std::memory_order_relaxed);
  PARKWAY_CHECK(reader == kNil || reader == kReady, "blocked read on a free descriptor");
  PARKWAY_CHECK(writer == kNil || writer == kReady, "blocked write on a free descriptor");
  PARKWAY_CHECK(!timer_.linked(), "a free descriptor has a timer");
  fd_ = fd;
  user_ = user;
  registered_ = false;
  edge_bits_ = 0;
  closing_ = false;
  ++rseq_;
  ++wseq_;
  rg_.store(kNil, std::memory_order_relaxed);
  wg_.store(kNil, std::memory_order_relaxed);
  rd_.store(0, std::memory_order_relaxed);
  wd_.store(0, std::memory_order_relaxed);
  // Nobody else writes the word of a descriptor that is free.
  info_.store(PollInfo::Word(fdseq(), 0), std::memory_order_release);
}

void PollDesc::Close() {
  LeafLockGuard guard(lock_);
  PARKWAY_CHECK(closing_, "close of a descriptor that was not evicted");
  Leave();
}

void PollDesc::End() {
  LeafLockGuard guard(lock_);
  if (!closing_) {
    closing_ = true;
    ++rseq_;
    ++wseq_;
  }
  PARKWAY_TEST_POINT("PollDesc::End:before_publish");
  Leave();
}

void PollDesc::Leave() {
  PARKWAY_CHECK(!HasWaiter(), "close of a descriptor that somebody waits on");
  PARKWAY_CHECK(!timer_.linked(), "close of a descriptor whose timer is armed");
  fd_ = -1;
  user_ = nullptr;
  registered_ = false;
  // The new sequence is published in the same step, else an error of the old use could still be
  // noted (golang/go#60133).
  uint64_t old = info_.load(std::memory_order_relaxed);
  while (!info_.compare_exchange_weak(
      old, PollInfo::Word(PollInfo::NextSeq(PollInfo::Seq(old)), PollInfo::kClosing),
      std::memory_order_seq_cst)) {
  }
}

bool PollDesc::HasWaiter() const {
  return rg_.load(std::memory_order_acquire) >= kWait ||
         wg_.load(std::memory_order_acquire) >= kWait;
}

WaitResult PollDesc::CheckError(Direction direction) const {
  // Sequentially consistent, for the recheck after an announcement; on x86-64 a plain load.
  const uint64_t word = info_.load(std::memory_order_seq_cst);
  if ((word & PollInfo::kFlags) == 0) return WaitResult::kReady;
  if (word & PollInfo::kClosing) return WaitResult::kClosing;
  if (direction == Direction::kRead) {
    if (word & PollInfo::kReadExpired) return WaitResult::kTimeout;
    // Only reads report it: a write gets a better error from the kernel.
    if (word & PollInfo::kEventError) return WaitResult::kNotPollable;
  } else if (word & PollInfo::kWriteExpired) {
    return WaitResult::kTimeout;
  }
  return WaitResult::kReady;
}

WaitResult PollDesc::Reset(Direction direction) {
  const WaitResult error = CheckError(direction);
  if (error != WaitResult::kReady) return error;
  std::atomic<uintptr_t>& semaphore = word(direction);
  // Mostly nothing is latched; then this is a load. Nobody else writes the word now: a canceller
  // changes only a waiter, and there is none.
  if (semaphore.load(std::memory_order_relaxed) != kNil) {
    PARKWAY_DCHECK(semaphore.load(std::memory_order_relaxed) == kReady,
                   "reset while somebody waits");
    semaphore.store(kNil, std::memory_order_release);
  }
  return WaitResult::kReady;
}

bool PollDesc::BlockBegin(Direction direction) {
  std::atomic<uintptr_t>& semaphore = word(direction);
  for (;;) {
    uintptr_t old = kReady;
    if (semaphore.compare_exchange_strong(old, kNil, std::memory_order_seq_cst)) return true;
    old = kNil;
    if (semaphore.compare_exchange_strong(old, kWait, std::memory_order_seq_cst)) {
      PARKWAY_TEST_POINT("PollDesc::BlockBegin:announced");
      return false;
    }
    PARKWAY_CHECK(old == kReady, "double wait on one direction of a descriptor");
  }
}

bool PollDesc::BlockCommit(Direction direction, Task* task) {
  PARKWAY_TEST_POINT("PollDesc::BlockCommit:before");
  uintptr_t old = kWait;
  return word(direction).compare_exchange_strong(old, reinterpret_cast<uintptr_t>(task),
                                                 std::memory_order_acq_rel);
}

bool PollDesc::BlockEnd(Direction direction) {
  const uintptr_t old = word(direction).exchange(kNil, std::memory_order_seq_cst);
  PARKWAY_CHECK(old <= kWait, "a task resumed while its descriptor still held a waiter");
  return old == kReady;
}

bool PollDesc::CommitIdle(Direction direction, Task* task) {
  std::atomic<uintptr_t>& semaphore = word(direction);
  PARKWAY_TEST_POINT("PollDesc::CommitIdle:before");
  for (;;) {
    uintptr_t old = kNil;
    if (semaphore.compare_exchange_strong(old, reinterpret_cast<uintptr_t>(task),
                                          std::memory_order_seq_cst)) {
      PARKWAY_TEST_POINT("PollDesc::CommitIdle:committed");
      return true;
    }
    PARKWAY_CHECK(old == kReady, "double wait on one direction of a descriptor");
    if (semaphore.compare_exchange_strong(old, kNil, std::memory_order_seq_cst)) return false;
  }
}

bool PollDesc::RetractIdle(Direction direction, Task* task) {
  PARKWAY_TEST_POINT("PollDesc::RetractIdle:before");
  uintptr_t old = reinterpret_cast<uintptr_t>(task);
  return word(direction).compare_exchange_strong(old, kNil, std::memory_order_seq_cst);
}

Task* PollDesc::Unblock(Direction direction, bool io_ready) {
  std::atomic<uintptr_t>& semaphore = word(direction);
  uintptr_t old = semaphore.load(std::memory_order_seq_cst);
  for (;;) {
    if (old == kReady) return nullptr;
    // Nobody waits; whoever comes will look at info. Latch only real readiness.
    if (old == kNil && !io_ready) return nullptr;
    if (semaphore.compare_exchange_strong(old, io_ready ? kReady : kNil,
                                          std::memory_order_seq_cst)) {
      return old > kWait ? reinterpret_cast<Task*>(old) : nullptr;
    }
  }
}

void PollDesc::PublishInfo() {
  uint64_t flags = closing_ ? PollInfo::kClosing : 0;
  if (rd_.load(std::memory_order_relaxed) < 0) flags |= PollInfo::kReadExpired;
  if (wd_.load(std::memory_order_relaxed) < 0) flags |= PollInfo::kWriteExpired;
  // The event error is the poller's and lives only in the word: carried over.
  uint64_t old = info_.load(std::memory_order_relaxed);
  while (!info_.compare_exchange_weak(
      old, PollInfo::Word(PollInfo::Seq(old), flags | (old & PollInfo::kEventError)),
      std::memory_order_seq_cst)) {
  }
  PARKWAY_TEST_POINT("PollDesc::PublishInfo:published");
}

void PollDesc::SetEventError(bool error, uint32_t fdseq) {
  uint64_t old = info_.load(std::memory_order_relaxed);
  const uint64_t wanted = error ? PollInfo::kEventError : 0;
  while (PollInfo::Seq(old) == fdseq && (old & PollInfo::kEventError) != wanted) {
    PARKWAY_TEST_POINT("PollDesc::SetEventError:checked");
    if (info_.compare_exchange_strong(old, (old & ~PollInfo::kEventError) | wanted,
                                      std::memory_order_seq_cst)) {
      return;
    }
  }
}

bool PollDesc::PushLater(Direction direction, MonotonicTime deadline) {
  std::atomic<int64_t>& stored = direction == Direction::kRead ? rd_ : wd_;
  int64_t old = stored.load(std::memory_order_relaxed);
  if (old <= 0 || deadline.ns() <= old) return false;
  if ((info_.load(std::memory_order_relaxed) & PollInfo::kClosing) != 0) return false;
  PARKWAY_TEST_POINT("PollDesc::PushLater:checked");
  // From the value that was checked: a shortening by another thread in between must win.
  return stored.compare_exchange_strong(old, deadline.ns(), std::memory_order_relaxed);
}

void PollDesc::ChangeOne(Direction direction, MonotonicTime deadline, MonotonicTime now,
                         Change& change) {
  const bool read = direction == Direction::kRead;
  std::atomic<int64_t>& stored = read ? rd_ : wd_;
  const int64_t wanted = deadline.ns() == 0 ? 0 : deadline <= now ? kExpired : deadline.ns();
  const int64_t old = stored.exchange(wanted, std::memory_order_relaxed);
  if (wanted == old) return;
  // Later than an armed one: the timer fires at the old time, sees the new one, and re-arms.
  if (old > 0 && wanted > old) return;
  ++(read ? rseq_ : wseq_);
  if (wanted > 0) change.rearm = true;
}

PollDesc::Change PollDesc::SetDeadline(uint32_t expected, Directions directions,
                                       MonotonicTime deadline, MonotonicTime now) {
  Change change;
  LeafLockGuard guard(lock_);
  if (fdseq() != expected || closing_) return change;
  change.applied = true;
  if (Has(directions, Direction::kRead)) ChangeOne(Direction::kRead, deadline, now, change);
  if (Has(directions, Direction::kWrite)) ChangeOne(Direction::kWrite, deadline, now, change);
  PARKWAY_TEST_POINT("PollDesc::SetDeadline:before_publish");
  PublishInfo();
  if (rd_.load(std::memory_order_relaxed) < 0) {
    change.woken.reader = Unblock(Direction::kRead, false);
  }
  if (wd_.load(std::memory_order_relaxed) < 0) {
    change.woken.writer = Unblock(Direction::kWrite, false);
  }
  return change;
}

PollDesc::Change PollDesc::Evict(uint32_t expected) {
  Change change;
  LeafLockGuard guard(lock_);
  // Idempotent, because a kill, a drain and a local close do race.
  if (fdseq() != expected || closing_) return change;
  change.applied = true;
  closing_ = true;
  ++rseq_;
  ++wseq_;
  PARKWAY_TEST_POINT("PollDesc::Evict:before_publish");
  PublishInfo();
  change.woken.reader = Unblock(Direction::kRead, false);
  change.woken.writer = Unblock(Direction::kWrite, false);
  return change;
}

PollDesc::Expired PollDesc::Expire(uint32_t rseq, uint32_t wseq, MonotonicTime now) {
  Expired result;
  PARKWAY_TEST_POINT("PollDesc::Expire:before_lock");
  LeafLockGuard guard(lock_);
  if (closing_) return result;
  bool read = false;
  bool write = false;
  if (rseq == rseq_) {
    const int64_t deadline = rd_.load(std::memory_order_relaxed);
    read = deadline > 0 && deadline <= now.ns();
    result.rearm |= deadline > 0 && !read;
  }
  if (wseq == wseq_) {
    const int64_t deadline = wd_.load(std::memory_order_relaxed);
    write = deadline > 0 && deadline <= now.ns();
    result.rearm |= deadline > 0 && !write;
  }
  // A side whose sequence moved on is not this timer's business, but the timer is one for both:
  // if that side has a deadline, its re-arm is under way or done by the one below.
  if (rseq != rseq_ && rd_.load(std::memory_order_relaxed) > 0) result.rearm = true;
  if (wseq != wseq_ && wd_.load(std::memory_order_relaxed) > 0) result.rearm = true;
  if (read) rd_.store(kExpired, std::memory_order_relaxed);
  if (write) wd_.store(kExpired, std::memory_order_relaxed);
  if (!read && !write) return result;
  PublishInfo();
  if (read) result.woken.reader = Unblock(Direction::kRead, false);
  if (write) result.woken.writer = Unblock(Direction::kWrite, false);
  return result;
}

MonotonicTime PollDesc::PrepareTimer() {
  PARKWAY_DCHECK(!timer_.linked(), "the sequences of an armed timer must not change");
  LeafLockGuard guard(lock_);
  timer_.kind = TimerKind::kDescriptor;
  timer_.rseq = rseq_;
  timer_.wseq = wseq_;
  if (closing_) return MonotonicTime::InfiniteFuture();
  int64_t earliest = MonotonicTime::InfiniteFuture().ns();
  const int64_t read = rd_.load(std::memory_order_relaxed);
  const int64_t write = wd_.load(std::memory_order_relaxed);
  if (read > 0 && read < earliest) earliest = read;
  if (write > 0 && write < earliest) earliest = write;
  return MonotonicTime(earliest);
}

}  // namespace parkway
