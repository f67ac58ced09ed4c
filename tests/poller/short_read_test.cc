// What a read that returned less than it asked for means, by what the events have said before it:
// on real connections, because it is the kernel's word that is believed.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "gtest/gtest.h"
#include "poller/netpoll.h"
#include "poller/socket.h"

namespace parkway {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

class ShortReadTest : public testing::Test {
 protected:
  ShortReadTest() {
    signal(SIGPIPE, SIG_IGN);
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    auto* any = reinterpret_cast<sockaddr*>(&address);
    const int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
    EXPECT_EQ(bind(listener, any, length), 0);
    EXPECT_EQ(listen(listener, 1), 0);
    EXPECT_EQ(getsockname(listener, any, &length), 0);
    far_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(connect(far_, any, length), 0);
    near_ = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    close(listener);
    int error = 0;
    desc_ = poll_.Open(near_, nullptr, &error);
    EXPECT_EQ(error, 0);
    Poll(0);  // that it is writable
  }
  ~ShortReadTest() override {
    desc_->Evict(desc_->fdseq());
    poll_.Close(*desc_);
    close(near_);
    if (far_ >= 0) close(far_);
  }

  void Poll(int64_t timeout_ns) {
    Netpoll::Polled polled;
    poll_.Poll(timeout_ns, polled);
  }
  void Say(const std::string& text, int flags = 0) {
    ASSERT_EQ(send(far_, text.data(), text.size(), flags), static_cast<ssize_t>(text.size()));
  }
  void Reset() {
    const linger now = {1, 0};
    ASSERT_EQ(setsockopt(far_, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    close(far_);
    far_ = -1;
  }
  IoResult Read() {
    char bytes[100];
    const IoResult result = TryRead(*desc_, bytes, sizeof(bytes));
    got_.append(bytes, result.bytes);
    return result;
  }

  Netpoll poll_{nullptr};
  int near_ = -1;
  int far_ = -1;
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
  ASSERT_EQ(shutdown(far_, SHUT_WR), 0);
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
  ASSERT_EQ(shutdown(far_, SHUT_WR), 0);
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
  Reset();
  Poll(kSecond);
  const IoResult first = Read();
  EXPECT_EQ(got_, "last");
  EXPECT_FALSE(first.drained);
  EXPECT_FALSE(first.end);
  EXPECT_EQ(Read().error, ECONNRESET);
}

TEST_F(ShortReadTest, OfNothingAfterAnotherCallTookTheErrorIsAReset) {
  Reset();
  Poll(kSecond);
  ASSERT_NE(desc_->edge_bits() & PollDesc::kError, 0);
  EXPECT_EQ(TryWrite(*desc_, "x", 1).error, ECONNRESET);
  char byte;
  ASSERT_EQ(recv(near_, &byte, 1, 0), 0) << "what the kernel says now";
  const IoResult result = Read();
  EXPECT_EQ(result.error, ECONNRESET);
  EXPECT_FALSE(result.end);
}

}  // namespace
}  // namespace parkway
