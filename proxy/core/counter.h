// Counter: a number with one writer, read by anybody at any time.
//
// The owner writes with plain relaxed stores: no locked instruction.
#ifndef PROXY_CORE_COUNTER_H_
#define PROXY_CORE_COUNTER_H_

#include <atomic>
#include <cstdint>

namespace parkway {

class Counter {
 public:
  void Add(uint64_t n) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  void Set(uint64_t n) { value_.store(n, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

}  // namespace parkway

#endif  // PROXY_CORE_COUNTER_H_
