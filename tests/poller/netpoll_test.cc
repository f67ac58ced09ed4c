// The epoll instance of a worker, with real files: which event wakes whom, what happens to events
// of a use that has ended, which hang-ups are reported, and the wake-up.
#include "poller/netpoll.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "poller/clock.h"
#include "poller/poll_desc.h"
#include "poller/task.h"
#include "tests/poller/engine.h"

namespace parkway {
namespace {

constexpr Direction kRead = Direction::kRead;
constexpr Direction kWrite = Direction::kWrite;

class NetpollTest : public TestPointTest {
 protected:
  PollDesc& Open(int fd) {
    int error = 0;
    PollDesc* desc = netpoll_.Open(fd, nullptr, &error);
    EXPECT_NE(desc, nullptr) << error;
    return *desc;
  }
  // As Open, and the first report of a new socket (it can be written) is used up.
  PollDesc& OpenQuiet(int fd) {
    PollDesc& desc = Open(fd);
    Poll();
    EXPECT_EQ(desc.Reset(kRead), WaitResult::kReady);
    EXPECT_EQ(desc.Reset(kWrite), WaitResult::kReady);
    return desc;
  }
  // Two reports of bytes that nobody looks at: the first ends a wait, the second mutes.
  void Mute(TcpPair& pair, PollDesc& desc) {
    for (const bool muted : {false, true}) {
      ASSERT_EQ(send(pair.far(), "x", 1, 0), 1);
      EXPECT_EQ(Poll(), Tasks{});
      ASSERT_EQ((desc.edge_bits() & PollDesc::kReadMuted) != 0, muted);
    }
  }
  void End(PollDesc& desc) {
    desc.Evict(desc.fdseq());
    netpoll_.Close(desc);
  }
  void Park(PollDesc& desc, Direction direction, Task& task) {
    ASSERT_FALSE(desc.BlockBegin(direction));
    ASSERT_TRUE(desc.BlockCommit(direction, &task));
  }
  // What a poll without waiting finds.
  std::vector<Task*> Poll(int64_t timeout_ns = 0) {
    netpoll_.Poll(timeout_ns, polled_);
    std::vector<Task*> tasks;
    while (Task* task = polled_.runnable.PopFront()) tasks.push_back(task);
    hangups_.assign(polled_.hangups.begin(), polled_.hangups.begin() + polled_.hangup_count);
    polled_.hangup_count = 0;
    return tasks;
  }
  using Tasks = std::vector<Task*>;
  using Handles = std::vector<PollHandle>;

  Netpoll netpoll_{nullptr};
  Netpoll::Polled polled_;
  Handles hangups_;
  LambdaTask reader_;
  LambdaTask writer_;
};

TEST_F(NetpollTest, T8_InputWakesOnlyTheReader) {
  SocketPair pair;
  ASSERT_GT(FillUp(pair.near()), 0u);
  PollDesc& desc = OpenQuiet(pair.near());
  Park(desc, kRead, reader_);
  Park(desc, kWrite, writer_);
  pair.Say("x");
  EXPECT_EQ(Poll(), Tasks{&reader_});
  EXPECT_TRUE(desc.BlockEnd(kRead));
  EXPECT_EQ(desc.Evict(desc.fdseq()).woken.writer, &writer_);
  netpoll_.Close(desc);
}

TEST_F(NetpollTest, T8_RoomWakesOnlyTheWriter) {
  SocketPair pair;
  ASSERT_GT(FillUp(pair.near()), 0u);
  PollDesc& desc = OpenQuiet(pair.near());
  Park(desc, kRead, reader_);
  Park(desc, kWrite, writer_);
  ASSERT_GT(Empty(pair.far()), 0u);
  EXPECT_EQ(Poll(), Tasks{&writer_});
  EXPECT_TRUE(desc.BlockEnd(kWrite));
  EXPECT_EQ(desc.Evict(desc.fdseq()).woken.reader, &reader_);
  netpoll_.Close(desc);
}

TEST_F(NetpollTest, T8_AHangUpWakesBothAndIsNotReportedBesides) {
  SocketPair pair;
  ASSERT_GT(FillUp(pair.near()), 0u);
  PollDesc& desc = OpenQuiet(pair.near());
  Park(desc, kRead, reader_);
  Park(desc, kWrite, writer_);
  pair.CloseFar();
  EXPECT_EQ(Poll(), (Tasks{&reader_, &writer_}));
  EXPECT_TRUE(hangups_.empty());
  EXPECT_NE(desc.edge_bits() & PollDesc::kHangup, 0);
  EXPECT_TRUE(desc.BlockEnd(kRead));
  EXPECT_TRUE(desc.BlockEnd(kWrite));
  End(desc);
}

TEST_F(NetpollTest, T5_AnEventIsReportedOnceAndLatched) {
  SocketPair pair;
  PollDesc& desc = OpenQuiet(pair.near());
  pair.Say("x");
  EXPECT_EQ(Poll(), Tasks{});
  EXPECT_EQ(Poll(), Tasks{}) << "edge-triggered: no second report of the same byte";
  EXPECT_TRUE(desc.BlockBegin(kRead));
  End(desc);
}

TEST_F(NetpollTest, BytesThatNobodyLooksAtEndOneWaitAndThenNoMore) {
  TcpPair pair;
  PollDesc& desc = OpenQuiet(pair.near());
  ASSERT_NO_FATAL_FAILURE(Mute(pair, desc));
  ASSERT_EQ(send(pair.far(), "x", 1, 0), 1);
  EXPECT_EQ(Poll(), Tasks{});
  // What else happens is still told: an urgent byte when somebody wants to read, a FIN at once.
  ASSERT_EQ(send(pair.far(), "!", 1, MSG_OOB), 1);
  EXPECT_EQ(Poll(), Tasks{});
  EXPECT_EQ(desc.edge_bits() & PollDesc::kUrgent, 0);
  ASSERT_EQ(desc.Reset(kRead), WaitResult::kReady);
  netpoll_.Unmute(desc, kRead);
  Park(desc, kRead, reader_);
  EXPECT_EQ(Poll(), Tasks{&reader_});
  EXPECT_NE(desc.edge_bits() & PollDesc::kUrgent, 0);
  EXPECT_TRUE(desc.BlockEnd(kRead));
  ASSERT_EQ(shutdown(pair.far(), SHUT_WR), 0);
  Park(desc, kRead, reader_);
  EXPECT_EQ(Poll(), Tasks{&reader_});
  EXPECT_NE(desc.edge_bits() & PollDesc::kHangup, 0);
  EXPECT_TRUE(desc.BlockEnd(kRead));
  End(desc);
}

TEST_F(NetpollTest, AUnixSocketIsSaidToBeWritableOnlyToWhoWaitsForIt) {
  SocketPair pair;
  PollDesc& desc = *netpoll_.Allocate(pair.near(), nullptr);
  desc.add_edge_bits(PollDesc::kUnix);
  ASSERT_EQ(netpoll_.Register(desc), 0);
  const auto reports = [&] {
    EXPECT_EQ(Poll(), Tasks{});
    const bool said = desc.IsLatched(kWrite);
    EXPECT_EQ(desc.Reset(kWrite), WaitResult::kReady);
    return said;
  };
  EXPECT_FALSE(reports());
  // Its peer reads, which for a unix socket is news each time.
  ASSERT_GT(FillUp(pair.near()), 0u);
  ASSERT_GT(Empty(pair.far()), 0u);
  EXPECT_FALSE(reports());
  // Who waits for room is told, of room that is there already as well.
  netpoll_.Unmute(desc, kWrite);
  Park(desc, kWrite, writer_);
  EXPECT_EQ(Poll(), Tasks{&writer_});
  EXPECT_TRUE(desc.BlockEnd(kWrite));
  ASSERT_GT(FillUp(pair.near()), 0u);
  Park(desc, kWrite, writer_);
  EXPECT_EQ(Poll(), Tasks{});
  ASSERT_GT(Empty(pair.far()), 0u);
  EXPECT_EQ(Poll(), Tasks{&writer_});
  EXPECT_TRUE(desc.BlockEnd(kWrite));
  // The next time nobody waits, and that was the last time.
  for (const bool said : {true, false}) {
    ASSERT_GT(FillUp(pair.near()), 0u);
    ASSERT_GT(Empty(pair.far()), 0u);
    EXPECT_EQ(reports(), said);
  }
  End(desc);
}

TEST_F(NetpollTest, AFinOfAMutedDescriptorMayHaveAnUrgentMarkBeforeIt) {
  TcpPair pair;
  PollDesc& desc = OpenQuiet(pair.near());
  ASSERT_NO_FATAL_FAILURE(Mute(pair, desc));
  ASSERT_EQ(send(pair.far(), "!", 1, MSG_OOB), 1);
  ASSERT_EQ(shutdown(pair.far(), SHUT_WR), 0);
  EXPECT_EQ(Poll(), Tasks{});
  EXPECT_EQ(desc.edge_bits() & (PollDesc::kHangup | PollDesc::kUrgent),
            PollDesc::kHangup | PollDesc::kUrgent);
  End(desc);
}

TEST_F(NetpollTest, AResetIsHeardThoughBytesAreNot) {
  TcpPair pair;
  PollDesc& desc = OpenQuiet(pair.near());
  ASSERT_NO_FATAL_FAILURE(Mute(pair, desc));
  pair.ResetFar();
  EXPECT_EQ(Poll(), Tasks{});
  EXPECT_EQ(hangups_, Handles{desc.handle()});
  End(desc);
}

TEST_F(NetpollTest, ALateRegistrationReportsWhatIsThereAlready) {
  SocketPair pair;
  pair.Say("x");
  PollDesc* desc = netpoll_.Allocate(pair.near(), nullptr);
  Park(*desc, kRead, reader_);
  EXPECT_EQ(Poll(), Tasks{}) << "not known to epoll yet";
  EXPECT_EQ(netpoll_.Register(*desc), 0);
  EXPECT_EQ(Poll(), Tasks{&reader_});
  EXPECT_TRUE(desc->BlockEnd(kRead));
  End(*desc);
}

TEST_F(NetpollTest, AnEventThatIsAnErrorAndNothingElseMakesReadsNotPollable) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
  const std::vector<char> page(4096);
  while (write(ends[1], page.data(), page.size()) > 0) {
  }
  PollDesc& desc = OpenQuiet(ends[1]);
  Park(desc, kRead, reader_);
  close(ends[0]);
  EXPECT_EQ(Poll(), Tasks{&reader_});
  EXPECT_EQ(desc.CheckError(kRead), WaitResult::kNotPollable);
  EXPECT_EQ(desc.CheckError(kWrite), WaitResult::kReady);
  EXPECT_NE(desc.edge_bits() & PollDesc::kError, 0);
  EXPECT_TRUE(desc.BlockEnd(kRead));
  End(desc);
  close(ends[1]);
}

TEST_F(NetpollTest, AnErrorAloneSaysNothingOfAFileWhoseRoomIsNotReported) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  const int gone = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(bind(gone, generic, length), 0);
  ASSERT_EQ(getsockname(gone, generic, &length), 0);
  close(gone);
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  ASSERT_EQ(connect(fd, generic, length), 0);
  PollDesc& desc = *netpoll_.Allocate(fd, nullptr);
  ASSERT_EQ(netpoll_.Register(desc), 0);
  Park(desc, kRead, reader_);
  // Nobody is there to take it, and the socket is told so; after that it is as good as before.
  ASSERT_EQ(send(fd, "x", 1, 0), 1);
  EXPECT_EQ(Poll(10'000'000'000), Tasks{&reader_});
  EXPECT_TRUE(desc.BlockEnd(kRead));
  char byte;
  EXPECT_EQ(recv(fd, &byte, 1, 0), -1);
  EXPECT_EQ(errno, ECONNREFUSED);
  EXPECT_EQ(desc.CheckError(kRead), WaitResult::kReady) << "else nobody could wait there again";
  End(desc);
  close(fd);
}

// ---------------------------------------------------------------------------------------------
// Stale events and reuse

TEST_F(NetpollTest, T31_AnEventOfAnOldUseDoesNotTouchTheNewOne) {
  SocketPair old_pair;
  SocketPair new_pair;
  PollDesc& desc = OpenQuiet(old_pair.near());
  const uint32_t index = desc.index();
  // The file lives on under another number, so epoll goes on reporting it.
  const int other = dup(old_pair.near());
  End(desc);
  old_pair.CloseNear();
  PollDesc& again = OpenQuiet(new_pair.near());
  ASSERT_EQ(again.index(), index) << "the last freed is the first reused";
  Park(again, kRead, reader_);
  old_pair.Say("x");
  old_pair.CloseFar();
  EXPECT_EQ(Poll(), Tasks{});
  EXPECT_TRUE(hangups_.empty());
  EXPECT_EQ(again.edge_bits() & ~PollDesc::kConnected, 0);
  EXPECT_EQ(again.CheckError(kRead), WaitResult::kReady);
  EXPECT_EQ(again.Evict(again.fdseq()).woken.reader, &reader_);
  netpoll_.Close(again);
  close(other);
}

TEST_F(NetpollTest, T32_ADescriptorRecycledAfterTheEventWasCheckedKeepsACleanInfoWord) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
  const std::vector<char> page(4096);
  while (write(ends[1], page.data(), page.size()) > 0) {
  }
  PollDesc& desc = OpenQuiet(ends[1]);
  close(ends[0]);
  TestPoints::Once("Netpoll::Ready:checked", [&] {
    desc.Evict(desc.fdseq());
    desc.Close();
    desc.Open(ends[1], nullptr);
  });
  Poll();
  EXPECT_EQ(desc.CheckError(kRead), WaitResult::kReady);
  End(desc);
  close(ends[1]);
}

TEST_F(NetpollTest, T34_AFileThatEpollRefusesLeavesNothingBehind) {
  const int regular = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(regular, 0);
  int error = 0;
  EXPECT_EQ(netpoll_.Open(regular, nullptr, &error), nullptr);
  EXPECT_EQ(error, -EPERM);
  EXPECT_EQ(netpoll_.cache().in_use(), 0u);
  // The descriptor that was given back serves the next file.
  SocketPair pair;
  PollDesc& desc = Open(pair.near());
  EXPECT_EQ(netpoll_.cache().high_water(), 1u);
  End(desc);
  close(regular);
}

TEST_F(NetpollTest, T35_EventsOfAFileThatLivesOnElsewhereAreDropped) {
  SocketPair pair;
  PollDesc& desc = OpenQuiet(pair.near());
  const int elsewhere = dup(pair.near());
  End(desc);
  pair.CloseNear();
  pair.Say("x");
  EXPECT_EQ(Poll(), Tasks{});
  pair.CloseFar();
  EXPECT_EQ(Poll(), Tasks{});
  EXPECT_TRUE(hangups_.empty());
  close(elsewhere);
}

TEST_F(NetpollTest, T35_ADeregisteredFileIsSilent) {
  SocketPair pair;
  PollDesc& desc = OpenQuiet(pair.near());
  EXPECT_EQ(netpoll_.Deregister(desc), 0);
  EXPECT_FALSE(desc.registered());
  Park(desc, kRead, reader_);
  pair.Say("x");
  EXPECT_EQ(Poll(), Tasks{});
  EXPECT_EQ(netpoll_.Register(desc), 0) << "and may come back";
  EXPECT_EQ(Poll(), Tasks{&reader_});
  EXPECT_TRUE(desc.BlockEnd(kRead));
  End(desc);
}

TEST_F(NetpollTest, T36_ABatchIsConvertedWholeSoACloseInItDropsNobodyElse) {
  SocketPair first;
  SocketPair second;
  SocketPair third;
  PollDesc& a = OpenQuiet(first.near());
  PollDesc& b = OpenQuiet(second.near());
  Park(a, kRead, reader_);
  first.Say("x");
  second.Say("y");
  EXPECT_EQ(Poll(), Tasks{&reader_});
  // What the reader of A does now: it ends the use of B, whose event was in the same batch.
  End(b);
  PollDesc& c = Open(third.near());
  EXPECT_EQ(&c, &b);
  EXPECT_TRUE(a.BlockEnd(kRead));
  EXPECT_EQ(c.CheckError(kRead), WaitResult::kReady);
  End(a);
  End(c);
}

TEST_F(NetpollTest, MoreEventsThanFitAreTakenInSeveralPolls) {
  constexpr int kFiles = Netpoll::kEventsPerPoll + 44;
  std::vector<int> files;
  std::vector<PollDesc*> descs;
  std::vector<std::unique_ptr<LambdaTask>> tasks;
  for (int i = 0; i < kFiles; ++i) {
    files.push_back(eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC));
    descs.push_back(&Open(files.back()));
    tasks.push_back(std::make_unique<LambdaTask>());
    Park(*descs.back(), kRead, *tasks.back());
  }
  EXPECT_EQ(Poll().size(), static_cast<size_t>(Netpoll::kEventsPerPoll));
  EXPECT_TRUE(polled_.full);
  EXPECT_EQ(Poll().size(), 44u);
  EXPECT_FALSE(polled_.full);
  for (int i = 0; i < kFiles; ++i) {
    EXPECT_TRUE(descs[i]->BlockEnd(kRead));
    End(*descs[i]);
    close(files[i]);
  }
}

// ---------------------------------------------------------------------------------------------
// Hang-ups in every state a connection may be in

TEST_F(NetpollTest, X6_AResetWhileItsTaskWaitsElsewhereIsReportedAsAHangUp) {
  TcpPair pair;
  PollDesc& desc = OpenQuiet(pair.near());
  pair.ResetFar();
  EXPECT_EQ(Poll(), Tasks{});
  EXPECT_EQ(hangups_, Handles{desc.handle()});
  EXPECT_NE(desc.edge_bits() & PollDesc::kError, 0);
  End(desc);
}

TEST_F(NetpollTest, X6_AResetWhileTheWriterIsBlockedWakesIt) {
  TcpPair pair;
  ASSERT_GT(FillUp(pair.near()), 0u);
  PollDesc& desc = OpenQuiet(pair.near());
  Park(desc, kWrite, writer_);
  pair.ResetFar();
  EXPECT_EQ(Poll(), Tasks{&writer_});
  EXPECT_TRUE(hangups_.empty());
  EXPECT_TRUE(desc.BlockEnd(kWrite));
  EXPECT_TRUE(desc.BlockBegin(kRead)) << "and the reader, when it comes, does not park";
  End(desc);
}

TEST_F(NetpollTest, X6_AResetWhileTheReaderWaitsWakesItThoughNobodyWrites) {
  TcpPair pair;
  PollDesc& desc = OpenQuiet(pair.near());
  Park(desc, kRead, reader_);
  pair.ResetFar();
  EXPECT_EQ(Poll(), Tasks{&reader_});
  EXPECT_TRUE(hangups_.empty());
  EXPECT_TRUE(desc.BlockEnd(kRead));
  End(desc);
}

TEST_F(NetpollTest, X6_AResetOfTheOtherSideOfABlockedRelayIsReportedThere) {
  // The relay client -> server waits for room at the server: nobody waits on the client.
  TcpPair client;
  TcpPair server;
  PollDesc& client_desc = OpenQuiet(client.near());
  ASSERT_GT(FillUp(server.near()), 0u);
  PollDesc& server_desc = OpenQuiet(server.near());
  Park(server_desc, kWrite, writer_);
  client.Say("unread");
  Poll();
  client.ResetFar();
  EXPECT_EQ(Poll(), Tasks{});
  EXPECT_EQ(hangups_, Handles{client_desc.handle()});
  EXPECT_EQ(server_desc.Evict(server_desc.fdseq()).woken.writer, &writer_);
  netpoll_.Close(server_desc);
  End(client_desc);
}

TEST_F(NetpollTest, X6_AResetAfterAFinIsReportedThoughTheFinWasNot) {
  TcpPair pair;
  PollDesc& desc = OpenQuiet(pair.near());
  ASSERT_EQ(shutdown(pair.far(), SHUT_WR), 0);
  Poll();
  EXPECT_TRUE(hangups_.empty()) << "a half-closed connection is no hang-up";
  EXPECT_NE(desc.edge_bits() & PollDesc::kHangup, 0) << "but it is remembered that a FIN is there";
  pair.ResetFar();
  Poll();
  EXPECT_EQ(hangups_, Handles{desc.handle()});
  EXPECT_NE(desc.edge_bits() & PollDesc::kError, 0);
  End(desc);
}

TEST_F(NetpollTest, X6_AConnectThatIsRefusedWhileNobodyWaitsIsReported) {
  int port_holder = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(bind(port_holder, generic, length), 0);  // bound and not listening: refuses
  ASSERT_EQ(getsockname(port_holder, generic, &length), 0);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  ASSERT_EQ(connect(fd, generic, length), -1);
  PollDesc& desc = Open(fd);
  Poll(-1);
  EXPECT_EQ(hangups_, Handles{desc.handle()});
  EXPECT_EQ(desc.CheckError(kRead), WaitResult::kReady)
      << "IN, OUT, RDHUP, HUP and ERR: not the event error";
  End(desc);
  close(fd);
  close(port_holder);
}

// ---------------------------------------------------------------------------------------------
// The wake-up

TEST_F(NetpollTest, T38_ManyBreaksOfOneSleepAreOneWrite) {
  netpoll_.PrepareToSleep();
  std::vector<std::thread> threads;
  std::atomic<int> writes{0};
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 100; ++j) writes += netpoll_.Break() ? 1 : 0;
    });
  }
  netpoll_.Poll(-1, polled_);
  for (std::thread& thread : threads) thread.join();
  netpoll_.Awake();
  EXPECT_EQ(writes.load(), 1);
}

TEST_F(NetpollTest, T39_EveryBreakOfASleepIsAnEdgeThoughTheCounterIsNeverRead) {
  for (int i = 0; i < 1000; ++i) {
    netpoll_.PrepareToSleep();
    EXPECT_TRUE(netpoll_.Break());
    netpoll_.Poll(-1, polled_);  // would wait for ever if the edge were lost
    netpoll_.Awake();
  }
}

TEST_F(NetpollTest, T40_ABreakOfAWorkerThatIsAwakeCostsNoSystemCall) {
  EXPECT_FALSE(netpoll_.Break());
  netpoll_.PrepareToSleep();
  netpoll_.Awake();
  EXPECT_FALSE(netpoll_.Break());
}

TEST_F(NetpollTest, ABreakThatComesAfterTheWakeUpEndsTheNextWaitEarlyAndNoMore) {
  netpoll_.PrepareToSleep();
  EXPECT_TRUE(netpoll_.Break());
  netpoll_.Poll(0, polled_);
  netpoll_.Awake();
  const int64_t before = ReadMonotonicClock().ns();
  netpoll_.Poll(2'000'000, polled_);
  EXPECT_GE(ReadMonotonicClock().ns() - before, 2'000'000);
}

}  // namespace
}  // namespace parkway
