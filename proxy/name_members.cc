#include "proxy/name_members.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "config/address.h"
#include "config/scalars.h"
#include "poller/address.h"

namespace parkway {

namespace {

constexpr uint32_t kMostWeight = 256;

DnsFamily FamilyOf(config::DnsFamily family) {
  switch (family) {
    case config::DnsFamily::kAny:
      break;
    case config::DnsFamily::kV4:
      return DnsFamily::kV4;
    case config::DnsFamily::kV6:
      return DnsFamily::kV6;
  }
  return DnsFamily::kAny;
}

// With the port of the service, or of the line.
config::Address Literal(const Address& address, const config::Server& server) {
  const PackedAddress packed(address);
  config::Address literal;
  literal.kind =
      address.family() == AF_INET6 ? config::Address::Kind::kIpv6 : config::Address::Kind::kIpv4;
  literal.ip = packed.ip_bytes();
  literal.port =
      server.address.kind == config::Address::Kind::kService ? address.port() : server.address.port;
  literal.relative = server.address.relative;
  return literal;
}

// Of a service weights go to 65535, and 0 is "seldom" there (RFC 2782).
uint32_t WeightOf(uint16_t weight, uint16_t most) {
  const uint64_t scaled =
      most > kMostWeight ? uint64_t{weight} * kMostWeight / most : uint64_t{weight};
  return static_cast<uint32_t>(std::max<uint64_t>(scaled, 1));
}

// Turns of both families, IPv6 first (RFC 8305), those of a low priority before others.
std::vector<config::Address> InTurn(const config::Server& server, const Resolver::View& view) {
  std::vector<ResolvedAddress> sorted = view.addresses;
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& one, const auto& other) {
    return one.priority < other.priority;
  });
  std::vector<config::Address> v6, v4, all;
  for (const ResolvedAddress& address : sorted) {
    (address.address.family() == AF_INET6 ? v6 : v4).push_back(Literal(address.address, server));
  }
  for (size_t i = 0; i < std::max(v6.size(), v4.size()); ++i) {
    if (i < v6.size()) all.push_back(v6[i]);
    if (i < v4.size()) all.push_back(v4[i]);
  }
  return all;
}

}  // namespace

NameQuery QueryOf(const config::Server& server) {
  const config::Scalars& settings = server.settings;
  return {.name = server.address.path,
          .service = server.address.kind == config::Address::Kind::kService,
          .settings = {.servers = settings.dns_servers,
                       .timeout = settings.dns_timeout,
                       .attempts = static_cast<int>(settings.dns_attempts),
                       .family = FamilyOf(settings.dns_family),
                       .min_ttl = settings.dns_min_ttl,
                       .max_ttl = settings.dns_max_ttl}};
}

std::vector<config::Server> MembersOf(const config::Server& server, const Resolver::View& view) {
  if (view.addresses.empty()) return {};
  if (server.settings.resolve == config::Resolve::kOne) {
    config::Server one = server;
    std::vector<config::Address> addresses = InTurn(server, view);
    one.address = addresses.front();
    if (addresses.size() > 1) one.candidates = std::move(addresses);
    return {one};
  }
  const bool service = server.address.kind == config::Address::Kind::kService;
  uint16_t most = 0;
  for (const ResolvedAddress& address : view.addresses) most = std::max(most, address.weight);
  std::vector<config::Server> members;
  for (const ResolvedAddress& address : view.addresses) {
    config::Server& member = members.emplace_back(server);
    member.address = Literal(address.address, server);
    member.group = server.name;
    member.name = absl::StrCat(server.name, "/", member.address.ToString());
    if (!service) continue;
    config::Scalars& settings = member.settings;
    settings.priority = std::max<uint32_t>(settings.priority, settings.backup ? 1 : 0);
    settings.priority += address.priority;
    settings.backup = false;
    // 0 on the line means no new connections.
    if (settings.weight != 0) settings.weight = WeightOf(address.weight, most);
  }
  return members;
}

}  // namespace parkway
