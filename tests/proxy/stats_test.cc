// What a worker counts by slot: records that never move, and readers beside the writer.
#include "proxy/core/stats.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "proxy/core/turn_times.h"

namespace parkway {
namespace {

TEST(SlotsTest, ARecordStaysWhereItIsWhileOthersCome) {
  Slots<Counter> slots;
  std::vector<Counter*> places;
  for (size_t i = 0; i < 1'000; ++i) {
    places.push_back(&slots.At(i));
    places.back()->Set(i);
  }
  for (size_t i = 0; i < 1'000; ++i) {
    EXPECT_EQ(&slots.At(i), places[i]);
    ASSERT_NE(slots.Find(i), nullptr);
    EXPECT_EQ(slots.Find(i)->value(), i);
  }
}

TEST(SlotsTest, WhatWasNeverNotedIsNotFound) {
  Slots<Counter> slots;
  EXPECT_EQ(slots.Find(0), nullptr);
  slots.At(Slots<Counter>::kMost - 1).Set(7);
  EXPECT_EQ(slots.Find(Slots<Counter>::kMost - 1)->value(), 7u);
  EXPECT_EQ(slots.Find(0), nullptr);
  EXPECT_EQ(slots.Find(Slots<Counter>::kMost), nullptr);
  EXPECT_EQ(slots.Find(SIZE_MAX), nullptr);
}

TEST(SlotsTest, AReaderSeesWholeRecordsWhileTheWriterMakesMore) {
  Slots<Counter> slots;
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (size_t i = 0; i < Slots<Counter>::kMost; ++i) slots.At(i).Set(i + 1);
    done.store(true, std::memory_order_release);
  });
  uint64_t wrong = 0;
  while (!done.load(std::memory_order_acquire)) {
    for (size_t i = 0; i < Slots<Counter>::kMost; i += 97) {
      const Counter* counter = slots.Find(i);
      if (counter != nullptr && counter->value() != 0 && counter->value() != i + 1) ++wrong;
    }
  }
  writer.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(slots.Find(Slots<Counter>::kMost - 1)->value(), Slots<Counter>::kMost);
}

TEST(ClosedStatsTest, CausesAreCountedForEachUpstreamAndForNone) {
  ClosedStats closed;
  closed.Add(3, CloseCause::kClientFin);
  closed.Add(ClosedStats::kNoUpstream, CloseCause::kDenied);
  closed.Add(3, CloseCause::kClientFin);
  closed.Add(4, CloseCause::kIdle);
  uint64_t cells = 0, fins = 0, denied = 0;
  for (const auto* cell = closed.first(); cell != nullptr; cell = ClosedStats::After(*cell)) {
    ++cells;
    if (cell->upstream == 3) {
      fins = cell->causes[static_cast<size_t>(CloseCause::kClientFin)].value();
    }
    if (cell->upstream == ClosedStats::kNoUpstream) {
      denied = cell->causes[static_cast<size_t>(CloseCause::kDenied)].value();
    }
  }
  EXPECT_EQ(cells, 3u);
  EXPECT_EQ(fins, 2u);
  EXPECT_EQ(denied, 1u);
}

TEST(WorkerStatsTest, AnErrnoThatIsUnknownIsCountedAllTheSame) {
  WorkerStats stats;
  stats.CountAcceptError(24);
  stats.CountAcceptError(5'000);
  EXPECT_EQ(stats.accept_errors.value(), 2u);
  EXPECT_EQ(stats.accept_errors_by_errno[24].value(), 1u);
  EXPECT_EQ(stats.accept_errors_by_errno.back().value(), 1u);
}

TEST(TurnTimesTest, TheLongestIsRememberedForAMinuteAtLeastAndThenForgotten) {
  constexpr int64_t kSecond = 1'000'000'000;
  TurnTimes turns;
  const auto at = [](int64_t seconds) { return MonotonicTime(100 * kSecond + seconds * kSecond); };
  turns.Add(at(0), 5'000);
  turns.Add(at(50), 900'000);
  turns.Add(at(55), 7'000);
  EXPECT_EQ(turns.longest_ns(), 900'000u);
  turns.Add(at(61), 8'000);
  EXPECT_EQ(turns.longest_ns(), 900'000u) << "of the minute before";
  turns.Add(at(122), 6'000);
  EXPECT_EQ(turns.longest_ns(), 8'000u);
  turns.Add(at(1'000), 4'000);
  EXPECT_EQ(turns.longest_ns(), 4'000u) << "nothing is left of what was long ago";
  std::array<uint64_t, Histogram<kShortTimes>::kBuckets> counts{};
  uint64_t sum_us = 0;
  turns.AddTo(&counts, &sum_us);
  EXPECT_EQ(counts[Histogram<kShortTimes>::BucketOf(900)], 1u);
  EXPECT_EQ(sum_us, 930u);
}

TEST(CloseCauseTest, EveryConnectErrorHasItsPlace) {
  for (size_t i = 0; i < kConnectErrors.size(); ++i) {
    EXPECT_EQ(ConnectErrorIndex(kConnectErrors[i]), i);
  }
  EXPECT_EQ(kConnectErrors[ConnectErrorIndex(CloseCause::kInternal)],
            CloseCause::kConnectUnreachable);
}

}  // namespace
}  // namespace parkway
