#include "proxy/observe/log_format.h"

#include <cerrno>
#include <string>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "proxy/observe/termination_state.h"

namespace parkway {
namespace {

Plan APlan() {
  Plan plan;
  plan.Add(ListenerPlan{.name = "web"});
  UpstreamPlan app;
  app.name = "app";
  ServerPlan& server = app.servers.emplace_back();
  server.name = "a";
  server.address = Address::Ipv4({10, 0, 0, 1}, 80);
  server.health.probe.address = Address::Ipv4({10, 0, 0, 1}, 8008);
  plan.Add(app);
  return plan;
}

ClosedRecord AClosed() {
  ClosedRecord record;
  record.id = 7;
  record.generation = 3;
  record.phase = EndPhase::kRelaying;
  record.cause = CloseCause::kServerFin;
  record.first_closer = FirstCloser::kServer;
  record.attempts = 2;
  record.client = PackedAddress(Address::Ipv4({192, 0, 2, 1}, 4711));
  record.bytes_up = 79;
  record.bytes_down = 853;
  record.unsent_bytes = 3;
  record.started = MonotonicTime(1'000'000'000);
  record.ended = MonotonicTime(1'012'400'000);
  record.connected_us = 2'100;
  record.first_byte_us = 4'500;
  record.process_connections = 9;
  record.listener_connections = 8;
  record.upstream_connections = 7;
  record.server_connections = 6;
  return record;
}

std::string Text(const ClosedRecord& record, LogFormat format) {
  const Plan plan = APlan();
  // 2026-11-27 03:20:25.584 UTC, a second after the connection began.
  const LogFormatter formatter(plan, MonotonicTime(2'000'000'000),
                               absl::FromUnixMicros(1'795'749'626'584'000));
  std::string line;
  formatter.Append(record, 5, format, line);
  return line;
}

std::string Event(const LogRecord& record) {
  const Plan plan = APlan();
  std::string line;
  LogFormatter(plan, MonotonicTime(), absl::UnixEpoch()).AppendEvent(record, line);
  return line;
}

TEST(LogFormatTest, ALineSaysWhoWhereHowMuchHowLongAndWhy) {
  EXPECT_EQ(Text(AClosed(), LogFormat::kKeyValue),
            "client=192.0.2.1:4711 listener=web upstream=app server=10.0.0.1:80 bytes_in=79 "
            "bytes_out=853 duration=0.012s cause=server_fin attempts=2 unsent=3 "
            "first_byte=4.500ms");
  ClosedRecord refused;
  refused.cause = CloseCause::kDenied;
  refused.upstream = UINT16_MAX;
  refused.client = PackedAddress(Address::Ipv4({192, 0, 2, 1}, 4711));
  EXPECT_EQ(Text(refused, LogFormat::kKeyValue),
            "client=192.0.2.1:4711 listener=web upstream=- server=- bytes_in=0 bytes_out=0 "
            "duration=0.000s cause=denied attempts=0 unsent=0");
}

TEST(LogFormatTest, WhoWasSlowIsSaidWhereItIsKnown) {
  ClosedRecord record = AClosed();
  record.limited_by = LimitedBy::kClientWindow;
  record.client_tcp = {.known = true, .rtt_us = 1'250, .retransmits = 4};
  EXPECT_TRUE(Text(record, LogFormat::kKeyValue)
                  .ends_with(" limited_by=client_window client_rtt=1.250ms client_retrans=4"));
  EXPECT_NE(Text(record, LogFormat::kTcplog).find(" limited_by=client_window "), std::string::npos);
}

TEST(LogFormatTest, TcplogHasTheFieldsOfHaproxyInTheirOrder) {
  EXPECT_EQ(Text(AClosed(), LogFormat::kTcplog).substr(0, 14), "192.0.2.1:4711");
  const std::string line = Text(AClosed(), LogFormat::kTcplog);
  EXPECT_EQ(line.substr(line.find("] ") + 2),
            "web app/a 0/2/12 853 -- 9/8/7/6/1 0/0 cause=server_fin bytes_in=79 unsent=3 "
            "first_byte=4.500ms conn_id=7 thread=5 generation=3");
  ClosedRecord waited = AClosed();
  waited.phase = EndPhase::kQueued;
  waited.cause = CloseCause::kQueueTimeout;
  waited.attempts = 0;
  waited.queue_place = 4;
  waited.queued_us = 10'300;
  waited.connected_us = waited.first_byte_us = -1;
  const std::string left = Text(waited, LogFormat::kTcplog);
  EXPECT_EQ(left.substr(left.find("] ") + 2, left.find(" cause") - left.find("] ") - 2),
            "web app/<NOSRV> 10/-1/12 853 sQ 9/8/7/6/0 0/4");
}

TEST(LogFormatTest, AnIpv6ClientHasNoBracketsThereAsHaproxyHasIt) {
  ClosedRecord record = AClosed();
  record.client = PackedAddress(Address::Ipv6({0x20, 0x01, 0x0d, 0xb8}, 4711));
  EXPECT_TRUE(Text(record, LogFormat::kTcplog).starts_with("2001:db8:::4711 ["));
}

TEST(LogFormatTest, TheTerminationStateSaysWhoAndWhen) {
  const auto state = [](CloseCause cause, EndPhase phase, FirstCloser first) {
    ClosedRecord record;
    record.cause = cause;
    record.phase = phase;
    record.first_closer = first;
    return TerminationState(record);
  };
  using enum CloseCause;
  using enum EndPhase;
  const FirstCloser client = FirstCloser::kClient, server = FirstCloser::kServer,
                    proxy = FirstCloser::kProxy;
  EXPECT_EQ(state(kClientFin, kRelaying, client), "--");
  EXPECT_EQ(state(kServerFin, kRelaying, server), "--");
  EXPECT_EQ(state(kClientFin, kQueued, client), "CQ");
  EXPECT_EQ(state(kClientRst, kRelaying, client), "CD");
  EXPECT_EQ(state(kClientRst, kConnecting, client), "CC");
  EXPECT_EQ(state(kServerRst, kRelaying, server), "SD");
  EXPECT_EQ(state(kIdle, kRelaying, proxy), "cD");
  EXPECT_EQ(state(kClientTimeout, kRelaying, proxy), "cD");
  EXPECT_EQ(state(kServerTimeout, kRelaying, proxy), "sD");
  EXPECT_EQ(state(kHalfCloseTimeout, kRelaying, client), "sD");
  EXPECT_EQ(state(kHalfCloseTimeout, kRelaying, server), "cD");
  EXPECT_EQ(state(kConnectRefused, kConnecting, server), "SC");
  EXPECT_EQ(state(kConnectTimeout, kConnecting, proxy), "sC");
  EXPECT_EQ(state(kNoServer, kReceiving, proxy), "SC");
  EXPECT_EQ(state(kQueueTimeout, kQueued, proxy), "sQ");
  EXPECT_EQ(state(kLocalPortExhausted, kConnecting, proxy), "RC");
  EXPECT_EQ(state(kServerDown, kRelaying, proxy), "DD");
  EXPECT_EQ(state(kPrimaryBack, kRelaying, proxy), "UD");
  EXPECT_EQ(state(kAdminKill, kRelaying, proxy), "KD");
  EXPECT_EQ(state(kDenied, kReceiving, proxy), "PR");
}

TEST(LogFormatTest, JsonHasOneKeyForEachFact) {
  ClosedRecord record = AClosed();
  record.local = PackedAddress(Address::Ipv4({10, 9, 9, 9}, 443));
  record.sni = decltype(record.sni)("example.org");
  record.server_tcp = {.known = true, .rtt_us = 80, .min_rtt_us = 60, .rwnd_limited_us = 2'000};
  EXPECT_EQ(
      Text(record, LogFormat::kJson),
      R"({"ts":"2026-11-27T03:20:25.596400Z","event":"close","conn_id":"7","listener":"web",)"
      R"("client_addr":"192.0.2.1","client_port":4711,"local_addr":"10.9.9.9:443",)"
      R"("sni":"example.org","upstream":"app","server":"a","server_addr":"10.0.0.1:80",)"
      R"("attempts":2,"queue_ms":0.000,"connect_ms":2.100,"first_byte_ms":4.500,)"
      R"("duration_ms":12.400,"bytes_in":79,"bytes_out":853,"spliced_bytes":0,)"
      R"("cause":"server_fin","ha_state":"--","first_closer":"server","unsent_bytes":3,)"
      R"("server_rtt_us":80,"server_min_rtt_us":60,"server_retrans":0,)"
      R"("server_rwnd_limited_ms":2,"actconn":9,"feconn":8,"beconn":7,"srvconn":6,"retries":1,)"
      R"("backend_queue":0,"thread":5,"config_generation":3})");
  ClosedRecord never = AClosed();
  never.connected_us = never.first_byte_us = -1;
  never.sni = decltype(never.sni)("a\"b\\c\n\x01");
  const std::string line = Text(never, LogFormat::kJson);
  EXPECT_NE(line.find(R"("connect_ms":null,"first_byte_ms":null)"), std::string::npos);
  EXPECT_NE(line.find(R"("sni":"a\"b\\c\n\u0001")"), std::string::npos);
}

TEST(LogFormatTest, WhatIsNoUtf8IsNoneInJsonEither) {
  ClosedRecord record = AClosed();
  record.alpn = decltype(record.alpn)("h2,\xfa\xfa,caf\xc3\xa9");
  const std::string line = Text(record, LogFormat::kJson);
  EXPECT_NE(line.find("\"alpn\":\"h2,\xef\xbf\xbd\xef\xbf\xbd,caf\xc3\xa9\""), std::string::npos)
      << line;
}

TEST(LogFormatTest, TroubleWithAListenerNamesItTheReasonAndWhatHappensNow) {
  EXPECT_EQ(Event({.what = AcceptTroubleRecord{.listener = 0, .error = EMFILE}}),
            "listener web: accept: Too many open files; paused, the backlog queues");
}

TEST(LogFormatTest, WhatDryRunLetsPassIsTold) {
  const WouldRefuseRecord record = {.listener = 0,
                                    .cause = CloseCause::kLimitSource,
                                    .client = PackedAddress(Address::Ipv4({192, 0, 2, 1}, 4711))};
  EXPECT_EQ(Event({.what = record}),
            "listener web: dry_run: client 192.0.2.1:4711 would end with cause=limit_source");
}

TEST(LogFormatTest, AServerThatGoesIsToldWithTheCauseAndHowLongItWasThere) {
  HealthRecord record;
  record.word = HealthWord::kL4Con;
  record.error = ECONNREFUSED;
  record.in_a_row = 3;
  record.took_ns = 250'000;
  record.since = MonotonicTime(5'000'000'000);
  record.when = MonotonicTime(17'345'000'000);
  EXPECT_EQ(Event({.what = record}),
            "WARNING: upstream app server a is DOWN: L4CON (Connection refused) from "
            "10.0.0.1:8008 after 0.250ms, 3 in a row; was up for 12.345s; 0 of 1 servers up");
  record.word = HealthWord::kL7Rsp;
  record.error = 0;
  record.since = MonotonicTime();
  record.answer = decltype(record.answer)("-LOADING\r\nand much more");
  EXPECT_EQ(Event({.what = record}),
            "WARNING: upstream app server a is DOWN: L7RSP \"-LOADING\\r\\nand mu\" from "
            "10.0.0.1:8008 after 0.250ms, 3 in a row; was up by assumption; 0 of 1 servers up");
  record.up = true;
  record.word = HealthWord::kL7Ok;
  record.servers_up = 1;
  record.in_a_row = 2;
  record.answer = decltype(record.answer)();
  record.since = MonotonicTime(17'345'000'000 - 3'500'000'000);
  EXPECT_EQ(Event({.what = record}),
            "NOTICE: upstream app server a is UP: L7OK from 10.0.0.1:8008 after 0.250ms, 2 in a "
            "row; was down for 3.500s; 1 of 1 servers up");
}

TEST(LogFormatTest, AConnectionThatGoesOnIsAnObjectOfWhatIsKnown) {
  const Plan plan = APlan();
  const LogFormatter formatter(plan, MonotonicTime(2'000'000'000),
                               absl::FromUnixMicros(1'795'749'626'584'000));
  StageRecord record;
  record.id = 7;
  record.generation = 3;
  record.client = PackedAddress(Address::Ipv4({192, 0, 2, 1}, 4711));
  record.started = record.when = MonotonicTime(1'000'000'000);
  std::string line;
  formatter.Append(record, 5, line);
  EXPECT_EQ(line, R"({"ts":"2026-11-27T03:20:25.584000Z","event":"open","conn_id":"7",)"
                  R"("listener":"web","client_addr":"192.0.2.1","client_port":4711,"thread":5,)"
                  R"("config_generation":3})");
  record.what = StageRecord::What::kProgress;
  record.attempts = 1;
  record.when = MonotonicTime(1'060'000'000);
  record.queued_us = 100;
  record.connected_us = 2'100;
  record.bytes_up = 79;
  record.bytes_down = 853;
  line.clear();
  formatter.Append(record, 5, line);
  EXPECT_EQ(line,
            R"({"ts":"2026-11-27T03:20:25.644000Z","event":"progress","conn_id":"7",)"
            R"("listener":"web","client_addr":"192.0.2.1","client_port":4711,"upstream":"app",)"
            R"("server":"a","server_addr":"10.0.0.1:80","attempts":1,"queue_ms":0.100,)"
            R"("connect_ms":2.000,"duration_ms":60.000,"bytes_in":79,"bytes_out":853,"thread":5,)"
            R"("config_generation":3})");
}

TEST(LogFormatTest, EntriesOfTheJournalHaveFieldsOfTheirOwn) {
  const Plan plan = APlan();
  const LogFormatter formatter(plan, MonotonicTime(), absl::UnixEpoch());
  const auto fields = [&](const LogRecord& record) {
    JournalEntry entry("");
    const size_t before = entry.bytes().size();
    formatter.AddJournalFields(record, entry);
    return entry.bytes().substr(before);
  };
  EXPECT_EQ(fields({.what = AClosed()}),
            "L4_CONN_ID=7\nL4_LISTENER=web\nL4_SERVER=app/a\nL4_CAUSE=server_fin\n");
  ClosedRecord nobody = AClosed();
  nobody.attempts = 0;
  nobody.cause = CloseCause::kNoServer;
  EXPECT_EQ(fields({.what = nobody}), "L4_CONN_ID=7\nL4_LISTENER=web\nL4_CAUSE=no_server\n");
  EXPECT_EQ(fields({.what = HealthRecord{}}), "L4_SERVER=app/a\n");
  EXPECT_EQ(fields({.what = AcceptTroubleRecord{}}), "L4_LISTENER=web\n");
}

}  // namespace
}  // namespace parkway
