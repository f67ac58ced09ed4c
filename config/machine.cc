#include "config/machine.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "config/text.h"
#include "config/value.h"

namespace parkway::config {
namespace {

void WarnOfMissingIpv6(const Declarations& said, const SystemFacts& facts, Problems* warnings) {
  if (facts.ipv6) return;
  const auto warn = [warnings](const PlacedAddress& at, std::string_view flag) {
    if (at.address.Unmapped().kind != Address::Kind::kIpv6) return;
    warnings->Add(at.place, flag,
                  Cat(at.address.ToString(), " is IPv6, which this machine does not have; ",
                      "write an IPv4 address, or :PORT for what there is"));
  };
  for (const ListenLine& line : said.listens) {
    for (const PlacedAddress& at : line.addresses) warn(at, kListen);
  }
  for (const UpstreamLine& line : said.upstreams) {
    for (const PlacedAddress& at : line.servers) warn(at, kUpstream);
  }
  for (const ServerLine& line : said.servers) {
    if (line.address.has_value()) warn(*line.address, kServer);
  }
}

// Asked for by lines or for all, and not allowed by the kernel: what it does without a word.
void WarnOfFastOpen(const Declarations& said, const SystemFacts& facts, const Snapshot& snapshot,
                    Problems* warnings) {
  if (!facts.fast_open.has_value()) return;
  const auto warn = [&](const Place& place, std::string_view flag, bool to_servers) {
    warnings->Add(
        place, flag,
        Cat("tfo: the kernel ",
            to_servers ? "sends nothing with a SYN" : "takes nothing that comes with a SYN",
            "; first bytes will go after the handshake, or set net.ipv4.tcp_fastopen to ",
            *facts.fast_open | kFastOpenToServers | kFastOpenOfClients));
  };
  const bool to_servers = (*facts.fast_open & kFastOpenToServers) != 0;
  const bool of_clients = (*facts.fast_open & kFastOpenOfClients) != 0;
  const uint32_t usual = said.scalars.tfo;
  if (usual != 0 && !(to_servers && of_clients)) {
    const auto set = said.set_at.find("tfo");
    warn(set == said.set_at.end() ? Place() : set->second, "tfo", !to_servers);
  }
  const auto asks = [](uint32_t own, uint32_t inherited) { return own != 0 && own != inherited; };
  for (size_t i = 0; i < said.listens.size() && !of_clients; ++i) {
    if (!asks(snapshot.listeners[i].settings.tfo, usual)) continue;
    warn(said.listens[i].place, kListen, false);
  }
  for (size_t i = 0; i < snapshot.upstreams.size() && !to_servers; ++i) {
    const Upstream& upstream = snapshot.upstreams[i];
    if (asks(upstream.settings.tfo, usual)) warn(said.upstreams[i].place, kUpstream, true);
    for (const Server& server : upstream.servers) {
      if (server.line == 0 || !asks(server.settings.tfo, upstream.settings.tfo)) continue;
      warn(said.servers[server.line - 1].place, kServer, true);
    }
  }
}

// Of health checks that are under way at once.
uint64_t CheckDescriptors(const Snapshot& snapshot) {
  uint64_t checked = 0;
  for (const Upstream& upstream : snapshot.upstreams) {
    for (const Server& server : upstream.servers) {
      checked += server.settings.health != Health::kOff;
    }
  }
  return std::min(checked, uint64_t{snapshot.threads} * kMostChecksPerWorker);
}

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

std::string AdminSocketOf(const std::string& wanted, const SystemFacts& facts) {
  if (wanted != "auto") return wanted;
  if (facts.environment == nullptr) return "";
  const std::optional<std::string> folders = facts.environment("RUNTIME_DIRECTORY");
  if (!folders.has_value() || folders->empty()) return "";
  return Cat(folders->substr(0, folders->find(':')), "/admin.sock");  // the first of several
}

void ComputeLimits(const Declarations& said, const SystemFacts& facts, Snapshot* computed,
                   Problems* problems) {
  Snapshot& snapshot = *computed;
  const Scalars& scalars = said.scalars;
  const uint64_t nofile = said.nofile.value_or(facts.nofile_hard);
  snapshot.nofile = nofile;
  snapshot.memory_limit = scalars.memory_limit.value_or(facts.memory_bytes);
  snapshot.threads = scalars.threads.value_or(std::clamp<uint32_t>(facts.cpus, 1, kMostThreads));
  size_t addresses = 0;
  for (const Listener& listener : snapshot.listeners) addresses += listener.addresses.size();
  const bool splice =
      std::any_of(snapshot.listeners.begin(), snapshot.listeners.end(),
                  [](const Listener& l) { return l.settings.splice != Splice::kOff; });
  snapshot.pipes_per_worker = splice ? PipesPerWorker(snapshot.threads, nofile) : 0;
  const uint64_t reserved =
      ReservedDescriptors(snapshot.threads, addresses, snapshot.pipes_per_worker) +
      CheckDescriptors(snapshot);
  snapshot.reserved_descriptors = reserved;

  const uint64_t left = nofile > reserved ? nofile - reserved : 0;
  // One at least: a process that serves nobody helps nobody, and accepting pauses by itself.
  const uint64_t fit = std::clamp<uint64_t>(left / kDescriptorsPerConnection, 1, kMostConnections);
  snapshot.max_connections = scalars.max_connections.value_or(static_cast<uint32_t>(fit));
  if (snapshot.max_connections <= fit) return;
  const uint64_t needed = uint64_t{snapshot.max_connections} * kDescriptorsPerConnection + reserved;
  const auto place = said.set_at.find("max_connections");
  problems->Add(place == said.set_at.end() ? Place() : place->second, "max_connections",
                Cat(snapshot.max_connections, " connections need ", needed,
                    " descriptors with all others, and the hard limit is ", nofile, "; ", fit,
                    " would fit, or raise the limit of open files (nofile) to ", needed));
}

void WarnOfMachine(const Declarations& said, const SystemFacts& facts, const Snapshot& snapshot,
                   bool only_checked, Problems* warnings) {
  WarnOfMissingIpv6(said, facts, warnings);
  WarnOfFastOpen(said, facts, snapshot, warnings);
  const uint32_t usual = DefaultScalars().backlog;
  const auto warn_of_backlog = [&](const Place& place, std::string_view flag, uint32_t backlog) {
    if (facts.somaxconn == 0 || backlog <= facts.somaxconn || backlog == usual) return;
    warnings->Add(place, flag,
                  Cat("a backlog of ", backlog, " is more than the kernel's limit; it will be ",
                      facts.somaxconn, ", or raise net.core.somaxconn"));
  };
  if (const auto set = said.set_at.find("backlog"); set != said.set_at.end()) {
    warn_of_backlog(set->second, "backlog", said.scalars.backlog);
  }
  for (size_t i = 0; i < said.listens.size(); ++i) {
    const ListenLine& line = said.listens[i];
    const Listener& listener = snapshot.listeners[i];
    if (listener.settings.backlog != said.scalars.backlog) {
      warn_of_backlog(line.place, kListen, listener.settings.backlog);
    }
    // At a start binding tells.
    if (!listener.owner.empty() && facts.owner_exists != nullptr && only_checked &&
        !facts.owner_exists(listener.owner)) {
      warnings->Add(
          line.place, kListen,
          Cat("owner=", listener.owner, ": there is no such user or group on this machine"));
    }
  }
  if (!only_checked || facts.cpu_list.empty()) return;
  for (const uint32_t cpu : said.scalars.cpu_affinity.cpus) {
    if (std::count(facts.cpu_list.begin(), facts.cpu_list.end(), cpu) != 0) continue;
    const auto set = said.set_at.find("cpu_affinity");
    warnings->Add(set == said.set_at.end() ? Place() : set->second, "cpu_affinity",
                  Cat("CPU ", cpu, " is none that may be used on this machine; those are ",
                      PrintCpuList(facts.cpu_list)));
  }
}

}  // namespace parkway::config
