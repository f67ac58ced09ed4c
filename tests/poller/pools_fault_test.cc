// The pools on a kernel that refuses: this test is linked with calls of its own in place of the
// real ones.
#include <sys/mman.h>

#include <cerrno>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "poller/kernel.h"
#include "poller/pipe_pool.h"
#include "poller/pools.h"

namespace parkway {
namespace {

struct World {
  bool map_fails = false;
  int pipe_error = 0;
  int largest_pipe = 1 << 30;  // larger ones are refused with EPERM
  std::set<int> open;
  int next_fd = 10;
  int size_calls = 0;
};
World world;

}  // namespace

namespace kernel {

void* Map(size_t bytes) {
  if (world.map_fails) return nullptr;
  void* start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return start == MAP_FAILED ? nullptr : start;
}

int Unmap(void* start, size_t bytes) { return munmap(start, bytes) == 0 ? 0 : -errno; }

int Advise(void* start, size_t bytes, int advice) {
  return madvise(start, bytes, advice) == 0 ? 0 : -errno;
}

int Pipe(int fds[2]) {
  if (world.pipe_error != 0) return world.pipe_error;
  for (int i = 0; i < 2; ++i) {
    fds[i] = world.next_fd++;
    world.open.insert(fds[i]);
  }
  return 0;
}

int SetPipeSize(int, int bytes) {
  ++world.size_calls;
  return bytes <= world.largest_pipe ? bytes : -EPERM;
}

int Close(int fd) {
  EXPECT_EQ(world.open.erase(fd), 1u) << "closed twice, or never opened: " << fd;
  return 0;
}

}  // namespace kernel

namespace {

constexpr size_t kKiB = 1024;

class PoolsFaultTest : public testing::Test {
 protected:
  PoolsFaultTest() { world = {}; }
  ~PoolsFaultTest() override { EXPECT_TRUE(world.open.empty()) << "descriptors left open"; }
};

TEST_F(PoolsFaultTest, WithoutMemoryNothingIsPromisedOrLentAndLaterItIs) {
  ChunkPool pool(1024 * kKiB);
  world.map_fails = true;
  EXPECT_FALSE(pool.CanBorrow(1));
  EXPECT_EQ(pool.Borrow(1), nullptr);
  EXPECT_EQ(pool.in_use(), 0u);
  world.map_fails = false;
  EXPECT_TRUE(pool.CanBorrow(1));
  Chunk* chunk = pool.Borrow(1);
  ASSERT_NE(chunk, nullptr);
  pool.Return(*chunk);
}

TEST_F(PoolsFaultTest, WhatWasPromisedIsLentAlsoWhenTheKernelHasNoMoreMemory) {
  for (const size_t bytes : {1 * kKiB, 10 * kKiB, 40 * kKiB, 64 * kKiB}) {
    ChunkPool pool(1024 * kKiB);
    ASSERT_TRUE(pool.CanBorrow(bytes));
    world.map_fails = true;
    Chunk* chunk = pool.Borrow(bytes);
    ASSERT_NE(chunk, nullptr);
    EXPECT_GE(chunk->capacity(), bytes);
    chunk->data()[bytes - 1] = 1;
    pool.Return(*chunk);
    world.map_fails = false;
  }
}

TEST_F(PoolsFaultTest, ThePromisedChunkIsNotLentBeyondTheCap) {
  ChunkPool pool(68 * kKiB);
  ASSERT_TRUE(pool.CanBorrow(64 * kKiB));
  world.map_fails = true;
  Chunk* only = pool.Borrow(4 * kKiB);  // takes the one that was set aside
  ASSERT_NE(only, nullptr);
  EXPECT_EQ(pool.Borrow(4 * kKiB), nullptr);
  EXPECT_LE(pool.in_use_bytes(), 68 * kKiB);
  pool.Return(*only);
}

TEST_F(PoolsFaultTest, AFullSizePipeIsAskedForOnce) {
  PipePool pool({});
  const auto pipe = pool.Borrow();
  ASSERT_TRUE(pipe.has_value());
  EXPECT_EQ(pipe->capacity_bytes, PipePool::kPipeBytes);
  EXPECT_EQ(world.size_calls, 1);
  EXPECT_EQ(pool.shrunk(), 0u);
  pool.Return(*pipe, true);
}

TEST_F(PoolsFaultTest, AUserWithTooMuchInPipesGetsSmallerOnesThatAreNotKept) {
  PipePool pool({});
  world.largest_pipe = 300 * 1024;
  const auto pipe = pool.Borrow();
  ASSERT_TRUE(pipe.has_value());
  EXPECT_EQ(pipe->capacity_bytes, 256 * kKiB);
  EXPECT_EQ(pool.shrunk(), 1u);
  pool.Return(*pipe, true);
  EXPECT_EQ(pool.idle(), 0u);

  world.largest_pipe = 64 * 1024;
  const auto smaller = pool.Borrow();
  ASSERT_TRUE(smaller.has_value());
  EXPECT_EQ(smaller->capacity_bytes, PipePool::kLeastPipeBytes);
  pool.Return(*smaller, true);
}

TEST_F(PoolsFaultTest, APipeOfTwoPagesIsNotWorthLending) {
  PipePool pool({});
  world.largest_pipe = 8 * 1024;
  EXPECT_FALSE(pool.Borrow().has_value());
  EXPECT_TRUE(world.open.empty());
  EXPECT_EQ(pool.refused(), 1u);
  EXPECT_EQ(pool.in_use(), 0u);
}

TEST_F(PoolsFaultTest, OutOfDescriptorsThereIsNoPipeAndTheIdleOnesCanBeGivenUp) {
  PipePool pool({});
  const auto first = pool.Borrow();
  const auto second = pool.Borrow();
  pool.Return(*first, true);
  world.pipe_error = -EMFILE;
  const auto again = pool.Borrow();
  ASSERT_TRUE(again.has_value()) << "from the idle ones";
  EXPECT_FALSE(pool.Borrow().has_value());
  pool.Return(*again, true);
  pool.Return(*second, true);
  EXPECT_EQ(world.open.size(), 4u);
  pool.DropIdle();
  EXPECT_TRUE(world.open.empty());
  EXPECT_EQ(pool.idle(), 0u);
}

TEST_F(PoolsFaultTest, APoolClosesItsIdlePipesAtItsEnd) {
  {
    PipePool pool({});
    pool.Return(*pool.Borrow(), true);
    EXPECT_EQ(world.open.size(), 2u);
  }
  EXPECT_TRUE(world.open.empty());
}

}  // namespace
}  // namespace parkway
