#include "config/diff.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "config/flags.h"
#include "config/text.h"

namespace parkway::config {

namespace {

// Of one line: more are counted.
constexpr size_t kMostChanges = 8;
constexpr std::string_view kListenerWord = "listener";
constexpr std::string_view kUpstreamWord = "upstream";

std::string FromTo(std::string_view before, std::string_view after) {
  return Cat(before.empty() ? "none" : before, " -> ", after.empty() ? "none" : after);
}

// The settings of a line that differ, as "name before -> after".
void AddSettings(const Scalars& before, const Scalars& after, Places place,
                 std::vector<std::string>* changes) {
  if (before == after) return;
  const auto look = [&](const Flag& flag) {
    if (!flag.is_scalar() || (flag.places & place) == 0) return;
    const std::string old = PrintScalar(flag, before);
    const std::string now = PrintScalar(flag, after);
    if (old != now) changes->push_back(Cat(flag.name, " ", FromTo(old, now)));
  };
  for (const Flag& flag : LineFlags()) look(flag);
  for (const Flag& flag : AllFlags()) look(flag);
}

std::string Line(char sign, std::string_view kind, std::string_view name) {
  return Cat(std::string_view(&sign, 1), kind, " ", name);
}

std::string Line(std::string_view kind, std::string_view name, std::vector<std::string> changes) {
  if (changes.size() > kMostChanges) {
    const size_t more = changes.size() - kMostChanges;
    changes.resize(kMostChanges);
    changes.push_back(Cat("and ", more, " more"));
  }
  return Cat(Line('~', kind, name), ": ", Join(changes, ", "));
}

std::string Servers(size_t count) { return Cat(count, count == 1 ? " server" : " servers"); }

std::string CountOf(char sign, size_t count) {
  return Cat(std::string_view(&sign, 1), Servers(count));
}

// ---------------------------------------------------------------------------------------------
// In short

// In a line for a log: what is longer is told by names.
constexpr size_t kMostLines = 32;
constexpr size_t kMostBytes = 4000;
constexpr size_t kMostNames = 5;

// "~upstream app" of "~upstream app: weight 1 -> 2", in two; no name: it is told whole.
struct Heading {
  std::string_view what;
  std::string_view name;
};

Heading HeadingOf(std::string_view line) {
  for (const std::string_view kind : {kListenerWord, kUpstreamWord}) {
    const std::string_view rest = line.substr(1);
    if (!rest.starts_with(kind) || rest.substr(kind.size(), 1) != " ") continue;
    const std::string_view name = rest.substr(kind.size() + 1);
    return {line.substr(0, kind.size() + 1),
            name.substr(0, std::min(name.find(": "), name.find(" (")))};
  }
  return {line, {}};
}

// Those that are told whole come first.
bool ByHeading(const std::string& one, const std::string& other) {
  const Heading of_one = HeadingOf(one);
  const Heading of_other = HeadingOf(other);
  if (of_one.name.empty() || of_other.name.empty()) {
    return of_one.name.empty() && !of_other.name.empty();
  }
  return of_one.what < of_other.what;
}

// Lines in a row that say the same of others as one.
std::vector<std::string> Shortened(const std::vector<std::string>& lines) {
  std::vector<std::string> shorter;
  for (size_t i = 0; i < lines.size();) {
    const Heading first = HeadingOf(lines[i]);
    size_t end = i + 1;
    if (!first.name.empty()) {
      while (end < lines.size() && HeadingOf(lines[end]).what == first.what) ++end;
    }
    shorter.push_back(lines[i]);
    if (end - i > 1) {
      std::string& line = shorter.back() = Cat(first.what, " ", first.name);
      for (size_t k = i + 1; k < std::min(end, i + kMostNames); ++k) {
        Append(&line, ", ", HeadingOf(lines[k]).name);
      }
      if (end - i > kMostNames) Append(&line, " and ", end - i - kMostNames, " more");
    }
    i = end;
  }
  return shorter;
}

// ---------------------------------------------------------------------------------------------
// Upstreams

std::vector<const Server*> ServersOf(const Upstream& upstream) {
  std::vector<const Server*> servers;
  for (const Server& server : upstream.servers) servers.push_back(&server);
  for (const Server& server : upstream.file_servers) servers.push_back(&server);
  return servers;
}

void AddServers(const Upstream& before, const Upstream& after, std::vector<std::string>* changes) {
  std::unordered_map<std::string_view, const Server*> old;
  for (const Server* server : ServersOf(before)) old.emplace(server->name, server);
  size_t added = 0;
  std::vector<std::string> changed;
  for (const Server* server : ServersOf(after)) {
    const auto found = old.find(server->name);
    if (found == old.end()) {
      ++added;
      continue;
    }
    const Server& was = *found->second;
    std::vector<std::string> own;
    if (!(was.address == server->address)) {
      own.push_back(Cat("addr ", FromTo(was.address.ToString(), server->address.ToString())));
    }
    // What the upstream says of all its servers is told once, of the upstream.
    if (!(was.settings == server->settings)) {
      std::vector<std::string> of_upstream;
      AddSettings(before.settings, after.settings, kOnServer, &of_upstream);
      std::vector<std::string> of_server;
      AddSettings(was.settings, server->settings, kOnServer, &of_server);
      for (std::string& change : of_server) {
        if (std::find(of_upstream.begin(), of_upstream.end(), change) == of_upstream.end()) {
          own.push_back(std::move(change));
        }
      }
    }
    for (const std::string& change : own) {
      changed.push_back(Cat("server ", server->name, " ", change));
    }
    old.erase(found);
  }
  if (added > 0) changes->push_back(CountOf('+', added));
  if (!old.empty()) changes->push_back(CountOf('-', old.size()));
  changes->insert(changes->end(), changed.begin(), changed.end());
}

std::vector<std::string> ChangesOf(const Upstream& before, const Upstream& after) {
  std::vector<std::string> changes;
  AddServers(before, after, &changes);
  AddSettings(before.settings, after.settings, kOnUpstream, &changes);
  if (before.servers_file != after.servers_file) {
    changes.push_back(Cat("servers_file ", FromTo(before.servers_file, after.servers_file)));
  }
  return changes;
}

// ---------------------------------------------------------------------------------------------
// Listeners

std::string AddressesOf(const Listener& listener) {
  return Join(PrintListenAddresses(listener.addresses), ",");
}

std::string UpstreamOf(const Snapshot& snapshot, const Listener& listener) {
  return listener.upstream == kNoUpstream ? "" : snapshot.upstreams[listener.upstream].name;
}

// All routes of a listener as one text.
std::string RoutesOf(const Snapshot& snapshot, size_t listener) {
  std::string text;
  for (const Route& route : snapshot.routes) {
    if (route.listener != listener) continue;
    Append(&text, "sni=", Join(route.sni, ","), " alpn=", Join(route.alpn, ","),
           " protocol=", static_cast<int>(route.protocol),
           " upstream=", snapshot.upstreams[route.upstream].name, "\n");
  }
  return text;
}

// Whether one of the @FILEs that a list of prefixes names holds something else now.
bool FilesDiffer(const Snapshot& before, const Snapshot& after, const std::string& list) {
  if (list.empty()) return false;
  const absl::StatusOr<Prefixes> prefixes = ParsePrefixes(list);
  if (!prefixes.ok()) return false;
  return std::any_of(prefixes->files.begin(), prefixes->files.end(), [&](const std::string& file) {
    const auto old = before.prefix_files.find(file);
    const auto now = after.prefix_files.find(file);
    return old != before.prefix_files.end() && now != after.prefix_files.end() &&
           !(old->second == now->second);
  });
}

std::vector<std::string> ChangesOf(const Snapshot& before, size_t old, const Snapshot& after,
                                   size_t now) {
  const Listener& was = before.listeners[old];
  const Listener& is = after.listeners[now];
  std::vector<std::string> changes;
  const auto compare = [&changes](std::string_view what, std::string_view one,
                                  std::string_view other) {
    if (one != other) changes.push_back(Cat(what, " ", FromTo(one, other)));
  };
  compare("addr", AddressesOf(was), AddressesOf(is));
  compare("upstream", UpstreamOf(before, was), UpstreamOf(after, is));
  if (was.max_connections != is.max_connections) {
    compare("max_connections", Cat(was.max_connections), Cat(is.max_connections));
  }
  if (was.mode != is.mode) compare("mode", PrintMode(was.mode), PrintMode(is.mode));
  compare("owner", was.owner, is.owner);
  AddSettings(was.settings, is.settings, kOnListen, &changes);
  if (RoutesOf(before, old) != RoutesOf(after, now)) changes.emplace_back("other routes");
  for (const std::string* list :
       {&is.settings.allow, &is.settings.deny, &is.settings.proxy_trusted}) {
    if (FilesDiffer(before, after, *list)) changes.push_back(Cat("other prefixes in ", *list));
  }
  return changes;
}

// ---------------------------------------------------------------------------------------------
// Of the process

void AddProcess(const Scalars& before, const Scalars& after, Difference* difference) {
  if (before == after) return;
  for (const Flag& flag : AllFlags()) {
    // Those that lines inherit are told of the lines.
    if (!flag.is_scalar() || flag.places != kNowhere) continue;
    const std::string old = PrintScalar(flag, before);
    const std::string now = PrintScalar(flag, after);
    if (old == now) continue;
    if (flag.reloadable) {
      difference->lines.push_back(Cat("~", flag.name, ": ", FromTo(old, now)));
    } else {
      difference->not_reloadable.push_back(Cat(flag.name, ": ", FromTo(old, now)));
    }
  }
}

}  // namespace

std::string Difference::Text() const {
  std::string text;
  for (const std::string& line : lines) Append(&text, line, "\n");
  for (const std::string& line : not_reloadable) {
    Append(&text, "WARNING: ", line, ": not changed by a reload; restart for it\n");
  }
  Append(&text, "=", unchanged, " unchanged");
  return text;
}

std::string Difference::Line() const {
  const bool is_short = lines.size() <= kMostLines && Text().size() <= kMostBytes;
  // By what happened to them, so that those in a row are many.
  std::vector<std::string> sorted = lines;
  if (!is_short) std::stable_sort(sorted.begin(), sorted.end(), ByHeading);
  std::vector<std::string> all = is_short ? sorted : Shortened(sorted);
  for (const std::string& line : not_reloadable) all.push_back(Cat("WARNING: ", line));
  all.push_back(Cat("=", unchanged, " unchanged"));
  return Join(all, "; ");
}

std::vector<std::string> NotReloadable(const Snapshot& start, const Snapshot& after) {
  Difference difference;
  AddProcess(start.scalars, after.scalars, &difference);
  return difference.not_reloadable;
}

Difference Diff(const Snapshot& before, const Snapshot& after) {
  Difference difference;
  AddProcess(before.scalars, after.scalars, &difference);

  std::map<std::string_view, size_t> listeners;
  for (size_t i = 0; i < before.listeners.size(); ++i) listeners[before.listeners[i].name] = i;
  for (size_t i = 0; i < after.listeners.size(); ++i) {
    const Listener& listener = after.listeners[i];
    const auto old = listeners.find(listener.name);
    if (old == listeners.end()) {
      difference.lines.push_back(
          Cat(Line('+', kListenerWord, listener.name), " (", AddressesOf(listener), ")"));
      continue;
    }
    std::vector<std::string> changes = ChangesOf(before, old->second, after, i);
    if (changes.empty()) {
      ++difference.unchanged;
    } else {
      difference.lines.push_back(Line(kListenerWord, listener.name, std::move(changes)));
    }
    listeners.erase(old);
  }
  for (const auto& [name, place] : listeners) {
    difference.lines.push_back(Line('-', kListenerWord, name));
  }

  std::map<std::string_view, const Upstream*> upstreams;
  for (const Upstream& upstream : before.upstreams) upstreams[upstream.name] = &upstream;
  for (const Upstream& upstream : after.upstreams) {
    const auto old = upstreams.find(upstream.name);
    if (old == upstreams.end()) {
      difference.lines.push_back(Cat(Line('+', kUpstreamWord, upstream.name), " (",
                                     Servers(ServersOf(upstream).size()), ")"));
      continue;
    }
    std::vector<std::string> changes = ChangesOf(*old->second, upstream);
    if (changes.empty()) {
      ++difference.unchanged;
    } else {
      difference.lines.push_back(Line(kUpstreamWord, upstream.name, std::move(changes)));
    }
    upstreams.erase(old);
  }
  for (const auto& [name, upstream] : upstreams) {
    difference.lines.push_back(Line('-', kUpstreamWord, name));
  }
  return difference;
}

}  // namespace parkway::config
