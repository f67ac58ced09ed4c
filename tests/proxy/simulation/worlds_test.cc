// Whole worlds by dice: whatever the seed makes of a profile, each connection ends as it must, and
// nothing is left. tests/sim/show.h says what is played and what is expected of it.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

#include "proxy/core/close_cause.h"
#include "proxy/core/stats.h"
#include "proxy/observe/log_ring.h"
#include "tests/scale.h"
#include "tests/sim/seeds.h"
#include "tests/sim/show.h"
#include "tests/sim/stage.h"
#include "tests/sim/world.h"

namespace parkway::sim {
namespace {

// What happened in all worlds of a test: one that never splices proves nothing of splicing.
struct Totals {
  uint64_t removals = 0;
  std::array<uint64_t, 3> reuses{};
  uint64_t queued = 0;
  uint64_t splices = 0;
  uint64_t false_ends = 0;
  uint64_t false_eagains = 0;
  uint64_t resets = 0;
  uint64_t stale_events = 0;
  uint64_t resource_faults = 0;
  uint64_t turns = 0;
  std::array<uint64_t, static_cast<size_t>(CloseCause::kCount)> causes = {};
};

// Plays `profile` with as many seeds as make `sessions` of them.
Totals PlayAll(const Profile& profile, int64_t sessions) {
  Totals totals;
  const int64_t worlds = std::max<int64_t>(sessions / static_cast<int64_t>(profile.sessions), 1);
  for (const uint64_t seed : Seeds(worlds)) {
    NoteSeed(seed);
    Show show(seed, profile);
    show.Play();
    const World::Counts& counts = show.world().counts();
    totals.splices += counts.splices;
    totals.false_ends += counts.false_ends;
    totals.false_eagains += counts.false_eagains;
    totals.resets += counts.resets;
    totals.stale_events += counts.stale_events;
    totals.resource_faults += counts.resource_faults;
    totals.turns += show.stage().turns();
    totals.removals += show.removals();
    for (size_t i = 0; i < 3; ++i) totals.reuses[i] += show.reuses()[i];
    totals.queued += show.stage().proxies().back()->Sum(&WorkerStats::queued);
    for (const ClosedRecord& record : show.stage().proxies().back()->records()) {
      ++totals.causes[static_cast<size_t>(record.cause)];
    }
    if (show.failures().empty()) continue;
    std::string text;
    for (const std::string& failure : show.failures()) text += "  " + failure + "\n";
    ADD_FAILURE() << "seed " << seed << ":\n" << text << replay;
    return totals;
  }
  std::printf(
      "turns %llu, splices %llu (false ends %llu, false EAGAIN %llu), resets %llu, stale "
      "events %llu, resource faults %llu;",
      static_cast<unsigned long long>(totals.turns),
      static_cast<unsigned long long>(totals.splices),
      static_cast<unsigned long long>(totals.false_ends),
      static_cast<unsigned long long>(totals.false_eagains),
      static_cast<unsigned long long>(totals.resets),
      static_cast<unsigned long long>(totals.stale_events),
      static_cast<unsigned long long>(totals.resource_faults));
  for (size_t i = 0; i < totals.causes.size(); ++i) {
    if (totals.causes[i] == 0) continue;
    std::printf(" %s %llu", CloseCauseName(static_cast<CloseCause>(i)),
                static_cast<unsigned long long>(totals.causes[i]));
  }
  std::printf("\n");
  return totals;
}

TEST(SimulationTest, OrderlySessionsArriveWholeAndLeaveNothing) {
  PlayAll({}, scale::simulated_sessions / 4);
}

TEST(SimulationTest, FaultsOfTheKernelChangeNothing) {
  PlayAll({.faults = true, .urgent = true}, scale::simulated_sessions / 4);
}

TEST(SimulationTest, BulkIsSplicedAndUrgentMarksEndNothing) {
  const Totals totals = PlayAll(
      {.faults = true, .urgent = true, .bulk = true, .sessions = 8, .most_bytes = 6'000'000},
      scale::simulated_sessions / 40);
  if (OneSeedOnly() || scale::kBuild != scale::Build::kOptimised) return;
  // It proves nothing if it never happened.
  EXPECT_GT(totals.splices, 100u);
  EXPECT_GT(totals.false_ends + totals.false_eagains, 0u);
}

TEST(SimulationTest, TwoProxiesInOneWorldPassOnWhatTheyGet) {
  PlayAll({.faults = true, .urgent = true, .chained = true}, scale::simulated_sessions / 8);
}

TEST(SimulationTest, ResetsArriveAsResets) {
  PlayAll({.faults = true, .breaks = true}, scale::simulated_sessions / 4);
}

TEST(SimulationTest, BadServersAreGoneAroundOrSaid) {
  PlayAll({.faults = true, .bad_servers = true}, scale::simulated_sessions / 8);
}

TEST(SimulationTest, DrainsAndAbortsLeaveNothingAndResetNobodyWhoWasAccepted) {
  PlayAll({.faults = true, .breaks = true, .stops = true, .chained = true},
          scale::simulated_sessions / 4);
}

TEST(SimulationTest, WhoWaitsForAServerGetsOne) {
  const int64_t sessions = std::max<int64_t>(scale::simulated_sessions / 8, 300);
  const Totals totals = PlayAll({.faults = true, .queues = true}, sessions);
  if (OneSeedOnly()) return;
  // It proves nothing if it never happened.
  EXPECT_GT(totals.queued, 10u);
}

TEST(SimulationTest, ALineBeforeServersLosesNobodyThoughManyLeave) {
  PlayAll({.faults = true,
           .breaks = true,
           .bad_servers = true,
           .stops = true,
           .chained = true,
           .queues = true},
          scale::simulated_sessions / 8);
}

TEST(SimulationTest, PlansThatChangeLoseNobodyAndNobodyGoesToARemovedServer) {
  const int64_t sessions = std::max<int64_t>(scale::simulated_sessions / 8, 600);
  const Totals totals = PlayAll({.faults = true, .queues = true, .plans = true}, sessions);
  if (OneSeedOnly()) return;
  // It proves nothing if it never happened.
  EXPECT_GT(totals.removals, 10u);
  for (const uint64_t reuses : totals.reuses) EXPECT_GT(reuses, 10u);
  EXPECT_GT(totals.queued, 10u);
}

TEST(SimulationTest, RatesAndTimesLoseNothingAndLeaveNothing) {
  const int64_t sessions = std::max<int64_t>(scale::simulated_sessions / 4, 1500);
  const Totals totals = PlayAll({.faults = true, .limits = true}, sessions);
  PlayAll({.faults = true, .breaks = true, .timeouts = true, .urgent = true, .limits = true},
          scale::simulated_sessions / 4);
  if (OneSeedOnly()) return;
  // It proves nothing if it never happened.
  EXPECT_GT(totals.causes[static_cast<size_t>(CloseCause::kLifetime)], 0u);
}

TEST(SimulationTest, EverythingAtOnceLeavesNothingBehind) {
  PlayAll({.faults = true,
           .resources = true,
           .breaks = true,
           .timeouts = true,
           .bad_servers = true,
           .urgent = true,
           .chained = true},
          scale::simulated_sessions / 4);
}

}  // namespace
}  // namespace parkway::sim
