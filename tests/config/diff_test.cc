#include "config/diff.h"

#include <string>
#include <utility>

#include "config/flags.h"
#include "config/snapshot.h"
#include "config/value.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace parkway::config {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::IsEmpty;
using testing::StartsWith;

Server ServerAt(const std::string& name, const std::string& address) {
  return {name, *ParseAddress(address, AddressUse::kConnects), DefaultScalars()};
}

// Listener web on upstream app with a and b; upstream db with c.
Snapshot First() {
  Snapshot snapshot;
  snapshot.scalars = DefaultScalars();
  Listener web;
  web.name = "web";
  web.addresses = {*ParseAddress("127.0.0.1:80", AddressUse::kListens)};
  web.settings = DefaultScalars();
  snapshot.listeners = {web};
  snapshot.upstreams = {
      {"app", {ServerAt("a", "10.0.0.1:80"), ServerAt("b", "10.0.0.2:80")}, DefaultScalars()},
      {"db", {ServerAt("c", "10.0.0.3:80")}, DefaultScalars()}};
  return snapshot;
}

TEST(DiffTest, TheSameIsCountedAndHasNoLine) {
  const Difference same = Diff(First(), First());
  EXPECT_TRUE(same.empty());
  EXPECT_THAT(same.not_reloadable, IsEmpty());
  EXPECT_EQ(same.unchanged, 3u);
  EXPECT_EQ(same.Text(), "=3 unchanged");
}

TEST(DiffTest, TheOrderOfLinesIsNoChange) {
  Snapshot after = First();
  std::swap(after.upstreams[0], after.upstreams[1]);
  after.listeners[0].upstream = 1;
  std::swap(after.upstreams[1].servers[0], after.upstreams[1].servers[1]);
  EXPECT_EQ(Diff(First(), after).Text(), "=3 unchanged");
}

TEST(DiffTest, WhatIsNewAndWhatIsGone) {
  Snapshot after = First();
  after.listeners[0].name = "site";
  after.upstreams[1].name = "cache";
  const Difference difference = Diff(First(), after);
  EXPECT_THAT(difference.lines, ElementsAre("+listener site (127.0.0.1:80)", "-listener web",
                                            "+upstream cache (1 server)", "-upstream db"));
  EXPECT_EQ(difference.unchanged, 1u);
}

TEST(DiffTest, ServersThatCameWentAndChanged) {
  Snapshot after = First();
  after.upstreams[0].servers[0] = ServerAt("a", "10.0.0.9:80");
  after.upstreams[0].servers[0].settings.weight = 5;
  after.upstreams[0].servers[1].name = "x";
  after.upstreams[0].servers.push_back(ServerAt("y", "10.0.0.7:80"));
  const Difference difference = Diff(First(), after);
  EXPECT_THAT(difference.lines,
              ElementsAre("~upstream app: +2 servers, -1 server, server a addr 10.0.0.1:80 -> "
                          "10.0.0.9:80, server a weight 1 -> 5"));
  EXPECT_EQ(difference.unchanged, 2u);
}

TEST(DiffTest, WhatAnUpstreamSaysOfAllItsServersIsToldOnce) {
  Snapshot after = First();
  Upstream& app = after.upstreams[0];
  app.settings.passive_fails = 9;
  for (Server& server : app.servers) server.settings.passive_fails = 9;
  app.servers[1].settings.weight = 2;
  EXPECT_THAT(Diff(First(), after).lines,
              ElementsAre("~upstream app: server b weight 1 -> 2, passive_fails 5 -> 9"));
}

TEST(DiffTest, AListenersAddressUpstreamAndLimit) {
  Snapshot after = First();
  Listener& web = after.listeners[0];
  web.addresses = {*ParseAddress("127.0.0.1:81", AddressUse::kListens)};
  web.upstream = 1;
  web.max_connections = 7;
  EXPECT_THAT(Diff(First(), after).lines,
              ElementsAre("~listener web: addr 127.0.0.1:80 -> 127.0.0.1:81, upstream app -> db, "
                          "max_connections 0 -> 7"));
}

TEST(DiffTest, ARouteAndAFileOfServers) {
  Snapshot after = First();
  Route route;
  route.listener = 0;
  route.sni = {"a.example"};
  route.upstream = 1;
  after.routes = {route};
  after.upstreams[1].servers_file = "/srv/db";
  EXPECT_THAT(
      Diff(First(), after).lines,
      ElementsAre("~listener web: other routes", "~upstream db: servers_file none -> /srv/db"));
}

TEST(DiffTest, AFileOfPrefixesThatHoldsSomethingElse) {
  Snapshot before = First();
  before.listeners[0].settings.deny = "@bad";
  Snapshot after = before;
  before.prefix_files["bad"] = {};
  after.prefix_files["bad"] = {};
  EXPECT_TRUE(Diff(before, after).empty());
  after.prefix_files["bad"].push_back({});
  EXPECT_THAT(Diff(before, after).lines, ElementsAre("~listener web: other prefixes in @bad"));
}

TEST(DiffTest, AFlagThatAReloadDoesNotApplyIsAWarning) {
  Snapshot after = First();
  after.scalars.threads = 77;
  const Difference difference = Diff(First(), after);
  EXPECT_TRUE(difference.empty());
  ASSERT_EQ(difference.not_reloadable.size(), 1u);
  EXPECT_THAT(difference.Text(), testing::StartsWith("WARNING: threads: "));
  EXPECT_THAT(difference.Text(), testing::HasSubstr("restart for it\n=3 unchanged"));
}

TEST(DiffTest, OneLineTellsAllThatIsNotMuch) {
  Snapshot after = First();
  after.listeners[0].name = "site";
  EXPECT_EQ(Diff(First(), after).Line(),
            "+listener site (127.0.0.1:80); -listener web; =2 unchanged");
}

TEST(DiffTest, OneLineTellsMuchByNames) {
  Snapshot before = First(), after = First();
  for (int i = 0; i < 700; ++i) {
    const std::string name = "pool" + std::to_string(i);
    before.upstreams.push_back({name, {ServerAt("a", "10.0.0.1:80")}, DefaultScalars()});
    after.upstreams.push_back({name, {ServerAt("a", "10.0.0.2:80")}, DefaultScalars()});
    after.upstreams.push_back({"new" + name, {}, DefaultScalars()});
  }
  after.scalars.max_connections = 7;
  after.listeners[0].addresses.push_back(*ParseAddress("127.0.0.1:81", AddressUse::kListens));
  const std::string line = Diff(before, after).Line();
  EXPECT_THAT(line, StartsWith("~max_connections: "));
  EXPECT_THAT(line, EndsWith("; +upstream newpool0, newpool1, newpool2, newpool3, newpool4 and 695 "
                             "more; ~listener web: addr 127.0.0.1:80 -> 127.0.0.1:80,127.0.0.1:81; "
                             "~upstream pool0, pool1, pool2, pool3, pool4 and 695 more; "
                             "=2 unchanged"));
}

}  // namespace
}  // namespace parkway::config
