// Generation: one plan and what was made of it for all workers: a roster for each upstream and the
// list of health checks. Generations: makes them, one after the other.
//
//   Generations generations(plan);
//   auto next = generations.Prepare(plan);     // changes nothing for anybody
//   generations.Commit(next, now, announce);   // servers that are gone get nobody from here on
//   for each worker: worker.PostGeneration(next)
//
// What did not change is shared with the generation before: the cost of a change is that of what
// changed, and of walking the entries once.
//
// A Generation is immutable: any thread. Generations: one thread, the control thread; the balancers
// outlive all workers.
#ifndef PROXY_UPSTREAM_GENERATION_H_
#define PROXY_UPSTREAM_GENERATION_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "poller/clock.h"
#include "proxy/core/plan.h"
#include "proxy/upstream/balancer.h"
#include "proxy/upstream/health.h"
#include "proxy/upstream/roster.h"

namespace parkway {

struct Generation {
  uint64_t number = 1;  // one more than that of the one before
  std::shared_ptr<const Plan> plan;
  std::vector<std::shared_ptr<const Roster>> rosters;  // by upstream
  std::shared_ptr<const std::vector<HealthCheck>> checks;

  const Roster& roster(size_t upstream) const { return *rosters[upstream]; }
  const ListenerPlan& listener(size_t slot) const { return *plan->listeners[slot]; }
};

class Generations {
 public:
  explicit Generations(std::shared_ptr<const Plan> plan);
  Generations(const Generations&) = delete;
  Generations& operator=(const Generations&) = delete;

  const std::shared_ptr<const Generation>& current() const { return current_; }
  std::shared_ptr<const Generation> Prepare(std::shared_ptr<const Plan> plan);
  // `announce` leaves it where workers find it: between those that come and those that go, so that
  // who finds nobody any more by an older one finds somebody by this one.
  // REQUIRES: `next` was prepared last, on top of current().
  void Commit(const std::shared_ptr<const Generation>& next, MonotonicTime now,
              const std::function<void()>& announce = nullptr);

  // Before the workers run, and for balancers that are made later.
  void set_watcher(ServerWatcher* watcher);
  // By upstream.
  const std::vector<std::unique_ptr<Balancer>>& balancers() const { return balancers_; }

 private:
  std::vector<std::unique_ptr<Balancer>> balancers_;
  std::shared_ptr<const Generation> current_;
  ServerWatcher* watcher_ = nullptr;
};

}  // namespace parkway

#endif  // PROXY_UPSTREAM_GENERATION_H_
