// DrainDesk: the drains of the process: begun on all workers, watched, and told of.
//
//   uint64_t id = desk.Begin("25 % of all", order);
//   desk.FollowRemovals(*before, now);       // on_remove of servers and listeners
//   desk.List()
//
// One that is over is remembered for a minute, so that who waits for it hears of it.
//
// Control thread only.
#ifndef PROXY_DRAIN_DESK_H_
#define PROXY_DRAIN_DESK_H_

#include <cstdint>
#include <list>
#include <memory>
#include <string>
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

  // Both outlive this.
  DrainDesk(Scheduler& scheduler, const Workers& workers)
      : scheduler_(scheduler), workers_(workers) {}
  DrainDesk(const DrainDesk&) = delete;
  DrainDesk& operator=(const DrainDesk&) = delete;

  uint64_t Begin(std::string what, const DrainOrder& order);
  // Of the whole process, those that are there now.
  Outcome BeginPercent(const Control::Drain& wanted);
  // Of a server by its name, or of all servers that are one of a name's addresses.
  Outcome BeginServer(const Plan& plan, const std::string& upstream, const std::string& server,
                      absl::Duration over);
  // What a later generation has no more, as its on_remove says.
  void FollowRemovals(const Plan& before, const Generation& next);

  // Youngest last.
  std::vector<DrainProgress> List();
  // Of one; all zero: it is not known.
  DrainProgress Find(uint64_t id);

 private:
  struct Entry {
    uint64_t id;
    std::string what;
    std::shared_ptr<DrainTally> tally;
    MonotonicTime begun;
    MonotonicTime ended;  // zero: not yet
    absl::Duration over;
  };

  // Forgets those that have been over for long.
  void Look();

  Scheduler& scheduler_;
  const Workers& workers_;
  std::list<Entry> entries_;
  uint64_t last_id_ = 0;
};

}  // namespace parkway

#endif  // PROXY_DRAIN_DESK_H_
