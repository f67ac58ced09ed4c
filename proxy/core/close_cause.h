// Why a connection ended: one enumeration for the log, the metrics and the admin interface.
//
// Each connection has exactly one cause, the first that became known. The words are part of what
// operators rely on: never renamed.
//
// Any thread.
#ifndef PROXY_CORE_CLOSE_CAUSE_H_
#define PROXY_CORE_CLOSE_CAUSE_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace parkway {

enum class CloseCause : uint8_t {
  kNone = 0,            // still open
  kClientFin,           // the client ended first, both directions were delivered whole
  kServerFin,           // the server ended first, both directions were delivered whole
  kClientRst,           // the client reset the connection
  kServerRst,           // the server reset the connection
  kClientNetError,      // the client's socket failed otherwise: unreachable, keepalive
  kServerNetError,      // the same for the server's socket
  kIdle,                // nothing moved for idle_timeout
  kClientTimeout,       // nothing was read from or written to the client for client_idle_timeout,
                        // or it took nothing of what waits for it for write_stall_timeout
  kServerTimeout,       // the same for the server and server_idle_timeout
  kLifetime,            // it was open for max_lifetime
  kHalfCloseTimeout,    // one side had ended, and nothing moved for half_close_timeout
  kConnectRefused,      // every attempt failed; the last was refused
  kConnectTimeout,      // ... timed out
  kConnectUnreachable,  // ... found no way there
  kLocalPortExhausted,  // no local port was left for the connection to the server
  kNoServer,            // no server takes connections
  kQueueFull,           // every server was full, and so was the queue
  kQueueTimeout,        // waited for a server for queue_timeout
  kServerDown,          // the server went down, and was to close its connections then
  kServerRemoved,       // the server was removed, and was to close its connections then
  kPrimaryBack,         // the server was a backup, and one that it stands in for is up again
  kLocalResources,      // out of descriptors, memory or epoll watches
  kDenied,              // by allow and deny, or not trusted to send a PROXY header
  kLimitListener,       // max_connections of the listener, with policy=reject
  kLimitSource,         // max_connections_per_source or accept_rate_per_source
  kProxyHeaderBad,      // the client's PROXY header is none, or not whole
  kPrereadTimeout,      // the client did not say in time what it was to say first
  kNoRoute,             // what it said matches no route, and the listener has no upstream
  kLimitMemory,         // memory_limit was nearly reached, and it had been idle longest
  kDrain,               // the drain timeout passed at a stop
  kAdminKill,           // somebody with the right to said so
  kInternal,            // none of the above: a mistake of ours
  kCount,
};

// What a client sees that is turned away.
enum class Reject : uint8_t {
  kRst,   // a reset
  kFin,   // an end in order
  kDrop,  // nothing: it waits in vain
};

// Why connects to a server fail.
inline constexpr std::array kConnectErrors = {
    CloseCause::kConnectRefused,     CloseCause::kConnectTimeout, CloseCause::kConnectUnreachable,
    CloseCause::kLocalPortExhausted, CloseCause::kLocalResources,
};

// Where `cause` stands among them; what is none of them is unreachable.
constexpr size_t ConnectErrorIndex(CloseCause cause) {
  for (size_t i = 0; i < kConnectErrors.size(); ++i) {
    if (kConnectErrors[i] == cause) return i;
  }
  return 2;
}

constexpr const char* CloseCauseName(CloseCause cause) {
  switch (cause) {
    case CloseCause::kNone:
      return "none";
    case CloseCause::kClientFin:
      return "client_fin";
    case CloseCause::kServerFin:
      return "server_fin";
    case CloseCause::kClientRst:
      return "client_rst";
    case CloseCause::kServerRst:
      return "server_rst";
    case CloseCause::kClientNetError:
      return "client_net_error";
    case CloseCause::kServerNetError:
      return "server_net_error";
    case CloseCause::kIdle:
      return "idle";
    case CloseCause::kClientTimeout:
      return "client_timeout";
    case CloseCause::kServerTimeout:
      return "server_timeout";
    case CloseCause::kLifetime:
      return "lifetime";
    case CloseCause::kHalfCloseTimeout:
      return "half_close_timeout";
    case CloseCause::kConnectRefused:
      return "connect_refused";
    case CloseCause::kConnectTimeout:
      return "connect_timeout";
    case CloseCause::kConnectUnreachable:
      return "connect_unreachable";
    case CloseCause::kLocalPortExhausted:
      return "local_port_exhausted";
    case CloseCause::kNoServer:
      return "no_server";
    case CloseCause::kQueueFull:
      return "queue_full";
    case CloseCause::kQueueTimeout:
      return "queue_timeout";
    case CloseCause::kServerDown:
      return "server_down";
    case CloseCause::kServerRemoved:
      return "server_removed";
    case CloseCause::kPrimaryBack:
      return "primary_back";
    case CloseCause::kLocalResources:
      return "local_resources";
    case CloseCause::kDenied:
      return "denied";
    case CloseCause::kLimitListener:
      return "limit_listener";
    case CloseCause::kLimitSource:
      return "limit_source";
    case CloseCause::kProxyHeaderBad:
      return "proxy_header_bad";
    case CloseCause::kPrereadTimeout:
      return "preread_timeout";
    case CloseCause::kNoRoute:
      return "no_route";
    case CloseCause::kLimitMemory:
      return "limit_memory";
    case CloseCause::kDrain:
      return "drain";
    case CloseCause::kAdminKill:
      return "admin_kill";
    case CloseCause::kInternal:
    case CloseCause::kCount:
      break;
  }
  return "internal";
}

}  // namespace parkway

#endif  // PROXY_CORE_CLOSE_CAUSE_H_
