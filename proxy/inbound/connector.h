// Connector: from an accepted socket to a connected pair. The part of a connection's way that is
// written straight down and keeps its stack while it waits.
//
//   choose a server -> connect (within connect_timeout) -> connected, or the next server
//
// The client's early bytes are never lost: they stay in the kernel, or, where the server is on
// this machine, they are read and sent at once (its connect is done before the call returns, which
// saves a wait and a registration); what could not be sent is held by the relay and goes to
// whichever server answers.
//
// Owner thread only. One per worker; the state of an attempt is on the stack.
//
// Invariants
//   1. Before the first wait both sockets are registered: a client that resets ends the attempt.
//   2. It returns with session.server() connected, or with a cause and no server.
#ifndef PROXY_INBOUND_CONNECTOR_H_
#define PROXY_INBOUND_CONNECTOR_H_

#include <cstddef>

#include "proxy/core/close_cause.h"
#include "proxy/core/plan.h"
#include "proxy/core/stats.h"
#include "proxy/inbound/limits.h"
#include "proxy/session/session.h"
#include "proxy/upstream/balancer.h"

namespace parkway {

class Connector {
 public:
  Connector(Scheduler& scheduler, const Plan& plan, Balancer& balancer, ConnectionLimit& limit,
            RelayTools& tools, WorkerStats& stats);

  // Runs on the stack of the session's task. True: connected.
  bool Connect(Session& session);

 private:
  // 0: session.server() is connected; else a positive errno and it is null.
  int Attempt(Session& session, const UpstreamPlan& upstream, size_t chosen,
              MonotonicTime deadline);
  int Establish(Session& session, PollDesc& desc, bool local, MonotonicTime deadline);
  // Sends what the client has already said. 0: the server took some, so it is connected; EAGAIN:
  // that must be waited for; else the errno of either side.
  int SendEarlyBytes(Session& session, PollDesc& server);
  static CloseCause CauseOf(int error);

  Scheduler& scheduler_;
  const Plan& plan_;
  Balancer& balancer_;
  ConnectionLimit& limit_;
  RelayTools& tools_;
  WorkerStats& stats_;
};

}  // namespace parkway

#endif  // PROXY_INBOUND_CONNECTOR_H_
