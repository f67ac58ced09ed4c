#include "poller/pipe_pool.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "gtest/gtest.h"

namespace parkway {
namespace {

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

TEST(PipePoolTest, LendsANonBlockingEmptyPipeOfTheSizeItSays) {
  PipePool pool({});
  const auto pipe = pool.Borrow();
  ASSERT_TRUE(pipe.has_value());
  EXPECT_GE(pipe->capacity_bytes, PipePool::kLeastPipeBytes);
  EXPECT_EQ(fcntl(pipe->read_fd, F_GETPIPE_SZ), static_cast<int>(pipe->capacity_bytes));
  char byte = 0;
  EXPECT_EQ(read(pipe->read_fd, &byte, 1), -1);
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(fcntl(pipe->read_fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  pool.Return(*pipe, true);
}

TEST(PipePoolTest, AnEmptyPipeIsLentAgain) {
  PipePool pool({});
  const auto pipe = pool.Borrow();
  ASSERT_EQ(pipe->capacity_bytes, PipePool::kPipeBytes);
  pool.Return(*pipe, true);
  EXPECT_EQ(pool.idle(), 1u);
  const auto again = pool.Borrow();
  EXPECT_EQ(again->read_fd, pipe->read_fd);
  EXPECT_EQ(again->write_fd, pipe->write_fd);
  EXPECT_EQ(pool.idle(), 0u);
  pool.Return(*again, true);
}

TEST(PipePoolTest, APipeWithBytesInsideIsClosedAndNeverLentAgain) {
  PipePool pool({});
  const auto pipe = pool.Borrow();
  ASSERT_EQ(write(pipe->write_fd, "secret", 6), 6);
  pool.Return(*pipe, false);
  EXPECT_FALSE(IsOpen(pipe->read_fd));
  EXPECT_FALSE(IsOpen(pipe->write_fd));
  EXPECT_EQ(pool.idle(), 0u);
  const auto next = pool.Borrow();
  char byte = 0;
  EXPECT_EQ(read(next->read_fd, &byte, 1), -1);
  pool.Return(*next, true);
}

TEST(PipePoolTest, KeepsAFewIdleOnesAndClosesTheRest) {
  PipePool pool({.limit = 6, .keep_idle = 2});
  std::vector<Pipe> pipes;
  for (int i = 0; i < 6; ++i) pipes.push_back(*pool.Borrow());
  EXPECT_FALSE(pool.Borrow().has_value()) << "at the limit";
  EXPECT_EQ(pool.in_use(), 6u);
  EXPECT_EQ(pool.refused(), 0u) << "the limit is the pool's own";
  for (const Pipe& pipe : pipes) pool.Return(pipe, true);
  EXPECT_EQ(pool.in_use(), 0u);
  EXPECT_EQ(pool.high_water(), 6u);
  EXPECT_EQ(pool.idle(), 2u);
  int open = 0;
  for (const Pipe& pipe : pipes) open += IsOpen(pipe.read_fd) && IsOpen(pipe.write_fd) ? 1 : 0;
  EXPECT_EQ(open, 2);
  pool.DropIdle();
  for (const Pipe& pipe : pipes) EXPECT_FALSE(IsOpen(pipe.read_fd));
}

// In a process of its own, as a user without privileges: what the kernel itself does to a user who
// has too much in pipes.
int BorrowManyAsNobody() {
  constexpr uid_t kNobody = 65534;
  if (geteuid() == 0 && (setgid(kNobody) != 0 || setuid(kNobody) != 0)) return 10;
  PipePool pool({.limit = 100});
  std::vector<Pipe> pipes;
  // fs.pipe-user-pages-soft is 64 pipes of 1 MiB unless somebody changed it; past it they shrink,
  // or there are none.
  for (int i = 0; i < 100; ++i) {
    const auto pipe = pool.Borrow();
    if (!pipe.has_value()) break;
    if (pipe->capacity_bytes < PipePool::kLeastPipeBytes) return 11;
    if (fcntl(pipe->write_fd, F_GETPIPE_SZ) != static_cast<int>(pipe->capacity_bytes)) return 12;
    pipes.push_back(*pipe);
  }
  if (pipes.empty()) return 13;
  const bool all_full_size = pool.shrunk() == 0 && pool.refused() == 0;
  if (all_full_size != (pipes.size() == 100)) return 14;
  for (const Pipe& pipe : pipes) pool.Return(pipe, true);
  pool.DropIdle();
  for (const Pipe& pipe : pipes) {
    if (IsOpen(pipe.read_fd) || IsOpen(pipe.write_fd)) return 15;
  }
  return 0;
}

TEST(PipePoolTest, AUserWhoHasTooMuchInPipesGetsNoUselessOnesAndLosesNone) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) _exit(BorrowManyAsNobody());
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(PipePoolDeathTest, APoolOutlivesItsPipes) {
  EXPECT_DEATH(
      {
        PipePool pool({});
        pool.Borrow();
      },
      "outlives its pool");
}

TEST(PipePoolDeathTest, ReturningMoreThanWasLentIsABrokenInvariant) {
  PipePool pool({});
  const Pipe pipe = *pool.Borrow();
  pool.Return(pipe, true);
  EXPECT_DEATH(pool.Return(pipe, true), "returned twice");
}

}  // namespace
}  // namespace parkway
