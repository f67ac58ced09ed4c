// The echo server in a thread of its own, spoken to over TCP and over a unix socket.
#include "tests/poller/echo_server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "poller/address.h"
#include "poller/listener.h"
#include "poller/scheduler.h"

namespace parkway {
namespace {

class EchoServerTest : public testing::TestWithParam<bool> {
 protected:
  EchoServerTest() {
    const Address wanted = GetParam()
                               ? Address::UnixAbstract("parkway-echo-" + std::to_string(getpid()))
                               : Address::Ipv4({127, 0, 0, 1}, 0);
    const int fd = OpenListenSocket(wanted, {}, &address_);
    EXPECT_GE(fd, 0);
    thread_ = std::thread([this, fd] { ServeEcho(scheduler_, fd); });
  }
  ~EchoServerTest() override {
    scheduler_.Stop();
    thread_.join();
    EXPECT_EQ(scheduler_.parked(), 0u);
    EXPECT_EQ(scheduler_.netpoll().cache().in_use(), 0u);
  }

  int Connect() {
    const int fd = socket(address_.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(connect(fd, address_.data(), address_.size()), 0);
    return fd;
  }
  static std::string ReadAll(int fd) {
    std::string all;
    std::string bytes(65536, 0);
    for (ssize_t n; (n = recv(fd, bytes.data(), bytes.size(), 0)) > 0;) {
      all.append(bytes.data(), static_cast<size_t>(n));
    }
    return all;
  }

  Scheduler scheduler_{{}, nullptr};
  Address address_;
  std::thread thread_;
};

TEST_P(EchoServerTest, GivesBackWhatItIsToldAndEndsWhenThePeerDoes) {
  const int fd = Connect();
  for (const std::string word : {"one", "two"}) {
    ASSERT_EQ(send(fd, word.data(), word.size(), 0), static_cast<ssize_t>(word.size()));
    std::string answer(word.size(), 0);
    ASSERT_EQ(recv(fd, answer.data(), answer.size(), MSG_WAITALL),
              static_cast<ssize_t>(word.size()));
    EXPECT_EQ(answer, word);
  }
  shutdown(fd, SHUT_WR);
  EXPECT_EQ(ReadAll(fd), "");
  close(fd);
}

TEST_P(EchoServerTest, SendsMegabytesThroughManyConnectionsAtOnce) {
  constexpr int kConnections = 8;
  std::string much(2 << 20, 0);
  for (size_t i = 0; i < much.size(); ++i) much[i] = static_cast<char>(i * 131 >> 7);
  std::vector<std::thread> clients;
  for (int i = 0; i < kConnections; ++i) {
    clients.emplace_back([&] {
      const int fd = Connect();
      std::thread sender([&] {
        size_t sent = 0;
        while (sent < much.size()) {
          const ssize_t n = send(fd, much.data() + sent, much.size() - sent, MSG_NOSIGNAL);
          ASSERT_GT(n, 0);
          sent += static_cast<size_t>(n);
        }
        shutdown(fd, SHUT_WR);
      });
      EXPECT_TRUE(ReadAll(fd) == much);
      sender.join();
      close(fd);
    });
  }
  for (std::thread& client : clients) client.join();
}

INSTANTIATE_TEST_SUITE_P(OverTcpAndUnix, EchoServerTest, testing::Bool(),
                         [](const testing::TestParamInfo<bool>& info) {
                           return std::string(info.param ? "Unix" : "Tcp");
                         });

}  // namespace
}  // namespace parkway
