#include "proxy/upstream/health.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "poller/check.h"
#include "proxy/upstream/maglev.h"

namespace parkway {

namespace {

// Before the next look for a free place among those that are under way.
constexpr int64_t kCrowdedPauseNs = 10'000'000;
// Pauses are drawn out, or cut short, by at most this part of them.
constexpr int64_t kJitterPart = 10;

// Two checks with the same are one.
std::string KeyOf(const ProbePlan& probe) {
  std::string key = probe.address.ToString();
  const auto add = [&key](const std::string& part) {
    key += '\n';
    key += std::to_string(part.size());
    key += ':';
    key += part;
  };
  // Each of those that are tried, or it would go on with those of an answer long gone.
  for (const Address& candidate : probe.candidates) add(candidate.ToString());
  if (!probe.candidates.empty()) {
    add(std::to_string(absl::ToInt64Nanoseconds(probe.happy_eyeballs_delay)));
  }
  add(probe.send);
  add(probe.expect);
  add(probe.source.ToString());
  add(probe.sockets.device);
  add(std::to_string(probe.sockets.mark) + ' ' + std::to_string(probe.sockets.dscp));
  add(std::to_string(static_cast<int>(probe.kind)) + ' ' +
      std::to_string(static_cast<int>(probe.proxy)) + ' ' + (probe.expect_anywhere ? "~" : "^") +
      (probe.reset ? " rst " : " fin ") + std::to_string(absl::ToInt64Nanoseconds(probe.timeout)));
  return key;
}

}  // namespace

bool HealthTally::Count(bool ok, const HealthPlan& plan) {
  if (ok == up_) {
    known_ = true;
    against_ = 0;
    return false;
  }
  ++against_;
  // Until something is known, one outcome is more than none.
  if (known_ && against_ < (ok ? plan.rise : plan.fall)) return false;
  known_ = true;
  up_ = ok;
  needed_ = std::exchange(against_, 0);
  return true;
}

std::vector<HealthCheck> ChecksOf(const Plan& plan) {
  std::vector<HealthCheck> checks;
  std::map<std::string, size_t> by_key;
  for (size_t u = 0; u < plan.upstreams.size(); ++u) {
    const std::shared_ptr<const UpstreamPlan>& upstream = plan.upstreams[u];
    if (upstream->gone) continue;
    for (size_t s = 0; s < upstream->servers.size(); ++s) {
      const HealthPlan& health = upstream->servers[s].health;
      if (!health.on() || upstream->servers[s].gone) continue;
      const auto [found, is_new] = by_key.try_emplace(KeyOf(health.probe), checks.size());
      if (is_new) {
        checks.push_back(
            {found->first, std::shared_ptr<const ProbePlan>(upstream, &health.probe), {}});
      }
      checks[found->second].members.push_back(
          {{static_cast<uint16_t>(u), static_cast<uint16_t>(s)},
           std::shared_ptr<const HealthPlan>(upstream, &health)});
    }
  }
  return checks;
}

// One exchange, again and again.
class HealthChecker::Check final : public Task {
 public:
  Check(HealthChecker& checker, std::shared_ptr<const ProbePlan> plan)
      : checker_(checker), plan_(std::move(plan)) {}

  // Those that were members before keep what they have concluded.
  void SetMembers(const std::vector<HealthCheck::Member>& members, MonotonicTime now) {
    std::vector<Member> before = std::exchange(members_, {});
    for (const HealthCheck::Member& member : members) {
      const auto old = std::find_if(before.begin(), before.end(), [&](const Member& other) {
        return other.plan != nullptr && other.ref == member.ref;
      });
      if (old != before.end()) {
        members_.push_back({member.ref, member.plan, old->tally, old->since});
        old->plan = nullptr;
        continue;
      }
      members_.push_back({member.ref, member.plan, HealthTally(member.plan->initially_up), {}});
      checker_.sink_.OnHealthState(member.ref, member.plan->initially_up, now);
    }
    for (const Member& member : before) {
      if (member.plan != nullptr) checker_.sink_.OnHealthEnd(member.ref, now);
    }
    if (members_.empty()) return;
    // One that is new, or what is new in a plan, may want to know sooner: than any pause is now.
    if (next_ > now + Interval() + Interval() / kJitterPart) checker_.scheduler_.Kick(*this);
  }

  const char* name() const override { return "health check"; }

  Next Run(Scheduler& scheduler, Wake wake) noexcept override {
    if (ending_) return End();
    if (wake == Wake::kStart) {
      // Not all at once at the start.
      const int64_t within = absl::ToInt64Nanoseconds(Interval()) / 2;
      return SleepFor(scheduler, static_cast<int64_t>(checker_.random_() % (within + 1)));
    }
    if (wake == Wake::kKick) return SleepFor(scheduler, checker_.Jittered(Interval()));
    if (TrafficTells(scheduler.now())) return SleepFor(scheduler, checker_.Jittered(Interval()));
    if (checker_.under_way_ >= kMostAtOnce || !scheduler.StackAvailable()) {
      return SleepFor(scheduler, kCrowdedPauseNs);
    }
    const MonotonicTime started = scheduler.now();
    next_ = MonotonicTime();
    ++checker_.under_way_;
    ++checker_.probes_;
    const ProbeResult result = RunProbe(scheduler, *plan_, &current_, [this] { return ending_; });
    --checker_.under_way_;
    if (ending_) return End();
    Conclude(result, scheduler.now());
    const int64_t taken = scheduler.now().ns() - started.ns();
    return SleepFor(scheduler, std::max<int64_t>(checker_.Jittered(Interval()) - taken, 0));
  }

  bool fresh() const { return fresh_; }
  void Interrupt(Scheduler& scheduler) {
    ending_ = true;
    if (current_ != nullptr) {
      scheduler.Evict(*current_);
    } else {
      scheduler.Kick(*this);
    }
  }

 private:
  struct Member {
    ServerRef ref;
    std::shared_ptr<const HealthPlan> plan;
    HealthTally tally;
    MonotonicTime since;
  };

  Next End() {
    // This deletes it.
    checker_.Ended(*this);
    return Next::Done();
  }

  Next SleepFor(Scheduler& scheduler, int64_t ns) {
    next_ = scheduler.now().PlusNs(std::max<int64_t>(ns, 1));
    return Next::SleepUntil(timer_, next_);
  }

  // Until the one that is most in a hurry wants to know.
  absl::Duration Interval() const {
    absl::Duration least = absl::InfiniteDuration();
    for (const Member& member : members_) {
      least = std::min(least, member.tally.changing()
                                  ? std::min(member.plan->fast_interval, member.plan->interval)
                                  : member.plan->interval);
    }
    return least;
  }

  // All members are up, and clients have just found the server well.
  bool TrafficTells(MonotonicTime now) {
    MonotonicTime last;
    for (const Member& member : members_) {
      if (!member.plan->traffic_counts || !member.tally.up() || member.tally.changing()) {
        return false;
      }
      last = std::max(last, checker_.sink_.LastConnect(member.ref));
    }
    return last.ns() != 0 && last + Interval() > now;
  }

  void Conclude(const ProbeResult& result, MonotonicTime now) {
    if (!result.tells()) return;
    for (Member& member : members_) {
      checker_.sink_.OnHealthOutcome(member.ref, result, now);
      const bool first = member.since.ns() == 0;
      if (member.tally.Count(result.ok(), *member.plan)) {
        HealthChange change;
        change.ref = member.ref;
        change.up = member.tally.up();
        change.plan = member.plan.get();
        change.result = &result;
        change.outcomes = member.tally.needed();
        change.now = now;
        change.since = member.since;
        member.since = now;
        checker_.sink_.OnHealthChange(change);
      } else {
        if (first) member.since = now;
        checker_.sink_.OnHealthState(member.ref, member.tally.up(), now);
      }
    }
    if (std::exchange(fresh_, false) && --checker_.without_outcome_ == 0) {
      checker_.sink_.OnFirstRoundEnded();
    }
  }

  HealthChecker& checker_;
  const std::shared_ptr<const ProbePlan> plan_;
  std::vector<Member> members_;
  SleepTimer timer_;
  MonotonicTime next_;  // until when it sleeps; zero: it does not
  PollDesc* current_ = nullptr;
  bool fresh_ = true;  // it has told nothing yet
  bool ending_ = false;
};

HealthChecker::HealthChecker(Scheduler& scheduler, size_t index, size_t workers, HealthSink& sink,
                             uint64_t seed)
    : scheduler_(scheduler), index_(index), workers_(workers), sink_(sink), random_(seed) {}

HealthChecker::~HealthChecker() {
  PARKWAY_CHECK(live_ == 0, "health checks are destroyed while they run");
}

void HealthChecker::Set(const std::vector<HealthCheck>& checks) {
  if (stopping_) return;
  const MonotonicTime now = scheduler_.now();
  std::map<std::string, std::unique_ptr<Check>> before;
  before.swap(checks_);
  for (const HealthCheck& check : checks) {
    // By its key, so that it stays where it is whatever comes and goes around it.
    if (StableHash(check.key, 0) % workers_ != index_) continue;
    std::unique_ptr<Check>& ours = checks_[check.key];
    const auto old = before.find(check.key);
    if (old != before.end()) {
      ours = std::move(old->second);
      before.erase(old);
    } else {
      ours = std::make_unique<Check>(*this, check.probe);
      ++live_;
      ++without_outcome_;
      scheduler_.Spawn(*ours);
    }
    ours->SetMembers(check.members, now);
  }
  for (auto& [key, check] : before) {
    check->SetMembers({}, now);
    ending_.push_back(std::move(check));
    ending_.back()->Interrupt(scheduler_);
  }
}

void HealthChecker::Stop() {
  if (stopping_) return;
  stopping_ = true;
  for (auto& [key, check] : std::exchange(checks_, {})) ending_.push_back(std::move(check));
  for (const auto& check : ending_) check->Interrupt(scheduler_);
}

void HealthChecker::Ended(Check& check) {
  if (check.fresh() && --without_outcome_ == 0) sink_.OnFirstRoundEnded();
  ending_.remove_if([&check](const auto& other) { return other.get() == &check; });
  if (--live_ == 0) sink_.OnChecksEnded();
}

int64_t HealthChecker::Jittered(absl::Duration whole) {
  const int64_t ns = absl::ToInt64Nanoseconds(whole);
  const int64_t part = ns / kJitterPart;
  if (part <= 0) return ns;
  return ns - part + static_cast<int64_t>(random_() % static_cast<uint64_t>(2 * part + 1));
}

}  // namespace parkway
