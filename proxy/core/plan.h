// Plan: what a worker needs to know of one configuration, in the terms of sockets.
//
// The snapshot (config/) says what the operator wants and knows no sockets; process.cc turns it
// into a plan once per generation. Immutable; shared by all workers, read without a lock.
#ifndef PROXY_CORE_PLAN_H_
#define PROXY_CORE_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "poller/address.h"
#include "poller/socket_options.h"
#include "proxy/session/session_times.h"

namespace parkway {

enum class SpliceUse : uint8_t {
  kBulk,    // where much moves
  kAlways,  // from the first byte
  kNever,
};

struct ServerPlan {
  std::string name;
  Address address;
  // Reached without leaving this machine: it answers a connect before the call returns.
  bool local = false;
  // A local address with a port that the kernel might choose for the connection itself.
  bool may_connect_to_itself = false;
  absl::Duration connect_timeout = absl::Seconds(5);
  SocketOptions sockets = {};
};

struct UpstreamPlan {
  std::string name;
  std::vector<ServerPlan> servers;
  int connect_attempts = 3;
};

struct ListenerPlan {
  std::string name;
  Address address;
  int backlog = 4096;
  size_t upstream = 0;
  SessionTimes times;
  SocketOptions sockets;
  SpliceUse splice = SpliceUse::kBulk;
};

struct Plan {
  std::vector<ListenerPlan> listeners;
  std::vector<UpstreamPlan> upstreams;
  uint32_t max_connections = 1024;  // of the process
  bool access_log = false;
  bool accept_balance = true;  // to the least loaded worker; false: each keeps what it accepts
};

}  // namespace parkway

#endif  // PROXY_CORE_PLAN_H_
