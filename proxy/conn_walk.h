// ConnWalks: a worker's part of `show conns` and `conn kill`: goes through its sessions in slices,
// and sends what fits to the control thread, or ends it.
//
// A walk is a background task: one slice a turn, so that whoever has work to do comes in between.
// When a batch of rows is full it sleeps until it is asked for more. Sessions that begin or end
// meanwhile may be in the answer or not; no session is in it twice.
//
// Owner thread only.
//
// Invariants
//   1. Between two polls a walk visits at most kSlice sessions, and asks the kernel of at most
//      kBatch and what one slab more has of them.
//   2. At most one batch is under way and not yet asked to go on from.
#ifndef PROXY_CONN_WALK_H_
#define PROXY_CONN_WALK_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <vector>

#include "poller/scheduler.h"
#include "poller/task.h"
#include "proxy/inbound/access_list.h"
#include "proxy/observe/conn_row.h"
#include "proxy/session/session.h"
#include "proxy/session/session_pool.h"

namespace parkway {

// A question in the terms of a worker. Immutable: shared by all of them.
struct ConnOrder {
  std::optional<uint64_t> id;
  std::optional<AccessList> source;  // kAllow: it fits
  // Slots; nothing: any.
  std::optional<std::vector<uint16_t>> listeners;
  std::optional<std::vector<uint16_t>> upstreams;
  std::optional<std::vector<uint16_t>> servers;  // of the one upstream
  int64_t idle_ns = 0;
  int64_t age_ns = 0;
  uint64_t bytes = 0;
  std::optional<ConnRow::State> state;
  bool addresses = false;
  bool kill = false;  // no rows: each is reset
};

class ConnWalks {
 public:
  // Of one walk: what it found since the last call, on the worker's thread. `last`: it is over.
  struct Found {
    std::vector<ConnRow> rows;
    uint64_t killed = 0;
    bool last = false;
  };
  using OnFound = std::function<void(Found)>;

  static constexpr size_t kSlice = 1024;
  static constexpr size_t kBatch = 64;

  ConnWalks(Scheduler& scheduler, SessionPool& sessions, uint32_t worker);
  ~ConnWalks();
  ConnWalks(const ConnWalks&) = delete;
  ConnWalks& operator=(const ConnWalks&) = delete;

  // `number` names the walk, for the calls below; unique among those under way.
  void Begin(uint64_t number, std::shared_ptr<const ConnOrder> order, OnFound on_found);
  // It sleeps behind a batch: on with the next.
  void GoOn(uint64_t number);
  // Nobody wants the rest; `on_found` is not called any more.
  void End(uint64_t number);

 private:
  class Walk;

  Walk* Find(uint64_t number);
  // This deletes it.
  void Over(Walk& walk);

  Scheduler& scheduler_;
  SessionPool& sessions_;
  const uint32_t worker_;
  std::list<std::unique_ptr<Walk>> walks_;
};

}  // namespace parkway

#endif  // PROXY_CONN_WALK_H_
