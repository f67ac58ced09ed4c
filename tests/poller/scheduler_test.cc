// One worker: parking with and without a stack, the order of a turn, sleeping and waking, fairness,
// and that nothing is left at the end. Descriptors are real sockets; other threads act at named
// points.
#include "poller/scheduler.h"

#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "poller/clock.h"
#include "poller/poll_desc.h"
#include "poller/task.h"
#include "poller/timer_wheel.h"
#include "tests/poller/engine.h"
#include "tests/scale.h"

namespace parkway {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr Direction kRead = Direction::kRead;
constexpr Direction kWrite = Direction::kWrite;

// Everything that hung up unattended, and what to do about it.
class Hangups : public Scheduler::Delegate {
 public:
  void OnHangup(PollDesc& desc) override {
    seen.push_back(&desc);
    if (then) then(desc);
  }
  void OnTimer(TimerWheel::Node&) override {}
  void OnBusyTurn(int64_t ns) override { turns_ns.push_back(ns); }

  std::vector<PollDesc*> seen;
  std::vector<int64_t> turns_ns;
  std::function<void(PollDesc&)> then;
};

class SchedulerTest : public TestPointTest {
 protected:
  void TearDown() override {
    TestPoints::Clear();
    // T44: whatever the test did, nothing is left.
    EXPECT_EQ(scheduler_.parked(), 0u);
    EXPECT_EQ(scheduler_.wheel().count(), 0u);
    EXPECT_EQ(scheduler_.netpoll().cache().in_use(), 0u);
    EXPECT_FALSE(scheduler_.HasReady());
  }

  PollDesc& Allocate(int fd) { return *scheduler_.netpoll().Allocate(fd, nullptr); }
  void End(PollDesc& desc) { EndUse(scheduler_, desc); }
  // A task that waits once with its stack, and how that ended.
  LambdaTask::Body WaitOnce(PollDesc& desc, Direction direction, WaitResult& result) {
    return [&desc, direction, &result](Scheduler& scheduler, Wake) {
      result = scheduler.Wait(desc, direction);
      return Next::Done();
    };
  }
  // The same without a stack; the task remembers how it ended.
  LambdaTask::Body AwaitOnce(PollDesc& desc, Direction direction) {
    return [&desc, direction](Scheduler&, Wake wake) {
      if (wake == Wake::kStart) return Next::Await(desc, direction);
      return Next::Done();
    };
  }

  Hangups hangups_;
  Scheduler scheduler_{{.max_stacks = 16}, &hangups_};
  WaitResult result_ = WaitResult::kNotPollable;
};

// ---------------------------------------------------------------------------------------------
// Parking with a stack

TEST_F(SchedulerTest, T1_AnEventBetweenTheAttemptAndTheAnnouncementIsNotMissed) {
  SocketPair pair;
  PollDesc& desc = Allocate(pair.near());
  TestPoints::Once("Scheduler::Wait:checked", [&] { static_cast<void>(desc.Ready(kRead)); });
  LambdaTask task(WaitOnce(desc, kRead, result_));
  scheduler_.Spawn(task);
  TurnWithoutSleep(scheduler_);
  EXPECT_TRUE(task.done);
  EXPECT_EQ(result_, WaitResult::kReady);
  EXPECT_EQ(scheduler_.parked_high_water(), 0u);
  End(desc);
}

TEST_F(SchedulerTest, AnEdgeThatCameSinceTheAttemptCountsThoughTheTaskDidSomethingElseMeanwhile) {
  SocketPair pair;
  PollDesc& desc = Allocate(pair.near());
  ASSERT_EQ(scheduler_.netpoll().Register(desc), 0);
  TurnWithoutSleep(scheduler_);
  LambdaTask task([&](Scheduler& scheduler, Wake) {
    // The attempt found nothing; then bytes came, and an event of them.
    EXPECT_EQ(desc.Reset(kRead), WaitResult::kReady);
    pair.Say("x");
    Netpoll::Polled polled;
    scheduler.netpoll().Poll(0, polled);
    EXPECT_EQ(PollDescPeer::Word(desc, kRead), PollDescPeer::kReady);
    result_ = scheduler.Wait(desc, kRead);
    return Next::Done();
  });
  scheduler_.Spawn(task);
  for (int i = 0; i < 5; ++i) TurnWithoutSleep(scheduler_);
  EXPECT_TRUE(task.done) << "no second edge comes for what is there already";
  EXPECT_EQ(result_, WaitResult::kReady);
  if (!task.done) scheduler_.Evict(desc);
  for (int i = 0; i < 5; ++i) TurnWithoutSleep(scheduler_);
  End(desc);
}

TEST_F(SchedulerTest, T2_AnEventBetweenAnnouncementAndCommitResumesTheTaskAtOnce) {
  SocketPair pair;
  PollDesc& desc = Allocate(pair.near());
  TestPoints::Once("PollDesc::BlockCommit:before", [&] { EXPECT_EQ(desc.Ready(kRead), nullptr); });
  LambdaTask task(WaitOnce(desc, kRead, result_));
  scheduler_.Spawn(task);
  TurnWithoutSleep(scheduler_);
  EXPECT_TRUE(task.done);
  EXPECT_EQ(result_, WaitResult::kReady);
  EXPECT_EQ(task.runs, 1);
  End(desc);
}

TEST_F(SchedulerTest, T3_AParkedTaskGoesOnWhereItStoodWhenDataComes) {
  SocketPair pair;
  PollDesc& desc = Allocate(pair.near());
  LambdaTask task(WaitOnce(desc, kRead, result_));
  scheduler_.Spawn(task);
  TurnWithoutSleep(scheduler_);
  EXPECT_FALSE(task.done);
  EXPECT_EQ(scheduler_.parked(), 1u);
  pair.Say("x");
  TurnUntil(scheduler_, [&] { return task.done; });
  EXPECT_EQ(result_, WaitResult::kReady);
  EXPECT_EQ(task.runs, 1);
  End(desc);
}

TEST_F(SchedulerTest, T8_AReaderAndAWriterOfOneSocketWaitAtOnce) {
  SocketPair pair;
  FillUp(pair.near());
  PollDesc& desc = Allocate(pair.near());
  WaitResult read_result = WaitResult::kNotPollable;
  LambdaTask reader(WaitOnce(desc, kRead, read_result));
  LambdaTask writer(WaitOnce(desc, kWrite, result_));
  scheduler_.Spawn(reader);
  scheduler_.Spawn(writer);
  TurnWithoutSleep(scheduler_);
  Empty(pair.far());
  TurnUntil(scheduler_, [&] { return writer.done; });
  EXPECT_FALSE(reader.done);
  pair.CloseFar();
  TurnUntil(scheduler_, [&] { return reader.done; });
  EXPECT_EQ(read_result, WaitResult::kReady);
  EXPECT_TRUE(hangups_.seen.empty());
  End(desc);
}

TEST_F(SchedulerTest, T10_DataThatComesAfterATimeoutWokeTheTaskIsReported) {
  SocketPair pair;
  PollDesc& desc = Allocate(pair.near());
  LambdaTask task(WaitOnce(desc, kRead, result_));
  scheduler_.Spawn(task);
  TurnWithoutSleep(scheduler_);
  scheduler_.SetDeadline(desc, Directions::kRead, MonotonicTime(1));
  static_cast<void>(desc.Ready(kRead));
  TurnWithoutSleep(scheduler_);
  EXPECT_EQ(result_, WaitResult::kReady);
  End(desc);
}

TEST_F(SchedulerTest, T11_AnEvictBetweenCheckAndAnnouncementKeepsTheTaskFromParking) {
  SocketPair pair;
  PollDesc& desc = Allocate(pair.near());
  TestPoints::Once("Scheduler::Wait:checked", [&] { scheduler_.Evict(desc); });
  LambdaTask task(WaitOnce(desc, kRead, result_));
  scheduler_.Spawn(task);
  TurnWithoutSleep(scheduler_);
  EXPECT_TRUE(task.done);
  EXPECT_EQ(result_, WaitResult::kClosing);
  EXPECT_EQ(scheduler_.parked_high_water(), 0u);
  End(desc);
}

TEST_F(SchedulerTest, T12_AnEvictBetweenAnnouncementAndCommitKeepsTheTaskFromParking) {
  SocketPair pair;
  PollDesc& desc = Allocate(pair.near());
  TestPoints::Once("PollDesc::BlockCommit:before", [&] { scheduler_.Evict(desc); });
  LambdaTask task(WaitOnce(desc, kWrite, result_));
  scheduler_.Spawn(task);
  // A new socket can be written, so without this the write would be ready.
  FillUp(pair.near());
  TurnWithoutSleep(scheduler_);
  EXPECT_TRUE(task.done);
  EXPECT_EQ(result_, WaitResult::kClosing);
  End(desc);
}

TEST_F(SchedulerTest, T13_AnEvictWakesReaderAndWriterOnceEach) {
  SocketPair pair;
  FillUp(pair.near());
  PollDesc& desc = Allocate(pair.near());
  WaitResult read_result = WaitResult::kNotPollable;
  LambdaTask reader(WaitOnce(desc, kRead, read_result));
  LambdaTask writer(AwaitOnce(desc, kWrite));
  scheduler_.Spawn(reader);
  scheduler_.Spawn(writer);
  TurnWithoutSleep(scheduler_);
  EXPECT_EQ(scheduler_.parked(), 1u) << "only the reader keeps a stack";
  scheduler_.Evict(desc);
  scheduler_.Evict(desc);
  TurnWithoutSleep(scheduler_);
  EXPECT_EQ(read_result, WaitResult::kClosing);
  EXPECT_EQ(writer.last, Wake::kClosing);
  EXPECT_EQ(writer.runs, 2);
  End(desc);
}

TEST_F(SchedulerTest, T17_ATaskThatIsEvictedWhileItRunsIsToldAtItsNextWait) {
  SocketPair pair;
  PollDesc& desc = Allocate(pair.near());
  LambdaTask task([&](Scheduler& scheduler, Wake) {
    scheduler.Evict(desc);
    pair.Say("x");
    result_ = scheduler.Wait(desc, kRead);
    return Next::Done();
  });
  scheduler_.Spawn(task);
  TurnWithoutSleep(scheduler_);
  EXPECT_EQ(result_, WaitResult::kClosing);
  EXPECT_FALSE(desc.registered()) << "no system call was made for it";
  End(desc);
}

TEST_F(SchedulerTest, T19_ADeadlineInThePastIsATimeoutWithoutParking) {
  SocketPair pair;
  PollDesc& desc = Allocate(pair.near());
  scheduler_.SetDeadline(desc, Directions::kRead, MonotonicTime(1));
  LambdaTask task(WaitOnce(desc, kRead, result_));
  scheduler_.Spawn(task);
  TurnWithoutSleep(scheduler_);
  EXPECT_EQ(result_, WaitResult::kTimeout);
  EXPECT_EQ(scheduler_.parked_high_water(), 0u);
  End(desc);
}

TEST_F(SchedulerTest, T20_ADeadlineWakesAParkedTaskWithTimeoutAndNotBeforeItsTime) {
  SocketPair pair;
  PollDesc& desc = Allocate(pair.near());
  const MonotonicTime deadline = ReadMonotonicClock().PlusNs(5 * kMs);
  scheduler_.SetDeadline(desc, Directions::kBoth, deadline);
  LambdaTask with_stack(WaitOnce(desc, kRead, result_));
  scheduler_.Spawn(with_stack);
  TurnUntil(scheduler_, [&] { return with_stack.done; });
  EXPECT_EQ(result_, WaitResult::kTimeout);
  EXPECT_GE(scheduler_.now(), deadline);
  End(desc);
}

TEST_F(SchedulerTest, T22_ADeadlineThatIsMovedOnBeforeTheTaskRunsSendsItBack) {
  SocketPair pair;
  SocketPair other;
  PollDesc& desc = Allocate(pair.near());
  PollDesc& other_desc = Allocate(other.near());
  LambdaTask with_stack(WaitOnce(desc, kRead, result_));
  LambdaTask without(AwaitOnce(other_desc, kRead));
  scheduler_.Spawn(with_stack);
  scheduler_.Spawn(without);
  TurnWithoutSleep(scheduler_);
  for (PollDesc* each : {&desc, &other_desc}) {
    scheduler_.SetDeadline(*each, Directions::kRead, MonotonicTime(1));
    scheduler_.SetDeadline(*each, Directions::kRead, scheduler_.now().PlusNs(3'600'000 * kMs));
  }
  TurnWithoutSleep(scheduler_);
  EXPECT_FALSE(with_stack.done);
  EXPECT_EQ(without.runs, 1);
  EXPECT_EQ(scheduler_.parked(), 1u);
  pair.Say("x");
  other.Say("x");
  TurnUntil(scheduler_, [&] { return with_stack.done && without.done; });
  EXPECT_EQ(result_, WaitResult::kReady);
  EXPECT_EQ(without.last, Wake::kReady);
  End(desc);
  End(other_desc);
}

TEST_F(SchedulerTest, T26_ClosingADescriptorTakesItsTimerOutOfTheWheel) {
  SocketPair pair;
  PollDesc& desc = Allocate(pair.near());
  scheduler_.SetDeadline(desc, Directions::kBoth, scheduler_.now().PlusNs(60'000 * kMs));
  EXPECT_EQ(scheduler_.wheel().count(), 1u);
  scheduler_.Evict(desc);
  scheduler_.SetDeadline(desc, Directions::kBoth, scheduler_.now().PlusNs(kMs));
  scheduler_.Close(desc);
  EXPECT_EQ(scheduler_.wheel().count(), 0u);
}

TEST_F(SchedulerTest, X4_ADeadlinePushedAThousandTimesFiresAfterTheLast) {
  SocketPair pair;
  PollDesc& desc = Allocate(pair.near());
  const MonotonicTime start = ReadMonotonicClock();
  scheduler_.SetDeadline(desc, Directions::kRead, start.PlusNs(2 * kMs));
  LambdaTask task(AwaitOnce(desc, kRead));
  scheduler_.Spawn(task);
  TurnWithoutSleep(scheduler_);
  MonotonicTime last = start.PlusNs(2 * kMs);
  // Each is later by a microsecond or so, and the first by as much as the machine was slow.
  for (int i = 0; i < 1000 && !task.done; ++i) {
    last = start.PlusNs(5 * kMs + i * 1000);
    if (!desc.PushLater(kRead, last)) scheduler_.SetDeadline(desc, Directions::kRead, last);
  }
  TurnUntil(scheduler_, [&] { return task.done; });
  EXPECT_EQ(task.last, Wake::kTimeout);
  EXPECT_GE(scheduler_.now(), last);
  End(desc);
}

// ---------------------------------------------------------------------------------------------
// Waiting without a stack

TEST_F(SchedulerTest, T58_ReadinessBeforeTheCommitRunsTheEntryAgainInTheSameActivation) {
  SocketPair pair;
  PollDesc& desc = Allocate(pair.near());
  TestPoints::Once("PollDesc::CommitIdle:before", [&] { static_cast<void>(desc.Ready(kRead)); });
  LambdaTask task(AwaitOnce(desc, kRead));
  LambdaTask other([&](Scheduler&, Wake) {
    EXPECT_TRUE(task.done) << "it did not go through the queue";
    return Next::Done();
  });
  scheduler_.Spawn(task);
  scheduler_.Spawn(other);
  TurnWithoutSleep(scheduler_);
  EXPECT_EQ(task.last, Wake::kReady);
  EXPECT_EQ(task.runs, 2);
  EXPECT_TRUE(other.done);
  End(desc);
}

TEST_F(SchedulerTest, T58_ATaskThatIsAlwaysReadyAgainLetsTheOthersRun) {
  SocketPair pair;
  PollDesc& desc = Allocate(pair.near());
  bool other_ran = false;
  TestPoints::On("PollDesc::CommitIdle:before", [&] { static_cast<void>(desc.Ready(kRead)); });
  LambdaTask greedy(
      [&](Scheduler&, Wake) { return other_ran ? Next::Done() : Next::AwaitReadable(desc); });
  LambdaTask other([&](Scheduler&, Wake) {
    other_ran = true;
    return Next::Done();
  });
  scheduler_.Spawn(greedy);
  scheduler_.Spawn(other);
  TurnWithoutSleep(scheduler_);
  EXPECT_TRUE(greedy.done);
  EXPECT_LT(greedy.runs, 100);
  End(desc);
}

TEST_F(SchedulerTest, T59_AnEvictBeforeTheIdleCommitIsSeenByTheRecheck) {
  SocketPair pair;
  PollDesc& desc = Allocate(pair.near());
  TestPoints::Once("PollDesc::CommitIdle:before", [&] { scheduler_.Evict(desc); });
  LambdaTask task(AwaitOnce(desc, kRead));
  scheduler_.Spawn(task);
  TurnWithoutSleep(scheduler_);
  EXPECT_EQ(task.last, Wake::kClosing);
  EXPECT_EQ(task.runs, 2);
  End(desc);
}

TEST_F(SchedulerTest, T59_AnEvictAfterTheIdleCommitQueuesTheTaskOnce) {
  SocketPair pair;
  PollDesc& desc = Allocate(pair.near());
  TestPoints::Once("PollDesc::CommitIdle:committed", [&] { scheduler_.Evict(desc); });
  LambdaTask task(AwaitOnce(desc, kRead));
  scheduler_.Spawn(task);
  TurnWithoutSleep(scheduler_);
  EXPECT_EQ(task.last, Wake::kClosing);
  EXPECT_EQ(task.runs, 2) << "rerun or queued, not both";
  End(desc);
}

TEST_F(SchedulerTest, T59_AnEvictBetweenRecheckAndRetractionQueuesTheTaskOnce) {
  SocketPair pair;
  PollDesc& desc = Allocate(pair.near());
  scheduler_.SetDeadline(desc, Directions::kRead, MonotonicTime(1));
  TestPoints::Once("PollDesc::RetractIdle:before", [&] { scheduler_.Evict(desc); });
  LambdaTask task(AwaitOnce(desc, kRead));
  scheduler_.Spawn(task);
  TurnWithoutSleep(scheduler_);
  EXPECT_EQ(task.last, Wake::kClosing);
  EXPECT_EQ(task.runs, 2);
  End(desc);
}

TEST_F(SchedulerTest, T60_ManyTasksThatWaitWithoutAStackShareAFew) {
  const auto owned = std::make_unique<Scheduler>(Scheduler::Options{.max_stacks = 2}, nullptr);
  Scheduler& scheduler = *owned;
  std::vector<std::unique_ptr<LambdaTask>> tasks;
  struct Nap {
    SleepTimer timer;
    int naps = 0;
  };
  std::vector<std::unique_ptr<Nap>> naps;
  int64_t done = 0;
  const int64_t count = scale::parked_stacks;
  for (int64_t i = 0; i < count; ++i) {
    naps.push_back(std::make_unique<Nap>());
    tasks.push_back(
        std::make_unique<LambdaTask>([nap = naps.back().get(), &done, i](Scheduler& s, Wake) {
          if (++nap->naps == 1) return Next::Yield();
          if (nap->naps == 2) return Next::SleepUntil(nap->timer, s.now().PlusNs(i % 3 * kMs));
          ++done;
          return Next::Done();
        }));
    scheduler.Spawn(*tasks.back());
  }
  TurnUntil(scheduler, [&] { return done == count; });
  EXPECT_LE(scheduler.stacks().high_water(), 4u);
  EXPECT_EQ(scheduler.parked_high_water(), 0u);
}

TEST_F(SchedulerTest, T60_MoreTasksThatKeepTheirStackThanThereAreStacksAllEnd) {
  const auto owned = std::make_unique<Scheduler>(Scheduler::Options{.max_stacks = 2}, nullptr);
  Scheduler& scheduler = *owned;
  std::vector<std::unique_ptr<LambdaTask>> tasks;
  int done = 0;
  for (int i = 0; i < 40; ++i) {
    tasks.push_back(std::make_unique<LambdaTask>([&done](Scheduler& s, Wake) {
      s.Yield();
      EXPECT_EQ(s.SleepUntil(s.now()), Wake::kTimer);
      ++done;
      return Next::Done();
    }));
    scheduler.Spawn(*tasks.back());
  }
  TurnUntil(scheduler, [&] { return done == 40; });
  EXPECT_LE(scheduler.stacks().high_water(), 4u);
}

TEST_F(SchedulerTest, X7_ATaskThatHoldsAStackRunsAlthoughManyWaitForOne) {
  const auto owned = std::make_unique<Scheduler>(Scheduler::Options{.max_stacks = 1}, nullptr);
  Scheduler& scheduler = *owned;
  // Three stacks exist. These hold them, and then hundreds come that want one.
  std::vector<std::unique_ptr<LambdaTask>> tasks;
  int done = 0;
  for (int i = 0; i < 600; ++i) {
    tasks.push_back(std::make_unique<LambdaTask>([&done](Scheduler& s, Wake) {
      s.Yield();
      ++done;
      return Next::Done();
    }));
    scheduler.Spawn(*tasks.back());
  }
  TurnUntil(scheduler, [&] { return done == 600; });
  EXPECT_LT(scheduler.turns(), 600u) << "it paused although there was something to run";
}

// ---------------------------------------------------------------------------------------------
// Batches and hang-ups

TEST_F(SchedulerTest, T36_AHangUpOfADescriptorThatWasClosedInTheSameBatchIsDropped) {
  TcpPair first;
  TcpPair second;
  PollDesc& a = Allocate(first.near());
  PollDesc& b = Allocate(second.near());
  ASSERT_EQ(scheduler_.netpoll().Register(a), 0);
  ASSERT_EQ(scheduler_.netpoll().Register(b), 0);
  TurnWithoutSleep(scheduler_);
  // The handling of the first one, whichever that is, ends both.
  hangups_.then = [&](PollDesc&) {
    End(a);
    End(b);
  };
  first.ResetFar();
  second.ResetFar();
  TurnWithoutSleep(scheduler_);
  EXPECT_EQ(hangups_.seen.size(), 1u);
}

TEST_F(SchedulerTest, T36_ATaskMayEvictAnotherOfTheSameBatch) {
  SocketPair first;
  SocketPair second;
  PollDesc& a = Allocate(first.near());
  PollDesc& b = Allocate(second.near());
  LambdaTask victim(AwaitOnce(b, kRead));
  LambdaTask killer([&](Scheduler& s, Wake wake) {
    if (wake == Wake::kStart) return Next::AwaitReadable(a);
    s.Evict(b);
    return Next::Done();
  });
  scheduler_.Spawn(killer);
  scheduler_.Spawn(victim);
  TurnWithoutSleep(scheduler_);
  first.Say("x");
  second.Say("x");
  TurnUntil(scheduler_, [&] { return victim.done; });
  EXPECT_EQ(victim.runs, 2);
  EXPECT_EQ(victim.last, Wake::kReady) << "its data was there first";
  End(a);
  End(b);
}

TEST_F(SchedulerTest, X6_AResetIsReportedWhileTheTaskOfTheConnectionWaitsForSomethingElse) {
  TcpPair pair;
  PollDesc& desc = Allocate(pair.near());
  ASSERT_EQ(scheduler_.netpoll().Register(desc), 0);
  TurnWithoutSleep(scheduler_);
  Completion served;
  LambdaTask queued([&](Scheduler& s, Wake) {
    s.Await(served);
    return Next::Done();
  });
  scheduler_.Spawn(queued);
  hangups_.then = [&](PollDesc&) { scheduler_.Complete(served); };
  pair.ResetFar();
  TurnUntil(scheduler_, [&] { return queued.done; });
  EXPECT_EQ(hangups_.seen, std::vector<PollDesc*>{&desc});
  End(desc);
}

// ---------------------------------------------------------------------------------------------
// Sleeping and waking

TEST_F(SchedulerTest, T37_AMessagePostedJustBeforeTheLastLookAtTheInboxIsSeenThere) {
  bool delivered = false;
  TestPoints::Once("Scheduler::Turn:about_to_sleep", [&] {
    std::thread([&] {
      scheduler_.Post(LambdaMessage::Make([&](Scheduler&) { delivered = true; }));
    }).join();
  });
  scheduler_.Turn();  // would sleep for ever
  EXPECT_TRUE(delivered);
}

TEST_F(SchedulerTest, T37_AMessagePostedBetweenThatLookAndTheSleepEndsTheSleep) {
  bool delivered = false;
  TestPoints::Once("Scheduler::Turn:asleep", [&] {
    std::thread([&] {
      scheduler_.Post(LambdaMessage::Make([&](Scheduler&) { delivered = true; }));
    }).join();
  });
  scheduler_.Turn();
  EXPECT_TRUE(delivered);
}

TEST_F(SchedulerTest, T37_AStopBetweenTheLookAndTheSleepEndsTheRun) {
  TestPoints::Once("Scheduler::Turn:asleep",
                   [&] { std::thread([&] { scheduler_.Stop(); }).join(); });
  scheduler_.Run();
}

TEST_F(SchedulerTest, T38_AllThatManyThreadsPostDuringOneSleepArrivesWithOneWrite) {
  constexpr int kThreads = 8;
  constexpr int kEach = 50;
  int delivered = 0;
  std::atomic<int> writes{0};
  TestPoints::Once("Scheduler::Turn:asleep", [&] {
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] {
        TestPoints::On("Netpoll::Break:write", [&] { ++writes; });
        for (int j = 0; j < kEach; ++j) {
          scheduler_.Post(LambdaMessage::Make([&](Scheduler&) { ++delivered; }));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  });
  scheduler_.Turn();
  EXPECT_EQ(delivered, kThreads * kEach);
  EXPECT_EQ(writes.load(), 1);
}

TEST_F(SchedulerTest, T38_MessagesOfOneThreadKeepTheirOrder) {
  std::vector<int> order;
  for (int i = 0; i < 5; ++i) {
    scheduler_.Post(LambdaMessage::Make([&, i](Scheduler&) { order.push_back(i); }));
  }
  scheduler_.Turn();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4}));
}

TEST_F(SchedulerTest, T40_APostToABusyWorkerCostsNoSystemCall) {
  int writes = 0;
  TestPoints::On("Netpoll::Break:write", [&] { ++writes; });
  TurnWithoutSleep(scheduler_);  // it was about to sleep, and is awake again
  bool delivered = false;
  LambdaTask task([&](Scheduler& s, Wake) {
    // To oneself, and from another thread while the worker is in a task.
    s.Post(LambdaMessage::Make([](Scheduler&) {}));
    std::thread([&] {
      TestPoints::On("Netpoll::Break:write", [&] { ++writes; });
      s.Post(LambdaMessage::Make([&](Scheduler&) { delivered = true; }));
    }).join();
    return Next::Done();
  });
  scheduler_.Spawn(task);
  TurnWithoutSleep(scheduler_);
  scheduler_.Turn();
  EXPECT_TRUE(delivered);
  EXPECT_EQ(writes, 0);
}

TEST_F(SchedulerTest, T41_ASignalDuringATimedSleepDoesNotEndItEarly) {
  struct sigaction action = {};
  action.sa_handler = [](int) {};
  struct sigaction before;
  ASSERT_EQ(sigaction(SIGUSR1, &action, &before), 0);
  const pthread_t worker = pthread_self();
  std::atomic<bool> stop{false};
  std::thread nuisance;
  TestPoints::Once("Scheduler::Turn:asleep", [&] {
    nuisance = std::thread([&] {
      while (!stop.load()) {
        pthread_kill(worker, SIGUSR1);
        std::this_thread::yield();
      }
    });
  });
  SleepTimer timer;
  MonotonicTime until;
  LambdaTask task([&](Scheduler&, Wake wake) {
    if (wake == Wake::kTimer) return Next::Done();
    until = ReadMonotonicClock().PlusNs(10 * kMs);
    return Next::SleepUntil(timer, until);
  });
  scheduler_.Spawn(task);
  TurnUntil(scheduler_, [&] { return task.done; });
  EXPECT_GE(ReadMonotonicClock(), until);
  EXPECT_EQ(task.runs, 2);
  stop = true;
  nuisance.join();
  sigaction(SIGUSR1, &before, nullptr);
}

TEST_F(SchedulerTest, T42_ATimerEarlierThanThePresentSleepWakesTheWorker) {
  SleepTimer late;
  SleepTimer soon;
  LambdaTask late_task([&](Scheduler& s, Wake wake) {
    if (wake != Wake::kStart) return Next::Done();
    return Next::SleepUntil(late, s.now().PlusNs(3'600'000 * kMs));
  });
  LambdaTask soon_task([&](Scheduler& s, Wake wake) {
    if (wake != Wake::kStart) return Next::Done();
    return Next::SleepUntil(soon, s.now().PlusNs(2 * kMs));
  });
  scheduler_.Spawn(late_task);
  TurnWithoutSleep(scheduler_);
  TestPoints::Once("Scheduler::Turn:asleep", [&] {
    std::thread([&] {
      scheduler_.Post(LambdaMessage::Make([&](Scheduler& s) { s.Spawn(soon_task); }));
    }).join();
  });
  TurnUntil(scheduler_, [&] { return soon_task.done; });
  EXPECT_FALSE(late_task.done);
  EXPECT_TRUE(scheduler_.Kick(late_task));
  EXPECT_FALSE(scheduler_.Kick(late_task)) << "it is awake";
  TurnWithoutSleep(scheduler_);
  EXPECT_EQ(late_task.last, Wake::kKick);
}

// ---------------------------------------------------------------------------------------------
// Fairness

TEST_F(SchedulerTest, T43_AReadyFileIsServedWhileTheRunQueueNeverEmpties) {
  SocketPair pair;
  PollDesc& desc = Allocate(pair.near());
  LambdaTask reader(AwaitOnce(desc, kRead));
  scheduler_.Spawn(reader);
  TurnWithoutSleep(scheduler_);
  int spins = 0;
  LambdaTask busy([&](Scheduler&, Wake) {
    if (++spins == 10) pair.Say("x");
    return reader.done ? Next::Done() : Next::Yield();
  });
  scheduler_.Spawn(busy);
  TurnUntil(scheduler_, [&] { return busy.done; });
  EXPECT_LE(spins, 10 + 2 * Scheduler::kActivationsPerTurn);
  End(desc);
}

TEST_F(SchedulerTest, T43_BackgroundTasksRunOnceATurnAndWithinTheBudget) {
  int runs[3] = {};
  std::vector<Task*> tasks;
  const auto body = [&](int which) {
    return [&, which](Scheduler& s, Wake) {
      ++runs[which];
      s.Charge(*tasks[which], 300 * 1024);
      return runs[which] == 2 ? Next::Done() : Next::Yield();
    };
  };
  LambdaTask a(body(0));
  LambdaTask b(body(1));
  LambdaTask c(body(2));
  tasks = {&a, &b, &c};
  for (Task* task : tasks) {
    task->set_background(true);
    scheduler_.Spawn(*task);
  }
  TurnWithoutSleep(scheduler_);
  EXPECT_EQ(runs[0] + runs[1] + runs[2], 2) << "512 KiB a turn, and each moves 300";
  TurnUntil(scheduler_, [&] { return a.done && b.done && c.done; });
}

TEST_F(SchedulerTest, ATurnThatDidMuchIsTimedFromThePollToItsEndAndAnotherIsNot) {
  TurnWithoutSleep(scheduler_);  // the first trims
  hangups_.turns_ns.clear();
  const auto work = [](Scheduler& s, Wake) {
    const MonotonicTime end = s.now().PlusNs(2 * kMs);
    while (ReadMonotonicClock() < end) {
    }
    return Next::Done();
  };
  LambdaTask alone(work);
  scheduler_.Spawn(alone);
  scheduler_.Turn();
  EXPECT_TRUE(hangups_.turns_ns.empty()) << "a turn of one activation is not looked at";

  LambdaTask slice(work);
  slice.set_background(true);
  scheduler_.Spawn(slice);
  scheduler_.Turn();
  ASSERT_EQ(hangups_.turns_ns.size(), 1u);
  EXPECT_GE(hangups_.turns_ns.back(), 2 * kMs);

  std::vector<std::unique_ptr<LambdaTask>> many;
  for (uint64_t i = 0; i < Scheduler::kBusyActivations; ++i) {
    many.push_back(std::make_unique<LambdaTask>([](Scheduler&, Wake) { return Next::Done(); }));
    scheduler_.Spawn(*many.back());
  }
  scheduler_.Turn();
  EXPECT_EQ(hangups_.turns_ns.size(), 2u);

  scheduler_.Post(LambdaMessage::Make([](Scheduler&) {}));
  scheduler_.Turn();
  EXPECT_EQ(hangups_.turns_ns.size(), 3u) << "a message of another thread";
}

TEST_F(SchedulerTest, ABackgroundTaskMayMoveWhatTheTurnHasLeft) {
  size_t left[2] = {};
  std::vector<Task*> tasks;
  const auto body = [&](int which) {
    return [&, which](Scheduler& s, Wake) {
      left[which] = s.BudgetLeft();
      s.Charge(*tasks[which], 100 * 1024);
      return Next::Done();
    };
  };
  LambdaTask a(body(0));
  LambdaTask b(body(1));
  tasks = {&a, &b};
  for (Task* task : tasks) {
    task->set_background(true);
    scheduler_.Spawn(*task);
  }
  TurnWithoutSleep(scheduler_);
  EXPECT_EQ(left[0], 512u * 1024);
  EXPECT_EQ(left[1], 412u * 1024);
}

TEST_F(SchedulerTest, ATaskThatPausesGoesOnWhenItsTimeIsOverAndWakesTheWorkerForThat) {
  constexpr int kTasks = 3;
  int64_t paused_at[kTasks] = {};
  int64_t resumed_at[kTasks] = {};
  std::vector<int> order;
  std::vector<std::unique_ptr<LambdaTask>> tasks;
  for (int i = 0; i < kTasks; ++i) {
    tasks.push_back(std::make_unique<LambdaTask>([&, i](Scheduler& s, Wake wake) {
      if (wake == Wake::kStart) {
        paused_at[i] = s.now().ns();
        return Next::Pause();
      }
      EXPECT_EQ(wake, Wake::kYield);
      resumed_at[i] = s.now().ns();
      order.push_back(i);
      return Next::Done();
    }));
    tasks.back()->set_background(true);
    scheduler_.Spawn(*tasks.back());
  }
  TurnWithoutSleep(scheduler_);
  EXPECT_FALSE(scheduler_.HasReady());
  EXPECT_LE(scheduler_.NextWake().ns(), paused_at[0] + 200'000);
  // Each turn sleeps until somebody's time is over; nothing else would wake the worker.
  while (order.size() < kTasks) scheduler_.Turn();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
  for (int i = 0; i < kTasks; ++i) {
    EXPECT_GE(resumed_at[i] - paused_at[i], 200'000 + i * 40'000) << i;
  }
  EXPECT_EQ(scheduler_.NextWake(), MonotonicTime::InfiniteFuture());
}

TEST_F(SchedulerTest, ATaskThatPausesIsNeitherKickedNorLost) {
  LambdaTask task(
      [](Scheduler&, Wake wake) { return wake == Wake::kStart ? Next::Pause() : Next::Done(); });
  scheduler_.Spawn(task);
  TurnWithoutSleep(scheduler_);
  EXPECT_FALSE(scheduler_.Kick(task));
  while (!task.done) scheduler_.Turn();
  EXPECT_EQ(task.runs, 2);
}

TEST_F(SchedulerTest, AWaitForBytesOfAMutedDescriptorIsToldOfThoseThatCameMeanwhile) {
  SocketPair pair;
  PollDesc& desc = Allocate(pair.near());
  ASSERT_EQ(scheduler_.netpoll().Register(desc), 0);
  for (int i = 0; i < 3; ++i) {
    pair.Say("x");
    TurnWithoutSleep(scheduler_);
  }
  ASSERT_NE(desc.edge_bits() & PollDesc::kReadMuted, 0);
  ASSERT_EQ(Empty(pair.near()), 3u);
  ASSERT_EQ(desc.Reset(kRead), WaitResult::kReady);
  LambdaTask reader(AwaitOnce(desc, kRead));
  scheduler_.Spawn(reader);
  TurnWithoutSleep(scheduler_);
  EXPECT_FALSE(reader.done);
  EXPECT_EQ(desc.edge_bits() & PollDesc::kReadMuted, 0);
  pair.Say("y");
  TurnUntil(scheduler_, [&] { return reader.done; });
  EXPECT_EQ(reader.last, Wake::kReady);
  // The same for one that waits with its stack, and bytes that came before it did.
  ASSERT_EQ(Empty(pair.near()), 1u);
  for (int i = 0; i < 3; ++i) {
    pair.Say("x");
    TurnWithoutSleep(scheduler_);
  }
  ASSERT_NE(desc.edge_bits() & PollDesc::kReadMuted, 0);
  ASSERT_EQ(desc.Reset(kRead), WaitResult::kReady);
  LambdaTask waits(WaitOnce(desc, kRead, result_));
  scheduler_.Spawn(waits);
  TurnUntil(scheduler_, [&] { return waits.done; });
  EXPECT_EQ(result_, WaitResult::kReady);
  End(desc);
}

TEST_F(SchedulerTest, T44_SleepsWaitsAndYieldsWithAStackAreAllAccountedFor) {
  SocketPair pair;
  PollDesc& desc = Allocate(pair.near());
  Completion completion;
  LambdaTask waits(WaitOnce(desc, kRead, result_));
  LambdaTask sleeps([&](Scheduler& s, Wake) {
    EXPECT_EQ(s.SleepUntil(s.now().PlusNs(3'600'000 * kMs)), Wake::kKick);
    return Next::Done();
  });
  LambdaTask awaits([&](Scheduler& s, Wake) {
    s.Await(completion);
    EXPECT_TRUE(completion.done());
    s.Await(completion);  // done already: no park
    return Next::Done();
  });
  scheduler_.Spawn(waits);
  scheduler_.Spawn(sleeps);
  scheduler_.Spawn(awaits);
  TurnWithoutSleep(scheduler_);
  EXPECT_EQ(scheduler_.parked(), 3u);
  pair.Say("x");
  EXPECT_TRUE(scheduler_.Kick(sleeps));
  scheduler_.Complete(completion);
  TurnUntil(scheduler_, [&] { return waits.done && sleeps.done && awaits.done; });
  EXPECT_EQ(scheduler_.parked(), 0u);
  EXPECT_EQ(scheduler_.parked_high_water(), 3u);
  End(desc);
}

TEST_F(SchedulerTest, ATaskThatStartsOutWaitingHasNoFirstActivation) {
  SocketPair pair;
  PollDesc& desc = Allocate(pair.near());
  LambdaTask task;
  scheduler_.SpawnAwaiting(task, desc, kRead);
  TurnWithoutSleep(scheduler_);
  EXPECT_EQ(task.runs, 0);
  pair.Say("x");
  TurnUntil(scheduler_, [&] { return task.done; });
  EXPECT_EQ(task.last, Wake::kReady);
  LambdaTask late;
  scheduler_.Evict(desc);
  scheduler_.SpawnAwaiting(late, desc, kRead);
  TurnWithoutSleep(scheduler_);
  EXPECT_EQ(late.last, Wake::kClosing);
  End(desc);
}

TEST_F(SchedulerTest, AFileThatEpollRefusesIsNotPollable) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  close(ends[1]);
  PollDesc& desc = Allocate(ends[0]);  // a number that stands for nothing
  LambdaTask with_stack(WaitOnce(desc, kRead, result_));
  result_ = WaitResult::kReady;
  LambdaTask without(AwaitOnce(desc, kRead));
  scheduler_.Spawn(with_stack);
  scheduler_.Spawn(without);
  TurnWithoutSleep(scheduler_);
  EXPECT_EQ(result_, WaitResult::kNotPollable);
  EXPECT_EQ(without.last, Wake::kNotPollable);
  End(desc);
}

TEST_F(SchedulerTest, AStacklessTaskRunsWhereTheWorkerDoesAndWaitsAtItsEntry) {
  SocketPair pair;
  PollDesc& desc = Allocate(pair.near());
  char* const here = static_cast<char*>(__builtin_frame_address(0));
  bool beside = false;
  LambdaTask task([&](Scheduler&, Wake wake) {
    const auto distance = static_cast<char*>(__builtin_frame_address(0)) - here;
    beside = distance > -100'000 && distance < 100'000;
    return wake == Wake::kStart ? Next::AwaitReadable(desc) : Next::Done();
  });
  task.set_stackless(true);
  scheduler_.Spawn(task);
  TurnWithoutSleep(scheduler_);
  EXPECT_FALSE(task.done);
  EXPECT_TRUE(beside);
  EXPECT_EQ(scheduler_.stacks().in_use(), 0u);
  pair.Say("x");
  TurnUntil(scheduler_, [&] { return task.done; });
  EXPECT_EQ(task.last, Wake::kReady);
  EXPECT_EQ(task.runs, 2);
  End(desc);
}

TEST_F(SchedulerTest, AStacklessTaskThatWaitsInTheMiddleEndsTheProcess) {
  EXPECT_DEATH(
      {
        LambdaTask task([](Scheduler& scheduler, Wake) {
          scheduler.Yield();
          return Next::Done();
        });
        task.set_stackless(true);
        scheduler_.Spawn(task);
        TurnWithoutSleep(scheduler_);
      },
      "only a running task with a stack can wait");
}

TEST_F(SchedulerTest, T61_AnExceptionThatLeavesATaskEndsTheProcess) {
  EXPECT_DEATH(
      {
        LambdaTask task([](Scheduler&, Wake) -> Next { throw 1; });
        scheduler_.Spawn(task);
        TurnWithoutSleep(scheduler_);
      },
      "");
}

}  // namespace
}  // namespace parkway
