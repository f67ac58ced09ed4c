// TcpFacts: what the kernel knew of one socket when its connection ended, and LimitedBy: what a
// connection spent most of its time waiting for.
//
// Values: any thread.
#ifndef PROXY_CORE_TCP_FACTS_H_
#define PROXY_CORE_TCP_FACTS_H_

#include <cstdint>

namespace parkway {

struct TcpFacts {
  bool known = false;  // false: a unix socket, or nobody asked
  uint32_t rtt_us = 0;
  uint32_t min_rtt_us = 0;
  uint32_t retransmits = 0;        // segments that we sent again
  uint64_t busy_us = 0;            // something that we sent was not acknowledged yet
  uint64_t rwnd_limited_us = 0;    // of it: the receiver's window was closed
  uint64_t sndbuf_limited_us = 0;  // of it: our send buffer was too small
  uint32_t segments_in = 0;        // with data
  uint32_t out_of_order = 0;       // of them: something before it had been lost on the way
  uint32_t since_sent_ms = 0;      // data
  uint32_t since_received_ms = 0;  // data
};

enum class LimitedBy : uint8_t {
  kUnknown,       // it never got as far
  kClientWindow,  // the client did not take what we sent
  kServerWindow,  // the server did not
  kNetwork,       // packets were under way, or lost
  kServerApp,     // the server had nothing to say yet
  kClientApp,     // the client had not
  kProxy,         // our rates and buffers
};

constexpr const char* LimitedByName(LimitedBy by) {
  switch (by) {
    case LimitedBy::kUnknown:
      break;
    case LimitedBy::kClientWindow:
      return "client_window";
    case LimitedBy::kServerWindow:
      return "server_window";
    case LimitedBy::kNetwork:
      return "network";
    case LimitedBy::kServerApp:
      return "server_app";
    case LimitedBy::kClientApp:
      return "client_app";
    case LimitedBy::kProxy:
      return "proxy";
  }
  return "unknown";
}

}  // namespace parkway

#endif  // PROXY_CORE_TCP_FACTS_H_
