// ConnRow: one open connection at one moment, for `show conns`: numbers as its worker saw them, and
// names as the control thread knows them.
//
// ConnStream: the rows of a question, as they come: batches from the workers, made while the
// connections go on. Who takes rows slowly slows the walk down, and nobody else.
//
// Rows are values. A stream: control thread only.
#ifndef PROXY_OBSERVE_CONN_ROW_H_
#define PROXY_OBSERVE_CONN_ROW_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "poller/address.h"
#include "proxy/control.h"

namespace parkway {

// What the kernel says of one socket.
struct ConnSide {
  bool open = false;  // there is a socket
  bool tcp = false;   // and the rest is known
  uint32_t rtt_us = 0;
  uint32_t min_rtt_us = 0;
  uint32_t rttvar_us = 0;
  uint32_t mss_bytes = 0;
  uint32_t cwnd_bytes = 0;     // what may be under way
  uint32_t window_bytes = 0;   // what the peer says that it has room for
  uint32_t unacked_bytes = 0;  // under way, about
  uint32_t unsent_bytes = 0;   // taken by the kernel, waiting for window or acknowledgements
  uint32_t lost = 0;           // segments thought lost now
  uint32_t retransmits = 0;    // in all
  uint64_t delivery_rate = 0;  // bytes a second
  uint64_t rwnd_limited_us = 0;
  uint64_t sndbuf_limited_us = 0;
  uint32_t last_sent_ms = 0;
  uint32_t last_received_ms = 0;
  // Only in the answer about one connection.
  Address local;
  Address peer;
};

struct ConnRow {
  enum class State : uint8_t { kConnecting, kQueued, kOpen, kClosing };

  uint64_t id = 0;
  uint32_t worker = 0;
  State state = State::kOpen;
  uint16_t listener_slot = 0;
  uint16_t upstream_slot = 0;
  uint16_t server_slot = 0;
  bool has_server = false;
  std::string listener;
  std::string upstream;  // empty: none is chosen yet
  std::string server;    // the same
  PackedAddress client;  // as a PROXY header may have said
  uint8_t attempts = 0;
  int64_t age_ns = 0;
  int64_t idle_ns = 0;  // since bytes moved
  int64_t connected_after_us = -1;
  int64_t first_byte_after_us = -1;
  uint64_t bytes_up = 0;    // client to server
  uint64_t bytes_down = 0;  // server to client
  uint64_t held_up = 0;     // in our hands: the receiver does not take them
  uint64_t held_down = 0;
  bool ended_up = false;  // the FIN of the client was forwarded
  bool ended_down = false;
  bool bulk_up = false;
  bool bulk_down = false;
  ConnSide client_side;
  ConnSide server_side;
};

constexpr const char* ConnStateName(ConnRow::State state) {
  switch (state) {
    case ConnRow::State::kConnecting:
      return "connecting";
    case ConnRow::State::kQueued:
      return "queued";
    case ConnRow::State::kOpen:
      break;
    case ConnRow::State::kClosing:
      return "closing";
  }
  return "open";
}

// All conditions that are given must hold.
struct ConnQuestion {
  ConnSelector selector;
  absl::Duration idle;  // at least
  absl::Duration age;
  uint64_t bytes = 0;      // both ways together
  std::string state;       // of ConnStateName; empty: any
  bool addresses = false;  // of both sockets, both ends
};

class ConnStream {
 public:
  // Ends the walk of whoever has not finished it.
  virtual ~ConnStream() = default;
  // What has come since the last call; the workers go on with the next.
  virtual std::vector<ConnRow> Take() = 0;
  virtual bool has_rows() const = 0;
  // Nothing more comes than what Take has left.
  virtual bool done() const = 0;
};

// Rings `bell` whenever there is something new. Null, and `wrong` says why: the question makes no
// sense.
using AskForConns = std::function<std::unique_ptr<ConnStream>(
    const ConnQuestion& question, std::function<void()> bell, std::string* wrong)>;

}  // namespace parkway

#endif  // PROXY_OBSERVE_CONN_ROW_H_
