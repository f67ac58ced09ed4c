// Races of dials with real sockets. A black hole is a listener whose queue is full: the kernel
// drops what is sent to it.
#include "poller/dial_race.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "poller/address.h"
#include "poller/clock.h"
#include "poller/dialer.h"
#include "poller/listener.h"
#include "poller/scheduler.h"
#include "poller/task.h"
#include "tests/poller/engine.h"

namespace parkway {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kLong = 60'000 * kMs;

Address V6(uint16_t port = 0) {
  std::array<uint8_t, 16> ip = {};
  ip[15] = 1;
  return Address::Ipv6(ip, port);
}
Address V4(uint16_t port = 0) { return Address::Ipv4({127, 0, 0, 1}, port); }

class DialRaceTest : public testing::Test {
 protected:
  void TearDown() override {
    for (const int fd : fds_) close(fd);
    EXPECT_EQ(scheduler_.parked(), 0u);
    EXPECT_EQ(scheduler_.wheel().count(), 0u);
    EXPECT_EQ(scheduler_.netpoll().cache().in_use(), 0u);
  }

  Address Server(const Address& at) {
    Address bound;
    const int fd = OpenListenSocket(at, {.backlog = 16}, &bound);
    EXPECT_GE(fd, 0);
    fds_.push_back(fd);
    servers_.push_back(fd);
    return bound;
  }
  Address BlackHole(const Address& at) {
    Address bound;
    fds_.push_back(OpenListenSocket(at, {.backlog = 0}, &bound));
    // One more than the queue holds; the kernel is asked until a connect stays unanswered.
    for (int i = 0; i < 3; ++i) {
      const int fd = socket(at.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      static_cast<void>(connect(fd, bound.data(), bound.size()));
      fds_.push_back(fd);
    }
    return bound;
  }
  Address Refusing(const Address& at) {
    Address bound;
    close(OpenListenSocket(at, {.backlog = 1}, &bound));
    return bound;
  }

  // The outcome, and for how long it took, in took_ms_.
  RaceResult Race(const std::vector<Address>& candidates, int64_t delay_ns,
                  int64_t deadline_ns = kLong) {
    RaceResult result;
    LambdaTask task([&](Scheduler& scheduler, Wake) {
      // Times are counted from the clock of the scheduler's turn.
      const MonotonicTime began = scheduler.now();
      result = RaceDials(
          scheduler, candidates,
          {.delay_ns = delay_ns, .deadline = scheduler.now().PlusNs(deadline_ns)},
          [&](const Address& to) {
            ++dials_;
            return DialStart(scheduler, to, nullptr);
          },
          [&] { return ended_; });
      took_ms_ = (ReadMonotonicClock().ns() - began.ns()) / kMs;
      if (result.desc != nullptr) {
        EXPECT_TRUE(result.desc->registered());
        DialClose(scheduler, *result.desc);
      }
      return Next::Done();
    });
    scheduler_.Spawn(task);
    racing_ = &task;
    TurnUntil(scheduler_, [&] { return task.done; });
    return result;
  }

  Scheduler scheduler_{{.max_stacks = 16}, nullptr};
  std::vector<int> fds_;
  std::vector<int> servers_;
  Task* racing_ = nullptr;
  int dials_ = 0;
  int64_t took_ms_ = 0;
  bool ended_ = false;
};

TEST_F(DialRaceTest, TheFirstThatAnswersAtOnceIsTakenAndNobodyElseIsAsked) {
  const RaceResult won = Race({Server(V6()), Server(V4())}, kLong);
  ASSERT_NE(won.desc, nullptr);
  EXPECT_EQ(won.winner, 0u);
  EXPECT_EQ(dials_, 1);
}

TEST_F(DialRaceTest, ASilentIpv6IsOvertakenByIpv4AfterThePause) {
  const std::vector<Address> candidates = {BlackHole(V6()), Server(V4())};
  int64_t shortest_ms = 900;
  // Who is kept from the processor may take longer, but not each time.
  for (int i = 0; i < 5 && shortest_ms >= 900; ++i) {
    const RaceResult won = Race(candidates, 50 * kMs);
    ASSERT_NE(won.desc, nullptr);
    EXPECT_EQ(won.winner, 1u);
    EXPECT_GE(took_ms_, 50);
    shortest_ms = std::min(shortest_ms, took_ms_);
  }
  EXPECT_LT(shortest_ms, 900) << "before the SYN would be sent again";
}

TEST_F(DialRaceTest, OneThatRefusesIsFollowedAtOnce) {
  const RaceResult won = Race({Refusing(V6()), Server(V4())}, kLong);
  ASSERT_NE(won.desc, nullptr);
  EXPECT_EQ(won.winner, 1u);
}

TEST_F(DialRaceTest, WithoutAPauseTheNextComesOnlyWhenOneHasFailed) {
  const RaceResult won = Race({BlackHole(V6()), Server(V4())}, 0, 100 * kMs);
  EXPECT_EQ(won.desc, nullptr);
  EXPECT_EQ(won.error, ETIMEDOUT);
  EXPECT_EQ(dials_, 1);
}

TEST_F(DialRaceTest, AllThatFailSayWhyAndWhatNeverLeftThisMachineHidesNothing) {
  // There is no broadcast over TCP: the kernel refuses it without asking anybody.
  const Address nowhere = Address::Ipv4({255, 255, 255, 255}, 9);
  const RaceResult lost = Race({Refusing(V4()), nowhere}, kLong);
  EXPECT_EQ(lost.desc, nullptr);
  EXPECT_EQ(lost.error, ECONNREFUSED);
  EXPECT_EQ(dials_, 2);
}

TEST_F(DialRaceTest, AllSilentEndsAtTheDeadline) {
  const RaceResult lost = Race({BlackHole(V6()), BlackHole(V4())}, 10 * kMs, 80 * kMs);
  EXPECT_EQ(lost.error, ETIMEDOUT);
  EXPECT_EQ(dials_, 2);
  EXPECT_GE(took_ms_, 80);
}

TEST_F(DialRaceTest, ItEndsWhenNobodyWantsTheOutcomeAnyMore) {
  const std::vector<Address> candidates = {BlackHole(V6()), BlackHole(V4())};
  LambdaTask kick([&](Scheduler& scheduler, Wake) {
    if (dials_ < 2) return Next::Yield();
    ended_ = true;
    EXPECT_TRUE(scheduler.Kick(*racing_));
    return Next::Done();
  });
  scheduler_.Spawn(kick);
  EXPECT_EQ(Race(candidates, 10 * kMs).error, ECANCELED);
}

TEST_F(DialRaceTest, TheLoserIsClosedAndTheServersSeeOneConnectionThatLives) {
  const Address first = BlackHole(V6());
  const Address second = Server(V4());
  RaceResult won;
  LambdaTask task([&](Scheduler& scheduler, Wake) {
    won = RaceDials(
        scheduler, std::vector<Address>{first, second},
        {.delay_ns = 10 * kMs, .deadline = scheduler.now().PlusNs(kLong)},
        [&](const Address& to) { return DialStart(scheduler, to, nullptr); }, [] { return false; });
    EXPECT_EQ(scheduler.netpoll().cache().in_use(), 1u) << "the winner's alone";
    EXPECT_EQ(send(won.desc->fd(), "x", 1, 0), 1);
    char byte = 0;
    const Accepted got = AcceptOne(servers_.back());
    EXPECT_GE(got.fd, 0);
    EXPECT_EQ(recv(got.fd, &byte, 1, MSG_WAITALL), 1);
    close(got.fd);
    DialClose(scheduler, *won.desc);
    return Next::Done();
  });
  scheduler_.Spawn(task);
  TurnUntil(scheduler_, [&] { return task.done; });
}

}  // namespace
}  // namespace parkway
