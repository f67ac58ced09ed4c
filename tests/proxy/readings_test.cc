// The buckets of times, and what is read out of them.
#include "proxy/observe/readings.h"

#include <gtest/gtest.h>

namespace parkway {
namespace {

TEST(HistogramTest, AValueAtABoundCountsBelowIt) {
  using Short = Histogram<kShortTimes>;
  EXPECT_EQ(Short::BucketOf(0), 0u);
  for (size_t i = 0; i < kShortTimes.size(); ++i) {
    EXPECT_EQ(Short::BucketOf(kShortTimes[i]), i);
    EXPECT_EQ(Short::BucketOf(kShortTimes[i] + 1), i + 1);
  }
  EXPECT_EQ(Short::BucketOf(UINT64_MAX), kShortTimes.size());
}

TEST(HistogramTest, EveryNumberOfBitsFindsItsBucket) {
  using Long = Histogram<kLongTimes>;
  for (int bits = 0; bits < 64; ++bits) {
    for (const uint64_t us : {uint64_t{1} << bits, (uint64_t{1} << bits) - 1}) {
      size_t expected = 0;
      while (expected < kLongTimes.size() && us > kLongTimes[expected]) ++expected;
      EXPECT_EQ(Long::BucketOf(us), expected) << us;
    }
  }
}

TEST(HistogramTest, ReadersAddUpWhatSeveralWorkersCounted) {
  Histogram<kShortTimes> one, two;
  one.Add(90);
  one.Add(3'000);
  two.Add(3'500);
  two.Add(9'000'000);
  ShortTimes sum;
  one.AddTo(&sum.counts, &sum.sum_us);
  two.AddTo(&sum.counts, &sum.sum_us);
  EXPECT_EQ(sum.count(), 4u);
  EXPECT_EQ(sum.sum_us, 9'006'590u);
  EXPECT_EQ(sum.counts[0], 1u);
  EXPECT_EQ(sum.counts[5], 2u);
  EXPECT_EQ(sum.counts.back(), 1u);
}

TEST(HistogramTest, AQuantileLiesWithinItsBucket) {
  ShortTimes times;
  EXPECT_EQ(times.QuantileUs(0.5), 0);
  times.counts[3] = 100;  // 500 to 1,000 us
  EXPECT_NEAR(times.QuantileUs(0.5), 750, 1);
  EXPECT_NEAR(times.QuantileUs(1), 1'000, 1);
  times.counts.back() = 900;
  EXPECT_EQ(times.QuantileUs(0.99), 5'000'000);
}

}  // namespace
}  // namespace parkway
