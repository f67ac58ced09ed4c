#include "proxy/observe/access_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <thread>

#include "gtest/gtest.h"

namespace parkway {
namespace {

Plan APlan() {
  Plan plan;
  plan.access_log = true;
  plan.listeners.emplace_back().name = "web";
  plan.upstreams.emplace_back().name = "app";
  plan.upstreams[0].servers.emplace_back().address = Address::Ipv4({10, 0, 0, 1}, 80);
  return plan;
}

LogRecord ARecord() {
  LogRecord record;
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

TEST_F(AccessLogTest, ALineSaysWhoWhereHowMuchHowLongAndWhy) {
  EXPECT_EQ(AccessLog::Format(APlan(), ARecord()),
            "client=192.0.2.1:4711 listener=web upstream=app server=10.0.0.1:80 bytes_in=79 "
            "bytes_out=853 duration=0.012s cause=server_fin attempts=2 unsent=3");
}

TEST_F(AccessLogTest, TroubleWithAListenerNamesItTheReasonAndWhatHappensNow) {
  LogRecord record;
  record.kind = LogRecord::Kind::kAcceptTrouble;
  record.error = EMFILE;
  EXPECT_EQ(AccessLog::Format(APlan(), record),
            "listener web: accept: Too many open files; paused, the backlog queues");
}

TEST_F(AccessLogTest, AServerThatGoesIsToldWithTheCauseAndHowLongItWasThere) {
  Plan plan = APlan();
  plan.upstreams[0].servers[0].name = "a";
  plan.upstreams[0].servers[0].health.probe.address = Address::Ipv4({10, 0, 0, 1}, 8008);
  LogRecord record;
  record.kind = LogRecord::Kind::kServerDown;
  record.attempts = static_cast<uint8_t>(HealthWord::kL4Con);
  record.error = ECONNREFUSED;
  record.unsent_bytes = 3;
  record.bytes_up = 250'000;
  record.started = MonotonicTime(5'000'000'000);
  record.ended = MonotonicTime(17'345'000'000);
  EXPECT_EQ(AccessLog::Format(plan, record),
            "WARNING: upstream " + plan.upstreams[0].name +
                " server a is DOWN: L4CON (Connection refused) from 10.0.0.1:8008 after 0.250ms, "
                "3 in a row; was up for 12.345s; 0 of 1 servers up");
  record.attempts = static_cast<uint8_t>(HealthWord::kL7Rsp);
  record.error = 0;
  record.started = MonotonicTime();
  record.set_text("-LOADING\r\nand much more");
  EXPECT_EQ(AccessLog::Format(plan, record),
            "WARNING: upstream " + plan.upstreams[0].name +
                " server a is DOWN: L7RSP \"-LOADING\\r\\nand mu\" from 10.0.0.1:8008 after "
                "0.250ms, 3 in a row; was up by assumption; 0 of 1 servers up");
  record.kind = LogRecord::Kind::kServerUp;
  record.attempts = static_cast<uint8_t>(HealthWord::kL7Ok);
  record.listener = 1;
  record.unsent_bytes = 2;
  record.set_text("");
  record.started = MonotonicTime(17'345'000'000 - 3'500'000'000);
  EXPECT_EQ(AccessLog::Format(plan, record),
            "NOTICE: upstream " + plan.upstreams[0].name +
                " server a is UP: L7OK from 10.0.0.1:8008 after 0.250ms, 2 in a row; "
                "was down for 3.500s; 1 of 1 servers up");
}

TEST_F(AccessLogTest, WhatWasPushedBeforeStopIsWritten) {
  const Plan plan = APlan();
  LogRing ring;
  AccessLog log(plan, {&ring}, ends_[1]);
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
  static const Plan& plan = *new Plan(APlan());
  static LogRing& ring = *new LogRing;
  static AccessLog* const log = new AccessLog(plan, {&ring}, ends_[1]);
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

TEST(LogRingTest, KeepsTheOrderAndRefusesWhatDoesNotFit) {
  LogRing ring;
  LogRecord record;
  for (uint32_t i = 0; i < LogRing::kRecords; ++i) {
    record.id = i;
    ASSERT_TRUE(ring.Push(record));
  }
  EXPECT_FALSE(ring.Push(record));
  for (uint32_t i = 0; i < LogRing::kRecords; ++i) {
    ASSERT_TRUE(ring.Pop(record));
    ASSERT_EQ(record.id, i);
  }
  EXPECT_FALSE(ring.Pop(record));
}

TEST(LogRingTest, OneThreadWritesAndOneReads) {
  LogRing ring;
  constexpr uint64_t kRecords = 100000;
  std::thread writer([&ring] {
    LogRecord record;
    for (uint64_t i = 0; i < kRecords;) {
      record.id = record.bytes_up = i;
      if (ring.Push(record)) {
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
    ASSERT_EQ(record.id, i);
    ASSERT_EQ(record.bytes_up, i) << "a record was read before it was written whole";
    ++i;
  }
  writer.join();
}

}  // namespace
}  // namespace parkway
