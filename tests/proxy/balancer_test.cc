#include "proxy/upstream/balancer.h"

#include <errno.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "poller/scheduler.h"
#include "poller/test_point.h"
#include "tests/scale.h"

namespace parkway {
namespace {

using Kind = Balancer::Choice::Kind;

constexpr int64_t kSecond = 1'000'000'000;

MonotonicTime At(double seconds) {
  return MonotonicTime(static_cast<int64_t>((1000 + seconds) * kSecond));
}

// Servers s0, s1, ... with these weights.
UpstreamPlan PlanOf(Balance balance, const std::vector<uint32_t>& weights) {
  UpstreamPlan plan;
  plan.name = "app";
  plan.balance = balance;
  for (const uint32_t weight : weights) {
    ServerPlan server;
    server.name = "s" + std::to_string(plan.servers.size());
    server.weight = weight;
    plan.servers.push_back(server);
  }
  return plan;
}

UpstreamPlan EqualPlan(Balance balance, size_t servers) {
  return PlanOf(balance, std::vector<uint32_t>(servers, 1));
}

// The probability is below one in a hundred thousand that a true one is above it (the normal
// approximation of Wilson and Hilferty).
double ChiSquareBar(size_t degrees) {
  const double k = static_cast<double>(degrees);
  const double z = 4.3;
  return k * std::pow(1 - 2 / (9 * k) + z * std::sqrt(2 / (9 * k)), 3);
}

void ExpectShares(const std::vector<uint64_t>& counts, const std::vector<uint32_t>& weights) {
  uint64_t total = 0;
  uint64_t weight = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    total += counts[i];
    weight += weights[i];
  }
  double chi = 0;
  size_t drawn = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (weights[i] == 0) {
      EXPECT_EQ(counts[i], 0u) << "server " << i;
      continue;
    }
    ++drawn;
    const double expected = static_cast<double>(total) * weights[i] / static_cast<double>(weight);
    chi += std::pow(static_cast<double>(counts[i]) - expected, 2) / expected;
  }
  EXPECT_LT(chi, ChiSquareBar(drawn - 1));
}

class Watcher : public ServerWatcher {
 public:
  void OnServerChange(const ServerChange& change) override { changes.push_back(change); }
  std::vector<ServerChange> changes;
};

// A balancer and the roster that all go by.
class Bound {
 public:
  explicit Bound(UpstreamPlan plan) : balancer_(0) { Become(std::move(plan), At(0)); }

  void Become(UpstreamPlan plan, MonotonicTime now) {
    auto next =
        balancer_.MakeRoster(std::make_shared<const UpstreamPlan>(std::move(plan)), roster_.get());
    balancer_.Welcome(*next, roster_.get(), now);
    balancer_.Dismiss(*next);
    roster_ = std::move(next);
  }
  const std::shared_ptr<const Roster>& roster() const { return roster_; }
  Balancer& balancer() { return balancer_; }

  void set_watcher(ServerWatcher* watcher) { balancer_.set_watcher(watcher); }
  Balancer::Choice Choose(const Balancer::Asker& asker) {
    return balancer_.Choose(*roster_, asker);
  }
  void Release(size_t server, MonotonicTime now) { balancer_.Release(*roster_, server, now); }
  void Connected(size_t server, int64_t took_ns, MonotonicTime now) {
    Balancer::Connected(*roster_, server, took_ns, now);
  }
  bool Failed(size_t server, int error, MonotonicTime now) {
    return balancer_.Failed(*roster_, server, error, now);
  }
  MonotonicTime NextReturn(MonotonicTime now) { return balancer_.NextReturn(*roster_, now); }
  bool Enqueue(std::unique_ptr<Ticket> ticket, MonotonicTime now) {
    return balancer_.Enqueue(*roster_, std::move(ticket), now);
  }
  bool Leave(Ticket& ticket, MonotonicTime now) { return balancer_.Leave(*roster_, ticket, now); }
  void Serve(MonotonicTime now) { balancer_.Serve(*roster_, now); }
  bool Raise(size_t server, Server::Flag flag) { return Balancer::Raise(*roster_, server, flag); }
  bool Lower(size_t server, Server::Flag flag, MonotonicTime now) {
    return balancer_.Lower(*roster_, server, flag, now);
  }
  uint32_t waiting() const { return balancer_.waiting(); }
  size_t size() const { return roster_->size(); }
  const Server& server(size_t i) const { return roster_->server(i); }

 private:
  Balancer balancer_;
  std::shared_ptr<const Roster> roster_;
};

// One upstream and somebody who asks.
class Pool {
 public:
  explicit Pool(UpstreamPlan plan) : balancer(std::move(plan)) { balancer.set_watcher(&watcher); }

  Balancer::Choice Choose(double at = 0, uint64_t source = 0, const Tried* tried = nullptr) {
    return balancer.Choose({At(at), random_, source, tried});
  }
  // The server, whose connection stays.
  size_t Open(double at = 0, uint64_t source = 0) {
    const Balancer::Choice choice = Choose(at, source);
    EXPECT_EQ(choice.kind, Kind::kServer);
    return choice.server;
  }
  // ... and ends at once.
  size_t Visit(double at = 0, uint64_t source = 0) {
    const size_t server = Open(at, source);
    balancer.Release(server, At(at));
    return server;
  }
  std::vector<uint64_t> Visits(int count, double at = 0) {
    std::vector<uint64_t> found(balancer.size());
    for (int i = 0; i < count; ++i) ++found[Visit(at)];
    return found;
  }
  void Fail(size_t server, int times, double at = 0, int error = ECONNREFUSED) {
    for (int i = 0; i < times; ++i) balancer.Failed(server, error, At(at));
  }
  bool Ejected(size_t server) const {
    return (balancer.server(server).flags() & Server::kEjected) != 0;
  }

 private:
  std::mt19937_64 random_{7};

 public:
  Watcher watcher;
  Bound balancer;
};

// ---------------------------------------------------------------------------------------------
// Distributions

TEST(BalancerTest, RandomFollowsTheWeights) {
  const std::vector<uint32_t> weights = {1, 2, 0, 4, 256, 37};
  Pool pool(PlanOf(Balance::kRandom, weights));
  ExpectShares(pool.Visits(100'000), weights);
}

TEST(BalancerTest, RandomAmongEqualsIsEven) {
  Pool pool(EqualPlan(Balance::kRandom, 7));
  ExpectShares(pool.Visits(100'000), std::vector<uint32_t>(7, 1));
}

TEST(BalancerTest, TwoChoicesAmongIdleServersFollowTheWeights) {
  const std::vector<uint32_t> weights = {1, 2, 0, 4, 25};
  Pool pool(PlanOf(Balance::kP2c, weights));
  ExpectShares(pool.Visits(100'000), weights);
}

TEST(BalancerTest, RoundRobinIsExactInEveryRoundAndEvenlySpaced) {
  Pool pool(PlanOf(Balance::kRoundRobin, {5, 1, 1, 0}));
  for (int round = 0; round < 100; ++round) {
    std::vector<size_t> order;
    for (int i = 0; i < 7; ++i) order.push_back(pool.Visit());
    EXPECT_EQ(order, (std::vector<size_t>{0, 0, 0, 1, 2, 0, 0})) << round;
  }
}

TEST(BalancerTest, RoundRobinAmongEqualsGoesInTheOrderOfTheList) {
  Pool pool(EqualPlan(Balance::kRoundRobin, 3));
  for (size_t i = 0; i < 30; ++i) EXPECT_EQ(pool.Visit(), i % 3);
}

TEST(BalancerTest, RoundRobinKeepsTheSharesOfOthersWhenOneIsAway) {
  Pool pool(PlanOf(Balance::kRoundRobin, {1, 1, 2, 1}));
  pool.balancer.Raise(1, Server::kUnhealthy);
  EXPECT_EQ(pool.Visits(400), (std::vector<uint64_t>{100, 0, 200, 100}));
}

TEST(BalancerTest, FirstFillsOneAfterTheOther) {
  UpstreamPlan plan = EqualPlan(Balance::kFirst, 3);
  plan.servers[0].max_conns = 2;
  plan.servers[1].max_conns = 1;
  Pool pool(plan);
  EXPECT_EQ(pool.Open(), 0u);
  EXPECT_EQ(pool.Open(), 0u);
  EXPECT_EQ(pool.Open(), 1u);
  EXPECT_EQ(pool.Open(), 2u);
  pool.balancer.Release(0, At(0));
  EXPECT_EQ(pool.Open(), 0u);
}

TEST(BalancerTest, LeastConnIsExactForItsWeights) {
  Pool pool(PlanOf(Balance::kLeastConn, {1, 2, 5}));
  std::vector<uint64_t> open(3);
  for (int i = 0; i < 800; ++i) ++open[pool.Open()];
  EXPECT_EQ(open, (std::vector<uint64_t>{100, 200, 500}));
  for (int i = 0; i < 60; ++i) pool.balancer.Release(2, At(0));
  for (int i = 0; i < 60; ++i) EXPECT_EQ(pool.Open(), 2u);
}

TEST(BalancerTest, LeastConnAmongIdleServersFollowsTheWeights) {
  const std::vector<uint32_t> weights = {1, 2, 5};
  Pool pool(PlanOf(Balance::kLeastConn, weights));
  ExpectShares(pool.Visits(100'000), weights);
}

TEST(BalancerTest, LeastTimePrefersQuickServersAndForgets) {
  Pool pool(EqualPlan(Balance::kLeastTime, 2));
  for (int i = 0; i < 50; ++i) {
    pool.balancer.Connected(0, 10'000'000, At(0));
    pool.balancer.Connected(1, 1'000'000, At(0));
  }
  std::vector<uint64_t> open(2);
  for (int i = 0; i < 110; ++i) ++open[pool.Open(0.1)];
  EXPECT_NEAR(static_cast<double>(open[0]), 10, 1) << "ten times as slow, a tenth of the load";
  // Long after, the slow one is worth another try.
  pool.balancer.Connected(1, 1'000'000, At(120));
  EXPECT_EQ(pool.Open(120), 0u);
}

// Many workers, as threads: each holds its share of the connections while all choose.
void ExpectEven(Balance balance, size_t workers) {
  constexpr size_t kServers = 5;
  Pool pool(EqualPlan(balance, kServers));
  const auto connections = static_cast<size_t>(scale::balance_connections);
  std::vector<std::thread> threads;
  for (size_t w = 0; w < workers; ++w) {
    threads.emplace_back([&, w] {
      std::mt19937_64 random(w + 1);
      std::vector<size_t> held;
      // Opens more than it closes, in an order that depends on nothing.
      while (held.size() < connections / workers) {
        const auto choice = pool.balancer.Choose({At(0), random, 0, nullptr});
        ASSERT_EQ(choice.kind, Kind::kServer);
        held.push_back(choice.server);
        if (random() % 3 == 0) {
          std::swap(held[random() % held.size()], held.back());
          pool.balancer.Release(held.back(), At(0));
          held.pop_back();
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  uint32_t least = UINT32_MAX, most = 0, sum = 0;
  for (size_t i = 0; i < kServers; ++i) {
    const uint32_t count = pool.balancer.server(i).connections();
    least = std::min(least, count);
    most = std::max(most, count);
    sum += count;
  }
  EXPECT_EQ(sum, connections / workers * workers);
  EXPECT_LE(most - least, std::max<uint32_t>(sum / kServers * 3 / 100, 2))
      << least << " to " << most << " with " << workers << " workers";
}

TEST(BalancerTest, TwoChoicesKeepServersEvenWithOneTwoAndFourWorkers) {
  for (const size_t workers : {1, 2, 4}) ExpectEven(Balance::kP2c, workers);
}

TEST(BalancerTest, LeastConnKeepsServersEvenWithOneTwoAndFourWorkers) {
  for (const size_t workers : {1, 2, 4}) ExpectEven(Balance::kLeastConn, workers);
}

// ---------------------------------------------------------------------------------------------
// By source

uint64_t Source(uint32_t i) {
  return HashOfSource(PackedAddress(Address::Ipv4(
      {10, static_cast<uint8_t>(i >> 16), static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)},
      static_cast<uint16_t>(i * 7 + 1))));
}

TEST(BalancerTest, OneSourceStaysWithOneServerWhateverItsPort) {
  Pool pool(EqualPlan(Balance::kSourceHash, 10));
  std::set<size_t> found;
  for (uint16_t port = 1; port < 100; ++port) {
    const PackedAddress client(Address::Ipv4({10, 1, 2, 3}, port));
    found.insert(pool.Visit(0, HashOfSource(client)));
  }
  EXPECT_EQ(found.size(), 1u);
}

TEST(BalancerTest, TwoProcessesAgreeOnEverySourceInWhateverOrderTheServersAreListed) {
  const UpstreamPlan plan = PlanOf(Balance::kSourceHash, {1, 2, 1, 3, 1, 1, 1});
  UpstreamPlan shuffled = plan;
  std::shuffle(shuffled.servers.begin(), shuffled.servers.end(), std::mt19937(3));
  Pool one(plan);
  Pool other(shuffled);
  for (uint32_t i = 0; i < 20'000; ++i) {
    EXPECT_EQ(plan.servers[one.Visit(0, Source(i))].name,
              shuffled.servers[other.Visit(0, Source(i))].name);
  }
}

TEST(BalancerTest, SourcesOfAServerThatIsAwayMoveAndNoOthersDo) {
  constexpr size_t kServers = 10;
  Pool pool(EqualPlan(Balance::kSourceHash, kServers));
  std::vector<size_t> before;
  for (uint32_t i = 0; i < 20'000; ++i) before.push_back(pool.Visit(0, Source(i)));
  pool.balancer.Raise(3, Server::kUnhealthy);
  std::vector<uint64_t> taken(kServers);
  for (uint32_t i = 0; i < 20'000; ++i) {
    const size_t now = pool.Visit(0, Source(i));
    if (before[i] == 3) {
      ++taken[now];
    } else {
      EXPECT_EQ(now, before[i]);
    }
  }
  // Spread over all others, not onto a neighbour.
  std::vector<uint32_t> others(kServers, 1);
  others[3] = 0;
  for (size_t i = 0; i < kServers; ++i) {
    EXPECT_GE(taken[i], others[i] * 100) << i;
  }
  pool.balancer.Lower(3, Server::kUnhealthy, At(1));
  for (uint32_t i = 0; i < 1000; ++i) EXPECT_EQ(pool.Visit(1, Source(i)), before[i]);
}

TEST(BalancerTest, BoundedHashLeavesNobodyAboveItsFactor) {
  UpstreamPlan plan = PlanOf(Balance::kSourceHash, {1, 1, 2});
  plan.hash_balance_percent = 125;
  Pool pool(plan);
  // Everybody comes from one address.
  for (int i = 1; i <= 400; ++i) {
    pool.Open(0, Source(1));
    for (size_t s = 0; s < 3; ++s) {
      const double share = (s == 2 ? 0.5 : 0.25) * i * 1.25;
      EXPECT_LE(pool.balancer.server(s).connections(), std::ceil(share)) << i;
    }
  }
}

// ---------------------------------------------------------------------------------------------
// Who takes connections

TEST(BalancerTest, DrainedAndDownServersAndThoseWithoutWeightGetNothing) {
  for (const Balance balance :
       {Balance::kP2c, Balance::kLeastConn, Balance::kRoundRobin, Balance::kRandom,
        Balance::kSourceHash, Balance::kFirst, Balance::kLeastTime}) {
    UpstreamPlan plan = EqualPlan(balance, 5);
    plan.servers[0].state = ServerState::kDrain;
    plan.servers[1].state = ServerState::kDown;
    plan.servers[2].weight = 0;
    Pool pool(plan);
    std::vector<uint64_t> found(5);
    for (uint32_t i = 0; i < 200; ++i) ++found[pool.Visit(0, Source(i))];
    EXPECT_EQ(found[0] + found[1] + found[2], 0u);
    EXPECT_GT(found[3], 0u);
    if (balance == Balance::kFirst) {
      EXPECT_EQ(found[4], 0u);
    } else {
      EXPECT_GT(found[4], 0u);
    }
  }
}

TEST(BalancerTest, BackupsServeOnlyWhileAllOthersAreDown) {
  UpstreamPlan plan = EqualPlan(Balance::kP2c, 4);
  plan.servers[2].priority = 1;
  plan.servers[3].priority = 2;
  Pool pool(plan);
  std::vector<uint64_t> found = pool.Visits(200);
  EXPECT_EQ(found[2] + found[3], 0u);
  pool.balancer.Raise(0, Server::kUnhealthy);
  EXPECT_EQ(pool.Visits(100)[1], 100u);
  pool.balancer.Raise(1, Server::kDown);
  EXPECT_EQ(pool.Visits(100)[2], 100u);
  pool.balancer.Raise(2, Server::kDrained);
  EXPECT_EQ(pool.Visits(100)[3], 100u);
  pool.balancer.Lower(0, Server::kUnhealthy, At(0));
  EXPECT_EQ(pool.Visits(100)[0], 100u);
}

TEST(BalancerTest, FullIsNotDown) {
  UpstreamPlan plan = EqualPlan(Balance::kP2c, 2);
  plan.servers[0].max_conns = 1;
  plan.servers[1].priority = 1;
  Pool pool(plan);
  EXPECT_EQ(pool.Open(), 0u);
  EXPECT_EQ(pool.Choose().kind, Kind::kWait);
}

TEST(BalancerTest, AnotherServerWhileThereIsOne) {
  for (const Balance balance :
       {Balance::kP2c, Balance::kLeastConn, Balance::kRoundRobin, Balance::kRandom,
        Balance::kSourceHash, Balance::kFirst, Balance::kLeastTime}) {
    UpstreamPlan plan = EqualPlan(balance, 5);
    plan.servers[4].priority = 1;
    Pool pool(plan);
    Tried tried;
    std::set<size_t> found;
    for (int i = 0; i < 5; ++i) {
      const auto choice = pool.Choose(0, Source(9), &tried);
      ASSERT_EQ(choice.kind, Kind::kServer);
      found.insert(choice.server);
      tried.Add(choice.server);
      EXPECT_TRUE(i == 4 || !found.contains(4)) << "the backup comes last";
    }
    EXPECT_EQ(found.size(), 5u);
    EXPECT_EQ(pool.Choose(0, 0, &tried).kind, Kind::kServer) << "all were tried: once more";
  }
}

TEST(BalancerTest, AllDownClosesTriesAllOrHolds) {
  for (const AllDown all_down : {AllDown::kClose, AllDown::kTryAll, AllDown::kHold}) {
    UpstreamPlan plan = EqualPlan(Balance::kP2c, 3);
    plan.all_down = all_down;
    Pool pool(plan);
    pool.balancer.Raise(0, Server::kUnhealthy);
    pool.balancer.Raise(1, Server::kUnhealthy);
    pool.balancer.Raise(2, Server::kDown);
    switch (all_down) {
      case AllDown::kClose:
        EXPECT_EQ(pool.Choose().kind, Kind::kNone);
        break;
      case AllDown::kTryAll: {
        const std::vector<uint64_t> found = pool.Visits(100);
        EXPECT_GT(found[0], 0u);
        EXPECT_GT(found[1], 0u);
        EXPECT_EQ(found[2], 0u) << "the operator's word counts";
        pool.balancer.Raise(0, Server::kDrained);
        pool.balancer.Raise(1, Server::kDown);
        EXPECT_EQ(pool.Choose().kind, Kind::kNone);
        break;
      }
      case AllDown::kHold:
        EXPECT_EQ(pool.Choose().kind, Kind::kWait);
        break;
    }
  }
}

TEST(BalancerTest, PanicBelowTheThresholdCountsAllAsUp) {
  UpstreamPlan plan = EqualPlan(Balance::kRandom, 10);
  plan.panic_percent = 50;
  Pool pool(plan);
  for (size_t i = 0; i < 5; ++i) pool.balancer.Raise(i, Server::kUnhealthy);
  std::vector<uint64_t> found = pool.Visits(1000);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(found[i], 0u);
  pool.balancer.Raise(5, Server::kUnhealthy);
  found = pool.Visits(10'000);
  ExpectShares(found, std::vector<uint32_t>(10, 1));
}

TEST(BalancerTest, SlowStartGrowsToTheFullShare) {
  for (const Balance balance : {Balance::kRandom, Balance::kRoundRobin, Balance::kP2c}) {
    UpstreamPlan plan = EqualPlan(balance, 2);
    for (ServerPlan& server : plan.servers) server.slow_start = absl::Seconds(100);
    Pool pool(plan);
    EXPECT_NEAR(static_cast<double>(pool.Visits(10'000)[0]), 5000, 300) << "at first nobody is";
    pool.balancer.Raise(0, Server::kUnhealthy);
    pool.balancer.Lower(0, Server::kUnhealthy, At(0));
    // Of two, one at a quarter of its weight: a fifth.
    EXPECT_NEAR(static_cast<double>(pool.Visits(10'000, 25)[0]), 2000, 300);
    EXPECT_NEAR(static_cast<double>(pool.Visits(10'000, 100)[0]), 5000, 300);
  }
}

// ---------------------------------------------------------------------------------------------
// Failed connects

TEST(BalancerTest, FiveFailuresInARowEject) {
  Pool pool(EqualPlan(Balance::kRoundRobin, 2));
  pool.Fail(0, 4);
  pool.balancer.Connected(0, 1000, At(0));
  pool.Fail(0, 4);
  EXPECT_FALSE(pool.Ejected(0));
  pool.Fail(0, 1);
  EXPECT_TRUE(pool.Ejected(0));
  EXPECT_EQ(pool.Visits(10, 9.9), (std::vector<uint64_t>{0, 10}));
  EXPECT_EQ(pool.Visits(10, 10), (std::vector<uint64_t>{5, 5}));
  // One line each.
  ASSERT_EQ(pool.watcher.changes.size(), 2u);
  EXPECT_EQ(pool.watcher.changes[0].what, ServerChange::What::kEjected);
  EXPECT_EQ(pool.watcher.changes[0].failures, 5u);
  EXPECT_EQ(pool.watcher.changes[0].error, ECONNREFUSED);
  EXPECT_EQ(pool.watcher.changes[0].how_long, absl::Seconds(10));
  EXPECT_EQ(pool.watcher.changes[1].what, ServerChange::What::kReturned);
}

TEST(BalancerTest, EjectionsGrowToFiveMinutesAndAreForgottenAfterThat) {
  Pool pool(EqualPlan(Balance::kRoundRobin, 2));
  double now = 0;
  for (int i = 1; i <= 40; ++i) {
    pool.Fail(0, 5, now);
    EXPECT_EQ(pool.watcher.changes.back().how_long, absl::Seconds(std::min(10 * i, 300)));
    now += std::min(10 * i, 300);
    pool.Visits(2, now);
    EXPECT_FALSE(pool.Ejected(0));
  }
  pool.Fail(0, 5, now + 301);
  EXPECT_EQ(pool.watcher.changes.back().how_long, absl::Seconds(10));
}

TEST(BalancerTest, WhoIsSparedAsTheLastOneIsNotEjectedForLongerAfterwards) {
  Pool pool(EqualPlan(Balance::kRoundRobin, 2));
  pool.Fail(0, 5, 0);
  pool.Visits(2, 10);
  EXPECT_FALSE(pool.Ejected(0));
  pool.balancer.Raise(1, Server::kUnhealthy);
  pool.Fail(0, 50, 11);
  EXPECT_FALSE(pool.Ejected(0));
  pool.balancer.Lower(1, Server::kUnhealthy, At(12));
  pool.Fail(0, 5, 13);
  EXPECT_TRUE(pool.Ejected(0));
  EXPECT_EQ(pool.watcher.changes.back().how_long, absl::Seconds(20)) << "the second time";
}

TEST(BalancerTest, WhoIsEjectedAndDownReturnsAtNoTimeThatHasPassed) {
  Pool pool(EqualPlan(Balance::kRoundRobin, 4));
  pool.Fail(0, 5, 0);
  pool.Fail(1, 5, 5);
  EXPECT_EQ(pool.balancer.NextReturn(At(6)), At(10));
  // The checks have found it down as well: no choice brings it back.
  pool.balancer.Raise(0, Server::kUnhealthy);
  pool.balancer.Release(pool.Open(11), At(11));
  EXPECT_EQ(pool.balancer.NextReturn(At(11)), At(15));
  pool.balancer.Raise(1, Server::kUnhealthy);
  EXPECT_EQ(pool.balancer.NextReturn(At(15)), MonotonicTime::InfiniteFuture());
}

TEST(BalancerTest, AtMostHalfOfAPoolIsEjectedAndNeverTheLast) {
  Pool seven(EqualPlan(Balance::kP2c, 7));
  for (size_t i = 0; i < 7; ++i) seven.Fail(i, 10);
  size_t ejected = 0;
  for (size_t i = 0; i < 7; ++i) ejected += seven.Ejected(i) ? 1 : 0;
  EXPECT_EQ(ejected, 3u);

  Pool one(EqualPlan(Balance::kP2c, 1));
  one.Fail(0, 100);
  EXPECT_FALSE(one.Ejected(0));

  UpstreamPlan plan = EqualPlan(Balance::kP2c, 4);
  plan.max_ejection_percent = 100;
  Pool four(plan);
  four.balancer.Raise(3, Server::kUnhealthy);
  for (size_t i = 0; i < 3; ++i) four.Fail(i, 10);
  EXPECT_TRUE(four.Ejected(0));
  EXPECT_TRUE(four.Ejected(1));
  EXPECT_FALSE(four.Ejected(2)) << "the last one that is up";
}

TEST(BalancerTest, OurOwnTroubleDoesNotCountAgainstAServer) {
  Pool pool(EqualPlan(Balance::kP2c, 2));
  for (const int error : {EADDRNOTAVAIL, EMFILE, ENFILE, ENOBUFS, ENOMEM}) {
    pool.Fail(0, 100, 0, error);
    EXPECT_FALSE(pool.Ejected(0)) << error;
  }
}

TEST(BalancerTest, PassiveFailsOfZeroNeverEjects) {
  UpstreamPlan plan = EqualPlan(Balance::kP2c, 2);
  for (ServerPlan& server : plan.servers) server.passive_fails = 0;
  Pool pool(plan);
  pool.Fail(0, 1000);
  EXPECT_FALSE(pool.Ejected(0));
}

TEST(BalancerTest, ManyThreadsThatFailAtOnceEjectHalfAndLoseCountOfNobody) {
  const int64_t rounds = scale::balance_ejections;
  Pool pool(EqualPlan(Balance::kP2c, 4));
  pool.balancer.set_watcher(nullptr);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      for (int64_t i = 0; i < rounds; ++i) {
        const MonotonicTime now = At(static_cast<double>(i) / 100);
        pool.balancer.Failed(random() % 4, ECONNREFUSED, now);
        const auto choice = pool.balancer.Choose({now, random, 0, nullptr});
        ASSERT_EQ(choice.kind, Kind::kServer);
        pool.balancer.Release(choice.server, now);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  // Long after all are back, and again two can be ejected, no more and no fewer.
  pool.Visits(100, 1e6);
  for (size_t i = 0; i < 4; ++i) ASSERT_FALSE(pool.Ejected(i));
  for (size_t i = 0; i < 4; ++i) pool.Fail(i, 5, 1e6);
  size_t ejected = 0;
  for (size_t i = 0; i < 4; ++i) ejected += pool.Ejected(i) ? 1 : 0;
  EXPECT_EQ(ejected, 2u);
}

#ifdef PARKWAY_TEST_POINTS
// How many can be ejected at `at`, if all fail.
size_t Ejectable(Pool& pool, double at) {
  for (size_t i = 0; i < pool.balancer.size(); ++i) pool.Fail(i, 5, at);
  size_t ejected = 0;
  for (size_t i = 0; i < pool.balancer.size(); ++i) ejected += pool.Ejected(i) ? 1 : 0;
  return ejected;
}

TEST(BalancerTest, TwoWorkersThatEjectOneServerAtOnceTakeOnePlace) {
  UpstreamPlan plan = EqualPlan(Balance::kP2c, 4);
  for (ServerPlan& server : plan.servers) server.passive_fails = 1;
  Pool pool(plan);
  TestPoints::Once("Ejections::Failed:placed",
                   [&pool] { EXPECT_TRUE(pool.balancer.Failed(0, ECONNREFUSED, At(0))); });
  EXPECT_FALSE(pool.balancer.Failed(0, ECONNREFUSED, At(0)));
  EXPECT_EQ(pool.watcher.changes.size(), 1u) << "said once";
  pool.Visits(100, 1000);
  ASSERT_FALSE(pool.Ejected(0));
  EXPECT_EQ(Ejectable(pool, 1000), 2u);
}

TEST(BalancerTest, AServerThatIsDismissedWhileItIsEjectedTakesNoPlace) {
  UpstreamPlan plan = EqualPlan(Balance::kP2c, 5);
  Pool pool(plan);
  pool.Fail(4, 4);
  TestPoints::Once("Ejections::Failed:placed", [&] {
    plan.servers[4].gone = true;
    pool.balancer.Become(plan, At(0));
  });
  const std::shared_ptr<const Roster> before = pool.balancer.roster();
  EXPECT_FALSE(pool.balancer.balancer().Failed(*before, 4, ECONNREFUSED, At(0)));
  EXPECT_FALSE(pool.Ejected(4));
  EXPECT_TRUE(pool.watcher.changes.empty());
  EXPECT_EQ(Ejectable(pool, 0), 2u) << "of four";
}
#endif  // PARKWAY_TEST_POINTS

TEST(BalancerTest, WhoHasNotHeardOfAReloadGoesToNoServerThatIsGone) {
  for (const Balance balance : {Balance::kP2c, Balance::kRandom, Balance::kRoundRobin,
                                Balance::kLeastConn, Balance::kFirst, Balance::kSourceHash}) {
    UpstreamPlan plan = EqualPlan(balance, 3);
    Pool pool(plan);
    const std::shared_ptr<const Roster> before = pool.balancer.roster();
    plan.servers[0].gone = true;
    pool.balancer.Become(plan, At(0));
    std::mt19937_64 random(7);
    for (uint64_t source = 0; source < 200; ++source) {
      const Balancer::Choice choice =
          pool.balancer.balancer().Choose(*before, {At(1), random, source, nullptr});
      ASSERT_EQ(choice.kind, Kind::kServer);
      ASSERT_NE(choice.server, 0u) << "balance " << static_cast<int>(balance);
      pool.balancer.balancer().Release(*before, choice.server, At(1));
    }
  }
}

// ---------------------------------------------------------------------------------------------
// max_conns and the line

class Visitor : public Ticket {
 public:
  Visitor(Scheduler& home, std::vector<int>& order, int number)
      : Ticket(home), order_(order), number_(number) {}
  void Deliver(Scheduler&) override { order_.push_back(number_); }

 private:
  std::vector<int>& order_;
  const int number_;
};

TEST(BalancerTest, WhoWaitsIsServedInTurnAndNobodyOvertakes) {
  Scheduler scheduler({}, nullptr);
  UpstreamPlan plan = EqualPlan(Balance::kP2c, 2);
  for (ServerPlan& server : plan.servers) server.max_conns = 1;
  Pool pool(plan);
  const size_t one = pool.Open();
  const size_t other = pool.Open();
  EXPECT_NE(one, other);
  std::vector<int> order;
  std::vector<Visitor*> places;
  for (int i = 0; i < 6; ++i) {
    ASSERT_EQ(pool.Choose().kind, Kind::kWait);
    auto visitor = std::make_unique<Visitor>(scheduler, order, i);
    places.push_back(visitor.get());
    ASSERT_TRUE(pool.balancer.Enqueue(std::move(visitor), At(0)));
  }
  EXPECT_EQ(pool.balancer.waiting(), 6u);
  EXPECT_TRUE(pool.balancer.Leave(*places[1], At(0)));
  pool.balancer.Release(other, At(0));
  EXPECT_TRUE(places[0]->granted());
  EXPECT_EQ(places[0]->server(), other);
  EXPECT_FALSE(pool.balancer.Leave(*places[0], At(0))) << "too late";
  EXPECT_EQ(pool.Choose().kind, Kind::kWait) << "others were here before";
  for (int i = 0; i < 4; ++i) pool.balancer.Release(one, At(0));
  scheduler.Turn();
  EXPECT_EQ(order, (std::vector<int>{0, 2, 3, 4, 5}));
  EXPECT_EQ(pool.balancer.waiting(), 0u);
}

TEST(BalancerTest, TheLineHasABound) {
  Scheduler scheduler({}, nullptr);
  UpstreamPlan plan = EqualPlan(Balance::kP2c, 1);
  plan.servers[0].max_conns = 1;
  plan.queue_max = 2;
  Pool pool(plan);
  pool.Open();
  std::vector<int> order;
  const auto enqueue = [&] {
    return pool.balancer.Enqueue(std::make_unique<Visitor>(scheduler, order, 0), At(0));
  };
  EXPECT_TRUE(enqueue());
  EXPECT_TRUE(enqueue());
  EXPECT_FALSE(enqueue());
}

TEST(BalancerTest, ThousandsWhoLeaveAreNotRemembered) {
  Scheduler scheduler({}, nullptr);
  UpstreamPlan plan = EqualPlan(Balance::kP2c, 1);
  plan.servers[0].max_conns = 1;
  Pool pool(plan);
  const size_t held = pool.Open();
  std::vector<int> order;
  ASSERT_TRUE(pool.balancer.Enqueue(std::make_unique<Visitor>(scheduler, order, -1), At(0)));
  for (int i = 0; i < 10'000; ++i) {
    auto visitor = std::make_unique<Visitor>(scheduler, order, i);
    Visitor& place = *visitor;
    ASSERT_TRUE(pool.balancer.Enqueue(std::move(visitor), At(0)));
    ASSERT_TRUE(pool.balancer.Leave(place, At(0)));
  }
  EXPECT_EQ(pool.balancer.waiting(), 1u);
  ASSERT_TRUE(pool.balancer.Enqueue(std::make_unique<Visitor>(scheduler, order, -2), At(0)));
  pool.balancer.Release(held, At(0));
  pool.balancer.Release(held, At(0));
  scheduler.Turn();
  EXPECT_EQ(order, (std::vector<int>{-1, -2}));
}

TEST(BalancerTest, WhoIsHeldWhileAllAreDownGoesOnWhenOneIsUp) {
  Scheduler scheduler({}, nullptr);
  UpstreamPlan plan = EqualPlan(Balance::kP2c, 2);
  plan.all_down = AllDown::kHold;
  Pool pool(plan);
  pool.balancer.Raise(0, Server::kUnhealthy);
  pool.balancer.Raise(1, Server::kUnhealthy);
  std::vector<int> order;
  ASSERT_EQ(pool.Choose().kind, Kind::kWait);
  ASSERT_TRUE(pool.balancer.Enqueue(std::make_unique<Visitor>(scheduler, order, 1), At(0)));
  EXPECT_EQ(pool.balancer.waiting(), 1u);
  pool.balancer.Lower(1, Server::kUnhealthy, At(1));
  EXPECT_EQ(pool.balancer.waiting(), 0u);
  EXPECT_EQ(pool.balancer.server(1).connections(), 1u);
  scheduler.Turn();
  EXPECT_EQ(order, (std::vector<int>{1}));
}

// Four threads come, wait, leave and go; nobody is ever above max_conns, and at the end nobody is
// left in line while there is room.
TEST(BalancerTest, NobodyJoinsALineForServersThatAreAllDownUnlessTheyAreToBeHeld) {
  for (const AllDown all_down : {AllDown::kClose, AllDown::kHold}) {
    UpstreamPlan plan = EqualPlan(Balance::kFirst, 2);
    plan.all_down = all_down;
    for (ServerPlan& server : plan.servers) server.max_conns = 1;
    Scheduler scheduler({}, nullptr);
    std::vector<int> order;
    Pool pool(plan);
    for (size_t i = 0; i < 2; ++i) pool.Open();
    auto visitor = std::make_unique<Visitor>(scheduler, order, 0);
    Visitor& waits = *visitor;
    ASSERT_TRUE(pool.balancer.Enqueue(std::move(visitor), At(0)));
    pool.balancer.Raise(0, Server::kUnhealthy);
    EXPECT_EQ(pool.Choose().kind, Kind::kWait) << "one is up, and full";
    pool.balancer.Raise(1, Server::kUnhealthy);
    EXPECT_EQ(pool.Choose().kind, all_down == AllDown::kClose ? Kind::kNone : Kind::kWait);
    EXPECT_TRUE(pool.balancer.Leave(waits, At(0)));
  }
}

TEST(BalancerTest, MaxConnsIsExactWithFourThreads) {
  constexpr size_t kThreads = 4;
  constexpr uint32_t kMost = 3;
  const int64_t rounds = scale::balance_queue_rounds;
  for (const Balance balance : {Balance::kP2c, Balance::kLeastConn, Balance::kRoundRobin}) {
    UpstreamPlan plan = EqualPlan(balance, 2);
    for (ServerPlan& server : plan.servers) server.max_conns = kMost;
    Pool pool(plan);
    Bound& balancer = pool.balancer;
    std::array<std::atomic<int>, 2> open{};
    std::atomic<int> above{0};
    const auto enter = [&](size_t server) {
      if (open[server].fetch_add(1) + 1 > static_cast<int>(kMost)) above.fetch_add(1);
    };
    const auto leave = [&](size_t server) {
      open[server].fetch_sub(1);
      balancer.Release(server, At(0));
    };

    // What a thread holds, waits for, and was granted.
    struct Client {
      class Place : public Ticket {
       public:
        Place(Scheduler& home, Client& client) : Ticket(home), client_(client) {}
        void Deliver(Scheduler&) override {
          if (client_.place == this) {
            client_.place = nullptr;
            client_.granted = true;
            client_.server = server();
          } else {
            client_.strays.push_back(server());
          }
        }

       private:
        Client& client_;
      };
      Place* place = nullptr;
      bool granted = false;
      size_t server = 0;
      std::vector<size_t> strays;  // granted after it had left
    };

    // They outlive the threads: who grants a place still rings the scheduler of its owner when the
    // owner already has it.
    std::vector<std::unique_ptr<Scheduler>> schedulers;
    for (size_t t = 0; t < kThreads; ++t) {
      schedulers.push_back(std::make_unique<Scheduler>(Scheduler::Options{}, nullptr));
    }
    std::vector<std::thread> threads;
    for (size_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        Scheduler& scheduler = *schedulers[t];
        std::mt19937_64 random(t);
        std::vector<std::unique_ptr<Client>> clients;
        for (int i = 0; i < 6; ++i) clients.push_back(std::make_unique<Client>());
        std::vector<size_t> held(clients.size(), SIZE_MAX);
        class Nothing : public Message {
          void Deliver(Scheduler&) override {}
        };
        const auto turn = [&] {
          scheduler.Post(std::make_unique<Nothing>());
          scheduler.Turn();
          for (size_t i = 0; i < clients.size(); ++i) {
            if (!clients[i]->granted) continue;
            clients[i]->granted = false;
            held[i] = clients[i]->server;
            enter(held[i]);
          }
        };
        const auto done = [&](size_t i) {
          if (held[i] == SIZE_MAX) return;
          leave(std::exchange(held[i], SIZE_MAX));
        };
        for (int64_t round = 0; round < rounds; ++round) {
          const size_t i = random() % clients.size();
          Client& client = *clients[i];
          if (client.place != nullptr) {
            if (random() % 4 == 0 && balancer.Leave(*client.place, At(0))) client.place = nullptr;
          } else if (held[i] != SIZE_MAX) {
            done(i);
          } else {
            const auto choice = balancer.Choose({At(0), random, 0, nullptr});
            if (choice.kind == Kind::kServer) {
              held[i] = choice.server;
              enter(held[i]);
            } else {
              ASSERT_EQ(choice.kind, Kind::kWait);
              auto place = std::make_unique<Client::Place>(scheduler, client);
              client.place = place.get();
              ASSERT_TRUE(balancer.Enqueue(std::move(place), At(0)));
            }
          }
          if (random() % 3 == 0) turn();
        }
        for (size_t i = 0; i < clients.size(); ++i) done(i);
        for (bool waiting = true; waiting;) {
          turn();
          waiting = false;
          for (size_t i = 0; i < clients.size(); ++i) {
            done(i);
            waiting = waiting || clients[i]->place != nullptr;
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(above.load(), 0);
    EXPECT_EQ(balancer.waiting(), 0u);
    EXPECT_EQ(balancer.server(0).connections(), 0u);
    EXPECT_EQ(balancer.server(1).connections(), 0u);
  }
}

// ---------------------------------------------------------------------------------------------
// Maglev

std::vector<std::string> Names(size_t count) {
  std::vector<std::string> names;
  for (size_t i = 0; i < count; ++i) names.push_back("10.0.0." + std::to_string(i) + ":80");
  return names;
}

MaglevTable Table(const std::vector<std::string>& names, const std::vector<uint32_t>& weights) {
  return MaglevTable({names.begin(), names.end()}, weights);
}

TEST(MaglevTest, EachHasItsShareOfTheSlots) {
  const std::vector<uint32_t> weights = {1, 2, 7, 100, 256};
  const MaglevTable table = Table(Names(5), weights);
  std::vector<uint64_t> slots(5);
  for (uint32_t i = 0; i < MaglevTable::kSlots; ++i) ++slots[table.At(i)];
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_NEAR(static_cast<double>(slots[i]), MaglevTable::kSlots * weights[i] / 366.0, 2) << i;
  }
}

TEST(MaglevTest, RemovingOneOfManyMovesLittleMoreThanItsOwn) {
  for (const size_t count : {2, 3, 5, 10, 50, 200}) {
    for (const size_t removed : {size_t{0}, count / 2, count - 1}) {
      const std::vector<std::string> names = Names(count);
      std::vector<std::string> fewer = names;
      fewer.erase(fewer.begin() + static_cast<ptrdiff_t>(removed));
      const MaglevTable before = Table(names, std::vector<uint32_t>(count, 1));
      const MaglevTable after = Table(fewer, std::vector<uint32_t>(count - 1, 1));
      uint32_t moved = 0;
      for (uint32_t i = 0; i < MaglevTable::kSlots; ++i) {
        moved += names[before.At(i)] != fewer[after.At(i)] ? 1 : 0;
      }
      EXPECT_LE(static_cast<double>(moved) / MaglevTable::kSlots,
                1.0 / static_cast<double>(count) + 0.02)
          << count << " servers without number " << removed;
    }
  }
}

TEST(MaglevTest, ItIsTheSameTableForEver) {
  const MaglevTable table = Table(Names(7), {1, 2, 3, 4, 5, 6, 7});
  uint64_t sum = 0;
  for (uint32_t i = 0; i < MaglevTable::kSlots; ++i) sum = sum * 31 + table.At(i);
  EXPECT_EQ(sum, 2424177255256259389u) << "whoever changes this moves every client";
  EXPECT_EQ(StableHash("abc", 0), 17401848019745473050u);
}

}  // namespace
}  // namespace parkway
