// SourceLimits: how many connections each source may have, and how many it may begin in a second.
// A source is an IPv4 address or the /64 of an IPv6 address. Exact for the whole process.
//
// TokenBucket: a rate with a burst of one second's worth, as one number: the time at which it will
// be full again (GCRA, ITU-T I.371).
//
// Any thread. A source without connections and with a full bucket is forgotten, at the latest when
// the table has doubled.
//
// Invariants
//   1. In every second a bucket of rate R gives at most 2R tokens, in n seconds (n + 1) R.
#ifndef PROXY_INBOUND_SOURCE_LIMITS_H_
#define PROXY_INBOUND_SOURCE_LIMITS_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "poller/address.h"
#include "poller/clock.h"
#include "poller/lock.h"

namespace parkway {

class TokenBucket {
 public:
  static constexpr int64_t kSecond = 1'000'000'000;

  // `per_second` 0: no limit.
  explicit TokenBucket(uint32_t per_second) { Set(per_second); }

  void Set(uint32_t per_second) {
    interval_ns_.store(IntervalOf(per_second), std::memory_order_relaxed);
  }
  static int64_t IntervalOf(uint32_t per_second) {
    return per_second == 0 ? 0 : kSecond / per_second;
  }

  // 0: taken. Else how long until there will be one.
  int64_t Take(MonotonicTime now) {
    const int64_t interval = interval_ns_.load(std::memory_order_relaxed);
    if (interval == 0) return 0;
    int64_t full_at = full_at_.load(std::memory_order_relaxed);
    for (;;) {
      const int64_t base = std::max(full_at, now.ns());
      const int64_t wait = base + interval - (now.ns() + std::max(kSecond, interval));
      if (wait > 0) return wait;
      if (full_at_.compare_exchange_weak(full_at, base + interval, std::memory_order_relaxed)) {
        return 0;
      }
    }
  }
  void GiveBack() {
    const int64_t interval = interval_ns_.load(std::memory_order_relaxed);
    if (interval > 0) full_at_.fetch_sub(interval, std::memory_order_relaxed);
  }

 private:
  std::atomic<int64_t> interval_ns_{0};
  std::atomic<int64_t> full_at_{0};
};

struct SourceKey {
  uint64_t bits = 0;
  bool ipv4 = false;
  bool operator==(const SourceKey&) const = default;
};

struct SourceHash {
  // Where things lie differs from one start to the next: nobody outside can aim at one bucket.
  size_t operator()(const SourceKey& key) const {
    static const char kAnchor = 0;
    uint64_t mixed = (key.bits ^ reinterpret_cast<uintptr_t>(&kAnchor)) * 0x9e3779b97f4a7c15u;
    mixed ^= mixed >> 29;
    return static_cast<size_t>((mixed + (key.ipv4 ? 1 : 0)) * 0xbf58476d1ce4e5b9u >> 16);
  }
};

class SourceLimits {
 public:
  // 0: no limit.
  SourceLimits(uint32_t most_connections, uint32_t accepts_per_second) {
    Set(most_connections, accepts_per_second);
  }

  // For connections that begin from now on.
  void Set(uint32_t most_connections, uint32_t accepts_per_second) {
    most_.store(most_connections, std::memory_order_relaxed);
    interval_ns_.store(TokenBucket::IntervalOf(accepts_per_second), std::memory_order_relaxed);
  }

  bool limits_connections() const { return most_.load(std::memory_order_relaxed) > 0; }
  bool limits_rate() const { return interval_ns_.load(std::memory_order_relaxed) > 0; }

  // Counts a connection of the source, unless it has too many (0: never). Addresses without a
  // source (unix peers) are never refused, and are not counted.
  bool TryAcquire(const PackedAddress& address);
  // For a connection that was there before the limit.
  void AcquireBeyond(const PackedAddress& address);
  // REQUIRES: acquired for the same source.
  void Release(const PackedAddress& address);
  // One more begins now; false: too many have.
  bool TryBegin(const PackedAddress& address, MonotonicTime now);

  size_t size() const;  // sources that are remembered

 private:
  static constexpr size_t kShards = 16;
  static constexpr size_t kLeastSweep = 64;

  struct Source {
    uint32_t connections = 0;
    int64_t full_at_ns = 0;
  };
  struct alignas(64) Shard {
    mutable LeafLock lock;
    std::unordered_map<SourceKey, Source, SourceHash> sources ABSL_GUARDED_BY(lock);
    size_t sweep_at ABSL_GUARDED_BY(lock) = kLeastSweep;
  };

  static bool KeyOf(const PackedAddress& address, SourceKey* key);
  Shard& ShardOf(const SourceKey& key) { return shards_[SourceHash()(key) % kShards]; }
  static void Sweep(Shard& shard, MonotonicTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.lock);

  std::atomic<uint32_t> most_{0};
  std::atomic<int64_t> interval_ns_{0};
  std::array<Shard, kShards> shards_;
};

}  // namespace parkway

#endif  // PROXY_INBOUND_SOURCE_LIMITS_H_
