// Balancer: which server of an upstream gets the next connection. Round robin over the list, one
// turn for the whole process.
//
// Any thread.
#ifndef PROXY_UPSTREAM_BALANCER_H_
#define PROXY_UPSTREAM_BALANCER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace parkway {

class Balancer {
 public:
  explicit Balancer(size_t upstreams) : turns_(new std::atomic<uint32_t>[upstreams]()) {}

  // Where to begin; further attempts of the same connection go on from there, each to the next.
  size_t Next(size_t upstream, size_t servers) {
    return turns_[upstream].fetch_add(1, std::memory_order_relaxed) % servers;
  }

 private:
  const std::unique_ptr<std::atomic<uint32_t>[]> turns_;
};

}  // namespace parkway

#endif  // PROXY_UPSTREAM_BALANCER_H_
