#include "proxy/front_of.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "config/admission.h"
#include "proxy/inbound/client_hello.h"
#include "proxy/inbound/routes.h"

namespace parkway {

namespace {

AccessList::Prefix PrefixOf(const config::Prefix& prefix) {
  return {.bytes = prefix.ip, .ipv4 = prefix.ipv4, .bits = prefix.bits};
}

// `list` is canonical; nothing if it is empty.
std::vector<config::Prefix> PrefixesOf(const config::Snapshot& snapshot, const std::string& list) {
  if (list.empty()) return {};
  absl::StatusOr<config::Prefixes> read = config::ParsePrefixes(list);
  if (!read.ok()) return {};
  std::vector<config::Prefix> all = std::move(read->prefixes);
  for (const std::string& path : read->files) {
    const auto file = snapshot.prefix_files.find(path);
    if (file != snapshot.prefix_files.end()) {
      all.insert(all.end(), file->second.begin(), file->second.end());
    }
  }
  return all;
}

void AddPrefixes(const std::vector<config::Prefix>& prefixes, AccessList::Verdict verdict,
                 AccessList::Builder& builder) {
  for (const config::Prefix& prefix : prefixes) builder.Add(PrefixOf(prefix), verdict);
}

AccessList TrustOf(const config::Snapshot& snapshot, const config::Scalars& settings) {
  const std::vector<config::Prefix> trusted = PrefixesOf(snapshot, settings.proxy_trusted);
  AccessList::Builder builder;
  AddPrefixes(trusted, AccessList::kAllow, builder);
  // Who trusts every address trusts those that have none.
  const auto all = [&trusted](bool ipv4) {
    return std::any_of(trusted.begin(), trusted.end(), [ipv4](const config::Prefix& prefix) {
      return prefix.bits == 0 && prefix.ipv4 == ipv4;
    });
  };
  if (all(true) && all(false)) builder.SetUnix(AccessList::kAllow);
  return builder.Build();
}

ClientProtocol ProtocolOf(config::RouteProtocol protocol) {
  switch (protocol) {
    case config::RouteProtocol::kTls:
      return ClientProtocol::kTls;
    case config::RouteProtocol::kSsh:
      return ClientProtocol::kSsh;
    case config::RouteProtocol::kHttp:
      return ClientProtocol::kHttp;
    case config::RouteProtocol::kPostgres:
      return ClientProtocol::kPostgres;
    case config::RouteProtocol::kAny:
      break;
  }
  return ClientProtocol::kUnknown;
}

Routes RoutesOf(const config::Snapshot& snapshot, size_t listener,
                const std::vector<size_t>& upstream_slots) {
  Routes routes;
  for (const config::Route& route : snapshot.routes) {
    if (route.listener != listener) continue;
    Route added{.alpn = route.alpn,
                .protocol = ProtocolOf(route.protocol),
                .upstream = upstream_slots[route.upstream]};
    if (route.sni.empty()) routes.Add(added);
    for (const std::string& sni : route.sni) {
      added.sni = sni;
      routes.Add(added);
    }
  }
  return routes;
}

AcceptProxy AcceptProxyOf(config::AcceptProxy accept) {
  switch (accept) {
    case config::AcceptProxy::kOn:
      return AcceptProxy::kOn;
    case config::AcceptProxy::kOptional:
      return AcceptProxy::kOptional;
    case config::AcceptProxy::kOff:
      break;
  }
  return AcceptProxy::kOff;
}

uint32_t RateOf(const std::string& text) {
  return text.empty() ? 0 : config::ParseRate(text).value_or(0);
}

}  // namespace

std::shared_ptr<const FrontPlan> FrontOf(const config::Snapshot& snapshot, size_t listener,
                                         const std::vector<size_t>& upstream_slots) {
  const config::Scalars& settings = snapshot.listeners[listener].settings;
  auto front = std::make_shared<FrontPlan>();
  front->accept_proxy = AcceptProxyOf(settings.accept_proxy);
  if (front->accept_proxy != AcceptProxy::kOff) front->trusted = TrustOf(snapshot, settings);
  front->proxy_timeout = settings.proxy_protocol_timeout;
  AccessList::Builder access;
  AddPrefixes(PrefixesOf(snapshot, settings.allow), AccessList::kAllow, access);
  AddPrefixes(PrefixesOf(snapshot, settings.deny), AccessList::kDeny, access);
  front->access = access.Build();
  front->only_allowed = !settings.allow.empty();
  front->dry_run = settings.dry_run;
  front->routes = RoutesOf(snapshot, listener, upstream_slots);
  front->connect_on_data = settings.connect_on == config::ConnectOn::kData;
  front->preread_timeout = settings.preread_timeout;
  front->preread_bytes = settings.preread_bytes;
  const bool asks = front->accept_proxy != AcceptProxy::kOff || !settings.allow.empty() ||
                    !settings.deny.empty() || !front->routes.empty() || front->connect_on_data;
  return asks ? front : nullptr;
}

ListenerNumbers NumbersOf(const config::Listener& listener) {
  const config::Scalars& settings = listener.settings;
  return {.max_connections = listener.max_connections,
          .reject = settings.policy == config::Policy::kReject,
          .accept_rate = RateOf(settings.accept_rate),
          .max_connections_per_source = settings.max_connections_per_source,
          .accept_rate_per_source = RateOf(settings.accept_rate_per_source),
          .dry_run = settings.dry_run};
}

AccessList HttpAllowOf(const config::Snapshot& snapshot) {
  AccessList::Builder builder;
  AddPrefixes(PrefixesOf(snapshot, snapshot.scalars.http_allow), AccessList::kAllow, builder);
  return builder.Build();
}

}  // namespace parkway
