// DrainDesk: the drains of the process: begun on all workers, watched, and told of.
//
//   uint64_t id = desk.Begin("25 % of all", order);
//   desk.FollowChanges(*before, now);        // on_remove of servers and listeners
//   desk.BeginForHealth(*now, order);        // on_down and on_up
//   desk.Watch("stop", 17, sessions);        // nobody is ended, but it is told of like the others
//   desk.List()
//
// What takes connections again is not drained any more: a server that is back, or that an operator
// has made ready, or a listener that is there again, keeps who comes, and who is still there. And
// backups keep theirs when the server that they stood back for takes nobody.
//
// One that is over is remembered for a minute, so that who waits for it hears of it; but not more
// than some hundreds, the youngest.
//
// Control thread only.
#ifndef PROXY_DRAIN_DESK_H_
#define PROXY_DRAIN_DESK_H_

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "poller/clock.h"
#include "poller/scheduler.h"
#include "proxy/control.h"
#include "proxy/core/plan.h"
#include "proxy/drain.h"
#include "proxy/upstream/generation.h"
#include "proxy/worker.h"

namespace parkway {

class DrainDesk {
 public:
  using Workers = std::vector<std::unique_ptr<Worker>>;

  // What that of the end of the process is called.
  static constexpr char kStop[] = "stop";

  // Called before workers hear of an order that refers to this server.
  using OnUse = std::function<void(const SlotRef&)>;

  // Both outlive this.
  DrainDesk(Scheduler& scheduler, const Workers& workers, OnUse on_use)
      : scheduler_(scheduler), workers_(workers), on_use_(std::move(on_use)) {}
  DrainDesk(const DrainDesk&) = delete;
  DrainDesk& operator=(const DrainDesk&) = delete;

  uint64_t Begin(std::string what, const DrainOrder& order);
  // Of the whole process, those that are there now.
  Outcome BeginPercent(const Control::Drain& wanted);
  // Of a server by its name, or of all servers that are one of a name's addresses.
  Outcome BeginServer(const Plan& plan, const std::string& upstream, const std::string& server,
                      absl::Duration over);
  // What a later generation has no more, as its on_remove says; and what it has again.
  void FollowChanges(const Plan& before, const Generation& next);

  // What a health check has changed, as on_down and on_up say: an order of a worker.
  void BeginForHealth(const Plan& plan, const DrainOrder& order);
  // `total` connections that go when they like; until the process ends.
  uint64_t Watch(std::string what, uint32_t total, std::function<uint32_t()> left);

  // Youngest last.
  std::vector<DrainProgress> List();
  // Of one; all zero: it is not known.
  DrainProgress Find(uint64_t id);

 private:
  struct Entry {
    uint64_t id;
    std::string what;
    DrainOrder order;
    MonotonicTime begun;
    MonotonicTime ended;             // zero: not yet
    std::function<uint32_t()> left;  // of one that is only watched
  };

  static bool IsOver(const DrainOrder& order, const Plan& before, const Plan& now);
  void BeginRemovals(const Plan& before, const Generation& next);
  DrainProgress ProgressOf(const Entry& entry) const;

  // Forgets those that have been over for long.
  void Look();

  Scheduler& scheduler_;
  const Workers& workers_;
  const OnUse on_use_;
  std::list<Entry> entries_;
  uint64_t last_id_ = 0;
  MonotonicTime next_look_;
};

}  // namespace parkway

#endif  // PROXY_DRAIN_DESK_H_
