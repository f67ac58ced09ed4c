#include "config/validate.h"

#include <algorithm>
#include <filesystem>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "absl/types/span.h"
#include "config/text.h"

namespace parkway::config {
namespace {

Address Ipv4(uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint16_t port) {
  Address address;
  address.kind = Address::Kind::kIpv4;
  address.ip = {a, b, c, d};
  address.port = port;
  return address;
}

// Where a connection to `server` goes: to the wildcard means to this machine.
Address Effective(const Address& server) {
  Address plain = server.Unmapped();
  if (plain.is_any()) {
    if (plain.kind == Address::Kind::kIpv4) return Ipv4(127, 0, 0, 1, plain.port);
    plain.ip[15] = 1;
  }
  return plain;
}

// Listening on `any`, a wildcard, takes what is sent to `address` if that is this machine's.
bool Covers(const Address& any, const Address& address, bool v6only) {
  if (any.Unmapped().kind == Address::Kind::kIpv4) return address.kind == Address::Kind::kIpv4;
  // "[::]:80" takes IPv4 too, as ":80" does.
  return !v6only || address.kind == Address::Kind::kIpv6;
}

std::string NormalPath(const Address& address) {
  return std::filesystem::path(address.path).lexically_normal().string();
}

bool SameUnix(const Address& a, const Address& b) {
  if (a.kind != b.kind) return false;
  return a.path == b.path || (a.kind == Address::Kind::kUnixPath && NormalPath(a) == NormalPath(b));
}

// The same for two ways to write the same address.
std::string AddressKey(const Address& address) {
  if (address.kind == Address::Kind::kUnixPath) return Cat("path:", NormalPath(address));
  return address.Unmapped().ToString();
}

// Two addresses cannot be bound at the same time if one of these is the same.
std::vector<std::string> BindKeys(const Address& address, bool v6only) {
  if (!address.is_any()) return {AddressKey(address)};
  const std::string v4 = Cat("0.0.0.0:", address.port);
  const std::string v6 = Cat("[::]:", address.port);
  if (address.Unmapped().kind == Address::Kind::kIpv4) return {v4};
  if (v6only) return {v6};
  return {v4, v6};
}

// The address alone.
std::string IpKey(Address address) {
  if (address.is_unix()) return "";
  address.port = 0;
  address.relative = false;
  return AddressKey(address);
}

bool Complete(const ListLineBase& line) { return line.complete; }

class Validator {
 public:
  Validator(const Declarations& said, const SystemFacts& facts, Strictness strictness,
            Problems* errors, Problems* warnings)
      : said_(said),
        facts_(facts),
        errors_(*errors),
        warnings_(*warnings),
        machine_(strictness == Strictness::kStart ? *errors : *warnings),
        descriptors_(said.nofile.has_value() ? *errors : machine_) {}

  std::optional<Snapshot> Run() {
    snapshot_.scalars = said_.scalars;
    CheckPresence();
    CheckNumbers();
    AddUpstreams();
    AddServers();
    AddListeners();
    AddRoutes();
    CheckTrust();
    CheckListenAddresses();
    CheckServers();
    CheckLoops();
    WarnOfMissingIpv6();
    WarnOfThisMachine();
    ComputeLimits();
    if (!errors_.empty()) return std::nullopt;
    return std::move(snapshot_);
  }

 private:
  // Where a server was named.
  struct ServerPlace {
    std::string_view flag;
    const Place* address;
    const Place* name;
  };

  void CheckPresence() {
    constexpr std::string_view kExample =
        "for example --listen=:8080 --upstream=127.0.0.1:9000 (see --help)";
    const bool listens = !said_.listens.empty();
    const bool upstreams = !said_.upstreams.empty();
    if (!listens && !upstreams) {
      errors_.Add({}, "",
                  Cat("nothing to do: neither --listen nor --upstream is given; ", kExample));
    } else if (!listens) {
      errors_.Add({}, kListen, Cat("it is missing, so nobody could connect; ", kExample));
    } else if (!upstreams) {
      errors_.Add({}, kUpstream, Cat("it is missing, so connections had no server; ", kExample));
    }
  }

  // Index of the upstream that `wanted` names, or of the only one. Nothing if there is none, which
  // was told.
  std::optional<size_t> UpstreamOf(const ListLineBase& line, std::string_view flag,
                                   const std::optional<Piece>& wanted) {
    if (wanted.has_value()) {
      if (const auto found = by_name_.find(wanted->text); found != by_name_.end()) {
        return found->second;
      }
    } else if (snapshot_.upstreams.size() == 1) {
      return 0;
    }
    // An upstream whose line is wrong may be the one.
    const bool all_read = std::all_of(said_.upstreams.begin(), said_.upstreams.end(), Complete);
    if (snapshot_.upstreams.empty() || !all_read) return std::nullopt;
    std::vector<std::string_view> names;
    for (const Upstream& upstream : snapshot_.upstreams) names.push_back(upstream.name);
    // A thousand names help nobody.
    constexpr size_t kMostNames = 8;
    const size_t more = names.size() > kMostNames ? names.size() - kMostNames : 0;
    const std::string shown =
        Cat("the names are ", Join(absl::MakeSpan(names).subspan(0, names.size() - more), " "),
            more > 0 ? Cat(" and ", more, " more") : std::string());
    if (wanted.has_value()) {
      errors_.Add(wanted->place, flag,
                  Cat("there is no upstream ", Quoted(wanted->text), "; ", shown,
                      DidYouMean(wanted->text, names)));
    } else {
      errors_.Add(line.place, flag,
                  Cat("upstream= is missing and there are ", names.size(), " upstreams; ", shown));
    }
    return std::nullopt;
  }

  // True if `name` is new among those of `seen`; else it was told.
  bool IsNewName(const std::string& name, const Place& place, std::string_view flag,
                 std::string_view what, std::unordered_map<std::string, const Place*>* seen) {
    const auto [other, is_new] = seen->insert({name, &place});
    if (is_new) return true;
    errors_.Add(place, flag,
                Cat("a second ", what, " is called ", name, ", the first is at ",
                    other->second->ToString(), "; give it another name="));
    return false;
  }

  static const Place& NamePlace(const ListLineBase& line) {
    return line.name.has_value() ? line.name->place : line.place;
  }

  void AddUpstreams() {
    std::unordered_map<std::string, const Place*> seen;
    for (const UpstreamLine& line : said_.upstreams) {
      const std::string name = line.name.has_value() ? line.name->text : "default";
      // Without its name it is no second default, but wrong.
      if (line.name.has_value() || line.complete) {
        IsNewName(name, NamePlace(line), kUpstream, "upstream", &seen);
      }
      by_name_.emplace(name, snapshot_.upstreams.size());
      Upstream& upstream = snapshot_.upstreams.emplace_back();
      std::vector<ServerPlace>& places = server_places_.emplace_back();
      upstream.name = name;
      upstream.settings = WithSettings(said_.scalars, line.settings);
      for (const PlacedAddress& server : line.servers) {
        upstream.servers.push_back(
            {server.address.ToString(), server.address, upstream.settings, 0});
        places.push_back({kUpstream, &server.place, &server.place});
      }
    }
  }

  void CheckNumbers() {
    if (said_.upstreams.size() <= kMostUpstreams) return;
    errors_.Add(said_.upstreams[kMostUpstreams].place, kUpstream,
                Cat("it is one upstream too many; there can be ", kMostUpstreams));
  }

  void AddServers() {
    size_t number = 0;
    for (const ServerLine& line : said_.servers) {
      ++number;
      const std::optional<size_t> found = UpstreamOf(line, kServer, line.upstream);
      if (!found.has_value() || !line.address.has_value()) continue;
      Upstream& upstream = snapshot_.upstreams[*found];
      upstream.servers.push_back(
          {line.name.has_value() ? line.name->text : line.address->address.ToString(),
           line.address->address, WithSettings(upstream.settings, line.settings), number});
      server_places_[*found].push_back({kServer, &line.address->place, &NamePlace(line)});
    }
  }

  void AddListeners() {
    std::unordered_map<std::string, const Place*> seen;
    for (const ListenLine& line : said_.listens) {
      Listener listener;
      for (const PlacedAddress& at : line.addresses) listener.addresses.push_back(at.address);
      if (line.name.has_value()) {
        listener.name = line.name->text;
        IsNewName(listener.name, line.name->place, kListen, "listener", &seen);
      } else if (!listener.addresses.empty()) {
        listener.name = listener.addresses[0].ToString();
      }
      listener.settings = WithSettings(said_.scalars, line.settings);
      listener.mode = line.mode.value_or(listener.mode);
      listener.owner = line.owner.value_or("");
      listener.max_connections = line.max_connections;
      const bool may_have_none = !line.upstream.has_value() && snapshot_.upstreams.size() != 1;
      listener.upstream = may_have_none && HasRoutes(line)
                              ? kNoUpstream
                              : UpstreamOf(line, kListen, line.upstream).value_or(0);
      snapshot_.listeners.push_back(std::move(listener));
    }
  }

  bool HasRoutes(const ListenLine& line) const {
    return std::any_of(said_.routes.begin(), said_.routes.end(), [&](const RouteLine& route) {
      if (!route.listen.has_value()) return said_.listens.size() == 1;
      return line.name.has_value() && line.name->text == route.listen->text;
    });
  }

  // Index of the listener that a route names, or of the only one.
  std::optional<size_t> ListenerOf(const RouteLine& line) {
    const bool all_read = std::all_of(said_.listens.begin(), said_.listens.end(), Complete);
    if (!line.listen.has_value()) {
      if (snapshot_.listeners.size() == 1) return 0;
      if (all_read && !snapshot_.listeners.empty()) {
        errors_.Add(line.place, kRoute,
                    Cat("listen= is missing and there are ", snapshot_.listeners.size(),
                        " listeners; name one"));
      }
      return std::nullopt;
    }
    std::vector<std::string_view> names;
    for (size_t i = 0; i < snapshot_.listeners.size(); ++i) {
      if (snapshot_.listeners[i].name == line.listen->text) return i;
      names.push_back(snapshot_.listeners[i].name);
    }
    if (all_read) {
      errors_.Add(line.listen->place, kRoute,
                  Cat("there is no listener ", Quoted(line.listen->text),
                      "; write name=", line.listen->text, " on its --listen line",
                      DidYouMean(line.listen->text, names)));
    }
    return std::nullopt;
  }

  void AddRoutes() {
    for (const RouteLine& line : said_.routes) {
      if (!line.complete) continue;
      const std::optional<size_t> listener = ListenerOf(line);
      const std::optional<size_t> upstream = UpstreamOf(line, kRoute, line.upstream);
      if (!listener.has_value() || !upstream.has_value()) continue;
      snapshot_.routes.push_back({*listener, *upstream, line.sni, line.alpn, line.protocol});
    }
  }

  void CheckTrust() {
    for (size_t i = 0; i < snapshot_.listeners.size(); ++i) {
      const Scalars& settings = snapshot_.listeners[i].settings;
      if (settings.accept_proxy == AcceptProxy::kOff || !settings.proxy_trusted.empty()) continue;
      errors_.Add(said_.listens[i].place, kListen,
                  "accept_proxy= needs proxy_trusted=, whose PROXY headers are to be believed; "
                  "0.0.0.0/0,::/0 are everybody's");
    }
  }

  void CheckListenAddresses() {
    std::unordered_map<std::string, const PlacedAddress*> seen;
    size_t count = 0;
    for (size_t i = 0; i < said_.listens.size(); ++i) {
      const bool v6only = snapshot_.listeners[i].settings.v6only;
      for (const PlacedAddress& at : said_.listens[i].addresses) {
        if (++count == kMostAddresses + 1) {
          errors_.Add(at.place, kListen,
                      Cat("it is one address too many; there can be ", kMostAddresses));
        }
        for (const std::string& key : BindKeys(at.address, v6only)) {
          const auto [found, is_new] = seen.insert({key, &at});
          if (is_new) continue;
          const PlacedAddress& other = *found->second;
          errors_.Add(at.place, kListen,
                      Cat(at.address.ToString(), " is ",
                          other.address == at.address
                              ? std::string("here twice")
                              : Cat(other.address.is_any() ? "part of " : "the same as ",
                                    other.address.ToString()),
                          ", first at ", other.place.ToString(), "; keep one"));
          break;
        }
      }
    }
  }

  void CheckServers() {
    const bool all_read = std::all_of(said_.upstreams.begin(), said_.upstreams.end(), Complete) &&
                          std::all_of(said_.servers.begin(), said_.servers.end(), Complete);
    for (size_t i = 0; i < snapshot_.upstreams.size(); ++i) {
      const Upstream& upstream = snapshot_.upstreams[i];
      if (upstream.servers.empty() && all_read) {
        errors_.Add(said_.upstreams[i].place, kUpstream,
                    Cat("upstream ", upstream.name,
                        " has no servers; write servers=IP:PORT, or --server=upstream=",
                        upstream.name, " addr=IP:PORT"));
      }
      std::unordered_map<std::string, const Place*> addresses, names;
      for (size_t j = 0; j < upstream.servers.size(); ++j) {
        const Server& server = upstream.servers[j];
        const ServerPlace& place = server_places_[i][j];
        const auto [other, is_new] = addresses.insert({AddressKey(server.address), place.address});
        if (!is_new) {
          errors_.Add(*place.address, place.flag,
                      Cat(server.address.ToString(), " is here twice, first at ",
                          other->second->ToString(), "; keep one"));
          continue;
        }
        IsNewName(server.name, *place.name, place.flag, Cat("server of ", upstream.name), &names);
        if (server.address.relative && server.settings.health != Health::kOff &&
            server.settings.health_port == 0) {
          errors_.Add(
              *place.address, place.flag,
              Cat("the port of ", server.address.ToString(),
                  " is that of each client, so there is none to check; write health_port=N, "
                  "or health=off"));
        }
      }
      if (upstream.servers.size() > kMostServers) {
        errors_.Add(said_.upstreams[i].place, kUpstream,
                    Cat("upstream ", upstream.name, " has ", upstream.servers.size(),
                        " servers; there can be ", kMostServers));
      }
    }
  }

  struct Listening {
    const PlacedAddress* at;
    bool v6only;
  };
  // A configuration may have a thousand listeners and ten thousand servers.
  using ByPort = std::unordered_map<uint16_t, std::vector<Listening>>;

  void CheckLoops() {
    ByPort listening;
    std::unordered_set<std::string> ips;  // that are listened on
    std::vector<std::vector<size_t>> users(snapshot_.upstreams.size());
    for (size_t i = 0; i < said_.listens.size(); ++i) {
      const Listener& listener = snapshot_.listeners[i];
      if (listener.upstream < users.size()) users[listener.upstream].push_back(i);
      for (const PlacedAddress& at : said_.listens[i].addresses) {
        listening[at.address.port].push_back({&at, listener.settings.v6only});
        ips.insert(IpKey(at.address));
      }
    }
    for (const Route& route : snapshot_.routes) {
      std::vector<size_t>& of = users[route.upstream];
      if (std::find(of.begin(), of.end(), route.listener) == of.end()) of.push_back(route.listener);
    }
    for (size_t i = 0; i < snapshot_.upstreams.size(); ++i) {
      for (size_t j = 0; j < snapshot_.upstreams[i].servers.size(); ++j) {
        const Address& server = snapshot_.upstreams[i].servers[j].address;
        if (!server.relative) {
          CheckLoop(listening, server, server_places_[i][j]);
          continue;
        }
        const bool near = server.is_any() || server.is_loopback() || IsOwn(server) ||
                          ips.count(IpKey(server)) != 0;
        for (const size_t user : users[i]) {
          if (!CheckRelative(said_.listens[user], snapshot_.listeners[user], server,
                             server_places_[i][j], near ? &listening : nullptr)) {
            break;
          }
        }
      }
    }
  }

  // False if something was wrong.
  bool CheckLoop(const ByPort& listening, const Address& server, const ServerPlace& place) {
    const auto here = listening.find(server.port);
    if (here == listening.end()) return true;
    for (const Listening& to : here->second) {
      const bool loop = IsLoop(to.at->address, server, to.v6only);
      if (!loop && !IsLoopHere(to.at->address, server, to.v6only)) continue;
      (loop ? errors_ : machine_)
          .Add(*place.address, place.flag,
               Cat(server.ToString(), " is our own listener ", to.at->address.ToString(),
                   to.at->place.line == 0 ? std::string() : Cat(" (", to.at->place.ToString(), ")"),
                   ", so connections would go in a circle; name another address or port"));
      return false;
    }
    return true;
  }

  // A server whose port is that of the listener, or so many more. False if something was wrong.
  bool CheckRelative(const ListenLine& line, const Listener& listener, const Address& server,
                     const ServerPlace& place, const ByPort* listening) {
    for (const PlacedAddress& at : line.addresses) {
      const uint32_t port = uint32_t{at.address.port} + server.port;
      Address there = server;
      there.relative = false;
      there.port = static_cast<uint16_t>(port);
      if (at.address.is_unix()) {
        there.port = 80;
        errors_.Add(*place.address, place.flag,
                    Cat(server.ToString(), " takes the listener's port, and ",
                        at.address.ToString(), " of listener ", listener.name,
                        " has none; write one, such as ", there.ToString()));
        return false;
      }
      if (port > 65535) {
        errors_.Add(*place.address, place.flag,
                    Cat(server.ToString(), " is beyond port 65535 for ", at.address.ToString(),
                        " of listener ", listener.name, "; write a smaller number"));
        return false;
      }
      if (listening != nullptr && !CheckLoop(*listening, there, place)) return false;
    }
    return true;
  }

  // The same by an address that this machine happens to have.
  bool IsLoopHere(const Address& listener, const Address& server, bool v6only) const {
    if (!listener.is_any() || server.is_unix() || listener.port != server.port) return false;
    return IsOwn(server) && Covers(listener, server.Unmapped(), v6only);
  }

  bool IsOwn(const Address& server) const {
    if (server.is_unix()) return false;
    const std::string ip = IpKey(server);
    return std::any_of(facts_.own_addresses.begin(), facts_.own_addresses.end(),
                       [&ip](const Address& own) { return IpKey(own) == ip; });
  }

  void WarnOfMissingIpv6() {
    if (facts_.ipv6) return;
    const auto warn = [this](const PlacedAddress& at, std::string_view flag) {
      if (at.address.Unmapped().kind != Address::Kind::kIpv6) return;
      warnings_.Add(at.place, flag,
                    Cat(at.address.ToString(), " is IPv6, which this machine does not have; ",
                        "write an IPv4 address, or :PORT for what there is"));
    };
    for (const ListenLine& line : said_.listens) {
      for (const PlacedAddress& at : line.addresses) warn(at, kListen);
    }
    for (const UpstreamLine& line : said_.upstreams) {
      for (const PlacedAddress& at : line.servers) warn(at, kUpstream);
    }
    for (const ServerLine& line : said_.servers) {
      if (line.address.has_value()) warn(*line.address, kServer);
    }
  }

  // What works elsewhere, and here in part or not at all.
  void WarnOfThisMachine() {
    const uint32_t usual = DefaultScalars().backlog;
    const auto warn_of_backlog = [&](const Place& place, std::string_view flag, uint32_t backlog) {
      if (facts_.somaxconn == 0 || backlog <= facts_.somaxconn || backlog == usual) return;
      warnings_.Add(place, flag,
                    Cat("a backlog of ", backlog, " is more than the kernel's limit; it will be ",
                        facts_.somaxconn, ", or raise net.core.somaxconn"));
    };
    if (const auto set = said_.set_at.find("backlog"); set != said_.set_at.end()) {
      warn_of_backlog(set->second, "backlog", said_.scalars.backlog);
    }
    for (size_t i = 0; i < said_.listens.size(); ++i) {
      const ListenLine& line = said_.listens[i];
      const Listener& listener = snapshot_.listeners[i];
      if (listener.settings.backlog != said_.scalars.backlog) {
        warn_of_backlog(line.place, kListen, listener.settings.backlog);
      }
      // At a start binding tells.
      if (!listener.owner.empty() && facts_.owner_exists != nullptr && &machine_ == &warnings_ &&
          !facts_.owner_exists(listener.owner)) {
        warnings_.Add(
            line.place, kListen,
            Cat("owner=", listener.owner, ": there is no such user or group on this machine"));
      }
    }
    if (&machine_ != &warnings_ || facts_.cpu_list.empty()) return;
    for (const uint32_t cpu : said_.scalars.cpu_affinity.cpus) {
      if (std::count(facts_.cpu_list.begin(), facts_.cpu_list.end(), cpu) != 0) continue;
      const auto set = said_.set_at.find("cpu_affinity");
      warnings_.Add(set == said_.set_at.end() ? Place() : set->second, "cpu_affinity",
                    Cat("CPU ", cpu, " is none that may be used on this machine; those are ",
                        PrintCpuList(facts_.cpu_list)));
    }
  }

  // Of health checks that are under way at once.
  uint64_t CheckDescriptors() const {
    uint64_t checked = 0;
    for (const Upstream& upstream : snapshot_.upstreams) {
      for (const Server& server : upstream.servers) {
        checked += server.settings.health != Health::kOff;
      }
    }
    return std::min(checked, uint64_t{snapshot_.threads} * kMostChecksPerWorker);
  }

  void ComputeLimits() {
    const Scalars& scalars = said_.scalars;
    const uint64_t nofile = said_.nofile.value_or(facts_.nofile_hard);
    snapshot_.nofile = nofile;
    snapshot_.threads =
        scalars.threads.value_or(std::clamp<uint32_t>(facts_.cpus, 1, kMostThreads));
    size_t addresses = 0;
    for (const Listener& listener : snapshot_.listeners) addresses += listener.addresses.size();
    const bool splice =
        std::any_of(snapshot_.listeners.begin(), snapshot_.listeners.end(),
                    [](const Listener& l) { return l.settings.splice != Splice::kOff; });
    snapshot_.pipes_per_worker = splice ? PipesPerWorker(snapshot_.threads, nofile) : 0;
    const uint64_t reserved =
        ReservedDescriptors(snapshot_.threads, addresses, snapshot_.pipes_per_worker) +
        CheckDescriptors();
    snapshot_.reserved_descriptors = reserved;

    const uint64_t left = nofile > reserved ? nofile - reserved : 0;
    // One at least: a process that serves nobody helps nobody, and accepting pauses by itself.
    const uint64_t fit =
        std::clamp<uint64_t>(left / kDescriptorsPerConnection, 1, kMostConnections);
    snapshot_.max_connections = scalars.max_connections.value_or(static_cast<uint32_t>(fit));
    if (snapshot_.max_connections <= fit) return;
    const uint64_t needed =
        uint64_t{snapshot_.max_connections} * kDescriptorsPerConnection + reserved;
    const auto place = said_.set_at.find("max_connections");
    descriptors_.Add(place == said_.set_at.end() ? Place() : place->second, "max_connections",
                     Cat(snapshot_.max_connections, " connections need ", needed,
                         " descriptors with all others, and the hard limit is ", nofile, "; ", fit,
                         " would fit, or raise the limit of open files (nofile) to ", needed));
  }

  const Declarations& said_;
  const SystemFacts& facts_;
  Problems& errors_;
  Problems& warnings_;
  Problems& machine_;                                    // for what depends on the machine
  Problems& descriptors_;                                // the same of the limit of open files
  std::unordered_map<std::string, size_t> by_name_;      // index in snapshot_.upstreams
  std::vector<std::vector<ServerPlace>> server_places_;  // as in snapshot_.upstreams
  Snapshot snapshot_;
};

}  // namespace

uint32_t PipesPerWorker(uint32_t threads, uint64_t nofile) {
  const uint64_t share = nofile / 8 / kDescriptorsPerPipe / threads;
  return static_cast<uint32_t>(std::min(share, kMostPipesPerWorker));
}

uint64_t ReservedDescriptors(uint32_t threads, size_t addresses, uint32_t pipes_per_worker) {
  const uint64_t worker =
      addresses + kWorkerDescriptors + uint64_t{pipes_per_worker} * kDescriptorsPerPipe;
  return kProcessDescriptors + uint64_t{threads} * worker;
}

bool IsLoop(const Address& listener, const Address& server, bool v6only) {
  if (listener.is_unix() || server.is_unix()) return SameUnix(listener, server);
  if (listener.port != server.port) return false;
  const Address to = Effective(server);
  if (listener.is_any()) return to.is_loopback() && Covers(listener, to, v6only);
  return listener.Unmapped() == to;
}

std::optional<Snapshot> Validate(const Declarations& said, const SystemFacts& facts,
                                 Strictness strictness, Problems* errors, Problems* warnings) {
  return Validator(said, facts, strictness, errors, warnings).Run();
}

}  // namespace parkway::config
