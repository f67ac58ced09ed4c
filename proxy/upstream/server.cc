#include "proxy/upstream/server.h"

#include <algorithm>

namespace parkway {

namespace {

// An average of about so many connects.
constexpr int64_t kWindow = 8;
// What was measured counts half after so long.
constexpr int64_t kHalfLifeNs = 10'000'000'000;

}  // namespace

int64_t Server::NextEjection(MonotonicTime now, int64_t base_ns) {
  // Who was well for as long as the longest ejection begins anew.
  const int64_t last = ejected_until_.load(std::memory_order_relaxed);
  uint32_t times = ejections_.load(std::memory_order_relaxed);
  if (last == 0 || now.ns() - last > kLongestEjectionNs) times = 0;
  ++times;
  ejections_.store(times, std::memory_order_relaxed);
  const int64_t most = std::max(base_ns, kLongestEjectionNs);
  return base_ns > most / times ? most : base_ns * times;
}

void Server::NoteConnectTime(int64_t ns, MonotonicTime now) {
  // Two workers at once may lose one of the two: it is an average.
  const auto sample = static_cast<int64_t>(std::clamp<int64_t>(ns / 1000, 1, UINT32_MAX));
  int64_t average = connect_us_.load(std::memory_order_relaxed);
  average = average == 0 ? sample : average + (sample - average) / kWindow;
  // Where the difference is less than the window it would never be closed.
  if (average > sample && average - sample < kWindow) --average;
  connect_us_.store(static_cast<uint32_t>(std::max<int64_t>(average, 1)),
                    std::memory_order_relaxed);
  measured_at_.store(now.ns(), std::memory_order_relaxed);
}

uint64_t Server::ConnectTimeUs(MonotonicTime now) const {
  const uint64_t average = connect_us_.load(std::memory_order_relaxed);
  const int64_t age = now.ns() - measured_at_.load(std::memory_order_relaxed);
  const int64_t halves = std::clamp<int64_t>(age / kHalfLifeNs, 0, 32);
  return std::max<uint64_t>(average >> halves, 1);
}

}  // namespace parkway
