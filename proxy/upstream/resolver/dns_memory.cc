#include "proxy/upstream/resolver/dns_memory.h"

#include <algorithm>
#include <iterator>

namespace parkway {

namespace {

constexpr uint32_t kMostDoublings = 16;
// Pauses are drawn out by at most this part of them.
constexpr int64_t kDrawnOutPart = 20;

std::string KeyOf(const Address& address) {
  const PackedAddress packed(address);
  const auto& bytes = packed.ip_bytes();
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// The same server, whatever its priority and weight are now.
std::string KeyOf(const SrvTarget& target) {
  return target.host + ":" + std::to_string(target.port);
}

}  // namespace

bool DnsMemory::Answered(const DnsAnswer& answer, MonotonicTime now, Random& random) {
  ++answers_;
  failed_ = false;
  failures_in_a_row_ = 0;
  error_.clear();
  good_at_ = now;
  bool changed = false;
  for (auto& [key, value] : values_) value.seen = false;
  const auto see = [this, &changed](const std::string& key, const Value& value) {
    const auto [at, added] = values_.try_emplace(key, value);
    changed |= added || at->second.target != value.target;
    at->second.target = value.target;
    at->second.seen = true;
  };
  for (const Address& address : answer.addresses) see(KeyOf(address), Value{address, {}});
  for (const SrvTarget& target : answer.targets) see(KeyOf(target), Value{{}, target});
  changed |= Drop();
  ttl_ = std::clamp(answer.ttl, policy_.min_ttl, std::max(policy_.min_ttl, policy_.max_ttl));
  Schedule(ttl_, now, random);
  return changed;
}

bool DnsMemory::Nothing(const std::string& why, bool others_left, MonotonicTime now,
                        Random& random) {
  ++nothings_;
  failed_ = false;
  if (!others_left) {
    error_ = why;
    BackOff(now, random);
    return false;
  }
  failures_in_a_row_ = 0;
  error_.clear();
  good_at_ = now;
  for (auto& [key, value] : values_) value.seen = false;
  const bool had = !values_.empty();
  const bool changed = Drop();
  // How long there will be nothing is not said; who had values is asked as often as before.
  const absl::Duration pause = had ? ttl_ : policy_.longest_backoff;
  Schedule(std::clamp(pause, policy_.min_ttl, std::max(policy_.min_ttl, policy_.max_ttl)), now,
           random);
  return changed;
}

void DnsMemory::Failed(const std::string& why, MonotonicTime now, Random& random) {
  ++failures_;
  failed_ = true;
  error_ = why;
  BackOff(now, random);
}

// What was missing in two answers in a row.
bool DnsMemory::Drop() {
  bool dropped = false;
  for (auto it = values_.begin(); it != values_.end();) {
    Value& value = it->second;
    const bool gone = !value.seen && value.missed;
    value.missed = !value.seen;
    it = gone ? values_.erase(it) : std::next(it);
    dropped |= gone;
  }
  return dropped;
}

void DnsMemory::Schedule(absl::Duration pause, MonotonicTime now, Random& random) {
  const int64_t whole = std::max<int64_t>(absl::ToInt64Nanoseconds(pause), kDrawnOutPart);
  next_ = now.PlusNs(
      whole + static_cast<int64_t>(random() % static_cast<uint64_t>(whole / kDrawnOutPart + 1)));
}

void DnsMemory::BackOff(MonotonicTime now, Random& random) {
  const int64_t most = absl::ToInt64Nanoseconds(std::min(policy_.longest_backoff, policy_.max_ttl));
  const int64_t first = std::max<int64_t>(absl::ToInt64Nanoseconds(policy_.first_backoff), 2);
  const int64_t whole =
      std::max<int64_t>(std::min(first << std::min(failures_in_a_row_, kMostDoublings), most), 2);
  ++failures_in_a_row_;
  // Between half of it and all: those who failed together must not come back together.
  next_ =
      now.PlusNs(whole / 2 + static_cast<int64_t>(random() % static_cast<uint64_t>(whole / 2 + 1)));
}

std::vector<Address> DnsMemory::addresses() const {
  std::vector<Address> all;
  for (const auto& [key, value] : values_) all.push_back(value.address);
  return all;
}

std::vector<SrvTarget> DnsMemory::targets() const {
  std::vector<SrvTarget> all;
  for (const auto& [key, value] : values_) all.push_back(value.target);
  return all;
}

}  // namespace parkway
