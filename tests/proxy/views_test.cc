#include "proxy/upstream/views.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "poller/clock.h"
#include "proxy/core/plan.h"
#include "proxy/upstream/generation.h"
#include "proxy/upstream/server.h"

namespace parkway {
namespace {

UpstreamPlan UpstreamWith(const std::string& name, const std::vector<std::string>& servers) {
  UpstreamPlan upstream;
  upstream.name = name;
  for (const std::string& server : servers) upstream.servers.push_back({server, {}});
  return upstream;
}

std::shared_ptr<const Plan> TwoUpstreams() {
  auto plan = std::make_shared<Plan>();
  plan->Add(UpstreamWith("app", {"a", "b"}));
  plan->Add(UpstreamWith("db", {"c"}));
  return plan;
}

// The first upstream has another server as well.
std::shared_ptr<const Plan> WithOneMore(const Plan& before) {
  auto plan = std::make_shared<Plan>(before);
  UpstreamPlan app = *plan->upstreams[0];
  app.servers.push_back({"more" + std::to_string(app.servers.size()), {}});
  plan->upstreams[0] = std::make_shared<const UpstreamPlan>(std::move(app));
  return plan;
}

class ViewsTest : public testing::Test, public Views::Owner {
 protected:
  void OnNewView(const Generation& before) override { seen_.push_back(&before); }

  // Returns what is watched only.
  std::weak_ptr<const Generation> Publish() {
    auto next = generations_.Prepare(WithOneMore(*generations_.current()->plan));
    generations_.Commit(next, MonotonicTime(1));
    latest_.Set(next);
    return next;
  }

  Generations generations_{TwoUpstreams()};
  LatestGeneration latest_{generations_.current()};
  std::vector<const Generation*> seen_;
  Views views_{latest_, *this};
};

TEST_F(ViewsTest, AViewStaysUntilItCatchesUpAndTheOwnerSeesTheOneBefore) {
  const Generation* const first = &views_.now();
  const auto next = Publish();
  EXPECT_EQ(&views_.now(), first);
  views_.CatchUp();
  EXPECT_EQ(&views_.now(), next.lock().get());
  EXPECT_EQ(seen_, std::vector<const Generation*>{first});
  views_.CatchUp();
  EXPECT_EQ(seen_.size(), 1u);
}

TEST_F(ViewsTest, WhatNobodyPinsIsFreedAtOnce) {
  const std::weak_ptr<const Generation> first = generations_.current();
  Publish();
  EXPECT_FALSE(first.expired());
  views_.CatchUp();
  EXPECT_TRUE(first.expired());
  EXPECT_EQ(views_.size(), 1u);
}

TEST_F(ViewsTest, APinKeepsItsGenerationThroughSeveralLaterOnes) {
  const std::weak_ptr<const Generation> first = generations_.current();
  std::optional<Views::Pin> pin(std::in_place, views_);
  std::optional<Views::Pin> other(std::in_place, views_);
  const auto second = Publish();
  views_.CatchUp();
  Publish();
  views_.CatchUp();
  EXPECT_TRUE(second.expired());  // of which nobody has a pin
  EXPECT_EQ(views_.size(), 2u);
  EXPECT_EQ((*pin)->roster(0).size(), 2u);
  EXPECT_EQ(views_.now().roster(0).size(), 4u);

  other->Renew();
  EXPECT_EQ(&**other, &views_.now());
  EXPECT_FALSE(first.expired());
  pin.reset();
  EXPECT_TRUE(first.expired());
  other.reset();  // of the present one, which stays
  EXPECT_EQ(views_.size(), 1u);
  EXPECT_EQ(views_.now().roster(0).size(), 4u);
}

TEST_F(ViewsTest, AGenerationSharesTheRostersOfWhatIsTheSame) {
  const auto before = generations_.current();
  Publish();
  const auto now = generations_.current();
  EXPECT_EQ(now->rosters[1], before->rosters[1]);
  EXPECT_NE(now->rosters[0], before->rosters[0]);
  // One record of a server for all of them.
  EXPECT_EQ(&now->roster(0).server(1), &before->roster(0).server(1));
}

TEST_F(ViewsTest, WhatIsPreparedChangesNothingForAnybody) {
  const auto before = generations_.current();
  auto plan = std::make_shared<Plan>(*before->plan);
  UpstreamPlan app = *plan->upstreams[0];
  app.servers[0].gone = true;
  plan->upstreams[0] = std::make_shared<const UpstreamPlan>(std::move(app));
  const auto next = generations_.Prepare(plan);
  EXPECT_EQ(generations_.current(), before);
  EXPECT_EQ(before->roster(0).server(0).flags(), 0u);
  generations_.Commit(next, MonotonicTime(1));
  EXPECT_EQ(before->roster(0).server(0).flags(), Server::kGone);
  EXPECT_EQ(next->roster(0).present(), 1u);
}

}  // namespace
}  // namespace parkway
