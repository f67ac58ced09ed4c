#include "proxy/slot_reaper.h"

#include <algorithm>
#include <utility>

namespace parkway {

namespace {

// Gone, and not vacant yet.
std::vector<ServerRef> GoneIn(const Plan& plan) {
  std::vector<ServerRef> gone;
  for (size_t u = 0; u < plan.upstreams.size(); ++u) {
    const std::vector<ServerPlan>& servers = plan.upstreams[u]->servers;
    for (size_t s = 0; s < servers.size(); ++s) {
      if (!servers[s].gone || servers[s].vacant()) continue;
      gone.push_back({static_cast<uint16_t>(u), static_cast<uint16_t>(s)});
    }
  }
  return gone;
}

}  // namespace

void SlotReaper::Follow(const std::shared_ptr<const Plan>& plan) {
  plan_ = plan;
  if (asked_ != nullptr) {
    for (size_t i = 0; i < asked_->size(); ++i) {
      const ServerRef& slot = (*asked_)[i];
      // What is known of it is of before it came back.
      if (!plan->upstreams[slot.upstream]->servers[slot.server].gone) used_[i] = true;
    }
  }
  if (state_ != State::kResting || waking_ || GoneIn(*plan).empty()) return;
  waking_ = true;
  host_.wake(kBetweenRounds);
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
  std::vector<ServerRef> slots = GoneIn(*plan_);
  if (slots.empty()) return;
  std::erase_if(slots, [this](ServerRef slot) { return host_.connections(slot) > 0; });
  if (slots.empty()) return Finish();
  used_.assign(slots.size(), false);
  asked_ = std::make_shared<const std::vector<ServerRef>>(std::move(slots));
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
  host_.vacate(vacated_);
  const auto slots = std::make_shared<const std::vector<ServerRef>>(vacated_);
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
