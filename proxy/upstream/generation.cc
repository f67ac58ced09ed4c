#include "proxy/upstream/generation.h"

#include <utility>

namespace parkway {

Generations::Generations(std::shared_ptr<const Plan> plan) {
  Commit(Prepare(std::move(plan)), MonotonicTime());
}

void Generations::set_watcher(ServerWatcher* watcher) {
  watcher_ = watcher;
  for (const auto& balancer : balancers_) balancer->set_watcher(watcher);
}

std::shared_ptr<const Generation> Generations::Prepare(std::shared_ptr<const Plan> plan) {
  const size_t before = current_ == nullptr ? 0 : current_->rosters.size();
  while (balancers_.size() < plan->upstreams.size()) {
    balancers_.push_back(std::make_unique<Balancer>(balancers_.size()));
    balancers_.back()->set_watcher(watcher_);
  }
  auto next = std::make_shared<Generation>();
  if (current_ != nullptr) next->number = current_->number + 1;
  bool changed = current_ == nullptr || plan->upstreams.size() != before;
  next->rosters.reserve(plan->upstreams.size());
  for (size_t i = 0; i < plan->upstreams.size(); ++i) {
    const std::shared_ptr<const UpstreamPlan>& upstream = plan->upstreams[i];
    const Roster* old = i < before ? current_->rosters[i].get() : nullptr;
    if (old != nullptr && old->shared_plan() == upstream) {
      next->rosters.push_back(current_->rosters[i]);
      continue;
    }
    changed = true;
    next->rosters.push_back(balancers_[i]->MakeRoster(upstream, old));
  }
  next->checks = changed ? std::make_shared<const std::vector<HealthCheck>>(ChecksOf(*plan))
                         : current_->checks;
  next->plan = std::move(plan);
  return next;
}

void Generations::Commit(const std::shared_ptr<const Generation>& next, MonotonicTime now,
                         const std::function<void()>& announce) {
  std::vector<size_t> changed;
  for (size_t i = 0; i < next->rosters.size(); ++i) {
    const Roster* old =
        current_ != nullptr && i < current_->rosters.size() ? current_->rosters[i].get() : nullptr;
    if (old == next->rosters[i].get()) continue;
    balancers_[i]->Welcome(*next->rosters[i], old, now);
    changed.push_back(i);
  }
  if (announce) announce();
  for (const size_t i : changed) balancers_[i]->Dismiss(*next->rosters[i]);
  current_ = next;
}

}  // namespace parkway
