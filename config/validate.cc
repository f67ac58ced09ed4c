#include "config/validate.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>

#include "absl/types/span.h"
#include "config/loops.h"
#include "config/machine.h"
#include "config/quote.h"
#include "config/reach.h"
#include "config/text.h"

namespace parkway::config {
namespace {

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
    CheckTimesToLive();
    CheckLog();
    CheckHttp();
    CheckAdminSocket();
    CheckListenAddresses();
    CheckServers();
    CheckLoops(said_, snapshot_, server_places_, facts_, &errors_, &machine_);
    WarnOfMachine(said_, facts_, snapshot_, &machine_ == &warnings_, &warnings_);
    ComputeLimits(said_, facts_, &snapshot_, &descriptors_);
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
      if (line.servers_file.has_value()) upstream.servers_file = line.servers_file->text;
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

  // Of a line, of the line's own setting if it has one, of the scalar flag.
  Place PlaceOfSetting(const ListLineBase* line, std::string_view name) const {
    if (line != nullptr) {
      for (const Setting& setting : line->settings) {
        if (setting.flag->name == name) return setting.place;
      }
    }
    const auto set = said_.set_at.find(name);
    return set != said_.set_at.end() ? set->second : line != nullptr ? line->place : Place();
  }

  void CheckTimesToLive() {
    const auto check = [this](const Scalars& settings, const ListLineBase* line,
                              std::string_view flag) {
      if (settings.dns_min_ttl <= settings.dns_max_ttl) return true;
      errors_.Add(PlaceOfSetting(line, "dns_min_ttl"), flag,
                  Cat("dns_min_ttl of ", PrintDuration(settings.dns_min_ttl),
                      " is more than dns_max_ttl of ", PrintDuration(settings.dns_max_ttl),
                      "; make it less"));
      return false;
    };
    if (!check(said_.scalars, nullptr, "dns_min_ttl")) return;
    for (size_t i = 0; i < said_.upstreams.size(); ++i) {
      if (!check(snapshot_.upstreams[i].settings, &said_.upstreams[i], kUpstream)) return;
    }
    for (const Upstream& upstream : snapshot_.upstreams) {
      for (const Server& server : upstream.servers) {
        if (server.line == 0) continue;
        if (!check(server.settings, &said_.servers[server.line - 1], kServer)) return;
      }
    }
  }

  void CheckLog() {
    const Scalars& scalars = said_.scalars;
    if (scalars.log_format == LogFormat::kJson) return;
    const bool events = !scalars.log_events.empty();
    if (!events && scalars.log_progress == absl::ZeroDuration()) return;
    const char* name = events ? "log_events" : "log_progress";
    warnings_.Add(PlaceOfSetting(nullptr, name), name,
                  "only lines of JSON say what they are about: there are none; write "
                  "--log_format=json, too");
  }

  void CheckHttp() {
    const Scalars& scalars = said_.scalars;
    if (!scalars.http.has_value()) return;
    const Place place = PlaceOfSetting(nullptr, "http");
    if (!scalars.http->is_loopback() && scalars.http_allow.empty()) {
      errors_.Add(place, "http",
                  Cat(scalars.http->ToString(),
                      " can be reached from other machines; write --http_allow=PREFIX for those "
                      "that may ask, or listen on 127.0.0.1"));
    }
    CheckAlone(*scalars.http, "http", "port");
  }

  void CheckAdminSocket() {
    Address own;
    own.kind = Address::Kind::kUnixPath;
    own.path = AdminSocketOf(said_.scalars.admin_socket, facts_);
    if (!own.path.empty()) CheckAlone(own, "admin_socket", "path");
  }

  // That no listener is in the way of what the process itself listens on by this flag.
  void CheckAlone(const Address& own, std::string_view flag, std::string_view what) {
    for (size_t i = 0; i < said_.listens.size(); ++i) {
      for (const PlacedAddress& at : said_.listens[i].addresses) {
        if (!Collide(own, false, at.address, snapshot_.listeners[i].settings.v6only)) continue;
        const bool same = AddressKey(own) == AddressKey(at.address);
        errors_.Add(
            PlaceOfSetting(nullptr, flag), flag,
            Cat(own.ToString(), same ? " is that" : Cat(" overlaps ", at.address.ToString()),
                same ? " of a listener, at " : ", where a listener is, at ", at.place.ToString(),
                "; choose another ", what));
        return;
      }
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
      if (upstream.servers.empty() && upstream.servers_file.empty() && all_read) {
        errors_.Add(said_.upstreams[i].place, kUpstream,
                    Cat("upstream ", upstream.name,
                        " has no servers; write servers=HOST:PORT, or --server=upstream=",
                        upstream.name, " addr=HOST:PORT"));
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

std::optional<Snapshot> Validate(const Declarations& said, const SystemFacts& facts,
                                 Strictness strictness, Problems* errors, Problems* warnings) {
  return Validator(said, facts, strictness, errors, warnings).Run();
}

}  // namespace parkway::config
