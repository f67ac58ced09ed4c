// Netpoll: the epoll instance of one worker. It turns events of files into tasks that may run.
//
//   Netpoll poll(worker);
//   PollDesc* d = poll.Open(fd, session, &error);      // edge-triggered, both directions, for life
//   poll.Poll(-1, polled);                             // waits; polled.runnable is to be queued
//
// A descriptor is registered once: no DEL before close (the kernel forgets a file when its last
// descriptor is closed) but for a listener, and no MOD but for a listener that pauses, for what
// would wake the worker again and again for nothing (kReadMuted, kWriteMuted), and when somebody
// waits for that. Events that arrive for a use that has ended are told by the sequence in epoll's
// data and dropped.
//
// Sleeping and waking (an eventcount). The worker: PrepareToSleep, look at the inbox once more,
// Poll, and awake again. Another thread: put something into the inbox, Break. Break writes only
// if the worker sleeps or is about to, at most once a sleep. The eventfd is edge-triggered and
// never read: each write is a new edge.
//
// Owner thread only, but for Break.
//
// Invariants
//   1. Index 0 in epoll's data is what ends a sleep (eventfd and timerfd) and nothing else.
//   2. Tasks in Polled::runnable have left their words; the caller queues each exactly once.
//   3. A batch is converted whole before any task of it runs, so a task may close any descriptor.
//   4. An ERR or HUP that finds nobody waiting on either word is reported in Polled::hangups: it
//      is never lost.
#ifndef POLLER_NETPOLL_H_
#define POLLER_NETPOLL_H_

#include <sys/epoll.h>

#include <array>
#include <atomic>
#include <cstdint>

#include "poller/clock.h"
#include "poller/poll_cache.h"
#include "poller/task.h"
#include "poller/wake_timer.h"

namespace parkway {

class Netpoll {
 public:
  static constexpr int kEventsPerPoll = 256;

  // What one Poll found.
  struct Polled {
    Task::Queue runnable;
    // Descriptors with ERR or HUP and nobody waiting. By handle, because the handling of one may
    // close another.
    std::array<PollHandle, kEventsPerPoll> hangups;
    int hangup_count = 0;
    bool full = false;  // as many events as fit: there may be more
  };

  // `owner` is found again with PollCache::OwnerOf.
  explicit Netpoll(void* owner);
  ~Netpoll();
  Netpoll(const Netpoll&) = delete;
  Netpoll& operator=(const Netpoll&) = delete;

  // 0, or the -errno that kept it from being whole; then nothing else may be called. (Go publishes
  // netpollInited last for the same reason.)
  int init_error() const { return init_error_; }

  // A descriptor for `fd`, not yet known to epoll: try the operation first, and Register when it
  // would block. nullptr: out of descriptors.
  PollDesc* Allocate(int fd, void* user);
  // One epoll_ctl(ADD). Reports what the file is ready for at once, so being late loses nothing; of
  // what `muted` (kReadMuted, kWriteMuted) says only once somebody waits for it (Unmute). A hang-up
  // is always told. 0 or -errno.
  int Register(PollDesc& desc, uint8_t muted = PollDesc::kWriteMuted);
  // Both; on failure nothing is left and *error is -errno (-ENOMEM: out of descriptors).
  PollDesc* Open(int fd, void* user, int* error);
  // Frees the descriptor; the fd is the caller's to close. REQUIRES: as PollDesc::Close.
  void Close(PollDesc& desc);
  // The same without an Evict before it. REQUIRES: as PollDesc::End.
  void End(PollDesc& desc);

  // Listeners: level-triggered, because an edge strands what waits in the backlog (T54). Close
  // takes them out of epoll: if others hold the file too, who waits in its backlog would end each
  // sleep.
  int RegisterListener(PollDesc& desc);
  int PauseListener(PollDesc& desc);
  int ResumeListener(PollDesc& desc);
  // From now on epoll tells of this direction, of what is so already first: to be called before
  // anybody waits for it. See Ready().
  void Unmute(PollDesc& desc, Direction direction) {
    const uint8_t bit =
        direction == Direction::kRead ? PollDesc::kReadMuted : PollDesc::kWriteMuted;
    if ((desc.edge_bits() & bit) != 0) SetMuted(desc, bit, false);
  }
  // For an fd that leaves the process while the file lives on.
  int Deregister(PollDesc& desc);

  // What Poll may take as its timeout so that it ends by `wake`.
  int64_t TimeoutNs(MonotonicTime wake, MonotonicTime now) { return wake_timer_.Sleep(wake, now); }
  // Waits at most `timeout_ns` (< 0: for ever, 0: not at all) and fills `polled`, which must be
  // empty. A signal or an error of epoll looks like a wait that ended early. Go: netpoll.
  void Poll(int64_t timeout_ns, Polled& polled);

  // From now on Break writes. Look at the inbox after this, before Poll.
  void PrepareToSleep() { sleeping_.store(true, std::memory_order_seq_cst); }
  void Awake() { sleeping_.store(false, std::memory_order_relaxed); }
  // Any thread. Wakes the worker if it sleeps; true if that took a system call.
  bool Break();

  PollCache& cache() { return cache_; }
  const PollCache& cache() const { return cache_; }

 private:
  static constexpr uint32_t kEvents = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
  // The kernel wakes for bytes with IN and PRI.
  static constexpr uint32_t kReadEvents = EPOLLIN | EPOLLPRI;

  // Index 0: see invariant 1.
  static constexpr uint64_t kTimerData = uint64_t{1} << 32;

  static uint64_t Data(const PollDesc& desc) {
    return static_cast<uint64_t>(desc.fdseq()) << 32 | desc.index();
  }
  void Ready(const epoll_event& event, Polled& polled);
  static uint32_t EventsOf(const PollDesc& desc);
  void SetMuted(PollDesc& desc, uint8_t bit, bool muted);
  // What must not outlive this use of the descriptor.
  void Forget(PollDesc& desc);

  PollCache cache_;
  int epoll_fd_ = -1;
  int wake_fd_ = -1;
  WakeTimer wake_timer_;
  int init_error_ = 0;
  std::array<epoll_event, kEventsPerPoll> events_;
  // On a line of its own: other threads write it.
  alignas(64) std::atomic<bool> sleeping_{false};
};

}  // namespace parkway

#endif  // POLLER_NETPOLL_H_
