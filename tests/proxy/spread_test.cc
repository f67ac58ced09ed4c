#include "proxy/inbound/spread.h"

#include <algorithm>
#include <random>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace parkway {
namespace {

uint32_t Difference(const Spread& spread, size_t workers) {
  uint32_t least = UINT32_MAX, most = 0;
  for (size_t i = 0; i < workers; ++i) {
    least = std::min(least, spread.load(i));
    most = std::max(most, spread.load(i));
  }
  return most - least;
}

// Among few nothing is drawn.
uint64_t NoDraw() {
  ADD_FAILURE() << "a number was drawn though all loads are read";
  return 0;
}

TEST(SpreadTest, OneAcceptorFillsAllWorkersEvenly) {
  Spread spread(4);
  for (int i = 0; i < 16; ++i) spread.Choose(0, NoDraw);
  for (size_t worker = 0; worker < 4; ++worker) EXPECT_EQ(spread.load(worker), 4u);
}

TEST(SpreadTest, AmongEqualsTheAcceptorKeepsIt) {
  Spread spread(4);
  EXPECT_EQ(spread.Choose(2, NoDraw), 2u);
}

TEST(SpreadTest, AnEndedConnectionMakesRoom) {
  Spread spread(2);
  for (int i = 0; i < 4; ++i) spread.Choose(0, NoDraw);
  spread.Ended(1);
  EXPECT_EQ(spread.Choose(0, NoDraw), 1u);
}

TEST(SpreadTest, AmongManyWorkersTwoRandomOnesKeepItEvenEnough) {
  constexpr size_t kWorkers = 64;
  Spread spread(kWorkers);
  std::mt19937_64 random(1);
  for (int i = 0; i < 6400; ++i) spread.Choose(random() % kWorkers, random);
  EXPECT_LE(Difference(spread, kWorkers), 8u);
}

// Two that read the same lowest load must not both take it.
TEST(SpreadTest, AcceptorsOnManyThreadsNeverDifferByMoreThanOne) {
  constexpr size_t kWorkers = 4;
  constexpr int kEach = 5000;
  Spread spread(kWorkers);
  std::vector<std::thread> threads;
  for (size_t self = 0; self < kWorkers; ++self) {
    threads.emplace_back([&spread, self] {
      for (int i = 0; i < kEach; ++i) spread.Choose(self, NoDraw);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(Difference(spread, kWorkers), 1u);
}

}  // namespace
}  // namespace parkway
