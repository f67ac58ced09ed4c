// The pool of stacks on a kernel that refuses: this test is linked with calls of its own in place
// of the real ones.
#include <sys/mman.h>

#include <cerrno>
#include <vector>

#include "gtest/gtest.h"
#include "poller/kernel.h"
#include "poller/stack_pool.h"

namespace parkway {
namespace {

constexpr int kMadvGuardInstall = 102;

// What the next calls say instead of doing it; 0: they do it.
struct Faults {
  int map = 0;
  int guard = 0;
  int no_huge_pages = 0;
  int protect = 0;
};
Faults faults;
int protected_pages = 0;

}  // namespace

namespace kernel {

void* Map(size_t bytes) {
  if (faults.map != 0) return nullptr;
  void* start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return start == MAP_FAILED ? nullptr : start;
}

int Unmap(void* start, size_t bytes) { return munmap(start, bytes) == 0 ? 0 : -errno; }

int Advise(void* start, size_t bytes, int advice) {
  if (advice == kMadvGuardInstall) return faults.guard;  // "installed": nobody here touches it
  if (advice == MADV_NOHUGEPAGE && faults.no_huge_pages != 0) return faults.no_huge_pages;
  return madvise(start, bytes, advice) == 0 ? 0 : -errno;
}

int ProtectNone(void* start, size_t bytes) {
  if (faults.protect != 0) return faults.protect;
  ++protected_pages;
  return mprotect(start, bytes, PROT_NONE) == 0 ? 0 : -errno;
}

}  // namespace kernel

namespace {

void* Nothing(void*) { return nullptr; }

class StackPoolFaultTest : public testing::Test {
 protected:
  StackPoolFaultTest() {
    faults = {};
    protected_pages = 0;
  }
  ~StackPoolFaultTest() override {
    for (Stack* stack : lent_) pool_.Release(*stack);
  }

  bool Acquire() {
    Stack* stack = pool_.Acquire();
    if (stack == nullptr) return false;
    lent_.push_back(stack);
    stack->context().SwitchTo(nullptr);
    return true;
  }

  StackPool pool_{{.max_stacks = 100, .max_protected_stacks = 3}, Nothing};
  std::vector<Stack*> lent_;
};

TEST_F(StackPoolFaultTest, AKernelWithoutGuardAdviceGetsProtectedGuardsUpToTheirBound) {
  faults.guard = -EINVAL;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Acquire());
  EXPECT_FALSE(Acquire());
  EXPECT_TRUE(pool_.uses_mprotect());
  EXPECT_EQ(pool_.limit(), 3u);
  EXPECT_EQ(protected_pages, 3);
}

TEST_F(StackPoolFaultTest, GuardsThatExistStayWhenTheAdviceStopsWorking) {
  EXPECT_TRUE(Acquire());
  EXPECT_TRUE(Acquire());
  EXPECT_FALSE(pool_.uses_mprotect());
  faults.guard = -EINVAL;  // somebody called mlockall
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Acquire());
  EXPECT_FALSE(Acquire());
  EXPECT_EQ(pool_.limit(), 5u);
  EXPECT_EQ(protected_pages, 3);
}

TEST_F(StackPoolFaultTest, WithoutMemoryForAGuardThereIsNoStackButTheNextTryMaySucceed) {
  faults.guard = -ENOMEM;
  EXPECT_FALSE(Acquire());
  EXPECT_FALSE(pool_.uses_mprotect());
  EXPECT_EQ(pool_.in_use(), 0u);
  faults.guard = 0;
  EXPECT_TRUE(Acquire());
  EXPECT_EQ(pool_.in_use(), 1u);
}

TEST_F(StackPoolFaultTest, AProtectionThatFailsLendsNoStackWithoutGuard) {
  faults.guard = -EINVAL;
  faults.protect = -ENOMEM;  // vm.max_map_count
  EXPECT_FALSE(Acquire());
  EXPECT_FALSE(Acquire());
  faults.protect = 0;
  EXPECT_TRUE(Acquire());
}

TEST_F(StackPoolFaultTest, WithoutAMappingThereIsNoStackButTheNextTryMaySucceed) {
  faults.map = -ENOMEM;
  EXPECT_FALSE(Acquire());
  faults.map = 0;
  EXPECT_TRUE(Acquire());
}

TEST_F(StackPoolFaultTest, AKernelWithoutHugePagesIsNoFault) {
  faults.no_huge_pages = -EINVAL;
  EXPECT_TRUE(Acquire());
}

}  // namespace
}  // namespace parkway
