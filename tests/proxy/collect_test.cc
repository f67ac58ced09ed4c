// Readings made of what workers count: sums by name, states, and what becomes of a worker that does
// not answer.
#include "proxy/observe/collect.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "proxy/inbound/listener_limits.h"

namespace parkway {
namespace {

using Done = std::function<void(std::vector<SlowSample>)>;

class CollectorTest : public testing::Test {
 protected:
  static constexpr size_t kWorkers = 2;

  CollectorTest() {
    UpstreamPlan app;
    app.name = "app";
    app.servers.resize(2);
    app.servers[0].name = "a";
    app.servers[0].address = Address::Ipv4({127, 0, 0, 1}, 9001);
    app.servers[0].weight = 3;
    app.servers[1].name = "b";
    app.servers[1].health.probe.kind = HealthKind::kTcp;
    Plan plan;
    plan.Add(app);
    plan.Add(UpstreamPlan{.name = "spare", .servers = {}});
    plan.Add(ListenerPlan{.name = "web", .address = Address::Ipv4({127, 0, 0, 1}, 8001)});
    plan.Add(ListenerPlan{.name = "web", .address = Address::Ipv4({127, 0, 0, 1}, 8002)});
    ListenerPlan sql;
    sql.name = "sql";
    sql.upstream = kNoUpstream;
    plan.Add(sql);
    generations_ = std::make_unique<Generations>(std::make_shared<const Plan>(std::move(plan)));
    CollectSource source;
    source.generation = [this] { return generations_->current(); };
    source.add = [](Readings& readings) { readings.process.generation = 7; };
    for (size_t i = 0; i < kWorkers; ++i) {
      CollectSource::OfWorker worker;
      worker.stats = &stats_[i];
      worker.connections = [i] { return static_cast<uint32_t>(10 * (i + 1)); };
      worker.turns = [] { return 5; };
      worker.ask = [this, i](MonotonicTime, bool slowest, Done done) {
        ++asked_[i];
        slowest_asked_ = slowest;
        if (answers_) {
          done(std::exchange(samples_[i], {}));
        } else {
          kept_.push_back(std::move(done));
        }
      };
      source.workers.push_back(std::move(worker));
    }
    collector_ = std::make_unique<Collector>(scheduler_, std::move(source));
  }
  ~CollectorTest() override {
    while (collector_->busy()) scheduler_.Turn();
  }

  std::shared_ptr<const Readings> Collect(bool slowest = false) {
    std::shared_ptr<const Readings> got;
    collector_->Collect(
        {.slowest = slowest},
        [&got](const std::shared_ptr<const Readings>& readings) { got = readings; });
    while (got == nullptr) scheduler_.Turn();
    return got;
  }

  Scheduler scheduler_{{.max_stacks = 4}, nullptr};
  std::unique_ptr<Generations> generations_;
  WorkerStats stats_[kWorkers];
  int asked_[kWorkers] = {};
  std::vector<SlowSample> samples_[kWorkers];
  bool slowest_asked_ = false;
  bool answers_ = true;
  std::vector<Done> kept_;
  std::unique_ptr<Collector> collector_;
};

TEST_F(CollectorTest, AddressesOfOneNameAndWorkersAreAddedUp) {
  stats_[0].listeners.At(0).accepted.Add(5);
  stats_[0].listeners.At(0).begun.Add(4);
  stats_[0].listeners.At(0).ended.Add(1);
  stats_[1].listeners.At(0).begun.Add(1);
  stats_[1].listeners.At(1).accepted.Add(2);
  stats_[1].listeners.At(1).begun.Add(2);
  stats_[0].listeners.At(0).closed.Add(0, CloseCause::kClientFin);
  stats_[1].listeners.At(1).closed.Add(ClosedStats::kNoUpstream, CloseCause::kDenied);
  stats_[1].listeners.At(1).bytes_received.Add(100);
  stats_[0].listeners.At(0).duration.Add(2'000);
  const auto readings = Collect();
  ASSERT_EQ(readings->listeners.size(), 2u);
  const ListenerReading& web = readings->listeners[0];
  EXPECT_EQ(web.name, "web");
  EXPECT_EQ(web.addresses, (std::vector<std::string>{"127.0.0.1:8001", "127.0.0.1:8002"}));
  EXPECT_EQ(web.upstream, "app");
  EXPECT_EQ(web.total, 7u);
  EXPECT_EQ(web.active, 6u);
  EXPECT_EQ(web.bytes_received, 100u);
  EXPECT_EQ(web.duration.count(), 1u);
  EXPECT_EQ(web.closed[static_cast<size_t>(CloseCause::kClientFin)], 1u);
  ASSERT_EQ(web.closed_by_upstream.size(), 2u);
  EXPECT_EQ(web.closed_by_upstream[0].upstream, "app");
  EXPECT_EQ(web.closed_by_upstream[1].upstream, "");
  EXPECT_EQ(readings->listeners[1].upstream, "") << "routes alone decide";
  EXPECT_EQ(readings->process.connections, 30u);
  EXPECT_EQ(readings->process.generation, 7u);
  EXPECT_GT(readings->process.fds_open, 2u);
  EXPECT_GT(readings->process.memory_resident_bytes, 100'000u);
  EXPECT_TRUE(readings->upstreams[0].used);
  EXPECT_FALSE(readings->upstreams[1].used);
}

TEST_F(CollectorTest, AServerSaysHowItIsDoing) {
  ServerStats& checked = stats_[1].server(0, 1);
  checked.checks_failed.Add(3);
  checked.last_check.Set(static_cast<uint64_t>(HealthWord::kL4Con));
  checked.last_check_us.Set(250);
  checked.transitions.Add(1);
  checked.last_transition_at_ns.Set(
      static_cast<uint64_t>(ReadMonotonicClock().ns() - 2'000'000'000));
  Balancer::Raise(generations_->current()->roster(0), 1, Server::kUnhealthy);
  ServerStats& used = stats_[0].server(0, 0);
  used.attempts.Add(4);
  used.connected.Add(3);
  used.errors[ConnectErrorIndex(CloseCause::kConnectTimeout)].Add(1);
  used.connect_time.Add(300);
  const auto readings = Collect();
  const ServerReading& a = readings->upstreams[0].servers[0];
  EXPECT_EQ(a.name, "a");
  EXPECT_EQ(a.address, "127.0.0.1:9001");
  EXPECT_EQ(a.weight, 3u);
  EXPECT_TRUE(a.up());
  EXPECT_EQ(a.total, 3u);
  EXPECT_EQ(a.connect_failures(), 1u);
  EXPECT_EQ(a.connect_time.counts[2], 1u);
  const ServerReading& b = readings->upstreams[0].servers[1];
  EXPECT_EQ(b.state, ServerReading::State::kUnhealthy);
  EXPECT_TRUE(b.checked);
  EXPECT_EQ(b.last_check, HealthWord::kL4Con);
  EXPECT_EQ(b.last_check_took, absl::Microseconds(250));
  EXPECT_GE(b.since, absl::Seconds(2));
  EXPECT_EQ(readings->upstreams[0].servers_up(), 1u);
}

TEST_F(CollectorTest, WhatWasRemovedIsThereWhileItHasConnections) {
  const Plan& before = *generations_->current()->plan;
  Plan after = before;
  const auto without = [](const auto& entry) {
    auto copy = *entry;
    copy.gone = true;
    return std::make_shared<const std::remove_reference_t<decltype(copy)>>(copy);
  };
  after.listeners[1] = without(before.listeners[1]);  // web's second address
  after.listeners[2] = without(before.listeners[2]);  // sql
  UpstreamPlan app = *before.upstreams[0];
  app.servers[0].gone = true;
  app.order = {1};
  after.upstreams[0] = std::make_shared<const UpstreamPlan>(app);
  after.upstreams[1] = without(before.upstreams[1]);
  // One connection each is left of web's second address, and of sql.
  for (const size_t slot : {1, 2}) stats_[0].listeners.At(slot).begun.Add(1);
  stats_[0].listeners.At(1).accepted.Add(7);
  stats_[0].listeners.At(0).accepted.Add(1);
  generations_->Commit(generations_->Prepare(std::make_shared<const Plan>(std::move(after))),
                       MonotonicTime(1));
  auto readings = Collect();
  ASSERT_EQ(readings->listeners.size(), 2u);
  EXPECT_EQ(readings->listeners[0].name, "web");
  EXPECT_FALSE(readings->listeners[0].gone);
  EXPECT_EQ(readings->listeners[0].addresses, std::vector<std::string>{"127.0.0.1:8001"});
  EXPECT_EQ(readings->listeners[0].total, 8u) << "its counts go on";
  EXPECT_EQ(readings->listeners[0].active, 1u);
  EXPECT_TRUE(readings->listeners[1].gone);
  ASSERT_EQ(readings->upstreams.size(), 1u) << "nobody is left of the spare one";
  ASSERT_EQ(readings->upstreams[0].servers.size(), 1u);
  EXPECT_EQ(readings->upstreams[0].servers[0].name, "b");
  stats_[0].listeners.At(2).ended.Add(1);
  EXPECT_EQ(Collect()->listeners.size(), 1u);
}

TEST_F(CollectorTest, OfAWorkerThatDoesNotAnswerTheLastNumbersAreRead) {
  answers_ = false;
  stats_[0].listeners.At(0).accepted.Add(5);
  const MonotonicTime began = ReadMonotonicClock();
  const auto readings = Collect();
  EXPECT_GE(ReadMonotonicClock().ns() - began.ns(), Collector::kPatienceNs);
  EXPECT_EQ(readings->listeners[0].total, 5u);
  EXPECT_FALSE(readings->workers[0].answered);
  // An answer that comes later is for nobody.
  for (const Done& done : kept_) done({});
  scheduler_.Turn();
  answers_ = true;
  EXPECT_TRUE(Collect()->workers[0].answered);
}

TEST_F(CollectorTest, QuestionsThatComeMeanwhileAreAnsweredByOneMoreRound) {
  answers_ = false;
  int answered = 0;
  const auto count = [&](const std::shared_ptr<const Readings>&) { ++answered; };
  collector_->Collect({}, count);
  for (int i = 0; i < 100; ++i) collector_->Collect({}, count);
  EXPECT_EQ(asked_[0], 1);
  answers_ = true;
  for (const Done& done : std::exchange(kept_, {})) done({});
  while (answered < 101) scheduler_.Turn();
  EXPECT_EQ(asked_[0], 2);
  EXPECT_EQ(asked_[1], 2);
}

TEST_F(CollectorTest, TheSlowestOfAllWorkersAreNamed) {
  for (uint32_t i = 0; i < 10; ++i) {
    for (size_t worker = 0; worker < kWorkers; ++worker) {
      SlowSample sample;
      sample.id = i;
      sample.rtt_client_us = 100 * i + static_cast<uint32_t>(worker);
      sample.has_server = true;
      samples_[worker].push_back(sample);
    }
  }
  SlowSample stalled;
  stalled.waiting_bytes = 1;
  stalled.idle_ns = 5'000'000'000;
  samples_[1].push_back(stalled);
  const auto readings = Collect(true);
  EXPECT_TRUE(slowest_asked_);
  ASSERT_EQ(readings->slowest.size(), kSlowest);
  EXPECT_EQ(readings->slowest[0].waiting_bytes, 1u);
  EXPECT_EQ(readings->slowest[1].rtt_client, absl::Microseconds(901));
  EXPECT_EQ(readings->slowest[2].rtt_client, absl::Microseconds(900));
  EXPECT_EQ(readings->slowest[1].server, "a");
  EXPECT_TRUE(Collect()->slowest.empty()) << "nobody asked";
  EXPECT_FALSE(slowest_asked_);
}

}  // namespace
}  // namespace parkway
