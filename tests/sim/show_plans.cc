#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

#include "proxy/inbound/listener_limits.h"
#include "proxy/upstream/roster.h"
#include "tests/proxy/edit.h"
#include "tests/sim/show.h"
#include "tests/sim/terms.h"

namespace parkway::sim {

// Another weight, room or limit; servers leave and return, but for the first; all servers are those
// of another upstream; the listener has another name.
void Show::ChangePlan() {
  Plan plan = stage_.proxies().back()->plan();
  const uint16_t before = listener_;
  RemoveIdleUpstreams(plan);
  if (dice_.Chance(2000)) MoveToAnotherUpstream(plan);
  if (dice_.Chance(7000)) {
    const auto slot = static_cast<uint16_t>(plan.listeners[listener_]->upstream);
    ChangeServers(Edit(plan.upstreams[slot]), slot);
  }
  if (dice_.Chance(3000)) {
    plan.max_connections = static_cast<uint32_t>(1 + dice_.Below(32));
  }
  if (dice_.Chance(3000)) ChangeNumbers(Edit(plan.listeners[listener_]));
  if (dice_.Chance(2000)) RenameListener(plan);
  Publish(plan);
  if (listener_ != before) stage_.Retarget(*stage_.proxies().back(), before, listener_);
}

void Show::ChangeServers(UpstreamPlan& upstream, uint16_t slot) {
  for (size_t i = 0; i < upstream.servers.size(); ++i) {
    ServerPlan& server = upstream.servers[i];
    if (server.vacant()) continue;
    server.weight = static_cast<uint32_t>(1 + dice_.Below(256));
    if (server.max_conns > 0) server.max_conns = static_cast<uint32_t>(1 + dice_.Below(4));
    if (i > 0 && dice_.Chance(5000)) {
      server.gone = !server.gone;
      removals_ += server.gone;
    }
  }
  if (!dice_.Chance(4000)) return;
  // One that was never there before, where another was or in a slot of its own.
  ServerPlan server = upstream.servers[0];
  server.name = "new" + std::to_string(++new_names_);
  if (const auto free = TakeFree(SlotRef::Kind::kServer, slot)) {
    upstream.servers[free->server] = server;
  } else if (upstream.servers.size() < 8) {
    upstream.servers.push_back(server);
  }
}

// One that was there before, or another in its slot, or one in a slot of its own, gets the servers
// of the present one, which goes when nobody waits for it any more.
void Show::MoveToAnotherUpstream(Plan& plan) {
  const size_t from = plan.listeners[listener_]->upstream;
  const UpstreamPlan old = *plan.upstreams[from];
  std::optional<size_t> to;
  for (size_t i = 0; i < plan.upstreams.size(); ++i) {
    const UpstreamPlan& other = *plan.upstreams[i];
    const bool there = other.gone && !other.vacant() && !other.servers[0].vacant();
    if (there && dice_.Chance(3000)) to = i;
  }
  UpstreamPlan next = to ? *plan.upstreams[*to] : old;
  if (!to) {
    next.name = "back" + std::to_string(++new_names_);
    next.servers.clear();
    if (const auto free = TakeFree(SlotRef::Kind::kUpstream)) {
      to = free->slot;
      next.servers = plan.upstreams[*to]->servers;
    } else if (plan.upstreams.size() < 6) {
      to = plan.upstreams.size();
      plan.Add(UpstreamPlan());
    } else {
      return;
    }
  }
  next.gone = false;
  for (size_t i = 0; i < old.servers.size(); ++i) {
    if (old.servers[i].vacant()) continue;
    // The first stays the first, so that somebody is always there.
    if (i >= next.servers.size()) {
      next.servers.push_back(old.servers[i]);
    } else if (next.servers[i].vacant()) {
      const SlotRef slot = {.slot = static_cast<uint16_t>(*to), .server = static_cast<uint16_t>(i)};
      if (std::erase(free_, slot) > 0) next.servers[i] = old.servers[i];
    } else {
      next.servers[i].gone = old.servers[i].gone;
    }
  }
  Edit(plan.upstreams[*to]) = next;
  Edit(plan.listeners[listener_]).upstream = *to;
}

// Who is in line for one that is removed is turned away: only those for which nobody is.
void Show::RemoveIdleUpstreams(Plan& plan) {
  SimProxy& front = *stage_.proxies().back();
  if (!front.all_caught_up()) return;
  for (size_t i = 0; i < plan.upstreams.size(); ++i) {
    if (plan.listeners[listener_]->upstream == i || plan.upstreams[i]->gone) continue;
    if (front.SomebodyWaitsFor(static_cast<uint16_t>(i))) continue;
    UpstreamPlan& upstream = Edit(plan.upstreams[i]);
    upstream.gone = true;
    for (ServerPlan& server : upstream.servers) server.gone = true;
  }
}

void Show::RenameListener(Plan& plan) {
  ListenerPlan next = *plan.listeners[listener_];
  size_t to = plan.listeners.size();
  if (const auto free = TakeFree(SlotRef::Kind::kListener)) {
    to = free->slot;
  } else if (to < 6) {
    plan.Add(ListenerPlan());
  } else {
    return;
  }
  Edit(plan.listeners[listener_]).gone = true;
  next.name = "front" + std::to_string(++new_names_);
  // As the planner has it: by the name.
  next.limits = std::make_shared<ListenerLimits>(next.numbers);
  Edit(plan.listeners[to]) = next;
  listener_ = static_cast<uint16_t>(to);
}

// Who is one too many waits in the backlog.
void Show::ChangeNumbers(ListenerPlan& listener) {
  listener.numbers.max_connections =
      dice_.Chance(3000) ? 0 : static_cast<uint32_t>(1 + dice_.Below(16));
}

std::optional<SlotRef> Show::TakeFree(SlotRef::Kind kind, uint16_t upstream) {
  const auto found = std::find_if(free_.begin(), free_.end(), [&](const SlotRef& slot) {
    return slot.kind == kind && (kind != SlotRef::Kind::kServer || slot.slot == upstream);
  });
  if (found == free_.end()) return std::nullopt;
  const SlotRef slot = *found;
  free_.erase(found);
  ++reuses_[static_cast<size_t>(kind)];
  return slot;
}

void Show::NoteGone(const SlotRef& slot, bool gone) {
  if (gone) {
    gone_since_.try_emplace(slot, stage_.proxies().back()->generation().number);
  } else {
    gone_since_.erase(slot);
  }
}

void Show::Publish(const Plan& plan) {
  SimProxy& front = *stage_.proxies().back();
  stage_.SetPlan(front, plan);
  removed_.clear();
  for (size_t l = 0; l < plan.listeners.size(); ++l) {
    NoteGone({.kind = SlotRef::Kind::kListener, .slot = static_cast<uint16_t>(l)},
             plan.listeners[l]->gone);
  }
  for (size_t u = 0; u < plan.upstreams.size(); ++u) {
    NoteGone({.kind = SlotRef::Kind::kUpstream, .slot = static_cast<uint16_t>(u)},
             plan.upstreams[u]->gone);
    const Roster& roster = front.generation().roster(u);
    for (size_t i = 0; i < roster.size(); ++i) {
      const ServerRef server = {static_cast<uint16_t>(u), static_cast<uint16_t>(i)};
      NoteGone({.slot = server.upstream, .server = server.server}, roster.plan_of(i).gone);
      if (roster.plan_of(i).gone) removed_[server] = roster.server(i).connections();
    }
  }
  reaper_->Follow(front.generation().plan);
}

// As the process does it (process.cc), but for what it takes for a message to come.
SlotReaper::Host Show::ReaperHost() {
  return {.workers = stage_.proxies().back()->workers().size(),
          .on_worker =
              [this](size_t worker, std::function<void(SlotUse&)> call) {
                stage_.PostToSlots(*stage_.proxies().back(), worker, std::move(call));
              },
          .post =
              [this](std::function<void()> call) {
                world_.After(dice_.Between(0, kMillisecond), [this, call = std::move(call)] {
                  if (!over_) call();
                });
              },
          // Sooner than in the process: a world is over soon.
          .wake =
              [this](absl::Duration delay) {
                world_.After(absl::ToInt64Nanoseconds(delay) / 50, [this] {
                  if (!over_) reaper_->Look();
                });
              },
          .connections =
              [this](ServerRef of) {
                const Generation& now = stage_.proxies().back()->generation();
                return now.roster(of.upstream).server(of.server).connections();
              },
          .log_passes = [this] { return ++log_passes_; },
          .quiet = [] { return true; },
          .vacate = [this](const std::vector<SlotRef>& slots) { Vacate(slots); },
          .free =
              [this](const std::vector<SlotRef>& slots) {
                free_.insert(free_.end(), slots.begin(), slots.end());
              }};
}

void Show::Vacate(const std::vector<SlotRef>& slots) {
  Plan plan = stage_.proxies().back()->plan();
  for (const SlotRef& slot : slots) {
    const std::string who = stage_.proxies().back()->WhoRefersTo(slot, gone_since_.at(slot));
    if (!who.empty()) {
      Fail("slot " + std::to_string(slot.slot) + " of kind " +
           std::to_string(static_cast<int>(slot.kind)) + " is given away, and there is " + who);
    }
    stage_.proxies().back()->NoteVacated(slot);
    switch (slot.kind) {
      case SlotRef::Kind::kServer: {
        UpstreamPlan& upstream = Edit(plan.upstreams[slot.slot]);
        upstream.servers[slot.server] = {};
        upstream.servers[slot.server].gone = true;
        break;
      }
      case SlotRef::Kind::kUpstream:
        Edit(plan.upstreams[slot.slot]).name.clear();
        break;
      case SlotRef::Kind::kListener: {
        ListenerPlan& listener = Edit(plan.listeners[slot.slot]);
        listener = ListenerPlan();
        listener.gone = true;
        listener.upstream = kNoUpstream;
        break;
      }
    }
  }
  Publish(plan);
}

// Their connections become fewer, never more.
void Show::WatchRemoved() {
  const Generation& now = stage_.proxies().back()->generation();
  for (auto& [server, before] : removed_) {
    const uint32_t connections = now.roster(server.upstream).server(server.server).connections();
    if (connections > before) {
      Fail("server " + std::to_string(server.server) + " was chosen though removed");
    }
    before = connections;
  }
}

}  // namespace parkway::sim
