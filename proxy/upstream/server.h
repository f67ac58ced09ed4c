// Server: how one server of one upstream is doing: one record for all workers of the process.
//
// Whoever balances reads it; sessions and health checks write here and nowhere else. One cache
// line: a connection that begins or ends touches it anyway.
//
// Any thread. The times are those of the monotonic clock, in nanoseconds.
//
// Invariants
//   1. connections() is exact, and never above the `most` of the TryAcquire calls.
//   2. flags() == 0: it takes connections.
#ifndef PROXY_UPSTREAM_SERVER_H_
#define PROXY_UPSTREAM_SERVER_H_

#include <atomic>
#include <cstdint>

#include "poller/clock.h"

namespace parkway {

class alignas(64) Server {
 public:
  // Why it takes no new connections.
  enum Flag : uint32_t {
    kDrained = 1,    // the operator's word
    kDown = 2,       // the operator's word
    kUnhealthy = 4,  // what the checks found
    kEjected = 8,    // too many connects failed; for a time
    kGone = 16,      // removed from the configuration
  };
  static constexpr uint32_t kByOperator = kDrained | kDown | kGone;
  static constexpr uint32_t kAll = kByOperator | kUnhealthy | kEjected;

  // --- Connections: those that are open and those that are being made ---

  uint32_t connections() const { return connections_.load(std::memory_order_relaxed); }
  // Counts one more unless there are `most` (0: no limit).
  bool TryAcquire(uint32_t most) {
    if (most == 0) {
      connections_.fetch_add(1, std::memory_order_relaxed);
      return true;
    }
    uint32_t seen = connections_.load(std::memory_order_seq_cst);
    do {
      if (seen >= most) return false;
    } while (!connections_.compare_exchange_weak(seen, seen + 1, std::memory_order_seq_cst));
    return true;
  }
  // Counts one more only if there are `seen`: two workers that chose by the same number never both
  // have their way.
  bool TryAcquireFrom(uint32_t seen) {
    return connections_.compare_exchange_strong(seen, seen + 1, std::memory_order_seq_cst);
  }
  void Release() { connections_.fetch_sub(1, std::memory_order_seq_cst); }

  // --- Whether it takes any ---

  uint32_t flags() const { return flags_.load(std::memory_order_relaxed); }
  // True: something has changed.
  bool Raise(Flag flag) { return (flags_.fetch_or(flag, std::memory_order_seq_cst) & flag) == 0; }
  bool Lower(Flag flag) {
    return (flags_.fetch_and(~static_cast<uint32_t>(flag), std::memory_order_seq_cst) & flag) != 0;
  }

  // When it last came back, for a slow start; 0: it was always there.
  int64_t back_since() const { return back_since_.load(std::memory_order_relaxed); }
  void set_back_since(MonotonicTime now) { back_since_.store(now.ns(), std::memory_order_relaxed); }

  // --- Failed connects ---

  // Returns how many there were in a row.
  uint32_t CountFailure() { return failures_.fetch_add(1, std::memory_order_relaxed) + 1; }
  void ForgetFailures() {
    if (failures_.load(std::memory_order_relaxed) != 0) {
      failures_.store(0, std::memory_order_relaxed);
    }
  }
  int64_t ejected_until() const { return ejected_until_.load(std::memory_order_relaxed); }
  // For how long, if it is ejected at `now`: `base_ns` times how often that has happened lately.
  int64_t NextEjection(MonotonicTime now, int64_t base_ns);
  // It is not ejected after all. `until`: what NextEjection found.
  void TakeBackEjection(int64_t until) {
    ejections_.fetch_sub(1, std::memory_order_relaxed);
    set_ejected_until(until);
  }
  void set_ejected_until(int64_t when) { ejected_until_.store(when, std::memory_order_relaxed); }
  int64_t ejected_since() const { return ejected_since_.load(std::memory_order_relaxed); }
  void set_ejected_since(MonotonicTime now) {
    ejected_since_.store(now.ns(), std::memory_order_relaxed);
  }

  // As if it had never been there, but for why it takes nobody. REQUIRES: it has no connections.
  void BecomeAnother() {
    for (auto* count : {&failures_, &ejections_, &connect_us_, &sources_}) {
      count->store(0, std::memory_order_relaxed);
    }
    for (auto* time :
         {&ejected_until_, &ejected_since_, &back_since_, &measured_at_, &last_connect_}) {
      time->store(0, std::memory_order_relaxed);
    }
  }

  // --- Which local address is next ---

  uint32_t NextSource() { return sources_.fetch_add(1, std::memory_order_relaxed); }

  // When a connection to it was made, give or take 10 ms; zero: never. Kept for whoever lets
  // traffic stand for health checks.
  MonotonicTime last_connect() const {
    return MonotonicTime(last_connect_.load(std::memory_order_relaxed));
  }
  void NoteConnect(MonotonicTime now) {
    if (now.ns() - last_connect_.load(std::memory_order_relaxed) > 10'000'000) {
      last_connect_.store(now.ns(), std::memory_order_relaxed);
    }
  }

  // --- How long its connects take ---

  void NoteConnectTime(int64_t ns, MonotonicTime now);
  // A moving average, which fades while nothing is measured so that one slow connect does not
  // banish a server for ever. At least a microsecond.
  uint64_t ConnectTimeUs(MonotonicTime now) const;

  static constexpr int64_t kLongestEjectionNs = 300'000'000'000;

 private:
  std::atomic<uint32_t> connections_{0};
  std::atomic<uint32_t> flags_{0};
  std::atomic<uint32_t> failures_{0};
  std::atomic<uint32_t> ejections_{0};
  std::atomic<int64_t> ejected_until_{0};
  std::atomic<int64_t> ejected_since_{0};
  std::atomic<int64_t> back_since_{0};
  std::atomic<int64_t> measured_at_{0};
  std::atomic<int64_t> last_connect_{0};
  std::atomic<uint32_t> connect_us_{0};
  std::atomic<uint32_t> sources_{0};
};

static_assert(sizeof(Server) == 64);

}  // namespace parkway

#endif  // PROXY_UPSTREAM_SERVER_H_
