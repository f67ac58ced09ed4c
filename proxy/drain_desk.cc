#include "proxy/drain_desk.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace parkway {

namespace {

constexpr absl::Duration kRemembered = absl::Minutes(1);
constexpr size_t kMostRemembered = 256;
// Thousands of servers may go down at once.
constexpr absl::Duration kLookPause = absl::Seconds(1);

// Nothing: its connections stay.
bool HasOrder(const SessionsRule& rule, DrainOrder& order) {
  if (rule.kind == SessionsRule::Kind::kKeep) return false;
  order.over = rule.kind == SessionsRule::Kind::kDrain ? rule.after : absl::ZeroDuration();
  return true;
}

// Whether the server of an order about one takes connections, as far as the plan has a say.
bool TakesAny(const Plan& plan, const DrainOrder& order) {
  const ServerPlan& server = plan.upstreams[order.upstream]->servers[order.server];
  // Who was found to be down is no better for an operator's word.
  return !server.gone &&
         (order.cause == CloseCause::kServerDown || server.state == ServerState::kReady);
}

}  // namespace

uint64_t DrainDesk::Begin(std::string what, const DrainOrder& order) {
  if (scheduler_.now() >= next_look_) Look();
  entries_.push_back({.id = ++last_id_,
                      .what = std::move(what),
                      .order = order,
                      .begun = scheduler_.now(),
                      .ended = MonotonicTime(),
                      .left = nullptr});
  for (const auto& worker : workers_) worker->PostDrain(order);
  return last_id_;
}

Outcome DrainDesk::BeginPercent(const Control::Drain& wanted) {
  if (wanted.percent == 0 || wanted.percent > 100) {
    return Outcome::Refused(
        absl::StrCat("drain: ", wanted.percent, " percent is none; 1 to 100; nothing was changed"));
  }
  DrainOrder order;
  order.percent = wanted.percent;
  order.later = false;
  order.over = wanted.over;
  const std::string what = absl::StrCat(wanted.percent, " % of all");
  Outcome outcome =
      Outcome::Done(absl::StrCat("draining ", what, " over ", absl::FormatDuration(wanted.over)));
  outcome.drain = Begin(what, order);
  return outcome;
}

Outcome DrainDesk::BeginServer(const Plan& plan, const std::string& upstream,
                               const std::string& server, absl::Duration over) {
  Outcome outcome = Outcome::Refused(
      absl::StrCat("drain: there is no server ", upstream, "/", server, "; nothing was changed"));
  for (size_t u = 0; u < plan.upstreams.size(); ++u) {
    if (plan.upstreams[u]->name != upstream) continue;
    const std::vector<ServerPlan>& servers = plan.upstreams[u]->servers;
    for (size_t s = 0; s < servers.size(); ++s) {
      if (servers[s].name != server && servers[s].group != server) continue;
      DrainOrder order;
      order.cause = CloseCause::kServerRemoved;
      order.whom = DrainOrder::Whom::kServer;
      order.upstream = static_cast<uint16_t>(u);
      order.server = static_cast<uint16_t>(s);
      order.over = over;
      // It may be gone already, and have its name for a moment yet.
      on_use_({.slot = order.upstream, .server = order.server});
      const std::string what = absl::StrCat("server ", upstream, "/", servers[s].name);
      const uint64_t id = Begin(what, order);
      if (outcome.ok) continue;
      outcome =
          Outcome::Done(absl::StrCat("draining ", what, " over ", absl::FormatDuration(over)));
      outcome.drain = id;
    }
  }
  return outcome;
}

// Whether what it was begun for has changed since `before`.
bool DrainDesk::IsOver(const DrainOrder& order, const Plan& before, const Plan& now) {
  switch (order.whom) {
    case DrainOrder::Whom::kAll:
      return false;
    case DrainOrder::Whom::kListeners:
      return std::any_of(order.listeners.begin(), order.listeners.end(),
                         [&before, &now](uint16_t slot) {
                           return before.listeners[slot]->gone && !now.listeners[slot]->gone;
                         });
    case DrainOrder::Whom::kServer:
      return !TakesAny(before, order) && TakesAny(now, order);
    case DrainOrder::Whom::kBackups:
      return TakesAny(before, order) && !TakesAny(now, order);
  }
  return false;
}

void DrainDesk::FollowChanges(const Plan& before, const Generation& next) {
  for (Entry& entry : entries_) {
    if (entry.ended != MonotonicTime() || entry.left != nullptr) continue;
    if (!IsOver(entry.order, before, *next.plan)) continue;
    entry.order.tally->cancelled.store(true, std::memory_order_relaxed);
  }
  BeginRemovals(before, next);
}

void DrainDesk::BeginRemovals(const Plan& before, const Generation& next) {
  const Plan& now = *next.plan;
  for (size_t i = 0; i < before.listeners.size(); ++i) {
    const ListenerPlan& old = *before.listeners[i];
    DrainOrder order;
    if (old.gone || !now.listeners[i]->gone || !HasOrder(old.on_remove, order)) continue;
    order.whom = DrainOrder::Whom::kListeners;
    order.listeners = {static_cast<uint16_t>(i)};
    Begin(absl::StrCat("listener ", old.name, " ", old.address.ToString()), order);
  }
  for (size_t u = 0; u < before.upstreams.size(); ++u) {
    if (before.upstreams[u] == now.upstreams[u]) continue;
    const UpstreamPlan& old = *before.upstreams[u];
    for (size_t s = 0; s < old.servers.size(); ++s) {
      const ServerPlan& server = old.servers[s];
      DrainOrder order;
      if (server.gone || !now.upstreams[u]->servers[s].gone) continue;
      // Nobody is there, and nobody comes any more.
      if (next.roster(u).server(s).connections() == 0) continue;
      if (!HasOrder(server.on_remove, order)) continue;
      order.cause = CloseCause::kServerRemoved;
      order.whom = DrainOrder::Whom::kServer;
      order.upstream = static_cast<uint16_t>(u);
      order.server = static_cast<uint16_t>(s);
      Begin(absl::StrCat("server ", old.name, "/", server.name), order);
    }
  }
}

void DrainDesk::BeginForHealth(const Plan& plan, const DrainOrder& order) {
  const UpstreamPlan& upstream = *plan.upstreams[order.upstream];
  // on_remove has a say, and the slot may be another's soon.
  if (upstream.servers[order.server].gone) return;
  const std::string server = absl::StrCat(upstream.name, "/", upstream.servers[order.server].name);
  Begin(order.whom == DrainOrder::Whom::kBackups
            ? absl::StrCat("those below server ", server, ", which is up")
            : absl::StrCat("server ", server, ", which is down"),
        order);
}

uint64_t DrainDesk::Watch(std::string what, uint32_t total, std::function<uint32_t()> left) {
  DrainOrder nobody;
  nobody.over = absl::InfiniteDuration();
  nobody.tally->total.store(total, std::memory_order_relaxed);
  entries_.push_back({.id = ++last_id_,
                      .what = std::move(what),
                      .order = std::move(nobody),
                      .begun = scheduler_.now(),
                      .ended = MonotonicTime(),
                      .left = std::move(left)});
  return last_id_;
}

void DrainDesk::Look() {
  const MonotonicTime now = scheduler_.now();
  next_look_ = now + kLookPause;
  size_t over = 0;
  for (Entry& entry : entries_) {
    const DrainTally& tally = *entry.order.tally;
    if (entry.ended == MonotonicTime() && entry.left == nullptr &&
        (tally.ended.load(std::memory_order_acquire) >= workers_.size() ||
         tally.cancelled.load(std::memory_order_relaxed))) {
      entry.ended = now;
    }
    over += entry.ended != MonotonicTime();
  }
  entries_.remove_if([now, &over](const Entry& entry) {
    if (entry.ended == MonotonicTime()) return false;
    return over-- > kMostRemembered || entry.ended + kRemembered < now;
  });
}

DrainProgress DrainDesk::ProgressOf(const Entry& entry) const {
  DrainProgress progress;
  progress.id = entry.id;
  progress.what = entry.what;
  progress.counted = entry.left != nullptr ||
                     entry.order.tally->counted.load(std::memory_order_acquire) >= workers_.size();
  progress.total = entry.order.tally->total.load(std::memory_order_relaxed);
  progress.left = entry.left != nullptr ? entry.left()
                                        : entry.order.tally->left.load(std::memory_order_relaxed);
  progress.ended = entry.ended != MonotonicTime();
  const MonotonicTime until = progress.ended ? entry.ended : scheduler_.now();
  progress.passed = absl::Nanoseconds(until.ns() - entry.begun.ns());
  progress.over = entry.order.over;
  return progress;
}

std::vector<DrainProgress> DrainDesk::List() {
  Look();
  std::vector<DrainProgress> all;
  for (const Entry& entry : entries_) all.push_back(ProgressOf(entry));
  return all;
}

DrainProgress DrainDesk::Find(uint64_t id) {
  for (const DrainProgress& progress : List()) {
    if (progress.id == id) return progress;
  }
  return {};
}

}  // namespace parkway
