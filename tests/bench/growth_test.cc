// That the measurement of growth measures what it says, with few sessions; the bar of memory with
// them, for it does not depend on the machine.
#include "gtest/gtest.h"
#include "tests/bench/growth_world.h"
#include "tests/bench/script_kernel.h"
#include "tests/scale.h"

namespace parkway::bench {
namespace {

constexpr size_t kFew = 1000;
constexpr size_t kMany = 21'000;

TEST(GrowthTest, AnIdleSessionTakesAtMost512BytesAndNothingIsLeft) {
  const size_t before = ScriptKernel::Get().mappings();
  {
    GrowthWorld world(kMany);
    world.Open(kFew);
    const size_t few = GrowthWorld::ResidentBytes();
    world.Open(kMany);
    const size_t many = GrowthWorld::ResidentBytes();
    // The sanitizers' malloc answers no questions, and theirs is not the memory in question.
    if (scale::kBuild == scale::Build::kOptimised) {
      EXPECT_LE(many - few, 512 * (kMany - kFew));
    }
    // Not less than what a session and two descriptors are.
    EXPECT_GE(many - few, 450 * (kMany - kFew));
    EXPECT_EQ(world.CloseAll(), "");
  }
  EXPECT_EQ(ScriptKernel::Get().mappings(), before);
  EXPECT_EQ(ScriptKernel::Get().open_sockets(), 0);
}

TEST(GrowthTest, EachEventIsRelayedToTheOtherSideOnce) {
  GrowthWorld world(kFew);
  world.Open(kFew);
  ScriptKernel& kernel = ScriptKernel::Get();
  EXPECT_GT(world.RunRequests(kFew, 4 * kFew), 0);
  EXPECT_GT(world.RunRequests(kFew / 2, kFew), 0);
  EXPECT_EQ(kernel.receives, kernel.sends);
  EXPECT_EQ(kernel.astray, 0u);
  EXPECT_EQ(world.sessions(), kFew);
  EXPECT_EQ(world.CloseAll(), "");
  EXPECT_GT(RunBareRequests(kFew, kFew, kFew), 0);
}

}  // namespace
}  // namespace parkway::bench
