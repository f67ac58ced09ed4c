// What another thread may do to a descriptor of a running worker. The worker is a thread of its
// own; the test's thread is the other one. The order of the two is forced by named points and
// semaphores.
#include "poller/remote.h"

#include <sys/socket.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <semaphore>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "poller/clock.h"
#include "poller/poll_desc.h"
#include "poller/scheduler.h"
#include "poller/task.h"
#include "tests/poller/engine.h"
#include "tests/scale.h"

namespace parkway {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kHour = 3'600'000 * kMs;
constexpr Direction kRead = Direction::kRead;

// A worker thread that runs until Stop, and does what it is told between two activations.
class RemoteTest : public TestPointTest {
 protected:
  void SetUp() override {
    TestPointTest::SetUp();
    if (IsSkipped()) return;
    thread_ = std::thread([this] {
      scheduler_.Run();
      TestPoints::Clear();
    });
  }
  void TearDown() override {
    TestPoints::Clear();
    if (!thread_.joinable()) return;
    scheduler_.Stop();
    thread_.join();
    EXPECT_EQ(scheduler_.parked(), 0u);
    EXPECT_EQ(scheduler_.wheel().count(), 0u);
    EXPECT_EQ(scheduler_.netpoll().cache().in_use(), 0u);
  }

  // Runs `body` on the worker's thread and waits until it has.
  template <typename Body>
  void OnWorker(Body body) {
    std::binary_semaphore done{0};
    scheduler_.Post(LambdaMessage::Make([&](Scheduler&) {
      body();
      done.release();
    }));
    done.acquire();
  }
  // Waits until the worker sleeps in the kernel, or is about to with nothing left to look at.
  void AwaitSleep() {
    std::binary_semaphore asleep{0};
    OnWorker([&] { TestPoints::Once("Scheduler::Turn:asleep", [&] { asleep.release(); }); });
    asleep.acquire();
  }
  PollHandle Open(int fd) {
    PollHandle handle;
    OnWorker([&] {
      PollDesc& desc = *scheduler_.netpoll().Allocate(fd, nullptr);
      EXPECT_EQ(scheduler_.netpoll().Register(desc), 0);
      handle = desc.handle();
    });
    return handle;
  }
  PollDesc& Find(PollHandle handle) { return *scheduler_.netpoll().cache().Find(handle.index); }
  void End(PollHandle handle) {
    OnWorker([&] { EndUse(scheduler_, Find(handle)); });
  }
  // A task that waits for input, with or without its stack, and says how that ended.
  class Waiter {
   public:
    Waiter(RemoteTest& test, PollHandle handle, bool with_stack)
        : task_([this, &test, handle, with_stack](Scheduler& scheduler, Wake wake) {
            PollDesc& desc = test.Find(handle);
            if (with_stack) {
              result_ = scheduler.Wait(desc, kRead);
            } else if (wake == Wake::kStart) {
              return Next::AwaitReadable(desc);
            } else {
              result_ = wake == Wake::kReady     ? WaitResult::kReady
                        : wake == Wake::kClosing ? WaitResult::kClosing
                        : wake == Wake::kTimeout ? WaitResult::kTimeout
                                                 : WaitResult::kNotPollable;
            }
            ++ends_;
            done_.release();
            return Next::Done();
          }) {
      test.OnWorker([&] { test.scheduler_.Spawn(task_); });
    }
    WaitResult Join() {
      done_.acquire();
      return result_;
    }
    int ends() const { return ends_; }

   private:
    std::binary_semaphore done_{0};
    WaitResult result_ = WaitResult::kNotPollable;
    std::atomic<int> ends_{0};
    LambdaTask task_;
  };

  Scheduler scheduler_{{.max_stacks = 16}, nullptr};
  std::thread thread_;
};

TEST_F(RemoteTest, T13_ARemoteEvictWakesASleepingWorkerAndTheTaskOnce) {
  for (const bool with_stack : {true, false}) {
    SocketPair pair;
    const PollHandle handle = Open(pair.near());
    Waiter waiter(*this, handle, with_stack);
    AwaitSleep();
    EXPECT_TRUE(RemoteEvict(scheduler_, handle));
    EXPECT_EQ(waiter.Join(), WaitResult::kClosing);
    EXPECT_EQ(waiter.ends(), 1);
    End(handle);
  }
}

TEST_F(RemoteTest, T14_ARemoteEvictRacingDataEndsTheWaitOnce) {
  for (int round = 0; round < 100; ++round) {
    SocketPair pair;
    const PollHandle handle = Open(pair.near());
    Waiter waiter(*this, handle, round % 2 == 0);
    std::thread peer([&] { pair.Say("x"); });
    EXPECT_TRUE(RemoteEvict(scheduler_, handle));
    const WaitResult result = waiter.Join();
    EXPECT_TRUE(result == WaitResult::kReady || result == WaitResult::kClosing);
    peer.join();
    EXPECT_EQ(waiter.ends(), 1);
    End(handle);
  }
}

TEST_F(RemoteTest, T12_ARemoteEvictBetweenAnnouncementAndCommitKeepsTheTaskFromParking) {
  SocketPair pair;
  const PollHandle handle = Open(pair.near());
  OnWorker([&] {
    TestPoints::Once("PollDesc::BlockCommit:before", [&] {
      std::thread([&] { EXPECT_TRUE(RemoteEvict(scheduler_, handle)); }).join();
    });
  });
  Waiter waiter(*this, handle, true);
  EXPECT_EQ(waiter.Join(), WaitResult::kClosing);
  End(handle);
}

TEST_F(RemoteTest, T59_ARemoteEvictBetweenCommitAndRecheckRunsTheTaskOnce) {
  for (const char* point : {"PollDesc::CommitIdle:before", "PollDesc::CommitIdle:committed"}) {
    SocketPair pair;
    const PollHandle handle = Open(pair.near());
    OnWorker([&] {
      TestPoints::Once(point, [&] {
        std::thread([&] { EXPECT_TRUE(RemoteEvict(scheduler_, handle)); }).join();
      });
    });
    Waiter waiter(*this, handle, false);
    EXPECT_EQ(waiter.Join(), WaitResult::kClosing);
    AwaitSleep();
    EXPECT_EQ(waiter.ends(), 1) << point;
    End(handle);
  }
}

TEST_F(RemoteTest, T17_ATaskThatIsEvictedWhileItRunsIsToldAtItsNextWait) {
  SocketPair pair;
  const PollHandle handle = Open(pair.near());
  std::binary_semaphore done{0};
  LambdaTask task([&](Scheduler& scheduler, Wake) {
    std::thread([&] { EXPECT_TRUE(RemoteEvict(scheduler, handle)); }).join();
    pair.Say("x");
    EXPECT_EQ(scheduler.Wait(Find(handle), kRead), WaitResult::kClosing);
    done.release();
    return Next::Done();
  });
  OnWorker([&] { scheduler_.Spawn(task); });
  done.acquire();
  End(handle);
}

TEST_F(RemoteTest, T14_DataThatComesWhileAnEvictedTaskIsOnItsWayDoesNotQueueItAgain) {
  SocketPair pair;
  const PollHandle handle = Open(pair.near());
  Waiter waiter(*this, handle, false);
  AwaitSleep();
  TestPoints::Once("RemoteEvict:before_post", [&] {
    // The task is out of its word and in no queue yet.
    pair.Say("x");
    OnWorker([&] { EXPECT_FALSE(Find(handle).HasWaiter()); });
    AwaitSleep();
    EXPECT_EQ(waiter.ends(), 0);
  });
  EXPECT_TRUE(RemoteEvict(scheduler_, handle));
  EXPECT_EQ(waiter.Join(), WaitResult::kReady) << "the data came before it ran";
  EXPECT_EQ(waiter.ends(), 1);
  End(handle);
}

TEST_F(RemoteTest, T29_ADeadlineShortenedWhileTheWorkerSleepsFiresInTime) {
  for (const bool with_stack : {true, false}) {
    SocketPair pair;
    const PollHandle handle = Open(pair.near());
    const MonotonicTime start = ReadMonotonicClock();
    OnWorker([&] { scheduler_.SetDeadline(Find(handle), Directions::kRead, start.PlusNs(kHour)); });
    Waiter waiter(*this, handle, with_stack);
    AwaitSleep();
    const MonotonicTime deadline = ReadMonotonicClock().PlusNs(3 * kMs);
    EXPECT_TRUE(RemoteSetDeadline(scheduler_, handle, Directions::kRead, deadline));
    EXPECT_EQ(waiter.Join(), WaitResult::kTimeout);
    EXPECT_GE(ReadMonotonicClock(), deadline);
    End(handle);
  }
}

TEST_F(RemoteTest, T42_ADeadlineSetWhereNoneWasFiresThoughTheWorkerSleptWithoutATimer) {
  SocketPair pair;
  const PollHandle handle = Open(pair.near());
  Waiter waiter(*this, handle, false);
  AwaitSleep();
  EXPECT_TRUE(RemoteSetDeadline(scheduler_, handle, Directions::kBoth,
                                ReadMonotonicClock().PlusNs(2 * kMs)));
  EXPECT_EQ(waiter.Join(), WaitResult::kTimeout);
  End(handle);
}

TEST_F(RemoteTest, T20_ADeadlineInThePastWakesAtOnce) {
  SocketPair pair;
  const PollHandle handle = Open(pair.near());
  Waiter waiter(*this, handle, true);
  AwaitSleep();
  EXPECT_TRUE(RemoteSetDeadline(scheduler_, handle, Directions::kRead, MonotonicTime(1)));
  EXPECT_EQ(waiter.Join(), WaitResult::kTimeout);
  End(handle);
}

TEST_F(RemoteTest, T27_AReArmThatIsUnderWayWhenTheUseEndsIsDropped) {
  SocketPair pair;
  const PollHandle handle = Open(pair.near());
  TestPoints::Once("RemoteSetDeadline:before_post", [&] {
    End(handle);
    EXPECT_EQ(Open(pair.far()).index, handle.index);
  });
  EXPECT_TRUE(
      RemoteSetDeadline(scheduler_, handle, Directions::kRead, ReadMonotonicClock().PlusNs(kHour)));
  OnWorker([&] {
    EXPECT_EQ(scheduler_.wheel().count(), 0u);
    EXPECT_EQ(Find(handle).deadline_ns(kRead), 0);
    EndUse(scheduler_, Find(handle));
  });
}

TEST_F(RemoteTest, T18_AHandleOfAUseThatHasEndedDoesNothingToWhoHasTheDescriptorNow) {
  SocketPair old_pair;
  SocketPair new_pair;
  const PollHandle old = Open(old_pair.near());
  End(old);
  EXPECT_FALSE(RemoteEvict(scheduler_, old));
  const PollHandle now = Open(new_pair.near());
  ASSERT_EQ(now.index, old.index);
  Waiter waiter(*this, now, false);
  EXPECT_FALSE(RemoteEvict(scheduler_, old));
  EXPECT_FALSE(RemoteSetDeadline(scheduler_, old, Directions::kBoth, MonotonicTime(1)));
  EXPECT_FALSE(RemoteEvict(scheduler_, PollHandle{0, 1}));
  EXPECT_FALSE(RemoteEvict(scheduler_, PollHandle{1u << 30, 1}));
  AwaitSleep();
  EXPECT_EQ(waiter.ends(), 0);
  new_pair.Say("x");
  EXPECT_EQ(waiter.Join(), WaitResult::kReady);
  End(now);
}

// The owner ends uses and begins new ones, without a lock, while others still call by old handles.
TEST_F(RemoteTest, T18_CallsByAHandleRacingTheEndOfItsUseTouchNoLaterUse) {
  SocketPair pair;
  std::atomic<uint64_t> published{0};  // a handle that the others may use: index and fdseq
  std::atomic<bool> over{false};
  const auto call = [&](auto with) {
    while (!over.load()) {
      const uint64_t word = published.load();
      if (word == 0) continue;
      with(PollHandle{static_cast<uint32_t>(word), static_cast<uint32_t>(word >> 32)});
    }
  };
  std::thread evicts([&] {
    call([this](PollHandle handle) { static_cast<void>(RemoteEvict(scheduler_, handle)); });
  });
  std::thread shortens([&] {
    call([this](PollHandle handle) {
      static_cast<void>(RemoteSetDeadline(scheduler_, handle, Directions::kBoth, MonotonicTime(1)));
    });
  });
  OnWorker([&] {
    for (int i = 0; i < 2000; ++i) {
      PollDesc* desc = scheduler_.netpoll().Allocate(pair.near(), nullptr);
      const PollHandle handle = desc->handle();
      published.store(uint64_t{handle.fdseq} << 32 | handle.index);
      std::this_thread::yield();
      scheduler_.End(*desc);
      // Nobody has been given the handle of this one.
      desc = scheduler_.netpoll().Allocate(pair.near(), nullptr);
      ASSERT_EQ(desc->index(), handle.index);
      std::this_thread::yield();
      EXPECT_EQ(desc->CheckError(Direction::kRead), WaitResult::kReady);
      EXPECT_EQ(desc->CheckError(Direction::kWrite), WaitResult::kReady);
      scheduler_.End(*desc);
    }
  });
  over = true;
  evicts.join();
  shortens.join();
}

TEST_F(RemoteTest, X2_OfTwoRemoteEvictsAndALocalOneExactlyOneIsApplied) {
  for (int round = 0; round < 100; ++round) {
    SocketPair pair;
    const PollHandle handle = Open(pair.near());
    Waiter waiter(*this, handle, round % 2 == 0);
    std::atomic<int> applied{0};
    std::atomic<int> ready{0};
    const auto evict = [&] {
      ++ready;
      while (ready.load() < 2) {
      }
      applied += RemoteEvict(scheduler_, handle) ? 1 : 0;
    };
    std::thread first(evict);
    std::thread second(evict);
    // The local one, in the middle of it.
    OnWorker([&] { scheduler_.Evict(Find(handle)); });
    EXPECT_EQ(waiter.Join(), WaitResult::kClosing);
    OnWorker([&] { scheduler_.Close(Find(handle)); });
    first.join();
    second.join();
    EXPECT_LE(applied.load(), 1);
    EXPECT_EQ(waiter.ends(), 1);
  }
}

TEST_F(RemoteTest, X5_AShorteningRacingAPushFiresAtTheEarlierTime) {
  SocketPair pair;
  const PollHandle handle = Open(pair.near());
  MonotonicTime soon;
  OnWorker([&] {
    PollDesc& desc = Find(handle);
    scheduler_.SetDeadline(desc, Directions::kRead, scheduler_.now().PlusNs(kHour));
    TestPoints::Once("PollDesc::PushLater:checked", [&] {
      soon = ReadMonotonicClock().PlusNs(2 * kMs);
      std::thread([&] {
        EXPECT_TRUE(RemoteSetDeadline(scheduler_, handle, Directions::kRead, soon));
      }).join();
    });
    EXPECT_FALSE(desc.PushLater(kRead, scheduler_.now().PlusNs(2 * kHour)));
  });
  Waiter waiter(*this, handle, true);
  EXPECT_EQ(waiter.Join(), WaitResult::kTimeout);
  EXPECT_GE(ReadMonotonicClock(), soon);
  End(handle);
}

TEST_F(RemoteTest, T30_ManyThreadsMoveTheDeadlinesOfAReaderThatGoesOnReading) {
  constexpr int kThreads = 16;
  const int64_t steps = scale::random_steps / 100 / kThreads;
  SocketPair pair;
  const PollHandle handle = Open(pair.near());
  std::binary_semaphore done{0};
  std::atomic<int64_t> timeouts{0};
  bool closing = false;
  LambdaTask reader([&](Scheduler& scheduler, Wake) {
    while (!closing) {
      const WaitResult result = scheduler.Wait(Find(handle), kRead);
      closing = result == WaitResult::kClosing;
      timeouts += result == WaitResult::kTimeout ? 1 : 0;
      scheduler.Yield();
    }
    done.release();
    return Next::Done();
  });
  OnWorker([&] { scheduler_.Spawn(reader); });
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      std::mt19937_64 random(seed + i);
      for (int64_t step = 0; step < steps; ++step) {
        const MonotonicTime now = ReadMonotonicClock();
        const MonotonicTime when = random() % 3 == 0   ? MonotonicTime(1)
                                   : random() % 2 == 0 ? MonotonicTime()
                                                       : now.PlusNs(random() % kMs);
        EXPECT_TRUE(RemoteSetDeadline(scheduler_, handle, Directions::kRead, when));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  // The last word must be heard: an expiry, its end, and the close.
  const int64_t before = timeouts.load();
  EXPECT_TRUE(RemoteSetDeadline(scheduler_, handle, Directions::kRead, MonotonicTime(1)));
  while (timeouts.load() == before) std::this_thread::yield();
  EXPECT_TRUE(RemoteSetDeadline(scheduler_, handle, Directions::kRead, MonotonicTime()));
  EXPECT_TRUE(RemoteEvict(scheduler_, handle));
  done.acquire();
  End(handle);
}

}  // namespace
}  // namespace parkway
