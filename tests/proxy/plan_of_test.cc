#include "proxy/plan_of.h"

#include <sys/socket.h>

#include "config/value.h"
#include "gtest/gtest.h"

namespace parkway {
namespace {

using config::AddressUse;
using config::ParseAddress;

config::Address Of(const char* text) { return *ParseAddress(text, AddressUse::kConnects); }

config::Snapshot Simple(const char* listen, const char* server) {
  config::Snapshot snapshot;
  snapshot.scalars = config::DefaultScalars();
  snapshot.listeners.push_back(
      {"web", {*ParseAddress(listen, AddressUse::kListens)}, 0, config::DefaultScalars()});
  snapshot.upstreams.push_back(
      {"app", {{server, Of(server), config::DefaultScalars()}}, config::DefaultScalars()});
  return snapshot;
}

TEST(PlanOfTest, APortAloneIsBothFamiliesOrIpv4WhereThereIsNoIpv6) {
  const config::Address any = *ParseAddress(":8080", AddressUse::kListens);
  EXPECT_EQ(AddressOf(any, /*ipv6=*/true).family(), AF_INET6);
  EXPECT_EQ(AddressOf(any, /*ipv6=*/false).family(), AF_INET);
  EXPECT_EQ(AddressOf(any, true).port(), 8080);
  EXPECT_TRUE(AddressOf(any, true).is_any());
}

TEST(PlanOfTest, EveryKindOfAddressKeepsItsText) {
  for (const char* text :
       {"10.1.2.3:80", "[2001:db8::1]:443", "unix:/run/x.sock", "unix:@name", "127.0.0.1:65535"}) {
    EXPECT_EQ(AddressOf(Of(text), true).ToString(), text);
  }
}

TEST(PlanOfTest, EachAddressOfAListenerIsListenedOnUnderItsName) {
  config::Snapshot snapshot = Simple(":80", "10.0.0.1:80");
  snapshot.listeners[0].addresses.push_back(*ParseAddress("unix:@web", AddressUse::kListens));
  const Plan plan = PlanOf(snapshot, {}, {32768, 60999});
  ASSERT_EQ(plan.listeners.size(), 2u);
  EXPECT_EQ(plan.listeners[0]->name, "web");
  EXPECT_EQ(plan.listeners[1]->name, "web");
  EXPECT_TRUE(plan.listeners[1]->address.is_unix());
}

TEST(PlanOfTest, WhatTheKeysSayOfBalancingReachesThePlan) {
  config::Snapshot snapshot = Simple(":80", "10.0.0.1:80");
  config::Scalars& upstream = snapshot.upstreams[0].settings;
  upstream.balance = config::Balance::kLeastTime;
  upstream.all_down = config::AllDown::kHold;
  upstream.hash_balance_factor = 125;
  upstream.panic_threshold = 30;
  upstream.max_ejection_percent = 40;
  upstream.queue_max = 5;
  upstream.queue_timeout = absl::Seconds(6);
  upstream.connect_attempts = 7;
  config::Scalars& server = snapshot.upstreams[0].servers[0].settings;
  server.weight = 8;
  server.priority = 0;
  server.backup = true;
  server.max_conns = 9;
  server.state = config::ServerState::kDrain;
  server.slow_start = absl::Seconds(10);
  server.passive_fails = 11;
  server.ejection_time = absl::Seconds(12);
  server.source = {*config::ParseIp("::1"), *config::ParseIp("10.9.9.9")};
  const Plan plan = PlanOf(snapshot, {}, {});
  const UpstreamPlan& app = *plan.upstreams[0];
  EXPECT_EQ(app.balance, Balance::kLeastTime);
  EXPECT_EQ(app.all_down, AllDown::kHold);
  EXPECT_EQ(app.hash_balance_percent, 125u);
  EXPECT_EQ(app.panic_percent, 30u);
  EXPECT_EQ(app.max_ejection_percent, 40u);
  EXPECT_EQ(app.queue_max, 5u);
  EXPECT_EQ(app.queue_timeout, absl::Seconds(6));
  EXPECT_EQ(app.connect_attempts, 7);
  const ServerPlan& one = app.servers[0];
  EXPECT_EQ(one.weight, 8u);
  EXPECT_EQ(one.priority, 1u);
  EXPECT_EQ(one.max_conns, 9u);
  EXPECT_EQ(one.state, ServerState::kDrain);
  EXPECT_EQ(one.slow_start, absl::Seconds(10));
  EXPECT_EQ(one.passive_fails, 11u);
  EXPECT_EQ(one.ejection_time, absl::Seconds(12));
  ASSERT_EQ(one.sources.size(), 1u) << "those of the server's family";
  EXPECT_EQ(one.sources[0].ToString(), "10.9.9.9:0");
}

TEST(PlanOfTest, AServerIsLocalIfItIsReachedWithoutLeavingTheMachine) {
  config::SystemFacts facts;
  facts.own_addresses = {Of("192.0.2.7:1")};
  const auto local = [&facts](const char* server) {
    return PlanOf(Simple(":80", server), facts, {}).upstreams[0]->servers[0].local;
  };
  EXPECT_TRUE(local("127.0.0.1:9000"));
  EXPECT_TRUE(local("[::1]:9000"));
  EXPECT_TRUE(local("unix:/run/x.sock"));
  EXPECT_TRUE(local("192.0.2.7:9000"));
  EXPECT_TRUE(local("[::ffff:192.0.2.7]:9000"));
  EXPECT_TRUE(local("0.0.0.0:9000"));
  EXPECT_TRUE(local("[::]:9000"));
  EXPECT_FALSE(local("192.0.2.8:9000"));
  EXPECT_FALSE(local("[2001:db8::1]:9000"));
}

TEST(PlanOfTest, OnlyALocalPortThatTheKernelMightChooseCanConnectToItself) {
  const auto may = [](const char* server) {
    return PlanOf(Simple(":80", server), {}, {32768, 60999})
        .upstreams[0]
        ->servers[0]
        .may_connect_to_itself;
  };
  EXPECT_TRUE(may("127.0.0.1:32768"));
  EXPECT_TRUE(may("[::1]:60999"));
  EXPECT_FALSE(may("127.0.0.1:32767"));
  EXPECT_FALSE(may("127.0.0.1:61000"));
  EXPECT_FALSE(may("10.0.0.1:40000"));
  EXPECT_FALSE(may("unix:/run/x.sock"));
}

TEST(PlanOfTest, TimesAndLimitsAreTheSnapshots) {
  config::Snapshot snapshot = Simple(":80", "10.0.0.1:80");
  config::Scalars& listen = snapshot.listeners[0].settings;
  listen.idle_timeout = absl::Minutes(2);
  listen.half_close_timeout = absl::ZeroDuration();
  listen.backlog = 17;
  snapshot.upstreams[0].servers[0].settings.connect_timeout = absl::Milliseconds(250);
  snapshot.scalars.access_log.kind = config::LogSink::Kind::kOff;
  snapshot.max_connections = 123;
  const Plan plan = PlanOf(snapshot, {}, {});
  EXPECT_EQ(plan.listeners[0]->times.idle_ns, 120'000'000'000);
  EXPECT_EQ(plan.listeners[0]->times.half_close_ns, 0);
  EXPECT_EQ(plan.listeners[0]->times.delayed_close_ns, 1'000'000'000);
  EXPECT_EQ(plan.listeners[0]->backlog, 17);
  EXPECT_EQ(plan.upstreams[0]->servers[0].connect_timeout, absl::Milliseconds(250));
  EXPECT_EQ(plan.max_connections, 123u);
  EXPECT_FALSE(plan.log.on());
}

TEST(PlanOfTest, AServerMayTakeThePortThatTheClientCameTo) {
  config::Snapshot snapshot = Simple(":80", "10.0.0.1:+7");
  const Plan plan = PlanOf(snapshot, {}, {});
  EXPECT_EQ(TargetOf(plan.upstreams[0]->servers[0], *plan.listeners[0]).ToString(), "10.0.0.1:87");
  const Plan fixed = PlanOf(Simple(":80", "10.0.0.1:7"), {}, {});
  EXPECT_EQ(TargetOf(fixed.upstreams[0]->servers[0], *fixed.listeners[0]).ToString(), "10.0.0.1:7");
  EXPECT_TRUE(
      PlanOf(Simple(":80", "127.0.0.1"), {}, {}).upstreams[0]->servers[0].may_connect_to_itself);
}

TEST(PlanOfTest, AListenerForIpv6AloneIsThatWhateverTheMachineHas) {
  config::Snapshot snapshot = Simple(":80", "10.0.0.1:7");
  snapshot.listeners[0].settings.v6only = true;
  config::SystemFacts facts;
  facts.ipv6 = false;
  const Plan plan = PlanOf(snapshot, facts, {});
  EXPECT_EQ(plan.listeners[0]->address.ToString(), "[::]:80");
  EXPECT_TRUE(plan.listeners[0]->v6only);
}

TEST(PlanOfTest, EachLineHasItsOwnSettings) {
  config::Snapshot snapshot = Simple(":80", "10.0.0.1:80");
  snapshot.listeners.push_back(snapshot.listeners[0]);
  snapshot.listeners[1].settings.splice = config::Splice::kOff;
  snapshot.listeners[1].settings.rcvbuf = 8192;
  std::vector<config::Server>& servers = snapshot.upstreams[0].servers;
  servers.push_back(servers[0]);
  servers[1].settings.connect_timeout = absl::Seconds(1);
  servers[1].settings.congestion = "reno";
  const Plan plan = PlanOf(snapshot, {}, {});
  EXPECT_EQ(plan.listeners[0]->splice, SpliceUse::kBulk);
  EXPECT_EQ(plan.listeners[1]->splice, SpliceUse::kNever);
  EXPECT_FALSE(plan.listeners[0]->sockets.any());
  EXPECT_EQ(plan.listeners[1]->sockets.receive_buffer_bytes, 8192u);
  EXPECT_EQ(plan.upstreams[0]->servers[0].connect_timeout, absl::Seconds(5));
  EXPECT_EQ(plan.upstreams[0]->servers[1].connect_timeout, absl::Seconds(1));
  EXPECT_FALSE(plan.upstreams[0]->servers[0].sockets.any());
  EXPECT_EQ(plan.upstreams[0]->servers[1].sockets.congestion, "reno");
}

TEST(FactsTest, AQuotaIsPercentOfOneCpuRoundedUp) {
  EXPECT_EQ(PercentOfQuota("max 100000\n"), 0u);
  EXPECT_EQ(PercentOfQuota("200000 100000\n"), 200u);
  EXPECT_EQ(PercentOfQuota("150000 100000"), 150u);
  EXPECT_EQ(PercentOfQuota("1500 100000"), 2u);
  EXPECT_EQ(PercentOfQuota(""), 0u);
  EXPECT_EQ(PercentOfQuota("nonsense"), 0u);
  EXPECT_EQ(PercentOfQuota("-1 100000"), 0u);
}

TEST(FactsTest, ThisMachineHasACpuAndSomePorts) {
  EXPECT_GE(UsableCpus(), 1u);
  EXPECT_LT(EphemeralPorts().first, EphemeralPorts().last);
  EXPECT_GT(FindSystemFacts().nofile_hard, 0u);
}

TEST(PlanOfTest, AServerIsCheckedWhereItIsUnlessTheSettingsNameAnotherPlace) {
  config::Snapshot snapshot = Simple(":80", "10.0.0.1:5432");
  config::Scalars& settings = snapshot.upstreams[0].servers[0].settings;
  const auto health = [&snapshot] {
    return PlanOf(snapshot, {}, {}).upstreams[0]->servers[0].health;
  };
  EXPECT_FALSE(health().on());
  settings.health = config::Health::kTcp;
  EXPECT_TRUE(health().on());
  settings.state = config::ServerState::kDown;
  EXPECT_FALSE(health().on()) << "the operator knows";
  settings.state = config::ServerState::kReady;
  EXPECT_TRUE(health().traffic_counts);
  EXPECT_TRUE(health().initially_up);
  EXPECT_EQ(health().probe.address.ToString(), "10.0.0.1:5432");
  EXPECT_EQ(health().interval, absl::Seconds(5));
  EXPECT_EQ(health().fast_interval, absl::Seconds(1));
  settings.health_interval = absl::Milliseconds(100);
  EXPECT_EQ(health().fast_interval, absl::Milliseconds(100));
  settings.health_port = 8008;
  EXPECT_EQ(health().probe.address.ToString(), "10.0.0.1:8008");
  EXPECT_FALSE(health().traffic_counts);
  settings.health_addr = *config::ParseIp("::1");
  EXPECT_EQ(health().probe.address.ToString(), "[::1]:8008");
  settings.health_send = "PING";
  EXPECT_EQ(health().probe.send, "") << "a connect is enough for tcp";
  settings.health = config::Health::kSendExpect;
  settings.health_expect = {"+PONG", true};
  EXPECT_EQ(health().probe.send, "PING");
  EXPECT_TRUE(health().probe.expect_anywhere);
  settings.on_down = {config::Parting::Kind::kDrain, absl::Seconds(7)};
  EXPECT_EQ(health().on_down, (SessionsRule{SessionsRule::Kind::kDrain, absl::Seconds(7)}));
  EXPECT_EQ(health().on_up, SessionsRule{});
}

TEST(PlanOfTest, AllDownAsIsMeansCloseWhereServersAreCheckedElseTryAll) {
  config::Snapshot snapshot = Simple(":80", "10.0.0.1:5432");
  EXPECT_EQ(PlanOf(snapshot, {}, {}).upstreams[0]->all_down, AllDown::kTryAll);
  snapshot.upstreams[0].servers[0].settings.health = config::Health::kTcp;
  EXPECT_EQ(PlanOf(snapshot, {}, {}).upstreams[0]->all_down, AllDown::kClose);
  snapshot.upstreams[0].settings.all_down = config::AllDown::kTryAll;
  EXPECT_EQ(PlanOf(snapshot, {}, {}).upstreams[0]->all_down, AllDown::kTryAll);
}

}  // namespace
}  // namespace parkway
