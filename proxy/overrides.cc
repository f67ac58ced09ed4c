#include "proxy/overrides.h"

#include <algorithm>
#include <iterator>

#include "config/quote.h"
#include "config/servers_file.h"
#include "config/source.h"
#include "config/text.h"

namespace parkway {

using config::Append;
using config::Cat;

namespace {

constexpr const char* StateName(config::ServerState state) {
  switch (state) {
    case config::ServerState::kReady:
      break;
    case config::ServerState::kDrain:
      return "drain";
    case config::ServerState::kDown:
      return "down";
  }
  return "ready";
}

std::string Shown(config::ServerState state) { return StateName(state); }
std::string Shown(uint32_t number) { return Cat(number); }

// Itself, or one of the addresses of the name.
bool Is(const config::Server& server, const std::string& name) {
  return server.name == name || (!server.group.empty() && server.group == name);
}

// The line of the file; null: there is none.
const config::Server* LineOf(const config::Upstream& upstream, const std::string& name) {
  for (const auto* lines : {&upstream.servers, &upstream.file_servers}) {
    for (const config::Server& line : *lines) {
      if (line.name == name) return &line;
    }
  }
  return nullptr;
}

// The line of the name one of whose addresses this is; null: it is none.
const config::Server* NameOf(const config::Upstream& upstream, const std::string& server) {
  if (LineOf(upstream, server) != nullptr) return nullptr;
  for (const auto* lines : {&upstream.servers, &upstream.file_servers}) {
    for (const config::Server& line : *lines) {
      if (line.address.is_name() && server.starts_with(Cat(line.name, "/"))) return &line;
    }
  }
  return nullptr;
}

const config::Upstream* UpstreamOf(const config::Snapshot& snapshot, const std::string& name) {
  for (const config::Upstream& upstream : snapshot.upstreams) {
    if (upstream.name == name) return &upstream;
  }
  return nullptr;
}

std::string None(const config::Upstream& upstream, const std::string& server) {
  return Cat("there is no server ", config::Quoted(Cat(upstream.name, "/", server)));
}

bool Exists(const Overrides::Members& members, const std::string& server) {
  return std::any_of(members.begin(), members.end(),
                     [&server](const config::Server& one) { return Is(one, server); });
}

// The one server that `words` say, beside `members`; nothing, and why not.
std::optional<config::Server> Read(const config::Upstream& upstream,
                                   const Overrides::Members& members, std::string_view words,
                                   std::string* wrong) {
  config::Upstream beside = upstream;
  beside.servers = members;
  beside.file_servers.clear();
  beside.servers_file = "server add";
  config::Problems problems;
  const auto read = config::ReadServersFile(beside, Cat("--server=", words, "\n"), &problems);
  if (!read.has_value() || read->size() != 1) {
    *wrong = problems.empty() ? "one server is to be added" : problems.Lines().front();
    // There is no file whose lines could be named.
    constexpr std::string_view kFlag = "--server: ";
    if (const size_t at = wrong->find(kFlag); at != std::string::npos) {
      wrong->erase(0, at + kFlag.size());
    }
    return std::nullopt;
  }
  if (read->front().address.kind == config::Address::Kind::kHost) {
    *wrong = "a name is asked for from the configuration's file alone; give an address";
    return std::nullopt;
  }
  return read->front();
}

}  // namespace

template <typename Value>
std::string Overrides::Set(const config::Upstream& upstream, const Members& members,
                           const std::string& server, std::optional<Changed<Value>> OfServer::*key,
                           Value config::Scalars::*field, Value value) {
  if (!Exists(members, server)) return None(upstream, server);
  const Key place = {upstream.name, server};
  OfServer& of = servers_[place];
  const config::Server* line = LineOf(upstream, server);
  const config::Server* name = NameOf(upstream, server);
  std::optional<Value> file;
  if (line != nullptr) file = line->settings.*field;
  if (name != nullptr) file = name->settings.*field;
  // What counts without a word about itself.
  std::optional<Value> otherwise = file;
  if (name != nullptr) {
    const auto found = servers_.find({upstream.name, name->name});
    if (found != servers_.end() && found->second.*key) otherwise = (found->second.*key)->value;
  }
  if (otherwise == value) {
    (of.*key).reset();
  } else {
    of.*key = Changed<Value>{value, file};
  }
  if (of.empty()) servers_.erase(place);
  if (line != nullptr && line->address.is_name()) ForgetOfMembers(upstream, server, key);
  return "";
}

// What was said of a name is said of all its addresses, also of one of which there was another
// word.
template <typename Value>
void Overrides::ForgetOfMembers(const config::Upstream& upstream, const std::string& name,
                                std::optional<Changed<Value>> OfServer::*key) {
  const std::string prefix = Cat(name, "/");
  for (auto at = servers_.lower_bound({upstream.name, prefix});
       at != servers_.end() && at->first.first == upstream.name &&
       at->first.second.starts_with(prefix);) {
    (at->second.*key).reset();
    at = at->second.empty() ? servers_.erase(at) : std::next(at);
  }
}

std::string Overrides::SetState(const config::Upstream& upstream, const Members& members,
                                const std::string& server, config::ServerState state) {
  return Set(upstream, members, server, &OfServer::state, &config::Scalars::state, state);
}

std::string Overrides::SetWeight(const config::Upstream& upstream, const Members& members,
                                 const std::string& server, uint32_t weight) {
  return Set(upstream, members, server, &OfServer::weight, &config::Scalars::weight, weight);
}

std::string Overrides::SetMaxConns(const config::Upstream& upstream, const Members& members,
                                   const std::string& server, uint32_t most) {
  return Set(upstream, members, server, &OfServer::max_conns, &config::Scalars::max_conns, most);
}

std::string Overrides::Add(const config::Upstream& upstream, const Members& members,
                           std::string_view words) {
  std::string wrong;
  const std::optional<config::Server> server = Read(upstream, members, words, &wrong);
  if (!server.has_value()) return wrong;
  OfServer& of = servers_[{upstream.name, server->name}];
  // One of the file that was removed comes back as it is said now.
  of.added = std::string(words);
  return "";
}

std::string Overrides::Remove(const config::Upstream& upstream, const Members& members,
                              const std::string& server) {
  if (!Exists(members, server)) return None(upstream, server);
  OfServer of;
  if (const config::Server* line = LineOf(upstream, server); line != nullptr) {
    of.removed = line->address.ToString();
  } else if (const auto known = servers_.find({upstream.name, server});
             known == servers_.end() || !known->second.added.has_value()) {
    return Cat(upstream.name, "/", server,
               " is one of several addresses of a name; it goes when the name no longer has it");
  }
  if (of.empty()) {
    servers_.erase({upstream.name, server});
  } else {
    servers_[{upstream.name, server}] = of;
  }
  return "";
}

void Overrides::Apply(const config::Upstream& upstream, Members& servers) const {
  const auto begin = servers_.lower_bound({upstream.name, ""});
  for (auto at = begin; at != servers_.end() && at->first.first == upstream.name; ++at) {
    const std::string& name = at->first.second;
    const OfServer& of = at->second;
    if (of.removed.has_value()) {
      std::erase_if(servers, [&name](const config::Server& server) { return Is(server, name); });
    }
    if (of.added.has_value()) {
      std::string wrong;
      // What was right when it was added may clash with a later file, which then counts.
      if (const auto added = Read(upstream, servers, *of.added, &wrong); added.has_value()) {
        servers.push_back(*added);
      }
    }
  }
  for (auto at = begin; at != servers_.end() && at->first.first == upstream.name; ++at) {
    const OfServer& of = at->second;
    for (config::Server& server : servers) {
      if (!Is(server, at->first.second)) continue;
      if (of.state) server.settings.state = of.state->value;
      if (of.weight) server.settings.weight = of.weight->value;
      if (of.max_conns) server.settings.max_conns = of.max_conns->value;
    }
  }
}

Overrides Overrides::After(const config::Snapshot& snapshot) const {
  Overrides after;
  for (const auto& [key, before] : servers_) {
    const config::Upstream* upstream = UpstreamOf(snapshot, key.first);
    if (upstream == nullptr) continue;
    const config::Server* line = LineOf(*upstream, key.second);
    const config::Server* says = line != nullptr ? line : NameOf(*upstream, key.second);
    OfServer of = before;
    const auto keep = [says](auto& changed, auto field) {
      if (!changed.has_value()) return;
      const auto file = says == nullptr ? decltype(changed->file)()
                                        : decltype(changed->file)(says->settings.*field);
      if (file != changed->file) changed.reset();
    };
    keep(of.state, &config::Scalars::state);
    keep(of.weight, &config::Scalars::weight);
    keep(of.max_conns, &config::Scalars::max_conns);
    // Removed: as long as its line is as it was. Added: as long as the file does not have it too.
    if (of.removed && (line == nullptr || line->address.ToString() != *of.removed)) {
      of.removed.reset();
      of.added.reset();
    }
    if (of.added && !of.removed && line != nullptr) of.added.reset();
    if (!of.empty()) after.servers_.emplace(key, std::move(of));
  }
  return after;
}

std::vector<std::string> Overrides::Lines() const {
  std::vector<std::string> lines;
  for (const auto& [key, of] : servers_) {
    const std::string name = Cat("server ", key.first, "/", key.second);
    const auto say = [&](std::string_view what, const auto& changed) {
      if (!changed.has_value()) return;
      lines.push_back(Cat(name, " ", what, "=", Shown(changed->value)));
      if (changed->file) Append(&lines.back(), " (file: ", Shown(*changed->file), ")");
    };
    if (of.removed) lines.push_back(Cat(name, " removed (file: ", *of.removed, ")"));
    if (of.added) lines.push_back(Cat(name, " added: ", *of.added));
    say("state", of.state);
    say("weight", of.weight);
    say("max_conns", of.max_conns);
  }
  return lines;
}

}  // namespace parkway
