// SlowSample: one open connection that makes somebody wait, as its worker saw it.
//
// A value: any thread.
#ifndef PROXY_OBSERVE_SLOW_SAMPLE_H_
#define PROXY_OBSERVE_SLOW_SAMPLE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "poller/address.h"

namespace parkway {

struct SlowSample {
  uint64_t id = 0;
  PackedAddress client;
  uint16_t listener = 0;  // slots
  uint16_t upstream = 0;
  uint16_t server = 0;
  bool has_server = false;
  int64_t age_ns = 0;
  int64_t idle_ns = 0;  // since bytes moved
  uint64_t bytes_up = 0;
  uint64_t bytes_down = 0;
  uint32_t rtt_client_us = 0;
  uint32_t rtt_server_us = 0;
  uint64_t waiting_bytes = 0;  // in our hands, the receiver does not take them

  // How long somebody waits, in microseconds: for what is in our hands, and for the longer of the
  // two round trips.
  uint64_t rank() const {
    const uint64_t held = waiting_bytes > 0 ? static_cast<uint64_t>(idle_ns) / 1'000 : 0;
    return held + std::max(rtt_client_us, rtt_server_us);
  }
};

// So many are shown, the slowest first.
inline constexpr size_t kSlowest = 12;

// Puts `sample` in its place among the slowest, if it has one there.
inline void AddSlow(const SlowSample& sample, std::vector<SlowSample>& slowest) {
  if (slowest.size() == kSlowest) {
    if (sample.rank() <= slowest.back().rank()) return;
    slowest.pop_back();
  }
  const auto place = std::upper_bound(
      slowest.begin(), slowest.end(), sample,
      [](const SlowSample& one, const SlowSample& other) { return one.rank() > other.rank(); });
  slowest.insert(place, sample);
}

}  // namespace parkway

#endif  // PROXY_OBSERVE_SLOW_SAMPLE_H_
