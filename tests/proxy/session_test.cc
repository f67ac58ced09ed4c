// How a session ends, on real sockets and one scheduler: what the clients and servers around it
// get to see, and who is told what when the two directions meet the same failure.
#include "proxy/session/session.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "poller/inbox.h"
#include "poller/pools.h"
#include "poller/remote.h"
#include "poller/scheduler.h"
#include "poller/test_point.h"
#include "tests/proxy/tcp_pair.h"

namespace parkway {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

void ResetNow(int& fd) {
  const linger now = {1, 0};
  EXPECT_EQ(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
  close(fd);
  fd = -1;
}

class Nothing : public Message {
 public:
  void Deliver(Scheduler&) override {}
};

class SessionTest : public testing::Test, public SessionHost, public Scheduler::Delegate {
 protected:
  static void SetUpTestSuite() { signal(SIGPIPE, SIG_IGN); }

  void TearDown() override {
#ifdef PARKWAY_TEST_POINTS
    TestPoints::Clear();
#endif
    if (session_ != nullptr) {
      session_->Abort(CloseCause::kDrain, true);
      for (int i = 0; i < 100 && session_ != nullptr; ++i) Turn();
    }
    EXPECT_EQ(session_, nullptr) << "the session does not end";
    EXPECT_EQ(scheduler_->netpoll().cache().in_use(), 0u);
    for (const int fd : {client_.far, server_.far}) {
      if (fd >= 0) close(fd);
    }
    EXPECT_EQ(chunks_.in_use(), 0u);
  }

  void Begin(const Pair& client, const Pair& server) {
    client_ = client;
    server_ = server;
    Scheduler::Options options;
    options.context = static_cast<SessionHost*>(this);
    scheduler_ = std::make_unique<Scheduler>(options, this);
    SessionHost::scheduler = scheduler_.get();
    tools = {buffer_.get(), &chunks_, nullptr};
    PollDesc* desc = scheduler_->netpoll().Allocate(client.near, nullptr);
    session_ = new Session(1, *desc, PackedAddress(), times.Hold(times_), scheduler_->now());
    session_->Start(*scheduler_);
    for (int i = 0; i < 3; ++i) Turn();
    ASSERT_NE(session_, nullptr);
    ASSERT_EQ(session_->phase(), Session::Phase::kRelaying);
  }

  // SessionHost.
  Progress Connect(Session& session, Wake) override {
    session.set_server(scheduler_->netpoll().Allocate(server_.near, &session));
    return Progress::kConnected;
  }
  void LeaveQueue(Session&) override {}
  void CountMoved(Session& session) override { counted_.push_back(session.TakeMoved()); }
  void Finished(Session& session, const SessionEnd&) override {
    cause_ = session.cause();
    unsent_ = session.unsent_bytes();
    session_ = nullptr;
    delete &session;
  }
  // Scheduler::Delegate.
  void OnHangup(PollDesc& desc) override { static_cast<Session*>(desc.user())->OnHangup(desc); }
  void OnTimer(TimerWheel::Node& node) override { Session::OfTimer(node).OnTimer(); }

  // One turn, that does not sleep.
  void Turn() {
    scheduler_->Post(std::make_unique<Nothing>());
    scheduler_->Turn();
  }
  // Turns until `done`, or for ten seconds.
  bool TurnUntil(const std::function<bool()>& done) {
    const MonotonicTime end = ReadMonotonicClock().PlusNs(10 * kSecond);
    while (!done()) {
      if (end < ReadMonotonicClock()) return false;
      Turn();
    }
    return true;
  }

  // What is there now at `fd`. True: more may come. False: it has ended; `error_` is 0 for a FIN.
  bool Receive(int fd, std::string& got) {
    char bytes[64 * 1024];
    for (;;) {
      const ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
      if (n < 0 && errno == EAGAIN) return true;
      if (n <= 0) {
        error_ = n == 0 ? 0 : errno;
        return false;
      }
      got.append(bytes, static_cast<size_t>(n));
    }
  }
  // Turns and receives until the end.
  void ReceiveAll(int fd, std::string& got) {
    for (int i = 0; i < 10000 && Receive(fd, got); ++i) {
      if (session_ != nullptr) {
        Turn();
      } else {
        pollfd readable = {fd, POLLIN, 0};
        poll(&readable, 1, 1000);
      }
    }
  }
  // Sends to `fd` and turns until nothing moves any more; returns how much.
  size_t Fill(int fd) {
    const std::string some(32 * 1024, 'x');
    size_t sent = 0;
    for (int quiet = 0; quiet < 20;) {
      const ssize_t n = send(fd, some.data(), some.size(), 0);
      quiet = n > 0 ? 0 : quiet + 1;
      if (n > 0) sent += static_cast<size_t>(n);
      Turn();
    }
    return sent;
  }

  const std::unique_ptr<char[]> buffer_{new char[RelayTools::kBufferBytes]};
  ChunkPool chunks_{size_t{1} << 20};
  SessionTimes times_{.idle_ns = 0, .half_close_ns = 0, .delayed_close_ns = 10 * kSecond};
  std::unique_ptr<Scheduler> scheduler_;
  Pair client_, server_;
  Session* session_ = nullptr;
  CloseCause cause_ = CloseCause::kNone;
  uint32_t unsent_ = 0;
  std::vector<Session::Moved> counted_;
  int error_ = -1;
};

TEST_F(SessionTest, TwoFinsEndItInOrderAndNobodySeesAReset) {
  Begin(TcpPair(), TcpPair());
  ASSERT_EQ(send(client_.far, "question", 8, 0), 8);
  ASSERT_EQ(shutdown(client_.far, SHUT_WR), 0);
  std::string got;
  ASSERT_TRUE(TurnUntil([&] { return !Receive(server_.far, got); }));
  EXPECT_EQ(got, "question");
  EXPECT_EQ(error_, 0);
  ASSERT_NE(session_, nullptr) << "the other direction goes on";
  ASSERT_EQ(send(server_.far, "answer", 6, 0), 6);
  close(server_.far);
  server_.far = -1;
  got.clear();
  ReceiveAll(client_.far, got);
  EXPECT_EQ(got, "answer");
  EXPECT_EQ(error_, 0);
  EXPECT_EQ(cause_, CloseCause::kClientFin);
}

TEST_F(SessionTest, AResetBehindAFinIsHeardOfThoughNobodyEverWaitedForThatSide) {
  const Pair client = TcpPair();
  // As much as the first read asks for, so that the next one meets the FIN before anybody waits.
  const std::string all(Relay::kFirstReadBytes, 'q');
  ASSERT_EQ(send(client.far, all.data(), all.size(), 0), static_cast<ssize_t>(all.size()));
  ASSERT_EQ(shutdown(client.far, SHUT_WR), 0);
  Begin(client, TcpPair());
  std::string got;
  ASSERT_TRUE(TurnUntil([&] { return !Receive(server_.far, got); }));
  EXPECT_EQ(got, all);
  ASSERT_NE(session_, nullptr) << "the server may still answer";
  ResetNow(client_.far);
  ASSERT_TRUE(TurnUntil([&] { return session_ == nullptr; }));
  EXPECT_EQ(cause_, CloseCause::kClientRst);
}

TEST_F(SessionTest, WhatMovedIsTakenOncePerDirectionWhileItLives) {
  Begin(TcpPair(), TcpPair());
  const auto send_and_turn = [&](int from, int to, const std::string& what, std::string& got) {
    ASSERT_EQ(send(from, what.data(), what.size(), 0), static_cast<ssize_t>(what.size()));
    ASSERT_TRUE(TurnUntil([&] { return Receive(to, got) && got.size() >= what.size(); }));
  };
  std::string at_server, at_client;
  send_and_turn(client_.far, server_.far, "question", at_server);
  Session::Moved moved = session_->TakeMoved();
  EXPECT_EQ(moved.up, 8u);
  EXPECT_EQ(moved.down, 0u);
  EXPECT_LT(session_->first_byte_after_us(), 0) << "the server has said nothing yet";
  EXPECT_GE(session_->connected_after_us(), 0);
  send_and_turn(server_.far, client_.far, "answer", at_client);
  send_and_turn(client_.far, server_.far, "question, question", at_server);
  moved = session_->TakeMoved();
  EXPECT_EQ(moved.up, 18u);
  EXPECT_EQ(moved.down, 6u);
  EXPECT_GE(session_->first_byte_after_us(), session_->connected_after_us());
  moved = session_->TakeMoved();
  EXPECT_EQ(moved.up, 0u);
  EXPECT_EQ(moved.down, 0u);
  EXPECT_EQ(session_->bytes_up(), 26u);
  EXPECT_TRUE(counted_.empty()) << "far from 4 GiB";
}

TEST_F(SessionTest, WhatCameInTimeIsMovedThoughItIsFoundWhenTheTimeIsOver) {
  times_.idle_ns = kSecond;
  Begin(TcpPair(), TcpPair());
  ASSERT_EQ(send(client_.far, "in time", 7, 0), 7);
  // The thread is kept from running, and finds both at once.
  const MonotonicTime over = session_->last_activity().PlusNs(times_.idle_ns + kSecond / 10);
  while (ReadMonotonicClock() < over) poll(nullptr, 0, 10);
  std::string got;
  ASSERT_TRUE(TurnUntil([&] { return !Receive(server_.far, got) || got.size() >= 7; }));
  EXPECT_EQ(got, "in time");
  ASSERT_NE(session_, nullptr) << "it was not silent";
  ASSERT_TRUE(TurnUntil([&] { return session_ == nullptr; }));
  EXPECT_EQ(cause_, CloseCause::kIdle) << "and now it was";
}

TEST_F(SessionTest, AnEvictionByHandleFromOutsideKillsIt) {
  for (const bool client : {true, false}) {
    Begin(TcpPair(), TcpPair());
    const PollHandle handle = (client ? session_->client() : *session_->server()).handle();
    ASSERT_TRUE(RemoteEvict(*scheduler_, handle));
    ASSERT_TRUE(TurnUntil([&] { return session_ == nullptr; }));
    EXPECT_EQ(cause_, CloseCause::kAdminKill);
    EXPECT_FALSE(RemoteEvict(*scheduler_, handle)) << "the handle is of a use that has ended";
    std::string got;
    ReceiveAll(client_.far, got);
    EXPECT_EQ(error_, ECONNRESET);
    for (int* fd : {&client_.far, &server_.far}) {
      close(*fd);
      *fd = -1;
    }
  }
}

TEST_F(SessionTest, AResetWaitsUntilTheSendQueueOfTheOtherSideIsEmpty) {
  Begin(TcpPair(/*far_receives=*/4096), TcpPair());
  const int much = 1 << 20;
  setsockopt(client_.near, SOL_SOCKET, SO_SNDBUF, &much, sizeof(much));
  const std::string bytes(200'000, 'b');
  size_t sent = 0;
  ASSERT_TRUE(TurnUntil([&] {
    if (sent < bytes.size()) {
      const ssize_t n = send(server_.far, bytes.data() + sent, bytes.size() - sent, 0);
      if (n > 0) sent += static_cast<size_t>(n);
    }
    return session_->bytes_down() == bytes.size();
  })) << "the kernel has all of it";
  ResetNow(server_.far);
  ASSERT_TRUE(TurnUntil([&] { return session_->phase() != Session::Phase::kRelaying; }));
  for (int i = 0; i < 10; ++i) Turn();
  EXPECT_NE(session_, nullptr) << "the client has not taken everything yet";
  std::string got;
  ReceiveAll(client_.far, got);
  EXPECT_EQ(got.size(), bytes.size());
  EXPECT_EQ(error_, ECONNRESET) << "and then it learns how this ended";
  EXPECT_EQ(cause_, CloseCause::kServerRst);
  EXPECT_EQ(unsent_, 0u);
}

TEST_F(SessionTest, AResetIsHeardOfThoughTheFirstBytesNeverFoundRoom) {
  const Pair client = TcpPair();
  const Pair server = TcpPair(/*far_receives=*/4096);
  // More has come than the server takes before anybody has waited for the client.
  const int little = 4096;
  ASSERT_EQ(setsockopt(server.near, SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)), 0);
  const std::string some(32 * 1024, 'x');
  while (send(client.far, some.data(), some.size(), 0) > 0) {
  }
  Begin(client, server);
  ASSERT_TRUE(session_->up().held() > 0) << "the server takes no more";
  ResetNow(client_.far);
  EXPECT_TRUE(TurnUntil([&] { return session_->phase() != Session::Phase::kRelaying; }));
}

TEST_F(SessionTest, AResetIsHeardOfThoughItCameTogetherWithMoreThanTheServerTakes) {
  times_.delayed_close_ns = kSecond / 20;
  const Pair server = TcpPair(/*far_receives=*/4096);
  const int little = 4096;
  ASSERT_EQ(setsockopt(server.near, SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)), 0);
  Begin(TcpPair(), server);
  // All between two turns.
  const std::string some(32 * 1024, 'x');
  while (send(client_.far, some.data(), some.size(), 0) > 0) {
  }
  ResetNow(client_.far);
  EXPECT_TRUE(TurnUntil([&] { return session_ == nullptr; }));
  EXPECT_EQ(cause_, CloseCause::kClientRst);
}

TEST_F(SessionTest, AResetIsHeardOfThoughItCameTogetherWithMoreThanTheRateLetsPass) {
  times_.rate_up = 1024;
  Begin(TcpPair(), TcpPair());
  const std::string some(32 * 1024, 'x');
  ASSERT_EQ(send(client_.far, some.data(), some.size(), 0), static_cast<ssize_t>(some.size()));
  ResetNow(client_.far);
  std::string got;
  ASSERT_TRUE(TurnUntil([&] { return !Receive(server_.far, got); }));
  EXPECT_EQ(got.size(), some.size()) << "it goes as fast as it can";
  EXPECT_EQ(error_, ECONNRESET);
  EXPECT_EQ(cause_, CloseCause::kClientRst);
}

TEST_F(SessionTest, AResetWaitsForASlowReceiverAsLongAsDelayedCloseAndNotLonger) {
  times_.delayed_close_ns = kSecond / 20;
  Begin(TcpPair(/*far_receives=*/4096), TcpPair());
  Fill(server_.far);
  ResetNow(server_.far);
  ASSERT_TRUE(TurnUntil([&] { return session_ == nullptr; }));
  EXPECT_GT(unsent_, 0u) << "what could not be delivered is counted";
  std::string got;
  ReceiveAll(client_.far, got);
  EXPECT_EQ(error_, ECONNRESET);
}

TEST_F(SessionTest, BytesThatAreDroppedMakeTheEndAReset) {
  Begin(TcpPair(/*far_receives=*/4096), TcpPair());
  Fill(server_.far);
  ASSERT_NE(session_, nullptr);
  session_->Abort(CloseCause::kIdle, /*reset=*/false);
  ASSERT_TRUE(TurnUntil([&] { return session_ == nullptr; }));
  EXPECT_GT(unsent_, 0u);
  std::string got;
  ReceiveAll(client_.far, got);
  EXPECT_EQ(error_, ECONNRESET) << "a FIN would say that this was all";
}

TEST_F(SessionTest, BytesInHandThatAreDroppedMakeTheEndAResetThoughTheKernelHasNone) {
  Begin(TcpPair(/*far_receives=*/4096), TcpPair());
  const std::string some(2048, 'x');
  ASSERT_TRUE(TurnUntil([&] {
    EXPECT_EQ(send(server_.far, some.data(), some.size(), 0), static_cast<ssize_t>(some.size()));
    for (int i = 0; i < 3; ++i) Turn();
    return session_->down().held() > 0;
  })) << "the client takes no more, and the relay holds a rest";
  int unread = -1;
  ASSERT_EQ(ioctl(server_.near, FIONREAD, &unread), 0);
  ASSERT_EQ(unread, 0) << "all that the server said was read";
  session_->Abort(CloseCause::kIdle, /*reset=*/false);
  ASSERT_TRUE(TurnUntil([&] { return session_ == nullptr; }));
  EXPECT_GT(unsent_, 0u);
  std::string got;
  ReceiveAll(client_.far, got);
  EXPECT_EQ(error_, ECONNRESET) << "a FIN would say that this was all";
}

TEST_F(SessionTest, AResetThatNobodyWaitsForIsNoticedAndTheRestIsDelivered) {
  Begin(TcpPair(), TcpPair(/*far_receives=*/4096));
  const size_t sent = Fill(client_.far);
  const uint64_t taken = session_->bytes_up();
  // Up waits for the server to take more, down waits for the server to say something.
  ResetNow(client_.far);
  ASSERT_TRUE(TurnUntil([&] { return session_->phase() != Session::Phase::kRelaying; }));
  EXPECT_EQ(session_->cause(), CloseCause::kClientRst);
  std::string got;
  ReceiveAll(server_.far, got);
  EXPECT_EQ(error_, ECONNRESET);
  EXPECT_GE(got.size(), taken) << "all that was in a queue or in hand";
  EXPECT_LE(got.size(), sent);
  EXPECT_EQ(cause_, CloseCause::kClientRst);
}

#ifdef PARKWAY_TEST_POINTS
TEST_F(SessionTest, AResetThatTheWriterMetFirstIsNoFinToTheReader) {
  Begin(TcpPair(), TcpPair());
  // The reset comes after the poll: no event has told of it when the up direction writes, and its
  // write takes the error. The down direction then reads an end of stream.
  TestPoints::Once("Netpoll::Ready:checked", [this] { ResetNow(server_.far); });
  ASSERT_EQ(send(client_.far, "x", 1, 0), 1);
  Turn();
  std::string got;
  ReceiveAll(client_.far, got);
  EXPECT_EQ(error_, ECONNRESET);
  EXPECT_EQ(cause_, CloseCause::kServerRst);
}
#endif

TEST_F(SessionTest, AResetThatBothDirectionsMeetInOneBatchHasOneCause) {
  Begin(TcpPair(), TcpPair());
  ASSERT_EQ(send(client_.far, "x", 1, 0), 1);
  ResetNow(server_.far);
  std::string got;
  ReceiveAll(client_.far, got);
  EXPECT_EQ(error_, ECONNRESET);
  EXPECT_EQ(cause_, CloseCause::kServerRst);
}

}  // namespace
}  // namespace parkway
