#include "proxy/drain_desk.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace parkway {

namespace {

constexpr absl::Duration kRemembered = absl::Minutes(1);

// Nothing: its connections stay.
bool HasOrder(const SessionsRule& rule, DrainOrder& order) {
  if (rule.kind == SessionsRule::Kind::kKeep) return false;
  order.over = rule.kind == SessionsRule::Kind::kDrain ? rule.after : absl::ZeroDuration();
  return true;
}

}  // namespace

uint64_t DrainDesk::Begin(std::string what, const DrainOrder& order) {
  Look();
  entries_.push_back({.id = ++last_id_,
                      .what = std::move(what),
                      .tally = order.tally,
                      .begun = scheduler_.now(),
                      .ended = MonotonicTime(),
                      .over = order.over});
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

void DrainDesk::FollowRemovals(const Plan& before, const Generation& next) {
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

void DrainDesk::Look() {
  const MonotonicTime now = scheduler_.now();
  for (Entry& entry : entries_) {
    if (entry.ended != MonotonicTime()) continue;
    if (entry.tally->ended.load(std::memory_order_acquire) < workers_.size()) continue;
    entry.ended = now;
  }
  entries_.remove_if([now](const Entry& entry) {
    return entry.ended != MonotonicTime() && entry.ended + kRemembered < now;
  });
}

std::vector<DrainProgress> DrainDesk::List() {
  Look();
  std::vector<DrainProgress> all;
  for (const Entry& entry : entries_) {
    DrainProgress& progress = all.emplace_back();
    progress.id = entry.id;
    progress.what = entry.what;
    progress.total = entry.tally->total.load(std::memory_order_relaxed);
    progress.left = entry.tally->left.load(std::memory_order_relaxed);
    progress.ended = entry.ended != MonotonicTime();
    const MonotonicTime until = progress.ended ? entry.ended : scheduler_.now();
    progress.passed = absl::Nanoseconds(until.ns() - entry.begun.ns());
    progress.over = entry.over;
  }
  return all;
}

DrainProgress DrainDesk::Find(uint64_t id) {
  for (const DrainProgress& progress : List()) {
    if (progress.id == id) return progress;
  }
  return {};
}

}  // namespace parkway
