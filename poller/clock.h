// Monotonic time, and the one place where a worker reads it.
//
// A worker reads the clock once per turn of its loop, after the poll; timers, idle marks and
// deadlines use that value. ReadMonotonicClock() is implemented beside the kernel's calls
// (kernel_linux.cc), so the simulation swaps both at once.
//
// Any thread.
#ifndef POLLER_CLOCK_H_
#define POLLER_CLOCK_H_

#include <compare>
#include <cstdint>
#include <limits>

#include "absl/time/time.h"

namespace parkway {

// A point of CLOCK_MONOTONIC in nanoseconds; comparable between processes of one boot.
// Zero means "none" where a deadline is stored.
class MonotonicTime {
 public:
  constexpr MonotonicTime() = default;
  constexpr explicit MonotonicTime(int64_t ns) : ns_(ns) {}

  static constexpr MonotonicTime InfiniteFuture() {
    return MonotonicTime(std::numeric_limits<int64_t>::max());
  }

  constexpr int64_t ns() const { return ns_; }
  constexpr auto operator<=>(const MonotonicTime&) const = default;

  // This time plus `duration`; clamps at InfiniteFuture() and at 1 ns, never wraps. Not at 0: a
  // deadline before the beginning of time has passed, and zero would say that there is none.
  constexpr MonotonicTime PlusNs(int64_t duration_ns) const {
    int64_t sum = 0;
    if (__builtin_add_overflow(ns_, duration_ns, &sum)) {
      return duration_ns > 0 ? InfiniteFuture() : MonotonicTime(1);
    }
    return MonotonicTime(sum < 1 ? 1 : sum);
  }
  MonotonicTime operator+(absl::Duration duration) const {
    if (duration == absl::InfiniteDuration()) return InfiniteFuture();
    return PlusNs(absl::ToInt64Nanoseconds(duration));
  }

 private:
  int64_t ns_ = 0;
};

// CLOCK_MONOTONIC, now.
MonotonicTime ReadMonotonicClock();

}  // namespace parkway

#endif  // POLLER_CLOCK_H_
