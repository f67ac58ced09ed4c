#include "proxy/slot_reaper.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "proxy/inbound/front.h"

namespace parkway {

namespace {

void AddGoneServers(const Plan& plan, std::vector<SlotRef>& gone) {
  for (size_t u = 0; u < plan.upstreams.size(); ++u) {
    const std::vector<ServerPlan>& servers = plan.upstreams[u]->servers;
    for (size_t s = 0; s < servers.size(); ++s) {
      if (!servers[s].gone || servers[s].vacant()) continue;
      gone.push_back({.slot = static_cast<uint16_t>(u), .server = static_cast<uint16_t>(s)});
    }
  }
}

void AddGoneListeners(const Plan& plan, std::vector<SlotRef>& gone) {
  for (size_t i = 0; i < plan.listeners.size(); ++i) {
    if (!plan.listeners[i]->gone || plan.listeners[i]->vacant()) continue;
    gone.push_back({.kind = SlotRef::Kind::kListener, .slot = static_cast<uint16_t>(i)});
  }
}

// Where connections may still be led, if only those of a backlog.
std::vector<bool> Targets(const Plan& plan) {
  std::vector<bool> targets(plan.upstreams.size());
  for (const auto& listener : plan.listeners) {
    if (listener->vacant()) continue;
    if (listener->upstream != kNoUpstream) targets[listener->upstream] = true;
    if (listener->front == nullptr) continue;
    for (const size_t upstream : listener->front->routes.upstreams()) targets[upstream] = true;
  }
  return targets;
}

void AddGoneUpstreams(const Plan& plan, std::vector<SlotRef>& gone) {
  std::vector<bool> targets;
  for (size_t u = 0; u < plan.upstreams.size(); ++u) {
    const UpstreamPlan& upstream = *plan.upstreams[u];
    if (!upstream.gone || upstream.vacant()) continue;
    if (!std::all_of(upstream.servers.begin(), upstream.servers.end(),
                     [](const ServerPlan& server) { return server.vacant(); })) {
      continue;
    }
    if (targets.empty()) targets = Targets(plan);
    if (targets[u]) continue;
    gone.push_back({.kind = SlotRef::Kind::kUpstream, .slot = static_cast<uint16_t>(u)});
  }
}

// Gone, and not vacant yet.
std::vector<SlotRef> GoneIn(const Plan& plan) {
  std::vector<SlotRef> gone;
  AddGoneServers(plan, gone);
  AddGoneListeners(plan, gone);
  AddGoneUpstreams(plan, gone);
  return gone;
}

bool IsGone(const Plan& plan, const SlotRef& ref) {
  if (ref.kind == SlotRef::Kind::kListener) return plan.listeners[ref.slot]->gone;
  const UpstreamPlan& upstream = *plan.upstreams[ref.slot];
  return ref.kind == SlotRef::Kind::kUpstream ? upstream.gone : upstream.servers[ref.server].gone;
}

// Who goes on with the numbers of a listener, as `slots` are vacated: one that is there, else one
// that still has connections.
std::optional<uint16_t> HeirOf(const Plan& plan, const SlotRef& ref,
                               const std::vector<SlotRef>& slots) {
  if (ref.kind != SlotRef::Kind::kListener) return std::nullopt;
  std::optional<uint16_t> heir;
  for (size_t i = 0; i < plan.listeners.size(); ++i) {
    const ListenerPlan& other = *plan.listeners[i];
    if (other.name != plan.listeners[ref.slot]->name) continue;
    const SlotRef as{.kind = SlotRef::Kind::kListener, .slot = static_cast<uint16_t>(i)};
    if (!other.gone) return as.slot;
    if (std::find(slots.begin(), slots.end(), as) == slots.end()) heir = as.slot;
  }
  return heir;
}

}  // namespace

void SlotReaper::Follow(const std::shared_ptr<const Plan>& plan) {
  plan_ = plan;
  if (asked_ != nullptr) {
    for (size_t i = 0; i < asked_->size(); ++i) {
      // What is known of it is of before it came back.
      if (!IsGone(*plan, (*asked_)[i])) used_[i] = true;
    }
  }
  if (state_ != State::kResting || waking_ || GoneIn(*plan).empty()) return;
  waking_ = true;
  host_.wake(kBetweenRounds);
}

void SlotReaper::Use(const SlotRef& slot) {
  if (asked_ == nullptr) return;
  const auto found = std::find(asked_->begin(), asked_->end(), slot);
  if (found != asked_->end()) used_[found - asked_->begin()] = true;
}

void SlotReaper::Look() {
  if (state_ == State::kResting) {
    waking_ = false;
    Begin();
  } else if (state_ == State::kLogging) {
    Vacate();
  }
}

void SlotReaper::OnEach(const std::function<void(SlotUse&, std::function<void()> done)>& call,
                        std::function<void()> all_done) {
  left_ = host_.workers;
  for (size_t i = 0; i < host_.workers; ++i) {
    host_.on_worker(i, [this, call, all_done](SlotUse& use) {
      call(use, [this, all_done] {
        host_.post([this, all_done] {
          if (--left_ == 0) all_done();
        });
      });
    });
  }
}

void SlotReaper::Begin() {
  std::vector<SlotRef> slots = GoneIn(*plan_);
  if (slots.empty()) return;
  std::erase_if(slots, [this](const SlotRef& slot) {
    return slot.kind == SlotRef::Kind::kServer &&
           host_.connections({.upstream = slot.slot, .server = slot.server}) > 0;
  });
  if (slots.empty()) return Finish();
  used_.assign(slots.size(), false);
  asked_ = std::make_shared<const std::vector<SlotRef>>(std::move(slots));
  state_ = State::kMarking;
  OnEach(
      [](SlotUse& use, const std::function<void()>& done) {
        use.Mark();
        done();
      },
      [this] { Ask(); });
}

void SlotReaper::Ask() {
  state_ = State::kAsking;
  left_ = host_.workers;
  for (size_t i = 0; i < host_.workers; ++i) {
    host_.on_worker(i, [this, slots = asked_](SlotUse& use) {
      use.Ask(slots, [this](std::vector<bool> used) {
        host_.post([this, used = std::move(used)] { OnAnswer(used); });
      });
    });
  }
}

void SlotReaper::OnAnswer(const std::vector<bool>& used) {
  for (size_t i = 0; i < used.size(); ++i) {
    if (used[i]) used_[i] = true;
  }
  if (--left_ > 0) return;
  if (std::find(used_.begin(), used_.end(), false) == used_.end()) return Finish();
  state_ = State::kLogging;
  passes_ = host_.log_passes();
  host_.wake(kLogLook);
}

void SlotReaper::Vacate() {
  // A pass that was under way may have looked at a ring before; the next one has not.
  if (host_.log_passes() < passes_ + 2 || !host_.quiet()) return host_.wake(kLogLook);
  vacated_.clear();
  for (size_t i = 0; i < used_.size(); ++i) {
    if (!used_[i]) vacated_.push_back((*asked_)[i]);
  }
  if (vacated_.empty()) return Finish();
  state_ = State::kClearing;
  const auto slots = std::make_shared<std::vector<SlotUse::Vacated>>();
  for (const SlotRef& slot : vacated_) {
    slots->push_back({.slot = slot, .heir = HeirOf(*plan_, slot, vacated_)});
  }
  host_.vacate(vacated_);
  OnEach(
      [slots](SlotUse& use, const std::function<void()>& done) {
        use.Clear(*slots);
        done();
      },
      [this] {
        host_.free(vacated_);
        Finish();
      });
}

void SlotReaper::Finish() {
  state_ = State::kResting;
  asked_ = nullptr;
  used_.clear();
  if (GoneIn(*plan_).empty()) return;
  waking_ = true;
  host_.wake(kBetweenRounds);
}

}  // namespace parkway
