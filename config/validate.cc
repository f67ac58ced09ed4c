#include "config/validate.h"

#include <algorithm>
#include <filesystem>
#include <string>
#include <unordered_map>
#include <utility>

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
bool Covers(const Address& any, const Address& address) {
  // "[::]:80" takes IPv4 too, as ":80" does.
  return any.Unmapped().kind != Address::Kind::kIpv4 || address.kind == Address::Kind::kIpv4;
}

std::string NormalPath(const Address& address) {
  return std::filesystem::path(address.path).lexically_normal().string();
}

bool SameUnix(const Address& a, const Address& b) {
  if (a.kind != b.kind) return false;
  return a.path == b.path || (a.kind == Address::Kind::kUnixPath && NormalPath(a) == NormalPath(b));
}

// The two cannot be bound at the same time.
bool Clash(const Address& a, const Address& b) {
  if (a.is_unix() || b.is_unix()) return SameUnix(a, b);
  if (a.port != b.port) return false;
  if (a.is_any() && b.is_any()) return true;
  return a.Unmapped() == b.Unmapped();
}

// The same for two ways to write the same server.
std::string ServerKey(const Address& address) {
  if (address.kind == Address::Kind::kUnixPath) return Cat("unix:", NormalPath(address));
  return address.Unmapped().ToString();
}

class Validator {
 public:
  Validator(const Declarations& said, const SystemFacts& facts, Strictness strictness,
            Problems* errors, Problems* warnings)
      : said_(said),
        facts_(facts),
        errors_(*errors),
        warnings_(*warnings),
        machine_(strictness == Strictness::kStart ? *errors : *warnings) {}

  std::optional<Snapshot> Run() {
    snapshot_.scalars = said_.scalars;
    CheckPresence();
    AddUpstreams();
    AddListeners();
    CheckListenAddresses();
    CheckServers();
    CheckLoops();
    WarnOfMissingIpv6();
    ComputeLimits();
    if (!errors_.empty()) return std::nullopt;
    return std::move(snapshot_);
  }

 private:
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
    // One of each is what this version serves; all below is written for many.
    if (said_.listens.size() > 1) {
      errors_.Add(said_.listens[1].place, kListen,
                  Cat("a second listener, the first is at ", said_.listens[0].place.ToString(),
                      "; there can be one for now, with several addresses: --listen=A,B"));
    }
    if (said_.upstreams.size() > 1) {
      errors_.Add(said_.upstreams[1].place, kUpstream,
                  Cat("a second upstream, the first is at ", said_.upstreams[0].place.ToString(),
                      "; there can be one for now, with several servers: --upstream=A,B"));
    }
  }

  void AddUpstreams() {
    for (const UpstreamLine& line : said_.upstreams) {
      Upstream upstream;
      upstream.name = line.name.has_value() ? line.name->text : "default";
      for (const PlacedAddress& server : line.servers) {
        upstream.servers.push_back({server.address.ToString(), server.address});
      }
      snapshot_.upstreams.push_back(std::move(upstream));
    }
  }

  void AddListeners() {
    for (const ListenLine& line : said_.listens) {
      Listener listener;
      for (const PlacedAddress& at : line.addresses) listener.addresses.push_back(at.address);
      if (line.name.has_value()) {
        listener.name = line.name->text;
      } else if (!listener.addresses.empty()) {
        listener.name = listener.addresses[0].ToString();
      }
      if (line.upstream.has_value()) FindUpstream(*line.upstream, &listener);
      snapshot_.listeners.push_back(std::move(listener));
    }
  }

  void FindUpstream(const Piece& wanted, Listener* listener) {
    std::vector<std::string_view> names;
    for (size_t i = 0; i < snapshot_.upstreams.size(); ++i) {
      if (snapshot_.upstreams[i].name == wanted.text) {
        listener->upstream = i;
        return;
      }
      names.push_back(snapshot_.upstreams[i].name);
    }
    // An upstream whose line is wrong may be the one.
    const bool all_read = std::all_of(said_.upstreams.begin(), said_.upstreams.end(),
                                      [](const UpstreamLine& line) { return line.complete; });
    if (names.empty() || !all_read) return;
    errors_.Add(wanted.place, kListen,
                Cat("there is no upstream ", Quoted(wanted.text), "; the names are ",
                    Join(names, " "), DidYouMean(wanted.text, names)));
  }

  void CheckListenAddresses() {
    std::vector<const PlacedAddress*> seen;
    for (const ListenLine& line : said_.listens) {
      for (const PlacedAddress& at : line.addresses) {
        const auto other = std::find_if(seen.begin(), seen.end(), [&](const PlacedAddress* s) {
          return Clash(s->address, at.address);
        });
        if (other == seen.end()) {
          seen.push_back(&at);
          continue;
        }
        errors_.Add(at.place, kListen,
                    Cat(at.address.ToString(), " is ",
                        (*other)->address == at.address
                            ? std::string("here twice")
                            : Cat((*other)->address.is_any() ? "part of " : "the same as ",
                                  (*other)->address.ToString()),
                        ", first at ", (*other)->place.ToString(), "; keep one"));
      }
    }
  }

  void CheckServers() {
    for (const UpstreamLine& line : said_.upstreams) {
      std::unordered_map<std::string, const Place*> seen;
      for (const PlacedAddress& server : line.servers) {
        const auto [other, is_new] = seen.insert({ServerKey(server.address), &server.place});
        if (is_new) continue;
        errors_.Add(server.place, kUpstream,
                    Cat(server.address.ToString(), " is here twice, first at ",
                        other->second->ToString(), "; keep one"));
      }
    }
  }

  void CheckLoops() {
    for (const UpstreamLine& upstream : said_.upstreams) {
      for (const PlacedAddress& server : upstream.servers) CheckLoop(server);
    }
  }

  void CheckLoop(const PlacedAddress& server) {
    for (const ListenLine& line : said_.listens) {
      for (const PlacedAddress& at : line.addresses) {
        const bool loop = IsLoop(at.address, server.address);
        if (!loop && !IsLoopHere(at.address, server.address)) continue;
        (loop ? errors_ : machine_)
            .Add(server.place, kUpstream,
                 Cat(server.address.ToString(), " is our own listener ", at.address.ToString(),
                     at.place.line == 0 ? std::string() : Cat(" (", at.place.ToString(), ")"),
                     ", so connections would go in a circle; name another address or port"));
        return;
      }
    }
  }

  // The same by an address that this machine happens to have.
  bool IsLoopHere(const Address& listener, const Address& server) const {
    if (!listener.is_any() || server.is_unix() || listener.port != server.port) return false;
    Address ip = server.Unmapped();
    ip.port = 0;
    const bool own = std::any_of(facts_.own_addresses.begin(), facts_.own_addresses.end(),
                                 [&](Address own_address) {
                                   own_address = own_address.Unmapped();
                                   own_address.port = 0;
                                   return own_address == ip;
                                 });
    return own && Covers(listener, ip);
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
  }

  void ComputeLimits() {
    const Scalars& scalars = said_.scalars;
    snapshot_.threads =
        scalars.threads.value_or(std::clamp<uint32_t>(facts_.cpus, 1, kMostThreads));
    size_t addresses = 0;
    for (const Listener& listener : snapshot_.listeners) addresses += listener.addresses.size();
    const bool splice = scalars.splice != Splice::kOff;
    snapshot_.pipes_per_worker = splice ? PipesPerWorker(snapshot_.threads, facts_.nofile_hard) : 0;
    const uint64_t reserved =
        ReservedDescriptors(snapshot_.threads, addresses, snapshot_.pipes_per_worker);
    snapshot_.reserved_descriptors = reserved;

    const uint64_t left = facts_.nofile_hard > reserved ? facts_.nofile_hard - reserved : 0;
    // One at least: a process that serves nobody helps nobody, and accepting pauses by itself.
    const uint64_t fit =
        std::clamp<uint64_t>(left / kDescriptorsPerConnection, 1, kMostConnections);
    snapshot_.max_connections = scalars.max_connections.value_or(static_cast<uint32_t>(fit));
    if (snapshot_.max_connections <= fit) return;
    const uint64_t needed =
        uint64_t{snapshot_.max_connections} * kDescriptorsPerConnection + reserved;
    const auto place = said_.set_at.find("max_connections");
    machine_.Add(
        place == said_.set_at.end() ? Place() : place->second, "max_connections",
        Cat(snapshot_.max_connections, " connections need ", needed,
            " descriptors with all others, and the hard limit is ", facts_.nofile_hard, "; ", fit,
            " would fit, or raise the limit of open files (nofile) to ", needed));
  }

  const Declarations& said_;
  const SystemFacts& facts_;
  Problems& errors_;
  Problems& warnings_;
  Problems& machine_;  // for what depends on the machine
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

bool IsLoop(const Address& listener, const Address& server) {
  if (listener.is_unix() || server.is_unix()) return SameUnix(listener, server);
  if (listener.port != server.port) return false;
  const Address to = Effective(server);
  if (listener.is_any()) return to.is_loopback() && Covers(listener, to);
  return listener.Unmapped() == to;
}

std::optional<Snapshot> Validate(const Declarations& said, const SystemFacts& facts,
                                 Strictness strictness, Problems* errors, Problems* warnings) {
  return Validator(said, facts, strictness, errors, warnings).Run();
}

}  // namespace parkway::config
