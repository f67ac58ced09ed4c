// How many connections the process may have, exactly, whatever the number of workers.
//
// A slot is taken before a connection is accepted and given back when it has ended. Who finds none
// pauses its listener (the backlog queues) and says so; who gives one back then wakes a waiter.
//
// The limit falls by itself when the descriptors turn out to be fewer than they were at the start
// (an operator lowered RLIMIT_NOFILE), and rises again: see FitToDescriptors. While memory is short
// it is zero: see Hold.
//
// Any thread.
//
// Invariants
//   1. in_use() <= the limit at the time of the last successful TryAcquire, but for those of
//      AcquireBeyond.
#ifndef PROXY_INBOUND_LIMITS_H_
#define PROXY_INBOUND_LIMITS_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace parkway {

class ConnectionLimit {
 public:
  explicit ConnectionLimit(uint32_t most) : most_(most), limit_(most) {}

  bool TryAcquire() {
    uint32_t used = used_.load(std::memory_order_relaxed);
    do {
      if (used >= limit_.load(std::memory_order_relaxed)) return false;
    } while (!used_.compare_exchange_weak(used, used + 1, std::memory_order_seq_cst));
    return true;
  }

  // For connections whose handshake is done when a listener closes: they are not turned away.
  void AcquireBeyond() { used_.fetch_add(1, std::memory_order_seq_cst); }

  // True: a listener waits for a slot and is to be woken.
  bool Release() {
    used_.fetch_sub(1, std::memory_order_seq_cst);
    return waiting_.load(std::memory_order_seq_cst) > 0;
  }

  // A listener found no slot and pauses; after this it must try once more.
  void BeginWaiting() { waiting_.fetch_add(1, std::memory_order_seq_cst); }
  void EndWaiting() { waiting_.fetch_sub(1, std::memory_order_seq_cst); }

  // The process ran out of descriptors though its limit is `soft`: fewer connections then.
  void FitToDescriptors(uint64_t soft) {
    if (held_.load(std::memory_order_relaxed)) return;
    const uint64_t reserve = other_descriptors_.load(std::memory_order_relaxed);
    // So few that the reserve of the start takes more than half: most of that is for what is not
    // open now.
    const uint64_t room = soft > 2 * reserve ? (soft - reserve) / 2 : soft / 4;
    const uint64_t most = most_.load(std::memory_order_relaxed);
    limit_.store(static_cast<uint32_t>(std::clamp<uint64_t>(room, 1, most)),
                 std::memory_order_relaxed);
  }

  // Another limit, for connections that come from now on.
  void Set(uint32_t most) {
    if (most_.exchange(most, std::memory_order_relaxed) == most) return;
    if (!held_.load(std::memory_order_relaxed)) limit_.store(most, std::memory_order_seq_cst);
  }

  // Nobody is let in while it is held. The control thread; again and again, for a worker that has
  // just looked at descriptors may have set another limit.
  void Hold(bool hold) {
    const bool was = held_.exchange(hold, std::memory_order_relaxed);
    if (hold || was) limit_.store(hold ? 0 : most_.load(), std::memory_order_seq_cst);
  }
  bool held() const { return held_.load(std::memory_order_relaxed); }

  // What the process holds besides its connections.
  void set_other_descriptors(uint32_t count) {
    other_descriptors_.store(count, std::memory_order_relaxed);
  }

  uint32_t in_use() const { return used_.load(std::memory_order_relaxed); }
  uint32_t limit() const { return limit_.load(std::memory_order_relaxed); }
  bool lowered() const { return limit() < most_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint32_t> most_;
  std::atomic<uint32_t> limit_;
  std::atomic<uint32_t> used_{0};
  std::atomic<int32_t> waiting_{0};
  std::atomic<bool> held_{false};
  std::atomic<uint32_t> other_descriptors_{32};
};

}  // namespace parkway

#endif  // PROXY_INBOUND_LIMITS_H_
