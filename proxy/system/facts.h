// Facts: what this machine is and allows, found out once per start or reload.
//
// The configuration is computed from these and from the flags alone, so that a test may claim any
// machine. Main thread; makes system calls and reads files under /proc and /sys.
#ifndef PROXY_SYSTEM_FACTS_H_
#define PROXY_SYSTEM_FACTS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/snapshot.h"
#include "proxy/system/systemd.h"

namespace parkway {

struct PortRange {
  uint16_t first = 0;
  uint16_t last = 0;

  bool contains(uint16_t port) const { return port >= first && port <= last; }
};

// Memory of this process that is no file's. 0: not known.
uint64_t OwnMemoryBytes();

// CPUs in the affinity mask, or what the cgroup's quota is worth if that is less; at least 1.
uint32_t UsableCpus();
// A quota as cgroup v2 writes it ("150000 100000", "max 100000"): percent of one CPU, rounded up;
// 0: no quota.
uint32_t PercentOfQuota(std::string_view cpu_max);

// Where the workers are to run, by --cpu_affinity; empty: anywhere.
std::vector<uint32_t> CpusFor(const config::CpuAffinity& affinity);

// The ports that the kernel chooses from for connections of its own.
PortRange EphemeralPorts();

// `inherited`: the sockets that we were started with.
config::SystemFacts FindSystemFacts(const std::vector<InheritedSocket>& inherited = {});

}  // namespace parkway

#endif  // PROXY_SYSTEM_FACTS_H_
