// What the kernel knows of a TCP connection (TCP_INFO), and the verdict: what a connection waited
// for most of its time.
//
// The times of a connection are divided like this:
//
//   client_window, server_window   the receiver's window was closed while we had something to send
//   network                        something was sent and not acknowledged, for no such reason
//   proxy                          out of tokens of a rate, or out of send buffer
//   server_app                     until the server said something, while nothing was in our hands
//   client_app                     the rest: the client had nothing to say
//
// Only what we send is seen by the kernel: bytes that the other side sends and the network loses
// look like a silence. They come out of order, though: where they do, the silence was the
// network's.
//
// Pure functions but for one call; any thread.
#ifndef PROXY_SESSION_TCP_INFO_H_
#define PROXY_SESSION_TCP_INFO_H_

#include <cstdint>

#include "proxy/core/tcp_facts.h"

namespace parkway {

// Not known of what is no TCP socket.
TcpFacts ReadTcpFacts(int fd);

struct Waits {
  int64_t lived_us = 0;   // since both sides stood
  int64_t server_us = 0;  // for the server's next bytes, while nothing was in our hands
  int64_t paced_us = 0;   // for tokens
  int64_t last_us = 0;    // from the last byte to the end
};
LimitedBy Verdict(const TcpFacts& client, const TcpFacts& server, const Waits& waits);

}  // namespace parkway

#endif  // PROXY_SESSION_TCP_INFO_H_
