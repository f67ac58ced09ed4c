// The table of flags, and config/README.md, which says the same to people.
#include "config/flags.h"

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "config/grammar.h"
#include "config/load.h"
#include "config/snapshot.h"
#include "config/text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/config/fake_files.h"
#include "tests/config/tables.h"

namespace parkway::config {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

std::vector<std::string> ReadmeRows(bool (*wanted)(std::string_view)) {
  std::ifstream file(kReadme);
  EXPECT_TRUE(file.good());
  std::vector<std::string> rows;
  for (std::string line; std::getline(file, line);) {
    if (wanted(line)) rows.push_back(line);
  }
  return rows;
}

// If one of the next three fails: bazel run //tests/config:write_tables.
TEST(FlagsTest, TheReadmeHasEachFlagAsTheTableHasIt) {
  EXPECT_THAT(ReadmeRows(IsFlagRow), ElementsAreArray(FlagRows()));
}

TEST(FlagsTest, TheReadmeHasEachKeyAsTheTableHasIt) {
  EXPECT_THAT(ReadmeRows(IsKeyRow), ElementsAreArray(KeyRows()));
}

std::string SampleFile() {
  std::ifstream file(kSample, std::ios::binary);
  EXPECT_TRUE(file.good());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(FlagsTest, TheSampleHasEachFlagAsTheTableHasIt) { EXPECT_EQ(SampleFile(), Sample()); }

TEST(FlagsTest, TheSampleIsAFlagsFileOfDefaults) {
  std::string file = SampleFile();
  EXPECT_NE(file.find("\n#--idle_timeout=1h\n"), std::string::npos);
  for (size_t at; (at = file.find("\n#--")) != std::string::npos;) file.erase(at + 1, 1);
  FakeFiles files({{"a", file}});
  const LoadResult result = Load(std::vector<std::string>{"-c", "a"}, SystemFacts(), files);
  EXPECT_THAT(result.errors, ElementsAreArray(std::vector<std::string>()));
  ASSERT_TRUE(result.snapshot.has_value());
  EXPECT_EQ(result.snapshot->scalars, DefaultScalars());
  EXPECT_EQ(result.snapshot->upstreams[0].servers.size(), 3u);
}

TEST(FlagsTest, NamesAndShortFormsAreUnique) {
  std::set<std::string_view> names;
  std::set<char> letters;
  for (const Flag& flag : AllFlags()) {
    EXPECT_TRUE(names.insert(flag.name).second) << flag.name;
    EXPECT_EQ(FindFlag(flag.name), &flag);
    for (const char letter : flag.short_forms) {
      EXPECT_TRUE(letters.insert(letter).second) << letter;
      EXPECT_EQ(FindShortFlag(letter), &flag);
    }
  }
  EXPECT_EQ(FindFlag("thread"), nullptr);
  EXPECT_EQ(FindFlag(""), nullptr);
  EXPECT_EQ(FindShortFlag('x'), nullptr);
  for (const auto& [letter, name] :
       {std::pair('c', kFlagfile), std::pair('f', kFlagfile), std::pair('t', kCheck),
        std::pair('T', kDumpConfig), std::pair('V', kVersion), std::pair('h', kHelp)}) {
    EXPECT_EQ(FindShortFlag(letter)->name, name);
  }
}

TEST(FlagsTest, EachDefaultIsCanonicalAndIsThatOfTheScalars) {
  for (const Flag& flag : AllFlags()) {
    if (!flag.is_scalar()) {
      EXPECT_EQ(flag.default_text, "") << flag.name;
      continue;
    }
    Scalars scalars = DefaultScalars();
    EXPECT_TRUE(SetScalar(flag, flag.default_text, scalars).ok()) << flag.name;
    EXPECT_EQ(scalars, DefaultScalars()) << flag.name;
    EXPECT_EQ(PrintScalar(flag, scalars), flag.default_text) << flag.name;
  }
}

TEST(FlagsTest, DefaultsAreThoseThatWerePromised) {
  const Scalars scalars = DefaultScalars();
  EXPECT_EQ(scalars.connect_timeout, absl::Seconds(5));
  EXPECT_EQ(scalars.idle_timeout, absl::Hours(1));
  EXPECT_EQ(scalars.half_close_timeout, absl::Minutes(5));
  EXPECT_EQ(scalars.delayed_close, absl::Seconds(1));
  EXPECT_EQ(scalars.drain_timeout, absl::Seconds(30));
  EXPECT_EQ(scalars.stats_interval, absl::ZeroDuration());
  EXPECT_EQ(scalars.backlog, 4096u);
  EXPECT_EQ(scalars.threads, std::nullopt);
  EXPECT_EQ(scalars.max_connections, std::nullopt);
  EXPECT_EQ(scalars.access_log.kind, LogSink::Kind::kStderr);
  EXPECT_EQ(scalars.keepalive.idle, absl::Minutes(1));
  EXPECT_EQ(scalars.keepalive.interval, absl::Seconds(10));
  EXPECT_EQ(scalars.keepalive.count, 3u);
  EXPECT_EQ(scalars.happy_eyeballs_delay, absl::Milliseconds(250));
  EXPECT_EQ(scalars.dns_timeout, absl::Seconds(2));
  EXPECT_EQ(scalars.dns_attempts, 3u);
  EXPECT_EQ(scalars.dns_min_ttl, absl::Seconds(1));
  EXPECT_EQ(scalars.dns_max_ttl, absl::Minutes(5));
  EXPECT_EQ(scalars.dns_family, DnsFamily::kAny);
  EXPECT_EQ(scalars.resolve, Resolve::kAll);
  EXPECT_EQ(scalars.max_lifetime, absl::ZeroDuration());
  EXPECT_EQ(scalars.max_lifetime_jitter, 10u);
  EXPECT_EQ(scalars.client_idle_timeout, absl::ZeroDuration());
  EXPECT_EQ(scalars.server_idle_timeout, absl::ZeroDuration());
  EXPECT_EQ(scalars.admin_socket, "auto");
  EXPECT_EQ(scalars.http, std::nullopt);
  EXPECT_EQ(scalars.memory_limit, std::nullopt);
  EXPECT_EQ(scalars.splice, Splice::kAuto);
  EXPECT_EQ(scalars.health, Health::kOff);
  EXPECT_EQ(scalars.health_interval, absl::Seconds(5));
  EXPECT_EQ(scalars.health_timeout, absl::Seconds(2));
  EXPECT_EQ(scalars.rise, 2u);
  EXPECT_EQ(scalars.fall, 3u);
  EXPECT_EQ(scalars.health_close, HealthClose::kFin);
}

TEST(FlagsTest, EachScalarIsStoredInAPlaceOfItsOwn) {
  const std::vector<std::pair<const char*, const char*>> others = {
      {"health", "tcp"},
      {"health_interval", "19s"},
      {"health_timeout", "20s"},
      {"rise", "21"},
      {"fall", "22"},
      {"health_port", "23"},
      {"health_addr", "::1"},
      {"health_initial", "down"},
      {"health_close", "rst"},
      {"health_send", R"(a\r)"},
      {"health_expect", "~b"},
      {"on_down", "drain:24s"},
      {"on_up", "close"},
      {"threads", "7"},
      {"max_connections", "8"},
      {"backlog", "9"},
      {"connect_timeout", "10s"},
      {"idle_timeout", "11s"},
      {"half_close_timeout", "12s"},
      {"delayed_close", "13s"},
      {"drain_timeout", "14s"},
      {"stats_interval", "15s"},
      {"access_log", "off"},
      {"splice", "on"},
      {"rcvbuf", "16KiB"},
      {"sndbuf", "17KiB"},
      {"notsent_lowat", "18KiB"},
      {"congestion", "reno"},
      {"busy_poll", "50us"},
      {"accept_balance", "off"},
      {"cpu_affinity", "0-3,8"},
      {"v6only", "on"},
      {"balance", "first"},
      {"connect_attempts", "4"},
      {"source", "10.0.0.1,::1"},
      {"max_conns", "20"},
      {"queue_max", "21"},
      {"queue_timeout", "22s"},
      {"slow_start", "23s"},
      {"panic_threshold", "24%"},
      {"all_down", "hold"},
      {"passive_fails", "25"},
      {"ejection_time", "26s"},
      {"max_ejection_percent", "27%"},
      {"hash_balance_factor", "128%"},
      {"accept_proxy", "on"},
      {"proxy_trusted", "10.0.0.0/8"},
      {"proxy_protocol_timeout", "16s"},
      {"allow", "10.1.0.0/16"},
      {"deny", "@file"},
      {"dry_run", "on"},
      {"policy", "reject"},
      {"accept_rate", "17/s"},
      {"accept_rate_per_source", "18/s"},
      {"max_connections_per_source", "19"},
      {"preread_timeout", "20s"},
      {"preread_bytes", "21KiB"},
      {"send_proxy", "v2"},
      {"proxy_tlv", "crc32c,set:0xE0=text"},
      {"client_idle_timeout", "21s"},
      {"server_idle_timeout", "22s"},
      {"max_lifetime", "23s"},
      {"max_lifetime_jitter", "24%"},
      {"rate_up", "25KiB/s"},
      {"rate_down", "26KiB/s"},
      {"memory_limit", "27MiB"},
      {"write_stall_timeout", "27s"},
      {"reject", "fin"},
      {"connect_on", "data"},
      {"reuseport", "off"},
      {"max_accepts_per_wakeup", "28"},
      {"keepalive", "28s:29s:30"},
      {"tcp_user_timeout", "31s"},
      {"tfo", "32"},
      {"mptcp", "on"},
      {"dscp", "33"},
      {"mark", "0x22"},
      {"device", "eth35"},
      {"defer_accept", "36s"},
      {"freebind", "on"},
      {"transparent", "on"},
      {"on_listener_remove", "close"},
      {"on_remove", "drain:37s"},
      {"resolve", "one"},
      {"dns_servers", "10.0.0.38"},
      {"dns_timeout", "39s"},
      {"dns_attempts", "40"},
      {"dns_family", "v6"},
      {"dns_min_ttl", "41s"},
      {"dns_max_ttl", "42s"},
      {"dns_init", "fail"},
      {"happy_eyeballs_delay", "43ms"},
      {"log_facility", "local7"},
      {"log_format", "json"},
      {"log_skip", "null"},
      {"log_sample", "44"},
      {"log_events", "open,connect"},
      {"log_progress", "50s"},
      {"admin_socket", "/run/45.sock"},
      {"http", "127.0.0.1:46"},
      {"http_allow", "47.0.0.0/8"},
      {"user", "u48:g48"},
      {"pidfile", "/run/49.pid"},
      {"reload_strict", "on"}};
  Scalars scalars = DefaultScalars();
  size_t count = 0;
  for (const Flag& flag : AllFlags()) count += flag.is_scalar();
  EXPECT_EQ(count, others.size());
  for (const auto& [name, value] : others) {
    ASSERT_NE(FindFlag(name), nullptr) << name;
    ASSERT_TRUE(SetScalar(*FindFlag(name), value, scalars).ok()) << name;
  }
  for (const auto& [name, value] : others) EXPECT_EQ(PrintScalar(*FindFlag(name), scalars), value);
}

TEST(FlagsTest, SettingsOfOneLineHaveARowAmongTheKeysAndNoScalarFlag) {
  Scalars scalars = DefaultScalars();
  EXPECT_EQ(scalars.weight, 1u);
  for (const Flag& flag : LineFlags()) {
    EXPECT_EQ(FindLineFlag(flag.name), &flag);
    EXPECT_EQ(FindFlag(flag.name), nullptr) << flag.name;
    EXPECT_TRUE(flag.is_scalar());
    EXPECT_EQ(PrintScalar(flag, scalars), flag.default_text);
    bool has_row = false;
    for (const KeySpec& key : AllKeys()) {
      has_row = has_row || (key.name == flag.name && PlaceOf(key.flag) == flag.places &&
                            key.value == flag.value && key.default_text == flag.default_text);
    }
    EXPECT_TRUE(has_row) << flag.name;
  }
  for (const auto& [name, value] :
       {std::pair("weight", "256"), {"priority", "3"}, {"backup", "on"}, {"state", "drain"}}) {
    EXPECT_TRUE(SetScalar(*FindLineFlag(name), value, scalars).ok());
    EXPECT_EQ(PrintScalar(*FindLineFlag(name), scalars), value);
  }
  EXPECT_FALSE(SetScalar(*FindLineFlag("weight"), "257", scalars).ok());
}

TEST(FlagsTest, SharesHaveAPercentSignAndSourcesNoPort) {
  Scalars scalars = DefaultScalars();
  EXPECT_TRUE(SetScalar(*FindFlag("panic_threshold"), "off", scalars).ok());
  for (const char* wrong : {"50", "0%", "101%", "%", "-1%", "", "5 %"}) {
    EXPECT_FALSE(SetScalar(*FindFlag("panic_threshold"), wrong, scalars).ok()) << wrong;
  }
  EXPECT_TRUE(SetScalar(*FindFlag("source"), "10.0.0.1,2001:db8::1", scalars).ok());
  EXPECT_EQ(scalars.source.size(), 2u);
  EXPECT_EQ(PrintScalar(*FindFlag("source"), scalars), "10.0.0.1,2001:db8::1");
  for (const char* wrong : {"10.0.0.1:80", "[::1]", "localhost", "10.0.0.1,", "::1,::1"}) {
    EXPECT_FALSE(SetScalar(*FindFlag("source"), wrong, scalars).ok()) << wrong;
  }
  EXPECT_TRUE(SetScalar(*FindFlag("source"), "off", scalars).ok());
  EXPECT_TRUE(scalars.source.empty());
}

TEST(FlagsTest, OnlyScalarsAreSettingsOfLines) {
  for (const Flag& flag : AllFlags()) {
    EXPECT_TRUE(flag.is_scalar() || flag.places == kNowhere) << flag.name;
    // What is the process's cannot be a line's.
    EXPECT_TRUE(flag.group != Group::kLogging || flag.places == kNowhere) << flag.name;
    for (const KeySpec& key : AllKeys()) {
      EXPECT_FALSE(key.name == flag.name && (flag.places & PlaceOf(key.flag)) != 0) << flag.name;
    }
  }
  EXPECT_EQ(PlacesText(kOnListen), "--listen");
  EXPECT_EQ(PlacesText(kOnServers), "--upstream and --server");
  EXPECT_EQ(PlacesText(kOnAll), "--listen, --upstream and --server");
}

TEST(FlagsTest, AValueThatIsRefusedChangesNothing) {
  Scalars scalars = DefaultScalars();
  for (const char* name : {"threads", "backlog", "connect_timeout", "splice", "access_log",
                           "keepalive", "rate_up", "http", "memory_limit", "mark", "log_skip"}) {
    EXPECT_FALSE(SetScalar(*FindFlag(name), "nonsense", scalars).ok()) << name;
  }
  EXPECT_FALSE(SetScalar(*FindFlag("threads"), "1025", scalars).ok());
  EXPECT_FALSE(SetScalar(*FindFlag("connect_timeout"), "off", scalars).ok());
  EXPECT_FALSE(SetScalar(*FindFlag("rcvbuf"), "1B", scalars).ok());
  EXPECT_FALSE(SetScalar(*FindFlag("rcvbuf"), "65536", scalars).ok());
  EXPECT_FALSE(SetScalar(*FindFlag("busy_poll"), "2s", scalars).ok());
  EXPECT_FALSE(SetScalar(*FindFlag("congestion"), "no name", scalars).ok());
  EXPECT_FALSE(SetScalar(*FindFlag("cpu_affinity"), "3-1", scalars).ok());
  EXPECT_FALSE(SetScalar(*FindFlag("listen"), ":80", scalars).ok());
  EXPECT_EQ(scalars, DefaultScalars());
}

TEST(FlagsTest, OffAndDefaultLeaveSocketsToTheKernel) {
  Scalars scalars;
  for (const auto& [name, on, off] : {std::tuple("rcvbuf", "64KiB", "off"),
                                      {"sndbuf", "64KiB", "0"},
                                      {"notsent_lowat", "128KiB", "off"},
                                      {"busy_poll", "50us", "off"},
                                      {"congestion", "cubic", "default"},
                                      {"cpu_affinity", "auto", "off"}}) {
    EXPECT_TRUE(SetScalar(*FindFlag(name), on, scalars).ok()) << name;
    EXPECT_TRUE(SetScalar(*FindFlag(name), off, scalars).ok()) << name;
  }
  EXPECT_EQ(scalars.rcvbuf, 0u);
  EXPECT_EQ(scalars.sndbuf, 0u);
  EXPECT_EQ(scalars.notsent_lowat, 0u);
  EXPECT_EQ(scalars.busy_poll, absl::ZeroDuration());
  EXPECT_EQ(scalars.congestion, "");
  EXPECT_EQ(scalars.cpu_affinity.kind, CpuAffinity::Kind::kOff);
}

TEST(FlagsTest, TheRangesAreThoseOfTheSnapshot) {
  Scalars scalars;
  EXPECT_TRUE(SetScalar(*FindFlag("threads"), Cat(kMostThreads), scalars).ok());
  EXPECT_FALSE(SetScalar(*FindFlag("threads"), Cat(kMostThreads + 1), scalars).ok());
  EXPECT_TRUE(SetScalar(*FindFlag("max_connections"), Cat(kMostConnections), scalars).ok());
  EXPECT_FALSE(SetScalar(*FindFlag("max_connections"), Cat(kMostConnections + 1), scalars).ok());
}

TEST(FlagsTest, HelpShowsEachFlagInItsGroupWithItsDefault) {
  const std::string help = HelpText();
  size_t at = 0;
  for (const Flag& flag : AllFlags()) {
    const size_t group = help.find(Cat("\n", GroupName(flag.group), "\n"));
    const size_t found =
        help.find(Cat("--", flag.name, flag.value.empty() ? "" : "=", flag.value), at);
    ASSERT_NE(found, std::string::npos) << flag.name;
    EXPECT_LT(group, found) << flag.name;
    at = found;
    if (!flag.default_text.empty()) {
      EXPECT_THAT(help, HasSubstr(Cat("--", flag.name, "=", flag.value, "  (default ",
                                      flag.default_text, ")")));
    }
  }
  // Nothing of the libraries, and nothing too wide for a terminal.
  EXPECT_EQ(help.find("logtostderr"), std::string::npos);
  EXPECT_EQ(help.find("tab_completion"), std::string::npos);
  for (const std::string_view line : Split(help, '\n')) EXPECT_LE(line.size(), 80u) << line;
}

}  // namespace
}  // namespace parkway::config
