#include "proxy/plan_of.h"

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "config/admission.h"
#include "proxy/core/proxy_out.h"
#include "proxy/front_of.h"
#include "proxy/log_plan_of.h"

namespace parkway {

namespace {

// Reached without leaving this machine.
bool IsLocal(const config::Address& address, const config::SystemFacts& facts) {
  // No address in particular is this machine's, too.
  if (address.is_unix() || address.is_loopback() || address.is_any()) return true;
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
  options.user_timeout_ms =
      static_cast<uint32_t>(absl::ToInt64Milliseconds(scalars.tcp_user_timeout));
  options.mark = scalars.mark;
  options.dscp = scalars.dscp;
  options.congestion = scalars.congestion;
  options.device = scalars.device;
  options.keepalive.idle_s = static_cast<uint32_t>(absl::ToInt64Seconds(scalars.keepalive.idle));
  options.keepalive.interval_s =
      static_cast<uint32_t>(absl::ToInt64Seconds(scalars.keepalive.interval));
  options.keepalive.probes = scalars.keepalive.count;
  options.fast_open = scalars.tfo;
  options.multipath = scalars.mptcp;
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

AllDown AllDownOf(const config::Upstream& upstream) {
  switch (upstream.settings.all_down) {
    case config::AllDown::kClose:
      return AllDown::kClose;
    case config::AllDown::kHold:
      return AllDown::kHold;
    case config::AllDown::kTryAll:
      return AllDown::kTryAll;
    case config::AllDown::kAuto:
      break;
  }
  // Checks know better than a client's luck.
  const bool checked = std::any_of(
      upstream.servers.begin(), upstream.servers.end(),
      [](const config::Server& server) { return server.settings.health != config::Health::kOff; });
  return checked ? AllDown::kClose : AllDown::kTryAll;
}

SessionsRule RuleOf(const config::Parting& parting) {
  switch (parting.kind) {
    case config::Parting::Kind::kKeep:
      break;
    case config::Parting::Kind::kDrain:
      return {SessionsRule::Kind::kDrain, parting.after};
    case config::Parting::Kind::kClose:
      return {SessionsRule::Kind::kClose, absl::ZeroDuration()};
  }
  return {};
}

HealthPlan HealthOf(const config::Server& server, const config::SystemFacts& facts) {
  // While the state is changing there is no time to lose.
  constexpr absl::Duration kFast = absl::Seconds(1);
  const config::Scalars& settings = server.settings;
  HealthPlan plan;
  // Nobody asks after one that the operator has taken down.
  if (settings.state != config::ServerState::kDown) {
    plan.probe.kind = static_cast<HealthKind>(settings.health);
  }
  config::Address at = server.address;
  if (!at.is_unix()) {
    const uint16_t port =
        settings.health_port != 0 ? static_cast<uint16_t>(settings.health_port) : at.port;
    if (settings.health_addr.has_value()) at = *settings.health_addr;
    at.port = port;
    at.relative = false;
  }
  plan.probe.address = AddressOf(at, facts.ipv6);
  if (!settings.health_addr.has_value()) {
    for (config::Address candidate : server.candidates) {
      if (settings.health_port != 0) candidate.port = at.port;
      plan.probe.candidates.push_back(AddressOf(candidate, facts.ipv6));
    }
    plan.probe.happy_eyeballs_delay = settings.happy_eyeballs_delay;
  }
  if (plan.probe.kind == HealthKind::kSendExpect) {
    plan.probe.send = settings.health_send;
    plan.probe.expect = settings.health_expect.bytes;
    plan.probe.expect_anywhere = settings.health_expect.anywhere;
  }
  plan.probe.reset = settings.health_close == config::HealthClose::kRst;
  plan.probe.timeout = settings.health_timeout;
  plan.interval = settings.health_interval;
  plan.fast_interval = std::min(kFast, settings.health_interval);
  plan.rise = settings.rise;
  plan.fall = settings.fall;
  plan.initially_up = settings.health_initial == config::HealthInitial::kUp;
  // What a client gets through to says nothing of an answer, nor of another port.
  plan.traffic_counts = plan.probe.kind == HealthKind::kTcp && at == server.address;
  plan.on_down = RuleOf(settings.on_down);
  plan.on_up = RuleOf(settings.on_up);
  return plan;
}

// A server that waits for a PROXY header gets one from the checks too.
void AddProxyHeader(ServerPlan& server) {
  if (server.send_proxy == nullptr) return;
  switch (server.send_proxy->version) {
    case ProxyVersion::kNone:
      return;
    case ProxyVersion::kV1:
      server.health.probe.proxy = ProbeProxyHeader::kV1;
      return;
    case ProxyVersion::kV2:
      server.health.probe.proxy = ProbeProxyHeader::kV2;
  }
}

// nullptr: no header.
std::shared_ptr<const ProxyOut> ProxyOutOf(const config::Scalars& settings) {
  if (settings.send_proxy == config::SendProxy::kOff) return nullptr;
  auto out = std::make_shared<ProxyOut>();
  out->version =
      settings.send_proxy == config::SendProxy::kV1 ? ProxyVersion::kV1 : ProxyVersion::kV2;
  if (settings.proxy_tlv.empty()) return out;
  const absl::StatusOr<std::vector<config::Tlv>> tlvs = config::ParseTlvs(settings.proxy_tlv);
  if (!tlvs.ok()) return out;
  for (const config::Tlv& tlv : *tlvs) {
    switch (tlv.kind) {
      case config::Tlv::Kind::kCrc32c:
        out->tlvs.crc32c = true;
        break;
      case config::Tlv::Kind::kUniqueId:
        out->tlvs.unique_id = true;
        break;
      case config::Tlv::Kind::kAuthority:
        out->tlvs.authority = true;
        break;
      case config::Tlv::Kind::kPassAll:
        out->tlvs.pass_all = true;
        break;
      case config::Tlv::Kind::kPass:
        out->tlvs.pass.push_back(tlv.type);
        break;
      case config::Tlv::Kind::kSet:
        out->tlvs.set.emplace_back(tlv.type, tlv.text);
        break;
    }
  }
  return out;
}

// Of a server of several addresses, which one is taken shows only when it has answered.
void AddCandidates(const config::Server& server, const config::SystemFacts& facts,
                   ServerPlan& plan) {
  if (server.candidates.empty()) return;
  plan.happy_eyeballs_delay = server.settings.happy_eyeballs_delay;
  plan.local = false;
  plan.may_connect_to_itself = false;
  for (const config::Address& candidate : server.candidates) {
    plan.candidates.push_back(AddressOf(candidate, facts.ipv6));
    plan.may_connect_to_itself = plan.may_connect_to_itself || IsLocal(candidate, facts);
  }
}

ServerPlan ServerOf(const config::Server& server, const config::SystemFacts& facts,
                    const PortRange& ephemeral) {
  ServerPlan plan;
  plan.name = server.name;
  plan.group = server.group;
  plan.address = AddressOf(server.address, facts.ipv6);
  plan.local = IsLocal(server.address, facts);
  plan.port_is_offset = server.address.relative;
  plan.may_connect_to_itself = plan.local && !server.address.is_unix() &&
                               (server.address.relative || ephemeral.contains(server.address.port));
  const config::Scalars& settings = server.settings;
  AddCandidates(server, facts, plan);
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
    const auto fits = [&from](const Address& to) { return to.family() == from.family(); };
    if (fits(plan.address) || std::any_of(plan.candidates.begin(), plan.candidates.end(), fits)) {
      plan.sources.push_back(from);
    }
  }
  plan.sockets = SocketsOf(server.settings);
  plan.health = HealthOf(server, facts);
  plan.on_remove = RuleOf(server.settings.on_remove);
  // A check goes the way that connections go.
  plan.health.probe.sockets.device = plan.sockets.device;
  plan.health.probe.sockets.mark = plan.sockets.mark;
  plan.health.probe.sockets.dscp = plan.sockets.dscp;
  plan.health.probe.sockets.keepalive.idle_s = 0;
  for (const Address& source : plan.sources) {
    if (source.family() != plan.health.probe.address.family()) continue;
    plan.health.probe.source = source;
    break;
  }
  plan.send_proxy = ProxyOutOf(server.settings);
  return plan;
}

Reject RejectOf(config::Reject reject) {
  switch (reject) {
    case config::Reject::kRst:
      break;
    case config::Reject::kFin:
      return Reject::kFin;
    case config::Reject::kDrop:
      return Reject::kDrop;
  }
  return Reject::kRst;
}

SessionTimes TimesOf(const config::Scalars& settings) {
  SessionTimes times;
  times.idle_ns = absl::ToInt64Nanoseconds(settings.idle_timeout);
  times.half_close_ns = absl::ToInt64Nanoseconds(settings.half_close_timeout);
  times.delayed_close_ns = absl::ToInt64Nanoseconds(settings.delayed_close);
  times.client_idle_ns = absl::ToInt64Nanoseconds(settings.client_idle_timeout);
  times.server_idle_ns = absl::ToInt64Nanoseconds(settings.server_idle_timeout);
  times.write_stall_ns = absl::ToInt64Nanoseconds(settings.write_stall_timeout);
  times.lifetime_ns = absl::ToInt64Nanoseconds(settings.max_lifetime);
  times.lifetime_jitter_percent = settings.max_lifetime_jitter;
  times.rate_up = settings.rate_up;
  times.rate_down = settings.rate_down;
  return times;
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
    case config::Address::Kind::kHost:
    case config::Address::Kind::kService:
      // Its addresses are asked for.
      break;
    case config::Address::Kind::kUnixPath:
      return Address::UnixPath(address.path);
    case config::Address::Kind::kUnixAbstract:
      return Address::UnixAbstract(address.path);
  }
  return Address();
}

UpstreamPlan UpstreamPlanOf(const config::Upstream& upstream, const config::SystemFacts& facts,
                            const PortRange& ephemeral) {
  UpstreamPlan plan;
  plan.name = upstream.name;
  const config::Scalars& settings = upstream.settings;
  plan.connect_attempts = static_cast<int>(settings.connect_attempts);
  plan.balance = BalanceOf(settings.balance);
  plan.all_down = AllDownOf(upstream);
  plan.hash_balance_percent = settings.hash_balance_factor;
  plan.panic_percent = settings.panic_threshold;
  plan.max_ejection_percent = settings.max_ejection_percent;
  plan.queue_max = settings.queue_max;
  plan.queue_timeout = settings.queue_timeout;
  plan.servers.reserve(upstream.servers.size());
  for (const config::Server& server : upstream.servers) {
    plan.servers.push_back(ServerOf(server, facts, ephemeral));
    AddProxyHeader(plan.servers.back());
  }
  return plan;
}

std::vector<ListenerPlan> ListenerPlansOf(const config::Snapshot& snapshot, size_t listener,
                                          const std::vector<size_t>& upstream_slots,
                                          const config::SystemFacts& facts) {
  const config::Listener& from = snapshot.listeners[listener];
  const config::Scalars& settings = from.settings;
  const std::shared_ptr<const FrontPlan> front = FrontOf(snapshot, listener, upstream_slots);
  std::vector<ListenerPlan> plans;
  for (const config::Address& address : from.addresses) {
    ListenerPlan& added = plans.emplace_back();
    added.name = from.name;
    added.address = AddressOf(address.Unmapped(), facts.ipv6 || settings.v6only);
    added.v6only = settings.v6only;
    added.mode = from.mode;
    added.owner = from.owner;
    added.backlog = static_cast<int>(settings.backlog);
    added.upstream =
        from.upstream == config::kNoUpstream ? kNoUpstream : upstream_slots[from.upstream];
    added.front = front;
    added.numbers = NumbersOf(from);
    added.sockets = SocketsOf(settings);
    added.reject = RejectOf(settings.reject);
    added.reuseport = settings.reuseport;
    added.freebind = settings.freebind;
    added.transparent = settings.transparent;
    // The kernel knows whole seconds.
    added.defer_accept_s = static_cast<uint32_t>(
        absl::ToInt64Seconds(absl::Ceil(settings.defer_accept, absl::Seconds(1))));
    added.splice = SpliceOf(settings.splice);
    added.on_remove = RuleOf(settings.on_listener_remove);
    added.times = TimesOf(settings);
  }
  return plans;
}

Plan PlanOf(const config::Snapshot& snapshot, const config::SystemFacts& facts,
            const PortRange& ephemeral) {
  Plan plan;
  std::vector<size_t> slots;
  for (const config::Upstream& upstream : snapshot.upstreams) {
    slots.push_back(plan.upstreams.size());
    plan.Add(UpstreamPlanOf(upstream, facts, ephemeral));
  }
  for (size_t i = 0; i < snapshot.listeners.size(); ++i) {
    for (ListenerPlan& listener : ListenerPlansOf(snapshot, i, slots, facts)) {
      plan.Add(std::move(listener));
    }
  }
  SetProcessPart(snapshot, plan);
  return plan;
}

void SetProcessPart(const config::Snapshot& snapshot, Plan& plan) {
  plan.max_connections = snapshot.max_connections;
  plan.max_accepts = snapshot.scalars.max_accepts_per_wakeup;
  plan.accept_balance = snapshot.scalars.accept_balance == config::AcceptBalance::kAuto;
  plan.log = LogPlanOf(snapshot.scalars);
}

}  // namespace parkway
