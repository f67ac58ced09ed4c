// The acceptor with real sockets: what stands in the queue must never keep its worker awake.
#include "proxy/inbound/acceptor.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "poller/address.h"
#include "poller/inbox.h"
#include "poller/listener.h"
#include "poller/scheduler.h"
#include "proxy/core/stats.h"
#include "proxy/inbound/limits.h"
#include "proxy/inbound/listener_limits.h"
#include "tests/poller/no_descriptors.h"

namespace parkway {
namespace {

// Sleeps end a few times early, for the levels of the timer wheel.
constexpr uint64_t kFewTurns = 20;

class AcceptorTest : public testing::Test, public Acceptor::Sink {
 protected:
  void TearDown() override {
    for (const int fd : fds_) close(fd);
    EXPECT_EQ(scheduler_.netpoll().cache().in_use(), 0u);
  }

  void Start(const ListenOptions& options, ListenerLimits* own) {
    const int fd = OpenListenSocket(Address::Ipv4({127, 0, 0, 1}, 0), options, &bound_);
    ASSERT_GE(fd, 0);
    acceptor_ = std::make_unique<Acceptor>(0, fd, false, false, limit_, own, stats_, *this);
    ASSERT_EQ(acceptor_->Start(scheduler_), 0);
  }
  int Connect() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fds_.push_back(fd);
    EXPECT_EQ(connect(fd, bound_.data(), bound_.size()), 0);
    return fd;
  }
  // One that does not sleep.
  void Turn() {
    scheduler_.Post(std::make_unique<Nothing>());
    scheduler_.Turn();
  }
  void Close() {
    acceptor_->Stop(scheduler_);
    while (!closed_) scheduler_.Turn();
  }

  void OnAccepted(size_t, int fd, const Address&, bool counted) override {
    fds_.push_back(fd);
    ++accepted_;
    limit_.Release();
    EXPECT_FALSE(counted);
  }
  void OnAcceptorClosed(Acceptor&) override { closed_ = true; }
  void OnRefused(size_t, int fd, const Address&) override {
    fds_.push_back(fd);
    ++refused_;
  }
  void OnAcceptTrouble(size_t, int error) override { trouble_ = error; }

  struct Nothing : Message {
    void Deliver(Scheduler&) override {}
  };

  Scheduler scheduler_{{.max_stacks = 4}, nullptr};
  ConnectionLimit limit_{100};
  WorkerStats stats_;
  Address bound_;
  std::unique_ptr<Acceptor> acceptor_;
  std::vector<int> fds_;
  bool closed_ = false;
  int accepted_ = 0;
  int refused_ = 0;
  int trouble_ = 0;
};

TEST_F(AcceptorTest, AHandshakeThatEndsInTheGraceOfACloseIsAcceptedAndWakesNobody) {
  // With its first bytes the handshake ends.
  ASSERT_NO_FATAL_FAILURE(Start({.defer_accept_s = 60}, nullptr));
  const int client = Connect();
  acceptor_->Stop(scheduler_);
  Turn();
  ASSERT_FALSE(closed_);
  EXPECT_EQ(accepted_, 0);
  ASSERT_EQ(send(client, "x", 1, 0), 1);
  const uint64_t turns = scheduler_.turns();
  while (!closed_) scheduler_.Turn();
  EXPECT_EQ(accepted_, 1);
  EXPECT_LE(scheduler_.turns() - turns, kFewTurns);
}

TEST_F(AcceptorTest, OneTooManyThatThereIsNoDescriptorForIsRefusedLater) {
  ListenerLimits own({.max_connections = 1, .reject = true});
  ASSERT_TRUE(own.connections.TryAcquire());
  ASSERT_NO_FATAL_FAILURE(Start({}, &own));
  Connect();
  std::optional<NoDescriptors> none(std::in_place);
  const uint64_t activations = scheduler_.activations();
  for (int i = 0; i < 50; ++i) Turn();
  none.reset();
  EXPECT_EQ(trouble_, EMFILE);
  EXPECT_LE(scheduler_.activations() - activations, 2u) << "no spin";
  while (refused_ == 0) scheduler_.Turn();
  Close();
}

}  // namespace
}  // namespace parkway
