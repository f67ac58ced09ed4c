// SessionEnd: what is learnt of a session's two sockets just before they are closed, where somebody
// wants to know.
//
// Values: owner thread.
#ifndef PROXY_SESSION_SESSION_END_H_
#define PROXY_SESSION_SESSION_END_H_

#include "poller/address.h"
#include "proxy/core/tcp_facts.h"

namespace parkway {

// Two system calls for each, and connection.
struct EndWishes {
  bool tcp = false;
  // The same of those that tell something about a network: see Session::TellsOfTcp.
  bool tcp_of_some = false;
  bool addresses = false;
};

struct SessionEnd {
  TcpFacts client;
  TcpFacts server;
  LimitedBy limited_by = LimitedBy::kUnknown;
  PackedAddress local;   // where the client connected to
  PackedAddress source;  // where we connected to the server from
};

}  // namespace parkway

#endif  // PROXY_SESSION_SESSION_END_H_
