// TurnTimes: how long the busy turns of a worker took: how long everybody else on it waited.
//
//   times.Add(scheduler.now(), took_ns);    // its worker
//   times.AddTo(&counts, &sum_us);          // any thread
//   times.longest_ns()
//
// The longest is that of the present window and of the one before: reading it changes nothing, so
// that two who read do not take it from each other, and one that was long ago is forgotten.
//
// Invariants
//   1. A turn counts among the longest for at least kWindowNs after it began.
#ifndef PROXY_CORE_TURN_TIMES_H_
#define PROXY_CORE_TURN_TIMES_H_

#include <algorithm>
#include <array>
#include <cstdint>

#include "poller/clock.h"
#include "proxy/core/counter.h"
#include "proxy/core/histogram.h"

namespace parkway {

class TurnTimes {
 public:
  static constexpr int64_t kWindowNs = 60'000'000'000;

  // `now`: when the turn began.
  void Add(MonotonicTime now, int64_t ns) {
    constexpr uint64_t kNsPerUs = 1000;
    const auto took = static_cast<uint64_t>(std::max<int64_t>(ns, 0));
    times_.Add(took / kNsPerUs);
    if (now >= window_end_) {
      before_ = now < window_end_.PlusNs(kWindowNs) ? here_ : 0;
      here_ = 0;
      window_end_ = now.PlusNs(kWindowNs);
    }
    here_ = std::max(here_, took);
    longest_ns_.Set(std::max(here_, before_));
  }

  void AddTo(std::array<uint64_t, Histogram<kShortTimes>::kBuckets>* counts,
             uint64_t* sum_us) const {
    times_.AddTo(counts, sum_us);
  }
  uint64_t longest_ns() const { return longest_ns_.value(); }

 private:
  Histogram<kShortTimes> times_;
  Counter longest_ns_;
  // The worker's alone.
  MonotonicTime window_end_;
  uint64_t here_ = 0;
  uint64_t before_ = 0;
};

}  // namespace parkway

#endif  // PROXY_CORE_TURN_TIMES_H_
