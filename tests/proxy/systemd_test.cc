#include "proxy/system/systemd.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/proxy/service_manager.h"

namespace parkway {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

TEST(SystemdTest, SaysEachWordAsTheProtocolWantsIt) {
  ServiceManager manager;
  Systemd systemd;
  ASSERT_TRUE(systemd.present());
  systemd.Ready("2 of 2 servers up");
  EXPECT_EQ("READY=1\nSTATUS=2 of 2 servers up", manager.Heard());
  systemd.Reloading();
  EXPECT_THAT(manager.Heard(), MatchesRegex("RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]*"));
  systemd.Beat();
  EXPECT_EQ("WATCHDOG=1", manager.Heard());
  systemd.Extend(absl::Milliseconds(1500));
  EXPECT_EQ("EXTEND_TIMEOUT_USEC=1500000", manager.Heard());
  systemd.Stopping("draining");
  EXPECT_EQ("STOPPING=1\nSTATUS=draining", manager.Heard());
  EXPECT_EQ("", manager.Heard());
}

TEST(SystemdTest, AStatusIsSentWhenItHasChangedAndIsOneLine) {
  ServiceManager manager;
  Systemd systemd;
  systemd.Status("a\nb");
  EXPECT_EQ("STATUS=a b", manager.Heard());
  systemd.Status("a\nb");
  EXPECT_EQ("", manager.Heard());
  systemd.Status("c");
  EXPECT_EQ("STATUS=c", manager.Heard());
}

TEST(SystemdTest, TheWatchdogIsOursOnlyIfItNamesUs) {
  ServiceManager manager;
  EXPECT_EQ(absl::InfiniteDuration(), Systemd().watchdog());
  setenv("WATCHDOG_USEC", "20000000", 1);
  EXPECT_EQ(absl::Seconds(20), Systemd().watchdog());
  setenv("WATCHDOG_PID", "1", 1);
  EXPECT_EQ(absl::InfiniteDuration(), Systemd().watchdog());
}

TEST(SystemdTest, WithoutAManagerNothingIsSent) {
  unsetenv("NOTIFY_SOCKET");
  setenv("WATCHDOG_USEC", "20000000", 1);
  Systemd systemd;
  EXPECT_FALSE(systemd.present());
  EXPECT_EQ(absl::InfiniteDuration(), systemd.watchdog());
  systemd.Ready("nobody hears it");
  unsetenv("WATCHDOG_USEC");
}

// Puts sockets where LISTEN_FDS says they are. What was there comes back afterwards.
class InheritedTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (int fd = 3; fd < 5; ++fd) kept_[fd - 3] = fcntl(fd, F_DUPFD_CLOEXEC, 100);
    setenv("LISTEN_PID", std::to_string(getpid()).c_str(), 1);
  }
  void TearDown() override {
    for (int fd = 3; fd < 5; ++fd) {
      close(fd);
      if (kept_[fd - 3] < 0) continue;
      dup2(kept_[fd - 3], fd);
      close(kept_[fd - 3]);
    }
  }

  void Put(int fd, int type, bool listens) {
    const int made = socket(AF_INET, type, 0);
    sockaddr_in any = {};
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(0, bind(made, reinterpret_cast<sockaddr*>(&any), sizeof(any)));
    if (listens) {
      ASSERT_EQ(0, listen(made, 1));
    }
    if (made == fd) return;
    dup2(made, fd);
    close(made);
  }

 private:
  int kept_[2];
};

TEST_F(InheritedTest, SocketsComeWithTheirNamesAndDoNotBlock) {
  Put(3, SOCK_STREAM, true);
  Put(4, SOCK_STREAM, true);
  setenv("LISTEN_FDS", "2", 1);
  setenv("LISTEN_FDNAMES", "web:sql", 1);
  std::string error;
  const std::vector<InheritedSocket> sockets = TakeInheritedSockets(&error);
  EXPECT_EQ("", error);
  ASSERT_EQ(2u, sockets.size());
  EXPECT_EQ(3, sockets[0].fd);
  EXPECT_EQ("web", sockets[0].name);
  EXPECT_EQ("sql", sockets[1].name);
  EXPECT_TRUE(fcntl(4, F_GETFL) & O_NONBLOCK);
  EXPECT_TRUE(fcntl(4, F_GETFD) & FD_CLOEXEC);
  EXPECT_EQ(nullptr, getenv("LISTEN_FDS"));
}

TEST_F(InheritedTest, WhatDoesNotListenIsRefused) {
  Put(3, SOCK_STREAM, false);
  setenv("LISTEN_FDS", "1", 1);
  setenv("LISTEN_FDNAMES", "web", 1);
  std::string error;
  TakeInheritedSockets(&error);
  EXPECT_THAT(error, HasSubstr("the socket web (descriptor 3) that was passed to us is no "
                               "listening stream socket"));
}

TEST_F(InheritedTest, ADatagramSocketIsRefused) {
  Put(3, SOCK_DGRAM, false);
  setenv("LISTEN_FDS", "1", 1);
  setenv("LISTEN_FDNAMES", "dns", 1);
  std::string error;
  TakeInheritedSockets(&error);
  EXPECT_THAT(error, HasSubstr("dns"));
}

TEST_F(InheritedTest, ThoseOfAnotherProcessAreNotOurs) {
  Put(3, SOCK_STREAM, true);
  setenv("LISTEN_FDS", "1", 1);
  setenv("LISTEN_PID", "1", 1);
  std::string error;
  EXPECT_TRUE(TakeInheritedSockets(&error).empty());
  EXPECT_EQ("", error);
}

}  // namespace
}  // namespace parkway
