// The limits of one listener, and what stands against them now: shared by its addresses, by all
// workers, and by all generations of the configuration.
//
// Any thread. What was counted is given back by who counted it, whatever the limits have become
// meanwhile.
#ifndef PROXY_INBOUND_LISTENER_LIMITS_H_
#define PROXY_INBOUND_LISTENER_LIMITS_H_

#include <atomic>
#include <cstdint>

#include "proxy/core/plan.h"
#include "proxy/inbound/limits.h"
#include "proxy/inbound/source_limits.h"

namespace parkway {

struct ListenerLimits {
  explicit ListenerLimits(const ListenerNumbers& numbers)
      : connections(Most(numbers)),
        rate(numbers.accept_rate),
        sources(numbers.max_connections_per_source, numbers.accept_rate_per_source) {
    Set(numbers);
  }

  // For connections that come from now on. Several may set the same numbers.
  void Set(const ListenerNumbers& numbers) {
    connections.Set(Most(numbers));
    rate.Set(numbers.accept_rate);
    sources.Set(numbers.max_connections_per_source, numbers.accept_rate_per_source);
    reject.store(numbers.reject, std::memory_order_relaxed);
    dry_run.store(numbers.dry_run, std::memory_order_relaxed);
    counts.store(numbers.max_connections != 0 || numbers.accept_rate != 0,
                 std::memory_order_relaxed);
  }
  // Whether the connections of the listener are counted; else nothing of it costs anything.
  bool counting() const { return counts.load(std::memory_order_relaxed); }
  bool limits_sources() const { return sources.limits_connections() || sources.limits_rate(); }

  ConnectionLimit connections;
  TokenBucket rate;
  SourceLimits sources;
  std::atomic<bool> reject{false};
  std::atomic<bool> dry_run{false};
  std::atomic<bool> counts{false};

 private:
  static uint32_t Most(const ListenerNumbers& numbers) {
    return numbers.max_connections == 0 ? UINT32_MAX : numbers.max_connections;
  }
};

}  // namespace parkway

#endif  // PROXY_INBOUND_LISTENER_LIMITS_H_
