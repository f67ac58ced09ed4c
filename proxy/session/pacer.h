// Pacer: how many bytes one direction may move now, if it may move so many in a second.
//
//   Pacer pacer;
//   pacer.Begin(rate, now);
//   if (!pacer.Ready(now)) sleep until pacer.ReadyAt();
//   moved = Move(at most pacer.Available(now));
//   pacer.Take(moved);
//
// Kept as the time up to which all that moved is paid for (the virtual scheduling of ATM's GCRA,
// ITU-T I.371): one word, and nothing to fill up by timer. Time that nobody used is worth at most
// kDepthNs, so that a direction that was idle bursts for no longer; what goes beyond the tokens is
// paid later. It is ready when a portion of kPortionNs is there: one wake-up for each.
//
// Owner thread only. Reads no clock.
//
// Invariants
//   1. From Begin on, at most rate * (elapsed + kDepthNs) bytes are given, and what one Take went
//      beyond Available.
//   2. Who takes what is available whenever it is ready gets `rate`, if it comes within
//      kDepthNs - kPortionNs of being ready.
#ifndef PROXY_SESSION_PACER_H_
#define PROXY_SESSION_PACER_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "poller/clock.h"

namespace parkway {

class Pacer {
 public:
  static constexpr int64_t kPortionNs = 25'000'000;
  static constexpr int64_t kDepthNs = 100'000'000;

  // `rate`: bytes a second; 0: no limit.
  void Begin(uint64_t rate, MonotonicTime now) {
    rate_ = rate;
    if (limited()) paid_ns_ = now.ns() - portion_ns();
  }
  bool limited() const { return rate_ != 0; }

  // REQUIRES of all that follows: limited().
  bool Ready(MonotonicTime now) const { return now >= ReadyAt(); }
  MonotonicTime ReadyAt() const { return MonotonicTime(paid_ns_ + portion_ns()); }
  size_t Available(MonotonicTime now) {
    paid_ns_ = std::max(paid_ns_, now.ns() - std::max(kDepthNs, 2 * portion_ns()));
    if (now.ns() <= paid_ns_) return 0;
    const auto free_ns = static_cast<unsigned __int128>(now.ns() - paid_ns_);
    return static_cast<size_t>(free_ns * rate_ / kSecondNs);
  }
  void Take(size_t bytes) {
    const auto cost = static_cast<unsigned __int128>(bytes) * kSecondNs / rate_;
    paid_ns_ += static_cast<int64_t>(std::min<unsigned __int128>(cost, kLongestDebtNs));
  }

 private:
  static constexpr int64_t kSecondNs = 1'000'000'000;
  static constexpr int64_t kLongestDebtNs = 3600 * kSecondNs;

  // A slow one waits for a whole byte.
  int64_t portion_ns() const {
    return std::max<int64_t>(kPortionNs, static_cast<int64_t>((kSecondNs + rate_ - 1) / rate_));
  }

  uint64_t rate_ = 0;
  int64_t paid_ns_ = 0;
};

}  // namespace parkway

#endif  // PROXY_SESSION_PACER_H_
