// Listening and connecting with real sockets of this machine.
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "poller/address.h"
#include "poller/clock.h"
#include "poller/dialer.h"
#include "poller/listener.h"
#include "poller/poll_desc.h"
#include "poller/scheduler.h"
#include "poller/task.h"
#include "tests/poller/engine.h"
#include "tests/poller/no_descriptors.h"

namespace parkway {
namespace {

constexpr int64_t kMs = 1'000'000;

Address Loopback(uint16_t port = 0) { return Address::Ipv4({127, 0, 0, 1}, port); }

class ListenerDialerTest : public TestPointTest {
 protected:
  void TearDown() override {
    TestPoints::Clear();
    for (const int fd : fds_) close(fd);
    EXPECT_EQ(scheduler_.parked(), 0u);
    EXPECT_EQ(scheduler_.wheel().count(), 0u);
    EXPECT_EQ(scheduler_.netpoll().cache().in_use(), 0u);
  }

  int Keep(int fd) {
    EXPECT_GE(fd, 0);
    fds_.push_back(fd);
    return fd;
  }
  int Listen(Address* bound, int backlog = 16) {
    return Keep(OpenListenSocket(Loopback(), {.backlog = backlog}, bound));
  }
  // A client that is connected, or wants to be.
  int Connect(const Address& to) {
    const int fd = Keep(socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    static_cast<void>(connect(fd, to.data(), to.size()));
    return fd;
  }
  int Option(int fd, int level, int name) {
    int value = -1;
    socklen_t length = sizeof(value);
    EXPECT_EQ(getsockopt(fd, level, name, &value, &length), 0);
    return value;
  }
  // How the dial of `to` ends, run by a task.
  int DialTo(const Address& to, MonotonicTime deadline) {
    int error = -1;
    LambdaTask task([&](Scheduler& scheduler, Wake) {
      const Dial dial = DialStart(scheduler, to, nullptr);
      error = dial.error;
      if (dial.desc == nullptr) return Next::Done();
      desc_ = dial.desc;
      if (dial.in_progress) error = DialFinish(scheduler, *dial.desc, deadline);
      itself_ = error == 0 && ConnectedToItself(*dial.desc, to);
      DialClose(scheduler, *dial.desc);
      return Next::Done();
    });
    scheduler_.Spawn(task);
    TurnUntil(scheduler_, [&] { return task.done; });
    return error;
  }
  MonotonicTime In(int64_t ms) { return ReadMonotonicClock().PlusNs(ms * kMs); }

  Scheduler scheduler_{{.max_stacks = 16}, nullptr};
  PollDesc* desc_ = nullptr;
  bool itself_ = false;
  std::vector<int> fds_;
};

// ---------------------------------------------------------------------------------------------
// Listening

TEST_F(ListenerDialerTest, TheWildcardOfIpv6TakesIpv4UnlessToldOtherwise) {
  for (const bool v6only : {false, true}) {
    Address bound;
    const int fd =
        OpenListenSocket(Address::Ipv6({}, 0), {.backlog = 16, .v6only = v6only}, &bound);
    if (fd == -EAFNOSUPPORT) GTEST_SKIP() << "no IPv6 here";
    Keep(fd);
    EXPECT_EQ(Option(fd, IPPROTO_IPV6, IPV6_V6ONLY), v6only);
    // Beside it the port is free for IPv4, or not.
    const int other = OpenListenSocket(Address::Ipv4({}, bound.port()), {.backlog = 16}, nullptr);
    EXPECT_EQ(other >= 0, v6only);
    if (other >= 0) Keep(other);
  }
}

TEST_F(ListenerDialerTest, T54_WhatStaysInTheBacklogIsReportedAgain) {
  Address bound;
  const int fd = Listen(&bound);
  PollDesc& desc = *scheduler_.netpoll().Allocate(fd, nullptr);
  ASSERT_EQ(scheduler_.netpoll().RegisterListener(desc), 0);
  for (int i = 0; i < 3; ++i) Connect(bound);
  int accepted = 0;
  LambdaTask task([&](Scheduler&, Wake wake) {
    if (wake == Wake::kReady) {
      const Accepted got = AcceptOne(fd);
      EXPECT_GE(got.fd, 0);
      EXPECT_EQ(got.peer.family(), AF_INET);
      EXPECT_NE(Option(got.fd, IPPROTO_TCP, TCP_NODELAY), 0) << "inherited";
      EXPECT_NE(Option(got.fd, SOL_SOCKET, SO_KEEPALIVE), 0) << "inherited";
      Keep(got.fd);
      if (++accepted == 3) return Next::Done();
    }
    return Next::AwaitReadable(desc);
  });
  scheduler_.Spawn(task);
  TurnUntil(scheduler_, [&] { return task.done; });
  EXPECT_EQ(AcceptOne(fd).error, EAGAIN);
  EndUse(scheduler_, desc);
}

TEST_F(ListenerDialerTest, T35_AListenerThatOthersHoldAsWellIsForgottenWhenItIsClosed) {
  Address bound;
  const int elsewhere = Listen(&bound);
  const int fd = Keep(dup(elsewhere));
  PollDesc& desc = *scheduler_.netpoll().Allocate(fd, nullptr);
  ASSERT_EQ(scheduler_.netpoll().RegisterListener(desc), 0);
  EndUse(scheduler_, desc);
  close(fd);
  Connect(bound);
  const uint64_t turns = scheduler_.turns();
  SleepTimer timer;
  LambdaTask task([&](Scheduler&, Wake wake) {
    return wake == Wake::kTimer ? Next::Done() : Next::SleepUntil(timer, In(50));
  });
  scheduler_.Spawn(task);
  TurnUntil(scheduler_, [&] { return task.done; });
  EXPECT_LE(scheduler_.turns() - turns, 10u) << "who waits there ends each sleep";
  // It comes back, with the number that it had.
  ASSERT_EQ(dup3(elsewhere, fd, O_CLOEXEC), fd);
  PollDesc& again = *scheduler_.netpoll().Allocate(fd, nullptr);
  EXPECT_EQ(scheduler_.netpoll().RegisterListener(again), 0);
  EndUse(scheduler_, again);
}

TEST_F(ListenerDialerTest, T55_OutOfDescriptorsTheListenerIsPausedSilentAndResumed) {
  Address bound;
  const int fd = Listen(&bound);
  PollDesc& desc = *scheduler_.netpoll().Allocate(fd, nullptr);
  ASSERT_EQ(scheduler_.netpoll().RegisterListener(desc), 0);
  Connect(bound);
  const Accepted refused = [fd] {
    const NoDescriptors none;
    return AcceptOne(fd);
  }();
  EXPECT_EQ(refused.error, EMFILE);
  EXPECT_TRUE(AcceptMustPause(refused.error));
  EXPECT_FALSE(AcceptMustPause(ECONNABORTED));

  ASSERT_EQ(scheduler_.netpoll().PauseListener(desc), 0);
  int wakes = 0;
  LambdaTask task([&](Scheduler&, Wake wake) {
    if (wake != Wake::kReady) return Next::AwaitReadable(desc);
    ++wakes;
    Keep(AcceptOne(fd).fd);
    return Next::Done();
  });
  // What was latched before the pause is used up first.
  TurnWithoutSleep(scheduler_);
  static_cast<void>(desc.Reset(Direction::kRead));
  scheduler_.Spawn(task);
  for (int i = 0; i < 20; ++i) TurnWithoutSleep(scheduler_);
  EXPECT_EQ(wakes, 0) << "no spin";
  ASSERT_EQ(scheduler_.netpoll().ResumeListener(desc), 0);
  TurnUntil(scheduler_, [&] { return task.done; });
  EXPECT_EQ(wakes, 1);
  EndUse(scheduler_, desc);
}

TEST_F(ListenerDialerTest, APortThatIsTakenIsRefusedButForTheWorkersOfOneProcess) {
  Address bound;
  Keep(OpenListenSocket(Loopback(), {.share = true}, &bound));
  EXPECT_NE(bound.port(), 0);
  EXPECT_EQ(OpenListenSocket(bound, {.share = true}, nullptr), -EADDRINUSE);
  Keep(OpenListenSocket(bound, {.share = true, .join = true}, nullptr));
}

TEST_F(ListenerDialerTest, AWildcardIsListenedOnBesideAnAddressThatIsSharedMeanwhile) {
  Address bound;
  const int fd = Listen(&bound);
  const Address wildcard = Address::Ipv4({}, bound.port());
  EXPECT_EQ(OpenListenSocket(wildcard, {.join = true}, nullptr), -EADDRINUSE);
  ASSERT_EQ(ShareListener(fd, true), 0);
  EXPECT_EQ(OpenListenSocket(wildcard, {}, nullptr), -EADDRINUSE) << "who does not say so";
  const int other = Keep(OpenListenSocket(wildcard, {.backlog = 16, .join = true}, nullptr));
  ASSERT_EQ(ShareListener(fd, false), 0);
  EXPECT_EQ(Option(other, SOL_SOCKET, SO_REUSEPORT), 0) << "it is not shared any more";
  EXPECT_EQ(OpenListenSocket(wildcard, {}, nullptr), -EADDRINUSE);
  Connect(bound);
  EXPECT_EQ(AcceptOne(other).error, EAGAIN);
  Keep(AcceptOne(fd).fd);
}

TEST_F(ListenerDialerTest, OneThatStepsAsideKeepsWhatItHasAndAnotherGetsWhatComes) {
  Address bound;
  const int fd = Listen(&bound);
  ASSERT_EQ(ShareListener(fd, true), 0);
  const int other = Keep(
      OpenListenSocket(Address::Ipv4({}, bound.port()), {.backlog = 16, .join = true}, nullptr));
  Connect(bound);
  ASSERT_EQ(StepAside(fd), 0);
  EXPECT_EQ(DialTo(bound, In(10'000)), 0);
  Keep(AcceptOne(fd).fd);
  EXPECT_EQ(AcceptOne(fd).error, EAGAIN);
  Keep(AcceptOne(other).fd);
  EXPECT_EQ(AcceptOne(other).error, EAGAIN);
}

TEST_F(ListenerDialerTest, AListenerThatBlocksNewHandshakesKeepsWhatItHas) {
  Address bound;
  const int fd = Listen(&bound);
  Connect(bound);
  ASSERT_EQ(BlockNewHandshakes(fd), 0);
  Connect(bound);
  Keep(AcceptOne(fd).fd);
  EXPECT_EQ(AcceptOne(fd).error, EAGAIN);
  EXPECT_EQ(DialTo(bound, In(20)), ETIMEDOUT) << "its SYN is dropped, not answered with RST";
}

// ---------------------------------------------------------------------------------------------
// Connecting

TEST_F(ListenerDialerTest, ADialOfAListenerSucceeds) {
  Address bound;
  Listen(&bound);
  EXPECT_EQ(DialTo(bound, In(10'000)), 0);
  EXPECT_FALSE(itself_);
}

TEST_F(ListenerDialerTest, ADialOfAUnixListenerSucceedsAtOnceAndAFullOneSaysTryAgain) {
  const Address address = Address::UnixAbstract("parkway-test-" + std::to_string(getpid()));
  Keep(OpenListenSocket(address, {.backlog = 0}, nullptr));
  EXPECT_EQ(DialTo(address, In(10'000)), 0);
  EXPECT_EQ(DialTo(address, In(10'000)), EAGAIN);
}

TEST_F(ListenerDialerTest, T51_ARefusedDialSaysSoAndNothingIsRegisteredBeforeTheConnect) {
  Address bound;
  Keep(OpenListenSocket(Loopback(), {}, &bound));
  close(fds_.back());
  fds_.pop_back();
  LambdaTask task([&](Scheduler& scheduler, Wake) {
    const Dial dial = DialStart(scheduler, bound, nullptr);
    if (dial.desc == nullptr) {
      EXPECT_EQ(dial.error, ECONNREFUSED);
      return Next::Done();
    }
    EXPECT_FALSE(dial.desc->registered());
    EXPECT_EQ(DialFinish(scheduler, *dial.desc, In(10'000)), ECONNREFUSED);
    DialClose(scheduler, *dial.desc);
    return Next::Done();
  });
  scheduler_.Spawn(task);
  TurnUntil(scheduler_, [&] { return task.done; });
}

// A listener whose queue is full: the kernel drops further SYNs, and a connect stays under way.
class FullListenerTest : public ListenerDialerTest {
 protected:
  void SetUp() override {
    ListenerDialerTest::SetUp();
    if (IsSkipped()) return;
    fd_ = Listen(&bound_, 0);
    Connect(bound_);
  }
  Address bound_;
  int fd_ = -1;
};

TEST_F(FullListenerTest, ADialThatIsNotAnsweredTimesOutAtItsDeadline) {
  const MonotonicTime deadline = In(10);
  EXPECT_EQ(DialTo(bound_, deadline), ETIMEDOUT);
  EXPECT_GE(ReadMonotonicClock(), deadline);
}

TEST_F(FullListenerTest, T52_AWakeUpThatIsNoConnectionIsWaitedOut) {
  int woken = 0;
  TestPoints::On("DialFinish:woken", [&] { ++woken; });
  const MonotonicTime deadline = In(10);
  TestPoints::Once("PollDesc::BlockCommit:before",
                   [&] { static_cast<void>(desc_->Ready(Direction::kWrite)); });
  EXPECT_EQ(DialTo(bound_, deadline), ETIMEDOUT) << "not taken for connected";
  EXPECT_EQ(woken, 1);
}

TEST_F(FullListenerTest, T53_ADialThatIsCancelledWhileItWaitsSaysSo) {
  TestPoints::Once("Scheduler::Turn:about_to_sleep", [&] {
    scheduler_.Post(LambdaMessage::Make([&](Scheduler& s) { s.Evict(*desc_); }));
  });
  EXPECT_EQ(DialTo(bound_, In(60'000)), ECANCELED);
}

TEST_F(ListenerDialerTest, T53_ADialThatIsCancelledAsItSucceedsReturnsNoPoisonedConnection) {
  Address bound;
  Listen(&bound);
  TestPoints::Once("DialFinish:woken", [&] { scheduler_.Evict(*desc_); });
  EXPECT_EQ(DialTo(bound, In(60'000)), ECANCELED);
}

TEST_F(ListenerDialerTest, T53_ADialWhoseDeadlinePassesAsItSucceedsLeavesNoDeadlineBehind) {
  Address bound;
  Listen(&bound);
  LambdaTask task([&](Scheduler& scheduler, Wake) {
    const Dial dial = DialStart(scheduler, bound, nullptr);
    TestPoints::Once("DialFinish:woken", [&] {
      scheduler.SetDeadline(*dial.desc, Directions::kWrite, MonotonicTime(1));
    });
    EXPECT_EQ(DialFinish(scheduler, *dial.desc, In(60'000)), 0);
    EXPECT_EQ(dial.desc->CheckError(Direction::kWrite), WaitResult::kReady);
    DialClose(scheduler, *dial.desc);
    return Next::Done();
  });
  scheduler_.Spawn(task);
  TurnUntil(scheduler_, [&] { return task.done; });
}

TEST_F(ListenerDialerTest, AConnectionToItselfIsRecognised) {
  // A port that is bound and dialled by the same socket.
  const int fd = Keep(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  ASSERT_EQ(bind(fd, Loopback().data(), Loopback().size()), 0);
  sockaddr_storage storage;
  socklen_t length = sizeof(storage);
  auto* generic = reinterpret_cast<sockaddr*>(&storage);
  ASSERT_EQ(getsockname(fd, generic, &length), 0);
  const Address to = Address::FromSockaddr(generic, length);
  static_cast<void>(connect(fd, to.data(), to.size()));
  PollDesc& desc = *scheduler_.netpoll().Allocate(fd, nullptr);
  EXPECT_TRUE(ConnectedToItself(desc, to));
  const Address nobody = Address::Ipv4({0, 0, 0, 0}, to.port());
  EXPECT_TRUE(ConnectedToItself(desc, nobody)) << "the kernel takes it for the one we come from";
  EXPECT_FALSE(ConnectedToItself(desc, Address::Ipv4({0, 0, 0, 0}, to.port() ^ 1)));
  EndUse(scheduler_, desc);
}

}  // namespace
}  // namespace parkway
