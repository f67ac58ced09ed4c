// --dump_config prints a flags file that says the same and prints the same.
#include "config/explain.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "config/flags.h"
#include "config/grammar.h"
#include "config/load.h"
#include "config/text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/config/fake_files.h"
#include "tests/scale.h"

namespace parkway::config {
namespace {

using ::testing::IsEmpty;

LoadResult DumpOf(const std::string& file) {
  FakeFiles files({{"a", file}, {"s 1", "--server=192.0.2.1:1 name=of-file weight=3\n"}});
  return Load(std::vector<std::string>{"-c", "a", "-T"}, SystemFacts(), files);
}

TEST(ExplainTest, ShowsOnlyWhatDiffersInCanonicalForm) {
  const LoadResult result = DumpOf(
      "--upstream=servers=1.2.3.4:5,\"unix:/a b\" name=app\n"
      "--listen=name=web addr=[0::0]:0443,unix:/x upstream=app\n"
      "--threads=3\n"
      "--idle_timeout=60m\n"
      "--half_close_timeout=90s\n"
      "--drain_timeout=0\n"
      "--stats_interval=off\n"
      "--access_log=off\n");
  ASSERT_THAT(result.errors, IsEmpty());
  EXPECT_EQ(result.action, Action::kDump);
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.text,
            "--access_log=off\n"
            "--drain_timeout=off\n"
            "--half_close_timeout=1m30s\n"
            "--threads=3\n"
            "--listen=[::]:443,unix:/x name=web\n"
            "--upstream=1.2.3.4:5,\"unix:/a b\" name=app\n");
}

TEST(ExplainTest, TheSimpleCaseIsTwoLines) {
  EXPECT_EQ(DumpOf("--listen=:80\n--upstream=1.2.3.4:5\n").text,
            "--listen=:80\n--upstream=1.2.3.4:5\n");
}

TEST(ExplainTest, ANameThatIsInheritedIsLeftOut) {
  EXPECT_EQ(DumpOf("--listen=:80\n--upstream=1.2.3.4:5 name=default\n").text,
            "--listen=:80\n--upstream=1.2.3.4:5\n");
}

TEST(ExplainTest, ALineShowsWhatItDoesNotInherit) {
  EXPECT_EQ(DumpOf("--server=upstream=b addr=1.2.3.4:5 rcvbuf=4KiB sndbuf=8KiB\n"
                   "--server=upstream=a name=x addr=1.2.3.4:5 connect_timeout=5s\n"
                   "--upstream=name=b rcvbuf=4096B connect_timeout=2s\n"
                   "--upstream=name=a connect_timeout=3s servers=1.1.1.1:1 rcvbuf=8KiB\n"
                   "--listen=:80 upstream=b idle_timeout=1h rcvbuf=off\n"
                   "--rcvbuf=8KiB\n")
                .text,
            "--rcvbuf=8KiB\n"
            "--listen=:80 upstream=b rcvbuf=off\n"
            "--upstream=name=b connect_timeout=2s rcvbuf=4KiB\n"
            "--upstream=1.1.1.1:1 name=a connect_timeout=3s\n"
            "--server=1.2.3.4:5 upstream=b sndbuf=8KiB\n"
            "--server=1.2.3.4:5 upstream=a name=x connect_timeout=5s\n");
}

// A configuration that is right, written in one of the many ways that are.
class Generator {
 public:
  explicit Generator(uint32_t seed) : random_(seed) {}

  std::string File() {
    std::vector<std::string> lines;
    for (const Flag& flag : AllFlags()) {
      if (!flag.is_scalar()) continue;
      // Without it accept_proxy is refused.
      if (flag.name != "proxy_trusted" && flag.name != "http_allow" && Draw(2) == 0) continue;
      std::string value = Scalar(flag);
      if (Draw(3) == 0) value = Cat("\"", value, "\"");
      lines.push_back(Cat(Draw(3) == 0 ? "  " : "", "--", flag.name, "=", value));
    }
    std::vector<std::string> upstreams;
    for (uint32_t more = Draw(4); more > 0; --more) upstreams.push_back(Cat("up.", more, "-C_9"));
    if (upstreams.empty() || Draw(3) == 0) upstreams.push_back("default");
    const auto one_of = [&] { return upstreams[Draw(static_cast<uint32_t>(upstreams.size()))]; };
    const auto upstream_key = [&](bool needed) {
      return needed || Draw(2) == 0 ? Cat("upstream=", one_of()) : std::string();
    };
    const bool many = upstreams.size() > 1;
    for (uint32_t i = 0, n = 1 + Draw(3); i < n; ++i) {
      lines.push_back(Line(kListen, "addr", Addresses(AddressUse::kListens),
                           {Draw(2) == 0 ? "" : Cat("name=l", i), upstream_key(many)}));
      if (lines.back().find("unix:/") != std::string::npos && Draw(2) == 0) {
        lines.back() += Draw(2) == 0 ? " mode=0640" : " owner=root:adm mode=666";
      }
    }
    for (const std::string& name : upstreams) {
      const bool unnamed = name == "default" && Draw(2) == 0;
      const bool inline_servers = Draw(3) != 0;
      lines.push_back(Line(kUpstream, "servers",
                           inline_servers ? Addresses(AddressUse::kConnects) : "",
                           {unnamed && inline_servers ? "" : Cat("name=", name),
                            Draw(4) == 0 ? "servers_file=\"s 1\"" : ""}));
      for (uint32_t i = 0, n = inline_servers ? Draw(3) : 1 + Draw(3); i < n; ++i) {
        lines.push_back(Line(kServer, "addr", AnAddress(AddressUse::kConnects),
                             {Draw(2) == 0 ? "" : Cat("name=s", i), Cat("upstream=", name)}));
      }
    }
    std::shuffle(lines.begin(), lines.end(), random_);
    std::string file;
    for (const std::string& line : lines) {
      if (Draw(4) == 0) file += "  # a comment\n";
      if (Draw(4) == 0) file += "\n";
      file += line + (Draw(5) == 0 ? " \r\n" : "\n");
    }
    return file;
  }

 private:
  uint32_t Draw(uint32_t below) { return static_cast<uint32_t>(random_() % below); }

  std::string Duration(bool off) {
    if (off && Draw(4) == 0) return std::vector<std::string>{"0", "off", "0s"}[Draw(3)];
    std::string text;
    for (const char* unit : {"d", "h", "m", "s", "ms"}) {
      if (Draw(3) == 0) Append(&text, 1 + Draw(3000), unit);
    }
    return text.empty() ? "7s" : text;
  }

  std::string Scalar(const Flag& flag) {
    // The least is not to be above the most.
    if (flag.name == "dns_min_ttl") return Draw(2) == 0 ? "900ms" : "1s";
    if (flag.name == "dns_max_ttl") return Draw(2) == 0 ? "1s" : "90m";
    // No listener is there.
    if (flag.name == "http") return Draw(2) == 0 ? "[::1]:0900" : ":901";
    if (const auto* duration = std::get_if<DurationField>(&flag.field)) {
      if (duration->most < kMostDuration) {
        if (duration->off && Draw(4) == 0) return "off";
        const absl::Duration range = std::min(duration->most - duration->least, absl::Minutes(30));
        const int64_t most_us = absl::ToInt64Microseconds(range);
        const absl::Duration value =
            duration->least + absl::Microseconds(Draw(static_cast<uint32_t>(most_us + 1)));
        return Draw(2) == 0 ? PrintDuration(value) : Cat(absl::ToInt64Microseconds(value), "us");
      }
      if (duration->least > absl::Milliseconds(1)) return Cat(1 + Draw(100), "m");
      return Duration(duration->off);
    }
    if (std::holds_alternative<BandwidthField>(flag.field)) {
      return std::vector<std::string>{"off", "10MiB/s", "80Mbit/s", "2048B/s"}[Draw(4)];
    }
    if (std::holds_alternative<AutoSizeField>(flag.field)) {
      return std::vector<std::string>{"off", "auto", "512MiB", "16384KiB"}[Draw(4)];
    }
    if (std::holds_alternative<KeepaliveField>(flag.field)) {
      return std::vector<std::string>{"off", "60s:10s:3", "1h:1m:127", "1s:1s:1"}[Draw(4)];
    }
    if (std::holds_alternative<LogSinkField>(flag.field)) {
      return std::vector<std::string>{"off",
                                      "stderr",
                                      "stdout",
                                      "file:/a b",
                                      "unix:/dev/log",
                                      "syslog:::1",
                                      "syslog:[::1]:0515",
                                      "syslog:Log.Example.net",
                                      "syslog:10.0.0.1:514"}[Draw(9)];
    }
    if (const auto* size = std::get_if<SizeField>(&flag.field)) {
      if (size->most < uint64_t{1} << 20) return Draw(2) == 0 ? "4096B" : "7KiB";
      return std::vector<std::string>{"off", "4096B", "4KiB", "1MiB", "3000KiB"}[Draw(5)];
    }
    if (const auto* text = std::get_if<TextField>(&flag.field)) {
      const bool off = flag.name != "proxy_trusted" && flag.name != "http_allow" && Draw(2) == 0;
      return std::string(off ? text->none : text->example);
    }
    if (std::holds_alternative<BoolField>(flag.field)) return Draw(2) == 0 ? "on" : "false";
    if (std::holds_alternative<KernelNameField>(flag.field)) {
      return std::vector<std::string>{"default", "reno", "bbr"}[Draw(3)];
    }
    if (std::holds_alternative<IpsField>(flag.field)) {
      return std::vector<std::string>{"off", "10.0.0.1", "10.0.0.1,2001:DB8::1"}[Draw(3)];
    }
    if (const auto* percent = std::get_if<PercentField>(&flag.field)) {
      if (percent->off && Draw(3) == 0) return "off";
      return Cat(percent->least + Draw(percent->most - percent->least + 1), "%");
    }
    if (const auto* count = std::get_if<CountField>(&flag.field)) {
      if (count->off && Draw(3) == 0) return "off";
      return Cat(count->least + Draw(std::min(count->most, 1000u) - count->least + 1));
    }
    if (std::holds_alternative<BoolField>(flag.field)) return Draw(2) == 0 ? "on" : "off";
    if (std::holds_alternative<BytesField>(flag.field)) {
      return std::vector<std::string>{R"(PING\r\n)", R"(a\x20b,\\\0)", "=#",
                                      R"(\x20\x22)"}[Draw(4)];
    }
    if (std::holds_alternative<ExpectationField>(flag.field)) {
      return std::vector<std::string>{"+PONG", R"(~a\x20b,)", R"(\x7eb\xff)"}[Draw(3)];
    }
    if (std::holds_alternative<PartingField>(flag.field)) {
      return std::vector<std::string>{"keep", "close", "drain:90s"}[Draw(3)];
    }
    if (std::holds_alternative<IpField>(flag.field)) {
      return std::vector<std::string>{"server", "10.0.0.1", "2001:DB8::1"}[Draw(3)];
    }
    if (std::holds_alternative<CpuField>(flag.field)) {
      return std::vector<std::string>{"auto", "off", "0,1,2", "8,0-3"}[Draw(4)];
    }
    if (const auto* word = std::get_if<WordField>(&flag.field)) {
      return std::string(word->words[Draw(static_cast<uint32_t>(word->words.size()))]);
    }
    if (std::holds_alternative<AutoCountField>(flag.field) && Draw(2) == 0) return "auto";
    return Cat(1 + Draw(1000));
  }

  // Each address has a port or path of its own, so that none clashes.
  std::string AnAddress(AddressUse use) {
    const uint32_t port = next_++;
    switch (Draw(use == AddressUse::kListens ? 6 : 8)) {
      case 0:
        return Cat(1 + Draw(255), ".", Draw(256), ".0.", Draw(256), ":", port);
      case 1:
        return Cat("[2001:DB8:0:", Draw(10), "::", Draw(10), "]:0", port);
      case 2:
        return Cat("unix:@name-", port);
      case 3:
        return QuotedIfNeeded(Cat("unix:/a b,\"", port, "\\"));
      case 4:
        return Cat("unix:/\"run dir\"/k=", port);
      case 5:
        if (use == AddressUse::kListens) return Cat(":", port);
        return Cat("Host-", Draw(3), ".example.net:0", port);
      case 6:
        return Cat("localhost:", port);
      default:
        return Cat("srv:_App-", port, "._tcp.Example.net");
    }
  }

  std::string Addresses(AddressUse use) {
    std::string addresses = AnAddress(use);
    for (uint32_t more = Draw(4); more > 0; --more) Append(&addresses, ",", AnAddress(use));
    if (use == AddressUse::kListens && Draw(4) == 0) {
      Append(&addresses, ",:", next_, "-", next_ + 4);
      next_ += 5;
    }
    return addresses;
  }

  // `first` is the value of the key whose name may be left out where it is the first; `words` and
  // some settings follow in any order.
  std::string Line(std::string_view flag, std::string_view key, const std::string& first,
                   std::vector<std::string> words) {
    for (const absl::Span<const Flag> table : {AllFlags(), LineFlags()}) {
      for (const Flag& scalar : table) {
        if ((scalar.places & PlaceOf(flag)) == 0 || Draw(4) != 0) continue;
        const std::string value = Scalar(scalar);
        words.push_back(Cat(scalar.name, "=", scalar.list ? value : QuotedIfNeeded(value)));
      }
    }
    std::shuffle(words.begin(), words.end(), random_);
    const bool positional = !first.empty() && Draw(2) == 0;
    if (!first.empty()) {
      const size_t at = positional ? 0 : Draw(static_cast<uint32_t>(words.size() + 1));
      words.insert(words.begin() + at, positional ? first : Cat(key, "=", first));
    }
    const std::string blank = Draw(4) == 0 ? "\t \\\n   " : " ";
    return Cat("--", flag, "=", Join(words, blank));
  }

  std::mt19937 random_;
  uint32_t next_ = 1000;
};

std::string Shown(const Scalars& scalars) {
  std::string text;
  for (const Flag& flag : AllFlags()) {
    if (flag.is_scalar()) Append(&text, " ", flag.name, "=", PrintScalar(flag, scalars));
  }
  for (const Flag& flag : LineFlags()) {
    Append(&text, " ", flag.name, "=", PrintScalar(flag, scalars));
  }
  return text + "\n";
}

// All that is in it.
std::string Shown(const Snapshot& snapshot) {
  std::string text;
  for (const Listener& listener : snapshot.listeners) {
    Append(&text, "listener ", listener.name, " of ", listener.upstream);
    for (const Address& address : listener.addresses) Append(&text, " ", address.ToString());
    Append(&text, " ", listener.mode, " ", listener.owner, Shown(listener.settings));
  }
  for (const Upstream& upstream : snapshot.upstreams) {
    Append(&text, "upstream ", upstream.name, " ", upstream.servers_file, Shown(upstream.settings));
    for (const Server& server : upstream.file_servers) {
      Append(&text, "server ", server.name, " ", Shown(server.settings));
    }
    for (const Server& server : upstream.servers) {
      Append(&text, "server ", server.name, " ", server.address.ToString(), " ",
             Shown(server.settings));
    }
  }
  return text;
}

TEST(ExplainTest, ServersThatTakeTheListenersPortAreShownAsWritten) {
  const char* text =
      "--listen=:80-85,:100 v6only=on\n--upstream=1.2.3.4,[::1]:+7\n--server=1.2.3.5:+1\n";
  EXPECT_EQ(DumpOf(text).text, text);
}

TEST(ExplainTest, WhatIsPrintedLoadsAsTheSameAndPrintsTheSame) {
  for (uint32_t seed = 0; seed < scale::random_configurations; ++seed) {
    const std::string file = Generator(seed).File();
    const LoadResult first = DumpOf(file);
    ASSERT_THAT(first.errors, IsEmpty()) << "seed " << seed << "\n" << file;
    const LoadResult second = DumpOf(first.text);
    ASSERT_THAT(second.errors, IsEmpty()) << "seed " << seed << "\n" << file << "\n" << first.text;
    ASSERT_EQ(first.text, second.text) << "seed " << seed;
    ASSERT_EQ(first.snapshot->scalars, second.snapshot->scalars) << "seed " << seed;
    ASSERT_EQ(Shown(*first.snapshot), Shown(*second.snapshot)) << "seed " << seed << "\n" << file;
  }
}

}  // namespace
}  // namespace parkway::config
