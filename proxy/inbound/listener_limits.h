// The limits of one listener, and what stands against them now: shared by its addresses and by all
// workers.
//
// Any thread.
#ifndef PROXY_INBOUND_LISTENER_LIMITS_H_
#define PROXY_INBOUND_LISTENER_LIMITS_H_

#include <cstdint>

#include "proxy/inbound/limits.h"
#include "proxy/inbound/source_limits.h"

namespace parkway {

struct ListenerLimits {
  // 0: none of it.
  struct Numbers {
    uint32_t max_connections = 0;
    bool reject = false;  // those beyond it, at once; else they wait in the backlog
    uint32_t accept_rate = 0;
    uint32_t max_connections_per_source = 0;
    uint32_t accept_rate_per_source = 0;
    bool dry_run = false;  // those of a source are told and not enforced
  };

  explicit ListenerLimits(const Numbers& wanted)
      : numbers(wanted),
        connections(wanted.max_connections == 0 ? UINT32_MAX : wanted.max_connections),
        rate(wanted.accept_rate),
        sources(wanted.max_connections_per_source, wanted.accept_rate_per_source) {}

  const Numbers numbers;
  ConnectionLimit connections;
  TokenBucket rate;
  SourceLimits sources;
};

}  // namespace parkway

#endif  // PROXY_INBOUND_LISTENER_LIMITS_H_
