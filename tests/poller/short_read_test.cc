// What a read that returned less than it asked for means, by what the events have said before it:
// on real connections, because it is the kernel's word that is believed.
#include <signal.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>

#include "gtest/gtest.h"
#include "poller/netpoll.h"
#include "poller/socket.h"
#include "tests/poller/engine.h"

namespace parkway {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

class ShortReadTest : public testing::Test {
 protected:
  ShortReadTest() {
    signal(SIGPIPE, SIG_IGN);
    int error = 0;
    desc_ = poll_.Open(pair_.near(), nullptr, &error);
    EXPECT_EQ(error, 0);
    Poll(0);  // that it is writable
  }
  ~ShortReadTest() override {
    desc_->Evict(desc_->fdseq());
    poll_.Close(*desc_);
  }

  void Poll(int64_t timeout_ns) {
    Netpoll::Polled polled;
    poll_.Poll(timeout_ns, polled);
  }
  void Say(const std::string& text, int flags = 0) {
    ASSERT_EQ(send(pair_.far(), text.data(), text.size(), flags),
              static_cast<ssize_t>(text.size()));
  }
  IoResult Read() {
    char bytes[100];
    const IoResult result = TryRead(*desc_, bytes, sizeof(bytes));
    got_.append(bytes, result.bytes);
    return result;
  }

  Netpoll poll_{nullptr};
  TcpPair pair_{/*inline_urgent=*/true};
  PollDesc* desc_ = nullptr;
  std::string got_;
};

TEST_F(ShortReadTest, HasEmptiedTheQueueAndTheNextBytesMakeAnEdge) {
  Say("bytes");
  Poll(kSecond);
  const IoResult result = Read();
  EXPECT_EQ(result.bytes, 5u);
  EXPECT_TRUE(result.drained);
  EXPECT_FALSE(result.end);
  EXPECT_TRUE(desc_->BlockBegin(Direction::kRead)) << "what was latched before the read";
  Say("more");
  Poll(kSecond);
  EXPECT_TRUE(desc_->BlockBegin(Direction::kRead));
}

TEST_F(ShortReadTest, AfterAFinWasReportedReachedTheEnd) {
  Say("last");
  ASSERT_EQ(shutdown(pair_.far(), SHUT_WR), 0);
  Poll(kSecond);
  ASSERT_NE(desc_->edge_bits() & PollDesc::kHangup, 0);
  const IoResult result = Read();
  EXPECT_EQ(got_, "last");
  EXPECT_FALSE(result.drained) << "no edge will come";
  EXPECT_TRUE(result.end);
}

TEST_F(ShortReadTest, AtAnUrgentMarkHasEmptiedNothing) {
  Say("ab");
  Say("U", MSG_OOB);
  Say("cd");
  Poll(kSecond);
  ASSERT_NE(desc_->edge_bits() & PollDesc::kUrgent, 0);
  IoResult result = Read();
  ASSERT_EQ(got_, "ab") << "recv stops at the mark";
  EXPECT_FALSE(result.drained) << "no edge will come for what is behind the mark";
  for (int i = 0; i < 5 && !result.would_block(); ++i) result = Read();
  EXPECT_EQ(got_, "abUcd");
  EXPECT_TRUE(result.drained);
  EXPECT_EQ(desc_->edge_bits() & PollDesc::kUrgent, 0) << "read until nothing was left";
}

TEST_F(ShortReadTest, AtAnUrgentMarkIsNotTheEndThoughTheFinHasCome) {
  Say("ab");
  Say("U", MSG_OOB);
  Say("cd");
  ASSERT_EQ(shutdown(pair_.far(), SHUT_WR), 0);
  Poll(kSecond);
  const IoResult first = Read();
  ASSERT_EQ(got_, "ab");
  EXPECT_FALSE(first.end);
  EXPECT_FALSE(first.drained);
  bool end = false;
  for (int i = 0; i < 5 && !end; ++i) end = Read().end;
  EXPECT_TRUE(end);
  EXPECT_EQ(got_, "abUcd");
}

TEST_F(ShortReadTest, BeforeAnErrorIsNeitherDrainedNorTheEnd) {
  Say("last");
  pair_.ResetFar();
  Poll(kSecond);
  const IoResult first = Read();
  EXPECT_EQ(got_, "last");
  EXPECT_FALSE(first.drained);
  EXPECT_FALSE(first.end);
  EXPECT_EQ(Read().error, ECONNRESET);
}

TEST_F(ShortReadTest, OfNothingAfterAnotherCallTookTheErrorIsAReset) {
  pair_.ResetFar();
  Poll(kSecond);
  ASSERT_NE(desc_->edge_bits() & PollDesc::kError, 0);
  EXPECT_EQ(TryWrite(*desc_, "x", 1).error, ECONNRESET);
  char byte;
  ASSERT_EQ(recv(pair_.near(), &byte, 1, 0), 0) << "what the kernel says now";
  const IoResult result = Read();
  EXPECT_EQ(result.error, ECONNRESET);
  EXPECT_FALSE(result.end);
}

}  // namespace
}  // namespace parkway
