// What is said to a server before the client's first byte: a PROXY header.
//
//   const std::string header = OpeningOf(session, wanted, heard);
//   int error = Open(scheduler, session, header, 0, deadline, tools);   // waits
//
// Owner thread only, on the connector's stack: Open waits.
#ifndef PROXY_INBOUND_OPENING_H_
#define PROXY_INBOUND_OPENING_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "poller/clock.h"
#include "poller/scheduler.h"
#include "proxy/core/proxy_out.h"
#include "proxy/inbound/reception.h"
#include "proxy/session/relay.h"
#include "proxy/session/session.h"

namespace parkway {

// The header that tells of this client.
std::string OpeningOf(Session& session, const ProxyOut& wanted, const Heard& heard);

// Sends what is left of it, of which `header_sent` bytes are on their way already, to the session's
// server, and behind it what the client has said by then. 0 or the errno of either side.
int Open(Scheduler& scheduler, Session& session, std::string_view header, size_t header_sent,
         MonotonicTime deadline, RelayTools& tools);

}  // namespace parkway

#endif  // PROXY_INBOUND_OPENING_H_
