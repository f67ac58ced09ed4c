#include "proxy/observe/access_log.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <thread>

#include "gtest/gtest.h"
#include "tests/proxy/edit.h"

namespace parkway {
namespace {

Plan APlan() {
  Plan plan;
  plan.log.target = LogPlan::Target::kStderr;
  plan.Add(ListenerPlan{.name = "web"});
  UpstreamPlan app;
  app.name = "app";
  app.servers.emplace_back().address = Address::Ipv4({10, 0, 0, 1}, 80);
  plan.Add(app);
  return plan;
}

ClosedRecord AClosed() {
  ClosedRecord record;
  record.phase = EndPhase::kRelaying;
  record.cause = CloseCause::kServerFin;
  record.attempts = 2;
  record.client = PackedAddress(Address::Ipv4({192, 0, 2, 1}, 4711));
  record.bytes_up = 79;
  record.bytes_down = 853;
  record.unsent_bytes = 3;
  record.started = MonotonicTime(1'000'000'000);
  record.ended = MonotonicTime(1'012'400'000);
  return record;
}

LogRecord ARecord() { return {.what = AClosed()}; }

class PipeTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(pipe2(ends_.data(), O_CLOEXEC), 0); }
  void TearDown() override {
    for (const int end : ends_) {
      if (end >= 0) close(end);
    }
  }
  std::string ReadAll() {
    close(ends_[1]);
    ends_[1] = -1;
    std::string text;
    char bytes[4096];
    for (ssize_t n = 0; (n = read(ends_[0], bytes, sizeof(bytes))) > 0;) {
      text.append(bytes, static_cast<size_t>(n));
    }
    return text;
  }
  std::array<int, 2> ends_ = {-1, -1};
};

using AccessLogTest = PipeTest;

TEST_F(AccessLogTest, WhatWasPushedBeforeStopIsWritten) {
  LogRing ring;
  AccessLog log(std::make_shared<const Plan>(APlan()), {&ring}, ends_[1]);
  ASSERT_EQ(log.Open(), "");
  log.Start();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(ring.Push(ARecord()));
  log.Write("a line as it is");
  EXPECT_TRUE(log.Stop());
  const std::string text = ReadAll();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4);
  EXPECT_NE(text.find("a line as it is\n"), std::string::npos);
}

TEST_F(AccessLogTest, AReaderThatDoesNotReadHoldsUpNeitherTheWorkersNorTheEnd) {
  // The writer outlives the test: so does what it uses.
  static LogRing& ring = *new LogRing;
  static AccessLog* const log =
      new AccessLog(std::make_shared<const Plan>(APlan()), {&ring}, ends_[1]);
  log->Start();
  // More than pipe, batch and ring hold together.
  int taken = 0;
  for (int i = 0; i < 200000; ++i) taken += ring.Push(ARecord()) ? 1 : 0;
  EXPECT_LT(taken, 200000);
  EXPECT_FALSE(log->Stop()) << "nobody has read";
  // The writer still stands in write(): it keeps its end of the pipe, and what it was given comes.
  ends_[1] = -1;
  char bytes[65536];
  while (taken > 0) {
    const ssize_t n = read(ends_[0], bytes, sizeof(bytes));
    ASSERT_GT(n, 0);
    taken -= static_cast<int>(std::count(bytes, bytes + n, '\n'));
  }
  EXPECT_EQ(taken, 0);
}

TEST_F(AccessLogTest, AWorkerThatIsFasterThanTheSinkDoesNotKeepTheWriterFromItsOrders) {
  signal(SIGPIPE, SIG_IGN);
  const std::string path = testing::TempDir() + "slow";
  unlink(path.c_str());
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  const int reader = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  ASSERT_GE(reader, 0);
  LogRing ring;
  Plan plan = APlan();
  plan.log = {.target = LogPlan::Target::kFile, .where = path};
  AccessLog log(std::make_shared<const Plan>(plan), {&ring}, ends_[1]);
  ASSERT_EQ(log.Open(), "");
  ASSERT_EQ(fcntl(reader, F_SETFL, 0), 0);
  size_t pushed = 0;
  const auto fill = [&] {
    while (ring.Push(ARecord())) ++pushed;
  };
  fill();
  log.Start();
  log.Write("a line as it is");
  // The ring is full again before more is taken from the sink, so it is never seen empty.
  pollfd said = {ends_[0], POLLIN, 0};
  char bytes[4096];
  while (poll(&said, 1, 0) == 0 && pushed < 10 * LogRing::kRecords) {
    ASSERT_GT(read(reader, bytes, sizeof(bytes)), 0);
    fill();
  }
  EXPECT_EQ(poll(&said, 1, 0), 1) << "the line waits for the worker to pause";
  close(reader);
  EXPECT_TRUE(log.Stop());
}

TEST(LogRingTest, KeepsTheOrderAndRefusesWhatDoesNotFit) {
  LogRing ring;
  ClosedRecord closed;
  for (uint32_t i = 0; i < LogRing::kRecords; ++i) {
    closed.id = i;
    ASSERT_TRUE(ring.Push({.what = closed}));
  }
  EXPECT_FALSE(ring.Push({.what = closed}));
  LogRecord record;
  for (uint32_t i = 0; i < LogRing::kRecords; ++i) {
    ASSERT_TRUE(ring.Pop(record));
    ASSERT_EQ(record.closed()->id, i);
  }
  EXPECT_FALSE(ring.Pop(record));
}

TEST(LogRingTest, OneThreadWritesAndOneReads) {
  LogRing ring;
  constexpr uint64_t kRecords = 100000;
  std::thread writer([&ring] {
    ClosedRecord record;
    for (uint64_t i = 0; i < kRecords;) {
      record.id = record.bytes_up = i;
      if (ring.Push({.what = record})) {
        ++i;
      } else {
        std::this_thread::yield();
      }
    }
  });
  LogRecord record;
  for (uint64_t i = 0; i < kRecords;) {
    if (!ring.Pop(record)) {
      std::this_thread::yield();
      continue;
    }
    ASSERT_EQ(record.closed()->id, i);
    ASSERT_EQ(record.closed()->bytes_up, i) << "a record was read before it was written whole";
    ++i;
  }
  writer.join();
}

}  // namespace
}  // namespace parkway
