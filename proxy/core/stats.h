// The numbers of one worker: written by it alone, read by anybody at any time.
//
// Counters of ins and outs rather than gauges, so that a connection may enter one worker and
// leave another; what is open now is the difference. Totals advance while a connection lives.
//
// What concerns one listener, upstream or server is counted by its slot in the plan: an entry
// keeps its slot for life, so these go on from one generation to the next. Before another gets the
// slot of one that is gone, what was counted of that is cleared. Bytes are not counted
// here as they move: a session knows what it moved, and what of it has been counted; the difference
// is added when it ends, and when somebody wants to know (observe/sweep.h).
//
// The owner writes with plain relaxed stores (no locked instruction, no sharing of lines with
// other writers); readers sum over the workers.
#ifndef PROXY_CORE_STATS_H_
#define PROXY_CORE_STATS_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "proxy/core/close_cause.h"
#include "proxy/core/counter.h"
#include "proxy/core/histogram.h"
#include "proxy/core/slots.h"
#include "proxy/core/turn_times.h"

namespace parkway {

using CauseCounters = std::array<Counter, static_cast<size_t>(CloseCause::kCount)>;

// What the kernel said of connections of one side, as they ended.
struct TcpStats {
  Histogram<kShortTimes> rtt;
  Counter retransmits;
  Counter rwnd_limited_us;

  void Add(const TcpStats& other) {
    rtt.Add(other.rtt);
    retransmits.Add(other.retransmits.value());
    rwnd_limited_us.Add(other.rwnd_limited_us.value());
  }
  void Clear() {
    rtt.Clear();
    retransmits.Set(0);
    rwnd_limited_us.Set(0);
  }
};

// Connections of one listener that ended, by cause, for each upstream: a list, for there is seldom
// more than one. The owner adds, anybody reads.
class ClosedStats {
 public:
  // No slot has these numbers.
  static constexpr uint16_t kNoUpstream = UINT16_MAX;
  static constexpr uint16_t kNobody = UINT16_MAX - 1;

  struct Cell {
    explicit Cell(uint16_t of) : upstream(of) {}
    std::atomic<uint16_t> upstream;  // slot, kNoUpstream, or kNobody: all are zero
    CauseCounters causes;
    std::atomic<Cell*> next{nullptr};
  };

  ClosedStats() = default;
  ~ClosedStats() {
    for (Cell* cell = first_.load(std::memory_order_relaxed); cell != nullptr;) {
      Cell* next = cell->next.load(std::memory_order_relaxed);
      delete cell;
      cell = next;
    }
  }
  ClosedStats(const ClosedStats&) = delete;
  ClosedStats& operator=(const ClosedStats&) = delete;

  void Add(uint16_t upstream, CloseCause cause) {
    CellOf(upstream).causes[static_cast<size_t>(cause)].Add(1);
  }

  // The slot is another upstream's from now on: what was counted of it counts as of none.
  void Forget(uint16_t upstream) {
    Cell* cell = Find(upstream);
    if (cell == nullptr) return;
    MoveTo(*cell, CellOf(kNoUpstream));
  }

  // What was counted here has been counted by `heir`, if there is one.
  void Clear(ClosedStats* heir) {
    for (Cell* cell = first_.load(std::memory_order_relaxed); cell != nullptr;
         cell = cell->next.load(std::memory_order_relaxed)) {
      const uint16_t upstream = cell->upstream.load(std::memory_order_relaxed);
      if (upstream == kNobody) continue;
      if (heir != nullptr) {
        MoveTo(*cell, heir->CellOf(upstream));
      } else {
        Zero(*cell);
      }
    }
  }

  // Any thread.
  const Cell* first() const { return first_.load(std::memory_order_acquire); }
  static const Cell* After(const Cell& cell) { return cell.next.load(std::memory_order_acquire); }

 private:
  Cell* Find(uint16_t upstream) const {
    Cell* cell = first_.load(std::memory_order_relaxed);
    while (cell != nullptr && cell->upstream.load(std::memory_order_relaxed) != upstream) {
      cell = cell->next.load(std::memory_order_relaxed);
    }
    return cell;
  }

  Cell& CellOf(uint16_t upstream) {
    Cell* cell = Find(upstream);
    if (cell != nullptr) return *cell;
    cell = Find(kNobody);
    if (cell != nullptr) {
      cell->upstream.store(upstream, std::memory_order_relaxed);
      return *cell;
    }
    std::atomic<Cell*>* link = &first_;
    while (Cell* next = link->load(std::memory_order_relaxed)) link = &next->next;
    cell = new Cell(upstream);
    link->store(cell, std::memory_order_release);
    return *cell;
  }

  static void MoveTo(Cell& cell, Cell& heir) {
    for (size_t i = 0; i < cell.causes.size(); ++i) heir.causes[i].Add(cell.causes[i].value());
    Zero(cell);
  }
  static void Zero(Cell& cell) {
    for (Counter& cause : cell.causes) cause.Set(0);
    cell.upstream.store(kNobody, std::memory_order_relaxed);
  }

  std::atomic<Cell*> first_{nullptr};
};

struct ListenerStats {
  Counter held;      // 1: accepts nobody, by the operator's word
  Counter accepted;  // by this worker, given to another or not
  Counter begun;     // sessions
  Counter ended;
  Counter bytes_received;  // from clients
  Counter bytes_sent;      // to clients
  ClosedStats closed;      // including those for which no session was made
  Histogram<kLongTimes> duration;
  TcpStats tcp;

  // The writer: the slot is another listener's from now on. `heir`: one that has its name, and goes
  // on with its numbers; or null.
  void Clear(ListenerStats* heir) {
    for (Counter ListenerStats::*counter :
         {&ListenerStats::accepted, &ListenerStats::begun, &ListenerStats::ended,
          &ListenerStats::bytes_received, &ListenerStats::bytes_sent}) {
      if (heir != nullptr) (heir->*counter).Add((this->*counter).value());
      (this->*counter).Set(0);
    }
    held.Set(0);
    closed.Clear(heir == nullptr ? nullptr : &heir->closed);
    if (heir != nullptr) heir->duration.Add(duration);
    duration.Clear();
    if (heir != nullptr) heir->tcp.Add(tcp);
    tcp.Clear();
  }
};
// Whoever adds one clears it above.
static_assert(sizeof(ListenerStats) == sizeof(Counter) * 6 + sizeof(ClosedStats) +
                                           sizeof(Histogram<kLongTimes>) + sizeof(TcpStats));

struct ServerStats {
  Counter connected;
  Counter attempts;
  std::array<Counter, kConnectErrors.size()> errors;
  Histogram<kShortTimes> connect_time;
  Counter bytes_received;  // from the server
  Counter bytes_sent;      // to the server
  TcpStats tcp;
  Counter ejections;
  // Of the worker that checks it; the others have zeros.
  Counter checks_passed;
  Counter checks_failed;
  Counter last_check;        // HealthWord
  Counter last_check_us;     // that it took
  Counter last_check_at_ns;  // MonotonicTime
  Counter transitions;
  Counter last_transition_at_ns;

  // The writer: the slot is another server's from now on.
  void Clear() {
    for (Counter* counter : {&connected, &attempts, &bytes_received, &bytes_sent, &ejections,
                             &checks_passed, &checks_failed, &last_check, &last_check_us,
                             &last_check_at_ns, &transitions, &last_transition_at_ns}) {
      counter->Set(0);
    }
    for (Counter& error : errors) error.Set(0);
    connect_time.Clear();
    tcp.Clear();
  }
};
// Whoever adds one clears it above.
static_assert(sizeof(ServerStats) == sizeof(Counter) * (12 + kConnectErrors.size()) +
                                         sizeof(Histogram<kShortTimes>) + sizeof(TcpStats));

struct UpstreamStats {
  Counter begun;   // connections that are to get one of its servers
  Counter ended;   // of them
  Counter queued;  // connections that had to wait for a server to have room
  Histogram<kShortTimes> queue_time;
  Counter retries;       // attempts after a failed one
  Counter redispatches;  // of them: on another server
  Slots<ServerStats> servers;

  // The writer: the slot is another upstream's from now on. Those of its servers are nobody's.
  void Clear() {
    for (Counter* counter : {&begun, &ended, &queued, &retries, &redispatches}) counter->Set(0);
    queue_time.Clear();
  }
};
// Whoever adds one clears it above.
static_assert(sizeof(UpstreamStats) ==
              sizeof(Counter) * 5 + sizeof(Histogram<kShortTimes>) + sizeof(Slots<ServerStats>));

struct alignas(64) WorkerStats {
  static constexpr size_t kErrnos = 134;

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
  CauseCounters closed;

  Slots<ListenerStats> listeners;
  Slots<UpstreamStats> upstreams;
  std::array<Counter, kErrnos> accept_errors_by_errno;  // those above the last count in it
  // From the moment a message was posted to this worker until it was taken up.
  Histogram<kShortTimes> loop_lag;
  TurnTimes turns;

  // Gauges, refreshed by the worker once a turn at most.
  Counter descriptors;
  Counter stacks;
  Counter stacks_peak;
  Counter buffers;
  Counter buffer_bytes;
  Counter pipes;
  Counter splice_bytes;  // moved through them
  Counter timers;

  void CountAcceptError(int error) {
    accept_errors.Add(1);
    const auto place = std::min(static_cast<size_t>(error), kErrnos - 1);
    accept_errors_by_errno[place].Add(1);
  }
  ServerStats& server(uint16_t upstream, uint16_t server) {
    return upstreams.At(upstream).servers.At(server);
  }
};

}  // namespace parkway

#endif  // PROXY_CORE_STATS_H_
