// Slots of what is gone, and questions about connections that are asked meanwhile by its name.
#include "proxy/slot_reaper.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "poller/scheduler.h"
#include "proxy/census.h"
#include "proxy/conn_stream.h"
#include "proxy/conn_walk.h"
#include "proxy/control.h"
#include "proxy/core/plan.h"
#include "proxy/core/post_call.h"
#include "proxy/core/stats.h"
#include "proxy/drain.h"
#include "proxy/session/session.h"
#include "proxy/session/session_pool.h"
#include "proxy/slot_use.h"
#include "proxy/upstream/generation.h"
#include "proxy/upstream/views.h"

namespace parkway {
namespace {

std::shared_ptr<const Plan> OneListenerThatIsGone() {
  auto plan = std::make_shared<Plan>();
  ListenerPlan listener;
  listener.name = "old";
  listener.upstream = kNoUpstream;
  listener.gone = true;
  plan->listeners.push_back(std::make_shared<const ListenerPlan>(std::move(listener)));
  return plan;
}

constexpr SlotRef kOld{.kind = SlotRef::Kind::kListener, .slot = 0};

ConnQuestion AllOfOld() {
  ConnQuestion question;
  question.selector.listener = "old";
  return question;
}

// One worker without a connection, on the thread of those who ask it. It begins a walk when the
// test lets it.
class SlotReaperTest : public testing::Test, private SessionHost, private Views::Owner {
 protected:
  void OnNewView(const Generation&) override {}
  Progress Connect(Session&, Wake) override { return Progress::kFailed; }
  void LeaveQueue(Session&) override {}
  void Finished(Session&, const SessionEnd&) override {}
  void CountMoved(Session&) override {}

  void Settle() {
    while (scheduler_.HasReady()) scheduler_.Turn();
  }
  void LetWalk() {
    for (const auto& call : std::exchange(held_, {})) call(walks_);
    Settle();
  }
  // Up to where nobody refers to the slot, and only the log has something to write.
  void BeginRound() {
    reaper_.Follow(plan_);
    reaper_.Look();
    Settle();
    log_passes_ += 2;
  }
  void Look() {
    reaper_.Look();
    Settle();
  }

  const std::shared_ptr<const Plan> plan_ = OneListenerThatIsGone();
  Scheduler scheduler_{{.max_stacks = 8, .context = static_cast<SessionHost*>(this)}, nullptr};
  SessionPool sessions_;
  Generations generations_{plan_};
  LatestGeneration latest_{generations_.current()};
  Views views_{latest_, *this};
  WorkerStats stats_;
  Census census_{scheduler_, sessions_, *this};
  Drains drains_{scheduler_, sessions_, views_, 1};
  SlotUse::Acceptors acceptors_;
  const uint64_t last_session_ = 0;
  SlotUse use_{census_, views_, drains_, acceptors_, stats_, last_session_};
  ConnWalks walks_{scheduler_, sessions_, 0};
  std::vector<std::function<void(ConnWalks&)>> held_;
  ConnDesk conns_{
      scheduler_, 1,
      [this](size_t, std::function<void(ConnWalks&)> call) { held_.push_back(std::move(call)); },
      [this] { return plan_; }};
  uint64_t log_passes_ = 0;
  std::vector<SlotRef> vacated_;
  SlotReaper reaper_{{
      .workers = 1,
      .on_worker =
          [this](size_t, std::function<void(SlotUse&)> call) {
            PostCall(scheduler_, [this, call = std::move(call)] { call(use_); });
          },
      .post = [this](std::function<void()> call) { PostCall(scheduler_, std::move(call)); },
      .wake = [](absl::Duration) {},
      .connections = [](ServerRef) { return 0u; },
      .log_passes = [this] { return log_passes_; },
      .quiet = [this] { return !conns_.busy(); },
      .vacate = [this](const std::vector<SlotRef>& slots) { vacated_ = slots; },
      .free = [](const std::vector<SlotRef>&) {},
  }};
};

TEST_F(SlotReaperTest, WhatNobodyRefersToIsVacated) {
  BeginRound();
  EXPECT_TRUE(vacated_.empty());
  Look();
  EXPECT_EQ(vacated_.size(), 1u);
}

TEST_F(SlotReaperTest, ASlotIsNobodyElsesWhileAWorkerHasYetToKillByIt) {
  BeginRound();
  std::optional<Outcome> killed;
  conns_.Kill(AllOfOld().selector, [&killed](const Outcome& outcome) { killed = outcome; });
  Look();
  EXPECT_TRUE(vacated_.empty()) << "the worker has not gone through its connections";
  LetWalk();
  ASSERT_TRUE(killed.has_value());
  EXPECT_EQ(killed->text, "0 connections killed");
  Look();
  EXPECT_EQ(vacated_.size(), 1u);
}

TEST_F(SlotReaperTest, ASlotIsNobodyElsesWhileSomebodyIsShownWhatIsThere) {
  BeginRound();
  std::string wrong;
  std::unique_ptr<ConnStream> rows = conns_.Ask(
      AllOfOld(), [] {}, &wrong);
  ASSERT_NE(rows, nullptr) << wrong;
  Look();
  EXPECT_TRUE(vacated_.empty());
  LetWalk();
  EXPECT_TRUE(rows->Take().empty());
  EXPECT_TRUE(rows->done());
  Look();
  EXPECT_EQ(vacated_.size(), 1u);
}

TEST_F(SlotReaperTest, WhoGoesAwayBeforeTheEndKeepsNoSlot) {
  BeginRound();
  std::string wrong;
  std::unique_ptr<ConnStream> rows = conns_.Ask(
      AllOfOld(), [] {}, &wrong);
  ASSERT_NE(rows, nullptr) << wrong;
  Look();
  EXPECT_TRUE(vacated_.empty());
  rows.reset();
  Look();
  EXPECT_EQ(vacated_.size(), 1u);
  LetWalk();
}

TEST_F(SlotReaperTest, ASlotIsNobodyElsesWhileADrainThatBeganLateEndsConnectionsByIt) {
  BeginRound();
  DrainOrder order;
  order.whom = DrainOrder::Whom::kListeners;
  order.listeners = {kOld.slot};
  order.over = absl::Hours(1);
  reaper_.Use(kOld);
  drains_.Begin(order);
  Look();
  EXPECT_TRUE(vacated_.empty()) << "the worker has answered before it heard of the drain";
  BeginRound();
  Look();
  EXPECT_TRUE(vacated_.empty()) << "the drain goes on";
  drains_.Stop();
  Settle();
  BeginRound();
  Look();
  EXPECT_EQ(vacated_.size(), 1u);
}

}  // namespace
}  // namespace parkway
