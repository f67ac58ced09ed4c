#include "poller/pools.h"

#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/base/config.h"
#include "gtest/gtest.h"

namespace parkway {
namespace {

constexpr size_t kNoCap = size_t{1} << 40;
constexpr size_t kKiB = 1024;

size_t ResidentBytes(Chunk& chunk) {
  std::vector<unsigned char> pages(chunk.capacity() / 4096);
  if (mincore(chunk.data(), chunk.capacity(), pages.data()) != 0) return 0;  // unmapped
  size_t resident = 0;
  for (const unsigned char page : pages) resident += (page & 1) != 0 ? 4096 : 0;
  return resident;
}

// The same of an address whose chunk may be gone.
size_t ResidentBytesAt(char* start, size_t bytes) {
  size_t resident = 0;
  for (size_t at = 0; at < bytes; at += 4096) {
    unsigned char page = 0;
    if (mincore(start + at, 4096, &page) == 0 && (page & 1) != 0) resident += 4096;
  }
  return resident;
}

void Fill(Chunk& chunk, char with) { std::memset(chunk.data(), with, chunk.capacity()); }

TEST(ChunkPoolTest, LendsTheSmallestSizeThatHoldsTheBytes) {
  ChunkPool pool(kNoCap);
  for (const auto& [bytes, capacity] :
       std::vector<std::pair<size_t, size_t>>{{0, 4 * kKiB},
                                              {1, 4 * kKiB},
                                              {4 * kKiB, 4 * kKiB},
                                              {4 * kKiB + 1, 16 * kKiB},
                                              {16 * kKiB, 16 * kKiB},
                                              {16 * kKiB + 1, 64 * kKiB},
                                              {64 * kKiB, 64 * kKiB}}) {
    Chunk* chunk = pool.Borrow(bytes);
    ASSERT_NE(chunk, nullptr);
    EXPECT_EQ(chunk->capacity(), capacity) << bytes;
    pool.Return(*chunk);
  }
}

// What records of chunks an allocator held would stay with it after a burst.
TEST(ChunkPoolTest, ABurstAsksTheAllocatorForNothing) {
  ChunkPool pool(kNoCap);
  std::vector<Chunk*> chunks(3000);
  const auto allocated = [] { return mallinfo2().uordblks; };  // a sanitizer's says 0
  const size_t before = allocated();
  for (size_t i = 0; i < chunks.size(); ++i) chunks[i] = pool.Borrow(ChunkPool::kSizes[i % 3]);
  EXPECT_EQ(allocated(), before);
  for (Chunk* chunk : chunks) pool.Return(*chunk);
  EXPECT_EQ(allocated(), before);
}

TEST(ChunkPoolTest, ChunksDoNotOverlapAndKeepTheirBytes) {
  ChunkPool pool(kNoCap);
  std::vector<Chunk*> chunks;
  for (int i = 0; i < 600; ++i) {
    chunks.push_back(pool.Borrow(ChunkPool::kSizes[static_cast<size_t>(i) % 3]));
    ASSERT_NE(chunks.back(), nullptr);
    Fill(*chunks.back(), static_cast<char>(i));
  }
  for (int i = 0; i < 600; ++i) {
    Chunk& chunk = *chunks[static_cast<size_t>(i)];
    for (size_t at = 0; at < chunk.capacity(); at += 1000) {
      ASSERT_EQ(chunk.data()[at], static_cast<char>(i));
    }
    pool.Return(chunk);
  }
}

TEST(ChunkPoolTest, CountsWhatIsLentAndItsHighWater) {
  ChunkPool pool(kNoCap);
  Chunk* small = pool.Borrow(100);
  Chunk* large = pool.Borrow(40 * kKiB);
  EXPECT_EQ(pool.in_use(), 2u);
  EXPECT_EQ(pool.in_use_bytes(), 68 * kKiB);
  pool.Return(*large);
  EXPECT_EQ(pool.in_use(), 1u);
  EXPECT_EQ(pool.in_use_bytes(), 4 * kKiB);
  EXPECT_EQ(pool.high_water_bytes(), 68 * kKiB);
  pool.Return(*small);
  EXPECT_EQ(pool.in_use_bytes(), 0u);
}

TEST(ChunkPoolTest, LendsNothingBeyondItsCap) {
  ChunkPool pool(100 * kKiB);
  Chunk* first = pool.Borrow(64 * kKiB);
  ASSERT_NE(first, nullptr);
  EXPECT_FALSE(pool.CanBorrow(1));
  EXPECT_EQ(pool.Borrow(64 * kKiB), nullptr);
  Chunk* second = pool.Borrow(16 * kKiB);
  Chunk* third = pool.Borrow(16 * kKiB);
  ASSERT_NE(second, nullptr);
  ASSERT_NE(third, nullptr);
  EXPECT_EQ(pool.Borrow(16 * kKiB), nullptr);
  Chunk* fourth = pool.Borrow(4 * kKiB);
  ASSERT_NE(fourth, nullptr);
  EXPECT_EQ(pool.in_use_bytes(), 100 * kKiB);
  EXPECT_EQ(pool.Borrow(1), nullptr);
  pool.Return(*first);
  EXPECT_TRUE(pool.CanBorrow(64 * kKiB));
  for (Chunk* chunk : {second, third, fourth}) pool.Return(*chunk);
}

TEST(ChunkPoolTest, WhatWasPromisedIsLent) {
  ChunkPool pool(1000 * kKiB);
  std::vector<Chunk*> chunks;
  while (pool.CanBorrow(16 * kKiB)) {
    chunks.push_back(pool.Borrow(16 * kKiB));
    ASSERT_NE(chunks.back(), nullptr);
  }
  EXPECT_GT(pool.in_use_bytes(), 900 * kKiB);
  for (Chunk* chunk : chunks) pool.Return(*chunk);
}

TEST(ChunkPoolTest, ABorrowedChunkHoldsMemoryOnlyWhereItIsTouched) {
  ChunkPool pool(kNoCap);
  Chunk* chunk = pool.Borrow(64 * kKiB);
  EXPECT_EQ(ResidentBytes(*chunk), 0u);
  chunk->data()[0] = 1;
  chunk->data()[20 * kKiB] = 1;
  EXPECT_EQ(ResidentBytes(*chunk), 8 * kKiB) << "no huge page either";
  pool.Return(*chunk);
}

TEST(ChunkPoolTest, AfterABurstOnlyTheWarmOnesHoldMemory) {
  ChunkPool pool(kNoCap);
  for (const size_t size : ChunkPool::kSizes) {
    std::vector<Chunk*> chunks;
    std::vector<char*> starts;
    for (int i = 0; i < 200; ++i) {
      chunks.push_back(pool.Borrow(size));
      Fill(*chunks.back(), 1);
      starts.push_back(chunks.back()->data());
    }
    for (Chunk* chunk : chunks) pool.Return(*chunk);
    size_t resident = 0;
    for (char* start : starts) resident += ResidentBytesAt(start, size);
    EXPECT_EQ(resident, ChunkPool::kWarm * size);
  }
}

TEST(ChunkPoolTest, WarmOnesOfASizeThatNobodyAsksForAnyMoreGiveTheirMemoryBack) {
  ChunkPool pool(kNoCap);
  std::vector<Chunk*> chunks;
  for (const size_t size : {4 * kKiB, 64 * kKiB}) {
    for (int i = 0; i < 10; ++i) {
      chunks.push_back(pool.Borrow(size));
      Fill(*chunks.back(), 1);
    }
  }
  const auto resident = [&chunks] {
    size_t sum = 0;
    for (Chunk* chunk : chunks) sum += ResidentBytes(*chunk);
    return sum;
  };
  for (Chunk* chunk : chunks) pool.Return(*chunk);
  pool.Trim();  // both sizes were borrowed
  EXPECT_EQ(resident(), ChunkPool::kWarm * (4 + 64) * kKiB);
  Chunk* again = pool.Borrow(4 * kKiB);
  pool.Trim();
  EXPECT_EQ(resident(), ChunkPool::kWarm * 4 * kKiB);
  pool.Return(*again);
  pool.Trim();
  EXPECT_EQ(resident(), 0u);
  // And can be had again.
  again = pool.Borrow(64 * kKiB);
  Fill(*again, 2);
  pool.Return(*again);
}

TEST(ChunkPoolTest, OneChunkThatStaysLentKeepsNoOthersMemory) {
  ChunkPool pool(kNoCap);
  std::vector<Chunk*> chunks;
  std::vector<char*> starts;
  for (int i = 0; i < 2000; ++i) {
    chunks.push_back(pool.Borrow(4 * kKiB));
    Fill(*chunks.back(), 1);
    starts.push_back(chunks.back()->data());
  }
  // One in each slab stays: the worst that fragmentation can do.
  std::vector<Chunk*> kept;
  for (size_t i = 0; i < chunks.size(); ++i) {
    if (i % 256 == 100) {
      kept.push_back(chunks[i]);
    } else {
      pool.Return(*chunks[i]);
    }
  }
  size_t resident = 0;
  for (char* start : starts) resident += ResidentBytesAt(start, 4 * kKiB);
  EXPECT_EQ(resident, (kept.size() + ChunkPool::kWarm) * 4 * kKiB);
  for (Chunk* chunk : kept) {
    EXPECT_EQ(chunk->data()[17], 1);
    pool.Return(*chunk);
  }
}

TEST(ChunkPoolTest, SlabsThatNobodyNeedsAreUnmapped) {
  ChunkPool pool(kNoCap);
  for (int round = 0; round < 3; ++round) {
    std::vector<Chunk*> chunks;
    for (int i = 0; i < 500; ++i) chunks.push_back(pool.Borrow(64 * kKiB));
    EXPECT_GE(pool.mapped_bytes(), 500 * 64 * kKiB);
    for (Chunk* chunk : chunks) pool.Return(*chunk);
    // The warm ones may lie in as many slabs as there are of them, and one is kept.
    EXPECT_LE(pool.mapped_bytes(), (ChunkPool::kWarm + 1) * ChunkPool::kSlabBytes);
  }
}

TEST(ChunkPoolTest, TheSameFewChunksServeALightLoadWithoutTheKernel) {
  ChunkPool pool(kNoCap);
  std::set<char*> starts;
  for (int i = 0; i < 1000; ++i) {
    Chunk* first = pool.Borrow(10 * kKiB);
    Chunk* second = pool.Borrow(10 * kKiB);
    starts.insert(first->data());
    starts.insert(second->data());
    first->data()[0] = second->data()[0] = 1;
    pool.Return(*first);
    pool.Return(*second);
  }
  EXPECT_EQ(starts.size(), 2u);
}

TEST(ChunkPoolTest, ManyRandomCallsLeaveNothingLentAndNothingOverlapping) {
  std::mt19937 random(7);
  const auto below = [&random](size_t bound) {
    return std::uniform_int_distribution<size_t>(0, bound - 1)(random);
  };
  constexpr size_t kCap = 8 * 1024 * kKiB;
  ChunkPool pool(kCap);
  struct Lent {
    Chunk* chunk;
    char mark;
  };
  std::vector<Lent> lent;
  size_t bytes = 0;
  for (int step = 0; step < 50'000; ++step) {
    const bool grow = (step / 1000) % 2 == 0;
    if (below(10) < (grow ? 7u : 3u)) {
      const size_t size = below(64 * kKiB) + 1;
      const bool promised = pool.CanBorrow(size);
      Chunk* chunk = pool.Borrow(size);
      ASSERT_TRUE(chunk != nullptr || !promised);
      if (chunk == nullptr) continue;
      ASSERT_GE(chunk->capacity(), size);
      bytes += chunk->capacity();
      lent.push_back({chunk, static_cast<char>(step)});
      chunk->data()[0] = chunk->data()[chunk->capacity() - 1] = static_cast<char>(step);
    } else if (!lent.empty()) {
      std::swap(lent[below(lent.size())], lent.back());
      Chunk& chunk = *lent.back().chunk;
      ASSERT_EQ(chunk.data()[0], lent.back().mark);
      ASSERT_EQ(chunk.data()[chunk.capacity() - 1], lent.back().mark);
      bytes -= chunk.capacity();
      pool.Return(chunk);
      lent.pop_back();
    }
    ASSERT_EQ(pool.in_use_bytes(), bytes);
    ASSERT_EQ(pool.in_use(), lent.size());
    ASSERT_LE(pool.in_use_bytes(), kCap);
  }
  EXPECT_EQ(pool.high_water_bytes() / kKiB >= kCap / kKiB - 64, true) << "the cap was reached";
  for (const Lent& one : lent) pool.Return(*one.chunk);
}

TEST(ChunkPoolDeathTest, ReturningTwiceIsABrokenInvariant) {
  ChunkPool pool(kNoCap);
  Chunk* chunk = pool.Borrow(1);
  pool.Return(*chunk);
  EXPECT_DEATH(pool.Return(*chunk), "returned twice");
}

TEST(ChunkPoolDeathTest, APoolOutlivesItsChunks) {
  EXPECT_DEATH(
      {
        ChunkPool pool(kNoCap);
        pool.Borrow(1);
      },
      "outlives its pool");
}

TEST(ChunkPoolDeathTest, NoChunkIsLargerThanTheLargest) {
  ChunkPool pool(kNoCap);
  EXPECT_DEATH(pool.Borrow(64 * kKiB + 1), "no chunk is so large");
}

#ifdef ABSL_HAVE_ADDRESS_SANITIZER
TEST(ChunkPoolDeathTest, TouchingAReturnedChunkIsFound) {
  ChunkPool pool(kNoCap);
  Chunk* chunk = pool.Borrow(1);
  char* data = chunk->data();
  pool.Return(*chunk);
  EXPECT_DEATH(data[10] = 1, "use-after-poison");
}
#endif

}  // namespace
}  // namespace parkway
