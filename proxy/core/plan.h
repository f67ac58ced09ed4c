// Plan: what a worker needs to know of one configuration, in the terms of sockets.
//
// The snapshot (config/) says what the operator wants and knows no sockets; the planner
// (proxy/planner.h) makes plans from it, one for each generation. A plan never changes, and shares
// with the one before it the entries that are the same in both.
//
// The places of listeners, of upstreams, and of servers in an upstream are slots: an entry keeps
// its slot from one generation to the next. One that was removed stays in its slot, marked `gone`,
// until nobody refers to it any more; then the slot is another's (proxy/slot_reaper.h). So what a
// session or a log record says by slots can be read with any later plan.
//
// Immutable: any thread.
//
// Invariants
//   1. No entry is null, and no later plan has fewer slots.
//   2. While anybody refers to a slot, it is the same listener, upstream or server.
#ifndef PROXY_CORE_PLAN_H_
#define PROXY_CORE_PLAN_H_

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "poller/address.h"
#include "poller/socket_options.h"
#include "proxy/core/close_cause.h"
#include "proxy/core/health_plan.h"
#include "proxy/core/log_plan.h"
#include "proxy/core/proxy_out.h"
#include "proxy/core/session_times.h"
#include "proxy/core/shared_value.h"

namespace parkway {

struct FrontPlan;       // proxy/inbound/front.h
struct ListenerLimits;  // proxy/inbound/listener_limits.h

enum class SpliceUse : uint8_t {
  kBulk,    // where much moves
  kAlways,  // from the first byte
  kNever,
};

// Which server gets the next connection.
enum class Balance : uint8_t {
  kP2c,         // the one with fewer connections of two drawn by weight
  kLeastConn,   // the one with the fewest of all
  kRoundRobin,  // in turn, by weight, evenly spaced
  kRandom,      // by weight
  kSourceHash,  // by the client's address (upstream/maglev.h)
  kFirst,       // the first that has room
  kLeastTime,   // by the time that connects take, and connections
};

// What the operator said of a server.
enum class ServerState : uint8_t { kReady, kDrain, kDown };

// What becomes of a client when no server is up.
enum class AllDown : uint8_t {
  kClose,   // it is turned away
  kTryAll,  // servers that are down by what we saw, not by what the operator said, are tried
  kHold,    // it waits in the queue
};

// By slots.
struct ServerRef {
  uint16_t upstream = 0;
  uint16_t server = 0;

  auto operator<=>(const ServerRef&) const = default;
};

// Of whatever kind.
struct SlotRef {
  enum class Kind : uint8_t { kServer, kUpstream, kListener };

  Kind kind = Kind::kServer;
  uint16_t slot = 0;    // of a listener, or an upstream
  uint16_t server = 0;  // in it, if it is one's

  auto operator<=>(const SlotRef&) const = default;
};

struct ServerPlan {
  std::string name;  // empty: nobody's slot (see vacant)
  Address address;
  bool gone = false;       // removed: gets nobody any more
  uint32_t weight = 1;     // 0..256; 0: no new connections
  uint32_t priority = 0;   // the lowest that has a server counts
  uint32_t max_conns = 0;  // of the process; 0: no limit
  ServerState state = ServerState::kReady;
  absl::Duration slow_start = {};  // from its return until it gets its full share; 0: at once
  // So many failed connects in a row eject it, for a time that grows each time; 0: never.
  uint32_t passive_fails = 5;
  absl::Duration ejection_time = absl::Seconds(10);
  // Local addresses to connect from in turn, those of the server's family; none: as the kernel
  // chooses.
  std::vector<Address> sources = {};
  // Several addresses of one server, in the order they are tried: while one says nothing the next
  // is dialled too, after this delay (0: only when it has failed), and the first that answers is
  // taken. Empty: `address` alone, which else is the first of them.
  std::vector<Address> candidates = {};
  absl::Duration happy_eyeballs_delay = absl::Milliseconds(250);
  // The port of `address` is to be added to that of the listener: see TargetOf.
  bool port_is_offset = false;
  // Reached without leaving this machine: it answers a connect before the call returns.
  bool local = false;
  // A local address with a port that the kernel might choose for the connection itself.
  bool may_connect_to_itself = false;
  absl::Duration connect_timeout = absl::Seconds(5);
  SocketOptions sockets = {};
  SharedValue<ProxyOut> send_proxy = nullptr;  // null: no header
  HealthPlan health = {};
  SessionsRule on_remove = {};  // what becomes of its connections when it is gone
  std::string group = {};       // of one address of a name: what they are counted under; else empty

  // Gone, and nobody refers to it any more: another server may get the slot.
  bool vacant() const { return gone && name.empty(); }

  bool operator==(const ServerPlan&) const = default;
};

struct UpstreamPlan {
  std::string name;
  std::vector<ServerPlan> servers;  // by slot
  // Those that are not gone, in the order of the configuration; empty: that of the slots.
  std::vector<uint16_t> order = {};
  bool gone = false;
  int connect_attempts = 3;  // of one client
  Balance balance = Balance::kP2c;
  AllDown all_down = AllDown::kTryAll;
  // Percent of an even share that one server may have under kSourceHash; 0: no bound.
  uint32_t hash_balance_percent = 0;
  uint32_t panic_percent = 0;  // fewer up: all of them count as up; 0: never
  uint32_t max_ejection_percent = 50;
  uint32_t queue_max = 1024;  // clients that may wait when all servers are at max_conns
  absl::Duration queue_timeout = absl::Seconds(5);  // 0: no end

  // As of a server; then its servers are, too.
  bool vacant() const { return gone && name.empty(); }

  bool operator==(const UpstreamPlan&) const = default;
};

// What one listener lets in; 0: no limit.
struct ListenerNumbers {
  uint32_t max_connections = 0;
  bool reject = false;  // those beyond it, at once; else they wait in the backlog
  uint32_t accept_rate = 0;
  uint32_t max_connections_per_source = 0;
  uint32_t accept_rate_per_source = 0;
  bool dry_run = false;  // those of a source are told and not enforced

  bool operator==(const ListenerNumbers&) const = default;
};

inline constexpr size_t kNoUpstream = static_cast<size_t>(-1);

struct ListenerPlan {
  std::string name;
  Address address = {};
  bool gone = false;  // removed: it accepts nobody, its connections go on
  int backlog = 4096;
  size_t upstream = 0;  // kNoUpstream: routes alone decide
  // What happens before a server is chosen; null: nothing.
  SharedValue<FrontPlan> front = {};
  ListenerNumbers numbers = {};
  // What stands against them now: shared by its addresses, and carried from plan to plan by its
  // name; null: nothing is counted, and the numbers do not count.
  std::shared_ptr<ListenerLimits> limits = {};
  SessionTimes times = {};
  SocketOptions sockets = {};
  SpliceUse splice = SpliceUse::kBulk;
  Reject reject = Reject::kRst;
  bool reuseport = true;  // else one socket, of one worker, that hands over
  bool v6only = false;
  bool freebind = false;
  bool transparent = false;
  uint32_t defer_accept_s = 0;  // 0: off
  SessionsRule on_remove = {};  // what becomes of its connections when it is gone
  // Of a unix socket with a path.
  uint32_t mode = 0666;
  std::string owner = {};  // USER[:GROUP]; empty: who runs the process

  // As of a server.
  bool vacant() const { return gone && name.empty(); }

  bool operator==(const ListenerPlan&) const = default;
};

// Where to connect for a connection that came by `listener`, to `address` of the server.
inline Address TargetOf(const ServerPlan& server, const Address& address,
                        const ListenerPlan& listener) {
  Address target = address;
  if (server.port_is_offset) {
    target.set_port(static_cast<uint16_t>(target.port() + listener.address.port()));
  }
  return target;
}
inline Address TargetOf(const ServerPlan& server, const ListenerPlan& listener) {
  return TargetOf(server, server.address, listener);
}

struct Plan {
  // By slot.
  std::vector<std::shared_ptr<const ListenerPlan>> listeners;
  std::vector<std::shared_ptr<const UpstreamPlan>> upstreams;
  uint64_t generation = 1;
  uint32_t max_connections = 1024;  // of the process
  LogPlan log = {};
  uint32_t max_accepts = 16;   // of one listener, before a worker looks what else there is to do
  bool accept_balance = true;  // to the least loaded worker; false: each keeps what it accepts

  // In the next slot.
  void Add(ListenerPlan listener) {
    listeners.push_back(std::make_shared<const ListenerPlan>(std::move(listener)));
  }
  void Add(UpstreamPlan upstream) {
    upstreams.push_back(std::make_shared<const UpstreamPlan>(std::move(upstream)));
  }
};

}  // namespace parkway

#endif  // PROXY_CORE_PLAN_H_
