#include "config/explain.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <vector>

#include "config/flags.h"
#include "config/grammar.h"
#include "config/text.h"

namespace parkway::config {
namespace {

// A scalar's value as a line of a file says it.
std::string ScalarValue(const std::string& value) {
  const bool plain = !value.empty() && value.front() != '"' && !IsBlank(value.front()) &&
                     !IsBlank(value.back()) && value.back() != '\\';
  if (plain) return value;
  std::string quoted = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

// Each piece for itself: a comma inside quotes does not separate.
std::string QuotedList(std::string_view list) {
  std::vector<std::string> pieces;
  for (const std::string_view piece : Split(list, ',')) pieces.push_back(QuotedIfNeeded(piece));
  return Join(pieces, ",");
}

// The settings of a line where they differ from those it inherits.
std::string Settings(std::string_view flag, const Scalars& own, const Scalars& inherited) {
  std::string text;
  for (const absl::Span<const Flag> table : {LineFlags(), AllFlags()}) {
    for (const Flag& scalar : table) {
      if ((scalar.places & PlaceOf(flag)) == 0) continue;
      const std::string value = PrintScalar(scalar, own);
      if (value == PrintScalar(scalar, inherited)) continue;
      Append(&text, " ", scalar.name, "=", scalar.list ? QuotedList(value) : QuotedIfNeeded(value));
    }
  }
  return text;
}

// From how many local addresses it may be connected to. A name may be of either family.
uint64_t AddressesTo(const Server& server) {
  if (server.address.is_unix()) return 0;
  const std::vector<Address>& sources = server.settings.source;
  const auto goes_to = [&server](const Address& source) {
    const bool ip =
        server.address.kind == Address::Kind::kIpv4 || server.address.kind == Address::Kind::kIpv6;
    return !ip || source.Unmapped().kind == server.address.Unmapped().kind;
  };
  const auto fitting = std::count_if(sources.begin(), sources.end(), goes_to);
  return std::max<uint64_t>(static_cast<uint64_t>(fitting), 1);
}

// A machine of containers has hundreds of interfaces.
std::string FirstOf(const std::vector<std::string>& names) {
  constexpr size_t kShown = 4;
  const size_t shown = std::min(names.size(), kShown);
  const auto end = names.begin() + static_cast<ptrdiff_t>(shown);
  std::string text = Join(std::vector<std::string>(names.begin(), end), ", ");
  if (shown < names.size()) Append(&text, " and ", names.size() - shown, " more");
  return text;
}

}  // namespace

std::string Dump(const Snapshot& snapshot) {
  std::vector<std::string> scalars;
  for (const Flag& flag : AllFlags()) {
    if (!flag.is_scalar()) continue;
    const std::string value = PrintScalar(flag, snapshot.scalars);
    if (value != PrintScalar(flag, DefaultScalars())) {
      scalars.push_back(Cat("--", flag.name, "=", ScalarValue(value), "\n"));
    }
  }
  std::sort(scalars.begin(), scalars.end());

  std::string text = Join(scalars, "");
  const bool one = snapshot.upstreams.size() == 1;
  for (const Listener& listener : snapshot.listeners) {
    std::vector<std::string> addresses = PrintListenAddresses(listener.addresses);
    for (std::string& address : addresses) address = QuotedIfNeeded(address);
    Append(&text, "--", kListen, "=", Join(addresses, ","));
    if (listener.addresses.empty()) {
      Append(&text, "name=", listener.name);
    } else if (listener.name != listener.addresses[0].ToString()) {
      Append(&text, " name=", listener.name);
    }
    if (!one && listener.upstream != kNoUpstream) {
      Append(&text, " upstream=", snapshot.upstreams[listener.upstream].name);
    }
    if (listener.max_connections > 0) {
      Append(&text, " max_connections=", listener.max_connections);
    }
    if (listener.mode != Listener().mode) Append(&text, " mode=", PrintMode(listener.mode));
    if (!listener.owner.empty()) Append(&text, " owner=", listener.owner);
    Append(&text, Settings(kListen, listener.settings, snapshot.scalars), "\n");
  }
  std::map<size_t, std::string> server_lines;
  for (const Upstream& upstream : snapshot.upstreams) {
    std::vector<std::string> unnamed;  // those of servers=
    for (const Server& server : upstream.servers) {
      if (server.line == 0) {
        unnamed.push_back(QuotedIfNeeded(server.address.ToString()));
        continue;
      }
      std::string& line = server_lines[server.line];
      const std::string address = server.address.ToString();
      Append(&line, "--", kServer, "=", QuotedIfNeeded(address));
      if (!one) Append(&line, " upstream=", upstream.name);
      if (server.name != address) Append(&line, " name=", server.name);
      Append(&line, Settings(kServer, server.settings, upstream.settings), "\n");
    }
    Append(&text, "--", kUpstream, "=", Join(unnamed, ","));
    if (unnamed.empty()) {
      Append(&text, "name=", upstream.name);
    } else if (upstream.name != "default") {
      Append(&text, " name=", upstream.name);
    }
    if (!upstream.servers_file.empty()) {
      Append(&text, " servers_file=", QuotedIfNeeded(upstream.servers_file));
    }
    Append(&text, Settings(kUpstream, upstream.settings, snapshot.scalars), "\n");
  }
  for (const auto& [number, line] : server_lines) text += line;
  for (const Route& route : snapshot.routes) {
    std::vector<std::string> words;
    if (snapshot.listeners.size() > 1) {
      words.push_back(Cat("listen=", snapshot.listeners[route.listener].name));
    }
    if (!route.sni.empty()) words.push_back(Cat("sni=", Join(route.sni, ",")));
    if (!route.alpn.empty()) {
      std::vector<std::string> names;
      for (const std::string& name : route.alpn) names.push_back(QuotedIfNeeded(name));
      words.push_back(Cat("alpn=", Join(names, ",")));
    }
    if (route.protocol != RouteProtocol::kAny) {
      words.push_back(Cat("protocol=", RouteProtocolName(route.protocol)));
    }
    if (!one) words.push_back(Cat("upstream=", snapshot.upstreams[route.upstream].name));
    Append(&text, "--", kRoute, "=", Join(words, " "), "\n");
  }
  return text;
}

std::string ExplainLimits(const Snapshot& snapshot, const SystemFacts& facts) {
  const auto is_auto = [](const auto& set) { return set.has_value() ? "" : " (auto)"; };
  std::string text;
  Append(&text, "workers: ", snapshot.threads, is_auto(snapshot.scalars.threads), ", for ",
         facts.cpus, facts.cpus == 1 ? " CPU" : " CPUs");
  if (facts.cpu_percent != 0) {
    Append(&text, "; the cgroup allows ", facts.cpu_percent, "% of one CPU");
  }
  text += '\n';

  size_t addresses = 0;
  for (const Listener& listener : snapshot.listeners) addresses += listener.addresses.size();
  const uint64_t connections = snapshot.max_connections;
  Append(&text, "connections: at most ", connections, is_auto(snapshot.scalars.max_connections),
         "\n");
  Append(&text, "descriptors: ", snapshot.nofile, " allowed; ",
         connections * kDescriptorsPerConnection, " for connections, ",
         snapshot.reserved_descriptors, " reserved, with ", addresses,
         addresses == 1 ? " listening address" : " listening addresses", " and ",
         snapshot.pipes_per_worker, " pipes for each worker\n");

  const uint64_t bytes = connections * kBytesPerIdleConnection;
  Append(&text, "memory: ", (bytes + (1 << 20) - 1) >> 20, "MiB for as many idle connections, at ",
         kBytesPerIdleConnection, " bytes each, and what the kernel takes for their sockets");
  if (facts.memory_bytes != 0) {
    Append(&text, "; the cgroup allows ", facts.memory_bytes >> 20, "MiB");
  }
  text += '\n';
  if (snapshot.memory_limit != 0) {
    Append(&text, "memory limit: ", snapshot.memory_limit >> 20, "MiB",
           is_auto(snapshot.scalars.memory_limit), "; at 90% nobody is accepted\n");
  }
  if (facts.tcp_most_bytes != 0) {
    Append(&text, "memory of TCP: ", facts.tcp_most_bytes >> 20,
           "MiB for all sockets of the machine, sparingly from ", facts.tcp_pressure_bytes >> 20,
           "MiB (net.ipv4.tcp_mem)\n");
  }

  if (facts.last_local_port != 0) {
    const uint64_t ports = uint64_t{facts.last_local_port} - facts.first_local_port + 1;
    Append(&text, "local ports: ", facts.first_local_port, "-", facts.last_local_port,
           " (net.ipv4.ip_local_port_range), ", ports,
           " connections to each server from each address\n");
    for (const Upstream& upstream : snapshot.upstreams) {
      uint64_t pairs = 0;
      for (const Server& server : upstream.servers) pairs += AddressesTo(server);
      if (pairs == 0) continue;
      Append(&text, "  upstream ", upstream.name, ": ", pairs * ports, "\n");
    }
  }

  for (const Listener& listener : snapshot.listeners) {
    const uint32_t backlog = listener.settings.backlog;
    const uint32_t most = facts.somaxconn == 0 ? backlog : facts.somaxconn;
    Append(&text, "backlog of ", listener.name, ": ", std::min(backlog, most));
    if (backlog > most) Append(&text, ", not ", backlog, " (net.core.somaxconn)");
    text += '\n';
  }
  if (facts.most_tracked_connections != 0) {
    Append(&text, "conntrack: ", facts.most_tracked_connections,
           " connections; each through the proxy is two\n");
  }
  if (!facts.strict_interfaces.empty()) {
    Append(&text,
           "reverse path: what comes in by another way than an answer would go is dropped on ",
           FirstOf(facts.strict_interfaces), " (rp_filter)\n");
  }
  return text;
}

}  // namespace parkway::config
