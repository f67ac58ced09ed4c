#include "proxy/session/times_table.h"

#include "gtest/gtest.h"

namespace parkway {
namespace {

constexpr SessionTimes kShort = {.idle_ns = 1, .half_close_ns = 2, .delayed_close_ns = 3};
constexpr SessionTimes kLong = {.idle_ns = 10, .half_close_ns = 20, .delayed_close_ns = 30};

TEST(TimesTableTest, TheSameTimesHaveOneNumberHoweverOftenTheyAreHeld) {
  TimesTable table;
  const uint16_t a = table.Hold(kShort);
  const uint16_t b = table.Hold(kLong);
  EXPECT_NE(a, b);
  EXPECT_EQ(table.Hold(kShort), a);
  EXPECT_EQ(table.Hold(kLong), b);
  EXPECT_EQ(table.size(), 2u);
  EXPECT_EQ(table[a], kShort);
  EXPECT_EQ(table[b], kLong);
}

TEST(TimesTableTest, ANumberIsUsedAgainOnlyWhenNobodyHoldsIt) {
  TimesTable table;
  const uint16_t held = table.Hold(kShort);
  // A reload after the other, each with times of its own, and one session that outlives them all.
  for (int64_t i = 1; i <= 200'000; ++i) {
    SessionTimes times = kLong;
    times.idle_ns = 100 + i;
    const uint16_t number = table.Hold(times);
    ASSERT_EQ(table[number], times);
    table.Release(number);
  }
  EXPECT_EQ(table[held], kShort);
  EXPECT_LE(table.size(), 3u);
}

TEST(TimesTableTest, TimesThatWereLetGoAreFoundAgain) {
  TimesTable table;
  const uint16_t first = table.Hold(kShort);
  table.Release(first);
  EXPECT_EQ(table.Hold(kShort), first);
  EXPECT_EQ(table[first], kShort);
}

}  // namespace
}  // namespace parkway
