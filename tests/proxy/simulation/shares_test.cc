// Stories of what connections share: the turns of a worker, descriptors, the limit of connections.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "proxy/core/close_cause.h"
#include "proxy/core/stats.h"
#include "tests/sim/peer.h"
#include "tests/sim/seeds.h"
#include "tests/sim/small_world.h"
#include "tests/sim/stage.h"
#include "tests/sim/terms.h"
#include "tests/sim/world.h"

namespace parkway::sim {
namespace {

TEST(SimulationTest, NoSessionStarvesBesideBulk) {
  // There and back: in turns of the one worker, and in what the others move meanwhile. Each way may
  // wait for one turn's budget of bulk and for what came before it; the peers have their own pace.
  constexpr uint64_t kMostTurns = 10;
  constexpr uint64_t kMostBytes = 4'000'000;  // 50 million if bulk is not background
  constexpr size_t kMessage = 200;
  for (const uint64_t seed : FewSeeds(10)) {
    const bool count_turns = seed % 2 == 0;
    SmallWorld small(seed);
    small.world().set_capacity(256 * 1024, 256 * 1024);
    small.cast().set_clock([&] {
      return count_turns ? small.stage().turns() : small.proxy().Sum(&WorkerStats::bytes_up);
    });
    std::vector<const Story*> bulk;
    std::vector<const Story*> talk;
    for (int i = 0; i < 6; ++i) {
      bulk.push_back(
          &small.Add(Says(12'000'000, Script::End::kFin), Says(8, Script::End::kFinLast)));
    }
    Script ping = Says(kMessage * 50, Script::End::kFin);
    ping.write_bytes = kMessage;
    ping.waits_for_answer = true;
    Script pong = ping;
    pong.end = Script::End::kFinLast;
    for (int i = 0; i < 30; ++i) talk.push_back(&small.Add(ping, pong, 100 * kMicrosecond));
    // While the slowest of the talks goes on, no bulk transfer is left behind either.
    EXPECT_TRUE(small.stage().Run([&] {
      return std::any_of(bulk.begin(), bulk.end(), [&](const Story* story) {
        return small.cast().client(*story) != nullptr && small.client(*story).fin_sent();
      });
    }));
    for (const Story* story : bulk) {
      EXPECT_GT(small.client(*story).sent(), 12'000'000u / 3) << replay;
    }
    small.Play();
    uint64_t longest = 0;
    for (const Story* story : talk)
      longest = std::max(longest, small.client(*story).longest_wait());
    EXPECT_GT(longest, 0u) << replay;
    EXPECT_LE(longest, count_turns ? kMostTurns : kMostBytes) << replay;
  }
}

TEST(SimulationTest, IdleConnectionsCostNoTurns) {
  for (const uint64_t seed : FewSeeds(3)) {
    SmallWorld small(seed, {}, {}, {.idle_ns = 0, .half_close_ns = 0, .delayed_close_ns = kSecond});
    for (int i = 0; i < 50; ++i) {
      small.Add(Says(100, Script::End::kNever), Says(100, Script::End::kNever));
    }
    small.stage().RunFor(60 * kSecond);
    EXPECT_EQ(small.proxy().sessions(), 50u);
    const uint64_t turns = small.stage().turns();
    small.stage().RunFor(3600 * kSecond);
    EXPECT_LE(small.stage().turns() - turns, 4u) << replay;
    small.stage().AbortAll(small.proxy(), CloseCause::kDrain);
    small.Play();
  }
}

TEST(SimulationTest, WithoutDescriptorsItWaitsWithoutSpinningAndRecovers) {
  for (const uint64_t seed : FewSeeds(10)) {
    SmallWorld small(seed);
    // epoll, eventfd, listener, and nine connections with half of the tenth.
    small.world().SetDescriptorLimit(0, 3 + 2 * 9 + 1);
    Script holds = Says(100, Script::End::kFin);
    holds.write_bytes = 10;
    holds.rest_ns = 20 * kSecond;
    for (int i = 0; i < 60; ++i) small.Add(holds, Says(100, Script::End::kFinLast));
    small.stage().RunFor(2 * kSecond);
    const uint64_t turns = small.stage().turns();
    small.stage().RunFor(10 * kSecond);
    // Ten looks of the listener a second at most, and four of the one that waits to connect.
    EXPECT_LE(small.stage().turns() - turns, 150u) << replay;
    EXPECT_GT(small.proxy().Sum(&WorkerStats::accept_pauses), 0u) << replay;
    EXPECT_LE(small.proxy().sessions(), 10u) << replay;
    small.stage().RunFor(60 * kSecond);
    small.world().SetDescriptorLimit(0, 1024);
    small.Play();
    // Who was accepted with the last descriptor may have been turned away; the others were served.
    size_t served = 0;
    for (const auto& story : small.cast().stories()) served += small.client(*story).saw_fin();
    EXPECT_GE(served, 40u) << replay;
  }
}

TEST(SimulationTest, TheLimitOfConnectionsIsKeptAndTheBacklogQueues) {
  for (const uint64_t seed : FewSeeds(10)) {
    SmallWorld small(seed, {.workers = 3}, {}, SmallWorld::kTimes, 5);
    Script holds = Says(100, Script::End::kFin);
    holds.write_bytes = 10;
    holds.rest_ns = kSecond;
    for (int i = 0; i < 40; ++i) small.Add(holds, Says(100, Script::End::kFinLast));
    uint32_t most = 0;
    EXPECT_TRUE(small.stage().Run([&] {
      most = std::max(most, small.proxy().sessions());
      return small.cast().AllOver();
    }));
    EXPECT_EQ(most, 5u) << replay;
    small.Play();
    for (const auto& story : small.cast().stories()) {
      EXPECT_TRUE(small.client(*story).saw_fin()) << replay;
    }
  }
}

}  // namespace
}  // namespace parkway::sim
