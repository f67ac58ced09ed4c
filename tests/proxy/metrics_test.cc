// What is printed of readings: for Prometheus, for the page, for an orchestrator.
#include "proxy/observe/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>

#include "proxy/observe/history.h"
#include "proxy/observe/readiness.h"
#include "proxy/observe/status_json.h"

namespace parkway {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

Readings Sample() {
  Readings readings;
  readings.taken = absl::FromUnixSeconds(1'800'000'000);
  readings.process.version = "1.2";
  readings.process.started = absl::FromUnixSeconds(1'799'999'900);
  readings.process.ready = true;
  readings.process.accept_errors = {{"EMFILE", 3}};
  ListenerReading& web = readings.listeners.emplace_back();
  web.name = "web";
  web.upstream = "app";
  web.upstreams = {"app"};
  web.active = 2;
  web.total = 5;
  web.closed[static_cast<size_t>(CloseCause::kDenied)] = 1;
  web.closed_by_upstream.push_back({"", {}});
  web.closed_by_upstream[0].causes[static_cast<size_t>(CloseCause::kDenied)] = 1;
  web.bytes_received = 123'456'789'012;
  web.duration.counts[3] = 2;
  web.duration.sum_us = 300'000;
  UpstreamReading& app = readings.upstreams.emplace_back();
  app.name = "app";
  app.used = true;
  ServerReading& a = app.servers.emplace_back();
  a.name = "a";
  a.weight = 1;
  a.checked = true;
  a.connect_errors[1] = 4;
  readings.workers.resize(2);
  readings.workers[1].index = 1;
  DnsReading& name = readings.dns.emplace_back();
  name.name = "db.example";
  name.age = absl::InfiniteDuration();
  return readings;
}

TEST(MetricsTest, NumbersCarryTheirLabels) {
  const std::string text = MetricsText(Sample());
  for (const char* line : {
           "parkway_build_info{version=\"1.2\"} 1\n",
           "parkway_connections_active{listener=\"web\"} 2\n",
           "parkway_connections_total{listener=\"web\"} 5\n",
           "parkway_connections_rejected_total{listener=\"web\",cause=\"denied\"} 1\n",
           "parkway_connections_closed_total{listener=\"web\",upstream=\"\",cause=\"denied\"} 1\n",
           "parkway_received_bytes_total{listener=\"web\"} 123456789012\n",
           "parkway_connection_duration_seconds_bucket{listener=\"web\",le=\"1\"} 2\n",
           "parkway_connection_duration_seconds_bucket{listener=\"web\",le=\"+Inf\"} 2\n",
           "parkway_connection_duration_seconds_sum{listener=\"web\"} 0.3",
           "parkway_upstream_connect_errors_total{upstream=\"app\",server=\"a\","
           "cause=\"connect_timeout\"} 4\n",
           "parkway_server_up{upstream=\"app\",server=\"a\"} 1\n",
           "parkway_accept_errors_total{errno=\"EMFILE\"} 3\n",
           "parkway_thread_connections{thread=\"1\"} 0\n",
           "parkway_dns_age_seconds{name=\"db.example\"} +Inf\n",
       }) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST(MetricsTest, EachNameHasOneSetOfLabelsAndOneHelp) {
  std::istringstream lines(MetricsText(Sample()));
  std::set<std::string> helped;
  std::map<std::string, std::string> labels_of;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# HELP ")) {
      const std::string name = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_TRUE(helped.insert(name).second) << name << " comes twice";
      continue;
    }
    if (line.starts_with("#")) continue;
    const size_t open = line.find_first_of("{ ");
    std::string labels;
    if (line[open] == '{') {
      bool quoted = false;
      for (const char c : line.substr(open, line.rfind('}') - open)) {
        if (c == '"') quoted = !quoted;
        if (!quoted && c != '"') labels += c;
      }
    }
    const auto [known, is_new] = labels_of.emplace(line.substr(0, open), labels);
    EXPECT_EQ(known->second, labels) << line;
  }
  EXPECT_GT(helped.size(), 50u);
}

TEST(MetricsTest, WhereThereAreManyOnlyWhatHasHappenedIsSaid) {
  Readings readings = Sample();
  const auto says = [&readings](const char* what) {
    return MetricsText(readings).find(what) != std::string::npos;
  };
  EXPECT_TRUE(says("server=\"a\",cause=\"connect_refused\"} 0"));
  readings.upstreams[0].servers.resize(kFewServers + 1);
  for (size_t i = 1; i < readings.upstreams[0].servers.size(); ++i) {
    readings.upstreams[0].servers[i].name = std::to_string(i);
  }
  EXPECT_FALSE(says("server=\"a\",cause=\"connect_refused\"} 0"));
  EXPECT_TRUE(says("server=\"a\",cause=\"connect_timeout\"} 4"));
}

TEST(ReadinessTest, ReadyIsWhoAcceptsAndHasAServer) {
  Readings readings = Sample();
  EXPECT_THAT(NotReady(readings, ""), IsEmpty());
  EXPECT_THAT(NotReady(readings, "web"), IsEmpty());
  EXPECT_THAT(NotReady(readings, "nix"), ElementsAre("listener nix: there is none of this name"));
  readings.upstreams[0].servers[0].state = ServerReading::State::kUnhealthy;
  EXPECT_THAT(NotReady(readings, ""),
              ElementsAre("upstream app: none of 1 servers takes connections"));
  readings.upstreams[0].used = false;
  EXPECT_THAT(NotReady(readings, ""), IsEmpty()) << "nobody is led there";
  readings.upstreams[0].servers[0].state = ServerReading::State::kUp;
  readings.listeners[0].state = ListenerReading::State::kPaused;
  EXPECT_THAT(NotReady(readings, ""), ElementsAre("listener web is paused"));
}

TEST(ReadinessTest, AnotherListenersTroubleIsNotOnes) {
  Readings readings = Sample();
  ListenerReading& sql = readings.listeners.emplace_back();
  sql.name = "sql";
  sql.upstreams = {"db"};
  readings.upstreams.emplace_back().name = "db";
  readings.upstreams[1].used = true;
  EXPECT_THAT(NotReady(readings, "web"), IsEmpty());
  EXPECT_THAT(NotReady(readings, "sql"),
              ElementsAre("upstream db: none of 0 servers takes connections"));
}

TEST(ReadinessTest, AWorkerThatIsSilentForLongIsNotAlive) {
  Readings readings = Sample();
  EXPECT_THAT(NotAlive(readings), IsEmpty());
  readings.workers[1].silent_for = absl::Seconds(3);
  EXPECT_THAT(NotAlive(readings), IsEmpty());
  readings.workers[1].silent_for = absl::Milliseconds(12'345);
  EXPECT_THAT(NotAlive(readings), ElementsAre("worker 1 has not answered for 12s"));
}

TEST(HistoryTest, RatesAreMadeOfWhatReallyPassed) {
  History history;
  Readings readings = Sample();
  history.Add(readings);
  readings.taken += absl::Seconds(10);
  readings.listeners[0].total += 30;
  readings.listeners[0].bytes_received += 1'000;
  readings.process.accepted += 30;
  history.Add(readings);
  const auto view = history.view();
  ASSERT_EQ(view->listeners.size(), 1u);
  EXPECT_THAT(view->listeners[0].new_per_second, ElementsAre(0, 3));
  EXPECT_THAT(view->listeners[0].received_per_second, ElementsAre(0, 100));
  EXPECT_THAT(view->listeners[0].connections, ElementsAre(2, 2));
  EXPECT_EQ(view->process.new_per_second.back(), 3);
  EXPECT_EQ(view->upstreams[0].name, "app");
}

TEST(HistoryTest, ItKeepsAQuarterOfAnHourAndForgetsWhatIsGone) {
  History history;
  Readings readings = Sample();
  for (size_t i = 0; i < History::kSteps + 20; ++i) {
    readings.taken += History::kStep;
    readings.process.connections = i;
    history.Add(readings);
  }
  EXPECT_EQ(history.view()->process.connections.size(), History::kSteps);
  EXPECT_EQ(history.view()->process.connections.back(), History::kSteps + 19);
  EXPECT_EQ(absl::Minutes(15), History::kStep * History::kSteps);
  readings.listeners[0].name = "other";
  readings.taken += History::kStep;
  history.Add(readings);
  ASSERT_EQ(history.view()->listeners.size(), 1u);
  EXPECT_EQ(history.view()->listeners[0].name, "other");
  EXPECT_EQ(history.view()->listeners[0].connections.size(), 1u);
}

TEST(StatusJsonTest, ClientsAreNamedOnlyWhereThatIsAllowed) {
  Readings readings = Sample();
  SlowReading& slow = readings.slowest.emplace_back();
  slow.id = 0xfedcba9876543210;
  slow.client = "192.0.2.7:4711";
  const auto open = nlohmann::json::parse(StatusJson(readings, HistoryView(), true));
  EXPECT_EQ(open["slowest"][0]["client"], "192.0.2.7:4711");
  EXPECT_EQ(open["slowest"][0]["id"], "fedcba9876543210");
  EXPECT_EQ(open["dns"][0]["age"], nullptr);
  EXPECT_THAT(StatusJson(readings, HistoryView(), false), Not(HasSubstr("192.0.2.7")));
}

TEST(StatusJsonTest, OfManyServersThoseInTroubleComeFirst) {
  Readings readings = Sample();
  std::vector<ServerReading>& servers = readings.upstreams[0].servers;
  servers.resize(500);
  servers[400].state = ServerReading::State::kEjected;
  servers[400].name = "lost";
  const auto json = nlohmann::json::parse(StatusJson(readings, HistoryView(), false));
  EXPECT_EQ(json["upstreams"][0]["servers"].size(), kMostServers);
  EXPECT_EQ(json["upstreams"][0]["servers"][0]["name"], "lost");
  EXPECT_EQ(json["upstreams"][0]["server_count"], 500);
}

TEST(StatusJsonTest, ANameThatIsNoUtf8DoesNotBreakIt) {
  Readings readings = Sample();
  readings.listeners[0].name = "caf\xe9";
  EXPECT_FALSE(nlohmann::json::parse(StatusJson(readings, HistoryView(), false), nullptr, false)
                   .is_discarded());
}

}  // namespace
}  // namespace parkway
