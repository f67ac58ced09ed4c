#include "proxy/observe/sum.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "proxy/inbound/front.h"

namespace parkway {

namespace {

const char* BalanceName(Balance balance) {
  switch (balance) {
    case Balance::kP2c:
      break;
    case Balance::kLeastConn:
      return "least_conn";
    case Balance::kRoundRobin:
      return "round_robin";
    case Balance::kRandom:
      return "random";
    case Balance::kSourceHash:
      return "source_hash";
    case Balance::kFirst:
      return "first";
    case Balance::kLeastTime:
      return "least_time";
  }
  return "p2c";
}

void AddTcp(const TcpStats& stats, TcpReading& to) {
  stats.rtt.AddTo(&to.rtt.counts, &to.rtt.sum_us);
  to.retransmits += stats.retransmits.value();
  to.rwnd_limited += absl::Microseconds(stats.rwnd_limited_us.value());
}

void AddCauses(const CauseCounters& causes, ByCause& to) {
  for (size_t i = 0; i < to.size(); ++i) to[i] += causes[i].value();
}

ServerReading::State StateOf(uint32_t flags) {
  if ((flags & Server::kGone) != 0) return ServerReading::State::kGone;
  if ((flags & Server::kDown) != 0) return ServerReading::State::kDown;
  if ((flags & Server::kDrained) != 0) return ServerReading::State::kDrain;
  if ((flags & Server::kUnhealthy) != 0) return ServerReading::State::kUnhealthy;
  if ((flags & Server::kEjected) != 0) return ServerReading::State::kEjected;
  return ServerReading::State::kUp;
}

// What is planned of a server, and how it is doing.
void ReadServer(const ServerPlan& plan, const Server& state, MonotonicTime now, ServerReading& to) {
  to.name = plan.name;
  to.group = plan.group;
  to.address = plan.address.ToString();
  to.weight = plan.weight;
  to.priority = plan.priority;
  to.max_conns = plan.max_conns;
  to.checked = plan.health.on();
  to.active = state.connections();
  to.flags = state.flags();
  // One whose time is over comes back with the next choice.
  if (state.ejected_until() <= now.ns()) to.flags &= ~static_cast<uint32_t>(Server::kEjected);
  to.state = StateOf(to.flags);
  if (to.state == ServerReading::State::kEjected) {
    to.since = absl::Nanoseconds(now.ns() - state.ejected_since());
  }
}

// Where a connection may be led, its own upstream first.
std::vector<std::string> UpstreamsOf(const ListenerPlan& listener, const Plan& plan) {
  std::vector<size_t> slots;
  const auto add = [&](size_t slot) {
    if (slot >= plan.upstreams.size()) return;
    if (std::find(slots.begin(), slots.end(), slot) == slots.end()) slots.push_back(slot);
  };
  add(listener.upstream);
  if (listener.front != nullptr) {
    for (const size_t slot : listener.front->routes.upstreams()) add(slot);
  }
  std::vector<std::string> names;
  for (const size_t slot : slots) names.push_back(plan.upstreams[slot]->name);
  return names;
}

void MarkUsed(Readings& readings) {
  std::unordered_set<std::string> used;
  for (const ListenerReading& listener : readings.listeners) {
    used.insert(listener.upstreams.begin(), listener.upstreams.end());
  }
  for (UpstreamReading& upstream : readings.upstreams) {
    upstream.used = used.contains(upstream.name);
  }
}

void AddListener(const ListenerStats& stats, const Plan& plan, ListenerReading& to) {
  to.total += stats.accepted.value();
  to.bytes_received += stats.bytes_received.value();
  to.bytes_sent += stats.bytes_sent.value();
  stats.duration.AddTo(&to.duration.counts, &to.duration.sum_us);
  AddTcp(stats.tcp, to.tcp);
  for (const ClosedStats::Cell* cell = stats.closed.first(); cell != nullptr;
       cell = ClosedStats::After(*cell)) {
    AddCauses(cell->causes, to.closed);
    const uint16_t upstream = cell->upstream.load(std::memory_order_relaxed);
    if (upstream == ClosedStats::kNobody) continue;
    const std::string name = upstream < plan.upstreams.size() ? plan.upstreams[upstream]->name : "";
    const auto known = std::find_if(
        to.closed_by_upstream.begin(), to.closed_by_upstream.end(),
        [&](const ListenerReading::Closed& closed) { return closed.upstream == name; });
    if (known != to.closed_by_upstream.end()) {
      AddCauses(cell->causes, known->causes);
    } else {
      to.closed_by_upstream.push_back({.upstream = name});
      AddCauses(cell->causes, to.closed_by_upstream.back().causes);
    }
  }
}

void AddUpstream(const UpstreamStats& stats, UpstreamReading& to) {
  to.queued += stats.queued.value();
  to.retries += stats.retries.value();
  to.redispatches += stats.redispatches.value();
  stats.queue_time.AddTo(&to.queue_time.counts, &to.queue_time.sum_us);
}

void AddServer(const ServerStats& stats, MonotonicTime now, ServerReading& to) {
  to.total += stats.connected.value();
  to.connect_attempts += stats.attempts.value();
  for (size_t i = 0; i < to.connect_errors.size(); ++i) {
    to.connect_errors[i] += stats.errors[i].value();
  }
  stats.connect_time.AddTo(&to.connect_time.counts, &to.connect_time.sum_us);
  to.bytes_received += stats.bytes_received.value();
  to.bytes_sent += stats.bytes_sent.value();
  AddTcp(stats.tcp, to.tcp);
  to.ejections += stats.ejections.value();
  const uint64_t checks = stats.checks_passed.value() + stats.checks_failed.value();
  if (checks == 0) return;
  // The worker that checks it.
  to.checks_passed += stats.checks_passed.value();
  to.checks_failed += stats.checks_failed.value();
  to.last_check = static_cast<HealthWord>(stats.last_check.value());
  to.last_check_took = absl::Microseconds(stats.last_check_us.value());
  to.transitions += stats.transitions.value();
  const auto changed = static_cast<int64_t>(stats.last_transition_at_ns.value());
  if (changed != 0 && to.since == absl::ZeroDuration()) {
    to.since = absl::Nanoseconds(now.ns() - changed);
  }
}

// In the order of the configuration; behind them those that are gone and still have somebody.
void InOrder(const UpstreamPlan& plan, std::vector<ServerReading>& servers) {
  std::vector<ServerReading> ordered;
  const auto take = [&](size_t slot) { ordered.push_back(std::move(servers[slot])); };
  if (plan.order.empty()) {
    for (size_t i = 0; i < servers.size(); ++i) {
      if (!plan.servers[i].gone) take(i);
    }
  } else {
    for (const uint16_t slot : plan.order) take(slot);
  }
  for (size_t i = 0; i < servers.size(); ++i) {
    if (plan.servers[i].gone && servers[i].active > 0) take(i);
  }
  servers = std::move(ordered);
}

void AddToName(const ServerReading& server, UpstreamReading::Name& name) {
  ServerReading& sum = name.sum;
  if (name.servers == 0 || server.state < sum.state) {
    sum.state = server.state;
    sum.since = server.since;
  }
  sum.priority = name.servers == 0 ? server.priority : std::min(sum.priority, server.priority);
  ++name.servers;
  name.servers_up += server.up() && server.weight > 0;
  sum.weight += server.weight;
  sum.active += server.active;
  sum.total += server.total;
  sum.connect_attempts += server.connect_attempts;
  for (size_t i = 0; i < sum.connect_errors.size(); ++i) {
    sum.connect_errors[i] += server.connect_errors[i];
  }
  sum.connect_time.Add(server.connect_time);
  sum.bytes_received += server.bytes_received;
  sum.bytes_sent += server.bytes_sent;
  sum.tcp.rtt.Add(server.tcp.rtt);
  sum.tcp.retransmits += server.tcp.retransmits;
  sum.tcp.rwnd_limited += server.tcp.rwnd_limited;
  sum.checks_passed += server.checks_passed;
  sum.checks_failed += server.checks_failed;
  sum.transitions += server.transitions;
  sum.ejections += server.ejections;
}

void SumNames(UpstreamReading& upstream) {
  std::unordered_map<std::string, size_t> known;
  for (const ServerReading& server : upstream.servers) {
    if (server.group.empty()) continue;
    const auto [found, is_new] = known.emplace(server.group, upstream.names.size());
    if (is_new) upstream.names.emplace_back().sum.name = server.group;
    AddToName(server, upstream.names[found->second]);
  }
  for (UpstreamReading::Name& name : upstream.names) {
    name.sum.address =
        std::to_string(name.servers) + (name.servers == 1 ? " address" : " addresses");
  }
}

}  // namespace

void SumListeners(const Plan& plan, const std::vector<const WorkerStats*>& workers,
                  Readings& readings) {
  std::unordered_map<std::string, size_t> known;
  for (size_t slot = 0; slot < plan.listeners.size(); ++slot) {
    const ListenerPlan& of = *plan.listeners[slot];
    ++readings.process.listener_slots;
    readings.process.listener_slots_used += !of.vacant();
    if (of.vacant()) continue;
    const auto [found, is_new] = known.emplace(of.name, readings.listeners.size());
    if (is_new) {
      ListenerReading& made = readings.listeners.emplace_back();
      made.name = of.name;
      made.gone = true;
    }
    ListenerReading& listener = readings.listeners[found->second];
    if (!of.gone) {
      listener.gone = false;
      listener.addresses.push_back(of.address.ToString());
    }
    // What is in force, or was at last.
    if (!of.gone || listener.gone) {
      listener.upstreams = UpstreamsOf(of, plan);
      listener.upstream =
          of.upstream < plan.upstreams.size() ? plan.upstreams[of.upstream]->name : "";
      listener.max_connections = of.numbers.max_connections;
    }
    uint64_t begun = 0, ended = 0;
    for (const WorkerStats* worker : workers) {
      const ListenerStats* stats = worker->listeners.Find(slot);
      if (stats == nullptr) continue;
      // In this order: what ends between the two is not counted twice.
      ended += stats->ended.value();
      begun += stats->begun.value();
      if (!of.gone && stats->held.value() != 0) listener.state = ListenerReading::State::kPaused;
      AddListener(*stats, plan, listener);
    }
    listener.active += begun > ended ? begun - ended : 0;
  }
  std::erase_if(readings.listeners,
                [](const ListenerReading& one) { return one.gone && one.active == 0; });
  std::stable_partition(readings.listeners.begin(), readings.listeners.end(),
                        [](const ListenerReading& one) { return !one.gone; });
}

void SumUpstreams(const Generation& generation, const std::vector<const WorkerStats*>& workers,
                  MonotonicTime now, Readings& readings) {
  const Plan& plan = *generation.plan;
  for (size_t slot = 0; slot < plan.upstreams.size(); ++slot) {
    const UpstreamPlan& of = *plan.upstreams[slot];
    const Roster& roster = generation.roster(slot);
    UpstreamReading upstream;
    upstream.name = of.name;
    upstream.gone = of.gone;
    upstream.balance = BalanceName(of.balance);
    upstream.queue_max = of.queue_max;
    upstream.queue_length = roster.balancer().waiting();
    uint64_t active = 0;
    for (size_t i = 0; i < of.servers.size(); ++i) {
      ReadServer(of.servers[i], roster.server(i), now, upstream.servers.emplace_back());
      active += upstream.servers.back().active;
      readings.process.server_slots_used += !of.servers[i].vacant();
    }
    readings.process.server_slots += of.servers.size();
    ++readings.process.upstream_slots;
    readings.process.upstream_slots_used += !of.vacant();
    if (of.gone && active == 0) continue;
    for (const WorkerStats* worker : workers) {
      const UpstreamStats* stats = worker->upstreams.Find(slot);
      if (stats == nullptr) continue;
      AddUpstream(*stats, upstream);
      for (size_t i = 0; i < of.servers.size(); ++i) {
        const ServerStats* counted = stats->servers.Find(i);
        if (counted != nullptr) AddServer(*counted, now, upstream.servers[i]);
      }
    }
    InOrder(of, upstream.servers);
    SumNames(upstream);
    readings.upstreams.push_back(std::move(upstream));
  }
  MarkUsed(readings);
}

}  // namespace parkway
