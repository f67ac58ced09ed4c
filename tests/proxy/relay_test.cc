#include "proxy/session/relay.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <random>
#include <string>

#include "gtest/gtest.h"
#include "poller/scheduler.h"
#include "tests/proxy/tcp_pair.h"

namespace parkway {
namespace {

using Outcome = Relay::Outcome;

void SetInt(int fd, int level, int name, int value) {
  ASSERT_EQ(setsockopt(fd, level, name, &value, sizeof(value)), 0);
}

int GetInt(int fd, int level, int name) {
  int value = -1;
  socklen_t length = sizeof(value);
  EXPECT_EQ(getsockopt(fd, level, name, &value, &length), 0);
  return value;
}

Pair UnixPair() {
  int fds[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
  return {fds[0], fds[1]};
}

// The bytes of a stream, told apart at every offset.
std::string Bytes(size_t size, uint32_t seed = 1) {
  std::string bytes(size, '\0');
  uint32_t state = seed * 2654435761u + 1;
  for (char& byte : bytes) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<char>(state >> 24);
  }
  return bytes;
}

class RelayTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { signal(SIGPIPE, SIG_IGN); }

  void Begin(const Pair& from, const Pair& to, uint32_t pipe_limit = 4,
             size_t chunk_cap = size_t{1} << 20) {
    from_ = from;
    to_ = to;
    scheduler_ = std::make_unique<Scheduler>(Scheduler::Options{}, nullptr);
    chunks_ = std::make_unique<ChunkPool>(chunk_cap);
    pipes_ = std::make_unique<PipePool>(PipePoolOptions{.limit = pipe_limit, .keep_idle = 2});
    tools_ = {buffer_.get(), chunks_.get(), pipe_limit > 0 ? pipes_.get() : nullptr};
    int error = 0;
    source_ = scheduler_->netpoll().Open(from.near, nullptr, &error);
    sink_ = scheduler_->netpoll().Open(to.near, nullptr, &error);
    ASSERT_TRUE(source_ != nullptr && sink_ != nullptr);
    for (PollDesc* desc : {source_, sink_}) {
      if (GetInt(desc->fd(), SOL_SOCKET, SO_DOMAIN) == AF_UNIX)
        desc->add_edge_bits(PollDesc::kUnix);
    }
  }

  void TearDown() override {
    if (scheduler_ == nullptr) return;
    relay_.Drop(tools_);
    EXPECT_EQ(chunks_->in_use(), 0u);
    EXPECT_EQ(pipes_->in_use(), 0u);
    for (PollDesc* desc : {source_, sink_}) {
      const int fd = desc->fd();
      scheduler_->Evict(*desc);
      scheduler_->Close(*desc);
      close(fd);
    }
    if (from_.far >= 0) close(from_.far);
    if (to_.far >= 0) close(to_.far);
  }

  void Poll(int64_t timeout_ns = 0) {
    Netpoll::Polled polled;
    scheduler_->netpoll().Poll(timeout_ns, polled);
  }

  Relay::Step Run() {
    Poll();
    return relay_.Run(*source_, *sink_, tools_);
  }

  // What the far end of the sink has; stops at `limit`.
  void Receive(std::string& got, size_t limit = SIZE_MAX) {
    char bytes[64 * 1024];
    while (got.size() < limit) {
      const ssize_t n = recv(to_.far, bytes, std::min(sizeof(bytes), limit - got.size()), 0);
      if (n <= 0) {
        far_end_ = n == 0;
        return;
      }
      got.append(bytes, static_cast<size_t>(n));
    }
  }

  size_t SendSome(const std::string& bytes, size_t from, size_t most = SIZE_MAX) {
    const ssize_t n = send(from_.far, bytes.data() + from, std::min(bytes.size() - from, most), 0);
    return n > 0 ? static_cast<size_t>(n) : 0;
  }

  // Sends all of `bytes` and runs the relay until all has arrived.
  void Carry(const std::string& bytes) {
    std::string got;
    size_t sent = 0;
    for (int rounds = 0; got.size() < bytes.size(); ++rounds) {
      ASSERT_LT(rounds, 100000) << "stuck after " << got.size() << " bytes";
      if (sent < bytes.size()) sent += SendSome(bytes, sent);
      const Relay::Step step = Run();
      ASSERT_NE(step.outcome, Outcome::kSourceError) << strerror(step.error);
      ASSERT_NE(step.outcome, Outcome::kSinkError) << strerror(step.error);
      if (step.outcome == Outcome::kAwaitReadable && sent == bytes.size()) Poll(1000000);
      Receive(got);
    }
    ASSERT_TRUE(got == bytes) << "the bytes that arrived are not those that were sent";
  }

  const std::unique_ptr<char[]> buffer_{new char[RelayTools::kBufferBytes]};
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<ChunkPool> chunks_;
  std::unique_ptr<PipePool> pipes_;
  RelayTools tools_;
  Pair from_, to_;
  PollDesc* source_ = nullptr;
  PollDesc* sink_ = nullptr;
  Relay relay_;
  bool far_end_ = false;
};

TEST_F(RelayTest, AMessageIsCopiedAndNothingIsHeldAfterIt) {
  Begin(TcpPair(), TcpPair());
  Carry("hello");
  EXPECT_EQ(Run().outcome, Outcome::kAwaitReadable);
  EXPECT_EQ(relay_.held(), 0u);
  EXPECT_FALSE(relay_.bulk());
}

TEST_F(RelayTest, AFinIsReportedAfterTheLastByte) {
  Begin(TcpPair(), TcpPair());
  ASSERT_EQ(send(from_.far, "last", 4, 0), 4);
  ASSERT_EQ(shutdown(from_.far, SHUT_WR), 0);
  Poll(1000000000);
  Relay::Step step = Run();
  if (step.outcome == Outcome::kAwaitReadable) step = Run();
  EXPECT_EQ(step.outcome, Outcome::kEnd);
  std::string got;
  Poll(10000000);
  Receive(got);
  EXPECT_EQ(got, "last");
}

TEST_F(RelayTest, LastBytesThatCameWithAFinLeaveWithOneIfItFollowsAtOnce) {
  Begin(TcpPair(), TcpPair());
  relay_.set_fin_follows(true);
  ASSERT_EQ(send(from_.far, "last", 4, 0), 4);
  ASSERT_EQ(shutdown(from_.far, SHUT_WR), 0);
  while ((source_->edge_bits() & PollDesc::kHangup) == 0) Poll(1000000000);
  EXPECT_EQ(Run().outcome, Outcome::kEnd);
  EXPECT_EQ(relay_.bytes(), 4u);
  pollfd readable = {to_.far, POLLIN, 0};
  EXPECT_EQ(poll(&readable, 1, 0), 0) << "they wait for it";
  ASSERT_EQ(shutdown(to_.near, SHUT_WR), 0);
  EXPECT_EQ(poll(&readable, 1, 10000), 1);
  std::string got;
  Receive(got);
  EXPECT_EQ(got, "last");
  EXPECT_TRUE(far_end_);
}

TEST_F(RelayTest, LastBytesWaitForNoFinWhereNoneIsPromised) {
  Begin(TcpPair(), TcpPair());
  ASSERT_EQ(send(from_.far, "last", 4, 0), 4);
  ASSERT_EQ(shutdown(from_.far, SHUT_WR), 0);
  while ((source_->edge_bits() & PollDesc::kHangup) == 0) Poll(1000000000);
  EXPECT_EQ(Run().outcome, Outcome::kEnd);
  pollfd readable = {to_.far, POLLIN, 0};
  EXPECT_EQ(poll(&readable, 1, 100), 1) << "sooner than a corked socket would say them";
}

TEST_F(RelayTest, AFinThatCameWithTheLastBytesWaitsUntilTheSinkHasThem) {
  Begin(TcpPair(), TcpPair());
  // The sink takes nothing.
  const std::string filler = Bytes(64 * 1024);
  std::string before;
  for (int quiet = 0; quiet < 20;) {
    const ssize_t n = send(to_.near, filler.data(), filler.size(), 0);
    if (n > 0) before.append(filler, 0, static_cast<size_t>(n));
    quiet = n > 0 ? 0 : quiet + 1;
    Poll();
  }
  ASSERT_EQ(send(from_.far, "rest", 4, 0), 4);
  ASSERT_EQ(shutdown(from_.far, SHUT_WR), 0);
  Poll(1000000000);
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(Run().outcome, Outcome::kAwaitWritable);
    EXPECT_EQ(relay_.held(), 4u);
  }
  std::string got;
  Relay::Step step{.outcome = Outcome::kAwaitWritable};
  for (int i = 0; i < 10000 && step.outcome == Outcome::kAwaitWritable; ++i) {
    Receive(got);
    Poll(1000000);
    step = Run();
  }
  EXPECT_EQ(step.outcome, Outcome::kEnd);
  for (int i = 0; i < 1000 && got.size() < before.size() + 4; ++i) {
    pollfd readable = {to_.far, POLLIN, 0};
    poll(&readable, 1, 100);
    Receive(got);
  }
  EXPECT_TRUE(got == before + "rest") << got.size();
}

TEST_F(RelayTest, ALongStreamBecomesBulkGoesThroughAPipeAndLeavesNothingInside) {
  Begin(TcpPair(), TcpPair());
  Carry(Bytes(8 << 20));
  EXPECT_GT(pipes_->high_water(), 0u);
  EXPECT_EQ(pipes_->in_use(), 0u);
}

TEST_F(RelayTest, NagleHoldsNoTailBackAfterBulk) {
  Begin(TcpPair(), TcpPair());
  SetInt(to_.near, IPPROTO_TCP, TCP_NODELAY, 1);
  Carry(Bytes((4 << 20) + 17));
  ASSERT_GT(pipes_->high_water(), 0u);
  // All has arrived although the last segment was not full, and what comes next is sent at once.
  while (Run().outcome != Outcome::kAwaitReadable) {
  }
  EXPECT_EQ(GetInt(to_.near, IPPROTO_TCP, TCP_NODELAY), 1);
}

TEST_F(RelayTest, BulkThatKeepsComingAtOnceGathersUntilThatBringsNothing) {
  Begin(TcpPair(), TcpPair());
  SetInt(to_.near, IPPROTO_TCP, TCP_NODELAY, 1);
  relay_.set_splice(true);
  const std::string some = Bytes(Relay::kGatheredBytes + 1);
  std::string got;
  size_t sent = 0;
  // One burst, all of which is there, and how the relay ended with it.
  const auto burst = [&](bool at_once) {
    for (size_t at = 0; at < some.size();) at += SendSome(some, at);
    sent += some.size();
    size_t moved = 0;
    Relay::Step step{.outcome = Outcome::kYield};
    for (int rounds = 0; moved < some.size() && rounds < 100000; ++rounds) {
      Poll();
      step = relay_.Run(*source_, *sink_, tools_, Relay::kStepBytes, Relay::kNoLimit, at_once);
      moved += step.moved;
      if (moved < some.size()) Poll(1000000);
      Receive(got);
    }
    EXPECT_EQ(moved, some.size());
    return step.outcome;
  };
  for (int i = 0; i < 3 * Relay::kQuickWakeups; ++i) {
    EXPECT_EQ(burst(false), Outcome::kAwaitReadable) << "it came late: " << i;
  }
  int bursts = 0;
  while (burst(true) != Outcome::kGather) ASSERT_LT(++bursts, 100);
  EXPECT_GE(bursts, Relay::kQuickWakeups);
  EXPECT_EQ(GetInt(to_.near, IPPROTO_TCP, TCP_NODELAY), 0) << "while it gathers";
  // Nothing has come meanwhile: it waits, and holds back no tail.
  Poll();
  EXPECT_EQ(relay_.Run(*source_, *sink_, tools_, Relay::kStepBytes, Relay::kNoLimit, true).outcome,
            Outcome::kAwaitReadable);
  EXPECT_EQ(GetInt(to_.near, IPPROTO_TCP, TCP_NODELAY), 1);
  for (int i = 0; i < 1000 && got.size() < sent; ++i) {
    pollfd readable = {to_.far, POLLIN, 0};
    poll(&readable, 1, 100);
    Receive(got);
  }
  EXPECT_EQ(got.size(), sent);
}

TEST_F(RelayTest, BulkEndsAfterSomeSmallWakeups) {
  Begin(TcpPair(), TcpPair());
  // Everything is there at once, so that the read of the whole buffer is certain.
  SetInt(from_.near, SOL_SOCKET, SO_RCVBUF, 1 << 20);
  const std::string much = Bytes(512 * 1024);
  size_t sent = 0;
  std::string got;
  while (!relay_.bulk()) {
    if (sent == much.size()) sent = 0;
    sent += SendSome(much, sent);
    if (sent > 256 * 1024) static_cast<void>(Run());
    Receive(got);
  }
  // Whatever is left of it.
  for (int i = 0; i < 200; ++i) {
    Poll(1000000);
    static_cast<void>(Run());
    Receive(got);
  }
  for (int i = 0; i < Relay::kSmallWakeups + 1 && relay_.bulk(); ++i) {
    ASSERT_EQ(send(from_.far, "tick", 4, 0), 4);
    Poll(1000000000);
    static_cast<void>(Run());
    Receive(got);
  }
  EXPECT_FALSE(relay_.bulk());
  Carry("still in order");
}

TEST_F(RelayTest, ABlockedSinkHoldsBytesInAPipeAndLosesNone) {
  Begin(TcpPair(), TcpPair());
  const std::string bytes = Bytes(16 << 20);
  size_t sent = 0;
  bool blocked_with_pipe = false;
  std::string got;
  int quiet = 0;
  // Nobody reads: fill all there is.
  while (quiet < 50) {
    const size_t more = sent < bytes.size() ? SendSome(bytes, sent) : 0;
    sent += more;
    const Relay::Step step = Run();
    quiet = more + step.moved > 0 ? 0 : quiet + 1;
    if (step.outcome == Outcome::kAwaitWritable && pipes_->in_use() == 1) blocked_with_pipe = true;
  }
  EXPECT_TRUE(blocked_with_pipe);
  EXPECT_LE(relay_.held(), Relay::kSpliceBytes);
  while (got.size() < bytes.size()) {
    if (sent < bytes.size()) sent += SendSome(bytes, sent);
    const Relay::Step step = Run();
    ASSERT_EQ(step.error, 0);
    Receive(got);
  }
  EXPECT_TRUE(got == bytes);
}

TEST_F(RelayTest, ASinkThatStaysBlockedGivesItsPipeBackAndLosesNothing) {
  Begin(TcpPair(), TcpPair());
  const std::string bytes = Bytes(16 << 20);
  size_t sent = 0;
  std::string got;
  bool unpiped = false;
  for (int rounds = 0; got.size() < bytes.size(); ++rounds) {
    ASSERT_LT(rounds, 1000000);
    if (sent < bytes.size()) sent += SendSome(bytes, sent);
    const Relay::Step step = Run();
    ASSERT_EQ(step.error, 0);
    if (step.outcome == Outcome::kAwaitWritable && relay_.could_unpipe()) {
      const size_t held = relay_.held();
      ASSERT_TRUE(relay_.Unpipe(tools_));
      EXPECT_EQ(relay_.held(), held);
      EXPECT_EQ(pipes_->in_use(), 0u);
      EXPECT_EQ(chunks_->in_use(), 1u);
      unpiped = true;
    }
    // Little at a time, so that little is left in the pipe.
    Receive(got, got.size() + 30000);
  }
  EXPECT_TRUE(unpiped);
  EXPECT_TRUE(got == bytes);
}

TEST_F(RelayTest, DroppingABlockedBulkDirectionCountsWhatWasInThePipe) {
  Begin(TcpPair(), TcpPair());
  const std::string bytes = Bytes(32 << 20);
  size_t sent = 0;
  for (int quiet = 0; quiet < 50;) {
    const size_t more = SendSome(bytes, sent);
    sent += more;
    const Relay::Step step = Run();
    quiet = more + step.moved > 0 ? 0 : quiet + 1;
  }
  ASSERT_EQ(pipes_->in_use(), 1u);
  const size_t held = relay_.held();
  EXPECT_GT(held, 0u);
  EXPECT_EQ(relay_.Drop(tools_), held);
  EXPECT_EQ(pipes_->in_use(), 0u);
}

TEST_F(RelayTest, WithoutAPipeBulkIsCopied) {
  Begin(TcpPair(), TcpPair(), /*pipe_limit=*/0);
  Carry(Bytes(4 << 20));
  EXPECT_EQ(pipes_->high_water(), 0u);
}

TEST_F(RelayTest, OneThatNeverSplicesIsCopiedThoughThereArePipes) {
  Begin(TcpPair(), TcpPair());
  relay_.set_splice(/*always=*/false);
  Carry(Bytes(4 << 20));
  EXPECT_EQ(pipes_->high_water(), 0u);
}

TEST_F(RelayTest, OneThatAlwaysSplicesDoesSoFromTheFirstByte) {
  Begin(TcpPair(), TcpPair());
  relay_.set_splice(/*always=*/true);
  Carry("hello");
  EXPECT_GT(pipes_->high_water(), 0u);
  EXPECT_EQ(pipes_->in_use(), 0u);
}

TEST_F(RelayTest, AnExhaustedPipePoolMeansCopyingAndNoLoss) {
  Begin(TcpPair(), TcpPair(), /*pipe_limit=*/1);
  const auto taken = pipes_->Borrow();
  ASSERT_TRUE(taken.has_value());
  Carry(Bytes(4 << 20));
  pipes_->Return(*taken, true);
  Carry(Bytes(4 << 20, 2));
}

TEST_F(RelayTest, UnixSocketsAreSplicedInBulkToo) {
  Begin(UnixPair(), UnixPair());
  Carry(Bytes(4 << 20));
  EXPECT_EQ(pipes_->high_water(), 1u);
}

TEST_F(RelayTest, BulkBetweenAUnixAndATcpSocketArrivesEitherWay) {
  Begin(UnixPair(), TcpPair());
  Carry(Bytes(4 << 20));
  EXPECT_EQ(pipes_->high_water(), 1u);
  TearDown();
  relay_ = Relay();
  Begin(TcpPair(), UnixPair());
  Carry(Bytes(4 << 20));
  EXPECT_EQ(pipes_->high_water(), 1u);
}

TEST_F(RelayTest, AUnixSocketThatTakesLargeReadsOnlyInPartIsSplicedToAsWell) {
  const Pair to = UnixPair();
  // No room for all of a read that fills the buffer.
  const int small = 16 * 1024;
  ASSERT_EQ(setsockopt(to.near, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
  Begin(TcpPair(), to);
  Carry(Bytes(4 << 20));
  EXPECT_EQ(pipes_->high_water(), 1u);
}

TEST_F(RelayTest, APipeThatAUnixSocketTakesInPartIsToppedUp) {
  Begin(UnixPair(), UnixPair());
  const std::string bytes = Bytes(4 << 20);
  Carry(bytes);
  ASSERT_TRUE(relay_.bulk());
  // Nobody reads: the sink's buffer fills, then the pipe, and no more than that is taken.
  size_t sent = 0;
  Relay::Step step{};
  for (int i = 0; i < 100; ++i) {
    sent += SendSome(bytes, sent);
    step = Run();
  }
  EXPECT_EQ(step.outcome, Outcome::kAwaitWritable);
  const size_t first = relay_.held();
  EXPECT_GT(first, 0u);
  EXPECT_LE(first, Relay::kTopUpBytes);
  // What is read makes room, and it is all there, in order.
  std::string got;
  while (got.size() < sent) {
    Receive(got);
    Run();
    ASSERT_LE(relay_.held(), Relay::kTopUpBytes);
  }
  EXPECT_EQ(got.size(), sent);
  EXPECT_TRUE(got == bytes.substr(0, sent));
}

TEST_F(RelayTest, AResetFoundWhileAPipeIsToppedUpIsTheSourcesError) {
  Begin(UnixPair(), UnixPair());
  const std::string bytes = Bytes(4 << 20);
  Carry(bytes);
  size_t sent = 0;
  for (int i = 0; i < 100; ++i) {
    sent += SendSome(bytes, sent);
    Run();
  }
  ASSERT_GT(relay_.held(), 0u);
  // It closes with something unread, which is a unix socket's reset; epoll does not get to say so.
  ASSERT_EQ(send(from_.near, "x", 1, 0), 1);
  close(std::exchange(from_.far, -1));
  std::string got;
  Relay::Step step{};
  for (int i = 0; i < 1000 && step.outcome != Outcome::kSourceError; ++i) {
    Receive(got);
    step = relay_.Run(*source_, *sink_, tools_);
    ASSERT_NE(step.outcome, Outcome::kEnd) << "it passed for an end in order";
  }
  EXPECT_EQ(step.outcome, Outcome::kSourceError);
  EXPECT_EQ(step.error, ECONNRESET);
}

TEST_F(RelayTest, AboveTheCapOfChunksBytesStayInTheSourceUntilTheSinkHasThem) {
  Begin(TcpPair(), TcpPair(), 4, /*chunk_cap=*/0);
  Carry(Bytes(2 << 20));
  EXPECT_EQ(chunks_->high_water_bytes(), 0u);
}

TEST_F(RelayTest, AResetOfTheSourceComesAfterWhatCouldStillBeRead) {
  for (const size_t size : {size_t{10}, size_t{100000}, size_t{3} << 20}) {
    SCOPED_TRACE(size);
    relay_ = Relay();
    Begin(TcpPair(), TcpPair());
    const std::string bytes = Bytes(size);
    size_t sent = 0;
    std::string got;
    // All but what fits the receive queue is carried, then the reset overtakes nothing.
    while (sent < bytes.size()) {
      sent += SendSome(bytes, sent);
      if (sent < bytes.size()) static_cast<void>(Run());
      Receive(got);
    }
    const linger now = {1, 0};
    ASSERT_EQ(setsockopt(from_.far, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    // A reset drops what the sender still has: wait until all is at the receiver.
    int queued = 1;
    while (queued > 0) {
      ASSERT_EQ(ioctl(from_.far, TIOCOUTQ, &queued), 0);
      if (queued > 0) static_cast<void>(Run());
      Receive(got);
    }
    close(from_.far);
    from_.far = -1;
    Relay::Step step{.outcome = Outcome::kYield};
    for (int i = 0; i < 100000 && step.outcome != Outcome::kSourceError; ++i) {
      step = Run();
      ASSERT_NE(step.outcome, Outcome::kEnd) << "a reset was taken for a FIN";
      ASSERT_NE(step.outcome, Outcome::kSinkError);
      Receive(got);
    }
    EXPECT_EQ(step.outcome, Outcome::kSourceError);
    EXPECT_EQ(step.error, ECONNRESET);
    for (int i = 0; i < 1000 && got.size() < size; ++i) {
      pollfd readable = {to_.far, POLLIN, 0};
      poll(&readable, 1, 100);
      Receive(got);
    }
    EXPECT_TRUE(got == bytes) << got.size() << " of " << size;
    TearDown();
    scheduler_.reset();
  }
}

TEST_F(RelayTest, AResetOfTheSinkInBulkIsTheSinksErrorAndTheRestIsCounted) {
  Begin(TcpPair(), TcpPair());
  const std::string bytes = Bytes(32 << 20);
  size_t sent = 0;
  for (int quiet = 0; quiet < 50;) {
    const size_t more = SendSome(bytes, sent);
    sent += more;
    const Relay::Step step = Run();
    quiet = more + step.moved > 0 ? 0 : quiet + 1;
  }
  const linger now = {1, 0};
  ASSERT_EQ(setsockopt(to_.far, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
  close(to_.far);
  to_.far = -1;
  Poll(1000000000);
  const Relay::Step step = Run();
  EXPECT_EQ(step.outcome, Outcome::kSinkError);
  EXPECT_TRUE(step.error == ECONNRESET || step.error == EPIPE) << strerror(step.error);
  EXPECT_GT(relay_.Drop(tools_), 0u);
}

// An urgent mark in the middle of a stream makes splice and recv stop short, and splice report an
// end that is none (and the mark's byte is data like any other: SO_OOBINLINE).
TEST_F(RelayTest, AnUrgentByteAnywhereInBulkIsDataInItsPlaceAndNoEnd) {
  for (const size_t before : {size_t{0}, size_t{1}, size_t{65536}, size_t{300000}}) {
    for (const size_t after : {size_t{0}, size_t{5}, size_t{300000}}) {
      SCOPED_TRACE(testing::Message() << before << " before, " << after << " after");
      relay_ = Relay();
      Begin(TcpPair(), TcpPair());
      // Bulk first, then the mark.
      const std::string lead = Bytes(2 << 20, 7);
      Carry(lead);
      const std::string head = Bytes(before, 3), tail = Bytes(after, 5);
      const std::string all = head + "U" + tail;
      std::string got;
      size_t sent = 0;
      bool fin = false;
      Relay::Step step{.outcome = Outcome::kYield};
      for (int i = 0; i < 100000 && step.outcome != Outcome::kEnd; ++i) {
        if (sent < before) {
          sent += SendSome(all, sent, before - sent);
        } else if (sent == before) {
          if (send(from_.far, "U", 1, MSG_OOB) == 1) ++sent;
        } else if (sent < all.size()) {
          sent += SendSome(all, sent);
        } else if (!fin) {
          shutdown(from_.far, SHUT_WR);
          fin = true;
        }
        step = Run();
        ASSERT_EQ(step.error, 0);
        Receive(got);
        if (fin) Poll(100000);
      }
      EXPECT_EQ(step.outcome, Outcome::kEnd);
      EXPECT_TRUE(fin) << "an end was reported that never was";
      for (int i = 0; i < 1000 && got.size() < all.size(); ++i) {
        pollfd readable = {to_.far, POLLIN, 0};
        poll(&readable, 1, 100);
        Receive(got);
      }
      EXPECT_TRUE(got == all) << got.size() << " of " << all.size();
      TearDown();
      scheduler_.reset();
    }
  }
}

// A socket that we connected does not take urgent bytes inline from the start: the call is spared
// where one read is all. None may vanish, wherever the mark is.
TEST_F(RelayTest, AnUrgentByteIsDataThoughTheSourceIsToldOnlyWhenItMatters) {
  for (const size_t before : {size_t{0}, size_t{1}, size_t{16384}, size_t{16385}, size_t{100000}}) {
    for (const bool run_between : {false, true}) {
      SCOPED_TRACE(testing::Message() << before << " before, run between: " << run_between);
      relay_ = Relay();
      relay_.set_inline_due(true);
      const Pair from = TcpPair();
      SetInt(from.near, SOL_SOCKET, SO_OOBINLINE, 0);
      Begin(from, TcpPair());
      const std::string head = Bytes(before, 3);
      const std::string all = head + "Uand the rest";
      std::string got;
      size_t sent = 0;
      while (sent < before) sent += SendSome(head, sent);
      Poll(10000000);
      if (run_between) static_cast<void>(Run());
      ASSERT_EQ(send(from_.far, "U", 1, MSG_OOB), 1);
      if (run_between) static_cast<void>(Run());
      ASSERT_EQ(send(from_.far, "and the rest", 12, 0), 12);
      for (int i = 0; i < 1000 && got.size() < all.size(); ++i) {
        Poll(1000000);
        const Relay::Step step = relay_.Run(*source_, *sink_, tools_);
        ASSERT_EQ(step.error, 0);
        Receive(got);
      }
      EXPECT_TRUE(got == all) << got.size() << " of " << all.size();
      TearDown();
      scheduler_.reset();
    }
  }
}

TEST_F(RelayTest, AShortAnswerNeedsNoOptionOnItsSource) {
  relay_.set_inline_due(true);
  const Pair from = TcpPair();
  SetInt(from.near, SOL_SOCKET, SO_OOBINLINE, 0);
  Begin(from, TcpPair());
  Carry("the one answer");
  EXPECT_EQ(GetInt(from.near, SOL_SOCKET, SO_OOBINLINE), 0);
  Carry("a second one");
  EXPECT_EQ(GetInt(from.near, SOL_SOCKET, SO_OOBINLINE), 1);
}

// Copy to splice and back, at random: sizes from one byte to a megabyte, pauses, urgent bytes,
// receivers that stop; a FIN or nothing at the end.
TEST_F(RelayTest, RandomStreamsArriveByteForByte) {
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const auto below = [&random](size_t n) { return static_cast<size_t>(random()) % n; };
    relay_ = Relay();
    Begin(below(4) == 0 ? UnixPair() : TcpPair(), below(4) == 0 ? UnixPair() : TcpPair(),
          static_cast<uint32_t>(below(3)), below(3) == 0 ? 0 : size_t{1} << 20);
    const bool urgent = GetInt(from_.near, SOL_SOCKET, SO_DOMAIN) == AF_INET;
    const std::string all = Bytes((below(4) == 0 ? 6 : 1) * below(1 << 20) + 1, seed);
    std::string got;
    size_t sent = 0;
    bool fin = false;
    size_t burst = 1;
    Relay::Step step{.outcome = Outcome::kYield};
    for (int i = 0; i < 200000 && step.outcome != Outcome::kEnd; ++i) {
      if (below(8) == 0) burst = size_t{1} << below(20);
      if (sent < all.size()) {
        if (urgent && below(50) == 0) {
          if (send(from_.far, all.data() + sent, 1, MSG_OOB) == 1) ++sent;
        } else {
          sent += SendSome(all, sent, burst);
        }
      } else if (!fin) {
        shutdown(from_.far, SHUT_WR);
        fin = true;
      }
      step = Run();
      ASSERT_EQ(step.error, 0) << strerror(step.error);
      if (below(5) != 0) Receive(got, got.size() + burst * 2);
      if (fin) Receive(got);
      if (fin && step.outcome == Outcome::kAwaitReadable) Poll(1000000);
    }
    ASSERT_EQ(step.outcome, Outcome::kEnd);
    ASSERT_TRUE(fin);
    for (int i = 0; i < 1000 && got.size() < all.size(); ++i) {
      pollfd readable = {to_.far, POLLIN, 0};
      poll(&readable, 1, 100);
      Receive(got);
    }
    ASSERT_TRUE(got == all) << got.size() << " of " << all.size();
    EXPECT_EQ(relay_.bytes(), all.size());
    TearDown();
    scheduler_.reset();
  }
}

}  // namespace
}  // namespace parkway
