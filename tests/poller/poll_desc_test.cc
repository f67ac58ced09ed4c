// The protocol of one descriptor, step by step: every row of its table, and each race between two
// of its users in both orders. No file, no scheduler and no clock: the test is the waiter, the
// poller, the closer and the timer in turn, and times are arguments.
#include "poller/poll_desc.h"

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "poller/poll_cache.h"
#include "poller/poll_info.h"
#include "tests/poller/engine.h"

namespace parkway {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int kFd = 1000;  // a number only: nothing here makes a system call on it

MonotonicTime At(int64_t ms) { return MonotonicTime(ms * kMs); }

class PollDescTest : public TestPointTest {
 protected:
  PollDescTest() : desc_(*cache_.Allocate()) { desc_.Open(kFd, nullptr); }

  uintptr_t Word(Direction direction) const { return PollDescPeer::Word(desc_, direction); }

  // What Scheduler::Wait and its loop do, up to the point at which the task would be parked.
  // True: it is.
  bool Park(Direction direction, Task& task) {
    EXPECT_EQ(desc_.CheckError(direction), WaitResult::kReady);
    EXPECT_FALSE(desc_.BlockBegin(direction));
    if (desc_.CheckError(direction) != WaitResult::kReady) return false;
    return desc_.BlockCommit(direction, &task);
  }
  // What a task that was taken out of a word, or never parked, comes to know.
  WaitResult Resume(Direction direction) {
    if (desc_.BlockEnd(direction)) return WaitResult::kReady;
    return desc_.CheckError(direction);
  }

  PollDesc::Change Evict() { return desc_.Evict(desc_.fdseq()); }
  PollDesc::Change SetDeadline(Directions directions, MonotonicTime deadline, MonotonicTime now) {
    return desc_.SetDeadline(desc_.fdseq(), directions, deadline, now);
  }
  // The timer as the wheel would carry it now.
  struct Armed {
    MonotonicTime when;
    uint32_t rseq;
    uint32_t wseq;
  };
  Armed Arm() {
    const MonotonicTime when = desc_.PrepareTimer();
    return {when, desc_.timer().rseq, desc_.timer().wseq};
  }
  PollDesc::Expired Fire(const Armed& armed, MonotonicTime now) {
    return desc_.Expire(armed.rseq, armed.wseq, now);
  }
  void Reuse() {
    Evict();
    desc_.Close();
    desc_.Open(kFd, nullptr);
  }

  PollCache cache_{nullptr};
  PollDesc& desc_;
  LambdaTask reader_;
  LambdaTask writer_;
};

using PollDescDeathTest = PollDescTest;

constexpr Direction kRead = Direction::kRead;
constexpr Direction kWrite = Direction::kWrite;

// ---------------------------------------------------------------------------------------------
// Park and readiness

TEST_F(PollDescTest, T1_AnEventBeforeTheAnnouncementIsConsumedWithoutParking) {
  EXPECT_EQ(desc_.Ready(kRead), nullptr);
  EXPECT_EQ(Word(kRead), PollDescPeer::kReady);
  EXPECT_TRUE(desc_.BlockBegin(kRead));
  EXPECT_EQ(Word(kRead), PollDescPeer::kNil);
}

TEST_F(PollDescTest, T2_AnEventBetweenAnnouncementAndCommitMakesTheCommitFail) {
  TestPoints::Once("PollDesc::BlockCommit:before", [this] {
    EXPECT_EQ(Word(kRead), PollDescPeer::kWait);
    EXPECT_EQ(desc_.Ready(kRead), nullptr) << "the waiter still runs: nobody may queue it";
  });
  EXPECT_FALSE(Park(kRead, reader_));
  EXPECT_EQ(Resume(kRead), WaitResult::kReady);
  EXPECT_EQ(Word(kRead), PollDescPeer::kNil);
}

TEST_F(PollDescTest, T3_AnEventAfterTheCommitReturnsTheTaskOnce) {
  ASSERT_TRUE(Park(kRead, reader_));
  EXPECT_EQ(Word(kRead), reinterpret_cast<uintptr_t>(static_cast<Task*>(&reader_)));
  EXPECT_EQ(desc_.Ready(kRead), &reader_);
  EXPECT_EQ(Word(kRead), PollDescPeer::kReady);
  EXPECT_EQ(Resume(kRead), WaitResult::kReady);
}

TEST_F(PollDescTest, T4_ASecondEventBeforeTheWaiterRunsChangesNothing) {
  ASSERT_TRUE(Park(kRead, reader_));
  EXPECT_EQ(desc_.Ready(kRead), &reader_);
  EXPECT_EQ(desc_.Ready(kRead), nullptr);
  EXPECT_EQ(Resume(kRead), WaitResult::kReady);
  EXPECT_EQ(Word(kRead), PollDescPeer::kNil);
}

TEST_F(PollDescTest, T5_AnEventWithNoWaiterServesOneWaitAndTheNextParks) {
  EXPECT_EQ(desc_.Ready(kWrite), nullptr);
  EXPECT_TRUE(desc_.BlockBegin(kWrite));
  EXPECT_TRUE(Park(kWrite, writer_));
  EXPECT_EQ(desc_.Ready(kWrite), &writer_);
}

TEST_F(PollDescTest, T6_ResetDropsReadinessWhoseDataWasRead) {
  EXPECT_EQ(desc_.Ready(kRead), nullptr);
  EXPECT_EQ(desc_.Reset(kRead), WaitResult::kReady);
  EXPECT_TRUE(Park(kRead, reader_)) << "no spurious wake-up";
}

TEST_F(PollDescTest, T8_TheDirectionsDoNotTouchEachOther) {
  ASSERT_TRUE(Park(kRead, reader_));
  ASSERT_TRUE(Park(kWrite, writer_));
  EXPECT_EQ(desc_.Ready(kWrite), &writer_);
  EXPECT_EQ(Word(kRead), reinterpret_cast<uintptr_t>(static_cast<Task*>(&reader_)));
  EXPECT_TRUE(desc_.HasWaiter());
  EXPECT_EQ(desc_.Ready(kRead), &reader_);
  EXPECT_FALSE(desc_.HasWaiter());
}

TEST_F(PollDescDeathTest, T9_ASecondReaderIsABrokenInvariant) {
  ASSERT_TRUE(Park(kRead, reader_));
  EXPECT_DEATH(static_cast<void>(desc_.BlockBegin(kRead)), "double wait");
  EXPECT_DEATH(static_cast<void>(desc_.CommitIdle(kRead, &writer_)), "double wait");
  EXPECT_EQ(desc_.Ready(kRead), &reader_);
}

TEST_F(PollDescDeathTest, T9_AnAnnouncedWaiterCountsAsOne) {
  ASSERT_FALSE(desc_.BlockBegin(kRead));
  EXPECT_DEATH(static_cast<void>(desc_.BlockBegin(kRead)), "double wait");
  EXPECT_FALSE(desc_.BlockEnd(kRead));
}

TEST_F(PollDescTest, T10_IoThatComesAfterATimeoutTookTheTaskIsNotLost) {
  ASSERT_TRUE(Park(kRead, reader_));
  EXPECT_EQ(SetDeadline(Directions::kRead, At(1), At(5)).woken.reader, &reader_);
  EXPECT_EQ(desc_.Ready(kRead), nullptr) << "the task has an owner already";
  EXPECT_EQ(Resume(kRead), WaitResult::kReady) << "the data is delivered, not the timeout";
}

TEST_F(PollDescDeathTest, ATaskThatResumesWhileItsWordStillHoldsOneIsABrokenInvariant) {
  ASSERT_TRUE(Park(kRead, reader_));
  EXPECT_DEATH(static_cast<void>(desc_.BlockEnd(kRead)), "still held a waiter");
}

// ---------------------------------------------------------------------------------------------
// Close

TEST_F(PollDescTest, T11_AnEvictBeforeTheAnnouncementIsSeenByTheRecheck) {
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kReady);
  const PollDesc::Change change = Evict();
  EXPECT_EQ(change.woken.reader, nullptr);
  EXPECT_FALSE(desc_.BlockBegin(kRead));
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kClosing);
  EXPECT_FALSE(desc_.BlockEnd(kRead));
}

TEST_F(PollDescTest, T12_EvictBetweenAnnouncementAndCommitReturnsClosing) {
  TestPoints::Once("PollDesc::BlockCommit:before", [this] {
    const PollDesc::Change change = Evict();
    EXPECT_EQ(change.woken.reader, nullptr);
    EXPECT_EQ(Word(kRead), PollDescPeer::kNil);
  });
  EXPECT_FALSE(Park(kRead, reader_));
  EXPECT_EQ(Resume(kRead), WaitResult::kClosing);
}

TEST_F(PollDescTest, T12_EvictBetweenAnnouncementAndRecheckReturnsClosing) {
  TestPoints::Once("PollDesc::BlockBegin:announced", [this] { Evict(); });
  EXPECT_FALSE(Park(kWrite, writer_));
  EXPECT_EQ(Resume(kWrite), WaitResult::kClosing);
}

TEST_F(PollDescTest, T13_EvictAfterTheCommitReturnsBothTasksOnce) {
  ASSERT_TRUE(Park(kRead, reader_));
  ASSERT_TRUE(Park(kWrite, writer_));
  const PollDesc::Change change = Evict();
  EXPECT_TRUE(change.applied);
  EXPECT_EQ(change.woken.reader, &reader_);
  EXPECT_EQ(change.woken.writer, &writer_);
  EXPECT_EQ(Resume(kRead), WaitResult::kClosing);
  EXPECT_EQ(Resume(kWrite), WaitResult::kClosing);
}

TEST_F(PollDescTest, T14_EvictThenIoReturnsTheTaskOnceAndIoIsSeen) {
  ASSERT_TRUE(Park(kRead, reader_));
  EXPECT_EQ(Evict().woken.reader, &reader_);
  EXPECT_EQ(desc_.Ready(kRead), nullptr);
  EXPECT_EQ(Resume(kRead), WaitResult::kReady);
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kClosing) << "the next wait tells of the close";
}

TEST_F(PollDescTest, T14_IoThenEvictReturnsTheTaskOnceAndIoIsSeen) {
  ASSERT_TRUE(Park(kRead, reader_));
  EXPECT_EQ(desc_.Ready(kRead), &reader_);
  EXPECT_EQ(Evict().woken.reader, nullptr);
  EXPECT_EQ(Resume(kRead), WaitResult::kReady);
}

TEST_F(PollDescTest, T14_EvictRacingIoHasExactlyOneWinner) {
  for (int round = 0; round < 200; ++round) {
    ASSERT_TRUE(Park(kRead, reader_));
    std::atomic<bool> go{false};
    Task* taken_by_evict = nullptr;
    std::thread closer([&] {
      while (!go.load()) {
      }
      taken_by_evict = Evict().woken.reader;
    });
    go = true;
    Task* taken_by_io = desc_.Ready(kRead);
    closer.join();
    ASSERT_NE(taken_by_evict == nullptr, taken_by_io == nullptr);
    // The io came in any case, before or after.
    ASSERT_EQ(Resume(kRead), WaitResult::kReady);
    desc_.Close();
    desc_.Open(kFd, nullptr);
  }
}

TEST_F(PollDescTest, T15_ClosingIsPublishedBeforeTheWordsAreTouched) {
  ASSERT_TRUE(Park(kRead, reader_));
  int published = 0;
  TestPoints::On("PollDesc::PublishInfo:published", [&] {
    ++published;
    EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kClosing);
    EXPECT_EQ(Word(kRead), reinterpret_cast<uintptr_t>(static_cast<Task*>(&reader_)));
  });
  TestPoints::On("PollDesc::Evict:before_publish",
                 [&] { EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kReady); });
  EXPECT_EQ(Evict().woken.reader, &reader_);
  EXPECT_EQ(published, 1);
}

TEST_F(PollDescTest, T15_AnExpiryIsPublishedBeforeTheWordsAreTouched) {
  ASSERT_TRUE(Park(kWrite, writer_));
  SetDeadline(Directions::kWrite, At(10), At(1));
  const Armed armed = Arm();
  int published = 0;
  TestPoints::On("PollDesc::PublishInfo:published", [&] {
    ++published;
    EXPECT_EQ(desc_.CheckError(kWrite), WaitResult::kTimeout);
    EXPECT_EQ(Word(kWrite), reinterpret_cast<uintptr_t>(static_cast<Task*>(&writer_)));
  });
  EXPECT_EQ(Fire(armed, At(10)).woken.writer, &writer_);
  EXPECT_EQ(published, 1);
}

TEST_F(PollDescTest, T16_ASecondEvictDoesNothing) {
  EXPECT_TRUE(Evict().applied);
  const uint32_t rseq = PollDescPeer::Seq(desc_, kRead);
  EXPECT_FALSE(Evict().applied);
  EXPECT_EQ(PollDescPeer::Seq(desc_, kRead), rseq);
}

TEST_F(PollDescDeathTest, T16_CloseWithoutEvictIsABrokenInvariant) {
  EXPECT_DEATH(desc_.Close(), "not evicted");
}

TEST_F(PollDescDeathTest, T16_CloseWithAWaiterIsABrokenInvariant) {
  Evict();
  ASSERT_FALSE(desc_.BlockBegin(kRead));
  EXPECT_DEATH(desc_.Close(), "somebody waits");
  EXPECT_FALSE(desc_.BlockEnd(kRead));
}

TEST_F(PollDescTest, T16_EndIsAnEvictAndACloseInOneStep) {
  const uint32_t seq = desc_.fdseq();
  const uint32_t rseq = PollDescPeer::Seq(desc_, kRead);
  desc_.End();
  EXPECT_NE(desc_.fdseq(), seq);
  EXPECT_NE(PollDescPeer::Seq(desc_, kRead), rseq) << "a timer of this use is stale";
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kClosing);
  EXPECT_FALSE(desc_.Evict(seq).applied);
  EXPECT_FALSE(desc_.SetDeadline(seq, Directions::kBoth, At(10), At(0)).applied);
  desc_.Open(kFd, nullptr);
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kReady);
  EXPECT_FALSE(desc_.Evict(seq).applied) << "nor after the next use has begun";
  EXPECT_EQ(desc_.CheckError(kWrite), WaitResult::kReady);
}

TEST_F(PollDescTest, T16_EndAfterAnEvictOnlyCloses) {
  const uint32_t seq = desc_.fdseq();
  Evict();
  const uint32_t rseq = PollDescPeer::Seq(desc_, kRead);
  desc_.End();
  EXPECT_EQ(PollDescPeer::Seq(desc_, kRead), rseq);
  EXPECT_NE(desc_.fdseq(), seq);
  desc_.Open(kFd, nullptr);
}

TEST_F(PollDescDeathTest, T16_EndWithAWaiterIsABrokenInvariant) {
  ASSERT_FALSE(desc_.BlockBegin(kRead));
  EXPECT_DEATH(desc_.End(), "somebody waits");
  EXPECT_FALSE(desc_.BlockEnd(kRead));
}

TEST_F(PollDescDeathTest, T16_OpenOfADescriptorThatSomebodyWaitsOnIsABrokenInvariant) {
  ASSERT_FALSE(desc_.BlockBegin(kWrite));
  EXPECT_DEATH(desc_.Open(kFd, nullptr), "blocked write on a free descriptor");
}

// ---------------------------------------------------------------------------------------------
// Deadlines

TEST_F(PollDescTest, T19_ADeadlineInThePastIsATimeoutWithoutParking) {
  EXPECT_TRUE(SetDeadline(Directions::kRead, At(3), At(5)).applied);
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kTimeout);
  EXPECT_EQ(desc_.CheckError(kWrite), WaitResult::kReady);
  EXPECT_EQ(desc_.Reset(kRead), WaitResult::kTimeout);
}

TEST_F(PollDescTest, T20_ADeadlineInThePastWakesWhoeverIsParked) {
  ASSERT_TRUE(Park(kRead, reader_));
  const PollDesc::Change change = SetDeadline(Directions::kRead, At(3), At(5));
  EXPECT_EQ(change.woken.reader, &reader_);
  EXPECT_FALSE(change.rearm);
  EXPECT_EQ(Resume(kRead), WaitResult::kTimeout);
}

TEST_F(PollDescTest, T21_ATimerThatFiresBetweenAnnouncementAndCommitIsATimeout) {
  EXPECT_TRUE(SetDeadline(Directions::kRead, At(10), At(1)).rearm);
  const Armed armed = Arm();
  TestPoints::Once("PollDesc::BlockCommit:before",
                   [&] { EXPECT_EQ(Fire(armed, At(10)).woken.reader, nullptr); });
  EXPECT_FALSE(Park(kRead, reader_));
  EXPECT_EQ(Resume(kRead), WaitResult::kTimeout);
}

TEST_F(PollDescTest, T22_AnExtensionJustAfterFiringSendsTheWaiterBack) {
  ASSERT_TRUE(Park(kRead, reader_));
  SetDeadline(Directions::kRead, At(10), At(1));
  EXPECT_EQ(Fire(Arm(), At(10)).woken.reader, &reader_);
  EXPECT_TRUE(SetDeadline(Directions::kRead, At(30), At(10)).rearm) << "no timer is armed";
  EXPECT_EQ(Resume(kRead), WaitResult::kReady);
  EXPECT_EQ(Word(kRead), PollDescPeer::kNil) << "neither io nor an error: it waits again";
  EXPECT_TRUE(Park(kRead, reader_));
  EXPECT_EQ(Fire(Arm(), At(30)).woken.reader, &reader_);
}

TEST_F(PollDescTest, T23_AnExtensionJustBeforeFiringOnlyReArms) {
  ASSERT_TRUE(Park(kRead, reader_));
  SetDeadline(Directions::kRead, At(10), At(1));
  const Armed armed = Arm();
  EXPECT_FALSE(SetDeadline(Directions::kRead, At(30), At(9)).rearm) << "a later one costs nothing";
  const PollDesc::Expired early = Fire(armed, At(10));
  EXPECT_EQ(early.woken.reader, nullptr);
  EXPECT_TRUE(early.rearm);
  const Armed again = Arm();
  EXPECT_EQ(again.when, At(30));
  EXPECT_EQ(Fire(again, At(30)).woken.reader, &reader_);
}

TEST_F(PollDescTest, T24_ADeadlineClearedWhileTheTimerIsOnItsWayDoesNotExpire) {
  ASSERT_TRUE(Park(kRead, reader_));
  SetDeadline(Directions::kRead, At(10), At(1));
  const Armed armed = Arm();
  TestPoints::Once("PollDesc::Expire:before_lock",
                   [this] { SetDeadline(Directions::kRead, MonotonicTime(), At(10)); });
  const PollDesc::Expired expired = Fire(armed, At(10));
  EXPECT_EQ(expired.woken.reader, nullptr);
  EXPECT_FALSE(expired.rearm);
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kReady);
  EXPECT_EQ(Arm().when, MonotonicTime::InfiniteFuture());
  EXPECT_EQ(desc_.Ready(kRead), &reader_);
}

TEST_F(PollDescTest, T24_ADeadlineClearedAndSetAgainIsNotExpiredByTheOldTimer) {
  SetDeadline(Directions::kRead, At(10), At(1));
  const Armed armed = Arm();
  SetDeadline(Directions::kRead, MonotonicTime(), At(2));
  EXPECT_TRUE(SetDeadline(Directions::kRead, At(10), At(2)).rearm);
  const PollDesc::Expired expired = Fire(armed, At(10));
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kReady);
  EXPECT_TRUE(expired.rearm) << "the one that was set last must still fire";
  const Armed again = Arm();
  Fire(again, At(10));
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kTimeout);
}

TEST_F(PollDescTest, T25_OneTimerExpiresBothSidesInOneStep) {
  ASSERT_TRUE(Park(kRead, reader_));
  ASSERT_TRUE(Park(kWrite, writer_));
  EXPECT_TRUE(SetDeadline(Directions::kBoth, At(10), At(1)).rearm);
  const Armed armed = Arm();
  EXPECT_EQ(armed.when, At(10));
  const PollDesc::Expired expired = Fire(armed, At(10));
  EXPECT_EQ(expired.woken.reader, &reader_);
  EXPECT_EQ(expired.woken.writer, &writer_);
  EXPECT_FALSE(expired.rearm);
}

TEST_F(PollDescTest, T25_TheTimerIsArmedForTheEarlierSideAndThenForTheOther) {
  SetDeadline(Directions::kRead, At(10), At(1));
  SetDeadline(Directions::kWrite, At(20), At(1));
  const Armed first = Arm();
  EXPECT_EQ(first.when, At(10));
  const PollDesc::Expired expired = Fire(first, At(10));
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kTimeout);
  EXPECT_EQ(desc_.CheckError(kWrite), WaitResult::kReady);
  EXPECT_TRUE(expired.rearm);
  const Armed second = Arm();
  EXPECT_EQ(second.when, At(20));
  EXPECT_FALSE(Fire(second, At(20)).rearm);
  EXPECT_EQ(desc_.CheckError(kWrite), WaitResult::kTimeout);
}

TEST_F(PollDescTest, T25_SplittingOneSideOffReArms) {
  SetDeadline(Directions::kBoth, At(10), At(1));
  const Armed both = Arm();
  EXPECT_TRUE(SetDeadline(Directions::kWrite, At(4), At(2)).rearm);
  EXPECT_EQ(Arm().when, At(4));
  // The timer of before, had it fired first: it has the reader's side, and asks for the other.
  const PollDesc::Expired expired = Fire(both, At(10));
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kTimeout);
  EXPECT_EQ(desc_.CheckError(kWrite), WaitResult::kReady);
  EXPECT_TRUE(expired.rearm);
}

TEST_F(PollDescTest, T26_ADeadlineOnAClosingDescriptorIsIgnored) {
  Evict();
  const PollDesc::Change change = SetDeadline(Directions::kBoth, At(10), At(1));
  EXPECT_FALSE(change.applied);
  EXPECT_FALSE(change.rearm);
  EXPECT_EQ(desc_.deadline_ns(kRead), 0);
  EXPECT_EQ(Arm().when, MonotonicTime::InfiniteFuture());
}

TEST_F(PollDescTest, T26_AnEvictionKeepsTheTimerFromExpiringAndFromBeingArmed) {
  SetDeadline(Directions::kBoth, At(10), At(1));
  const Armed armed = Arm();
  Evict();
  const PollDesc::Expired expired = Fire(armed, At(10));
  EXPECT_FALSE(expired.rearm);
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kClosing);
  EXPECT_EQ(Arm().when, MonotonicTime::InfiniteFuture());
}

TEST_F(PollDescTest, T27_ATimerOfThePreviousUseDoesNotExpireTheNewOne) {
  SetDeadline(Directions::kBoth, At(10), At(1));
  const Armed armed = Arm();
  Reuse();
  ASSERT_TRUE(Park(kRead, reader_));
  SetDeadline(Directions::kBoth, At(10), At(5));
  const PollDesc::Expired expired = Fire(armed, At(10));
  EXPECT_EQ(expired.woken.reader, nullptr);
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kReady);
  EXPECT_EQ(desc_.Ready(kRead), &reader_);
}

TEST_F(PollDescTest, T28_ADeadlineTooFarAwayIsTheLastMomentAndNotThePast) {
  const MonotonicTime now = At(1'000);
  const MonotonicTime far = now.PlusNs(MonotonicTime::InfiniteFuture().ns());
  EXPECT_EQ(far, MonotonicTime::InfiniteFuture());
  EXPECT_EQ(now + absl::InfiniteDuration(), MonotonicTime::InfiniteFuture());
  EXPECT_TRUE(SetDeadline(Directions::kRead, far, now).applied);
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kReady);
}

TEST_F(PollDescTest, T28_ADeadlineOfExactlyNowHasPassed) {
  SetDeadline(Directions::kBoth, At(5), At(5));
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kTimeout);
  EXPECT_EQ(desc_.CheckError(kWrite), WaitResult::kTimeout);
}

TEST_F(PollDescTest, T28_ADeadlineBeforeTheBeginningOfTimeHasPassedToo) {
  const MonotonicTime now = At(5);
  SetDeadline(Directions::kRead, now.PlusNs(-3'600'000 * kMs), now);
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kTimeout) << "zero would mean: no deadline";
}

TEST_F(PollDescTest, ClearingAnExpiredDeadlineBringsTheDescriptorBack) {
  SetDeadline(Directions::kBoth, At(3), At(5));
  EXPECT_FALSE(SetDeadline(Directions::kBoth, MonotonicTime(), At(5)).rearm);
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kReady);
  EXPECT_TRUE(Park(kRead, reader_));
  EXPECT_EQ(desc_.Ready(kRead), &reader_);
}

TEST_F(PollDescTest, ClosingGoesBeforeTimeoutAndTimeoutBeforeTheEventError) {
  desc_.SetEventError(true, desc_.fdseq());
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kNotPollable);
  EXPECT_EQ(desc_.CheckError(kWrite), WaitResult::kReady) << "a write gets a better error";
  SetDeadline(Directions::kBoth, At(1), At(1));
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kTimeout);
  Evict();
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kClosing);
}

TEST_F(PollDescTest, PushLaterMovesADeadlineWithoutATimerAndRefusesAllElse) {
  EXPECT_FALSE(desc_.PushLater(kRead, At(10))) << "none is set";
  SetDeadline(Directions::kRead, At(10), At(1));
  const uint32_t rseq = PollDescPeer::Seq(desc_, kRead);
  EXPECT_TRUE(desc_.PushLater(kRead, At(20)));
  EXPECT_EQ(PollDescPeer::Seq(desc_, kRead), rseq) << "the armed timer still counts";
  EXPECT_FALSE(desc_.PushLater(kRead, At(15))) << "earlier";
  EXPECT_FALSE(desc_.PushLater(kRead, At(20))) << "the same";
  SetDeadline(Directions::kRead, At(2), At(5));
  EXPECT_FALSE(desc_.PushLater(kRead, At(30))) << "expired";
  SetDeadline(Directions::kRead, At(40), At(5));
  Evict();
  EXPECT_FALSE(desc_.PushLater(kRead, At(50))) << "closing";
}

TEST_F(PollDescTest, X4_ADeadlinePushedAThousandTimesFiresAfterTheLast) {
  ASSERT_TRUE(Park(kRead, reader_));
  SetDeadline(Directions::kRead, At(100), At(1));
  Armed armed = Arm();
  for (int i = 1; i <= 1000; ++i) ASSERT_TRUE(desc_.PushLater(kRead, At(100 + i)));
  // The timer fires at the time of long ago, once, and is armed for what is set now.
  const PollDesc::Expired early = Fire(armed, At(100));
  EXPECT_EQ(early.woken.reader, nullptr);
  ASSERT_TRUE(early.rearm);
  armed = Arm();
  EXPECT_EQ(armed.when, At(1100));
  EXPECT_EQ(Fire(armed, At(1100)).woken.reader, &reader_);
  EXPECT_EQ(Resume(kRead), WaitResult::kTimeout);
}

TEST_F(PollDescTest, X5_AShorteningBetweenTheCheckAndTheWriteOfAPushWins) {
  SetDeadline(Directions::kRead, At(100), At(1));
  const Armed armed = Arm();
  bool rearm = false;
  TestPoints::Once("PollDesc::PushLater:checked", [&] {
    std::thread other([&] { rearm = SetDeadline(Directions::kRead, At(10), At(2)).rearm; });
    other.join();
  });
  EXPECT_FALSE(desc_.PushLater(kRead, At(200)));
  EXPECT_EQ(desc_.deadline_ns(kRead), At(10).ns());
  EXPECT_TRUE(rearm);
  // Even if the re-arm is slow, the timer of before does not expire on a sequence that is gone.
  EXPECT_TRUE(Fire(armed, At(100)).rearm);
  Fire(Arm(), At(100));
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kTimeout);
}

TEST_F(PollDescTest, X5_AnExpiryByAnotherThreadBetweenTheCheckAndTheWriteOfAPushWins) {
  SetDeadline(Directions::kRead, At(100), At(1));
  TestPoints::Once("PollDesc::PushLater:checked",
                   [this] { SetDeadline(Directions::kRead, At(2), At(2)); });
  EXPECT_FALSE(desc_.PushLater(kRead, At(200)));
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kTimeout);
}

// ---------------------------------------------------------------------------------------------
// Stale events and reuse

TEST_F(PollDescTest, T32_ADescriptorRecycledBetweenCheckAndMarkIsNotMarked) {
  const uint32_t fdseq = desc_.fdseq();
  TestPoints::Once("PollDesc::SetEventError:checked", [this] { Reuse(); });
  desc_.SetEventError(true, fdseq);
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kReady);
  EXPECT_EQ(desc_.fdseq(), PollInfo::NextSeq(fdseq));
}

TEST_F(PollDescTest, T32_AnEventErrorIsOfItsUseOnlyAndSurvivesAPublication) {
  const uint32_t fdseq = desc_.fdseq();
  desc_.SetEventError(true, fdseq + 1);
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kReady);
  desc_.SetEventError(true, fdseq);
  SetDeadline(Directions::kBoth, At(10), At(1));
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kNotPollable);
  desc_.SetEventError(false, fdseq);
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kReady);
  desc_.SetEventError(true, fdseq);
  Reuse();
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kReady) << "a new use begins clean";
}

TEST_F(PollDescTest, T33_TheEventErrorStillWorksAfter65536Reuses) {
  for (int i = 0; i < 70'000; ++i) Reuse();
  EXPECT_GT(desc_.fdseq(), 65'536u);
  desc_.SetEventError(true, desc_.fdseq());
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kNotPollable);
}

TEST_F(PollDescTest, T33_TheSequenceWrapsWithoutBecomingZero) {
  PollDescPeer::SetFdseq(desc_, 0xffffffffu);
  const PollHandle last = desc_.handle();
  Reuse();
  EXPECT_EQ(desc_.fdseq(), 1u);
  EXPECT_FALSE(desc_.Evict(last.fdseq).applied);
  desc_.SetEventError(true, 1);
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kNotPollable);
}

TEST_F(PollDescTest, X1_AnOldHandleDoesNothingToTheNewUse) {
  const PollHandle old = desc_.handle();
  Reuse();
  ASSERT_TRUE(Park(kRead, reader_));
  EXPECT_FALSE(desc_.Evict(old.fdseq).applied);
  EXPECT_FALSE(desc_.SetDeadline(old.fdseq, Directions::kBoth, At(1), At(5)).applied);
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kReady);
  EXPECT_EQ(desc_.Ready(kRead), &reader_);
}

TEST_F(PollDescTest, X1_AnOldHandleDoesNothingBetweenTwoUses) {
  const PollHandle old = desc_.handle();
  Evict();
  desc_.Close();
  EXPECT_FALSE(desc_.Evict(old.fdseq).applied);
  EXPECT_FALSE(desc_.SetDeadline(old.fdseq, Directions::kBoth, At(1), At(5)).applied);
  // Nor does one that guesses the coming sequence: what is free counts as closing.
  EXPECT_FALSE(desc_.Evict(desc_.fdseq()).applied);
}

// ---------------------------------------------------------------------------------------------
// Waits without a stack

TEST_F(PollDescTest, T58_ReadinessBeforeAnIdleCommitIsConsumedAndTheTaskRunsAgain) {
  TestPoints::Once("PollDesc::CommitIdle:before",
                   [this] { EXPECT_EQ(desc_.Ready(kRead), nullptr); });
  EXPECT_FALSE(desc_.CommitIdle(kRead, &reader_));
  EXPECT_EQ(Word(kRead), PollDescPeer::kNil);
}

TEST_F(PollDescTest, T59_AnEvictAfterAnIdleCommitIsRetractedByTheOwnerOrReturnedToTheCloser) {
  // The closer comes after the commit: it has the task, and the owner cannot take it back.
  ASSERT_TRUE(desc_.CommitIdle(kRead, &reader_));
  EXPECT_EQ(Evict().woken.reader, &reader_);
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kClosing);
  EXPECT_FALSE(desc_.RetractIdle(kRead, &reader_));
  desc_.Close();
  desc_.Open(kFd, nullptr);

  // It comes before: it finds nobody, and the owner takes its task back.
  TestPoints::Once("PollDesc::CommitIdle:before",
                   [this] { EXPECT_EQ(Evict().woken.reader, nullptr); });
  ASSERT_TRUE(desc_.CommitIdle(kRead, &reader_));
  EXPECT_EQ(desc_.CheckError(kRead), WaitResult::kClosing);
  EXPECT_TRUE(desc_.RetractIdle(kRead, &reader_));
  EXPECT_FALSE(desc_.HasWaiter());
}

TEST_F(PollDescTest, T59_AnEvictBetweenRecheckAndRetractionHasTheTask) {
  TestPoints::Once("PollDesc::CommitIdle:committed",
                   [this] { SetDeadline(Directions::kWrite, At(1), At(1)); });
  ASSERT_TRUE(desc_.CommitIdle(kRead, &reader_));
  TestPoints::Once("PollDesc::RetractIdle:before",
                   [this] { EXPECT_EQ(Evict().woken.reader, &reader_); });
  EXPECT_FALSE(desc_.RetractIdle(kRead, &reader_));
}

}  // namespace
}  // namespace parkway
