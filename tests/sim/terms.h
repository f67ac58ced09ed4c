// What stories of the simulation are told in: durations, and addresses of the simulated network.
#ifndef TESTS_SIM_TERMS_H_
#define TESTS_SIM_TERMS_H_

#include <cstdint>

#include "poller/address.h"

namespace parkway::sim {

inline constexpr int64_t kMicrosecond = 1'000;
inline constexpr int64_t kMillisecond = 1'000'000;
inline constexpr int64_t kSecond = 1'000'000'000;
// Timeouts of the proxies, where a story does not say otherwise.
inline constexpr int64_t kIdleNs = 600 * kSecond;
inline constexpr int64_t kHalfCloseNs = 300 * kSecond;

inline Address Tcp(uint8_t last, uint16_t port) { return Address::Ipv4({192, 0, 2, last}, port); }

}  // namespace parkway::sim

#endif  // TESTS_SIM_TERMS_H_
