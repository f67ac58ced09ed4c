#include "proxy/socket_proxyd.h"

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace parkway {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// As main gets it.
struct Line {
  explicit Line(std::vector<std::string> words_in) : words(std::move(words_in)) {
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
  }
  int argc() const { return static_cast<int>(words.size()); }
  char** argv() { return pointers.data(); }
  std::vector<std::string> words;
  std::vector<char*> pointers;
};

SocketProxyd Parse(std::vector<std::string> words) {
  words.insert(words.begin(), "systemd-socket-proxyd");
  Line line(std::move(words));
  EXPECT_TRUE(IsSocketProxyd(line.argc(), line.argv()));
  return ParseSocketProxyd(line.argc(), line.argv());
}

TEST(SocketProxydTest, IsKnownByItsNameAndByAWord) {
  const auto is = [](std::vector<std::string> words) {
    Line line(std::move(words));
    return IsSocketProxyd(line.argc(), line.argv());
  };
  EXPECT_TRUE(is({"/lib/systemd/systemd-socket-proxyd", "localhost:80"}));
  EXPECT_TRUE(is({"/usr/sbin/parkway", "socket-proxyd", "localhost:80"}));
  EXPECT_FALSE(is({"/usr/sbin/parkway", "--upstream=localhost:80"}));
  EXPECT_FALSE(is({"parkway"}));
}

TEST(SocketProxydTest, AServerIsAllItNeeds) {
  EXPECT_THAT(Parse({"localhost:8080"}).arguments,
              ElementsAre("--listen=name=proxy policy=reject max_connections=256",
                          "--upstream=localhost:8080", "--access_log=off"));
  Line line({"parkway", "socket-proxyd", "10.0.0.1:1"});
  EXPECT_EQ("--upstream=10.0.0.1:1", ParseSocketProxyd(line.argc(), line.argv()).arguments[1]);
}

TEST(SocketProxydTest, ServersAreWrittenAsThere) {
  EXPECT_EQ("--upstream=unix:/run/x.sock", Parse({"/run/x.sock"}).arguments[1]);
  EXPECT_EQ("--upstream=unix:@x", Parse({"@x"}).arguments[1]);
  EXPECT_EQ("--upstream=localhost:80", Parse({"localhost"}).arguments[1]);
  EXPECT_EQ("--upstream=[::1]:80", Parse({"[::1]"}).arguments[1]);
  EXPECT_EQ("--upstream=[::1]:81", Parse({"[::1]:81"}).arguments[1]);
}

TEST(SocketProxydTest, OptionsMayStandInEachForm) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"--connections-max=7", "--exit-idle-time=90", "a:1"},
        {"a:1", "-c7", "--exit-idle-time", "1min 30s"},
        {"--connections-max", "7", "--exit-idle-time=1.5m", "--", "a:1"}}) {
    const SocketProxyd parsed = Parse(words);
    EXPECT_EQ("", parsed.error);
    EXPECT_EQ("--listen=name=proxy policy=reject max_connections=7", parsed.arguments[0]);
    EXPECT_EQ(absl::Seconds(90), parsed.exit_idle_time);
  }
  EXPECT_EQ(absl::InfiniteDuration(), Parse({"a:1"}).exit_idle_time);
  EXPECT_EQ(absl::InfiniteDuration(), Parse({"--exit-idle-time=infinity", "a:1"}).exit_idle_time);
  EXPECT_EQ(absl::Hours(49), Parse({"--exit-idle-time=2d 1 hr", "a:1"}).exit_idle_time);
}

TEST(SocketProxydTest, WhatIsWrongIsOneLine) {
  EXPECT_THAT(Parse({}).error, HasSubstr("exactly one server"));
  EXPECT_THAT(Parse({"a:1", "b:2"}).error, HasSubstr("exactly one server"));
  EXPECT_EQ("--connections-max=many: it is no number above 0", Parse({"-cmany", "a:1"}).error);
  EXPECT_EQ("--exit-idle-time=5 fortnights: it is no time; write seconds, or such as 5min 20s",
            Parse({"--exit-idle-time=5 fortnights", "a:1"}).error);
  EXPECT_EQ("--fast: there is no such option; see --help", Parse({"--fast", "a:1"}).error);
  EXPECT_EQ("--exit-idle-time: its value is missing; see --help",
            Parse({"a:1", "--exit-idle-time"}).error);
}

TEST(SocketProxydTest, HelpAndVersionAreAnswered) {
  EXPECT_THAT(Parse({"--help"}).text, HasSubstr("--connections-max=N"));
  EXPECT_THAT(Parse({"--version"}).arguments, ElementsAre("--version"));
}

}  // namespace
}  // namespace parkway
