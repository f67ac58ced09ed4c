#include "proxy/session/pacer.h"

#include <cstdint>
#include <random>

#include "gtest/gtest.h"

namespace parkway {
namespace {

constexpr int64_t kMillisecond = 1'000'000;
constexpr int64_t kSecond = 1'000'000'000;

// Moves all it may from `begin` on for `length`, and comes up to `late` after it is ready.
uint64_t Drive(Pacer& pacer, MonotonicTime begin, int64_t length, int64_t late, uint64_t& wakes) {
  std::mt19937_64 random(1);
  uint64_t moved = 0;
  wakes = 0;
  MonotonicTime now = begin;
  while (now.ns() - begin.ns() < length) {
    ++wakes;
    EXPECT_TRUE(pacer.Ready(now));
    const size_t available = pacer.Available(now);
    EXPECT_GT(available, 0u);
    pacer.Take(available);
    moved += available;
    now = pacer.ReadyAt().PlusNs(late == 0 ? 0 : static_cast<int64_t>(random() % late));
  }
  return moved;
}

TEST(PacerTest, GivesItsRateAtEverySizeWithFewWakeUps) {
  for (const uint64_t rate : {uint64_t{10}, uint64_t{1'000}, uint64_t{123'457},
                              uint64_t{100'000'000}, uint64_t{50'000'000'000}}) {
    for (const int64_t late : {int64_t{0}, 20 * kMillisecond}) {
      Pacer pacer;
      const MonotonicTime begin(5 * kSecond);
      pacer.Begin(rate, begin);
      uint64_t wakes = 0;
      const uint64_t moved = Drive(pacer, begin, 10 * kSecond, late, wakes);
      EXPECT_NEAR(static_cast<double>(moved), static_cast<double>(rate) * 10,
                  static_cast<double>(rate) * 10 * 0.02)
          << rate << " " << late;
      EXPECT_LE(wakes, 10u * 41) << rate;
    }
  }
}

TEST(PacerTest, TimeThatNobodyUsedIsWorthAShortBurstOnly) {
  Pacer pacer;
  pacer.Begin(1'000'000, MonotonicTime(kSecond));
  EXPECT_EQ(pacer.Available(MonotonicTime(3600 * kSecond)), 100'000u);
}

TEST(PacerTest, WhatWentBeyondTheTokensIsPaidLater) {
  Pacer pacer;
  const MonotonicTime begin(kSecond);
  pacer.Begin(1'000'000, begin);
  pacer.Take(1'000'000);
  EXPECT_FALSE(pacer.Ready(begin));
  EXPECT_EQ(pacer.Available(begin), 0u);
  EXPECT_EQ(pacer.ReadyAt(), begin.PlusNs(kSecond));
  EXPECT_TRUE(pacer.Ready(begin.PlusNs(kSecond)));
  EXPECT_EQ(pacer.Available(begin.PlusNs(kSecond)), 25'000u);
}

TEST(PacerTest, ASlowOneWaitsForAWholeByte) {
  Pacer pacer;
  const MonotonicTime begin(kSecond);
  pacer.Begin(3, begin);
  EXPECT_EQ(pacer.Available(begin), 1u);
  pacer.Take(1);
  EXPECT_FALSE(pacer.Ready(begin.PlusNs(330 * kMillisecond)));
  EXPECT_TRUE(pacer.Ready(begin.PlusNs(334 * kMillisecond)));
  EXPECT_EQ(pacer.Available(begin.PlusNs(334 * kMillisecond)), 1u);
}

}  // namespace
}  // namespace parkway
