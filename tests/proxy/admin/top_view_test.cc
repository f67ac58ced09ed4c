#include "proxy/admin/top_view.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace parkway::admin {
namespace {

using nlohmann::json;
using testing::HasSubstr;

TopSample Sample(int servers) {
  TopSample sample;
  sample.taken = absl::FromUnixSeconds(1'800'000'000);
  sample.info = json::parse(R"({"version": "9.9", "pid": 7, "uptime_s": 61, "connections": 3,
      "connection_limit": 1000, "accepted": 100, "from_clients_bytes": 1000,
      "from_servers_bytes": 5000, "cpu_user_s": 1.0, "cpu_system_s": 1.0, "fds_open": 20,
      "fds_max": 2000, "memory_resident_bytes": 1048576,
      "config": {"generation": 4, "last_reload_successful": true}})");
  sample.threads = json::parse(R"([{"index": 0, "busy_ratio": 0.125, "connections": 3}])");
  sample.listeners = json::parse(R"([{"name": "web", "state": "accepting", "active": 3,
      "total": 100, "upstream": "app", "received_bytes": 1000, "sent_bytes": 5000}])");
  json list = json::array();
  for (int i = 0; i < servers; ++i) {
    list.push_back({{"name", "s" + std::to_string(i)},
                    {"state", i == 3 ? "down" : "up"},
                    {"active", i},
                    {"total", 10 * i},
                    {"connect_failures", 0},
                    {"weight", 1},
                    {"address", "10.0.0.1:80"}});
  }
  sample.upstreams = json::array({{{"name", "app"}, {"servers", list}}});
  sample.slowest = json::array();
  return sample;
}

std::string Joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

TEST(TopViewTest, RatesAreOfTheTimeBetweenTwoSamples) {
  const TopSample before = Sample(2);
  TopSample now = before;
  now.taken += absl::Seconds(2);
  now.info["accepted"] = 120;
  now.info["from_servers_bytes"] = 5000 + 4096;
  now.info["cpu_user_s"] = 1.5;
  now.listeners[0]["total"] = 120;
  now.upstreams[0]["servers"][1]["total"] = 30;
  const std::string text = Joined(TopScreen(now, &before, {.columns = 200, .rows = 0}));
  EXPECT_THAT(text, HasSubstr("connections 3/1000  new 10.0/s  in 0/s  out 2.0K/s  cpu 25.0%"));
  EXPECT_THAT(text, HasSubstr("threads  0: 12.5% 3"));
  EXPECT_THAT(text, testing::ContainsRegex("web +accepting +3 +10.0 "));
  EXPECT_THAT(text, testing::ContainsRegex("app/s1 +up +1 +10.0 "));
}

TEST(TopViewTest, WithoutASampleBeforeThereAreNoRates) {
  const std::string text = Joined(TopScreen(Sample(1), nullptr, {.columns = 200, .rows = 0}));
  EXPECT_THAT(text, HasSubstr("new -/s"));
}

TEST(TopViewTest, ACounterThatBeganAnewIsNoNegativeRate) {
  const TopSample before = Sample(1);
  TopSample now = before;
  now.taken += absl::Seconds(1);
  now.info["accepted"] = 0;
  EXPECT_THAT(Joined(TopScreen(now, &before, {.columns = 200, .rows = 0})), HasSubstr("new 0.0/s"));
}

TEST(TopViewTest, NothingIsLargerThanTheScreenAndTroubleComesFirst) {
  const TopSample sample = Sample(40);
  for (const int rows : {1, 5, 8, 12, 24, 100}) {
    for (const int columns : {1, 20, 80}) {
      const auto lines = TopScreen(sample, &sample, {.columns = columns, .rows = rows});
      EXPECT_LE(lines.size(), static_cast<size_t>(std::max(rows, 3)));
      for (const std::string& line : lines) EXPECT_LE(line.size(), static_cast<size_t>(columns));
    }
  }
  const std::string text = Joined(TopScreen(sample, nullptr, {.columns = 120, .rows = 12}));
  EXPECT_THAT(text, HasSubstr("of 40)"));
  EXPECT_LT(text.find("app/s3 "), text.find("app/s39 ")) << "what is down, then the busiest";
  EXPECT_EQ(text.find("app/s0 "), std::string::npos);
}

TEST(TopViewTest, ColorsAreForTerminals) {
  EXPECT_EQ(Joined(TopScreen(Sample(4), nullptr, {})).find('\x1b'), std::string::npos);
  EXPECT_THAT(Joined(TopScreen(Sample(4), nullptr, {.columns = 80, .rows = 24, .colors = true})),
              HasSubstr("\x1b[31mapp/s3"));
}

TEST(TopViewTest, AnAnswerWithoutWhatIsExpectedIsShownAllTheSame) {
  TopSample sample;
  sample.info = json::object();
  sample.listeners = sample.upstreams = sample.threads = sample.slowest = json::array();
  EXPECT_FALSE(TopScreen(sample, &sample, {}).empty());
}

}  // namespace
}  // namespace parkway::admin
