// Drains: a worker's part of paced drains: connections end one after the other, evenly over a time,
// those that have been idle longest first, so that clients come back a few at a time.
//
//   drains.Begin(order)      order: which, how many of them, over how long, why
//   drains.Stop()            they end nobody any more; done() soon
//
// Each worker paces its own: the next one ends after (time left / connections left), give or take a
// quarter, the last one when the time is over. Who says something meanwhile goes to the end of the
// line; who ends by itself makes the others' time longer. Who is busy or being connected is spared
// for the first half of the time: most of those are done by then. Sessions are looked through in
// slices, as a background task, at the beginning and again each sixteenth of the time that is left.
//
// Owner thread only, but for done(). DrainTally: any.
//
// Invariants
//   1. Nobody who is to be ended is left when the time is over, and nobody is ended after Stop.
//   2. Between two polls at most kSlice sessions are visited.
#ifndef PROXY_DRAIN_H_
#define PROXY_DRAIN_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <random>
#include <vector>

#include "absl/time/time.h"
#include "poller/scheduler.h"
#include "proxy/core/close_cause.h"
#include "proxy/core/plan.h"
#include "proxy/session/session.h"
#include "proxy/session/session_pool.h"
#include "proxy/upstream/views.h"

namespace parkway {

// How far all workers are; written by them, read by anybody.
struct DrainTally {
  // How many of the `found` of a worker are to end, once each worker: of all that the workers
  // found `percent` together, rounded up, whoever is asked first.
  uint32_t ShareOf(uint32_t found, uint32_t percent) {
    const auto part = [percent](uint64_t of) { return (of * percent + 99) / 100; };
    const uint64_t before = seen.fetch_add(found, std::memory_order_relaxed);
    return static_cast<uint32_t>(part(before + found) - part(before));
  }

  std::atomic<uint64_t> seen{0};   // by those that have looked
  std::atomic<uint32_t> total{0};  // that it began with
  std::atomic<uint32_t> left{0};
  std::atomic<uint32_t> counted{0};  // workers that have looked
  std::atomic<uint32_t> ended{0};    // workers that are done
  std::atomic<bool> cancelled{false};
};

struct DrainOrder {
  enum class Whom : uint8_t {
    kAll,
    kListeners,  // by slots
    kServer,
    kBackups,  // those on servers of `upstream` of a lower rank than `server`
  };

  Whom whom = Whom::kAll;
  std::vector<uint16_t> listeners;
  uint16_t upstream = 0;
  uint16_t server = 0;
  uint32_t percent = 100;
  bool later = true;    // also those that come after it has begun; else it is over without them
  absl::Duration over;  // zero: at once
  CloseCause cause = CloseCause::kDrain;
  std::shared_ptr<DrainTally> tally = std::make_shared<DrainTally>();
};

class Drains {
 public:
  static constexpr size_t kSlice = 1024;

  Drains(Scheduler& scheduler, SessionPool& sessions, const Views& views, uint64_t seed);
  ~Drains();
  Drains(const Drains&) = delete;
  Drains& operator=(const Drains&) = delete;

  void Begin(const DrainOrder& order);
  void Stop();
  // Whether one that runs is about the connections of this server, or of those of a lower rank, of
  // this upstream, or of this listener.
  bool Names(const SlotRef& slot) const;
  // Any thread. Whether none runs.
  bool done() const { return live_.load(std::memory_order_acquire) == 0; }

 private:
  class Drain;

  Scheduler& scheduler_;
  SessionPool& sessions_;
  const Views& views_;
  std::mt19937_64 random_;
  std::list<std::unique_ptr<Drain>> running_;
  std::atomic<uint32_t> live_{0};
  bool stopped_ = false;
};

}  // namespace parkway

#endif  // PROXY_DRAIN_H_
