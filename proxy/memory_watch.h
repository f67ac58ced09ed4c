// MemoryWatch: keeps the process within memory_limit: at 90 % of it nobody is let in until there is
// less, at 95 % those that have been idle longest are ended, a twentieth each second: it takes that
// long until what they leave is given back.
//
//   MemoryWatch watch(host);
//   watch.Look(limit);           // again and again, each kEvery; 0: there is no limit
//
// What counts is memory of the process that is no file's: what the kernel takes for its sockets and
// pipes is not known by process.
//
// Control thread only.
#ifndef PROXY_MEMORY_WATCH_H_
#define PROXY_MEMORY_WATCH_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "absl/time/time.h"

namespace parkway {

class MemoryWatch {
 public:
  static constexpr absl::Duration kEvery = absl::Milliseconds(100);
  static constexpr int kLooksPerShed = 10;
  static constexpr uint64_t kHoldPercent = 90;
  static constexpr uint64_t kShedPercent = 95;

  struct Host {
    std::function<uint64_t()> used_bytes;
    // Nobody is let in; or they are again. Said at each look while it holds.
    std::function<void(bool hold)> hold;
    // Ends those that have been idle longest; nothing, if those of the last time are not over yet.
    std::function<void()> shed;
    std::function<void(std::string line)> say;
  };

  explicit MemoryWatch(Host host) : host_(std::move(host)) {}
  MemoryWatch(const MemoryWatch&) = delete;
  MemoryWatch& operator=(const MemoryWatch&) = delete;

  void Look(uint64_t limit_bytes);

  uint64_t limit_bytes() const { return limit_bytes_; }
  uint64_t used_bytes() const { return used_bytes_; }  // at the last look
  bool holds() const { return holds_; }
  uint64_t pauses() const { return pauses_; }  // times that it began to hold

 private:
  const Host host_;
  uint64_t limit_bytes_ = 0;
  uint64_t used_bytes_ = 0;
  uint64_t pauses_ = 0;
  int looks_until_shed_ = 0;
  bool holds_ = false;
};

}  // namespace parkway

#endif  // PROXY_MEMORY_WATCH_H_
