#include "proxy/system/listen_sockets.h"

#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "poller/address.h"
#include "proxy/core/plan.h"

namespace parkway {
namespace {

using ::testing::HasSubstr;

class ListenSocketsTest : public ::testing::Test {
 protected:
  void TearDown() override {
    for (const int fd : fds_) close(fd);
  }

  static ListenerPlan PlanOf(const std::string& name, const Address& address) {
    ListenerPlan plan;
    plan.name = name;
    plan.address = address;
    return plan;
  }
  ListenSockets Open(const ListenerPlan& plan, size_t workers,
                     const std::vector<Neighbor>& neighbors = {}) {
    ListenSockets sockets = OpenListenSockets(plan, workers, {}, neighbors);
    fds_.insert(fds_.end(), sockets.fds.begin(), sockets.fds.end());
    return sockets;
  }
  static uint16_t PortOf(const ListenSockets& sockets) {
    sockaddr_storage storage;
    socklen_t length = sizeof(storage);
    EXPECT_EQ(getsockname(sockets.fds.at(0), reinterpret_cast<sockaddr*>(&storage), &length), 0);
    return Address::FromSockaddr(reinterpret_cast<const sockaddr*>(&storage), length).port();
  }
  static bool Shared(int fd) {
    int value = -1;
    socklen_t length = sizeof(value);
    EXPECT_EQ(getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &value, &length), 0);
    return value != 0;
  }

  const Address loopback_ = Address::Ipv4({127, 0, 0, 1}, 0);
  std::vector<int> fds_;
};

TEST_F(ListenSocketsTest, AWildcardIsOpenedBesideAnAddressOfOurs) {
  for (const size_t workers : {1, 3}) {
    const ListenSockets first = Open(PlanOf("old", loopback_), workers);
    ASSERT_EQ(first.error, "");
    const ListenerPlan all = PlanOf("new", Address::Ipv4({}, PortOf(first)));
    EXPECT_THAT(Open(all, workers).error, HasSubstr("; another process has it"));
    const ListenSockets second =
        Open(all, workers, {{"old", loopback_, first.fds, /*inherited=*/false}});
    EXPECT_EQ(second.error, "");
    EXPECT_EQ(second.fds.size(), workers);
    // As they are alone: nobody else may join them.
    for (const ListenSockets* sockets : {&first, &second}) {
      for (const int fd : sockets->fds) EXPECT_EQ(Shared(fd), workers > 1);
    }
  }
}

TEST_F(ListenSocketsTest, WhatCannotBeSharedIsSaidByItsName) {
  const ListenSockets first = Open(PlanOf("old", loopback_), 1);
  ASSERT_EQ(first.error, "");
  const ListenerPlan all = PlanOf("new", Address::Ipv4({}, PortOf(first)));
  const Address here = Address::Ipv4({127, 0, 0, 1}, PortOf(first));
  const std::string ours = "our own listener old has " + here.ToString() +
                           " by a socket that another user or process has opened; restart for it";
  EXPECT_THAT(Open(all, 1, {{"old", here, first.fds, /*inherited=*/true}}).error, HasSubstr(ours));
  EXPECT_FALSE(Shared(first.fds[0]));
  if (geteuid() == 0) {
    ASSERT_EQ(fchown(first.fds[0], 65534, 65534), 0);
    EXPECT_THAT(Open(all, 1, {{"old", here, first.fds, false}}).error, HasSubstr(ours));
    ASSERT_EQ(fchown(first.fds[0], 0, 0), 0);
  }
  // Ours is shared, and somebody else has another part.
  ListenerPlan other = PlanOf("other", Address::Ipv4({127, 0, 0, 2}, PortOf(first)));
  ASSERT_EQ(Open(other, 1).error, "");
  EXPECT_THAT(Open(all, 1, {{"old", here, first.fds, false}}).error,
              HasSubstr("; another process has it, or a part of it"));
  EXPECT_FALSE(Shared(first.fds[0]));
}

}  // namespace
}  // namespace parkway
