// How a worker's totals are brought up to date: in slices, and completely.
#include "proxy/census.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "poller/inbox.h"
#include "poller/scheduler.h"
#include "proxy/session/session.h"
#include "proxy/session/session_pool.h"

namespace parkway {
namespace {

class Nothing : public Message {
 public:
  void Deliver(Scheduler&) override {}
};

class CensusTest : public testing::Test, public SessionHost {
 protected:
  CensusTest() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  ~CensusTest() override {
    pool_.ForEach([this](Session& session) {
      PollDesc& desc = session.client();
      scheduler_.Evict(desc);
      scheduler_.Close(desc);
      pool_.Free(session);
    });
    close(fd_);
  }

  // They need no socket each: nothing moves.
  void Open(size_t count) {
    const uint16_t held = times.Hold(times_);
    for (size_t i = 0; i < count; ++i) {
      PollDesc* desc = scheduler_.netpoll().Allocate(fd_, nullptr);
      ASSERT_NE(pool_.New(i, *desc, PackedAddress(), held, scheduler_.now()), nullptr);
    }
  }

  // One turn, that does not sleep. How many were visited in it.
  size_t Turn() {
    visited_ = 0;
    scheduler_.Post(std::make_unique<Nothing>());
    scheduler_.Turn();
    return visited_;
  }

  Progress Connect(Session&, Wake) override { return Progress::kFailed; }
  void LeaveQueue(Session&) override {}
  void Finished(Session&, const SessionEnd&) override {}
  void CountMoved(Session& session) override {
    ++visited_;
    ++counted_[session.id()];
  }

  const int fd_;
  SessionTimes times_;
  Scheduler scheduler_{{.max_stacks = 8, .context = static_cast<SessionHost*>(this)}, nullptr};
  SessionPool pool_;
  Census census_{scheduler_, pool_, *this};
  size_t visited_ = 0;
  std::map<uint64_t, int> counted_;
};

TEST_F(CensusTest, EverySessionIsCountedOnceInSlicesWithATurnEach) {
  constexpr size_t kSessions = 5'000;
  Open(kSessions);
  bool done = false;
  census_.Ask(false, [&](const std::vector<SlowSample>& found) {
    EXPECT_TRUE(found.empty());
    done = true;
  });
  size_t most = 0, turns = 0;
  while (!done) {
    most = std::max(most, Turn());
    ++turns;
  }
  EXPECT_LE(most, Census::kSlice + 63) << "a slab is gone through whole";
  EXPECT_GE(turns, kSessions / (Census::kSlice + 63));
  EXPECT_EQ(counted_.size(), kSessions);
  for (const auto& [id, times] : counted_) ASSERT_EQ(times, 1) << id;
}

TEST_F(CensusTest, AQuestionThatComesMeanwhileIsAnsweredByARoundOfItsOwn) {
  Open(3'000);
  int first = 0, second = 0;
  census_.Ask(false, [&](const std::vector<SlowSample>&) { ++first; });
  Turn();
  for (int i = 0; i < 10; ++i)
    census_.Ask(false, [&](const std::vector<SlowSample>&) { ++second; });
  while (first == 0) Turn();
  EXPECT_EQ(second, 0);
  while (second < 10) Turn();
  for (const auto& [id, times] : counted_) ASSERT_EQ(times, 2) << id;
}

TEST_F(CensusTest, TheSlowestAreLookedForAmongABoundedNumber) {
  Open(4'000);
  std::vector<SlowSample> slowest;
  bool done = false;
  census_.Ask(true, [&](std::vector<SlowSample> found) {
    slowest = std::move(found);
    done = true;
  });
  while (!done) Turn();
  EXPECT_EQ(slowest.size(), kSlowest);
  EXPECT_EQ(counted_.size(), 4'000u) << "counted are all";
}

TEST_F(CensusTest, WithoutASessionTheAnswerComesAllTheSame) {
  bool done = false;
  census_.Ask(true, [&](const std::vector<SlowSample>& found) {
    EXPECT_TRUE(found.empty());
    done = true;
  });
  for (int i = 0; i < 3 && !done; ++i) Turn();
  EXPECT_TRUE(done);
}

TEST(SlowSampleTest, WhoWaitsForWhatIsInOurHandsComesBeforeALongRoundTrip) {
  SlowSample stalled, distant, idle;
  stalled.waiting_bytes = 1;
  stalled.idle_ns = 1'000'000'000;
  distant.rtt_client_us = 300'000;
  idle.idle_ns = 3'600'000'000'000;
  EXPECT_GT(stalled.rank(), distant.rank());
  EXPECT_GT(distant.rank(), idle.rank()) << "nobody waits for it";
}

}  // namespace
}  // namespace parkway
