// What the tests of the engine share: tasks made of a closure, descriptors without a file, pairs
// of sockets, a look into the words of a descriptor, and test points that are skipped where the
// build has none.
#ifndef TESTS_POLLER_ENGINE_H_
#define TESTS_POLLER_ENGINE_H_

#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "poller/inbox.h"
#include "poller/lock.h"
#include "poller/poll_cache.h"
#include "poller/poll_desc.h"
#include "poller/poll_info.h"
#include "poller/scheduler.h"
#include "poller/task.h"
#include "poller/test_point.h"
#include "tests/poller/connected_pair.h"

namespace parkway {

#ifdef PARKWAY_TEST_POINTS
inline constexpr bool kHaveTestPoints = true;
#else
inline constexpr bool kHaveTestPoints = false;
class TestPoints {
 public:
  static void On(const std::string&, const std::function<void()>&) {}
  static void Once(const std::string&, const std::function<void()>&) {}
  static void Clear() {}
};
#endif

// A fixture for tests that force their order at named points; the optimised build has none.
class TestPointTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!kHaveTestPoints) GTEST_SKIP() << "this build has no test points";
  }
  void TearDown() override { TestPoints::Clear(); }
};

// Looks at what a descriptor keeps to itself.
class PollDescPeer {
 public:
  static constexpr uintptr_t kNil = PollDesc::kNil;
  static constexpr uintptr_t kReady = PollDesc::kReady;
  static constexpr uintptr_t kWait = PollDesc::kWait;

  static uintptr_t Word(const PollDesc& desc, Direction direction) {
    return (direction == Direction::kRead ? desc.rg_ : desc.wg_).load();
  }
  static uint64_t Info(const PollDesc& desc) { return desc.info_.load(); }
  static uint32_t Seq(PollDesc& desc, Direction direction) {
    LeafLockGuard guard(desc.lock_);
    return direction == Direction::kRead ? desc.rseq_ : desc.wseq_;
  }
  static void SetFdseq(PollDesc& desc, uint32_t fdseq) { desc.info_ = PollInfo::Word(fdseq, 0); }
};

// A task that is a closure.
class LambdaTask final : public Task {
 public:
  using Body = std::function<Next(Scheduler&, Wake)>;

  LambdaTask() : LambdaTask([](Scheduler&, Wake) { return Next::Done(); }) {}
  explicit LambdaTask(Body body) : body_(std::move(body)) {}

  Next Run(Scheduler& scheduler, Wake wake) noexcept override {
    ++runs;
    last = wake;
    const Next next = body_(scheduler, wake);
    if (next.kind() == Next::Kind::kDone) done = true;
    return next;
  }

  int runs = 0;
  Wake last = Wake::kStart;
  bool done = false;

 private:
  const Body body_;
};

// A message that is a closure.
class LambdaMessage : public Message {
 public:
  explicit LambdaMessage(std::function<void(Scheduler&)> body) : body_(std::move(body)) {}
  void Deliver(Scheduler& scheduler) override { body_(scheduler); }

  static std::unique_ptr<Message> Make(std::function<void(Scheduler&)> body) {
    return std::make_unique<LambdaMessage>(std::move(body));
  }

 private:
  const std::function<void(Scheduler&)> body_;
};

// Two connected sockets, non-blocking; closes what is still open.
class SocketPair {
 public:
  explicit SocketPair(int type = SOCK_STREAM) {
    EXPECT_EQ(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds_), 0);
  }
  ~SocketPair() {
    CloseNear();
    CloseFar();
  }
  SocketPair(const SocketPair&) = delete;
  SocketPair& operator=(const SocketPair&) = delete;

  int near() const { return fds_[0]; }  // the engine's end
  int far() const { return fds_[1]; }   // the peer's
  void CloseNear() { CloseOne(fds_[0]); }
  void CloseFar() { CloseOne(fds_[1]); }
  // The near end belongs to somebody else now.
  int ReleaseNear() { return std::exchange(fds_[0], -1); }

  void Say(const std::string& text) const {
    EXPECT_EQ(write(far(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }

 private:
  static void CloseOne(int& fd) {
    if (fd >= 0) close(fd);
    fd = -1;
  }
  int fds_[2] = {-1, -1};
};

// Two connected TCP sockets of this machine, non-blocking; closes what is still open.
class TcpPair {
 public:
  explicit TcpPair(bool inline_urgent = false) : ends_(ConnectedPair(inline_urgent)) {}
  ~TcpPair() {
    CloseNear();
    CloseFar();
  }
  TcpPair(const TcpPair&) = delete;
  TcpPair& operator=(const TcpPair&) = delete;

  int near() const { return ends_.near; }  // the engine's end
  int far() const { return ends_.far; }    // the peer's
  void CloseNear() {
    if (ends_.near >= 0) close(std::exchange(ends_.near, -1));
  }
  void CloseFar() {
    if (ends_.far >= 0) close(std::exchange(ends_.far, -1));
  }
  int ReleaseNear() { return std::exchange(ends_.near, -1); }
  // The peer sends RST.
  void ResetFar() {
    const linger now = {.l_onoff = 1, .l_linger = 0};
    EXPECT_EQ(setsockopt(ends_.far, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    CloseFar();
  }
  void Say(const std::string& text) const {
    EXPECT_EQ(send(ends_.far, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  }

 private:
  Pair ends_;
};

// Writes to `fd` until it would block; how much that was.
inline size_t FillUp(int fd) {
  const std::string chunk(65536, 'x');
  size_t total = 0;
  for (;;) {
    const ssize_t n = send(fd, chunk.data(), chunk.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n <= 0) return total;
    total += static_cast<size_t>(n);
  }
}

// Reads from `fd` until it would block; how much that was.
inline size_t Empty(int fd) {
  std::string chunk(65536, 0);
  size_t total = 0;
  for (;;) {
    const ssize_t n = recv(fd, chunk.data(), chunk.size(), MSG_DONTWAIT);
    if (n <= 0) return total;
    total += static_cast<size_t>(n);
  }
}

// One turn that does not sleep, whatever there is.
inline void TurnWithoutSleep(Scheduler& scheduler) {
  scheduler.Post(LambdaMessage::Make([](Scheduler&) {}));
  scheduler.Turn();
}

// Turns, asleep in between, until `done` says so.
template <typename Done>
void TurnUntil(Scheduler& scheduler, Done done) {
  while (!done()) scheduler.Turn();
}

// Ends the use of a descriptor on its own thread.
inline void EndUse(Scheduler& scheduler, PollDesc& desc) {
  scheduler.Evict(desc);
  scheduler.Close(desc);
}

}  // namespace parkway

#endif  // TESTS_POLLER_ENGINE_H_
