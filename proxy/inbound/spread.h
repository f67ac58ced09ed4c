// Spread: which worker takes the next connection: the least loaded one.
//
// SO_REUSEPORT spreads blindly, and where one worker accepts for all (unix sockets) it does not
// spread at all. So the accepted descriptor is handed over before anything was made for it.
//
// Up to kLookAtAll workers all loads are read; above, those of two random ones (Mitzenmacher, "The
// Power of Two Choices", 2001). The chosen load is raised by compare-exchange from the value that
// was read: two acceptors never both put their connection on the same lowest place.
//
// Any thread.
//
// Invariants
//   1. The sum of the loads is the number of connections that were assigned and have not ended.
#ifndef PROXY_INBOUND_SPREAD_H_
#define PROXY_INBOUND_SPREAD_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace parkway {

class Spread {
 public:
  static constexpr size_t kLookAtAll = 16;

  explicit Spread(size_t workers) : workers_(workers), loads_(new Load[workers]) {}

  // Chooses a worker for a connection that `self` accepted, and counts it there. `random()` decides
  // among many. Prefers `self` among equals: a hand-over costs a wake-up.
  template <typename Random>
  size_t Choose(size_t self, Random&& random) {
    for (;;) {
      size_t best = self;
      uint32_t lowest = load(self);
      const auto consider = [&](size_t worker) {
        const uint32_t other = load(worker);
        if (other < lowest) {
          lowest = other;
          best = worker;
        }
      };
      if (workers_ <= kLookAtAll) {
        for (size_t worker = 0; worker < workers_; ++worker) consider(worker);
      } else {
        const uint64_t drawn = random();
        consider(drawn % workers_);
        consider((drawn >> 32) % workers_);
      }
      if (loads_[best].value.compare_exchange_strong(lowest, lowest + 1,
                                                     std::memory_order_relaxed)) {
        return best;
      }
    }
  }

  // Counts a connection that `self` accepted where it is.
  size_t Keep(size_t self) {
    loads_[self].value.fetch_add(1, std::memory_order_relaxed);
    return self;
  }

  // A connection of `worker` has ended.
  void Ended(size_t worker) { loads_[worker].value.fetch_sub(1, std::memory_order_relaxed); }

  uint32_t load(size_t worker) const {
    return loads_[worker].value.load(std::memory_order_relaxed);
  }

 private:
  struct alignas(64) Load {
    std::atomic<uint32_t> value{0};
  };

  const size_t workers_;
  const std::unique_ptr<Load[]> loads_;
};

}  // namespace parkway

#endif  // PROXY_INBOUND_SPREAD_H_
