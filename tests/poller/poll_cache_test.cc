// Where descriptors come from, and what a number finds.
#include "poller/poll_cache.h"

#include <atomic>
#include <cstdint>
#include <set>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "poller/poll_desc.h"

namespace parkway {
namespace {

void End(PollCache& cache, PollDesc& desc) {
  desc.Evict(desc.fdseq());
  desc.Close();
  cache.Free(desc);
}

TEST(PollCacheTest, EveryDescriptorHasANumberOfItsOwnAndIsFoundByIt) {
  PollCache cache(nullptr);
  ASSERT_TRUE(cache.ok());
  std::set<uint32_t> numbers;
  std::vector<PollDesc*> descs;
  for (int i = 0; i < 1000; ++i) {
    PollDesc* desc = cache.Allocate();
    ASSERT_NE(desc, nullptr);
    desc->Open(i, nullptr);
    EXPECT_TRUE(numbers.insert(desc->index()).second);
    EXPECT_EQ(cache.Find(desc->index()), desc);
    descs.push_back(desc);
  }
  EXPECT_EQ(numbers.count(0), 0u) << "0 is the wake-up";
  EXPECT_EQ(cache.in_use(), 1000u);
  for (PollDesc* desc : descs) End(cache, *desc);
  EXPECT_EQ(cache.in_use(), 0u);
  EXPECT_EQ(cache.high_water(), 1000u);
}

TEST(PollCacheTest, NumbersThatNeverWereFindNothingAndThoseThatWereAlwaysFind) {
  PollCache cache(nullptr);
  EXPECT_EQ(cache.Find(0), nullptr);
  EXPECT_EQ(cache.Find(1), nullptr);
  PollDesc* desc = cache.Allocate();
  desc->Open(7, nullptr);
  const uint32_t index = desc->index();
  End(cache, *desc);
  EXPECT_EQ(cache.Find(index), desc) << "descriptors are type-stable";
  EXPECT_EQ(cache.Find(0xffffffff), nullptr);
  EXPECT_EQ(cache.Find(PollCache::kMaxDescriptors), nullptr);
}

TEST(PollCacheTest, TheLastFreedIsTheFirstReusedUnderANewSequence) {
  PollCache cache(nullptr);
  PollDesc* a = cache.Allocate();
  PollDesc* b = cache.Allocate();
  a->Open(1, nullptr);
  b->Open(2, nullptr);
  const PollHandle old = b->handle();
  End(cache, *a);
  End(cache, *b);
  EXPECT_EQ(cache.Allocate(), b);
  b->Open(3, nullptr);
  EXPECT_EQ(b->handle().index, old.index);
  EXPECT_NE(b->handle().fdseq, old.fdseq);
  EXPECT_EQ(cache.Allocate(), a);
}

TEST(PollCacheTest, ADescriptorLeadsToItsOwner) {
  int owner = 0;
  PollCache cache(&owner);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(PollCache::OwnerOf(*cache.Allocate()), &owner);
}

TEST(PollCacheTest, AnybodyMayLookWhileTheOwnerAddsSlabs) {
  PollCache cache(nullptr);
  std::atomic<bool> over{false};
  std::thread other([&] {
    uint32_t found = 0;
    while (!over.load()) {
      for (uint32_t index = 1; index < 5000; ++index) {
        PollDesc* desc = cache.Find(index);
        if (desc == nullptr) break;
        // Any handle may be guessed: all that it reads is there.
        EXPECT_EQ(desc->index(), index);
        EXPECT_FALSE(desc->Evict(0).applied);
        ++found;
      }
    }
  });
  for (int i = 0; i < 5000; ++i) cache.Allocate()->Open(i, nullptr);
  over = true;
  other.join();
}

TEST(PollCacheDeathTest, FreeingMoreThanWasAllocatedIsABrokenInvariant) {
  PollCache cache(nullptr);
  PollDesc* desc = cache.Allocate();
  desc->Open(1, nullptr);
  End(cache, *desc);
  EXPECT_DEATH(cache.Free(*desc), "more descriptors freed than allocated");
}

}  // namespace
}  // namespace parkway
