#include "proxy/admin/conn_text.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proxy/observe/conn_row.h"

namespace parkway::admin {
namespace {

using testing::HasSubstr;

// Open for a minute, with bytes both ways, 3.2 s ago.
ConnRow Row() {
  ConnRow row;
  row.id = 7;
  row.listener = "web";
  row.upstream = "app";
  row.server = "a";
  row.has_server = true;
  row.client = PackedAddress(Address::Ipv4({10, 0, 0, 1}, 5678));
  row.attempts = 1;
  row.age_ns = 60'000'000'000;
  row.idle_ns = 3'200'000'000;
  row.bytes_up = 100;
  row.bytes_down = 5 << 20;
  for (ConnSide* side : {&row.client_side, &row.server_side}) {
    side->open = side->tcp = true;
    side->mss_bytes = 1448;
    side->window_bytes = 65536;
    side->cwnd_bytes = 14480;
    side->last_sent_ms = 3200;
    side->last_received_ms = 3200;
  }
  return row;
}

TEST(ConnTextTest, AClosedWindowIsNamedWithWhatWaitsForIt) {
  ConnRow row = Row();
  row.held_down = 64 << 10;
  row.client_side.window_bytes = 0;
  EXPECT_EQ(ExplainWay(row, true),
            "server->client blocked 3.2s: client receive window closed, 64 KiB pending");
  row.client_side.unsent_bytes = 2'621'440;
  EXPECT_EQ(ExplainWay(row, true),
            "server->client blocked 3.2s: client receive window closed, 64 KiB pending, 2.5 MiB "
            "more in the kernel");
}

TEST(ConnTextTest, OtherReasonsAreToldApart) {
  ConnRow row = Row();
  row.held_up = 100;
  ConnSide& sink = row.server_side;
  EXPECT_EQ(ExplainWay(row, false),
            "client->server blocked 3.2s: the send buffer for the server is full, 100 B pending");
  sink.unacked_bytes = 14480;
  EXPECT_THAT(ExplainWay(row, false), HasSubstr("the network is slow"));
  sink.window_bytes = 14480;
  EXPECT_THAT(ExplainWay(row, false), HasSubstr("server receive window full"));
  sink.lost = 2;
  EXPECT_THAT(ExplainWay(row, false),
              HasSubstr("2 segments lost on the way to the server, being sent again"));
  sink.tcp = false;
  EXPECT_THAT(ExplainWay(row, false), HasSubstr("blocked 3.2s: the server does not read"));
}

TEST(ConnTextTest, WhatMovesOrHasEndedIsSaidToo) {
  ConnRow row = Row();
  EXPECT_EQ(ExplainWay(row, false),
            "client->server waits for the client, which last said something 3.2s ago");
  row.bytes_up = 0;
  EXPECT_EQ(ExplainWay(row, false),
            "client->server waits for the client, which has said nothing yet");
  row.ended_down = true;
  EXPECT_EQ(ExplainWay(row, true),
            "server->client has ended after 5 MiB: the server has said all, and it was passed on");
  row.client_side.unsent_bytes = 1024;
  row.client_side.window_bytes = 0;
  EXPECT_EQ(ExplainWay(row, true),
            "server->client goes slowly: client receive window closed, nothing pending here, "
            "1 KiB more in the kernel");
  row.state = ConnRow::State::kQueued;
  EXPECT_EQ(ExplainWay(row, true),
            "server->client has not begun: it waits for a server to have room");
  row.state = ConnRow::State::kConnecting;
  EXPECT_EQ(ExplainWay(row, true), "server->client has not begun: no server is connected yet");
}

TEST(ConnTextTest, AnExplanationNamesBothEnds) {
  ConnRow row = Row();
  row.connected_after_us = 400;
  row.first_byte_after_us = 2000;
  row.client_side.peer = Address::Ipv4({192, 0, 2, 9}, 1234);  // a proxy before us
  row.client_side.local = Address::Ipv4({10, 0, 0, 2}, 443);
  row.server_side.peer = Address::Ipv4({10, 0, 0, 3}, 9000);
  row.server_side.local = Address::Ipv4({10, 0, 0, 2}, 41000);
  EXPECT_THAT(ExplainConn(row),
              testing::StartsWith(
                  "connection 7 is open, 1m0s old, idle for 3.2s, on thread 0\n"
                  "client 10.0.0.1:5678 (by 192.0.2.9:1234) to 10.0.0.2:443, listener web\n"
                  "server app/a at 10.0.0.3:9000 from 10.0.0.2:41000, connected after 0.4ms at "
                  "the first attempt, first byte after 2.0ms\n"));
}

TEST(ConnTextTest, LinesAndJsonNeedNoServerAndNoTcp) {
  ConnRow row;
  row.state = ConnRow::State::kQueued;
  EXPECT_THAT(ConnLine(row), HasSubstr("queued"));
  EXPECT_TRUE(ConnJson(row)["server_side"].is_null());
  EXPECT_TRUE(ConnJson(row)["connect_us"].is_null());
  EXPECT_THAT(ExplainConn(row), HasSubstr("connection 0 is queued"));
  EXPECT_EQ(ConnJson(Row())["client_side"]["window_bytes"], 65536);
}

}  // namespace
}  // namespace parkway::admin
