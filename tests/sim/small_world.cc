#include "tests/sim/small_world.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/sim/seeds.h"

namespace parkway::sim {

SmallWorld::SmallWorld(uint64_t seed, const ProxyOptions& options, const Faults& faults,
                       const SessionTimes& times, uint32_t max_connections, const Address& server,
                       SpliceUse splice, const std::vector<Address>& candidates)
    : world_(seed, Faults()), cast_(world_), stage_(world_) {
  NoteSeed(seed);
  if (server == kServer) cast_.AddServer(kServer, 0, 1024);
  Plan plan;
  ListenerPlan listener;
  listener.name = "front";
  listener.address = kFront;
  listener.times = times;
  listener.splice = splice;
  plan.Add(listener);
  UpstreamPlan upstream;
  upstream.name = "back";
  upstream.servers.push_back({.name = "server", .address = server, .local = true});
  upstream.servers.back().candidates = candidates;
  plan.Add(upstream);
  plan.max_connections = max_connections;
  stage_.AddProxy(plan, options);
  world_.faults() = faults;
}

Story& SmallWorld::Add(const Script& client, const Script& server, int64_t start_ns) {
  Story story;
  story.client = client;
  story.server = server;
  story.start_ns = start_ns;
  story.to = kFront;
  return cast_.AddStory(story);
}

void SmallWorld::Play() {
  EXPECT_TRUE(stage_.Run([&] { return cast_.AllOver() && cast_.open_servers() == 0; }));
  Finish();
}

void SmallWorld::Finish() {
  stage_.StopAndCheck();
  for (const std::string& complaint : world_.complaints()) ADD_FAILURE() << complaint << replay;
  for (const std::string& complaint : cast_.complaints()) ADD_FAILURE() << complaint << replay;
}

Peer& SmallWorld::server(const Story& story) {
  for (const auto& peer : cast_.peers()) {
    if (peer->other() == &client(story)) return *peer;
  }
  return *client(story).other();
}

}  // namespace parkway::sim
