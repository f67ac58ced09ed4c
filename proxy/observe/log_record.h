// LogRecord: one thing that a worker has to say, in numbers: text is made of it by the writer
// thread. What belongs to a listener, an upstream or a server is said by its slot in the plan.
//
// Values that can be copied byte by byte: any thread.
#ifndef PROXY_OBSERVE_LOG_RECORD_H_
#define PROXY_OBSERVE_LOG_RECORD_H_

#include <string.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <variant>

#include "poller/address.h"
#include "poller/clock.h"
#include "proxy/core/close_cause.h"
#include "proxy/core/health_plan.h"
#include "proxy/core/tcp_facts.h"

namespace parkway {

// The beginning of some text.
template <size_t kBytes>
class LogText {
 public:
  LogText() = default;
  explicit LogText(std::string_view text)
      : size_(static_cast<uint8_t>(std::min(text.size(), kBytes))) {
    memcpy(bytes_, text.data(), size_);
  }
  std::string_view view() const { return {bytes_, size_}; }

 private:
  uint8_t size_ = 0;
  char bytes_[kBytes] = {};
};

// How far a connection had come when it ended.
enum class EndPhase : uint8_t {
  kReceiving,  // a header or first bytes of the client, or nothing at all
  kQueued,     // in line for a server
  kConnecting,
  kRelaying,
};

// Who ended it first.
enum class FirstCloser : uint8_t { kClient, kServer, kProxy };

// A connection that has ended.
struct ClosedRecord {
  uint64_t id = 0;
  uint64_t generation = 0;  // of the configuration, when it ended
  uint16_t listener = 0;
  uint16_t upstream = 0;  // not in the plan: no route took it
  uint16_t server = 0;    // the last that was tried, if attempts > 0
  CloseCause cause = CloseCause::kNone;
  EndPhase phase = EndPhase::kReceiving;
  FirstCloser first_closer = FirstCloser::kProxy;
  uint8_t attempts = 0;
  bool redispatched = false;  // not all attempts were on one server
  PackedAddress client;       // as a PROXY header has it
  PackedAddress peer;         // of the socket, if a header said otherwise
  PackedAddress local;        // where the client connected to; none: nobody asked
  PackedAddress source;       // where we connected to the server from; the same
  uint64_t bytes_up = 0;      // client to server
  uint64_t bytes_down = 0;
  uint64_t spliced_bytes = 0;  // of both
  uint32_t unsent_bytes = 0;
  uint32_t queue_place = 0;  // 0: it was not in line
  MonotonicTime started;
  MonotonicTime ended;
  int64_t queued_us = 0;
  // After started; negative: it never was.
  int64_t connected_us = -1;
  int64_t first_byte_us = -1;
  // Open when it ended: of the process and of the listener with this one, of the upstream and of
  // the server without it.
  uint32_t process_connections = 0;
  uint32_t listener_connections = 0;
  uint32_t upstream_connections = 0;
  uint32_t server_connections = 0;
  TcpFacts client_tcp;
  TcpFacts server_tcp;
  LimitedBy limited_by = LimitedBy::kUnknown;
  LogText<100> sni;
  LogText<27> alpn;
};

// A connection that goes on.
struct StageRecord {
  enum class What : uint8_t { kOpen, kConnect, kProgress };

  What what = What::kOpen;
  uint8_t attempts = 0;
  uint16_t listener = 0;
  uint16_t upstream = 0;  // as in a ClosedRecord
  uint16_t server = 0;
  uint64_t id = 0;
  uint64_t generation = 0;
  PackedAddress client;
  uint64_t bytes_up = 0;
  uint64_t bytes_down = 0;
  MonotonicTime started;
  MonotonicTime when;
  int64_t queued_us = 0;
  int64_t connected_us = -1;
};

// Accepting has failed, and pauses.
struct AcceptTroubleRecord {
  uint16_t listener = 0;
  int error = 0;
};

// dry_run let a connection pass.
struct WouldRefuseRecord {
  uint16_t listener = 0;
  CloseCause cause = CloseCause::kNone;
  PackedAddress client;
};

// A health check has changed a server's state.
struct HealthRecord {
  bool up = false;
  uint16_t upstream = 0;
  uint16_t server = 0;
  HealthWord word = HealthWord::kUnknown;
  int error = 0;
  uint32_t in_a_row = 0;    // outcomes that brought it
  uint32_t servers_up = 0;  // of the upstream, now
  int64_t took_ns = 0;      // the last check
  MonotonicTime since;      // when the state before this one began; zero: it was only assumed
  MonotonicTime when;
  LogText<16> answer;
};

struct LogRecord {
  std::variant<ClosedRecord, StageRecord, AcceptTroubleRecord, WouldRefuseRecord, HealthRecord>
      what;
  uint16_t worker = 0;

  const ClosedRecord* closed() const { return std::get_if<ClosedRecord>(&what); }
  const StageRecord* stage() const { return std::get_if<StageRecord>(&what); }
};
static_assert(std::is_trivially_copyable_v<LogRecord>);

}  // namespace parkway

#endif  // PROXY_OBSERVE_LOG_RECORD_H_
