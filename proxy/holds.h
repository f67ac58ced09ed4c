// Holds: which listeners pause: those that an operator has paused, by name, and all of them while a
// signal says so. Clients wait in the backlog meanwhile.
//
//   Holds holds(workers, current_plan);
//   holds.Hold("web");  holds.HoldAll(true);
//   holds.Apply();                       // after listeners have come
//   holds.Follow();                      // after some have gone: those are not paused any more
//
// Control thread only.
#ifndef PROXY_HOLDS_H_
#define PROXY_HOLDS_H_

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "proxy/control.h"
#include "proxy/core/plan.h"
#include "proxy/worker.h"

namespace parkway {

class Holds {
 public:
  using Workers = std::vector<std::unique_ptr<Worker>>;

  // `workers` outlives this.
  Holds(const Workers& workers, std::function<std::shared_ptr<const Plan>()> plan)
      : workers_(workers), plan_(std::move(plan)) {}
  Holds(const Holds&) = delete;
  Holds& operator=(const Holds&) = delete;

  // All addresses of a listener.
  Outcome Hold(const std::string& name);
  Outcome Release(const std::string& name);
  // By a signal; those that an operator has paused are his.
  void HoldAll(bool hold);
  // What an operator has paused accepts again; told at the next Apply.
  void Forget() { named_.clear(); }
  // Forgets the names of which there is no listener any more: one that comes later is another.
  void Follow();
  // Tells the workers.
  void Apply() const;

  bool holds(const std::string& name) const { return all_ || named_.contains(name); }
  const std::set<std::string>& named() const { return named_; }

 private:
  bool IsThere(const std::string& name) const;

  const Workers& workers_;
  const std::function<std::shared_ptr<const Plan>()> plan_;
  std::set<std::string> named_;
  bool all_ = false;
};

}  // namespace parkway

#endif  // PROXY_HOLDS_H_
