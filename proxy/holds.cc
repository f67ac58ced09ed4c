#include "proxy/holds.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace parkway {

bool Holds::IsThere(const std::string& name) const {
  const std::shared_ptr<const Plan> plan = plan_();
  return std::any_of(plan->listeners.begin(), plan->listeners.end(), [&](const auto& listener) {
    return listener->name == name && !listener->gone;
  });
}

Outcome Holds::Hold(const std::string& name) {
  if (!IsThere(name)) {
    return Outcome::Refused(
        absl::StrCat("listener pause: there is no listener ", name, "; nothing was changed"));
  }
  named_.insert(name);
  Apply();
  return Outcome::Done(absl::StrCat("listener ", name, " pauses, clients wait in the backlog"));
}

Outcome Holds::Release(const std::string& name) {
  if (!IsThere(name)) {
    return Outcome::Refused(
        absl::StrCat("listener resume: there is no listener ", name, "; nothing was changed"));
  }
  named_.erase(name);
  Apply();
  return Outcome::Done(absl::StrCat("listener ", name, " accepts"));
}

void Holds::HoldAll(bool hold) {
  all_ = hold;
  Apply();
}

void Holds::Follow() {
  std::erase_if(named_, [this](const std::string& name) { return !IsThere(name); });
}

void Holds::Apply() const {
  const std::shared_ptr<const Plan> plan = plan_();
  for (size_t i = 0; i < plan->listeners.size(); ++i) {
    for (const auto& worker : workers_) worker->PostHold(i, holds(plan->listeners[i]->name));
  }
}

}  // namespace parkway
