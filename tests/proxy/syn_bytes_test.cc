// What goes with the SYN to a server, on real sockets: a session whose connector is the test.
#include "proxy/inbound/syn_bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "poller/inbox.h"
#include "poller/pools.h"
#include "poller/scheduler.h"
#include "proxy/session/session.h"
#include "tests/proxy/tcp_pair.h"

namespace parkway {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

class Nothing : public Message {
 public:
  void Deliver(Scheduler&) override {}
};

std::string TextOf(const SynData& first) {
  std::string text;
  for (int i = 0; i < first.count; ++i) {
    text.append(static_cast<const char*>(first.parts[i].iov_base), first.parts[i].iov_len);
  }
  return text;
}

class SynBytesTest : public testing::Test, public SessionHost, public Scheduler::Delegate {
 protected:
  static void SetUpTestSuite() { signal(SIGPIPE, SIG_IGN); }

  // `connect`: what the connector does before the server has accepted.
  void Play(const std::string& said, std::function<void(Session&)> connect) {
    connect_ = std::move(connect);
    client_ = TcpPair();
    server_ = TcpPair();
    ASSERT_EQ(send(client_.far, said.data(), said.size(), 0), static_cast<ssize_t>(said.size()));
    ASSERT_TRUE(Within([&] { return Unread() == said.size(); }));
    Scheduler::Options options;
    options.context = static_cast<SessionHost*>(this);
    scheduler_ = std::make_unique<Scheduler>(options, this);
    SessionHost::scheduler = scheduler_.get();
    tools = {buffer_.get(), &chunks_, nullptr};
    PollDesc* desc = scheduler_->netpoll().Allocate(client_.near, nullptr);
    session_ = new Session(1, *desc, PackedAddress(), times.Hold(times_), scheduler_->now());
    session_->Start(*scheduler_);
    // The client has no more to say, and the server neither.
    ASSERT_TRUE(TurnUntil([this] { return connected_; }));
    shutdown(client_.far, SHUT_WR);
    shutdown(server_.far, SHUT_WR);
    ASSERT_TRUE(TurnUntil([this] { return session_ == nullptr; }));
    char got[8192];
    ssize_t n;
    while ((n = recv(server_.far, got, sizeof(got), 0)) > 0) {
      relayed_.append(got, static_cast<size_t>(n));
    }
    error_ = n == 0 ? 0 : errno;
    close(client_.far);
    close(server_.far);
    EXPECT_EQ(chunks_.in_use(), 0u);
  }

  // In the client's socket.
  size_t Unread() const {
    int bytes = 0;
    EXPECT_EQ(ioctl(client_.near, FIONREAD, &bytes), 0);
    return static_cast<size_t>(bytes);
  }

  // SessionHost.
  Progress Connect(Session& session, Wake) override {
    connect_(session);
    session.set_server(scheduler_->netpoll().Allocate(server_.near, &session));
    connected_ = true;
    return Progress::kConnected;
  }
  void LeaveQueue(Session&) override {}
  void CountMoved(Session& session) override { static_cast<void>(session.TakeMoved()); }
  void Finished(Session& session, const SessionEnd&) override {
    up_ = session.bytes_up();
    session_ = nullptr;
    delete &session;
  }
  // Scheduler::Delegate.
  void OnHangup(PollDesc& desc) override { static_cast<Session*>(desc.user())->OnHangup(desc); }
  void OnTimer(TimerWheel::Node& node) override { Session::OfTimer(node).OnTimer(); }

  static bool Within(const std::function<bool()>& done) {
    const MonotonicTime end = ReadMonotonicClock().PlusNs(10 * kSecond);
    while (!done()) {
      if (end < ReadMonotonicClock()) return false;
    }
    return true;
  }
  bool TurnUntil(const std::function<bool()>& done) {
    return Within([&] {
      scheduler_->Post(std::make_unique<Nothing>());
      scheduler_->Turn();
      return done();
    });
  }

  SessionTimes times_ = {.idle_ns = 60 * kSecond, .half_close_ns = 60 * kSecond};
  std::unique_ptr<char[]> buffer_{new char[RelayTools::kBufferBytes]};
  ChunkPool chunks_{size_t{1} << 20};
  std::unique_ptr<Scheduler> scheduler_;
  std::function<void(Session&)> connect_;
  Pair client_;
  Pair server_;
  Session* session_ = nullptr;
  bool connected_ = false;
  std::string relayed_;  // what the server got from the relay, not with the SYN
  int error_ = -1;       // and then; 0: a FIN
  uint64_t up_ = 0;
};

TEST_F(SynBytesTest, WhereNothingWasSaidTheConnectGoesAlone) {
  Play("", [this](Session& session) {
    SynBytes syn(session, "", tools);
    EXPECT_FALSE(syn.any());
  });
  EXPECT_EQ(relayed_, "");
}

TEST_F(SynBytesTest, AResetThatTheLookMetIsNoFinToTheServer) {
  Play("", [this](Session& session) {
    const linger now = {1, 0};
    ASSERT_EQ(setsockopt(client_.far, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    close(std::exchange(client_.far, -1));
    SynBytes syn(session, "", tools);
    EXPECT_FALSE(syn.any());
  });
  EXPECT_EQ(error_, ECONNRESET);
}

TEST_F(SynBytesTest, AHeaderGoesWithoutAWordOfTheClient) {
  Play("", [this](Session& session) {
    SynBytes syn(session, "PROXY\r\n", tools);
    ASSERT_TRUE(syn.any());
    EXPECT_EQ(TextOf(syn.first()), "PROXY\r\n");
    syn.first().sent = 7;
    EXPECT_EQ(syn.header_sent(), 7u);
    EXPECT_EQ(syn.Taken(), 0);
  });
  EXPECT_EQ(up_, 0u);
}

TEST_F(SynBytesTest, WhatTheClientSaidIsTakenOnlyWhenTheServerHasIt) {
  Play("hello", [this](Session& session) {
    {
      // An attempt that comes to nothing: the next one has all of it.
      SynBytes lost(session, "PROXY\r\n", tools);
      EXPECT_EQ(TextOf(lost.first()), "PROXY\r\nhello");
      lost.first().sent = 12;
    }
    EXPECT_EQ(Unread(), 5u);
    SynBytes syn(session, "PROXY\r\n", tools);
    EXPECT_EQ(TextOf(syn.first()), "PROXY\r\nhello");
    syn.first().sent = 12;
    EXPECT_EQ(syn.header_sent(), 7u);
    EXPECT_EQ(syn.Taken(), 0);
    EXPECT_EQ(Unread(), 0u);
  });
  EXPECT_EQ(relayed_, "");
  EXPECT_EQ(up_, 5u);
}

TEST_F(SynBytesTest, WhatDidNotFitFollowsLater) {
  Play("hello", [this](Session& session) {
    SynBytes syn(session, "PROXY\r\n", tools);
    syn.first().sent = 9;
    EXPECT_EQ(syn.header_sent(), 7u);
    EXPECT_EQ(syn.Taken(), 0);
    EXPECT_EQ(Unread(), 3u);
  });
  EXPECT_EQ(relayed_, "llo");
  EXPECT_EQ(up_, 5u);
}

TEST_F(SynBytesTest, APartOfTheHeaderTakesNothingFromTheClient) {
  Play("hello", [this](Session& session) {
    SynBytes syn(session, "PROXY\r\n", tools);
    syn.first().sent = 3;
    EXPECT_EQ(syn.header_sent(), 3u);
    EXPECT_EQ(syn.Taken(), 0);
  });
  EXPECT_EQ(relayed_, "hello");
}

TEST_F(SynBytesTest, WhatIsInHandGoesFirstAndItsRestLater) {
  Play(" world", [this](Session& session) {
    ASSERT_TRUE(session.up().Hold("hello", 5, tools));
    SynBytes syn(session, "", tools);
    EXPECT_EQ(TextOf(syn.first()), "hello");
    syn.first().sent = 4;
    EXPECT_EQ(syn.Taken(), 0);
    EXPECT_EQ(Unread(), 6u);
  });
  EXPECT_EQ(relayed_, "o world");
  EXPECT_EQ(up_, 11u);
}

TEST_F(SynBytesTest, NoMoreThanASynHoldsIsLookedAt) {
  const std::string much(20'000, 'x');
  Play(much, [this](Session& session) {
    SynBytes syn(session, "", tools);
    EXPECT_EQ(TextOf(syn.first()).size(), 4096u);
    syn.first().sent = 1400;
    EXPECT_EQ(syn.Taken(), 0);
  });
  EXPECT_EQ(relayed_.size(), much.size() - 1400);
  EXPECT_EQ(up_, much.size());
}

}  // namespace
}  // namespace parkway
