#include "proxy/planner.h"

#include <algorithm>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "proxy/inbound/front.h"
#include "proxy/inbound/listener_limits.h"
#include "proxy/plan_of.h"

namespace parkway {

namespace {

// A session knows a slot by 16 bits; the last number is nobody's.
constexpr size_t kMostSlots = 65535;

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
  std::erase_if(free_, [this](ServerRef slot) {
    return !current_->upstreams[slot.upstream]->servers[slot.server].vacant();
  });
}

std::shared_ptr<const Plan> Planner::Vacate(const std::vector<ServerRef>& slots) {
  std::map<size_t, std::vector<size_t>> by_upstream;
  for (const ServerRef& slot : slots) {
    if (!current_->upstreams[slot.upstream]->servers[slot.server].gone) continue;
    by_upstream[slot.upstream].push_back(slot.server);
  }
  auto plan = std::make_shared<Plan>(*current_);
  for (const auto& [upstream, servers] : by_upstream) {
    auto made = std::make_shared<UpstreamPlan>(*plan->upstreams[upstream]);
    for (const size_t server : servers) {
      made->servers[server] = {};
      made->servers[server].gone = true;
    }
    plan->upstreams[upstream] = std::move(made);
  }
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
    std::string wrong = change(overrides_, in, Expanded(in, overrides_).servers);
    if (wrong.empty()) Remake(&wrong);
    if (!wrong.empty()) overrides_ = std::move(before);
    return wrong;
  }
  return absl::StrCat("there is no upstream \"", upstream, "\"");
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
    for (size_t i = 0; i < plan.upstreams.size(); ++i) known.emplace(plan.upstreams[i]->name, i);
  }
  std::vector<bool> present(plan.upstreams.size());
  for (const config::Upstream& upstream : snapshot.upstreams) {
    const auto [found, is_new] = known.emplace(upstream.name, plan.upstreams.size());
    if (is_new) {
      plan.upstreams.push_back(nullptr);
      present.push_back(true);
    }
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
  auto free = free_.lower_bound({static_cast<uint16_t>(slot), 0});
  const auto next_place = [&] {
    if (free != free_.end() && free->upstream == slot) return size_t{(free++)->server};
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
    for (size_t i = 0; i < plan.listeners.size(); ++i) known.emplace(KeyOf(*plan.listeners[i]), i);
  }
  std::vector<bool> present(plan.listeners.size());
  for (size_t i = 0; i < snapshot.listeners.size(); ++i) {
    for (ListenerPlan& listener : ListenerPlansOf(snapshot, i, upstream_slots, facts_)) {
      listener.limits = LimitsOf(listener);
      const auto [found, is_new] = known.emplace(KeyOf(listener), plan.listeners.size());
      if (is_new) {
        plan.listeners.push_back(nullptr);
        present.push_back(true);
      }
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
