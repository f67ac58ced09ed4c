#include "proxy/observe/log_sink.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include "gtest/gtest.h"

namespace parkway {
namespace {

std::string Contents(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string NameOf(const std::string& what) {
  const std::string path = testing::TempDir() + what;
  unlink(path.c_str());
  return path;
}

// The whole path of a folder of tests may be too long for a socket.
std::string ShortNameOf(const std::string& what) {
  EXPECT_EQ(chdir(testing::TempDir().c_str()), 0);
  unlink(what.c_str());
  return what;
}

// A datagram socket that somebody logs to.
class Receiver {
 public:
  explicit Receiver(int family) : fd_(socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {}
  ~Receiver() { close(fd_); }
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;

  void BindTo(const std::string& path) {
    sockaddr_un name = {};
    name.sun_family = AF_UNIX;
    path.copy(name.sun_path, sizeof(name.sun_path) - 1);
    ASSERT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
  }
  uint16_t BindToLoopback() {
    sockaddr_in name = {};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(name);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&name), length), 0);
    EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&name), &length), 0);
    return ntohs(name.sin_port);
  }
  std::string Next() {
    pollfd readable = {fd_, POLLIN, 0};
    if (poll(&readable, 1, 5000) != 1) return "nothing";
    char bytes[4096];
    const ssize_t n = recv(fd_, bytes, sizeof(bytes), 0);
    return std::string(bytes, n < 0 ? 0 : static_cast<size_t>(n));
  }

 private:
  const int fd_;
};

TEST(LogSinkTest, AFileIsAppendedToAndBegunAgainAfterItWasRenamed) {
  const std::string path = NameOf("access.log");
  LogSink sink({.target = LogPlan::Target::kFile, .where = path});
  ASSERT_EQ(sink.Open(), "");
  sink.Line("one");
  sink.Flush();
  ASSERT_EQ(rename(path.c_str(), (path + ".1").c_str()), 0);
  sink.Line("two");
  ASSERT_EQ(sink.Open(), "");
  sink.Line("three");
  sink.Flush();
  EXPECT_EQ(Contents(path + ".1"), "one\ntwo\n");
  EXPECT_EQ(Contents(path), "three\n");
  struct stat info;
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07, 0u) << "not for everybody";
  LogSink again({.target = LogPlan::Target::kFile, .where = path});
  ASSERT_EQ(again.Open(), "");
  again.Line("four");
  again.Flush();
  EXPECT_EQ(Contents(path), "three\nfour\n");
}

TEST(LogSinkTest, AFileThatCannotBeOpenedIsSaidAndTheOldOneGoesOn) {
  LogSink nowhere({.target = LogPlan::Target::kFile, .where = "/nowhere/access.log"});
  EXPECT_EQ(nowhere.Open(),
            "access_log: cannot open /nowhere/access.log: No such file or directory");
  const std::string folder = NameOf("folder");
  ASSERT_EQ(mkdir(folder.c_str(), 0700), 0);
  LogSink sink({.target = LogPlan::Target::kFile, .where = folder + "/log"});
  ASSERT_EQ(sink.Open(), "");
  ASSERT_EQ(rename(folder.c_str(), (folder + ".moved").c_str()), 0);
  EXPECT_NE(sink.Open(), "");
  sink.Line("still here");
  sink.Flush();
  EXPECT_EQ(Contents(folder + ".moved/log"), "still here\n");
  EXPECT_EQ(sink.dropped(), 0u);
  unlink((folder + ".moved/log").c_str());
  rmdir((folder + ".moved").c_str());
}

TEST(LogSinkTest, ItGoesElsewhereWhenAnotherPlanSaysSoAndStaysWhereItCannot) {
  const std::string first = NameOf("first.log"), second = NameOf("second.log");
  LogSink sink({.target = LogPlan::Target::kFile, .where = first});
  ASSERT_EQ(sink.Open(), "");
  sink.Line("one");
  ASSERT_EQ(sink.Change({.target = LogPlan::Target::kFile, .where = second}), "");
  sink.Line("two");
  EXPECT_NE(sink.Change({.target = LogPlan::Target::kFile, .where = "/nowhere/log"}), "");
  sink.Line("three");
  ASSERT_EQ(sink.Change({.target = LogPlan::Target::kOff}), "");
  sink.Line("not wanted");
  sink.Flush();
  EXPECT_EQ(Contents(first), "one\n");
  EXPECT_EQ(Contents(second), "two\nthree\n");
  EXPECT_EQ(sink.dropped(), 0u);
}

TEST(LogSinkTest, AFullDiskIsCountedLineByLine) {
  if (access("/dev/full", W_OK) != 0) GTEST_SKIP() << "there is no /dev/full";
  LogSink sink({.target = LogPlan::Target::kFile, .where = "/dev/full"});
  ASSERT_EQ(sink.Open(), "");
  sink.Line("one");
  sink.Line("two");
  sink.Flush();
  EXPECT_EQ(sink.dropped(), 2u);
  EXPECT_EQ(sink.TakeTrouble(), "access_log: cannot write to /dev/full: No space left on device");
  EXPECT_EQ(sink.TakeTrouble(), "");
}

TEST(LogSinkTest, ALineBehindOneThatFoundRoomInPartIsALineOfItsOwn) {
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, SIG_IGN);
  const std::string path = NameOf("short.log");
  LogSink sink({.target = LogPlan::Target::kFile, .where = path});
  ASSERT_EQ(sink.Open(), "");
  const auto let = [&before](rlim_t bytes) {
    const rlimit limit = {bytes, before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  };
  let(6);
  sink.Line("one");
  sink.Line("two");
  sink.Flush();
  EXPECT_EQ(sink.dropped(), 1u);
  sink.Line("three");
  sink.Flush();
  EXPECT_EQ(sink.dropped(), 2u);
  let(before.rlim_cur);
  sink.Line("four");
  sink.Line("five");
  sink.Flush();
  sink.Line("six");
  sink.Flush();
  EXPECT_EQ(Contents(path), "one\ntw\nfour\nfive\nsix\n");
  EXPECT_EQ(sink.dropped(), 2u);
}

TEST(LogSinkTest, APipeThatNobodyReadsIsRefusedAndNotWaitedFor) {
  const std::string path = NameOf("pipe");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  const LogPlan plan = {.target = LogPlan::Target::kFile, .where = path};
  LogSink sink(plan);
  EXPECT_EQ(sink.Open(),
            "access_log: cannot open " + path + ": No such device or address; nobody reads there");
  EXPECT_NE(LogSink::Try(plan), "");
  const int reader = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  ASSERT_GE(reader, 0);
  EXPECT_EQ(LogSink::Try(plan), "");
  ASSERT_EQ(sink.Open(), "");
  sink.Line("one");
  sink.Flush();
  char bytes[16];
  EXPECT_EQ(std::string(bytes, static_cast<size_t>(read(reader, bytes, sizeof(bytes)))), "one\n");
  close(reader);
}

TEST(LogSinkTest, AUnixSocketGetsAMessageALineAndIsFoundAgain) {
  const std::string path = ShortNameOf("log.sock");
  LogSink sink({.target = LogPlan::Target::kUnix, .where = path, .facility = 3});
  ASSERT_EQ(sink.Open(), "") << "who listens there may come later";
  EXPECT_NE(sink.TakeTrouble(), "");
  sink.Line("lost");
  EXPECT_EQ(sink.dropped(), 1u);
  {
    Receiver receiver(AF_UNIX);
    receiver.BindTo(path);
    ASSERT_EQ(sink.Open(), "");
    sink.Line("one");
    sink.Line("two");
    EXPECT_EQ(sink.dropped(), 1u);
    const std::string first = receiver.Next();
    EXPECT_TRUE(first.starts_with("<30>")) << first;
    EXPECT_TRUE(first.ends_with(" parkway[" + std::to_string(getpid()) + "]: one")) << first;
    EXPECT_TRUE(receiver.Next().ends_with("]: two"));
  }
  sink.Line("nobody");
  EXPECT_EQ(sink.dropped(), 2u);
  unlink(path.c_str());
  Receiver receiver(AF_UNIX);
  receiver.BindTo(path);
  // It tries again by itself, a second later.
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  uint64_t before = 0;
  do {
    before = sink.dropped();
    sink.Line("three");
    usleep(10'000);
  } while (sink.dropped() != before && std::chrono::steady_clock::now() < end);
  EXPECT_TRUE(receiver.Next().ends_with("]: three"));
}

TEST(LogSinkTest, AReaderThatDoesNotKeepUpGetsAMomentAndThenLosesLines) {
  const std::string path = ShortNameOf("slow.sock");
  Receiver receiver(AF_UNIX);
  receiver.BindTo(path);
  LogSink sink({.target = LogPlan::Target::kUnix, .where = path});
  ASSERT_EQ(sink.Open(), "");
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 10'000; ++i) sink.Line(std::string(1000, 'x'));
  const auto took = std::chrono::steady_clock::now() - start;
  EXPECT_GT(sink.dropped(), 0u);
  EXPECT_LT(took, std::chrono::seconds(5)) << "not a moment for each line";
}

TEST(LogSinkTest, SyslogOverUdpGoesOnThoughNobodyListens) {
  uint16_t port = 0;
  {
    Receiver gone(AF_INET);
    port = gone.BindToLoopback();
  }
  LogSink sink({.target = LogPlan::Target::kSyslog, .where = "127.0.0.1", .port = port});
  ASSERT_EQ(sink.Open(), "");
  for (int i = 0; i < 10; ++i) sink.Line("nobody hears this");
  Receiver receiver(AF_INET);
  LogSink heard({.target = LogPlan::Target::kSyslog,
                 .where = "127.0.0.1",
                 .port = receiver.BindToLoopback(),
                 .facility = 16});
  ASSERT_EQ(heard.Open(), "");
  heard.Line("hello");
  const std::string message = receiver.Next();
  EXPECT_TRUE(message.starts_with("<134>")) << message;
  EXPECT_TRUE(message.ends_with("]: hello")) << message;
}

TEST(LogSinkTest, AHostThatCannotBeFoundIsSaid) {
  LogSink sink({.target = LogPlan::Target::kSyslog, .where = "no-such-host.invalid"});
  ASSERT_EQ(sink.Open(), "");
  EXPECT_NE(sink.TakeTrouble().find("no-such-host.invalid"), std::string::npos);
  sink.Line("lost");
  EXPECT_EQ(sink.dropped(), 1u);
}

}  // namespace
}  // namespace parkway
