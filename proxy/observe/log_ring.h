// LogRing: what a worker has to say, on its way to the writer thread. A worker never waits for a
// log: what does not fit is counted and dropped.
//
// A ring of fixed records with one producer (the worker) and one consumer (the writer), each
// keeping its own index (Lamport, 1983). The records hold numbers, not text: formatting is the
// writer's work.
//
// Invariants
//   1. A record is read only after it was written whole.
//   2. Push never waits and makes no system call.
#ifndef PROXY_OBSERVE_LOG_RING_H_
#define PROXY_OBSERVE_LOG_RING_H_

#include <string.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "poller/address.h"
#include "poller/clock.h"
#include "proxy/core/close_cause.h"

namespace parkway {

// One ended connection, trouble with a listener, what dry_run let pass, or a server that went or
// came.
struct LogRecord {
  enum class Kind : uint8_t {
    kClosed,
    kAcceptTrouble,
    kWouldRefuse,
    // A health check has changed a server's state. `attempts` is the HealthWord, `listener` how
    // many servers of the upstream are up now, `unsent_bytes` the outcomes in a row that brought
    // it, `bytes_up` how long the last check took in ns, and `started` when the state before this
    // one began (zero: it was only assumed); text() is the answer.
    kServerUp,
    kServerDown,
  };

  Kind kind = Kind::kClosed;
  CloseCause cause = CloseCause::kNone;
  bool has_server = false;
  uint8_t attempts = 0;
  uint16_t listener = 0;
  uint16_t upstream = 0;
  uint16_t server = 0;
  uint16_t worker = 0;
  int32_t error = 0;
  uint32_t unsent_bytes = 0;
  PackedAddress client;
  uint64_t id = 0;
  uint64_t bytes_up = 0;
  uint64_t bytes_down = 0;
  MonotonicTime started;
  MonotonicTime ended;

  // The beginning of some text, where there is no connection to speak of.
  static constexpr size_t kTextBytes = 16;
  void set_text(std::string_view text) {
    char bytes[kTextBytes] = {};
    memcpy(bytes, text.data(), std::min(text.size(), kTextBytes));
    memcpy(&id, bytes, sizeof(id));
    memcpy(&bytes_down, bytes + sizeof(id), sizeof(bytes_down));
  }
  std::string text() const {
    char bytes[kTextBytes];
    memcpy(bytes, &id, sizeof(id));
    memcpy(bytes + sizeof(id), &bytes_down, sizeof(bytes_down));
    std::string text(bytes, kTextBytes);
    text.erase(text.find_last_not_of('\0') + 1);
    return text;
  }
};

class LogRing {
 public:
  static constexpr uint32_t kRecords = 4096;

  LogRing() : records_(new LogRecord[kRecords]) {}
  LogRing(const LogRing&) = delete;
  LogRing& operator=(const LogRing&) = delete;

  // The worker. False: full; the record is lost.
  bool Push(const LogRecord& record) {
    const uint32_t head = head_.load(std::memory_order_relaxed);
    if (head - tail_.load(std::memory_order_acquire) == kRecords) return false;
    records_[head % kRecords] = record;
    head_.store(head + 1, std::memory_order_release);
    return true;
  }

  // The writer. False: empty.
  bool Pop(LogRecord& record) {
    const uint32_t tail = tail_.load(std::memory_order_relaxed);
    if (tail == head_.load(std::memory_order_acquire)) return false;
    record = records_[tail % kRecords];
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

 private:
  const std::unique_ptr<LogRecord[]> records_;
  alignas(64) std::atomic<uint32_t> head_{0};  // written by the worker
  alignas(64) std::atomic<uint32_t> tail_{0};  // written by the writer
};

}  // namespace parkway

#endif  // PROXY_OBSERVE_LOG_RING_H_
