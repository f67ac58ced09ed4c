// Stories of how connections end: resets, aborts, timeouts, drains, and clients that leave.
#include <errno.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>

#include "poller/address.h"
#include "proxy/core/close_cause.h"
#include "proxy/core/plan.h"
#include "proxy/observe/log_ring.h"
#include "tests/sim/peer.h"
#include "tests/sim/seeds.h"
#include "tests/sim/small_world.h"
#include "tests/sim/stage.h"
#include "tests/sim/terms.h"
#include "tests/sim/world.h"

namespace parkway::sim {
namespace {

TEST(SimulationTest, AnIdleTimeoutThatDropsBytesIsAReset) {
  size_t dropped = 0;
  size_t whole = 0;
  for (const uint64_t seed : FewSeeds(100)) {
    for (const bool peeking : {false, true}) {
      for (const bool up : {false, true}) {
        SmallWorld small(seed, {.chunk_cap_bytes = peeking ? 0 : size_t{1} << 30});
        Script stuck = Says(8, Script::End::kNever);
        stuck.reads_after_ns = 2 * kIdleNs;
        // Sometimes all of it fits into the queues, sometimes the last of it is in our hands.
        const uint64_t most = peeking ? 500'000 : 60'000;
        Script sends = Says(8 + small.world().random().Below(most), Script::End::kNever);
        const Story& story = small.Add(up ? sends : stuck, up ? stuck : sends);
        small.Play();
        Peer& reader = up ? small.server(story) : small.client(story);
        EXPECT_EQ(small.cause(0), CloseCause::kIdle) << replay;
        if (reader.received() < sends.send_bytes) {
          ++dropped;
          EXPECT_FALSE(reader.saw_fin()) << replay;
          EXPECT_NE(reader.saw_error(), 0) << replay;
        } else {
          ++whole;
          EXPECT_TRUE(reader.saw_fin()) << replay;
        }
      }
    }
  }
  if (OneSeedOnly()) return;
  EXPECT_GT(dropped, 0u);
  EXPECT_GT(whole, 0u);
}

TEST(SimulationTest, AnAbortOfAHalfClosedConnectionIsItsCause) {
  for (const uint64_t seed : FewSeeds(10)) {
    SmallWorld small(seed);
    Script client = Says(8, Script::End::kFin);
    Script slow = Says(100, Script::End::kFin);
    slow.write_bytes = 10;
    slow.rest_ns = 100 * kSecond;
    small.Add(client, Says(8, Script::End::kFinLast));
    small.Add(client, slow);
    small.world().After(10 * kSecond,
                        [&] { small.stage().AbortAll(small.proxy(), CloseCause::kDrain); });
    small.Play();
    EXPECT_EQ(small.cause(0), CloseCause::kClientFin) << replay;
    EXPECT_EQ(small.cause(1), CloseCause::kDrain) << replay;
  }
}

TEST(SimulationTest, AResetComesAfterAllThatHadArrivedBeforeIt) {
  for (const uint64_t seed : FewSeeds(50)) {
    for (const bool up : {true, false}) {
      for (const bool slow_way : {true, false}) {
        SmallWorld small(seed);
        // All of it is in the proxy's kernel when the reset comes. Then it waits in the queue of a
        // slow way, or for a slow reader.
        small.world().set_capacity(300'000, 400'000);
        const Path slow = {
            .least_ns = kMillisecond, .most_ns = 5 * kMillisecond, .segment_bytes = 4 * 1448};
        if (slow_way) small.world().SetPath(up ? small.kServer : small.kFront, slow);
        Script breaks = Says(250'000, Script::End::kReset);
        breaks.end_after_sent = breaks.send_bytes;
        breaks.end_when_delivered = true;
        breaks.end_delay_ns = 20 * kMillisecond;  // not while the proxy still connects
        Script reads = Says(8, Script::End::kFinLast);
        reads.read_bytes = 4096;
        if (!slow_way) reads.pace_ns = 5 * kMillisecond;
        const Story& story = small.Add(up ? breaks : reads, up ? reads : breaks);
        small.Play();
        Peer& reader = up ? small.server(story) : small.client(story);
        EXPECT_EQ(reader.received(), breaks.send_bytes) << replay;
        EXPECT_EQ(reader.saw_error(), ECONNRESET) << replay;
        EXPECT_EQ(small.cause(0), up ? CloseCause::kClientRst : CloseCause::kServerRst) << replay;
      }
    }
  }
}

// Clients whose handshakes are under way for long, one every 2 ms.
void ComeFromAfar(SmallWorld& small) {
  small.world().SetPath(small.kFront, {.least_ns = 5 * kMillisecond, .most_ns = 60 * kMillisecond});
  for (int i = 0; i < 200; ++i) {
    small.Add(Says(1000, Script::End::kFin), Says(1000, Script::End::kFinLast),
              i * 2 * kMillisecond);
  }
}

TEST(SimulationTest, ADrainResetsNobodyWhoseHandshakeIsDone) {
  for (const uint64_t seed : FewSeeds(20)) {
    SmallWorld small(seed, {.workers = 2});
    ComeFromAfar(small);
    small.world().After(200 * kMillisecond, [&] { small.stage().StopAccepting(small.proxy()); });
    small.Play();
    size_t served = 0;
    for (const auto& story : small.cast().stories()) {
      Peer& client = small.client(*story);
      EXPECT_NE(client.connected(), client.saw_error() != 0) << client.Describe() << replay;
      served += client.saw_fin();
    }
    EXPECT_GT(served, 50u) << replay;
    EXPECT_LT(served, 150u) << replay;
  }
}

TEST(SimulationTest, AStopAtOnceLeavesNobodyUnsaidWhoseHandshakeIsDone) {
  for (const uint64_t seed : FewSeeds(20)) {
    SmallWorld small(seed, {.workers = 2});
    ComeFromAfar(small);
    // As the process does it: it stops to accept and ends everybody, again until nobody is left,
    // while the last packets of handshakes are still under way.
    small.world().After(200 * kMillisecond, [&] { small.stage().StopAccepting(small.proxy()); });
    for (int i = 1; i <= 20; ++i) {
      small.world().After((200 + 20 * i) * kMillisecond,
                          [&] { small.stage().AbortAll(small.proxy(), CloseCause::kDrain); });
    }
    small.Play();
    size_t connected = 0;
    for (const auto& story : small.cast().stories()) {
      connected += small.client(*story).connected();
    }
    EXPECT_GT(connected, 50u) << replay;
    EXPECT_EQ(small.proxy().records().size(), connected) << replay;
  }
}

TEST(SimulationTest, ASilentAddressOfAServerIsOvertakenByItsOtherOne) {
  for (const uint64_t seed : FewSeeds(20)) {
    const Address silent = Tcp(11, 80);
    SmallWorld small(seed, {}, {}, SmallWorld::kTimes, 1024, SmallWorld::kServer, SpliceUse::kBulk,
                     {silent, SmallWorld::kServer});
    small.world().BlackHole(silent);
    small.Add(Says(100'000, Script::End::kFin), Says(100'000, Script::End::kFin));
    // The peers look at every byte: none is missing and none comes twice.
    small.Play();
    const ClosedRecord& record = small.proxy().records()[0];
    EXPECT_TRUE(record.cause == CloseCause::kClientFin || record.cause == CloseCause::kServerFin)
        << replay;
    EXPECT_EQ(record.attempts, 1) << replay;
    // The delay of the race, and not the timeout of a connect, which is five seconds.
    const int64_t took = record.ended.ns() - record.started.ns();
    EXPECT_GE(took, 250 * kMillisecond) << replay;
    EXPECT_LT(took, 4 * kSecond) << replay;
  }
}

TEST(SimulationTest, AClientThatLeavesDuringTheRaceOfAServersAddressesLeavesNothingBehind) {
  for (const uint64_t seed : FewSeeds(20)) {
    const Address first = Tcp(11, 80);
    const Address second = Tcp(12, 80);
    SmallWorld small(seed, {}, {}, SmallWorld::kTimes, 1024, SmallWorld::kServer, SpliceUse::kBulk,
                     {first, second});
    small.world().BlackHole(first);
    small.world().BlackHole(second);
    Script leaves = Says(100, Script::End::kReset);
    leaves.end_after_sent = 100;
    leaves.end_delay_ns = 400 * kMillisecond;
    small.Add(leaves, {});
    EXPECT_TRUE(
        small.stage().Run([&] { return small.cast().AllOver() && small.proxy().sessions() == 0; }));
    small.Finish();
    EXPECT_EQ(small.cause(0), CloseCause::kClientRst) << replay;
  }
}

TEST(SimulationTest, AClientThatLeavesEndsTheWaitForAUnixBacklog) {
  for (const uint64_t seed : FewSeeds(10)) {
    const Address address = Address::UnixAbstract("full");
    SmallWorld small(seed, {}, {}, SmallWorld::kTimes, 1024, address);
    Socket* listener = small.world().NewSocket(true, -1);
    small.world().Bind(*listener, address);
    small.world().Listen(*listener, 0);
    Socket* other = small.world().NewSocket(true, -1);
    EXPECT_EQ(small.world().Connect(*other, address), 0);
    Script leaves = Says(100, Script::End::kReset);
    leaves.end_after_sent = 100;
    leaves.end_delay_ns = 100 * kMillisecond;
    small.Add(leaves, {});
    EXPECT_TRUE(
        small.stage().Run([&] { return small.cast().AllOver() && small.proxy().sessions() == 0; }));
    small.Finish();
    const ClosedRecord& record = small.proxy().records()[0];
    EXPECT_EQ(record.cause, CloseCause::kClientRst) << replay;
    EXPECT_LT(record.ended.ns() - record.started.ns(), 200 * kMillisecond) << replay;
  }
}

TEST(SimulationTest, AResetIsHeardOfThoughNobodyWaitsForIt) {
  for (const uint64_t seed : FewSeeds(20)) {
    for (const bool up : {true, false}) {
      SmallWorld small(seed);
      // More than all queues hold, to somebody who does not read: no task waits on the sender.
      Script breaks = Says(4'000'000, Script::End::kReset);
      breaks.end_after_sent = 3'000'000;
      Script stuck = Says(8, Script::End::kNever);
      stuck.reads_after_ns = kIdleNs / 2;
      breaks.breaks_off_after_ns = 10 * kSecond;
      const Story& story = small.Add(up ? breaks : stuck, up ? stuck : breaks);
      small.Play();
      Peer& reader = up ? small.server(story) : small.client(story);
      EXPECT_EQ(reader.saw_error(), ECONNRESET) << replay;
      EXPECT_FALSE(reader.saw_fin()) << replay;
      const ClosedRecord& record = small.proxy().records()[0];
      EXPECT_EQ(record.cause, up ? CloseCause::kClientRst : CloseCause::kServerRst) << replay;
      // The reset, and delayed_close for what could still have been delivered.
      EXPECT_LT(record.ended.ns() - record.started.ns(), 13 * kSecond) << replay;
      EXPECT_GT(record.unsent_bytes, 0u) << replay;
    }
  }
}

}  // namespace
}  // namespace parkway::sim
