// Planner: what plans are made of, and the making of them: the configuration, the members of
// upstreams that names and files stand for, and what an operator changed at run time.
//
//   Planner planner(facts, ephemeral);
//   Planner::Draft draft = planner.Configure(snapshot);   // changes nothing
//   if (draft.plan != nullptr) planner.Accept(draft);
//   plan = planner.Remake(&error);       // after an answer of DNS, say
//   plan = planner.Vacate(slots); ... planner.Free(slots);   // of what is gone
//
// An entry keeps its slot as long as it is the same one: a listener by its name and address, an
// upstream by its name, a server by the names of its upstream and its own (a member by
// "NAME/ADDRESS"). What a plan does not change it shares with the one before.
//
// The control thread.
//
// Invariants
//   1. Two plans in a row have the same entry, by pointer, wherever nothing about it has changed.
//   2. A slot is not given to another entry, but for one that was vacated, and freed after that.
#ifndef PROXY_PLANNER_H_
#define PROXY_PLANNER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "config/snapshot.h"
#include "proxy/core/plan.h"
#include "proxy/overrides.h"
#include "proxy/system/facts.h"

namespace parkway {

class Planner {
 public:
  // The servers that stand behind the lines of an upstream now (proxy/members.h).
  using ServersOf = std::function<std::vector<config::Server>(const config::Upstream&)>;

  Planner(config::SystemFacts facts, PortRange ephemeral)
      : facts_(std::move(facts)), ephemeral_(ephemeral) {}
  Planner(const Planner&) = delete;
  Planner& operator=(const Planner&) = delete;

  struct Draft {
    std::shared_ptr<const config::Snapshot> snapshot;
    std::shared_ptr<const Plan> plan;  // null: there can be none
    std::string error;                 // why not
    Overrides overrides;               // what of the changes at run time still holds
  };
  // Before the first plan, or those of the lines count.
  void set_servers_of(ServersOf servers_of) { servers_of_ = std::move(servers_of); }
  // The lines of its servers_file as they are now; else those that the configuration was loaded
  // with count.
  void set_file_servers_of(ServersOf lines_of) { file_servers_of_ = std::move(lines_of); }

  // `reset_runtime`: what was changed at run time is to be forgotten.
  Draft Configure(std::shared_ptr<const config::Snapshot> snapshot, bool reset_runtime = false);
  // REQUIRES: it was the last one made, and has a plan.
  void Accept(const Draft& draft);

  // The plan that follows from what is known now; accepted at once. Equal to current() by pointer
  // if nothing has changed; then also `error` may say why there can be no other.
  std::shared_ptr<const Plan> Remake(std::string* error);

  // The plan in which these, as far as they are gone, are nobody's; accepted at once. What comes
  // with the same name gets another slot. REQUIRES: nobody refers to them; the servers of an
  // upstream are vacant already.
  std::shared_ptr<const Plan> Vacate(const std::vector<SlotRef>& slots);
  // Those that were vacated may be given to others: all that was known by them is forgotten.
  void Free(const std::vector<SlotRef>& slots) { free_.insert(slots.begin(), slots.end()); }

  // Changes what an operator changes at run time, and makes the plan that follows. `change` gets
  // the upstream as in the file, and the servers that stand behind it now; what it returns is what
  // is wrong, and then nothing is changed. Empty: done.
  using ChangeServers = std::function<std::string(Overrides& overrides, const config::Upstream& in,
                                                  const Overrides::Members& members)>;
  std::string Change(const std::string& upstream, const ChangeServers& change);
  const Overrides& overrides() const { return overrides_; }

  const std::shared_ptr<const Plan>& current() const { return current_; }
  const std::shared_ptr<const config::Snapshot>& snapshot() const { return snapshot_; }
  // The same, with the lines of each servers_file as they are now.
  config::Snapshot SnapshotAsNow() const;

 private:
  std::shared_ptr<const Plan> Make(const config::Snapshot& snapshot, const Overrides& overrides,
                                   uint64_t generation, std::string* error);
  config::Upstream AsNow(const config::Upstream& upstream) const;
  // With the servers that stand behind it.
  config::Upstream Expanded(const config::Upstream& upstream, const Overrides& overrides) const;
  void AddUpstreams(const config::Snapshot& snapshot, const Overrides& overrides, Plan& plan,
                    std::vector<size_t>& slots);
  std::shared_ptr<const UpstreamPlan> UpstreamIn(size_t slot, const config::Upstream& upstream,
                                                 const std::shared_ptr<const UpstreamPlan>& before);
  void SetCurrent(std::shared_ptr<const Plan> plan);
  void AddListeners(const config::Snapshot& snapshot, const std::vector<size_t>& upstream_slots,
                    Plan& plan);
  std::shared_ptr<ListenerLimits> LimitsOf(const ListenerPlan& listener);

  const config::SystemFacts facts_;
  const PortRange ephemeral_;
  std::shared_ptr<const config::Snapshot> snapshot_;
  Overrides overrides_;
  ServersOf servers_of_;
  ServersOf file_servers_of_;
  std::map<std::string, std::shared_ptr<ListenerLimits>> limits_;  // by listener
  std::shared_ptr<const Plan> current_;
  std::set<SlotRef> free_;  // vacant in current_
};

}  // namespace parkway

#endif  // PROXY_PLANNER_H_
