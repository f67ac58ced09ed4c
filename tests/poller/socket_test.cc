// Bytes in and out of real sockets: what a short read means in every case in which the kernel
// stops short, what waits, what an end is and what an error is.
#include "poller/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "poller/clock.h"
#include "poller/poll_desc.h"
#include "poller/scheduler.h"
#include "poller/task.h"
#include "tests/poller/engine.h"

namespace parkway {
namespace {

constexpr int64_t kMs = 1'000'000;

class SocketTest : public TestPointTest {
 protected:
  void TearDown() override {
    TestPoints::Clear();
    EXPECT_EQ(scheduler_.parked(), 0u);
    EXPECT_EQ(scheduler_.wheel().count(), 0u);
    EXPECT_EQ(scheduler_.netpoll().cache().in_use(), 0u);
  }

  PollDesc& Register(int fd) {
    PollDesc& desc = *scheduler_.netpoll().Allocate(fd, nullptr);
    EXPECT_EQ(scheduler_.netpoll().Register(desc), 0);
    TurnWithoutSleep(scheduler_);
    return desc;
  }
  // What reached the near end since the last look is known to the descriptor after this.
  void SeeEvents() { TurnWithoutSleep(scheduler_); }
  std::string Text(const IoResult& got) { return std::string(buffer_.data(), got.bytes); }
  IoResult Read(PollDesc& desc) { return TryRead(desc, buffer_.data(), buffer_.size()); }
  void RunToEnd(LambdaTask& task) {
    scheduler_.Spawn(task);
    TurnUntil(scheduler_, [&] { return task.done; });
  }
  // Nothing in here hangs up unattended on purpose, so hang-ups need no delegate.
  Scheduler scheduler_{{.max_stacks = 16}, nullptr};
  std::array<char, 64> buffer_;
};

// ---------------------------------------------------------------------------------------------
// What a read means

TEST_F(SocketTest, T45_AShortReadHasDrainedTheSocketAndALaterFinIsAnEdge) {
  TcpPair pair;
  PollDesc& desc = Register(pair.near());
  pair.Say("abc");
  SeeEvents();
  IoResult got = Read(desc);
  EXPECT_EQ(Text(got), "abc");
  EXPECT_TRUE(got.drained);
  EXPECT_FALSE(got.end);
  ASSERT_EQ(shutdown(pair.far(), SHUT_WR), 0);
  EXPECT_EQ(desc.Reset(Direction::kRead), WaitResult::kReady);
  SeeEvents();
  EXPECT_TRUE(desc.BlockBegin(Direction::kRead)) << "the edge has come";
  got = Read(desc);
  EXPECT_EQ(got.bytes, 0u);
  EXPECT_TRUE(got.end);
  EndUse(scheduler_, desc);
}

TEST_F(SocketTest, T46_AShortReadWithTheFinBehindItSaysTheEndForNoEventWillCome) {
  TcpPair pair;
  PollDesc& desc = Register(pair.near());
  pair.Say("abc");
  ASSERT_EQ(shutdown(pair.far(), SHUT_WR), 0);
  SeeEvents();
  const IoResult got = Read(desc);
  EXPECT_EQ(Text(got), "abc");
  EXPECT_FALSE(got.drained);
  EXPECT_TRUE(got.end);
  const IoResult again = Read(desc);
  EXPECT_EQ(again.bytes, 0u);
  EXPECT_TRUE(again.end) << "and the kernel agrees";
  EndUse(scheduler_, desc);
}

TEST_F(SocketTest, T46_AFinThatCameAfterTheLastEventIsNotClaimed) {
  TcpPair pair;
  PollDesc& desc = Register(pair.near());
  pair.Say("abc");
  SeeEvents();
  ASSERT_EQ(shutdown(pair.far(), SHUT_WR), 0);
  const IoResult got = Read(desc);
  EXPECT_TRUE(got.drained) << "an edge is on its way";
  EXPECT_FALSE(got.end);
  SeeEvents();
  EXPECT_TRUE(Read(desc).end);
  EndUse(scheduler_, desc);
}

// A pair whose urgent bytes are data in their place, as the engine's listeners and dialers have it.
class InlinePair : public TcpPair {
 public:
  InlinePair() : TcpPair(/*inline_urgent=*/true) {}
  void SayUrgent(char byte) const { EXPECT_EQ(send(far(), &byte, 1, MSG_OOB), 1); }
};

TEST_F(SocketTest, T47_AReadThatStopsAtAnUrgentMarkIsNotDrained) {
  InlinePair pair;
  PollDesc& desc = Register(pair.near());
  pair.Say("ab");
  pair.SayUrgent('c');
  pair.Say("de");
  SeeEvents();
  EXPECT_NE(desc.edge_bits() & PollDesc::kUrgent, 0);
  IoResult got = Read(desc);
  EXPECT_EQ(Text(got), "ab");
  EXPECT_FALSE(got.drained);
  EXPECT_FALSE(got.end);
  got = Read(desc);
  EXPECT_EQ(Text(got), "cde");
  EXPECT_FALSE(got.drained) << "another mark may follow";
  got = Read(desc);
  EXPECT_TRUE(got.would_block());
  EXPECT_TRUE(got.drained);
  EXPECT_EQ(desc.edge_bits() & PollDesc::kUrgent, 0);
  EndUse(scheduler_, desc);
}

TEST_F(SocketTest, T47_AFinBehindAnUrgentMarkIsNotClaimedBeforeItsBytes) {
  InlinePair pair;
  PollDesc& desc = Register(pair.near());
  pair.Say("ab");
  pair.SayUrgent('c');
  ASSERT_EQ(shutdown(pair.far(), SHUT_WR), 0);
  SeeEvents();
  IoResult got = Read(desc);
  EXPECT_EQ(Text(got), "ab");
  EXPECT_FALSE(got.end);
  got = Read(desc);
  EXPECT_EQ(Text(got), "c");
  got = Read(desc);
  EXPECT_EQ(got.bytes, 0u);
  EXPECT_TRUE(got.end);
  EndUse(scheduler_, desc);
}

TEST_F(SocketTest, T48_ASpliceThatSaysEagainAtAnUrgentMarkIsHealedByARead) {
  InlinePair pair;
  PollDesc& desc = Register(pair.near());
  int pipe[2];
  ASSERT_EQ(pipe2(pipe, O_NONBLOCK | O_CLOEXEC), 0);
  pair.Say("ab");
  pair.SayUrgent('c');
  pair.Say("de");
  SeeEvents();
  std::string all;
  for (int i = 0; i < 8 && all.size() < 5; ++i) {
    const IoResult in = TrySpliceIn(desc, pipe[1], 64);
    if (in.bytes > 0) {
      char piece[64];
      ASSERT_EQ(read(pipe[0], piece, sizeof(piece)), static_cast<ssize_t>(in.bytes));
      all.append(piece, in.bytes);
    } else {
      all += Text(Read(desc));
    }
  }
  EXPECT_EQ(all, "abcde");
  EndUse(scheduler_, desc);
  close(pipe[0]);
  close(pipe[1]);
}

TEST_F(SocketTest, T49_ASpliceThatSaysZeroAtAnUrgentMarkBeforeAFinIsNoEnd) {
  InlinePair pair;
  PollDesc& desc = Register(pair.near());
  int pipe[2];
  ASSERT_EQ(pipe2(pipe, O_NONBLOCK | O_CLOEXEC), 0);
  pair.Say("ab");
  pair.SayUrgent('c');
  pair.Say("de");
  ASSERT_EQ(shutdown(pair.far(), SHUT_WR), 0);
  SeeEvents();
  std::string all;
  bool end = false;
  for (int i = 0; i < 8 && !end; ++i) {
    const IoResult in = TrySpliceIn(desc, pipe[1], 64);
    EXPECT_FALSE(in.end);
    if (in.bytes > 0) {
      char piece[64];
      ASSERT_EQ(read(pipe[0], piece, sizeof(piece)), static_cast<ssize_t>(in.bytes));
      all.append(piece, in.bytes);
    } else {
      const IoResult got = Read(desc);
      all += Text(got);
      end = got.end;
    }
  }
  EXPECT_EQ(all, "abcde");
  EXPECT_TRUE(end);
  EndUse(scheduler_, desc);
  close(pipe[0]);
  close(pipe[1]);
}

TEST_F(SocketTest, T50_ABufferThatWasFilledExactlyMustBeReadAgain) {
  SocketPair pair;
  PollDesc& desc = Register(pair.near());
  pair.Say(std::string(buffer_.size(), 'x'));
  SeeEvents();
  IoResult got = Read(desc);
  EXPECT_EQ(got.bytes, buffer_.size());
  EXPECT_FALSE(got.drained);
  got = Read(desc);
  EXPECT_TRUE(got.would_block());
  EXPECT_TRUE(got.drained);
  EndUse(scheduler_, desc);
}

TEST_F(SocketTest, T50_AShortWriteWaitsForRoom) {
  TcpPair pair;
  PollDesc& desc = Register(pair.near());
  const std::string much(16 << 20, 'x');
  const IoResult put = TryWrite(desc, much.data(), much.size());
  EXPECT_GT(put.bytes, 0u);
  EXPECT_LT(put.bytes, much.size());
  EXPECT_TRUE(put.drained);
  // What moves on to the receiver meanwhile makes some room again, a few times.
  bool full = false;
  for (int i = 0; i < 1000 && !full; ++i) {
    full = TryWrite(desc, much.data(), much.size()).would_block();
  }
  EXPECT_TRUE(full);
  scheduler_.netpoll().Unmute(desc, Direction::kWrite);
  Empty(pair.far());
  SeeEvents();
  EXPECT_TRUE(desc.BlockBegin(Direction::kWrite));
  EndUse(scheduler_, desc);
}

TEST_F(SocketTest, T56_AResetAfterDataGivesTheDataFirst) {
  TcpPair pair;
  PollDesc& desc = Register(pair.near());
  pair.Say("abc");
  pair.ResetFar();
  SeeEvents();
  IoResult got = Read(desc);
  EXPECT_EQ(Text(got), "abc");
  EXPECT_FALSE(got.end) << "an error follows, and no FIN";
  EXPECT_FALSE(got.drained);
  got = Read(desc);
  EXPECT_EQ(got.error, ECONNRESET);
  EXPECT_TRUE(got.failed());
  EndUse(scheduler_, desc);
}

TEST_F(SocketTest, T56_AnErrorThatAnotherCallHasEatenIsNoEndOfTheStream) {
  TcpPair pair;
  PollDesc& desc = Register(pair.near());
  pair.ResetFar();
  SeeEvents();
  EXPECT_EQ(TakeSocketError(desc), ECONNRESET);
  EXPECT_EQ(TakeSocketError(desc), 0);
  const IoResult got = Read(desc);
  EXPECT_FALSE(got.end);
  EXPECT_EQ(got.error, ECONNRESET);
  EndUse(scheduler_, desc);
}

TEST_F(SocketTest, APeekLeavesTheBytesAndSaysNoEndBeforeThem) {
  TcpPair pair;
  PollDesc& desc = Register(pair.near());
  pair.Say("abc");
  ASSERT_EQ(shutdown(pair.far(), SHUT_WR), 0);
  SeeEvents();
  for (int i = 0; i < 2; ++i) {
    const IoResult peeked = TryPeek(desc, buffer_.data(), buffer_.size());
    EXPECT_EQ(Text(peeked), "abc");
    EXPECT_FALSE(peeked.end);
  }
  EXPECT_EQ(TryDiscard(desc, buffer_.data(), 2).bytes, 2u);
  EXPECT_EQ(Text(Read(desc)), "c");
  EXPECT_TRUE(Read(desc).end);
  EndUse(scheduler_, desc);
}

// ---------------------------------------------------------------------------------------------
// A Socket, as if it blocked

TEST_F(SocketTest, T19_DataThatIsThereIsReadThoughTheDeadlineHasPassed) {
  SocketPair pair;
  pair.Say("abc");
  LambdaTask task([&](Scheduler& scheduler, Wake) {
    Socket socket = Socket::Adopt(scheduler, pair.ReleaseNear());
    socket.SetDeadline(Directions::kRead, MonotonicTime(1));
    IoResult got = socket.Read(buffer_.data(), buffer_.size());
    EXPECT_EQ(Text(got), "abc") << "a deadline is for waiting";
    got = socket.Read(buffer_.data(), buffer_.size());
    EXPECT_EQ(got.error, ETIMEDOUT);
    socket.SetDeadline(Directions::kRead, MonotonicTime());
    pair.Say("d");
    got = socket.Read(buffer_.data(), buffer_.size());
    EXPECT_EQ(Text(got), "d");
    return Next::Done();
  });
  RunToEnd(task);
}

TEST_F(SocketTest, T20_AReadWaitsForItsDeadlineAndNoLonger) {
  SocketPair pair;
  LambdaTask task([&](Scheduler& scheduler, Wake) {
    Socket socket = Socket::Adopt(scheduler, pair.ReleaseNear());
    const MonotonicTime deadline = scheduler.now().PlusNs(5 * kMs);
    socket.SetDeadline(Directions::kBoth, deadline);
    EXPECT_EQ(socket.Read(buffer_.data(), buffer_.size()).error, ETIMEDOUT);
    EXPECT_GE(scheduler.now(), deadline);
    EXPECT_EQ(scheduler.wheel().count(), 0u) << "one timer for both sides";
    return Next::Done();
  });
  RunToEnd(task);
}

TEST_F(SocketTest, T17_AReadOfAnEvictedSocketIsCancelled) {
  SocketPair pair;
  PollDesc* desc = nullptr;
  LambdaTask reader([&](Scheduler& scheduler, Wake) {
    Socket socket = Socket::Adopt(scheduler, pair.ReleaseNear());
    desc = &socket.desc();
    EXPECT_EQ(socket.Read(buffer_.data(), buffer_.size()).error, ECANCELED);
    EXPECT_EQ(socket.Read(buffer_.data(), buffer_.size()).error, ECANCELED);
    return Next::Done();
  });
  scheduler_.Spawn(reader);
  TurnWithoutSleep(scheduler_);
  scheduler_.Evict(*desc);
  TurnWithoutSleep(scheduler_);
  EXPECT_TRUE(reader.done);
}

TEST_F(SocketTest, AWriterAndAReaderMoveMoreThanFitsAndEveryByteArrives) {
  SocketPair pair;
  const int far = dup(pair.far());
  ASSERT_EQ(fcntl(far, F_SETFL, O_NONBLOCK), 0);
  std::string sent(3 << 20, 0);
  for (size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 31 >> 5);
  std::string received;
  LambdaTask writer([&](Scheduler& scheduler, Wake) {
    Socket socket = Socket::Adopt(scheduler, pair.ReleaseNear());
    const size_t half = sent.size() / 2;
    iovec parts[2] = {{sent.data(), half}, {sent.data() + half, sent.size() - half}};
    const IoResult put = socket.WritevAll(parts, 2);
    EXPECT_EQ(put.error, 0);
    EXPECT_EQ(put.bytes, sent.size());
    EXPECT_EQ(socket.ShutdownWrite(), 0);
    EXPECT_TRUE(socket.Read(buffer_.data(), buffer_.size()).end);
    return Next::Done();
  });
  LambdaTask reader([&](Scheduler& scheduler, Wake) {
    Socket socket = Socket::Adopt(scheduler, far);
    std::string chunk(10'000, 0);
    for (;;) {
      const IoResult got = socket.Read(chunk.data(), chunk.size());
      EXPECT_EQ(got.error, 0);
      received.append(chunk.data(), got.bytes);
      if (got.end || got.error != 0) return Next::Done();
    }
  });
  pair.CloseFar();  // the reader has its own number for it
  scheduler_.Spawn(writer);
  scheduler_.Spawn(reader);
  TurnUntil(scheduler_, [&] { return writer.done && reader.done; });
  EXPECT_TRUE(received == sent);
}

TEST_F(SocketTest, AMovedSocketIsClosedOnceAndResetSendsRst) {
  TcpPair pair;
  LambdaTask task([&](Scheduler& scheduler, Wake) {
    Socket socket = Socket::Adopt(scheduler, pair.ReleaseNear());
    Socket other = std::move(socket);
    EXPECT_FALSE(socket.ok());
    EXPECT_TRUE(other.ok());
    socket = std::move(other);
    socket.Reset();
    EXPECT_FALSE(socket.ok());
    return Next::Done();
  });
  RunToEnd(task);
  char byte;
  EXPECT_EQ(recv(pair.far(), &byte, 1, 0), -1);
  EXPECT_EQ(errno, ECONNRESET);
}

// ---------------------------------------------------------------------------------------------
// A unix peer that passes descriptors

void SayWithDescriptor(int fd, const std::string& text) {
  iovec part = {const_cast<char*>(text.data()), text.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  ASSERT_EQ(sendmsg(fd, &message, 0), static_cast<ssize_t>(text.size()));
}

TEST_F(SocketTest, X8_AUnixReadThatStopsBehindAPassedDescriptorIsNeitherDrainedNorAnEnd) {
  SocketPair pair;
  SayWithDescriptor(pair.far(), "ab");
  pair.Say("cd");
  ASSERT_EQ(shutdown(pair.far(), SHUT_WR), 0);
  LambdaTask task([&](Scheduler& scheduler, Wake) {
    Socket socket = Socket::Adopt(scheduler, pair.ReleaseNear());
    EXPECT_EQ(scheduler.Wait(socket.desc(), Direction::kRead), WaitResult::kReady);
    IoResult got = Read(socket.desc());
    EXPECT_EQ(Text(got), "ab");
    EXPECT_FALSE(got.drained);
    EXPECT_FALSE(got.end) << "two bytes follow";
    got = Read(socket.desc());
    EXPECT_EQ(Text(got), "cd");
    EXPECT_TRUE(Read(socket.desc()).end);
    return Next::Done();
  });
  RunToEnd(task);
}

}  // namespace
}  // namespace parkway
