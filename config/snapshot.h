// Snapshot: the validated configuration, complete and immutable: what the proxy runs on.
//
// It is built from declarations (the lines as they were read, with their places) and from facts
// about the machine. Whoever holds one may read it from any thread; a reload builds another.
#ifndef CONFIG_SNAPSHOT_H_
#define CONFIG_SNAPSHOT_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/admission.h"
#include "config/flags.h"
#include "config/value.h"

namespace parkway::config {

// A listening socket that was open when we were started (systemd's socket activation).
struct PassedSocket {
  std::string name;  // FileDescriptorName=
  Address address;   // never kAnyIp
};

// Bits of net.ipv4.tcp_fastopen.
inline constexpr uint32_t kFastOpenToServers = 1;
inline constexpr uint32_t kFastOpenOfClients = 2;

// What the machine is and allows; found out by the caller, so that a test may claim anything.
struct SystemFacts {
  // CPUs that the process may use: those of the affinity mask, or of the cgroup's quota if less.
  uint32_t cpus = 1;
  // The hard limit of open files, to which the soft one is raised.
  uint64_t nofile_hard = 4096;
  bool ipv6 = true;
  // Those CPUs by number; empty: not known.
  std::vector<uint32_t> cpu_list = {};
  // 0: not known, or no limit.
  uint32_t somaxconn = 0;
  uint16_t first_local_port = 0;  // those that connect() draws from
  uint16_t last_local_port = 0;
  uint64_t most_tracked_connections = 0;  // by conntrack
  uint64_t memory_bytes = 0;              // of the cgroup
  uint32_t cpu_percent = 0;               // of one CPU, by the cgroup's quota
  // Of all TCP sockets of the machine: from where the kernel is sparing, and the most.
  uint64_t tcp_pressure_bytes = 0;
  uint64_t tcp_most_bytes = 0;
  // Interfaces on which what comes by another way than an answer would go is dropped (rp_filter).
  std::vector<std::string> strict_interfaces = {};
  // net.ipv4.tcp_fastopen, of kFastOpenToServers and kFastOpenOfClients; empty: not known.
  std::optional<uint32_t> fast_open = std::nullopt;
  // Whether there is this USER or USER:GROUP; empty: not known.
  std::function<bool(const std::string& owner)> owner_exists = nullptr;
  // IP addresses of the machine's interfaces; the port is not looked at.
  std::vector<Address> own_addresses;
  std::vector<PassedSocket> passed = {};
  // getenv, for --fromenv; nothing is set if it is empty.
  std::function<std::optional<std::string>(const std::string& name)> environment;
};

// Each has all settings that apply to it: built in, then those of the scalar flags, then those of
// its upstream (a server), then its own.
struct Listener {
  std::string name;
  // At least one; none where a configuration is only looked at and has a listener whose sockets
  // somebody else will pass.
  std::vector<Address> addresses;
  size_t upstream = 0;  // index in Snapshot::upstreams; kNoUpstream: routes decide
  Scalars settings;
  // Of its unix sockets with a path.
  uint32_t mode = 0666;
  std::string owner = {};        // empty: who runs the process
  uint32_t max_connections = 0;  // of its own; 0: none
};

struct Server {
  std::string name;
  Address address;
  Scalars settings;
  size_t line = 0;  // of the --server lines, from 1; 0: it is from servers=
  // Never in a snapshot: what becomes of a server whose address is a name, once it is known.
  std::string group = {};                // it is one of those of this server
  std::vector<Address> candidates = {};  // all its addresses, if it has several
};

struct Upstream {
  std::string name;
  // Those of servers=, then those of --server lines. At least one, unless there is a file of them.
  std::vector<Server> servers;
  Scalars settings;
  std::string servers_file = {};  // empty: none
  // What was in it (servers_file.h), and the bytes that say so; null: it could not be read, and
  // nothing was known of it.
  std::vector<Server> file_servers = {};
  std::shared_ptr<const std::string> file_text = nullptr;
};

// In the order of their lines; names and protocols as in RouteLine.
struct Route {
  size_t listener = 0;  // index in Snapshot::listeners
  size_t upstream = 0;  // index in Snapshot::upstreams
  std::vector<std::string> sni;
  std::vector<std::string> alpn;
  RouteProtocol protocol = RouteProtocol::kAny;
};

inline constexpr size_t kNoUpstream = static_cast<size_t>(-1);

struct Snapshot {
  Scalars scalars;  // of the process; as set: `threads` and `max_connections` may be automatic
  std::vector<Listener> listeners;
  std::vector<Upstream> upstreams;
  std::vector<Route> routes;
  std::map<std::string, std::vector<Prefix>> prefix_files;  // what @FILE stands for

  // Computed.
  uint64_t nofile = 0;  // the limit of open files that the rest is computed from
  uint32_t threads = 1;
  uint32_t max_connections = 1;       // of the process; each needs two descriptors
  uint64_t memory_limit = 0;          // bytes; 0: none
  uint32_t pipes_per_worker = 0;      // for splice; 0: too few descriptors, or splice is off
  uint64_t reserved_descriptors = 0;  // for everything that is no connection
};

// Descriptors that are no connection's. The process: standard streams, signals, timers, logs, the
// flags files, and those that libraries open for a moment.
inline constexpr uint64_t kProcessDescriptors = 16;
// A worker: epoll, its wake-up and its timer.
inline constexpr uint64_t kWorkerDescriptors = 3;
// Health checks that one worker has under way at once, each with a descriptor.
inline constexpr uint64_t kMostChecksPerWorker = 64;
// Pipes hold what a bulk stream has in flight: at most so many for each worker, and together no
// more than one descriptor in eight.
inline constexpr uint64_t kMostPipesPerWorker = 32;
inline constexpr uint64_t kDescriptorsPerPipe = 2;
inline constexpr uint64_t kDescriptorsPerConnection = 2;

// A session knows its listening address, its upstream and its server by 16 bits each.
inline constexpr size_t kMostAddresses = 65535;
inline constexpr size_t kMostUpstreams = 65535;
inline constexpr size_t kMostServers = 65535;  // of one upstream

inline constexpr uint32_t kMostThreads = 1024;
inline constexpr uint32_t kMostConnections = 10'000'000;

}  // namespace parkway::config

#endif  // CONFIG_SNAPSHOT_H_
