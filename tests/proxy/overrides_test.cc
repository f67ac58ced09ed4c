#include "proxy/overrides.h"

#include <string>
#include <vector>

#include "config/snapshot.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace parkway {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

config::Server Server(const std::string& name, uint8_t last, uint32_t weight = 1) {
  config::Server server;
  server.name = name;
  server.address.kind = config::Address::Kind::kIpv4;
  server.address.ip = {10, 0, 0, last};
  server.address.port = 9000;
  server.settings.weight = weight;
  return server;
}

// Upstream app with a and b; its servers stand for themselves.
class OverridesTest : public testing::Test {
 protected:
  OverridesTest() {
    config::Upstream app;
    app.name = "app";
    app.servers = {Server("a", 1), Server("b", 2)};
    snapshot_.upstreams = {app};
  }

  config::Upstream& app() { return snapshot_.upstreams[0]; }
  // As they are to be, "name weight state max_conns".
  std::vector<std::string> Applied() {
    std::vector<config::Server> servers = app().servers;
    overrides_.Apply(app(), servers);
    std::vector<std::string> shown;
    for (const config::Server& server : servers) {
      shown.push_back(server.name + " " + std::to_string(server.settings.weight) + " " +
                      std::to_string(static_cast<int>(server.settings.state)) + " " +
                      std::to_string(server.settings.max_conns));
    }
    return shown;
  }
  std::vector<config::Server> Members() {
    std::vector<config::Server> servers = app().servers;
    overrides_.Apply(app(), servers);
    return servers;
  }

  config::Snapshot snapshot_;
  Overrides overrides_;
};

TEST_F(OverridesTest, WhatWasChangedCountsAndIsListed) {
  EXPECT_EQ(overrides_.SetWeight(app(), Members(), "a", 0), "");
  EXPECT_EQ(overrides_.SetState(app(), Members(), "b", config::ServerState::kDrain), "");
  EXPECT_EQ(overrides_.SetMaxConns(app(), Members(), "b", 7), "");
  EXPECT_THAT(Applied(), ElementsAre("a 0 0 0", "b 1 1 7"));
  EXPECT_THAT(overrides_.Lines(), ElementsAre("server app/a weight=0 (file: 1)",
                                              "server app/b state=drain (file: ready)",
                                              "server app/b max_conns=7 (file: 0)"));
}

TEST_F(OverridesTest, WhatIsSetBackToTheFilesValueIsNoChange) {
  EXPECT_EQ(overrides_.SetWeight(app(), Members(), "a", 5), "");
  EXPECT_EQ(overrides_.SetWeight(app(), Members(), "a", 1), "");
  EXPECT_TRUE(overrides_.empty());
}

TEST_F(OverridesTest, AServerThatIsNotThereIsSaid) {
  EXPECT_EQ(overrides_.SetWeight(app(), Members(), "c", 0), "there is no server \"app/c\"");
  EXPECT_EQ(overrides_.Remove(app(), Members(), "c"), "there is no server \"app/c\"");
  EXPECT_TRUE(overrides_.empty());
}

TEST_F(OverridesTest, AReloadOfTheSameFileKeepsEverything) {
  overrides_.SetWeight(app(), Members(), "a", 0);
  overrides_.Remove(app(), Members(), "b");
  overrides_.Add(app(), Members(), "name=c addr=10.0.0.3:9000 weight=4");
  overrides_.SetMaxConns(app(), Members(), "c", 9);
  EXPECT_EQ(overrides_.After(snapshot_), overrides_);
  EXPECT_THAT(Applied(), ElementsAre("a 0 0 0", "c 4 0 9"));
}

TEST_F(OverridesTest, AValueThatTheFileChangesCountsAgainAndOthersStay) {
  overrides_.SetWeight(app(), Members(), "a", 0);
  overrides_.SetMaxConns(app(), Members(), "a", 3);
  app().servers[0].settings.weight = 20;
  overrides_ = overrides_.After(snapshot_);
  EXPECT_THAT(Applied(), ElementsAre("a 20 0 3", "b 1 0 0"));
}

TEST_F(OverridesTest, WhatTheFileNoLongerHasIsForgotten) {
  overrides_.SetWeight(app(), Members(), "a", 0);
  overrides_.Remove(app(), Members(), "b");
  app().servers.clear();
  EXPECT_TRUE(overrides_.After(snapshot_).empty());
  snapshot_.upstreams.clear();
  EXPECT_TRUE(overrides_.After(snapshot_).empty());
}

TEST_F(OverridesTest, AServerIsAddedWithWhatItsUpstreamSays) {
  app().settings.passive_fails = 42;
  EXPECT_EQ(overrides_.Add(app(), Members(), "name=c addr=10.0.0.3:9000"), "");
  ASSERT_EQ(Members().size(), 3u);
  EXPECT_EQ(Members()[2].settings.passive_fails, 42u);
  EXPECT_THAT(overrides_.Lines(), ElementsAre("server app/c added: name=c addr=10.0.0.3:9000"));
  EXPECT_EQ(overrides_.Remove(app(), Members(), "c"), "");
  EXPECT_TRUE(overrides_.empty());
}

TEST_F(OverridesTest, AServerThatCannotBeIsNotAdded) {
  EXPECT_THAT(overrides_.Add(app(), Members(), "name=a addr=10.0.0.9:1"),
              HasSubstr("a second server of app is called a"));
  EXPECT_THAT(overrides_.Add(app(), Members(), "name=c addr=10.0.0.1:9000"), HasSubstr("twice"));
  EXPECT_THAT(overrides_.Add(app(), Members(), "name=c addr=nonsense"), testing::Not(IsEmpty()));
  EXPECT_THAT(overrides_.Add(app(), Members(), "name=c addr=db.example:9000"),
              HasSubstr("give an address"));
  EXPECT_THAT(overrides_.Add(app(), Members(), "name=c wieght=1"), testing::Not(IsEmpty()));
  EXPECT_TRUE(overrides_.empty());
}

TEST_F(OverridesTest, AFileThatComesToHaveAnAddedServerCounts) {
  overrides_.Add(app(), Members(), "name=c addr=10.0.0.3:9000 weight=4");
  app().servers.push_back(Server("c", 3, 9));
  overrides_ = overrides_.After(snapshot_);
  EXPECT_TRUE(overrides_.empty());
  EXPECT_THAT(Applied(), ElementsAre("a 1 0 0", "b 1 0 0", "c 9 0 0"));
}

TEST_F(OverridesTest, ARemovedServerWhoseAddressTheFileChangesIsBack) {
  overrides_.Remove(app(), Members(), "b");
  EXPECT_THAT(Applied(), ElementsAre("a 1 0 0"));
  app().servers[1].address.port = 9001;
  overrides_ = overrides_.After(snapshot_);
  EXPECT_THAT(Applied(), ElementsAre("a 1 0 0", "b 1 0 0"));
}

TEST_F(OverridesTest, ANameStandsForAllItsAddresses) {
  std::vector<config::Server> members = {Server("db/10.0.0.7:1", 7), Server("db/10.0.0.8:1", 8)};
  for (config::Server& member : members) member.group = "db";
  config::Server line = Server("db", 0);
  app().servers = {line};
  EXPECT_EQ(overrides_.SetWeight(app(), members, "db", 3), "");
  EXPECT_EQ(overrides_.SetWeight(app(), members, "db/10.0.0.8:1", 0), "");
  overrides_.Apply(app(), members);
  EXPECT_EQ(members[0].settings.weight, 3u);
  EXPECT_EQ(members[1].settings.weight, 0u);
  EXPECT_THAT(overrides_.Remove(app(), members, "db/10.0.0.8:1"),
              HasSubstr("one of several addresses of a name"));
  EXPECT_EQ(overrides_.Remove(app(), members, "db"), "");
  overrides_.Apply(app(), members);
  EXPECT_TRUE(members.empty());
}

// Upstream app with the name db, which has two addresses.
class OverridesOfANameTest : public OverridesTest {
 protected:
  OverridesOfANameTest() {
    config::Server line = Server("db", 0);
    line.address = {};
    line.address.kind = config::Address::Kind::kHost;
    line.address.path = "db.example";
    app().servers = {line};
  }
  std::vector<config::Server> Addresses() {
    std::vector<config::Server> members = {Server("db/10.0.0.7:1", 7), Server("db/10.0.0.8:1", 8)};
    for (config::Server& member : members) {
      member.settings = app().servers[0].settings;
      member.group = "db";
    }
    return members;
  }
  std::vector<uint32_t> Weights() {
    std::vector<config::Server> members = Addresses();
    overrides_.Apply(app(), members);
    return {members[0].settings.weight, members[1].settings.weight};
  }
  void SetWeight(const std::string& server, uint32_t weight) {
    EXPECT_EQ(overrides_.SetWeight(app(), Addresses(), server, weight), "");
  }
};

TEST_F(OverridesOfANameTest, TheLaterWordCounts) {
  SetWeight("db/10.0.0.7:1", 5);
  EXPECT_THAT(Weights(), ElementsAre(5, 1));
  SetWeight("db", 3);
  EXPECT_THAT(Weights(), ElementsAre(3, 3));
  SetWeight("db/10.0.0.8:1", 1);
  EXPECT_THAT(Weights(), ElementsAre(3, 1)) << "as the file has it, and not the name";
  SetWeight("db/10.0.0.8:1", 3);
  SetWeight("db", 1);
  EXPECT_THAT(Weights(), ElementsAre(1, 1));
  EXPECT_TRUE(overrides_.empty());
}

TEST_F(OverridesOfANameTest, AllAreReadyThoughOneWasDrainedAlone) {
  const auto set = [this](const std::string& server, config::ServerState state) {
    EXPECT_EQ(overrides_.SetState(app(), Addresses(), server, state), "");
  };
  set("db/10.0.0.7:1", config::ServerState::kDrain);
  SetWeight("db/10.0.0.7:1", 9);
  set("db", config::ServerState::kReady);
  EXPECT_THAT(overrides_.Lines(), ElementsAre("server app/db/10.0.0.7:1 weight=9 (file: 1)"));
  set("db/10.0.0.8:1", config::ServerState::kDown);
  set("db/10.0.0.8:1", config::ServerState::kReady);
  EXPECT_THAT(overrides_.Lines(), SizeIs(1)) << "as if nothing had been said of it";
}

TEST_F(OverridesOfANameTest, WhatTheFileSaysOfTheNameIsOfEachAddress) {
  SetWeight("db/10.0.0.7:1", 5);
  EXPECT_EQ(overrides_.After(snapshot_), overrides_);
  app().servers[0].settings.weight = 8;
  overrides_ = overrides_.After(snapshot_);
  EXPECT_THAT(Weights(), ElementsAre(8, 8));
  SetWeight("db/10.0.0.7:1", 5);
  app().servers.clear();
  EXPECT_TRUE(overrides_.After(snapshot_).empty());
}

}  // namespace
}  // namespace parkway
