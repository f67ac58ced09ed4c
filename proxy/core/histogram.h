// Histograms of times: fixed buckets, written by one worker, read by anybody.
//
//   Histogram<kShortTimes> connects;
//   connects.Add(took_us);                  // its worker
//   connects.AddTo(&counts, &sum_us);       // any thread
//
// The bounds are part of what operators rely on (dashboards name them): never moved. A value that
// equals a bound counts below it, as Prometheus has it (`le`).
//
// Invariants
//   1. Add costs one lookup by the number of bits and at most two comparisons.
#ifndef PROXY_CORE_HISTOGRAM_H_
#define PROXY_CORE_HISTOGRAM_H_

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "proxy/core/counter.h"

namespace parkway {

// Upper bounds of the buckets, in microseconds, ascending; above the last there is one more bucket.

// What a network and a queue take: connects, round trips, waiting.
inline constexpr std::array<uint64_t, 15> kShortTimes = {
    100,    250,     500,     1'000,   2'500,     5'000,     10'000,   25'000,
    50'000, 100'000, 250'000, 500'000, 1'000'000, 2'500'000, 5'000'000};
// What connections live.
inline constexpr std::array<uint64_t, 10> kLongTimes = {
    1'000,      10'000,      100'000,       1'000'000,      10'000'000,
    60'000'000, 600'000'000, 3'600'000'000, 36'000'000'000, 360'000'000'000};

template <const auto& kBounds>
class Histogram {
 public:
  static constexpr size_t kBuckets = kBounds.size() + 1;

  void Add(uint64_t us) {
    buckets_[BucketOf(us)].Add(1);
    sum_us_.Add(us);
  }

  void Add(const Histogram& other) {
    for (size_t i = 0; i < kBuckets; ++i) buckets_[i].Add(other.buckets_[i].value());
    sum_us_.Add(other.sum_us_.value());
  }

  // The writer: as if nothing had been added.
  void Clear() {
    for (Counter& bucket : buckets_) bucket.Set(0);
    sum_us_.Set(0);
  }

  void AddTo(std::array<uint64_t, kBuckets>* counts, uint64_t* sum_us) const {
    for (size_t i = 0; i < kBuckets; ++i) (*counts)[i] += buckets_[i].value();
    *sum_us += sum_us_.value();
  }

  static constexpr size_t BucketOf(uint64_t us) {
    size_t bucket = kFirstOf[static_cast<size_t>(std::bit_width(us))];
    while (bucket < kBounds.size() && us > kBounds[bucket]) ++bucket;
    return bucket;
  }

 private:
  // For each number of bits the bucket of the least value that has so many.
  static constexpr std::array<uint8_t, 65> kFirstOf = [] {
    std::array<uint8_t, 65> first{};
    for (size_t bits = 1; bits < first.size(); ++bits) {
      const uint64_t least = uint64_t{1} << (bits - 1);
      first[bits] = static_cast<uint8_t>(std::lower_bound(kBounds.begin(), kBounds.end(), least) -
                                         kBounds.begin());
    }
    return first;
  }();

  std::array<Counter, kBuckets> buckets_;
  Counter sum_us_;
};

}  // namespace parkway

#endif  // PROXY_CORE_HISTOGRAM_H_
