#include "proxy/plan_of.h"

#include <algorithm>
#include <array>
#include <string>

namespace parkway {

namespace {

// Reached without leaving this machine.
bool IsLocal(const config::Address& address, const config::SystemFacts& facts) {
  if (address.is_unix() || address.is_loopback()) return true;
  const config::Address wanted = address.Unmapped();
  return std::any_of(facts.own_addresses.begin(), facts.own_addresses.end(),
                     [&wanted](const config::Address& own) {
                       const config::Address plain = own.Unmapped();
                       return plain.kind == wanted.kind && plain.ip == wanted.ip;
                     });
}

SocketOptions SocketsOf(const config::Scalars& scalars) {
  SocketOptions options;
  options.receive_buffer_bytes = static_cast<uint32_t>(scalars.rcvbuf);
  options.send_buffer_bytes = static_cast<uint32_t>(scalars.sndbuf);
  options.notsent_low_bytes = static_cast<uint32_t>(scalars.notsent_lowat);
  options.busy_poll_us = static_cast<uint32_t>(absl::ToInt64Microseconds(scalars.busy_poll));
  options.congestion = scalars.congestion;
  return options;
}

ServerState StateOf(config::ServerState state) {
  switch (state) {
    case config::ServerState::kReady:
      break;
    case config::ServerState::kDrain:
      return ServerState::kDrain;
    case config::ServerState::kDown:
      return ServerState::kDown;
  }
  return ServerState::kReady;
}

Balance BalanceOf(config::Balance balance) {
  switch (balance) {
    case config::Balance::kP2c:
      break;
    case config::Balance::kLeastConn:
      return Balance::kLeastConn;
    case config::Balance::kRoundRobin:
      return Balance::kRoundRobin;
    case config::Balance::kRandom:
      return Balance::kRandom;
    case config::Balance::kSourceHash:
      return Balance::kSourceHash;
    case config::Balance::kFirst:
      return Balance::kFirst;
    case config::Balance::kLeastTime:
      return Balance::kLeastTime;
  }
  return Balance::kP2c;
}

AllDown AllDownOf(config::AllDown all_down) {
  switch (all_down) {
    case config::AllDown::kClose:
      return AllDown::kClose;
    case config::AllDown::kHold:
      return AllDown::kHold;
    case config::AllDown::kAuto:
    case config::AllDown::kTryAll:
      break;
  }
  return AllDown::kTryAll;
}

ServerPlan ServerOf(const config::Server& server, const config::SystemFacts& facts,
                    const PortRange& ephemeral) {
  ServerPlan plan;
  plan.name = server.name;
  plan.address = AddressOf(server.address, facts.ipv6);
  plan.local = IsLocal(server.address, facts);
  plan.port_is_offset = server.address.relative;
  plan.may_connect_to_itself = plan.local && !server.address.is_unix() &&
                               (server.address.relative || ephemeral.contains(server.address.port));
  const config::Scalars& settings = server.settings;
  plan.connect_timeout = settings.connect_timeout;
  plan.weight = settings.weight;
  plan.priority = std::max<uint32_t>(settings.priority, settings.backup ? 1 : 0);
  plan.max_conns = settings.max_conns;
  plan.state = StateOf(settings.state);
  plan.slow_start = settings.slow_start;
  plan.passive_fails = settings.passive_fails;
  plan.ejection_time = settings.ejection_time;
  for (const config::Address& source : settings.source) {
    Address from = AddressOf(source, facts.ipv6);
    if (from.family() == plan.address.family()) plan.sources.push_back(from);
  }
  plan.sockets = SocketsOf(server.settings);
  return plan;
}

SpliceUse SpliceOf(config::Splice splice) {
  switch (splice) {
    case config::Splice::kOn:
      return SpliceUse::kAlways;
    case config::Splice::kOff:
      return SpliceUse::kNever;
    case config::Splice::kAuto:
      break;
  }
  return SpliceUse::kBulk;
}

}  // namespace

Address AddressOf(const config::Address& address, bool ipv6) {
  switch (address.kind) {
    case config::Address::Kind::kAnyIp:
      if (ipv6) return Address::Ipv6({}, address.port);
      return Address::Ipv4({}, address.port);
    case config::Address::Kind::kIpv4: {
      std::array<uint8_t, 4> bytes;
      std::copy_n(address.ip.begin(), bytes.size(), bytes.begin());
      return Address::Ipv4(bytes, address.port);
    }
    case config::Address::Kind::kIpv6:
      return Address::Ipv6(address.ip, address.port);
    case config::Address::Kind::kUnixPath:
      return Address::UnixPath(address.path);
    case config::Address::Kind::kUnixAbstract:
      return Address::UnixAbstract(address.path);
  }
  return Address();
}

Plan PlanOf(const config::Snapshot& snapshot, const config::SystemFacts& facts,
            const PortRange& ephemeral) {
  const config::Scalars& scalars = snapshot.scalars;
  Plan plan;
  for (const config::Upstream& upstream : snapshot.upstreams) {
    UpstreamPlan& added = plan.upstreams.emplace_back();
    added.name = upstream.name;
    const config::Scalars& settings = upstream.settings;
    added.connect_attempts = static_cast<int>(settings.connect_attempts);
    added.balance = BalanceOf(settings.balance);
    added.all_down = AllDownOf(settings.all_down);
    added.hash_balance_percent = settings.hash_balance_factor;
    added.panic_percent = settings.panic_threshold;
    added.max_ejection_percent = settings.max_ejection_percent;
    added.queue_max = settings.queue_max;
    added.queue_timeout = settings.queue_timeout;
    for (const config::Server& server : upstream.servers) {
      added.servers.push_back(ServerOf(server, facts, ephemeral));
    }
  }
  for (const config::Listener& listener : snapshot.listeners) {
    const config::Scalars& settings = listener.settings;
    for (const config::Address& address : listener.addresses) {
      ListenerPlan& added = plan.listeners.emplace_back();
      added.name = listener.name;
      added.address = AddressOf(address.Unmapped(), facts.ipv6 || settings.v6only);
      added.v6only = settings.v6only;
      added.mode = listener.mode;
      added.owner = listener.owner;
      added.backlog = static_cast<int>(settings.backlog);
      added.upstream = listener.upstream;
      added.sockets = SocketsOf(settings);
      added.splice = SpliceOf(settings.splice);
      added.times.idle_ns = absl::ToInt64Nanoseconds(settings.idle_timeout);
      added.times.half_close_ns = absl::ToInt64Nanoseconds(settings.half_close_timeout);
      added.times.delayed_close_ns = absl::ToInt64Nanoseconds(settings.delayed_close);
    }
  }
  plan.max_connections = snapshot.max_connections;
  plan.accept_balance = scalars.accept_balance == config::AcceptBalance::kAuto;
  plan.access_log = scalars.access_log == config::AccessLog::kStderr;
  return plan;
}

}  // namespace parkway
