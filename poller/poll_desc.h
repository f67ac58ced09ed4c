// PollDesc: the poll descriptor, one per file descriptor that a worker waits on.
//
// It answers one question for two directions: may the task that wants to read (write) go on, and
// if not, who wakes it? The protocol is that of Go's runtime (runtime/netpoll.go). Each direction
// has a binary semaphore, rg for the reader and wg for the writer, one word that holds
//
//   nil     nobody waits, no readiness is latched
//   ready   readiness was reported and not yet consumed
//   wait    the one waiter has announced itself and still runs on its stack
//   task    the waiter is parked; whoever replaces this value must make the task runnable
//
//   from    to     by                  where
//   nil     wait   the waiter          BlockBegin
//   ready   nil    the waiter          BlockBegin: consumed, no park
//   wait    task   the scheduler       BlockCommit, after the waiter left its stack
//   nil     task   the scheduler       CommitIdle: a wait without a stack needs no announcement
//   *       nil    the waiter          BlockEnd; a second waiter is a broken invariant
//   nil     ready  the poller          Unblock(io)
//   wait    ready  the poller          Unblock(io): the commit will fail
//   task    ready  the poller          Unblock(io): returns the task
//   wait    nil    closer, deadline    Unblock(!io): the commit will fail
//   task    nil    closer, deadline    Unblock(!io): returns the task
//   task    nil    the scheduler       RetractIdle, when it sees an error after its commit
//
// No function here makes a task runnable: what was taken out of a word is returned, and the
// caller queues it (owner) or posts it (another thread) after the lock is released.
//
// Threads. The owner (the worker) does everything. Any other thread may call SetDeadline and
// Evict, by handle only (poller/remote.h).
//
// Invariants
//   1. rg and wg change only by the table above.
//   2. A task leaves a word exactly once per park, by the compare-exchange of one winner.
//   3. info is published before any Unblock(!io). The waiter announces, then looks at info; the
//      canceller publishes, then looks at the word: one of them sees the other. This needs
//      sequential consistency on those four accesses (golang/go#45211).
//   4. fdseq changes only in Close.
//   5. rseq (wseq) changes on clear, shorten, Evict, Open; never when a deadline moves later, for
//      then the armed timer must still count.
//   6. While rd or wd is positive, the timer is armed no later than the earlier of them under
//      their present sequences, or a re-arm is on its way to the owner.
//   7. A descriptor is freed only when closing, with nobody in rg or wg, and its timer unlinked.
//   8. Descriptors are type-stable: never returned to the allocator, so a stale handle or event
//      may always be looked at.
#ifndef POLLER_POLL_DESC_H_
#define POLLER_POLL_DESC_H_

#include <atomic>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "poller/clock.h"
#include "poller/lock.h"
#include "poller/poll_info.h"
#include "poller/task.h"
#include "poller/timer_wheel.h"

namespace parkway {

enum class Directions : uint8_t { kRead = 1, kWrite = 2, kBoth = 3 };

// Go's pollNoError, pollErrClosing, pollErrTimeout, pollErrNotPollable, in order of precedence.
enum class WaitResult : uint8_t { kReady, kClosing, kTimeout, kNotPollable };

// Names one use of one descriptor; safe to keep and to pass between threads.
struct PollHandle {
  uint32_t index = 0;
  uint32_t fdseq = 0;
  bool operator==(const PollHandle&) const = default;
};

// Tasks taken out of the words; the caller makes them runnable.
struct WokenTasks {
  Task* reader = nullptr;
  Task* writer = nullptr;
};

class PollDesc {
 public:
  // Owner only: facts of the file that outlive the wake-up (edge_bits).
  static constexpr uint8_t kHangup = 1;  // RDHUP, HUP or ERR: a FIN or an error may follow data
  static constexpr uint8_t kUrgent = 2;  // PRI: a short read may have stopped at an urgent mark
  static constexpr uint8_t kError = 4;   // ERR: the socket has an error that a call may have eaten
  // Not of an event but of the file, said by who makes the descriptor: a unix socket. Its reads
  // stop short behind a message that passed descriptors, whatever follows; and it is told to be
  // writable whenever its peer has read.
  static constexpr uint8_t kUnix = 8;
  // Of its registration: epoll does not tell of bytes that come in, or of room for more
  // (Netpoll::Unmute).
  static constexpr uint8_t kReadMuted = 16;
  static constexpr uint8_t kWriteMuted = 64;
  // A listener: level-triggered.
  static constexpr uint8_t kLevel = 32;
  // OUT without HUP or ERR: a connect that was under way has succeeded. (The kernel looks at the
  // socket when it hands out an event, and one that is not connected yet has no OUT: tcp_poll.)
  static constexpr uint8_t kConnected = 128;

  PollDesc(const PollDesc&) = delete;
  PollDesc& operator=(const PollDesc&) = delete;

  // --- Owner: life ---

  // Makes a free descriptor stand for `fd`. Go: poll_runtime_pollOpen without the epoll call. Takes
  // no lock: nobody has a handle of this use yet, and one of an earlier use fails at its sequence.
  void Open(int fd, void* user) ABSL_NO_THREAD_SAFETY_ANALYSIS;
  // Ends this use: the handle and all events of it become stale. The fd is the caller's.
  // REQUIRES: Evict was called; nobody waits; the timer is not linked.
  void Close() ABSL_LOCKS_EXCLUDED(lock_);
  // Evict and Close at once, for who knows that nobody waits. REQUIRES: as Close, but for Evict.
  void End() ABSL_LOCKS_EXCLUDED(lock_);

  int fd() const { return fd_; }
  void* user() const { return user_; }
  void set_user(void* user) { user_ = user; }
  uint32_t index() const { return index_; }
  PollHandle handle() const { return {index_, fdseq()}; }
  bool registered() const { return registered_; }
  void set_registered(bool registered) { registered_ = registered; }
  uint8_t edge_bits() const { return edge_bits_; }
  void add_edge_bits(uint8_t bits) { edge_bits_ |= bits; }
  void clear_edge_bits(uint8_t bits) { edge_bits_ &= static_cast<uint8_t>(~bits); }

  // --- Owner: waiting ---

  // Prepares an attempt: fails if closing or expired, else drops readiness whose data was already
  // read. Go: pollReset. REQUIRES: an I/O attempt follows, else an edge is lost.
  WaitResult Reset(Direction direction);

  // True if readiness was latched and is now consumed: do not park. False: announced.
  bool BlockBegin(Direction direction);
  // Scheduler, after the waiter left its stack. False: do not park, resume it.
  bool BlockCommit(Direction direction, Task* task);
  // The waiter, resumed or not parked at all. True: ready.
  bool BlockEnd(Direction direction);

  // Scheduler, for a task that gave its stack back. False: readiness consumed, run it again.
  bool CommitIdle(Direction direction, Task* task);
  // True: the task was still there and is the caller's again. False: another took it.
  bool RetractIdle(Direction direction, Task* task);

  // Whether anybody waits on either word (announced or parked).
  bool HasWaiter() const;

  // Whether readiness was reported and nobody has used it.
  bool IsLatched(Direction direction) const {
    return (direction == Direction::kRead ? rg_ : wg_).load(std::memory_order_relaxed) == kReady;
  }

  // --- Owner: poller ---

  // Go: netpollready for one direction.
  Task* Ready(Direction direction) { return Unblock(direction, true); }
  // Marks or clears the event error for the use `fdseq` only.
  void SetEventError(bool error, uint32_t fdseq);

  // --- Owner: deadlines ---

  // Moves a deadline later: one relaxed compare-exchange, no lock, no timer. False if it cannot
  // be done so (none set, expired, closing, not later, or changed by another thread just now):
  // then call SetDeadline.
  bool PushLater(Direction direction, MonotonicTime deadline);

  struct Expired {
    WokenTasks woken;
    bool rearm = false;  // call PrepareTimer and arm
  };
  // The timer, armed under these sequences, has fired.
  Expired Expire(uint32_t rseq, uint32_t wseq, MonotonicTime now) ABSL_LOCKS_EXCLUDED(lock_);

  // Writes the sequences into the timer and returns when it must fire; InfiniteFuture if never.
  // REQUIRES: the timer is not linked.
  MonotonicTime PrepareTimer() ABSL_LOCKS_EXCLUDED(lock_);
  TimerWheel::Node& timer() { return timer_; }

  // --- Any thread that holds a handle (the owner may pass its own) ---

  // closing, then timeout, then (reads only) event error. Lock-free.
  WaitResult CheckError(Direction direction) const;

  struct Change {
    bool applied = false;  // false: the handle is stale or the descriptor closing
    bool rearm = false;    // the owner must re-arm the timer
    WokenTasks woken;
  };
  // Sets (positive), expires (not after `now`) or clears (zero) deadlines. Go: pollSetDeadline.
  Change SetDeadline(uint32_t fdseq, Directions directions, MonotonicTime deadline,
                     MonotonicTime now) ABSL_LOCKS_EXCLUDED(lock_);
  // From now on no Wait parks, and whoever waits is returned. Idempotent. Go: pollUnblock.
  Change Evict(uint32_t fdseq) ABSL_LOCKS_EXCLUDED(lock_);

  uint32_t fdseq() const { return PollInfo::Seq(info_.load(std::memory_order_acquire)); }
  // Zero: none. Negative: expired.
  int64_t deadline_ns(Direction direction) const {
    return (direction == Direction::kRead ? rd_ : wd_).load(std::memory_order_relaxed);
  }

  static PollDesc& OfTimer(TimerWheel::Node& node);

 private:
  friend class PollCache;
  friend class PollDescPeer;  // the test's, which looks at the words

  static constexpr uintptr_t kNil = 0;
  static constexpr uintptr_t kReady = 1;
  static constexpr uintptr_t kWait = 2;
  static constexpr int64_t kExpired = -1;

  explicit PollDesc(uint32_t index) : index_(index) {}
  ~PollDesc() = default;

  std::atomic<uintptr_t>& word(Direction direction) {
    return direction == Direction::kRead ? rg_ : wg_;
  }
  // Go: netpollunblock.
  Task* Unblock(Direction direction, bool io_ready);
  // The part that Close and End share.
  void Leave() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Copies closing and the expiries into info. Go: publishInfo.
  void PublishInfo() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void ChangeOne(Direction direction, MonotonicTime deadline, MonotonicTime now, Change& change)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  PollDesc* link_ = nullptr;  // free list of the cache; owner
  void* user_ = nullptr;      // what this descriptor belongs to; owner
  // Go's `self` has no counterpart: it exists there to keep an interface value alive.
  std::atomic<uint64_t> info_{PollInfo::Word(1, 0)};  // fdseq and atomicInfo
  std::atomic<uintptr_t> rg_{kNil};
  std::atomic<uintptr_t> wg_{kNil};
  std::atomic<int64_t> rd_{0};  // written under lock_, or by PushLater
  std::atomic<int64_t> wd_{0};
  int fd_ = -1;           // owner
  const uint32_t index_;  // place in the cache
  uint32_t rseq_ ABSL_GUARDED_BY(lock_) = 0;
  uint32_t wseq_ ABSL_GUARDED_BY(lock_) = 0;
  LeafLock lock_;
  bool closing_ ABSL_GUARDED_BY(lock_) = false;
  bool registered_ = false;  // owner: epoll knows the fd
  uint8_t edge_bits_ = 0;    // owner
  TimerWheel::Node timer_;   // owner; rt and wt of the original in one
};

static_assert(sizeof(PollDesc) <= 112, "the memory of an idle connection is two of these");

}  // namespace parkway

#endif  // POLLER_POLL_DESC_H_
