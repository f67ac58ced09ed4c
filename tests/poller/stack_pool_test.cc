#include "poller/stack_pool.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/config.h"
#include "gtest/gtest.h"

#ifdef ABSL_HAVE_ADDRESS_SANITIZER
#include <sanitizer/lsan_interface.h>
#endif

namespace parkway {
namespace {

// Sent into a stack: dirties `depth` bytes of it, and switches back in between if `parks`.
struct Work {
  StackContext* context;
  size_t depth;
  bool parks = false;
};

__attribute__((noinline)) void Dirty(size_t depth) {
  volatile char frame[1024];
  std::memset(const_cast<char*>(frame), 1, sizeof(frame));
  if (depth > sizeof(frame)) Dirty(depth - sizeof(frame));
  frame[0] = 2;  // not a tail call
}

void* RunWork(void* message) {
  Work& work = *static_cast<Work*>(message);
  Dirty(work.depth);
  if (work.parks) work.context->SwitchBack(nullptr);
  return nullptr;
}

size_t ResidentPages(const Stack& stack) {
  std::vector<unsigned char> pages(stack.bytes() / 4096);
  EXPECT_EQ(mincore(stack.bottom(), stack.bytes(), pages.data()), 0);
  size_t resident = 0;
  for (const unsigned char page : pages) resident += page & 1;
  return resident;
}

// The kernel refuses to read from a guard on our behalf, which tells it without dying.
bool IsReadable(const char* address) {
  int fds[2];
  EXPECT_EQ(pipe(fds), 0);
  const ssize_t written = write(fds[1], address, 1);
  const bool refused = written < 0 && errno == EFAULT;
  EXPECT_TRUE(refused || written == 1);
  close(fds[0]);
  close(fds[1]);
  return !refused;
}

size_t Mappings() {
  std::ifstream maps("/proc/self/maps");
  size_t lines = 0;
  for (std::string line; std::getline(maps, line);) ++lines;
  return lines;
}

std::vector<Stack*> AcquireAll(StackPool& pool, size_t count) {
  std::vector<Stack*> stacks;
  for (size_t i = 0; i < count; ++i) {
    stacks.push_back(pool.Acquire());
    EXPECT_NE(stacks.back(), nullptr);
  }
  return stacks;
}

void ReleaseAll(StackPool& pool, const std::vector<Stack*>& stacks) {
  for (Stack* stack : stacks) pool.Release(*stack);
}

TEST(StackPoolTest, LendsDifferentStacksUpToTheLimitAndThenNone) {
  StackPool pool({.max_stacks = 5}, RunWork);
  const std::vector<Stack*> stacks = AcquireAll(pool, 5);
  EXPECT_EQ(std::set<Stack*>(stacks.begin(), stacks.end()).size(), 5u);
  EXPECT_EQ(pool.Acquire(), nullptr);
  EXPECT_EQ(pool.in_use(), 5u);
  EXPECT_EQ(pool.limit(), 5u);

  pool.Release(*stacks[2]);
  EXPECT_EQ(pool.Acquire(), stacks[2]);
  EXPECT_EQ(pool.Acquire(), nullptr);
  ReleaseAll(pool, stacks);
}

TEST(StackPoolTest, LastReleasedIsFirstLent) {
  StackPool pool({.max_stacks = 8}, RunWork);
  const std::vector<Stack*> stacks = AcquireAll(pool, 3);
  pool.Release(*stacks[0]);
  pool.Release(*stacks[2]);
  pool.Release(*stacks[1]);
  EXPECT_EQ(pool.Acquire(), stacks[1]);
  EXPECT_EQ(pool.Acquire(), stacks[2]);
  EXPECT_EQ(pool.Acquire(), stacks[0]);
  ReleaseAll(pool, stacks);
}

TEST(StackPoolTest, CountsWhatIsInUseWarmAndItsHighWater) {
  StackPool pool({.max_stacks = 100, .warm_stacks = 4}, RunWork);
  const std::vector<Stack*> stacks = AcquireAll(pool, 10);
  EXPECT_EQ(pool.in_use(), 10u);
  EXPECT_EQ(pool.created(), 10u);
  EXPECT_EQ(pool.warm(), 0u);
  ReleaseAll(pool, stacks);
  EXPECT_EQ(pool.in_use(), 0u);
  EXPECT_EQ(pool.warm(), 4u);
  EXPECT_EQ(pool.high_water(), 10u);
  EXPECT_EQ(pool.created(), 10u);

  const std::vector<Stack*> again = AcquireAll(pool, 10);
  EXPECT_EQ(pool.warm(), 0u);
  EXPECT_EQ(pool.created(), 10u) << "cold stacks are lent again before new ones are made";
  EXPECT_EQ(pool.high_water(), 10u);
  ReleaseAll(pool, again);
}

TEST(StackPoolTest, AStackIsUsableFromItsTopToItsBottom) {
  StackPool pool({.max_stacks = 2}, RunWork);
  Stack* stack = pool.Acquire();
  ASSERT_EQ(stack->bytes(), kStackSlotBytes - kStackGuardBytes);
  std::memset(stack->bottom(), 0x5a, stack->bytes());
  EXPECT_EQ(stack->bottom()[0], 0x5a);
  EXPECT_EQ(stack->bottom()[stack->bytes() - 1], 0x5a);
  pool.Release(*stack);
}

TEST(StackPoolTest, RunsWorkNearlyAsDeepAsTheStack) {
  StackPool pool({.max_stacks = 2}, RunWork);
  Stack* stack = pool.Acquire();
  Work work{&stack->context(), stack->bytes() / 4};
  stack->context().SwitchTo(&work);
  EXPECT_TRUE(stack->context().at_rest());
  EXPECT_GE(ResidentPages(*stack), stack->bytes() / 4 / 4096);
  pool.Release(*stack);
}

class StackPoolGuardTest : public testing::TestWithParam<bool> {};

TEST_P(StackPoolGuardTest, EveryStackHasAGuardBelowItThatSurvivesGivingMemoryBack) {
  StackPool pool({.max_stacks = 40, .warm_stacks = 0, .force_mprotect = GetParam()}, RunWork);
  for (int round = 0; round < 2; ++round) {
    const std::vector<Stack*> stacks = AcquireAll(pool, 40);
    for (Stack* stack : stacks) {
      ASSERT_FALSE(IsReadable(stack->bottom() - 1));
      ASSERT_FALSE(IsReadable(stack->bottom() - kStackGuardBytes));
      ASSERT_TRUE(IsReadable(stack->bottom()));
      ASSERT_TRUE(IsReadable(stack->bottom() + stack->bytes() - 1));
      Work work{&stack->context(), 4096};
      stack->context().SwitchTo(&work);
    }
    ReleaseAll(pool, stacks);
  }
}

TEST_P(StackPoolGuardTest, FindsTheStackWhoseGuardWasHit) {
  // Three slabs, the last one partly used.
  StackPool pool({.max_stacks = 3000,
                  .slot_bytes = 4 * kStackGuardBytes,
                  .max_protected_stacks = 3000,
                  .force_mprotect = GetParam()},
                 RunWork);
  const std::vector<Stack*> stacks = AcquireAll(pool, 2100);
  for (const Stack* stack : stacks) {
    ASSERT_EQ(pool.FindGuard(stack->bottom() - 1), stack);
    ASSERT_EQ(pool.FindGuard(stack->bottom() - kStackGuardBytes), stack);
    ASSERT_EQ(pool.FindGuard(stack->bottom()), nullptr);
    ASSERT_EQ(pool.FindGuard(stack->bottom() + stack->bytes() - 1), nullptr);
  }
  const Stack& last = *stacks.back();
  EXPECT_EQ(pool.FindGuard(last.bottom() + last.bytes()), nullptr) << "no stack there yet";
  EXPECT_EQ(pool.FindGuard(&pool), nullptr);
  EXPECT_EQ(pool.FindGuard(nullptr), nullptr);
  ReleaseAll(pool, stacks);
}

TEST_P(StackPoolGuardTest, CostsTheMappingsThatTheHeaderSays) {
  const size_t before = Mappings();
  StackPool pool({.max_stacks = 500, .force_mprotect = GetParam()}, RunWork);
  const std::vector<Stack*> stacks = AcquireAll(pool, 500);
  const size_t per_stack = pool.uses_mprotect() ? 2 : 0;
  EXPECT_LE(Mappings(), before + 500 * per_stack + 8);
  ReleaseAll(pool, stacks);
}

INSTANTIATE_TEST_SUITE_P(ByAdviceAndByProtection, StackPoolGuardTest, testing::Bool(),
                         [](const auto& test) { return test.param ? "mprotect" : "advice"; });

TEST(StackPoolTest, WithProtectedGuardsTheirNumberIsTheLimit) {
  StackPool pool({.max_stacks = 100, .max_protected_stacks = 7, .force_mprotect = true}, RunWork);
  const std::vector<Stack*> stacks = AcquireAll(pool, 7);
  EXPECT_TRUE(pool.uses_mprotect());
  EXPECT_EQ(pool.limit(), 7u);
  EXPECT_EQ(pool.Acquire(), nullptr);
  ReleaseAll(pool, stacks);
}

TEST(StackPoolTest, IdleStacksBeyondTheWarmOnesHoldNoMemory) {
  StackPool pool({.max_stacks = 200, .warm_stacks = 16}, RunWork);
  const std::vector<Stack*> stacks = AcquireAll(pool, 200);
  for (Stack* stack : stacks) {
    Work work{&stack->context(), 12 * 1024};
    stack->context().SwitchTo(&work);
    ASSERT_GE(ResidentPages(*stack), 3u);
  }
  ReleaseAll(pool, stacks);

  size_t holding = 0;
  for (Stack* stack : stacks) holding += ResidentPages(*stack) > 0 ? 1 : 0;
  EXPECT_EQ(holding, 16u);

  // And they serve again.
  const std::vector<Stack*> again = AcquireAll(pool, 200);
  for (Stack* stack : again) {
    Work work{&stack->context(), 8 * 1024};
    stack->context().SwitchTo(&work);
    ASSERT_TRUE(stack->context().at_rest());
  }
  ReleaseAll(pool, again);
}

TEST(StackPoolTest, TrimmingKeepsTheStacksThatWereUsedLast) {
  StackPool pool({.max_stacks = 8, .warm_stacks = 8}, RunWork);
  const std::vector<Stack*> stacks = AcquireAll(pool, 4);
  for (Stack* stack : stacks) stack->bottom()[0] = 'x';
  ReleaseAll(pool, stacks);
  pool.Trim(5);
  EXPECT_EQ(pool.warm(), 4u);
  pool.Trim(1);
  EXPECT_EQ(pool.warm(), 1u);
  EXPECT_EQ(stacks[3]->bottom()[0], 'x') << "the last released";
  for (int i = 0; i < 3; ++i) EXPECT_EQ(stacks[i]->bottom()[0], 0) << "gave its memory back";
  EXPECT_EQ(pool.Acquire(), stacks[3]);
  ReleaseAll(pool, AcquireAll(pool, 7));
  pool.Trim(0);
  EXPECT_EQ(pool.warm(), 0u);
  pool.Release(*stacks[3]);
}

TEST(StackPoolTest, ManyTasksParkedAtOnceEachKeepTheirStack) {
  constexpr size_t kParked = 1000;
  StackPool pool({.max_stacks = kParked}, RunWork);
  const std::vector<Stack*> stacks = AcquireAll(pool, kParked);
  std::vector<Work> works;
  works.reserve(kParked);
  for (Stack* stack : stacks) {
    Work& work = works.emplace_back(Work{&stack->context(), 2048, true});
    stack->context().SwitchTo(&work);
    ASSERT_FALSE(stack->context().at_rest());
  }
  for (Stack* stack : stacks) {
    stack->context().SwitchTo(nullptr);
    ASSERT_TRUE(stack->context().at_rest());
  }
  ReleaseAll(pool, stacks);
}

TEST(StackPoolTest, OwnerNameIsForgottenOnRelease) {
  StackPool pool({.max_stacks = 1}, RunWork);
  Stack* stack = pool.Acquire();
  stack->set_owner_name("relay");
  EXPECT_STREQ(stack->owner_name(), "relay");
  pool.Release(*stack);
  EXPECT_EQ(pool.Acquire()->owner_name(), nullptr);
  pool.Release(*stack);
}

#ifdef ABSL_HAVE_ADDRESS_SANITIZER
void* HoldAllocation(void* message) {
  auto held = std::make_unique<std::vector<int>>(1000, 7);
  static_cast<StackContext*>(message)->SwitchBack(nullptr);
  return reinterpret_cast<void*>(static_cast<intptr_t>((*held)[999]));
}

TEST(StackPoolTest, WhatOnlyAParkedTaskHoldsIsNoLeak) {
  StackPool pool({.max_stacks = 4, .warm_stacks = 0}, HoldAllocation);
  Stack* cold = pool.Acquire();
  Stack* stack = pool.Acquire();
  pool.Release(*cold);
  stack->context().SwitchTo(&stack->context());
  EXPECT_EQ(__lsan_do_recoverable_leak_check(), 0);
  EXPECT_EQ(stack->context().SwitchTo(nullptr), reinterpret_cast<void*>(intptr_t{7}));
  pool.Release(*stack);
}
#endif

TEST(StackPoolDeathTest, ReleasingTwiceIsABrokenInvariant) {
  StackPool pool({.max_stacks = 2}, RunWork);
  Stack* stack = pool.Acquire();
  pool.Release(*stack);
  EXPECT_DEATH(pool.Release(*stack), "released twice");
}

TEST(StackPoolDeathTest, ReleasingAStackInTheMiddleOfAnEntryIsABrokenInvariant) {
  StackPool pool({.max_stacks = 2}, RunWork);
  Stack* stack = pool.Acquire();
  Work work{&stack->context(), 100, true};
  stack->context().SwitchTo(&work);
  EXPECT_DEATH(pool.Release(*stack), "while an entry is on it");
  stack->context().SwitchTo(nullptr);
  pool.Release(*stack);
}

}  // namespace
}  // namespace parkway
