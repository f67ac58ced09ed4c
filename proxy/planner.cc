#include "proxy/planner.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "proxy/inbound/front.h"
#include "proxy/inbound/listener_limits.h"
#include "proxy/plan_of.h"

namespace parkway {

namespace {

// A session knows a slot by 16 bits; the last two numbers are nobody's (core/stats.h).
constexpr size_t kMostSlots = 65534;

std::string KeyOf(const ListenerPlan& listener) {
  return absl::StrCat(listener.name, "\n", listener.address.ToString());
}

// The same entry again if nothing about it has changed.
template <typename Entry>
std::shared_ptr<const Entry> Shared(Entry made, const std::shared_ptr<const Entry>& before) {
  if (before != nullptr && made == *before) return before;
  return std::make_shared<const Entry>(std::move(made));
}

template <typename Entry>
std::shared_ptr<const Entry> Gone(const std::shared_ptr<const Entry>& entry) {
  if (entry->gone) return entry;
  auto gone = std::make_shared<Entry>(*entry);
  gone->gone = true;
  return gone;
}

// One of which no server is left either.
std::shared_ptr<const UpstreamPlan> GoneWhole(const std::shared_ptr<const UpstreamPlan>& entry) {
  if (entry->gone) return entry;
  auto gone = std::make_shared<UpstreamPlan>(*entry);
  gone->gone = true;
  gone->order.clear();
  for (ServerPlan& server : gone->servers) server.gone = true;
  return gone;
}

bool IsGone(const Plan& plan, const SlotRef& ref) {
  switch (ref.kind) {
    case SlotRef::Kind::kServer:
      return plan.upstreams[ref.slot]->servers[ref.server].gone;
    case SlotRef::Kind::kUpstream:
      return plan.upstreams[ref.slot]->gone;
    case SlotRef::Kind::kListener:
      return plan.listeners[ref.slot]->gone;
  }
  return false;
}

bool IsVacant(const Plan& plan, const SlotRef& ref) {
  switch (ref.kind) {
    case SlotRef::Kind::kServer:
      return plan.upstreams[ref.slot]->servers[ref.server].vacant();
    case SlotRef::Kind::kUpstream:
      return plan.upstreams[ref.slot]->vacant();
    case SlotRef::Kind::kListener:
      return plan.listeners[ref.slot]->vacant();
  }
  return false;
}

// The slots that are free, one after the other.
class FreeSlots {
 public:
  // Of servers: those of one upstream.
  FreeSlots(const std::set<SlotRef>& free, SlotRef::Kind kind, size_t upstream = 0)
      : upstream_(static_cast<uint16_t>(upstream)),
        at_(free.lower_bound({.kind = kind, .slot = upstream_})),
        end_(free.upper_bound({.kind = kind, .slot = LastOf(kind, upstream_), .server = kMax})) {}

  std::optional<size_t> Next() {
    if (at_ == end_) return std::nullopt;
    const SlotRef& ref = *at_++;
    return ref.kind == SlotRef::Kind::kServer ? ref.server : ref.slot;
  }

 private:
  static constexpr uint16_t kMax = UINT16_MAX;
  static uint16_t LastOf(SlotRef::Kind kind, uint16_t upstream) {
    return kind == SlotRef::Kind::kServer ? upstream : kMax;
  }

  const uint16_t upstream_;
  std::set<SlotRef>::const_iterator at_;
  const std::set<SlotRef>::const_iterator end_;
};

// Of one that is new: `entries` and `present` have a place for it.
template <typename Entry>
size_t NextSlot(FreeSlots& free, std::vector<std::shared_ptr<const Entry>>& entries,
                std::vector<bool>& present) {
  if (const std::optional<size_t> slot = free.Next()) return *slot;
  entries.push_back(nullptr);
  present.push_back(true);
  return entries.size() - 1;
}

}  // namespace

Planner::Draft Planner::Configure(std::shared_ptr<const config::Snapshot> snapshot,
                                  bool reset_runtime) {
  Draft draft;
  if (!reset_runtime) draft.overrides = overrides_.After(*snapshot);
  const uint64_t generation = current_ == nullptr ? 1 : current_->generation + 1;
  draft.plan = Make(*snapshot, draft.overrides, generation, &draft.error);
  draft.snapshot = std::move(snapshot);
  return draft;
}

void Planner::Accept(const Draft& draft) {
  snapshot_ = draft.snapshot;
  overrides_ = draft.overrides;
  SetCurrent(draft.plan);
  // Those that only drafts had which were refused.
  std::erase_if(limits_, [](const auto& entry) { return entry.second.use_count() == 1; });
}

void Planner::SetCurrent(std::shared_ptr<const Plan> plan) {
  current_ = std::move(plan);
  std::erase_if(free_, [this](const SlotRef& free) { return !IsVacant(*current_, free); });
}

std::shared_ptr<const Plan> Planner::Vacate(const std::vector<SlotRef>& slots) {
  auto plan = std::make_shared<Plan>(*current_);
  std::map<size_t, std::shared_ptr<UpstreamPlan>> changed;
  const auto changed_upstream = [&](size_t slot) -> UpstreamPlan& {
    std::shared_ptr<UpstreamPlan>& made = changed[slot];
    if (made == nullptr) made = std::make_shared<UpstreamPlan>(*current_->upstreams[slot]);
    return *made;
  };
  for (const SlotRef& ref : slots) {
    if (!IsGone(*current_, ref)) continue;
    switch (ref.kind) {
      case SlotRef::Kind::kServer: {
        ServerPlan& server = changed_upstream(ref.slot).servers[ref.server];
        server = {};
        server.gone = true;
        break;
      }
      case SlotRef::Kind::kUpstream: {
        UpstreamPlan& upstream = changed_upstream(ref.slot);
        std::vector<ServerPlan> servers = std::move(upstream.servers);
        upstream = {};
        upstream.servers = std::move(servers);
        upstream.gone = true;
        break;
      }
      case SlotRef::Kind::kListener: {
        auto nobody = std::make_shared<ListenerPlan>();
        nobody->gone = true;
        nobody->upstream = kNoUpstream;
        plan->listeners[ref.slot] = std::move(nobody);
        break;
      }
    }
  }
  for (auto& [slot, made] : changed) plan->upstreams[slot] = std::move(made);
  SetCurrent(plan);
  return current_;
}

std::shared_ptr<const Plan> Planner::Remake(std::string* error) {
  std::shared_ptr<const Plan> next = Make(*snapshot_, overrides_, current_->generation, error);
  if (next == nullptr) return current_;
  if (next->listeners == current_->listeners && next->upstreams == current_->upstreams) {
    return current_;
  }
  SetCurrent(next);
  return next;
}

std::string Planner::Change(const std::string& upstream, const ChangeServers& change) {
  for (const config::Upstream& in : snapshot_->upstreams) {
    if (in.name != upstream) continue;
    Overrides before = overrides_;
    // What the file says now is what a reload will compare with.
    std::string wrong = change(overrides_, AsNow(in), Expanded(in, overrides_).servers);
    if (wrong.empty()) Remake(&wrong);
    if (!wrong.empty()) overrides_ = std::move(before);
    return wrong;
  }
  return absl::StrCat("there is no upstream \"", upstream, "\"");
}

config::Upstream Planner::AsNow(const config::Upstream& upstream) const {
  config::Upstream as_now = upstream;
  if (file_servers_of_) as_now.file_servers = file_servers_of_(upstream);
  return as_now;
}

config::Snapshot Planner::SnapshotAsNow() const {
  config::Snapshot as_now = *snapshot_;
  for (size_t i = 0; i < as_now.upstreams.size(); ++i) {
    // By those of the snapshot in use, which the lines are asked for.
    as_now.upstreams[i] = AsNow(snapshot_->upstreams[i]);
  }
  return as_now;
}

std::shared_ptr<const Plan> Planner::Make(const config::Snapshot& snapshot,
                                          const Overrides& overrides, uint64_t generation,
                                          std::string* error) {
  auto plan = std::make_shared<Plan>();
  plan->generation = generation;
  std::vector<size_t> slots;
  AddUpstreams(snapshot, overrides, *plan, slots);
  AddListeners(snapshot, slots, *plan);
  SetProcessPart(snapshot, *plan);
  size_t most = std::max(plan->listeners.size(), plan->upstreams.size());
  for (const auto& upstream : plan->upstreams) most = std::max(most, upstream->servers.size());
  if (most <= kMostSlots) return plan;
  *error = absl::StrCat("with those that were removed and still have connections there are ", most,
                        " listeners, upstreams, or servers of one upstream; ", kMostSlots,
                        " is the most; the configuration stays as it is");
  return nullptr;
}

config::Upstream Planner::Expanded(const config::Upstream& upstream,
                                   const Overrides& overrides) const {
  config::Upstream expanded;
  expanded.name = upstream.name;
  expanded.settings = upstream.settings;
  if (servers_of_) {
    expanded.servers = servers_of_(upstream);
    overrides.Apply(upstream, expanded.servers);
    return expanded;
  }
  for (const std::vector<config::Server>& servers : {upstream.servers, upstream.file_servers}) {
    for (const config::Server& server : servers) {
      // A name stands for nobody by itself.
      if (server.address.kind != config::Address::Kind::kHost) expanded.servers.push_back(server);
    }
  }
  overrides.Apply(upstream, expanded.servers);
  return expanded;
}

void Planner::AddUpstreams(const config::Snapshot& snapshot, const Overrides& overrides, Plan& plan,
                           std::vector<size_t>& slots) {
  std::unordered_map<std::string, size_t> known;
  if (current_ != nullptr) {
    plan.upstreams = current_->upstreams;
    for (size_t i = 0; i < plan.upstreams.size(); ++i) {
      if (!plan.upstreams[i]->vacant()) known.emplace(plan.upstreams[i]->name, i);
    }
  }
  std::vector<bool> present(plan.upstreams.size());
  FreeSlots free(free_, SlotRef::Kind::kUpstream);
  for (const config::Upstream& upstream : snapshot.upstreams) {
    const auto [found, is_new] = known.emplace(upstream.name, 0);
    if (is_new) found->second = NextSlot(free, plan.upstreams, present);
    std::shared_ptr<const UpstreamPlan>& entry = plan.upstreams[found->second];
    present[found->second] = true;
    entry = UpstreamIn(found->second, Expanded(upstream, overrides), entry);
    slots.push_back(found->second);
  }
  for (size_t i = 0; i < plan.upstreams.size(); ++i) {
    if (!present[i]) plan.upstreams[i] = GoneWhole(plan.upstreams[i]);
  }
}

// With its servers in the slots that they had before.
std::shared_ptr<const UpstreamPlan> Planner::UpstreamIn(
    size_t slot, const config::Upstream& upstream,
    const std::shared_ptr<const UpstreamPlan>& before) {
  UpstreamPlan made = UpstreamPlanOf(upstream, facts_, ephemeral_);
  if (before == nullptr) return std::make_shared<const UpstreamPlan>(std::move(made));
  std::vector<ServerPlan> servers = before->servers;
  std::unordered_map<std::string, size_t> known;
  for (size_t i = 0; i < servers.size(); ++i) {
    servers[i].gone = true;
    if (!servers[i].vacant()) known.emplace(servers[i].name, i);
  }
  FreeSlots free(free_, SlotRef::Kind::kServer, slot);
  const auto next_place = [&] {
    if (const std::optional<size_t> place = free.Next()) return *place;
    servers.emplace_back();
    return servers.size() - 1;
  };
  bool in_order = true;
  for (ServerPlan& server : made.servers) {
    const auto old = known.find(server.name);
    const size_t place = old == known.end() ? next_place() : old->second;
    servers[place] = std::move(server);
    in_order = in_order && place == made.order.size();
    made.order.push_back(static_cast<uint16_t>(place));
  }
  // That of the slots needs no list.
  if (in_order && made.order.size() == servers.size()) made.order.clear();
  made.servers = std::move(servers);
  return Shared(std::move(made), before);
}

void Planner::AddListeners(const config::Snapshot& snapshot,
                           const std::vector<size_t>& upstream_slots, Plan& plan) {
  std::unordered_map<std::string, size_t> known;
  if (current_ != nullptr) {
    plan.listeners = current_->listeners;
    for (size_t i = 0; i < plan.listeners.size(); ++i) {
      if (!plan.listeners[i]->vacant()) known.emplace(KeyOf(*plan.listeners[i]), i);
    }
  }
  std::vector<bool> present(plan.listeners.size());
  FreeSlots free(free_, SlotRef::Kind::kListener);
  for (size_t i = 0; i < snapshot.listeners.size(); ++i) {
    for (ListenerPlan& listener : ListenerPlansOf(snapshot, i, upstream_slots, facts_)) {
      listener.limits = LimitsOf(listener);
      const auto [found, is_new] = known.emplace(KeyOf(listener), 0);
      if (is_new) found->second = NextSlot(free, plan.listeners, present);
      present[found->second] = true;
      std::shared_ptr<const ListenerPlan>& entry = plan.listeners[found->second];
      entry = Shared(std::move(listener), entry);
    }
  }
  for (size_t i = 0; i < plan.listeners.size(); ++i) {
    if (!present[i]) plan.listeners[i] = Gone(plan.listeners[i]);
  }
}

std::shared_ptr<ListenerLimits> Planner::LimitsOf(const ListenerPlan& listener) {
  std::shared_ptr<ListenerLimits>& limits = limits_[listener.name];
  if (limits == nullptr) limits = std::make_shared<ListenerLimits>(listener.numbers);
  return limits;
}

}  // namespace parkway
