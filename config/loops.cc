#include "config/loops.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "config/reach.h"
#include "config/text.h"

namespace parkway::config {
namespace {

class Loops {
 public:
  Loops(const Declarations& said, const Snapshot& snapshot,
        const std::vector<std::vector<ServerPlace>>& places, const SystemFacts& facts,
        Problems* errors, Problems* machine)
      : said_(said),
        snapshot_(snapshot),
        places_(places),
        facts_(facts),
        errors_(*errors),
        machine_(*machine) {}

  void Run() {
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
          CheckLoop(listening, server, places_[i][j]);
          continue;
        }
        const bool near = server.is_any() || server.is_loopback() || IsOwn(server) ||
                          ips.count(IpKey(server)) != 0;
        for (const size_t user : users[i]) {
          if (!CheckRelative(said_.listens[user], snapshot_.listeners[user], server, places_[i][j],
                             near ? &listening : nullptr)) {
            break;
          }
        }
      }
    }
  }

 private:
  struct Listening {
    const PlacedAddress* at;
    bool v6only;
  };
  // A configuration may have a thousand listeners and ten thousand servers.
  using ByPort = std::unordered_map<uint16_t, std::vector<Listening>>;

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

  const Declarations& said_;
  const Snapshot& snapshot_;
  const std::vector<std::vector<ServerPlace>>& places_;
  const SystemFacts& facts_;
  Problems& errors_;
  Problems& machine_;
};

}  // namespace

void CheckLoops(const Declarations& said, const Snapshot& snapshot,
                const std::vector<std::vector<ServerPlace>>& places, const SystemFacts& facts,
                Problems* errors, Problems* machine) {
  Loops(said, snapshot, places, facts, errors, machine).Run();
}

}  // namespace parkway::config
