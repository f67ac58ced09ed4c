#include "proxy/system/facts.h"

#include <ifaddrs.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "proxy/system/owner.h"

namespace parkway {

namespace {

// The kernel's defaults.
constexpr PortRange kDefaultPorts = {32768, 60999};

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

// 0: there is no such file, or no number in it.
template <typename Number>
Number NumberIn(const std::string& path) {
  Number number = 0;
  return absl::SimpleAtoi(ReadFile(path), &number) ? number : 0;
}

// Those of our affinity mask; empty if the kernel does not say.
std::vector<uint32_t> CpusOfMask() {
  std::vector<uint32_t> cpus;
  // More CPUs than the fixed mask holds: ask with larger ones.
  for (int most = 1024; most <= 1024 * 1024 && cpus.empty(); most *= 4) {
    cpu_set_t* set = CPU_ALLOC(most);
    const size_t size = CPU_ALLOC_SIZE(most);
    if (sched_getaffinity(0, size, set) == 0) {
      for (int cpu = 0; cpu < most; ++cpu) {
        if (CPU_ISSET_S(cpu, size, set)) cpus.push_back(static_cast<uint32_t>(cpu));
      }
    }
    CPU_FREE(set);
  }
  return cpus;
}

uint32_t PercentOf(int64_t quota, int64_t period) {
  return static_cast<uint32_t>((quota * 100 + period - 1) / period);
}

// What `file` says in our cgroup and those above it (v2: one line "0::/path"), the lowest first.
std::vector<std::string> SaidByCgroups(const std::string& file) {
  std::vector<std::string> said;
  const std::string groups = ReadFile("/proc/self/cgroup");
  const size_t at = groups.find("0::/");
  if (at == std::string::npos) return said;
  std::string path = groups.substr(at + 3);
  path.resize(std::min(path.find('\n'), path.size()));
  for (;;) {
    said.push_back(ReadFile("/sys/fs/cgroup" + path + "/" + file));
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return said;
    path.resize(slash);
  }
}

// The least of them; 0: none.
uint64_t MemoryOfCgroup() {
  uint64_t least = 0;
  for (const std::string& text : SaidByCgroups("memory.max")) {
    uint64_t bytes = 0;  // or "max"
    if (absl::SimpleAtoi(text, &bytes) && (least == 0 || bytes < least)) least = bytes;
  }
  return least;
}

// The least quota of our cgroup and those above it, in percent of one CPU; 0: none.
uint32_t PercentOfCgroup() {
  uint32_t least = 0;
  const auto take = [&least](uint32_t percent) {
    if (percent > 0 && (least == 0 || percent < least)) least = percent;
  };
  for (const std::string& text : SaidByCgroups("cpu.max")) take(PercentOfQuota(text));
  // cgroup v1.
  int64_t quota = 0, period = 0;
  if (absl::SimpleAtoi(ReadFile("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), &quota) &&
      absl::SimpleAtoi(ReadFile("/sys/fs/cgroup/cpu/cpu.cfs_period_us"), &period) && quota > 0 &&
      period > 0) {
    take(PercentOf(quota, period));
  }
  return least;
}

// Those on which the stricter of the interface's and everybody's rp_filter is 1; 2 is loose.
std::vector<std::string> StrictInterfaces() {
  const std::string folder = "/proc/sys/net/ipv4/conf/";
  const auto filter = [&folder](const std::string& name) {
    return NumberIn<uint32_t>(folder + name + "/rp_filter");
  };
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename();
    if (name == "all" || name == "default" || name == "lo") continue;
    if (std::max(filter("all"), filter(name)) == 1) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

void FindTcpLimits(config::SystemFacts* facts) {
  uint64_t least = 0, pressure = 0, most = 0;
  const long page_bytes = sysconf(_SC_PAGESIZE);
  std::istringstream pages(ReadFile("/proc/sys/net/ipv4/tcp_mem"));
  if (page_bytes > 0 && pages >> least >> pressure >> most) {
    facts->tcp_pressure_bytes = pressure * static_cast<uint64_t>(page_bytes);
    facts->tcp_most_bytes = most * static_cast<uint64_t>(page_bytes);
  }
  uint32_t fast_open = 0;
  if (absl::SimpleAtoi(ReadFile("/proc/sys/net/ipv4/tcp_fastopen"), &fast_open)) {
    facts->fast_open = fast_open;
  }
}

bool HasIpv6() {
  const int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  sockaddr_in6 any = {};
  any.sin6_family = AF_INET6;
  const bool bound = bind(fd, reinterpret_cast<sockaddr*>(&any), sizeof(any)) == 0;
  close(fd);
  return bound;
}

std::vector<config::Address> InterfaceAddresses() {
  std::vector<config::Address> addresses;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return addresses;
  for (const ifaddrs* each = list; each != nullptr; each = each->ifa_next) {
    if (each->ifa_addr == nullptr) continue;
    config::Address address;
    if (each->ifa_addr->sa_family == AF_INET) {
      address.kind = config::Address::Kind::kIpv4;
      const auto* v4 = reinterpret_cast<const sockaddr_in*>(each->ifa_addr);
      memcpy(address.ip.data(), &v4->sin_addr, sizeof(v4->sin_addr));
    } else if (each->ifa_addr->sa_family == AF_INET6) {
      address.kind = config::Address::Kind::kIpv6;
      const auto* v6 = reinterpret_cast<const sockaddr_in6*>(each->ifa_addr);
      memcpy(address.ip.data(), &v6->sin6_addr, sizeof(v6->sin6_addr));
    } else {
      continue;
    }
    addresses.push_back(address);
  }
  freeifaddrs(list);
  return addresses;
}

config::Address ConfigAddressOf(const Address& from) {
  config::Address address;
  address.port = from.port();
  if (from.is_unix()) {
    // The name as it is written, but for the bytes that it is shown with.
    const auto* un = reinterpret_cast<const sockaddr_un*>(from.data());
    const size_t bytes = from.size() - offsetof(sockaddr_un, sun_path);
    address.kind =
        from.is_path() ? config::Address::Kind::kUnixPath : config::Address::Kind::kUnixAbstract;
    address.path = from.is_path() ? std::string(from.path())
                                  : std::string(un->sun_path + 1, bytes > 0 ? bytes - 1 : 0);
  } else if (from.family() == AF_INET6) {
    address.kind = config::Address::Kind::kIpv6;
    memcpy(address.ip.data(), &reinterpret_cast<const sockaddr_in6*>(from.data())->sin6_addr, 16);
  } else {
    address.kind = config::Address::Kind::kIpv4;
    memcpy(address.ip.data(), &reinterpret_cast<const sockaddr_in*>(from.data())->sin_addr, 4);
  }
  return address.Unmapped();
}

}  // namespace

uint64_t OwnMemoryBytes() {
  std::istringstream pages(ReadFile("/proc/self/statm"));
  uint64_t size = 0, resident = 0, shared = 0;
  const long page_bytes = sysconf(_SC_PAGESIZE);
  if (!(pages >> size >> resident >> shared) || resident < shared || page_bytes <= 0) return 0;
  return (resident - shared) * static_cast<uint64_t>(page_bytes);
}

uint32_t PercentOfQuota(std::string_view cpu_max) {
  const std::vector<std::string> words = absl::StrSplit(
      absl::string_view(cpu_max.data(), cpu_max.size()), absl::ByAnyChar(" \n"), absl::SkipEmpty());
  int64_t quota = 0, period = 0;
  if (words.size() != 2 || !absl::SimpleAtoi(words[0], &quota) ||
      !absl::SimpleAtoi(words[1], &period) || quota <= 0 || period <= 0) {
    return 0;
  }
  return PercentOf(quota, period);
}

uint32_t UsableCpus() {
  uint32_t cpus = static_cast<uint32_t>(CpusOfMask().size());
  if (cpus == 0) cpus = std::max(1u, std::thread::hardware_concurrency());
  const uint32_t percent = PercentOfCgroup();
  if (percent > 0) cpus = std::min(cpus, (percent + 99) / 100);
  return std::max(cpus, 1u);
}

std::vector<uint32_t> CpusFor(const config::CpuAffinity& affinity) {
  switch (affinity.kind) {
    case config::CpuAffinity::Kind::kOff:
      return {};
    case config::CpuAffinity::Kind::kAuto:
      return CpusOfMask();
    case config::CpuAffinity::Kind::kList:
      break;
  }
  return affinity.cpus;
}

PortRange EphemeralPorts() {
  std::istringstream text(ReadFile("/proc/sys/net/ipv4/ip_local_port_range"));
  PortRange range;
  if (!(text >> range.first >> range.last)) return kDefaultPorts;
  return range;
}

config::SystemFacts FindSystemFacts(const std::vector<InheritedSocket>& inherited) {
  config::SystemFacts facts;
  for (const InheritedSocket& socket : inherited) {
    facts.passed.push_back({socket.name, ConfigAddressOf(socket.address)});
  }
  facts.cpus = UsableCpus();
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) facts.nofile_hard = limit.rlim_max;
  facts.ipv6 = HasIpv6();
  facts.own_addresses = InterfaceAddresses();
  facts.cpu_list = CpusOfMask();
  facts.somaxconn = NumberIn<uint32_t>("/proc/sys/net/core/somaxconn");
  const PortRange ports = EphemeralPorts();
  facts.first_local_port = ports.first;
  facts.last_local_port = ports.last;
  facts.most_tracked_connections = NumberIn<uint64_t>("/proc/sys/net/netfilter/nf_conntrack_max");
  facts.memory_bytes = MemoryOfCgroup();
  facts.cpu_percent = PercentOfCgroup();
  facts.strict_interfaces = StrictInterfaces();
  FindTcpLimits(&facts);
  facts.owner_exists = [](const std::string& owner) { return FindOwner(owner).has_value(); };
  facts.environment = [](const std::string& name) -> std::optional<std::string> {
    const char* value = getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return std::string(value);
  };
  return facts;
}

}  // namespace parkway
