#include "config/validate.h"

#include <string>
#include <string_view>
#include <vector>

#include "config/machine.h"
#include "config/reach.h"
#include "config/source.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace parkway::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Outcome {
  std::optional<Snapshot> snapshot;
  std::vector<std::string> errors;
  std::vector<std::string> warnings;
};

Outcome Of(std::string_view listen, std::string_view upstream) {
  Problems errors, warnings;
  Declarations said;
  said.scalars = DefaultScalars();
  const Place place{"f", 1, 1};
  said.listens.push_back(ParseListen(place, SourceText(listen, place), &errors));
  said.upstreams.push_back(ParseUpstream(place, SourceText(upstream, place), &errors));
  EXPECT_TRUE(errors.empty());
  Outcome outcome;
  outcome.snapshot = Validate(said, SystemFacts(), Strictness::kStart, &errors, &warnings);
  outcome.errors = errors.Lines();
  outcome.warnings = warnings.Lines();
  EXPECT_EQ(outcome.snapshot.has_value(), outcome.errors.empty());
  return outcome;
}

Address Listening(const char* text) { return *ParseAddress(text, AddressUse::kListens); }
Address Server(const char* text) { return *ParseAddress(text, AddressUse::kConnects); }

TEST(ValidateTest, AConnectionToOurselvesIsALoop) {
  const std::vector<std::pair<const char*, const char*>> loops = {
      {"127.0.0.1:80", "127.0.0.1:80"},
      {"10.0.0.1:80", "10.0.0.1:80"},
      {"10.0.0.1:80", "[::ffff:10.0.0.1]:80"},
      {":80", "127.0.0.1:80"},
      {":80", "127.8.8.8:80"},
      {":80", "[::1]:80"},
      {":80", "0.0.0.0:80"},
      {":80", "[::]:80"},
      {"0.0.0.0:80", "127.0.0.1:80"},
      {"0.0.0.0:80", "0.0.0.0:80"},
      {"0.0.0.0:80", "[::ffff:127.0.0.1]:80"},
      {"[::]:80", "[::1]:80"},
      {"[::]:80", "127.0.0.1:80"},
      {"127.0.0.1:80", "0.0.0.0:80"},
      {"[::1]:80", "[::]:80"},
      {"unix:/a", "unix:/a"},
      {"unix:/a", "unix:/b/..//a"},
      {"unix:@a", "unix:@a"},
  };
  for (const auto& [listener, server] : loops) {
    EXPECT_TRUE(IsLoop(Listening(listener), Server(server))) << listener << " " << server;
    EXPECT_THAT(Of(listener, server).errors, ElementsAre(HasSubstr(" is our own listener ")));
  }
}

TEST(ValidateTest, AConnectionToAnotherSocketIsNone) {
  const std::vector<std::pair<const char*, const char*>> fine = {
      {":80", "127.0.0.1:81"},
      {":80", "10.0.0.1:80"},
      {"127.0.0.1:80", "127.0.0.2:80"},
      {"127.0.0.2:80", "0.0.0.0:80"},
      {"0.0.0.0:80", "[::1]:80"},
      {"10.0.0.1:80", "127.0.0.1:80"},
      {"10.0.0.1:80", "[::1]:80"},
      {"[::1]:80", "127.0.0.1:80"},
      {"unix:/a", "unix:@/a"},
      {"unix:/a", "unix:/A"},
      {":80", "unix:/a"},
      {"unix:/a", "127.0.0.1:80"},
      {"unix:@a", "unix:@a/../a"},
  };
  for (const auto& [listener, server] : fine) {
    EXPECT_FALSE(IsLoop(Listening(listener), Server(server))) << listener << " " << server;
    EXPECT_THAT(Of(listener, server).errors, IsEmpty()) << listener << " " << server;
  }
}

TEST(ValidateTest, EachServerIsHeldAgainstEachAddress) {
  EXPECT_THAT(Of(":80,unix:/a", "10.0.0.1:80,unix:/a,127.0.0.1:80").errors,
              ElementsAre("f:1:13: --upstream: unix:/a is our own listener unix:/a (f:1:5), so "
                          "connections would go in a circle; name another address or port",
                          "f:1:21: --upstream: 127.0.0.1:80 is our own listener :80 (f:1:1), so "
                          "connections would go in a circle; name another address or port"));
}

TEST(ValidateTest, TheSameAddressTwiceIsAnError) {
  EXPECT_THAT(
      Of("127.0.0.1:80,127.0.0.1:80", "1.2.3.4:5").errors,
      ElementsAre("f:1:14: --listen: 127.0.0.1:80 is here twice, first at f:1:1; keep one"));
  EXPECT_THAT(Of(":80,0.0.0.0:80", "1.2.3.4:5").errors,
              ElementsAre("f:1:5: --listen: 0.0.0.0:80 is part of :80, first at f:1:1; keep one"));
  EXPECT_THAT(Of("[::]:80,:80", "1.2.3.4:5").errors,
              ElementsAre("f:1:9: --listen: :80 is part of [::]:80, first at f:1:1; keep one"));
  EXPECT_THAT(Of("1.1.1.1:80,[::ffff:1.1.1.1]:80", "1.2.3.4:5").errors,
              ElementsAre("f:1:12: --listen: [::ffff:1.1.1.1]:80 is the same as 1.1.1.1:80, first "
                          "at f:1:1; keep one"));
  EXPECT_THAT(
      Of(":80", "1.2.3.4:5,[::1]:5,[::ffff:1.2.3.4]:5,unix:/a,unix:/./a").errors,
      ElementsAre("f:1:19: --upstream: [::ffff:1.2.3.4]:5 is here twice, first at f:1:1; "
                  "keep one",
                  "f:1:46: --upstream: unix:/./a is here twice, first at f:1:38; keep one"));
}

TEST(ValidateTest, Ipv6AloneLeavesIpv4ToOthers) {
  Problems errors, warnings;
  Declarations said;
  said.scalars = DefaultScalars();
  const auto listen = [&](std::string_view text) {
    const Place place{"f", static_cast<int>(said.listens.size()) + 1, 1};
    said.listens.push_back(ParseListen(place, SourceText(text, place), &errors));
  };
  listen("[::]:80 v6only");
  listen("0.0.0.0:80");
  const Place place{"g", 1, 1};
  said.upstreams.push_back(ParseUpstream(place, SourceText("1.2.3.4:5", place), &errors));
  EXPECT_TRUE(Validate(said, SystemFacts(), Strictness::kStart, &errors, &warnings).has_value());
  listen(":80");
  Validate(said, SystemFacts(), Strictness::kStart, &errors, &warnings);
  EXPECT_THAT(errors.Lines(), ElementsAre("f:3:1: --listen: :80 is part of 0.0.0.0:80, first at "
                                          "f:2:1; keep one"));
  EXPECT_FALSE(IsLoop(Listening("[::]:80"), Server("127.0.0.1:80"), /*v6only=*/true));
  EXPECT_TRUE(IsLoop(Listening("[::]:80"), Server("[::1]:80"), /*v6only=*/true));
}

TEST(ValidateTest, AServerWithoutAPortTakesTheListeners) {
  EXPECT_THAT(Of(":80-90,1.2.3.4:7", "10.0.0.1,10.0.0.2:+5").errors, IsEmpty());
  EXPECT_THAT(Of(":80", "127.0.0.1").errors,
              ElementsAre(HasSubstr("127.0.0.1:80 is our own listener :80")));
  EXPECT_THAT(Of("10.0.0.1:80-90", "10.0.0.1:+5").errors,
              ElementsAre(HasSubstr("10.0.0.1:85 is our own listener 10.0.0.1:85")));
  EXPECT_THAT(Of("127.0.0.1:80-90", "127.0.0.1:+11").errors, IsEmpty());
  EXPECT_THAT(Of(":80,unix:/a name=x", "10.0.0.1").errors,
              ElementsAre("f:1:1: --upstream: 10.0.0.1 takes the listener's port, and unix:/a of "
                          "listener x has none; write one, such as 10.0.0.1:80"));
  EXPECT_THAT(Of(":65000", "10.0.0.1:+536").errors,
              ElementsAre("f:1:1: --upstream: 10.0.0.1:+536 is beyond port 65535 for :65000 of "
                          "listener :65000; write a smaller number"));
  EXPECT_THAT(Of(":80", "10.0.0.1,10.0.0.1:+0").errors,
              ElementsAre(HasSubstr("10.0.0.1 is here twice")));
}

TEST(ValidateTest, AnAddressBesideTheWildcardIsFine) {
  EXPECT_THAT(Of(":80,127.0.0.1:80,:81,unix:/a,unix:@a", "1.2.3.4:5").errors, IsEmpty());
}

TEST(ValidateTest, NamesAreGivenAndFound) {
  const Outcome named = Of("addr=:80 name=web upstream=app", "1.2.3.4:5 name=app");
  ASSERT_THAT(named.errors, IsEmpty());
  EXPECT_EQ(named.snapshot->listeners[0].name, "web");
  EXPECT_EQ(named.snapshot->upstreams[0].name, "app");
  EXPECT_THAT(Of(":80 upstream=default", "1.2.3.4:5").errors, IsEmpty());
  EXPECT_THAT(Of(":80 upstream=ap", "1.2.3.4:5 name=app").errors,
              ElementsAre("f:1:14: --listen: there is no upstream \"ap\"; the names are app (did "
                          "you mean app?)"));
}

TEST(ValidateTest, TheReserveCountsWhatEachWorkerOpens) {
  EXPECT_EQ(ReservedDescriptors(1, 1, 0), kProcessDescriptors + 1 + 3);
  EXPECT_EQ(ReservedDescriptors(4, 3, 32), kProcessDescriptors + 4 * (3 + 3 + 64));
}

TEST(ValidateTest, ChecksOfServersThatAreUnderWayAtOnceHaveDescriptorsToo) {
  const uint64_t plain = Of(":80", "1.2.3.4:5,1.2.3.5:5").snapshot->reserved_descriptors;
  EXPECT_EQ(Of(":80", "1.2.3.4:5,1.2.3.5:5 health=tcp").snapshot->reserved_descriptors, plain + 2);
}

TEST(ValidateTest, AServerWithoutAPortOfItsOwnIsCheckedAtAnother) {
  EXPECT_THAT(Of(":80", "1.2.3.4:+5 health=tcp health_port=8008").errors, IsEmpty());
  EXPECT_THAT(Of(":80", "1.2.3.4:+5").errors, IsEmpty());
  EXPECT_EQ(Of(":80", "1.2.3.4:+5 health=tcp").errors.size(), 1u);
}

TEST(ValidateTest, PipesTakeAtMostOneDescriptorInEight) {
  EXPECT_EQ(PipesPerWorker(1, uint64_t{1} << 20), kMostPipesPerWorker);
  EXPECT_EQ(PipesPerWorker(2, 256), 8u);
  EXPECT_EQ(PipesPerWorker(1024, 4096), 0u);
  EXPECT_EQ(PipesPerWorker(1, 0), 0u);
}

}  // namespace
}  // namespace parkway::config
