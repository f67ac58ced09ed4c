#include "config/servers_file.h"

#include <unordered_set>
#include <utility>

#include "config/flag_file.h"
#include "config/flags.h"
#include "config/grammar.h"
#include "config/reach.h"
#include "config/text.h"

namespace parkway::config {

std::optional<std::vector<Server>> ReadServersFile(const Upstream& upstream, std::string_view bytes,
                                                   Problems* problems) {
  Problems found;
  std::vector<Server> servers;
  std::unordered_set<std::string> addresses, names;
  for (const Server& server : upstream.servers) {
    addresses.insert(AddressKey(server.address));
    names.insert(server.name);
  }
  for (const FlagLine& line : ReadFlagText(upstream.servers_file, bytes, &found)) {
    if (line.name != kServer) {
      found.Add(line.place, line.name, "a file of servers has --server lines alone; remove it");
      continue;
    }
    ServerLine read = ParseServer(line.place, line.value, &found);
    if (!read.complete) continue;
    if (read.upstream.has_value()) {
      found.Add(read.upstream->place, kServer,
                Cat("upstream= has no meaning here; the servers are those of ", upstream.name,
                    ", remove it"));
      continue;
    }
    const Address& address = read.address->address;
    std::string name = read.name.has_value() ? read.name->text : address.ToString();
    if (!addresses.insert(AddressKey(address)).second) {
      found.Add(read.address->place, kServer,
                Cat(address.ToString(), " is in upstream ", upstream.name, " twice; keep one"));
      continue;
    }
    if (!names.insert(name).second) {
      found.Add(line.place, kServer,
                Cat("a second server of ", upstream.name, " is called ", name,
                    "; give it another name="));
      continue;
    }
    servers.push_back({std::move(name), address, WithSettings(upstream.settings, read.settings)});
  }
  if (upstream.servers.size() + servers.size() > kMostServers) {
    found.Add({.source = upstream.servers_file}, kServer,
              Cat("upstream ", upstream.name, " has ", upstream.servers.size() + servers.size(),
                  " servers; there can be ", kMostServers));
  }
  if (found.empty()) return servers;
  problems->AddAll(found);
  return std::nullopt;
}

std::shared_ptr<const std::string> KnownText(const FileTexts& texts, const Upstream& upstream) {
  auto found = texts.find({upstream.servers_file, upstream.name});
  if (found == texts.end()) found = texts.lower_bound({upstream.servers_file, ""});
  if (found == texts.end() || found->first.first != upstream.servers_file) return nullptr;
  return found->second;
}

}  // namespace parkway::config
