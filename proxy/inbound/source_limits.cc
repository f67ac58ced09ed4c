#include "proxy/inbound/source_limits.h"

namespace parkway {

bool SourceLimits::KeyOf(const PackedAddress& address, SourceKey* key) {
  const Address plain = address.ToAddress();
  const uint8_t* bytes = nullptr;
  size_t size = 0;
  if (plain.family() == AF_INET) {
    bytes = reinterpret_cast<const uint8_t*>(
        &reinterpret_cast<const sockaddr_in*>(plain.data())->sin_addr);
    size = 4;
  } else if (plain.family() == AF_INET6) {
    bytes = reinterpret_cast<const sockaddr_in6*>(plain.data())->sin6_addr.s6_addr;
    size = 8;
  } else {
    return false;
  }
  key->ipv4 = size == 4;
  key->bits = 0;
  for (size_t i = 0; i < size; ++i) key->bits = key->bits << 8 | bytes[i];
  return true;
}

bool SourceLimits::TryAcquire(const PackedAddress& address) {
  SourceKey key;
  if (!KeyOf(address, &key)) return true;
  Shard& shard = ShardOf(key);
  const LeafLockGuard guard(shard.lock);
  Source& source = shard.sources[key];
  const uint32_t most = most_.load(std::memory_order_relaxed);
  if (most != 0 && source.connections >= most) return false;
  ++source.connections;
  return true;
}

void SourceLimits::AcquireBeyond(const PackedAddress& address) {
  SourceKey key;
  if (!KeyOf(address, &key)) return;
  Shard& shard = ShardOf(key);
  const LeafLockGuard guard(shard.lock);
  ++shard.sources[key].connections;
}

void SourceLimits::Release(const PackedAddress& address) {
  SourceKey key;
  if (!KeyOf(address, &key)) return;
  Shard& shard = ShardOf(key);
  const LeafLockGuard guard(shard.lock);
  const auto found = shard.sources.find(key);
  if (found == shard.sources.end()) return;
  if (--found->second.connections == 0 && !limits_rate()) shard.sources.erase(found);
}

bool SourceLimits::TryBegin(const PackedAddress& address, MonotonicTime now) {
  SourceKey key;
  const int64_t interval = interval_ns_.load(std::memory_order_relaxed);
  if (interval == 0 || !KeyOf(address, &key)) return true;
  Shard& shard = ShardOf(key);
  const LeafLockGuard guard(shard.lock);
  if (shard.sources.size() >= shard.sweep_at) Sweep(shard, now);
  Source& source = shard.sources[key];
  const int64_t base = std::max(source.full_at_ns, now.ns());
  if (base + interval > now.ns() + std::max(TokenBucket::kSecond, interval)) return false;
  source.full_at_ns = base + interval;
  return true;
}

void SourceLimits::Sweep(Shard& shard, MonotonicTime now) {
  for (auto at = shard.sources.begin(); at != shard.sources.end();) {
    const bool idle = at->second.connections == 0 && at->second.full_at_ns <= now.ns();
    at = idle ? shard.sources.erase(at) : std::next(at);
  }
  shard.sweep_at = std::max(kLeastSweep, shard.sources.size() * 2);
}

size_t SourceLimits::size() const {
  size_t sum = 0;
  for (const Shard& shard : shards_) {
    const LeafLockGuard guard(shard.lock);
    sum += shard.sources.size();
  }
  return sum;
}

}  // namespace parkway
