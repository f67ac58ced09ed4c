// Stories of rates and times: tokens, idle sides, lives of a length, paced drains.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "poller/address.h"
#include "proxy/core/close_cause.h"
#include "proxy/core/plan.h"
#include "proxy/core/session_times.h"
#include "proxy/drain.h"
#include "proxy/observe/log_ring.h"
#include "tests/sim/peer.h"
#include "tests/sim/seeds.h"
#include "tests/sim/small_world.h"
#include "tests/sim/stage.h"
#include "tests/sim/terms.h"
#include "tests/sim/world.h"

namespace parkway::sim {
namespace {

TEST(SimulationTest, ARateIsKeptBothWaysCopyingAndSplicingAndCostsFewTurns) {
  for (const uint64_t seed : FewSeeds(4)) {
    for (const SpliceUse splice : {SpliceUse::kNever, SpliceUse::kAlways}) {
      SessionTimes times = SmallWorld::kTimes;
      times.rate_up = 50'000;
      times.rate_down = 500'000;
      SmallWorld small(seed, {}, {}, times, 1024, SmallWorld::kServer, splice);
      small.Add(Says(1'000'000, Script::End::kFin), Says(10'000'000, Script::End::kFinLast));
      const Story& up_only =
          small.Add(Says(500'000, Script::End::kFin), Says(8, Script::End::kFinLast));
      small.Play();
      for (const ClosedRecord& record : small.proxy().records()) {
        const auto bytes_up = static_cast<double>(record.bytes_up);
        EXPECT_NEAR(static_cast<double>(record.ended.ns() - record.started.ns()) / kSecond,
                    bytes_up / 50'000, bytes_up / 50'000 * 0.03)
            << replay;
      }
      EXPECT_EQ(small.server(up_only).received(), 500'000u) << replay;
      EXPECT_EQ(small.world().counts().splices > 0, splice == SpliceUse::kAlways) << replay;
    }
  }
}

TEST(SimulationTest, ADirectionOutOfTokensCostsNoTurns) {
  for (const uint64_t seed : FewSeeds(3)) {
    SessionTimes times = SmallWorld::kTimes;
    times.rate_up = 1'000;
    SmallWorld small(seed, {}, {}, times);
    for (int i = 0; i < 10; ++i) {
      small.Add(Says(4'000'000, Script::End::kNever), Says(8, Script::End::kNever));
    }
    // The queues fill.
    small.stage().RunFor(5 * kSecond);
    const uint64_t turns = small.stage().turns();
    small.stage().RunFor(100 * kSecond);
    // One for each portion, and one for each that the client has sent because there was room.
    EXPECT_LE(small.stage().turns() - turns, 100u * 10 * 40 * 2 + 100) << replay;
    small.stage().AbortAll(small.proxy(), CloseCause::kDrain);
    const int64_t asked = small.world().now();
    EXPECT_TRUE(small.stage().Run([&] { return small.proxy().sessions() == 0; }));
    EXPECT_LT(small.world().now() - asked, 10 * kMillisecond) << "who sleeps is woken" << replay;
    small.Play();
  }
}

TEST(SimulationTest, AResetReachesADirectionThatSleepsForTokens) {
  for (const uint64_t seed : FewSeeds(20)) {
    for (const bool up : {true, false}) {
      SessionTimes times = SmallWorld::kTimes;
      // The next portion would come after ten seconds.
      times.rate_up = times.rate_down = 1;
      SmallWorld small(seed, {}, {}, times);
      Script breaks = Says(3'000, Script::End::kReset);
      breaks.end_after_sent = 3'000;
      breaks.end_when_delivered = true;
      breaks.end_delay_ns = 7 * kSecond;
      Script other = Says(2'000, Script::End::kNever);
      small.Add(up ? breaks : other, up ? other : breaks);
      EXPECT_TRUE(small.stage().Run([&] { return small.cast().AllOver(); }));
      const int64_t over = small.world().now();
      small.Play();
      const ClosedRecord& record = small.proxy().records()[0];
      EXPECT_EQ(record.cause, up ? CloseCause::kClientRst : CloseCause::kServerRst) << replay;
      // What it left behind is delivered at once, not at the rate.
      EXPECT_LT(record.ended.ns(), over + kSecond) << replay;
      EXPECT_EQ(up ? record.bytes_up : record.bytes_down, 3'000u) << replay;
    }
  }
}

TEST(SimulationTest, ASideThatIsSilentEndsItUnlessTheOtherMakesItBusy) {
  for (const uint64_t seed : FewSeeds(10)) {
    for (const bool client_side : {true, false}) {
      SessionTimes times = SmallWorld::kTimes;
      (client_side ? times.client_idle_ns : times.server_idle_ns) = 5 * kSecond;
      SmallWorld small(seed, {}, {}, times);
      // One way only, for half a minute: either side is busy with it.
      Script sends = Says(30'000, Script::End::kFin);
      sends.write_bytes = 1'000;
      sends.pace_ns = 2 * kSecond;
      small.Add(Says(8, Script::End::kFinLast), sends);
      small.Add(Says(100, Script::End::kNever), Says(100, Script::End::kNever));
      small.Play();
      for (const ClosedRecord& record : small.proxy().records()) {
        const int64_t lived = record.ended.ns() - record.started.ns();
        if (record.bytes_down == 30'000) {
          EXPECT_EQ(record.cause, CloseCause::kServerFin) << replay;
          EXPECT_GT(lived, 6 * kSecond) << replay;
        } else {
          EXPECT_EQ(record.cause,
                    client_side ? CloseCause::kClientTimeout : CloseCause::kServerTimeout)
              << replay;
          EXPECT_NEAR(static_cast<double>(lived), 5e9, 1e9) << replay;
        }
      }
    }
  }
}

TEST(SimulationTest, HalfClosedOnlyTheHalfCloseTimeoutCounts) {
  for (const uint64_t seed : FewSeeds(5)) {
    SessionTimes times = SmallWorld::kTimes;
    times.client_idle_ns = times.server_idle_ns = 5 * kSecond;
    times.half_close_ns = 40 * kSecond;
    SmallWorld small(seed, {}, {}, times);
    Script slow = Says(100, Script::End::kFin);
    slow.write_bytes = 10;
    slow.rest_ns = 100 * kSecond;
    small.Add(Says(100, Script::End::kFin), slow);
    small.Play();
    const ClosedRecord& record = small.proxy().records()[0];
    EXPECT_EQ(record.cause, CloseCause::kHalfCloseTimeout) << replay;
    EXPECT_GT(record.ended.ns() - record.started.ns(), 39 * kSecond) << replay;
  }
}

TEST(SimulationTest, ALifeEndsWithinItsJitterAndNotAllAtOnce) {
  for (const uint64_t seed : FewSeeds(5)) {
    SessionTimes times = SmallWorld::kTimes;
    times.lifetime_ns = 100 * kSecond;
    times.lifetime_jitter_percent = 20;
    SmallWorld small(seed, {}, {}, times);
    Script talks = Says(100'000, Script::End::kNever);
    talks.write_bytes = 100;
    talks.pace_ns = kSecond;
    for (int i = 0; i < 40; ++i) small.Add(talks, Says(8, Script::End::kNever));
    small.Play();
    double least = 1e9;
    double most = 0;
    for (const ClosedRecord& record : small.proxy().records()) {
      EXPECT_EQ(record.cause, CloseCause::kLifetime) << replay;
      const double lived = static_cast<double>(record.ended.ns() - record.started.ns()) / kSecond;
      least = std::min(least, lived);
      most = std::max(most, lived);
    }
    EXPECT_GE(least, 80) << replay;
    EXPECT_LE(most, 100.1) << replay;
    EXPECT_GT(most - least, 12) << "spread over the jitter" << replay;
  }
}

TEST(SimulationTest, APacedDrainEndsTheIdleLongestFirstEvenlyAndTheBusyLast) {
  constexpr int kIdle = 60;
  constexpr int kBusy = 4;
  for (const uint64_t seed : FewSeeds(5)) {
    SmallWorld small(seed);
    Script talks = Says(100'000, Script::End::kNever);
    talks.write_bytes = 100;
    talks.pace_ns = 100 * kMillisecond;
    std::vector<Story*> idle;
    std::vector<Story*> busy;
    for (int i = 0; i < kIdle; ++i) {
      idle.push_back(&small.Add(Says(8, Script::End::kNever), Says(8, Script::End::kNever),
                                i * 10 * kMillisecond));
    }
    for (int i = 0; i < kBusy; ++i) busy.push_back(&small.Add(talks, Says(8, Script::End::kNever)));
    small.stage().RunFor(5 * kSecond);
    const int64_t begin = small.world().now();
    DrainOrder order;
    order.over = absl::Seconds(40);
    small.stage().Drain(small.proxy(), order);
    small.Play();

    std::map<std::string, int64_t> ended;  // by client, since the drain began
    for (const ClosedRecord& record : small.proxy().records()) {
      EXPECT_EQ(record.cause, CloseCause::kDrain) << replay;
      ended[record.client.ToString()] = record.ended.ns() - begin;
    }
    const auto end_of = [&](const Story* story) {
      const auto found = ended.find(PackedAddress(small.client(*story).local()).ToString());
      EXPECT_NE(found, ended.end()) << replay;
      return found == ended.end() ? 0 : static_cast<double>(found->second) / kSecond;
    };
    ASSERT_EQ(ended.size(), size_t{kIdle + kBusy}) << replay;
    double before = 0;
    const double step = 40.0 / (kIdle + kBusy);
    for (int i = 0; i < kIdle; ++i) {
      const double end = end_of(idle[i]);
      EXPECT_GT(end, before) << "idle for less time, and ended before: " << i << " " << replay;
      // By the rule in drain.h, and a tick of the timers: from one to the next the time that is
      // left over those that are left, give or take a quarter.
      const double next = (40 - before) / (kIdle + kBusy - i);
      EXPECT_NEAR(end - before, next, next / 4 + 0.003) << i << " " << replay;
      // What the quarters add up to. In the middle, where it is most, 0.58 steps are the standard
      // deviation: that of a step, 0.144, by half the root of 64 of them.
      EXPECT_NEAR(end, step * (i + 1), 4 * step) << i << " " << replay;
      before = end;
    }
    for (const Story* story : busy) {
      EXPECT_GT(end_of(story), before) << replay;
      EXPECT_LE(end_of(story), 40.1) << replay;
    }
    EXPECT_EQ(order.tally->total.load(), uint32_t{kIdle + kBusy}) << replay;
    EXPECT_EQ(order.tally->left.load(), 0u) << replay;
    EXPECT_EQ(order.tally->ended.load(), 1u) << replay;
  }
}

}  // namespace
}  // namespace parkway::sim
