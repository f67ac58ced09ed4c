// The numbers of one worker: written by it alone, read by anybody at any time.
//
// Counters of ins and outs rather than gauges, so that a connection may enter one worker and
// leave another; what is open now is the difference. Totals advance while a connection lives.
//
// The owner writes with plain relaxed stores (no locked instruction, no sharing of lines with
// other writers); readers sum over the workers.
#ifndef PROXY_CORE_STATS_H_
#define PROXY_CORE_STATS_H_

#include <array>
#include <cstdint>

#include "proxy/core/close_cause.h"
#include "proxy/core/counter.h"

namespace parkway {

struct alignas(64) WorkerStats {
  Counter accepted;      // connections taken from a listener by this worker
  Counter sessions_in;   // sessions begun or received
  Counter sessions_out;  // sessions ended or handed on
  Counter handed_over;   // accepted here, given to a less loaded worker
  Counter bytes_up;      // client to server, taken by the kernel
  Counter bytes_down;    // server to client
  Counter bytes_unsent;  // read, and dropped because the receiver was gone
  Counter connect_attempts;
  Counter connect_failures;
  Counter queued;         // connections that had to wait for a server to have room
  Counter accept_pauses;  // out of descriptors or at a limit
  Counter accept_errors;
  Counter log_dropped;  // log lines that did not fit the ring
  std::array<Counter, static_cast<size_t>(CloseCause::kCount)> closed;

  // Gauges, refreshed by the worker once a turn at most.
  Counter descriptors;
  Counter stacks;
  Counter stacks_peak;
  Counter buffers;
  Counter buffer_bytes;
  Counter pipes;
  Counter timers;
};

}  // namespace parkway

#endif  // PROXY_CORE_STATS_H_
