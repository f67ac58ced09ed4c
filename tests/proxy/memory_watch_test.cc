// What happens when memory is short, and when it is no longer.
#include "proxy/memory_watch.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proxy/system/facts.h"

namespace parkway {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class MemoryWatchTest : public testing::Test {
 protected:
  static constexpr uint64_t kLimit = 1000 << 20;

  // A look at so many percent of it.
  void At(uint64_t percent, uint64_t limit = kLimit) {
    used_ = kLimit / 100 * percent;
    watch_.Look(limit);
  }

  uint64_t used_ = 0;
  std::vector<bool> holds_;
  int sheds_ = 0;
  std::vector<std::string> said_;
  MemoryWatch watch_{{.used_bytes = [this] { return used_; },
                      .hold = [this](bool hold) { holds_.push_back(hold); },
                      .shed = [this] { ++sheds_; },
                      .say = [this](std::string line) { said_.push_back(std::move(line)); }}};
};

TEST_F(MemoryWatchTest, BelowNinetyPercentNothingHappens) {
  At(0);
  At(89);
  EXPECT_THAT(holds_, IsEmpty());
  EXPECT_THAT(said_, IsEmpty());
  EXPECT_FALSE(watch_.holds());
  EXPECT_EQ(watch_.used_bytes(), used_);
}

TEST_F(MemoryWatchTest, FromNinetyPercentOnNobodyIsLetInUntilThereIsLess) {
  At(90);
  At(94);
  EXPECT_THAT(holds_, ElementsAre(true, true));
  EXPECT_TRUE(watch_.holds());
  At(89);
  EXPECT_THAT(holds_, ElementsAre(true, true, false));
  EXPECT_THAT(said_, ElementsAre(HasSubstr("WARNING: memory: 900 of 1000 MiB"),
                                 HasSubstr("accepting again")));
  EXPECT_EQ(watch_.pauses(), 1u);
  EXPECT_EQ(sheds_, 0);
}

TEST_F(MemoryWatchTest, FromNinetyFivePercentOnSomeAreEndedEachSecond) {
  for (int i = 0; i <= 2 * MemoryWatch::kLooksPerShed; ++i) At(95);
  EXPECT_EQ(sheds_, 3);
  At(94);
  EXPECT_EQ(sheds_, 3);
}

TEST_F(MemoryWatchTest, ALimitThatIsTakenAwayLetsAllInAgain) {
  At(99);
  At(99, 0);
  EXPECT_THAT(holds_, ElementsAre(true, false));
  EXPECT_EQ(watch_.limit_bytes(), 0u);
  At(99, 2 * kLimit);
  EXPECT_FALSE(watch_.holds());
}

TEST_F(MemoryWatchTest, WhatThisProcessUsesIsKnown) {
  const uint64_t before = OwnMemoryBytes();
  EXPECT_GT(before, 100'000u);
  const std::string much(8 << 20, 'x');
  EXPECT_GE(OwnMemoryBytes(), before + (4 << 20)) << much.size();
}

}  // namespace
}  // namespace parkway
