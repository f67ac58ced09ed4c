// SmallWorld: one listener, one server, and no dice but the world's: for a test with its own story.
//
//   SmallWorld small(seed, {.workers = 2});
//   const Story& story = small.Add(Says(1000, Script::End::kFin), Says(8, Script::End::kFinLast));
//   small.Play();
//   EXPECT_EQ(small.server(story).received(), 1000u) << replay;
//
// It notes the seed (seeds.h), and fails the present test for whatever the world and the cast
// complain about.
//
// One thread.
#ifndef TESTS_SIM_SMALL_WORLD_H_
#define TESTS_SIM_SMALL_WORLD_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "poller/address.h"
#include "proxy/core/close_cause.h"
#include "proxy/core/plan.h"
#include "proxy/core/session_times.h"
#include "tests/sim/peer.h"
#include "tests/sim/stage.h"
#include "tests/sim/terms.h"
#include "tests/sim/world.h"

namespace parkway::sim {

class SmallWorld {
 public:
  static inline const Address kFront = Tcp(1, 8080);
  static inline const Address kServer = Tcp(10, 80);
  static constexpr SessionTimes kTimes = {
      .idle_ns = kIdleNs, .half_close_ns = kHalfCloseNs, .delayed_close_ns = kSecond};

  // Somebody listens at kServer; at another `server` it is for the test to have somebody, or not.
  explicit SmallWorld(uint64_t seed, const ProxyOptions& options = {},
                      const Faults& faults = Faults(), const SessionTimes& times = kTimes,
                      uint32_t max_connections = 1024, const Address& server = kServer,
                      SpliceUse splice = SpliceUse::kBulk,
                      const std::vector<Address>& candidates = {});

  // One connection, from `start_ns` on.
  Story& Add(const Script& client, const Script& server, int64_t start_ns = 0);
  // Plays until every client is done, and then as Finish.
  void Play();
  // Drains, and looks at what is left.
  void Finish();

  Peer& client(const Story& story) { return *cast_.client(story); }
  // The one that has read the client's header.
  Peer& server(const Story& story);
  SimProxy& proxy() { return *stage_.proxies().front(); }
  CloseCause cause(size_t record) { return proxy().records()[record].cause; }
  World& world() { return world_; }
  Cast& cast() { return cast_; }
  Stage& stage() { return stage_; }

 private:
  World world_;
  Cast cast_;
  Stage stage_;
};

// A peer that says so many bytes and then ends like this.
inline Script Says(uint64_t bytes, Script::End end) {
  Script script;
  script.send_bytes = bytes;
  script.end = end;
  return script;
}

}  // namespace parkway::sim

#endif  // TESTS_SIM_SMALL_WORLD_H_
