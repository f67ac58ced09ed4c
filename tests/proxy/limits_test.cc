#include "proxy/inbound/limits.h"

#include <atomic>
#include <filesystem>
#include <iterator>
#include <thread>
#include <vector>

#include "config/snapshot.h"
#include "gtest/gtest.h"
#include "poller/scheduler.h"

namespace parkway {
namespace {

TEST(DescriptorsTest, AsManyAreReservedForAWorkerAsItOpens) {
  const auto open = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
  };
  const auto before = open();
  const Scheduler scheduler({}, nullptr);
  ASSERT_EQ(scheduler.init_error(), 0);
  EXPECT_EQ(static_cast<uint64_t>(open() - before), config::kWorkerDescriptors);
}

TEST(ConnectionLimitTest, GivesAsManySlotsAsItHas) {
  ConnectionLimit limit(2);
  EXPECT_TRUE(limit.TryAcquire());
  EXPECT_TRUE(limit.TryAcquire());
  EXPECT_FALSE(limit.TryAcquire());
  limit.Release();
  EXPECT_TRUE(limit.TryAcquire());
}

TEST(ConnectionLimitTest, WhoReleasesIsToldOfAWaiter) {
  ConnectionLimit limit(1);
  ASSERT_TRUE(limit.TryAcquire());
  EXPECT_FALSE(limit.Release());
  ASSERT_TRUE(limit.TryAcquire());
  limit.BeginWaiting();
  EXPECT_TRUE(limit.Release());
  limit.EndWaiting();
}

TEST(ConnectionLimitTest, AConnectionThatCannotBeTurnedAwayCountsAllTheSame) {
  ConnectionLimit limit(1);
  limit.AcquireBeyond();
  limit.AcquireBeyond();
  EXPECT_EQ(limit.in_use(), 2u);
  limit.Release();
  EXPECT_FALSE(limit.TryAcquire());
}

TEST(ConnectionLimitTest, WhileItIsHeldNobodyIsLetInWhateverElseChanges) {
  ConnectionLimit limit(100);
  ASSERT_TRUE(limit.TryAcquire());
  limit.Hold(true);
  EXPECT_FALSE(limit.TryAcquire());
  limit.FitToDescriptors(1000);
  EXPECT_FALSE(limit.TryAcquire());
  limit.Set(50);
  EXPECT_FALSE(limit.TryAcquire());
  limit.Hold(false);
  EXPECT_EQ(limit.limit(), 50u);
  EXPECT_TRUE(limit.TryAcquire());
  // What was not held is not changed.
  limit.FitToDescriptors(64);
  const uint32_t fitted = limit.limit();
  limit.Hold(false);
  EXPECT_EQ(limit.limit(), fitted);
}

TEST(ConnectionLimitTest, FallsWithTheDescriptorsAndRisesAgainButNeverAboveItsStart) {
  ConnectionLimit limit(1000);
  limit.set_other_descriptors(20);
  limit.FitToDescriptors(64);
  EXPECT_EQ(limit.limit(), 22u);
  EXPECT_TRUE(limit.lowered());
  limit.set_other_descriptors(150);
  limit.FitToDescriptors(64);
  EXPECT_EQ(limit.limit(), 16u) << "the reserve was for a larger process";
  limit.FitToDescriptors(3);
  EXPECT_EQ(limit.limit(), 1u) << "a proxy that serves nobody helps nobody";
  limit.FitToDescriptors(1 << 20);
  EXPECT_EQ(limit.limit(), 1000u);
  EXPECT_FALSE(limit.lowered());
}

TEST(ConnectionLimitTest, IsExactWithManyThreads) {
  ConnectionLimit limit(100);
  std::atomic<uint32_t> holders{0};
  std::atomic<bool> exceeded{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 20000; ++n) {
        if (!limit.TryAcquire()) continue;
        if (holders.fetch_add(1) >= 100) exceeded = true;
        if (n % 3 != 0) std::this_thread::yield();
        holders.fetch_sub(1);
        limit.Release();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(exceeded);
  EXPECT_EQ(limit.in_use(), 0u);
}

// The waiter announces itself and tries once more; whoever releases looks for waiters after it has
// released: one of the two sees the other, so no slot stays free while somebody waits.
TEST(ConnectionLimitTest, AFreedSlotAndAWaiterNeverMissEachOther) {
  for (int round = 0; round < 2000; ++round) {
    ConnectionLimit limit(1);
    ASSERT_TRUE(limit.TryAcquire());
    std::atomic<bool> told{false};
    std::thread releaser([&] { told = limit.Release(); });
    bool got = limit.TryAcquire();
    if (!got) {
      limit.BeginWaiting();
      got = limit.TryAcquire();
    }
    releaser.join();
    EXPECT_TRUE(got || told) << "round " << round;
  }
}

}  // namespace
}  // namespace parkway
