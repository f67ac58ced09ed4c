// Scalars: the typed values of the scalar flags.
//
// A line that sets some of them for itself has a copy of its own. Defaults are in the table of
// flags (flags.h). A value: any thread.
#ifndef CONFIG_SCALARS_H_
#define CONFIG_SCALARS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "config/log_sink.h"
#include "config/value.h"

namespace parkway::config {

enum class LogFormat : uint8_t { kKv, kTcplog, kJson };
enum class Splice : uint8_t { kAuto, kOn, kOff };
enum class AcceptProxy : uint8_t { kOff, kOn, kOptional };
enum class SendProxy : uint8_t { kOff, kV1, kV2 };
enum class Policy : uint8_t { kQueue, kReject };
enum class Reject : uint8_t { kRst, kFin, kDrop };
enum class ConnectOn : uint8_t { kAccept, kData };
enum class AcceptBalance : uint8_t { kAuto, kOff };
enum class Balance : uint8_t {
  kP2c,
  kLeastConn,
  kRoundRobin,
  kRandom,
  kSourceHash,
  kFirst,
  kLeastTime,
};
enum class AllDown : uint8_t { kAuto, kClose, kTryAll, kHold };
enum class ServerState : uint8_t { kReady, kDrain, kDown };
enum class Health : uint8_t { kOff, kTcp, kSendExpect };
enum class HealthInitial : uint8_t { kUp, kDown };
enum class HealthClose : uint8_t { kFin, kRst };
// Of the addresses of a name: each is a server, or all are those of one.
enum class Resolve : uint8_t { kAll, kOne };
enum class DnsFamily : uint8_t { kAny, kV4, kV6 };
// What a start does until a name has an address: it waits a while and then goes on, does not wait,
// or fails.
enum class DnsInit : uint8_t { kWait, kLazy, kFail };

// Which CPUs the workers run on.
struct CpuAffinity {
  enum class Kind : uint8_t {
    kOff,   // where the kernel likes
    kAuto,  // each on one of those that the process may use
    kList,  // each on one of `cpus`
  };

  Kind kind = Kind::kOff;
  std::vector<uint32_t> cpus;  // kList: in order, as written

  bool operator==(const CpuAffinity&) const = default;
};

// The scalar flags, typed. A duration that is off is zero. Their defaults are in the table. A line
// that sets some of them for itself has a copy of its own (Flag::places).
struct Scalars {
  std::optional<uint32_t> threads;          // nullopt: automatic
  std::optional<uint32_t> max_connections;  // nullopt: automatic
  uint32_t backlog = 0;
  bool v6only = false;
  absl::Duration connect_timeout;
  absl::Duration idle_timeout;
  absl::Duration half_close_timeout;
  absl::Duration client_idle_timeout;
  absl::Duration server_idle_timeout;
  absl::Duration write_stall_timeout;
  absl::Duration max_lifetime;
  uint32_t max_lifetime_jitter = 0;  // percent
  // Bytes per second; zero is off.
  uint64_t rate_up = 0;
  uint64_t rate_down = 0;
  std::optional<uint64_t> memory_limit;  // nullopt: automatic; 0: off
  absl::Duration delayed_close;
  absl::Duration drain_timeout;
  absl::Duration stats_interval;
  LogSink access_log;
  uint32_t log_facility = 0;  // of syslog
  LogFormat log_format = LogFormat::kKv;
  std::string log_skip;  // canonical (log_sink.h); empty: nothing is left out
  uint32_t log_sample = 0;
  std::string log_events;  // canonical (log_sink.h); empty: the end alone
  absl::Duration log_progress;
  Splice splice = Splice::kAuto;
  AcceptBalance accept_balance = AcceptBalance::kAuto;
  CpuAffinity cpu_affinity;
  // Active checks of servers.
  Health health = Health::kOff;
  absl::Duration health_interval;
  absl::Duration health_timeout;
  uint32_t rise = 0;
  uint32_t fall = 0;
  uint32_t health_port = 0;            // 0: the server's
  std::optional<Address> health_addr;  // without a port; nullopt: the server's
  HealthInitial health_initial = HealthInitial::kUp;
  HealthClose health_close = HealthClose::kFin;
  std::string health_send;  // bytes
  Expectation health_expect;
  Parting on_down;
  Parting on_up;
  Parting on_remove;           // of a server
  Parting on_listener_remove;  // of a listener
  // Options of sockets, of both sides; zero and empty: the kernel's own.
  uint64_t rcvbuf = 0;
  uint64_t sndbuf = 0;
  uint64_t notsent_lowat = 0;
  absl::Duration busy_poll;
  std::string congestion;
  Keepalive keepalive;
  absl::Duration tcp_user_timeout;
  uint32_t tfo = 0;  // of a listener: connections that its queue holds; of a server: whether
  bool mptcp = false;
  uint32_t dscp = 0;
  uint32_t mark = 0;
  std::string device;
  // Of listening sockets alone.
  absl::Duration defer_accept;
  bool freebind = false;
  bool transparent = false;
  bool reuseport = false;
  uint32_t max_accepts_per_wakeup = 0;
  // Who is let in, and how. Of the texts, which are canonical (admission.h), empty is off.
  AcceptProxy accept_proxy = AcceptProxy::kOff;
  std::string proxy_trusted;
  absl::Duration proxy_protocol_timeout;
  std::string allow;
  std::string deny;
  bool dry_run = false;
  Policy policy = Policy::kQueue;
  Reject reject = Reject::kRst;
  ConnectOn connect_on = ConnectOn::kAccept;
  std::string accept_rate;
  std::string accept_rate_per_source;
  uint32_t max_connections_per_source = 0;
  absl::Duration preread_timeout;
  uint64_t preread_bytes = 0;
  SendProxy send_proxy = SendProxy::kOff;
  std::string proxy_tlv;

  // Names: how they are asked for.
  Resolve resolve = Resolve::kAll;
  std::string dns_servers;  // IP[:PORT],...; empty: those of resolv.conf
  absl::Duration dns_timeout;
  uint32_t dns_attempts = 0;
  DnsFamily dns_family = DnsFamily::kAny;
  absl::Duration dns_min_ttl;
  absl::Duration dns_max_ttl;
  DnsInit dns_init = DnsInit::kWait;
  absl::Duration happy_eyeballs_delay;

  // The process. Of the texts empty is off.
  std::string admin_socket;     // a path, or "auto"
  std::optional<Address> http;  // nullopt: off
  std::string http_allow;       // canonical prefixes
  std::string user;             // USER[:GROUP]
  std::string pidfile;
  bool reload_strict = false;

  // Which server, and how it is reached. Zero is off.
  Balance balance = Balance::kP2c;
  uint32_t hash_balance_factor = 0;  // percent
  uint32_t connect_attempts = 0;
  std::vector<Address> source;  // without ports
  uint32_t max_conns = 0;
  uint32_t queue_max = 0;
  absl::Duration queue_timeout;
  absl::Duration slow_start;
  uint32_t panic_threshold = 0;  // percent
  AllDown all_down = AllDown::kAuto;
  uint32_t passive_fails = 0;
  absl::Duration ejection_time;
  uint32_t max_ejection_percent = 0;
  // Of one server: keys of its line alone (LineFlags).
  uint32_t weight = 0;
  uint32_t priority = 0;
  bool backup = false;
  ServerState state = ServerState::kReady;

  bool operator==(const Scalars&) const = default;
};

}  // namespace parkway::config

#endif  // CONFIG_SCALARS_H_
