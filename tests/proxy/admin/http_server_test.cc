// The HTTP server's own thread, with real sockets. What it answers is told by tests/system.
#include "proxy/admin/http_server.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "gtest/gtest.h"
#include "poller/address.h"
#include "proxy/inbound/access_list.h"
#include "tests/poller/no_descriptors.h"

namespace parkway {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// What this process has had of a processor.
microseconds Used() {
  rusage usage;
  EXPECT_EQ(getrusage(RUSAGE_SELF, &usage), 0);
  const auto of = [](const timeval& time) {
    return std::chrono::seconds(time.tv_sec) + microseconds(time.tv_usec);
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

std::string Get(int fd, const std::string& path) {
  const std::string request = "GET " + path + " HTTP/1.1\r\nHost: here\r\n\r\n";
  EXPECT_EQ(send(fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
  char bytes[1024];
  const ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
  return std::string(bytes, static_cast<size_t>(std::max<ssize_t>(got, 0)));
}

TEST(HttpServerTest, OutOfDescriptorsItSleepsAndLetsTheClientInLater) {
  HttpServer server({.address = Address::Ipv4({127, 0, 0, 1}, 0), .allowed = {}},
                    [](bool, auto) {});
  ASSERT_EQ(server.Start(), "");
  const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  std::optional<NoDescriptors> none(std::in_place);
  EXPECT_EQ(connect(client, server.address().data(), server.address().size()), 0);
  const microseconds used = Used();
  std::this_thread::sleep_for(milliseconds(500));
  EXPECT_LT(Used() - used, milliseconds(50)) << "it spins";
  none.reset();
  EXPECT_TRUE(Get(client, "/").starts_with("HTTP/1.1 200"));
  close(client);
  server.Stop();
}

}  // namespace
}  // namespace parkway
