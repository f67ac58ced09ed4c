#include "proxy/planner.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "config/flags.h"
#include "config/snapshot.h"
#include "config/value.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace parkway {
namespace {

using config::AddressUse;
using config::ParseAddress;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

config::Server ServerAt(const std::string& name, const std::string& address) {
  return {name, *ParseAddress(address, AddressUse::kConnects), config::DefaultScalars()};
}

config::Upstream UpstreamOf(const std::string& name, std::vector<config::Server> servers) {
  return {name, std::move(servers), config::DefaultScalars()};
}

config::Listener ListenerOf(const std::string& name, std::vector<std::string> addresses) {
  config::Listener listener;
  listener.name = name;
  for (const std::string& address : addresses) {
    listener.addresses.push_back(*ParseAddress(address, AddressUse::kListens));
  }
  listener.settings = config::DefaultScalars();
  return listener;
}

// Listener web; upstreams app with a and b, and db with c.
config::Snapshot First() {
  config::Snapshot snapshot;
  snapshot.scalars = config::DefaultScalars();
  snapshot.listeners = {ListenerOf("web", {"127.0.0.1:80"})};
  snapshot.upstreams = {
      UpstreamOf("app", {ServerAt("a", "10.0.0.1:80"), ServerAt("b", "10.0.0.2:80")}),
      UpstreamOf("db", {ServerAt("c", "10.0.0.3:80")})};
  return snapshot;
}

SlotRef ServerAt(size_t upstream, size_t server) {
  return {.slot = static_cast<uint16_t>(upstream), .server = static_cast<uint16_t>(server)};
}
SlotRef UpstreamAt(size_t slot) {
  return {.kind = SlotRef::Kind::kUpstream, .slot = static_cast<uint16_t>(slot)};
}
SlotRef ListenerAt(size_t slot) {
  return {.kind = SlotRef::Kind::kListener, .slot = static_cast<uint16_t>(slot)};
}

class PlannerTest : public testing::Test {
 protected:
  std::shared_ptr<const Plan> Load(const config::Snapshot& snapshot) {
    const Planner::Draft draft =
        planner_.Configure(std::make_shared<const config::Snapshot>(snapshot));
    EXPECT_EQ(draft.error, "");
    planner_.Accept(draft);
    return draft.plan;
  }

  Planner planner_{{}, {32768, 60999}};
};

// By slot, those that are gone with a dash.
std::vector<std::string> Shown(const UpstreamPlan& upstream) {
  std::vector<std::string> shown;
  for (const ServerPlan& server : upstream.servers) {
    shown.push_back((server.gone ? "-" : "") + server.name);
  }
  return shown;
}

TEST_F(PlannerTest, WhatIsTheSameIsSharedByPointer) {
  const auto first = Load(First());
  const auto again = Load(First());
  EXPECT_NE(first, again);
  EXPECT_EQ(first->listeners, again->listeners);
  EXPECT_EQ(first->upstreams, again->upstreams);
  EXPECT_EQ(again->generation, first->generation + 1);

  config::Snapshot changed = First();
  changed.upstreams[0].servers[1].settings.weight = 7;
  const auto next = Load(changed);
  EXPECT_EQ(next->listeners, first->listeners);
  EXPECT_EQ(next->upstreams[1], first->upstreams[1]);
  EXPECT_NE(next->upstreams[0], first->upstreams[0]);
  EXPECT_EQ(next->upstreams[0]->servers[1].weight, 7u);
  EXPECT_EQ(first->upstreams[0]->servers[1].weight, 1u);
}

TEST_F(PlannerTest, ADraftThatIsNotAcceptedChangesNothing) {
  const auto first = Load(First());
  config::Snapshot changed = First();
  changed.upstreams.clear();
  changed.listeners.clear();
  EXPECT_NE(planner_.Configure(std::make_shared<const config::Snapshot>(changed)).plan, nullptr);
  EXPECT_EQ(planner_.current(), first);
  const auto again = Load(First());
  EXPECT_EQ(again->upstreams, first->upstreams);
  EXPECT_EQ(again->generation, 2u);
}

TEST_F(PlannerTest, ServersKeepTheirSlotsAndTheirOrderIsTheConfigurations) {
  Load(First());
  config::Snapshot changed = First();
  changed.upstreams[0].servers = {ServerAt("d", "10.0.0.4:80"), ServerAt("b", "10.0.0.9:80")};
  const auto next = Load(changed);
  const UpstreamPlan& app = *next->upstreams[0];
  EXPECT_THAT(Shown(app), ElementsAre("-a", "b", "d"));
  EXPECT_THAT(app.order, ElementsAre(2, 1));
  EXPECT_EQ(app.servers[1].address.ToString(), "10.0.0.9:80");

  const auto back = Load(First());
  EXPECT_THAT(Shown(*back->upstreams[0]), ElementsAre("a", "b", "-d"));
  EXPECT_THAT(back->upstreams[0]->order, ElementsAre(0, 1));
}

TEST_F(PlannerTest, ASlotIsAnothersOnlyAfterItWasVacatedAndFreed) {
  Load(First());
  const auto with = [this](std::vector<config::Server> servers) {
    config::Snapshot changed = First();
    changed.upstreams[0].servers = std::move(servers);
    return Shown(*Load(changed)->upstreams[0]);
  };
  const config::Server b = ServerAt("b", "10.0.0.2:80");
  EXPECT_THAT(with({b}), ElementsAre("-a", "b"));
  EXPECT_THAT(with({b, ServerAt("c", "10.0.0.3:80")}), ElementsAre("-a", "b", "c"));
  // Those that live are not touched.
  const auto vacated = planner_.Vacate({ServerAt(0, 0), ServerAt(0, 1), ServerAt(1, 0)});
  EXPECT_EQ(vacated, planner_.current());
  EXPECT_THAT(Shown(*vacated->upstreams[0]), ElementsAre("-", "b", "c"));
  EXPECT_TRUE(vacated->upstreams[0]->servers[0].vacant());
  EXPECT_THAT(Shown(*vacated->upstreams[1]), ElementsAre("c"));
  // Vacated is not free: workers have not forgotten what they counted. Nor does a name come back.
  EXPECT_THAT(with({b, ServerAt("a", "10.0.0.1:80")}), ElementsAre("-", "b", "-c", "a"));
  planner_.Free({ServerAt(0, 0)});
  // A draft that is dropped takes nothing.
  config::Snapshot dropped = First();
  dropped.upstreams[0].servers = {ServerAt("x", "10.0.0.9:80")};
  static_cast<void>(planner_.Configure(std::make_shared<const config::Snapshot>(dropped)));
  EXPECT_THAT(with({b, ServerAt("a", "10.0.0.1:80"), ServerAt("d", "10.0.0.4:80")}),
              ElementsAre("d", "b", "-c", "a"));
  // It is taken once.
  EXPECT_THAT(with({b, ServerAt("a", "10.0.0.1:80"), ServerAt("d", "10.0.0.4:80"),
                    ServerAt("e", "10.0.0.5:80")}),
              ElementsAre("d", "b", "-c", "a", "e"));
  EXPECT_THAT(planner_.current()->upstreams[0]->order, ElementsAre(1, 3, 0, 4));
}

TEST_F(PlannerTest, AThousandServersThatComeAndGoNeedAFewSlots) {
  for (int i = 0; i < 1000; ++i) {
    config::Snapshot changed = First();
    changed.upstreams[0].servers = {ServerAt("s" + std::to_string(i), "10.0.0.1:80")};
    const auto plan = Load(changed);
    std::vector<SlotRef> gone;
    for (size_t s = 0; s < plan->upstreams[0]->servers.size(); ++s) {
      const ServerPlan& server = plan->upstreams[0]->servers[s];
      if (server.gone && !server.vacant()) gone.push_back(ServerAt(0, s));
    }
    planner_.Vacate(gone);
    planner_.Free(gone);
    EXPECT_LE(plan->upstreams[0]->servers.size(), 2u);
  }
}

TEST_F(PlannerTest, AnUpstreamIsAnothersOnlyAfterItWasVacatedAndFreed) {
  Load(First());
  const auto with = [this](std::vector<config::Upstream> upstreams) {
    config::Snapshot changed = First();
    changed.upstreams = std::move(upstreams);
    return Load(changed);
  };
  const config::Upstream db = First().upstreams[1];
  const config::Upstream more = UpstreamOf(
      "more",
      {ServerAt("x", "10.0.0.7:80"), ServerAt("y", "10.0.0.8:80"), ServerAt("z", "10.0.0.9:80")});
  // app is gone, and somebody may still be there.
  EXPECT_EQ(with({db})->upstreams.size(), 2u);
  EXPECT_EQ(with({db, UpstreamOf("web", {ServerAt("w", "10.0.0.6:80")})})->upstreams.size(), 3u);
  planner_.Vacate({ServerAt(0, 0), ServerAt(0, 1)});
  planner_.Free({ServerAt(0, 0), ServerAt(0, 1)});
  // Those that live are not touched.
  const auto vacated = planner_.Vacate({UpstreamAt(0), UpstreamAt(1)});
  EXPECT_TRUE(vacated->upstreams[0]->vacant());
  EXPECT_EQ(vacated->upstreams[1]->name, "db");
  // Vacated is not free. Nor does the name come back.
  const auto back = with({db, First().upstreams[0]});
  EXPECT_TRUE(back->upstreams[0]->vacant());
  EXPECT_EQ(back->upstreams[3]->name, "app");
  planner_.Free({UpstreamAt(0)});
  // A draft that is dropped takes nothing.
  config::Snapshot dropped = First();
  dropped.upstreams = {more};
  static_cast<void>(planner_.Configure(std::make_shared<const config::Snapshot>(dropped)));
  const auto reused = with({db, First().upstreams[0], more});
  EXPECT_EQ(reused->upstreams.size(), 4u);
  EXPECT_EQ(reused->upstreams[0]->name, "more");
  EXPECT_FALSE(reused->upstreams[0]->gone);
  // Its servers are where those of app were.
  EXPECT_THAT(Shown(*reused->upstreams[0]), ElementsAre("x", "y", "z"));
  EXPECT_EQ(
      with({db, First().upstreams[0], more, UpstreamOf("last", {ServerAt("l", "10.0.0.5:1")})})
          ->upstreams.size(),
      5u);
}

TEST_F(PlannerTest, AListenersSlotIsAnothersOnlyAfterItWasVacatedAndFreed) {
  Load(First());
  const auto with = [this](std::vector<config::Listener> listeners) {
    config::Snapshot changed = First();
    changed.listeners = std::move(listeners);
    return Load(changed);
  };
  const config::Listener sql = ListenerOf("sql", {"127.0.0.1:81"});
  EXPECT_EQ(with({sql})->listeners.size(), 2u);
  // One that lives is not touched.
  const auto vacated = planner_.Vacate({ListenerAt(0), ListenerAt(1)});
  EXPECT_TRUE(vacated->listeners[0]->vacant());
  EXPECT_EQ(vacated->listeners[0]->upstream, kNoUpstream);
  EXPECT_EQ(vacated->listeners[1]->name, "sql");
  EXPECT_EQ(with({sql, First().listeners[0]})->listeners.size(), 3u);
  planner_.Free({ListenerAt(0)});
  const auto reused =
      with({sql, First().listeners[0], ListenerOf("two", {"127.0.0.1:82", "127.0.0.1:83"})});
  ASSERT_EQ(reused->listeners.size(), 4u);
  EXPECT_EQ(reused->listeners[0]->name, "two");
  EXPECT_FALSE(reused->listeners[0]->gone);
  EXPECT_EQ(reused->listeners[3]->address.ToString(), "127.0.0.1:83");
  EXPECT_EQ(with({sql})->listeners[0]->gone, true);
}

TEST_F(PlannerTest, UpstreamsKeepTheirSlotsWhateverTheOrderOfLines) {
  Load(First());
  config::Snapshot changed = First();
  std::swap(changed.upstreams[0], changed.upstreams[1]);
  changed.listeners[0].upstream = 1;  // app, as before
  const auto swapped = Load(changed);
  EXPECT_EQ(swapped->upstreams[0]->name, "app");
  EXPECT_EQ(swapped->upstreams[1]->name, "db");
  EXPECT_EQ(swapped->listeners[0]->upstream, 0u);

  changed.upstreams = {UpstreamOf("new", {ServerAt("n", "10.0.0.8:80")}), First().upstreams[0]};
  const auto next = Load(changed);
  ASSERT_EQ(next->upstreams.size(), 3u);
  EXPECT_FALSE(next->upstreams[0]->gone);
  EXPECT_TRUE(next->upstreams[1]->gone);
  EXPECT_THAT(Shown(*next->upstreams[1]), ElementsAre("-c"));
  EXPECT_EQ(next->upstreams[2]->name, "new");

  const auto later = Load(changed);
  EXPECT_EQ(later->upstreams, next->upstreams);
  const auto back = Load(First());
  EXPECT_THAT(Shown(*back->upstreams[1]), ElementsAre("c"));
  EXPECT_FALSE(back->upstreams[1]->gone);
}

TEST_F(PlannerTest, AListenerIsTheSameByNameAndAddress) {
  config::Snapshot snapshot = First();
  snapshot.listeners = {ListenerOf("web", {"127.0.0.1:80", "127.0.0.1:81"})};
  const auto first = Load(snapshot);
  ASSERT_EQ(first->listeners.size(), 2u);

  snapshot.listeners = {ListenerOf("web", {"127.0.0.1:82", "127.0.0.1:81"})};
  const auto next = Load(snapshot);
  ASSERT_EQ(next->listeners.size(), 3u);
  EXPECT_TRUE(next->listeners[0]->gone);
  EXPECT_EQ(next->listeners[1], first->listeners[1]);
  EXPECT_EQ(next->listeners[2]->address.port(), 82);

  snapshot.listeners = {ListenerOf("site", {"127.0.0.1:81"})};
  const auto renamed = Load(snapshot);
  ASSERT_EQ(renamed->listeners.size(), 4u);
  EXPECT_TRUE(renamed->listeners[1]->gone);
  EXPECT_EQ(renamed->listeners[3]->name, "site");
}

TEST_F(PlannerTest, LimitsAreThoseOfAListenersNameAndOutliveChanges) {
  config::Snapshot snapshot = First();
  snapshot.listeners = {ListenerOf("web", {"127.0.0.1:80", "127.0.0.1:81"}),
                        ListenerOf("other", {"127.0.0.1:90"})};
  const auto first = Load(snapshot);
  const auto limits = first->listeners[0]->limits;
  ASSERT_NE(limits, nullptr);
  EXPECT_EQ(first->listeners[1]->limits, limits);
  EXPECT_NE(first->listeners[2]->limits, limits);

  snapshot.listeners[0].max_connections = 5;
  const auto next = Load(snapshot);
  EXPECT_NE(next->listeners[0], first->listeners[0]);
  EXPECT_EQ(next->listeners[0]->numbers.max_connections, 5u);
  EXPECT_EQ(next->listeners[0]->limits, limits);

  const auto without = First();
  Load(without);
  const auto back = Load(snapshot);
  EXPECT_EQ(back->listeners[1]->limits, limits);
}

TEST_F(PlannerTest, ADraftMayBeMadeAgainAndOneThatWasRefusedLeavesNoLimits) {
  const auto first = Load(First());
  config::Snapshot more = First();
  more.listeners.push_back(ListenerOf("more", {"127.0.0.1:81"}));
  more.listeners[1].max_connections = 3;
  const auto next = std::make_shared<const config::Snapshot>(more);
  std::weak_ptr<const ListenerLimits> limits;
  {
    const Planner::Draft refused = planner_.Configure(next);
    limits = refused.plan->listeners[1]->limits;
    EXPECT_EQ(planner_.current(), first);
  }
  // What has happened meanwhile is in the next one.
  ASSERT_EQ(planner_.Change("app",
                            [](Overrides& overrides, const config::Upstream& in,
                               const Overrides::Members& members) {
                              return overrides.SetWeight(in, members, "a", 7);
                            }),
            "");
  const Planner::Draft again = planner_.Configure(next);
  planner_.Accept(again);
  EXPECT_EQ(again.plan->listeners[1]->limits, limits.lock());
  EXPECT_EQ(again.plan->upstreams[0]->servers[0].weight, 7u);
  EXPECT_EQ(again.plan->generation, 2u);
  // And of one that is never accepted nothing is left once another has been.
  config::Snapshot other = First();
  other.listeners.push_back(ListenerOf("other", {"127.0.0.1:82"}));
  limits = planner_.Configure(std::make_shared<const config::Snapshot>(other))
               .plan->listeners.back()
               ->limits;
  EXPECT_FALSE(limits.expired());
  Load(more);
  EXPECT_TRUE(limits.expired());
}

TEST_F(PlannerTest, MembersOfANameComeAndGoByNameAndAddress) {
  std::vector<std::string> addresses = {"10.1.0.1:80", "10.1.0.2:80"};
  planner_.set_servers_of([&addresses](const config::Upstream&) {
    std::vector<config::Server> members;
    for (const std::string& address : addresses) {
      members.push_back(ServerAt("n/" + address, address));
      members.back().group = "n";
    }
    return members;
  });
  config::Snapshot snapshot = First();
  snapshot.upstreams = {UpstreamOf("app", {ServerAt("n", "n.example:80")})};
  const auto first = Load(snapshot);
  EXPECT_THAT(Shown(*first->upstreams[0]), ElementsAre("n/10.1.0.1:80", "n/10.1.0.2:80"));
  EXPECT_EQ(first->upstreams[0]->servers[0].group, "n");

  std::string error;
  EXPECT_EQ(planner_.Remake(&error), first);
  addresses = {"10.1.0.3:80", "10.1.0.2:80"};
  const auto next = planner_.Remake(&error);
  EXPECT_EQ(error, "");
  EXPECT_THAT(Shown(*next->upstreams[0]),
              ElementsAre("-n/10.1.0.1:80", "n/10.1.0.2:80", "n/10.1.0.3:80"));
  EXPECT_EQ(next->listeners, first->listeners);
  EXPECT_EQ(next->generation, first->generation);
  EXPECT_EQ(planner_.current(), next);
}

TEST_F(PlannerTest, TheSnapshotAsItIsNowHasTheLinesThatFilesHaveNow) {
  Load(First());
  planner_.set_file_servers_of([](const config::Upstream& upstream) {
    std::vector<config::Server> lines;
    if (upstream.name == "db") lines.push_back(ServerAt("d", "10.0.0.4:80"));
    return lines;
  });
  const config::Snapshot as_now = planner_.SnapshotAsNow();
  ASSERT_EQ(as_now.upstreams.size(), 2u);
  EXPECT_THAT(as_now.upstreams[0].file_servers, IsEmpty());
  ASSERT_EQ(as_now.upstreams[1].file_servers.size(), 1u);
  EXPECT_EQ(as_now.upstreams[1].file_servers[0].name, "d");
  EXPECT_EQ(as_now.upstreams[1].servers[0].name, "c");
}

TEST_F(PlannerTest, ANameThatNobodyAskedForIsNobody) {
  config::Snapshot snapshot = First();
  snapshot.upstreams[0].servers.push_back(ServerAt("n", "n.example:80"));
  EXPECT_THAT(Shown(*Load(snapshot)->upstreams[0]), ElementsAre("a", "b"));
}

TEST_F(PlannerTest, AChangeAtRunTimeMakesAPlanAndAWrongOneNone) {
  const auto first = Load(First());
  EXPECT_EQ(planner_.Change("app",
                            [](Overrides& overrides, const config::Upstream& in,
                               const Overrides::Members& members) {
                              return overrides.SetWeight(in, members, "b", 9);
                            }),
            "");
  const auto next = planner_.current();
  EXPECT_NE(next, first);
  EXPECT_EQ(next->upstreams[0]->servers[1].weight, 9u);
  EXPECT_EQ(next->upstreams[1], first->upstreams[1]);

  const auto wrong = [](Overrides& overrides, const config::Upstream& in,
                        const Overrides::Members& members) {
    overrides.SetWeight(in, members, "a", 9);
    return std::string("no");
  };
  EXPECT_EQ(planner_.Change("app", wrong), "no");
  EXPECT_EQ(planner_.current(), next);
  EXPECT_EQ(planner_.overrides().Lines().size(), 1u);
  EXPECT_THAT(planner_.Change("none", wrong), HasSubstr("there is no upstream"));

  // It outlives a reload of the same file, and no reset.
  EXPECT_EQ(Load(First())->upstreams[0]->servers[1].weight, 9u);
  planner_.Accept(planner_.Configure(std::make_shared<const config::Snapshot>(First()), true));
  EXPECT_EQ(planner_.current()->upstreams[0]->servers[1].weight, 1u);
  EXPECT_THAT(planner_.overrides().Lines(), IsEmpty());
}

}  // namespace
}  // namespace parkway
