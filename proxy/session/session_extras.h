// SessionExtras: what most sessions lack, so that those pay for it that have it: one block that
// hangs off a session by a pointer.
//
// ExtrasPool lends the blocks of one worker. They are cut from larger stretches and not given back
// to the allocator: the memory of a burst is the memory of the next one.
//
// Owner thread only.
#ifndef PROXY_SESSION_SESSION_EXTRAS_H_
#define PROXY_SESSION_SESSION_EXTRAS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "poller/address.h"
#include "poller/clock.h"
#include "poller/scheduler.h"
#include "proxy/session/pacer.h"

namespace parkway {

struct SessionExtras {
  // Of one direction.
  struct Way {
    Pacer pacer;
    SleepTimer sleep;  // while it is out of tokens
    // Since when the receiver takes nothing of what waits for it; zero: it does, or nothing waits.
    MonotonicTime stuck_since;
  };

  Way up;
  Way down;
  // When bytes were last read from a side's socket or written to it.
  MonotonicTime client_active;
  MonotonicTime server_active;
  // In line for a server: how long it stood there in all, since when it does now (zero: it does
  // not), and in which place it was the last time.
  int64_t queued_ns = 0;
  MonotonicTime in_line_since;
  uint32_t queue_place = 0;
  int64_t paced_ns = 0;        // asleep for tokens, in all
  uint64_t spliced_bytes = 0;  // of both directions
  PackedAddress peer;          // of the client's socket, if a PROXY header named another
  std::string sni;
  std::string alpn;
};

class ExtrasPool {
 public:
  ExtrasPool() = default;
  ExtrasPool(const ExtrasPool&) = delete;
  ExtrasPool& operator=(const ExtrasPool&) = delete;

  SessionExtras* Borrow() {
    if (free_.empty()) AddStretch();
    SessionExtras* extras = free_.back();
    free_.pop_back();
    new (extras) SessionExtras();
    ++in_use_;
    return extras;
  }
  // REQUIRES: lent by this pool.
  void Return(SessionExtras& extras) {
    extras.~SessionExtras();
    free_.push_back(&extras);
    --in_use_;
  }

  size_t in_use() const { return in_use_; }

 private:
  static constexpr size_t kPerStretch = 64;
  struct alignas(SessionExtras) Block {
    char bytes[sizeof(SessionExtras)];
  };

  void AddStretch() {
    stretches_.push_back(std::make_unique<Block[]>(kPerStretch));
    for (size_t i = 0; i < kPerStretch; ++i) {
      free_.push_back(reinterpret_cast<SessionExtras*>(&stretches_.back()[i]));
    }
  }

  std::vector<std::unique_ptr<Block[]>> stretches_;
  std::vector<SessionExtras*> free_;
  size_t in_use_ = 0;
};

}  // namespace parkway

#endif  // PROXY_SESSION_SESSION_EXTRAS_H_
