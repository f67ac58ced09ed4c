#include "proxy/health_duty.h"

#include <algorithm>

namespace parkway {

namespace {

constexpr uint64_t kNsPerUs = 1'000;

}  // namespace

HealthDuty::HealthDuty(Host& host, Scheduler& scheduler, const Views& views, WorkerStats& stats,
                       size_t index, size_t workers, uint64_t seed)
    : host_(host), views_(views), stats_(stats), checker_(scheduler, index, workers, *this, seed) {}

HealthDuty::~HealthDuty() = default;

void HealthDuty::Begin() {
  checker_.Set(*views_.now().checks);
  if (checker_.idle()) return;
  done_.store(false, std::memory_order_relaxed);
  if (!begun_) first_round_done_.store(false, std::memory_order_relaxed);
  begun_ = true;
}

void HealthDuty::Stop() { checker_.Stop(); }

void HealthDuty::OnFirstRoundEnded() { first_round_done_.store(true, std::memory_order_release); }

void HealthDuty::OnChecksEnded() { done_.store(true, std::memory_order_release); }

MonotonicTime HealthDuty::LastConnect(ServerRef ref) {
  return RosterOf(ref).server(ref.server).last_connect();
}

size_t HealthDuty::CountUp(size_t upstream) const {
  const Roster& roster = views_.now().roster(upstream);
  size_t up = 0;
  for (size_t i = 0; i < roster.size(); ++i) up += roster.server(i).flags() == 0;
  return up;
}

void HealthDuty::OnHealthOutcome(ServerRef ref, const ProbeResult& result, MonotonicTime now) {
  ServerStats& server = stats_.server(ref.upstream, ref.server);
  (result.ok() ? server.checks_passed : server.checks_failed).Add(1);
  server.last_check.Set(static_cast<uint64_t>(result.word));
  server.last_check_us.Set(static_cast<uint64_t>(result.took_ns) / kNsPerUs);
  server.last_check_at_ns.Set(static_cast<uint64_t>(now.ns()));
}

void HealthDuty::OnHealthChange(const HealthChange& change) {
  ServerStats& server = stats_.server(change.ref.upstream, change.ref.server);
  server.transitions.Add(1);
  server.last_transition_at_ns.Set(static_cast<uint64_t>(change.now.ns()));
  OnHealthState(change.ref, change.up, change.now);
  Log(change);
  Follow(change);
}

// Said again after each outcome: while a check goes from one worker to another, both have a say.
void HealthDuty::OnHealthState(ServerRef ref, bool up, MonotonicTime now) {
  const Roster& roster = RosterOf(ref);
  const bool is_up = (roster.server(ref.server).flags() & Server::kUnhealthy) == 0;
  if (is_up == up) return;
  if (up) {
    roster.balancer().Lower(roster, ref.server, Server::kUnhealthy, now);
  } else {
    Balancer::Raise(roster, ref.server, Server::kUnhealthy);
  }
}

void HealthDuty::OnHealthEnd(ServerRef ref, MonotonicTime now) {
  const ServerPlan& plan = RosterOf(ref).plan_of(ref.server);
  // Nobody finds it down any more, until somebody does so anew.
  const auto drain = drains_.find({ref.upstream, ref.server});
  if (drain != drains_.end() && !drain->second.up && !plan.gone &&
      (!plan.health.on() || plan.health.initially_up)) {
    Cancel(drain);
  }
  // Whoever checks it now says what it is.
  if (plan.health.on()) return;
  OnHealthState(ref, true, now);
}

void HealthDuty::Log(const HealthChange& change) {
  HealthRecord record;
  record.up = change.up;
  record.upstream = change.ref.upstream;
  record.server = change.ref.server;
  record.word = change.result->word;
  record.error = change.result->error;
  record.in_a_row = change.outcomes;
  record.servers_up = static_cast<uint32_t>(CountUp(change.ref.upstream));
  record.took_ns = change.result->took_ns;
  record.since = change.since;
  record.when = change.now;
  record.answer = decltype(record.answer)(change.result->answer);
  host_.Log({.what = record});
}

void HealthDuty::Cancel(Followed::iterator drain) {
  drain->second.tally->cancelled.store(true, std::memory_order_relaxed);
  drains_.erase(drain);
}

void HealthDuty::Follow(const HealthChange& change) {
  // What the change before has begun is over: it was about another state.
  const auto before = drains_.find({change.ref.upstream, change.ref.server});
  if (before != drains_.end()) Cancel(before);
  const SessionsRule& rule = change.up ? change.plan->on_up : change.plan->on_down;
  if (rule.kind == SessionsRule::Kind::kKeep) return;
  DrainOrder order;
  order.whom = change.up ? DrainOrder::Whom::kBackups : DrainOrder::Whom::kServer;
  order.upstream = change.ref.upstream;
  order.server = change.ref.server;
  order.cause = change.up ? CloseCause::kPrimaryBack : CloseCause::kServerDown;
  // At once, for those of now; or whoever is there until the time is over.
  order.later = rule.kind == SessionsRule::Kind::kDrain;
  order.over = order.later ? rule.after : absl::ZeroDuration();
  if (order.later) drains_[{change.ref.upstream, change.ref.server}] = {change.up, order.tally};
  host_.DrainEverywhere(order);
}

}  // namespace parkway
