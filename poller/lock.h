// A leaf lock of four bytes: small enough to live in every descriptor.
//
// Three states (Drepper, "Futexes Are Tricky", mutex 2): 0 free, 1 held, 2 held and somebody
// sleeps. An uncontended Lock or Unlock is one atomic instruction and no system call. It waits
// with std::atomic::wait, which is a futex underneath.
//
// Any thread. It is a leaf: nothing is locked, posted, woken or called out to while it is held,
// so there is no lock order to keep.
//
// Why not absl::Mutex: 8 bytes, and the packaged library is not built for TSan, which then
// reports races that are none. Why not std::mutex: 40 bytes, and clang does not know it as a
// capability.
#ifndef POLLER_LOCK_H_
#define POLLER_LOCK_H_

#include <atomic>
#include <cstdint>

#include "absl/base/thread_annotations.h"

namespace parkway {

class ABSL_LOCKABLE LeafLock {
 public:
  LeafLock() = default;
  LeafLock(const LeafLock&) = delete;
  LeafLock& operator=(const LeafLock&) = delete;

  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    uint32_t free = kFree;
    if (!state_.compare_exchange_strong(free, kHeld, std::memory_order_acquire)) LockSlow();
  }

  void Unlock() ABSL_UNLOCK_FUNCTION() {
    if (state_.exchange(kFree, std::memory_order_release) == kContended) state_.notify_one();
  }

 private:
  static constexpr uint32_t kFree = 0;
  static constexpr uint32_t kHeld = 1;
  static constexpr uint32_t kContended = 2;

  void LockSlow() {
    while (state_.exchange(kContended, std::memory_order_acquire) != kFree) {
      state_.wait(kContended, std::memory_order_relaxed);
    }
  }

  std::atomic<uint32_t> state_{kFree};
};

static_assert(sizeof(LeafLock) == 4, "one lives in every descriptor");

// Holds a LeafLock for a scope.
class ABSL_SCOPED_LOCKABLE LeafLockGuard {
 public:
  explicit LeafLockGuard(LeafLock& lock) ABSL_EXCLUSIVE_LOCK_FUNCTION(lock) : lock_(lock) {
    lock_.Lock();
  }
  ~LeafLockGuard() ABSL_UNLOCK_FUNCTION() { lock_.Unlock(); }
  LeafLockGuard(const LeafLockGuard&) = delete;
  LeafLockGuard& operator=(const LeafLockGuard&) = delete;

 private:
  LeafLock& lock_;
};

}  // namespace parkway

#endif  // POLLER_LOCK_H_
