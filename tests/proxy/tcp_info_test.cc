#include "proxy/session/tcp_info.h"

#include <sys/socket.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace parkway {
namespace {

constexpr int64_t kSecond = 1'000'000;

TcpFacts Known() { return {.known = true}; }

TEST(VerdictTest, AClosedWindowIsTheReceivers) {
  TcpFacts client = Known(), server = Known();
  client.busy_us = client.rwnd_limited_us = 8 * kSecond;
  const Waits waits = {.lived_us = 10 * kSecond, .server_us = kSecond};
  EXPECT_EQ(Verdict(client, server, waits), LimitedBy::kClientWindow);
  EXPECT_EQ(Verdict(server, client, waits), LimitedBy::kServerWindow);
}

TEST(VerdictTest, WhatIsUnderWayIsTheNetworks) {
  TcpFacts client = Known();
  client.busy_us = 9 * kSecond;
  client.rwnd_limited_us = kSecond;
  EXPECT_EQ(Verdict(client, Known(), {.lived_us = 10 * kSecond}), LimitedBy::kNetwork);
}

TEST(VerdictTest, AServerThatThinksAndAClientThatDoes) {
  EXPECT_EQ(Verdict(Known(), Known(), {.lived_us = 3 * kSecond, .server_us = 2 * kSecond}),
            LimitedBy::kServerApp);
  EXPECT_EQ(Verdict(Known(), Known(), {.lived_us = 3 * kSecond, .server_us = kSecond}),
            LimitedBy::kClientApp);
}

TEST(VerdictTest, ASilenceAtTheEndIsThatOfWhoWasAsked) {
  TcpFacts asked = Known();
  asked.since_sent_ms = 5'000;
  asked.since_received_ms = 6'000;
  const Waits waits = {.lived_us = 6 * kSecond, .last_us = 5 * kSecond};
  EXPECT_EQ(Verdict(Known(), asked, waits), LimitedBy::kServerApp);
  TcpFacts answered = Known();
  answered.since_sent_ms = 6'000;
  answered.since_received_ms = 5'000;
  EXPECT_EQ(Verdict(Known(), answered, waits), LimitedBy::kClientApp);
}

TEST(VerdictTest, TokensAndBuffersAreOurs) {
  EXPECT_EQ(Verdict(Known(), Known(), {.lived_us = 3 * kSecond, .paced_us = 2 * kSecond}),
            LimitedBy::kProxy);
  TcpFacts client = Known();
  client.busy_us = client.sndbuf_limited_us = 2 * kSecond;
  EXPECT_EQ(Verdict(client, Known(), {.lived_us = 3 * kSecond}), LimitedBy::kProxy);
}

TEST(VerdictTest, ASilenceWithGapsInWhatComesIsTheNetworks) {
  TcpFacts server = Known();
  server.segments_in = 1'000;
  server.out_of_order = 20;
  EXPECT_EQ(Verdict(Known(), server, {.lived_us = 3 * kSecond, .server_us = 2 * kSecond}),
            LimitedBy::kNetwork);
  server.out_of_order = 1;
  EXPECT_EQ(Verdict(Known(), server, {.lived_us = 3 * kSecond, .server_us = 2 * kSecond}),
            LimitedBy::kServerApp)
      << "one in a thousand is no reason";
}

TEST(VerdictTest, WhatNeverLivedHasNone) {
  EXPECT_EQ(Verdict(Known(), Known(), {}), LimitedBy::kUnknown);
}

TEST(TcpFactsTest, AUnixSocketHasNone) {
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  EXPECT_FALSE(ReadTcpFacts(fds[0]).known);
  close(fds[0]);
  close(fds[1]);
}

}  // namespace
}  // namespace parkway
