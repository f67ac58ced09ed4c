#include "poller/wake_timer.h"

#include <sys/epoll.h>
#include <unistd.h>

#include "gtest/gtest.h"
#include "poller/clock.h"
#include "poller/kernel.h"

namespace parkway {
namespace {

constexpr int64_t kMs = 1'000'000;

class WakeTimerTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_GE(epoll_, 0);
    ASSERT_EQ(timer_.Init(epoll_, 7), 0);
  }
  void TearDown() override { close(epoll_); }

  // Waits as a worker does; when that ended.
  MonotonicTime SleepUntil(MonotonicTime wake) {
    epoll_event event;
    const int count =
        kernel::EpollWait(epoll_, &event, 1, timer_.Sleep(wake, ReadMonotonicClock()));
    if (count == 1) {
      EXPECT_EQ(event.data.u64, 7u);
    }
    EXPECT_LE(count, 1);
    return ReadMonotonicClock();
  }

  const int epoll_ = kernel::EpollCreate();
  WakeTimer timer_;
};

TEST_F(WakeTimerTest, WhatIsNeverDueNeedsNoTimer) {
  EXPECT_EQ(timer_.Sleep(MonotonicTime::InfiniteFuture(), MonotonicTime(1)), -1);
}

TEST_F(WakeTimerTest, WhatIsDueIsNotWaitedFor) {
  EXPECT_EQ(timer_.Sleep(MonotonicTime(5), MonotonicTime(5)), 0);
  EXPECT_EQ(timer_.Sleep(MonotonicTime(4), MonotonicTime(5)), 0);
}

TEST_F(WakeTimerTest, WhatIsNearIsWaitedForByTheWaitItself) {
  const MonotonicTime now = ReadMonotonicClock();
  EXPECT_EQ(timer_.Sleep(now.PlusNs(2 * kMs), now), 2 * kMs);
}

TEST_F(WakeTimerTest, WhatIsFarEndsAWaitWithoutTimeoutWhenItIsDue) {
  const MonotonicTime due = ReadMonotonicClock().PlusNs(50 * kMs);
  EXPECT_EQ(timer_.Sleep(due, ReadMonotonicClock()), -1);
  EXPECT_GE(SleepUntil(due), due);
}

TEST_F(WakeTimerTest, WhatIsLaterThanTheTimerLeavesItAndIsWaitedForInTwoSleeps) {
  const MonotonicTime first = ReadMonotonicClock().PlusNs(20 * kMs);
  const MonotonicTime later = first.PlusNs(40 * kMs);
  EXPECT_EQ(timer_.Sleep(first, ReadMonotonicClock()), -1);
  EXPECT_EQ(timer_.Sleep(later, ReadMonotonicClock()), -1);
  MonotonicTime now = SleepUntil(later);
  EXPECT_GE(now, first);
  while (now < later) now = SleepUntil(later);
}

TEST_F(WakeTimerTest, WhatIsSoonerThanTheTimerIsNotMissed) {
  const MonotonicTime now = ReadMonotonicClock();
  EXPECT_EQ(timer_.Sleep(now.PlusNs(3'600'000 * kMs), now), -1);
  // Far enough to set it anew.
  const MonotonicTime sooner = now.PlusNs(30 * kMs);
  EXPECT_EQ(timer_.Sleep(sooner, now), -1);
  EXPECT_GE(SleepUntil(sooner), sooner);
  // And near.
  const MonotonicTime near = ReadMonotonicClock().PlusNs(1 * kMs);
  EXPECT_GE(SleepUntil(near), near);
}

TEST_F(WakeTimerTest, OneWhoseEventHasComeIsNotCountedOnThoughTheClockIsBehind) {
  const MonotonicTime now = ReadMonotonicClock();
  const MonotonicTime due = now.PlusNs(15 * kMs);
  EXPECT_EQ(timer_.Sleep(due, now), -1);
  epoll_event event;
  ASSERT_EQ(kernel::EpollWait(epoll_, &event, 1, 10'000 * kMs), 1);
  timer_.Fired();
  EXPECT_EQ(timer_.Sleep(due, due.PlusNs(-5)), 5) << "else it would sleep for ever";
}

TEST_F(WakeTimerTest, OneThatFiredWhileNobodySleptEndsTheNextSleepAtOnce) {
  const MonotonicTime due = ReadMonotonicClock().PlusNs(15 * kMs);
  const MonotonicTime before = ReadMonotonicClock();
  EXPECT_EQ(timer_.Sleep(due, before), -1);
  while (ReadMonotonicClock() <= due) {
  }
  // A worker's clock is that of the beginning of its turn: the timer is ahead of it, and has fired.
  EXPECT_EQ(timer_.Sleep(due.PlusNs(3'600'000 * kMs), before), -1);
  epoll_event event;
  EXPECT_EQ(kernel::EpollWait(epoll_, &event, 1, 10'000 * kMs), 1);
}

}  // namespace
}  // namespace parkway
