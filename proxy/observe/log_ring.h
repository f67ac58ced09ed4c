// LogRing: what a worker has to say, on its way to the writer thread. A worker never waits for a
// log: what does not fit is counted and dropped.
//
// A ring of fixed records with one producer (the worker) and one consumer (the writer), each
// keeping its own index (Lamport, 1983). The records hold numbers, not text: formatting is the
// writer's work. Memory is touched as records come.
//
// Invariants
//   1. A record is read only after it was written whole.
//   2. Push never waits and makes no system call.
#ifndef PROXY_OBSERVE_LOG_RING_H_
#define PROXY_OBSERVE_LOG_RING_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "proxy/observe/log_record.h"

namespace parkway {

class LogRing {
 public:
  static constexpr uint32_t kRecords = 4096;

  LogRing() : places_(new Place[kRecords]) {}
  LogRing(const LogRing&) = delete;
  LogRing& operator=(const LogRing&) = delete;

  // The worker. False: full; the record is lost.
  bool Push(const LogRecord& record) {
    const uint32_t head = head_.load(std::memory_order_relaxed);
    if (head - tail_.load(std::memory_order_acquire) == kRecords) return false;
    new (places_[head % kRecords].bytes) LogRecord(record);
    head_.store(head + 1, std::memory_order_release);
    return true;
  }

  // The writer. False: empty.
  bool Pop(LogRecord& record) {
    const uint32_t tail = tail_.load(std::memory_order_relaxed);
    if (tail == head_.load(std::memory_order_acquire)) return false;
    record = *std::launder(reinterpret_cast<const LogRecord*>(places_[tail % kRecords].bytes));
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

 private:
  // Left as it comes from the allocator.
  struct Place {
    Place() {}
    alignas(LogRecord) char bytes[sizeof(LogRecord)];
  };

  const std::unique_ptr<Place[]> places_;
  alignas(64) std::atomic<uint32_t> head_{0};  // written by the worker
  alignas(64) std::atomic<uint32_t> tail_{0};  // written by the writer
};

}  // namespace parkway

#endif  // PROXY_OBSERVE_LOG_RING_H_
