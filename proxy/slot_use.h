// SlotUse: a worker's part of giving the slots of what is gone to others: whether anything on this
// worker still refers to one.
//
//   use.Mark()                   it goes by the latest generation, in which they are gone
//   use.Ask(slots, done)         after all workers have marked
//   use.Clear(slots)             they are nobody's: what was counted of them is forgotten
//
// What may refer to a server by its slot: a session, by its last attempt, and while it is still
// being connected by any attempt before; a view that somebody has pinned; a drain; a round of the
// census. To a listener or an upstream: the same, a session always; and to a listener its socket,
// which may have somebody in its backlog still, and whom it gives to another worker. What a worker
// has put into its log or posted to another it has done before it answers. Walks for `show conns`
// and `conn kill` are not asked for here: one may begin after the answer, by the name that a slot
// has until it is vacant, so the control thread, which begins them, waits for them (SlotReaper).
//
// Owner thread only; a call of `done` too.
#ifndef PROXY_SLOT_USE_H_
#define PROXY_SLOT_USE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "proxy/census.h"
#include "proxy/core/plan.h"
#include "proxy/core/stats.h"
#include "proxy/drain.h"
#include "proxy/inbound/acceptor.h"
#include "proxy/session/session.h"
#include "proxy/upstream/views.h"

namespace parkway {

class SlotUse {
 public:
  using Slots = std::shared_ptr<const std::vector<SlotRef>>;
  using Acceptors = std::vector<std::unique_ptr<Acceptor>>;
  // One for each slot that was asked about.
  using Answer = std::function<void(std::vector<bool> used)>;

  struct Vacated {
    SlotRef slot;
    // Of a listener: one that has its name, and goes on with its numbers.
    std::optional<uint16_t> heir = std::nullopt;
  };

  // `last_session`: the number of the session that the worker made last.
  SlotUse(Census& census, Views& views, const Drains& drains, const Acceptors& acceptors,
          WorkerStats& stats, const uint64_t& last_session)
      : census_(census),
        views_(views),
        drains_(drains),
        acceptors_(acceptors),
        stats_(stats),
        last_session_(last_session) {}
  SlotUse(const SlotUse&) = delete;
  SlotUse& operator=(const SlotUse&) = delete;

  void Mark();
  // REQUIRES: `slots` were gone when all workers marked last, and still are.
  void Ask(Slots slots, Answer done);
  // REQUIRES: the view has them vacant.
  void Clear(const std::vector<Vacated>& slots);

 private:
  struct Question;
  void Visit(Question& question, const Session& session) const;
  bool IsOpen(const SlotRef& slot) const;

  Census& census_;
  Views& views_;
  const Drains& drains_;
  const Acceptors& acceptors_;
  WorkerStats& stats_;
  const uint64_t& last_session_;
  // As of the last mark: sessions after it, and views from it on, know none of the slots.
  uint64_t marked_session_ = 0;
  uint64_t marked_view_ = 0;
  std::set<uint16_t> marked_open_;  // listeners that were accepting
};

}  // namespace parkway

#endif  // PROXY_SLOT_USE_H_
