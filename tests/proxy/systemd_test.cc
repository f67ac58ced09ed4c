#include "proxy/system/systemd.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "poller/address.h"
#include "tests/proxy/service_manager.h"

namespace parkway {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::SizeIs;
using ::testing::StartsWith;

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

// Until the manager's queue is full; how many that takes.
int Fill(Systemd& systemd, const std::vector<std::string>& said) {
  int sent = 0;
  for (; said.empty(); ++sent) systemd.Beat();
  return sent - 1;
}

TEST(SystemdTest, AManagerThatDoesNotReadIsWaitedForByNobodyAndToldLater) {
  ServiceManager manager;
  std::vector<std::string> said;
  Systemd systemd([&said](const std::string& line) { said.push_back(line); });
  const int beats = Fill(systemd, said);
  EXPECT_THAT(said, ElementsAre(MatchesRegex("service manager: cannot tell WATCHDOG=1 to @.*: "
                                             "Resource temporarily unavailable; it is told when "
                                             "that can be done")));
  systemd.Reloading();
  systemd.Ready("1 of 1 servers up");
  systemd.Status("2 of 2 servers up");
  systemd.Beat();
  EXPECT_THAT(said, SizeIs(1)) << "once";
  for (int i = 0; i < beats; ++i) EXPECT_EQ("WATCHDOG=1", manager.Heard());
  EXPECT_EQ("", manager.Heard());
  // The states, in their order, and what is said now.
  systemd.Status("2 of 2 servers up");
  EXPECT_THAT(manager.Heard(), StartsWith("RELOADING=1\n"));
  EXPECT_EQ("READY=1\nSTATUS=1 of 1 servers up", manager.Heard());
  EXPECT_EQ("STATUS=2 of 2 servers up", manager.Heard());
  EXPECT_EQ("", manager.Heard());
  // The next time it is said again.
  Fill(systemd, said = {});
  EXPECT_THAT(said, SizeIs(1));
}

TEST(SystemdTest, AStateThatCouldNotBeToldComesThoughNothingChanges) {
  ServiceManager manager;
  std::vector<std::string> said;
  Systemd systemd([&said](const std::string& line) { said.push_back(line); });
  Fill(systemd, said);
  systemd.Ready("up");
  while (!manager.Heard().empty()) continue;
  systemd.Status("up");
  EXPECT_EQ("READY=1\nSTATUS=up", manager.Heard());
  EXPECT_EQ("", manager.Heard());
}

TEST(SystemdTest, AManagerWhoseSocketIsAPathIsToldThere) {
  std::string folder = "/tmp/notify.XXXXXX";  // a short one
  ASSERT_NE(nullptr, mkdtemp(folder.data()));
  const std::string path = folder + "/socket";
  setenv("NOTIFY_SOCKET", path.c_str(), 1);
  std::vector<std::string> said;
  Systemd systemd([&said](const std::string& line) { said.push_back(line); });
  systemd.Ready("up");
  EXPECT_THAT(said, ElementsAre(HasSubstr("No such file or directory")));
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const Address address = Address::UnixPath(path);
  ASSERT_EQ(0, bind(fd, address.data(), address.size()));
  systemd.Status("up");
  char text[64];
  const ssize_t size = recv(fd, text, sizeof(text), 0);
  EXPECT_EQ("READY=1\nSTATUS=up", std::string(text, size < 0 ? 0 : static_cast<size_t>(size)));
  close(fd);
  unlink(path.c_str());
  rmdir(folder.c_str());
  unsetenv("NOTIFY_SOCKET");
}

TEST(SystemdTest, TheWatchdogIsOursOnlyIfItNamesUs) {
  ServiceManager manager;
  EXPECT_EQ(absl::InfiniteDuration(), Systemd().watchdog());
  setenv("WATCHDOG_USEC", "20000000", 1);
  EXPECT_EQ(absl::Seconds(20), Systemd().watchdog());
  for (const char* nothing : {"0", "", "often", "-1", "18446744073709551614", "1e9"}) {
    setenv("WATCHDOG_USEC", nothing, 1);
    EXPECT_EQ(absl::InfiniteDuration(), Systemd().watchdog()) << nothing;
  }
  setenv("WATCHDOG_USEC", "9223372036854775807", 1);
  EXPECT_GT(Systemd().watchdog(), absl::Hours(2'000'000'000));
  setenv("WATCHDOG_USEC", "20000000", 1);
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
