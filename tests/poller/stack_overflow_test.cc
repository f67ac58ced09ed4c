// What a stack overflow says. Under ASan and TSan it is theirs to say it, and what is tested is
// that the reporter stands back.
#include "poller/stack_overflow.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "absl/base/config.h"
#include "gtest/gtest.h"
#include "poller/stack_pool.h"

namespace parkway {
namespace {

#if defined(ABSL_HAVE_ADDRESS_SANITIZER) || defined(ABSL_HAVE_THREAD_SANITIZER)

TEST(StackOverflowTest, UnderASanitizerTheHandlerIsLeftAlone) {
  struct sigaction before = {};
  sigaction(SIGSEGV, nullptr, &before);
  StackPool pool({.max_stacks = 1}, [](void*) -> void* { return nullptr; });
  StackOverflowReporter reporter(pool);
  struct sigaction after = {};
  sigaction(SIGSEGV, nullptr, &after);
  EXPECT_EQ(before.sa_sigaction, after.sa_sigaction);
}

#else

__attribute__((noinline)) int Recurse(volatile int* depth) {
  volatile char frame[512];
  frame[0] = static_cast<char>(*depth);
  *depth = *depth + 1;
  if (*depth < 0) return 0;          // never: the stack ends before
  return Recurse(depth) + frame[0];  // not a tail call
}

void* Overflow(void*) {
  volatile int depth = 0;
  Recurse(&depth);
  return nullptr;
}

void* Fault(void*) {
  volatile int* nowhere = nullptr;
  asm volatile("" : "+r"(nowhere));
  *nowhere = 1;
  return nullptr;
}

void RunNamed(StackPool& pool, const char* name) {
  Stack* stack = pool.Acquire();
  stack->set_owner_name(name);
  stack->context().SwitchTo(nullptr);
}

class StackOverflowDeathTest : public testing::TestWithParam<bool> {
 protected:
  StackPoolOptions Options(uint32_t worker) {
    return {.max_stacks = 8, .worker = worker, .force_mprotect = GetParam()};
  }
};

TEST_P(StackOverflowDeathTest, T62_OverflowNamesTheTaskAndDiesOfTheFault) {
  EXPECT_EXIT(
      {
        StackPool pool(Options(3), Overflow);
        StackOverflowReporter reporter(pool);
        pool.Acquire();
        RunNamed(pool, "relay client to server");
      },
      testing::KilledBySignal(SIGSEGV),
      "^stack overflow in task relay client to server \\(stack 1 of worker 3\\)\n$");
}

TEST_P(StackOverflowDeathTest, T62_OverflowOfAnUnnamedStackIsReportedAsWell) {
  EXPECT_EXIT(
      {
        StackPool pool(Options(12), Overflow);
        StackOverflowReporter reporter(pool);
        RunNamed(pool, nullptr);
      },
      testing::KilledBySignal(SIGSEGV), "task \\(unnamed\\) \\(stack 0 of worker 12\\)");
}

TEST_P(StackOverflowDeathTest, T62_AThreadThatBlocksAllSignalsStillReports) {
  EXPECT_EXIT(
      {
        StackPool pool(Options(0), Overflow);
        std::thread worker([&pool] {
          sigset_t all;
          sigfillset(&all);
          pthread_sigmask(SIG_BLOCK, &all, nullptr);
          StackOverflowReporter reporter(pool);
          RunNamed(pool, "admin");
        });
        worker.join();
      },
      testing::KilledBySignal(SIGSEGV), "stack overflow in task admin \\(stack 0 of worker 0\\)");
}

TEST_P(StackOverflowDeathTest, T62_EachThreadReportsForItsOwnPool) {
  EXPECT_EXIT(
      {
        StackPool pool(Options(1), Overflow);
        StackPool other_pool(Options(2), Overflow);
        StackOverflowReporter reporter(pool);
        std::thread other([&other_pool] {
          { StackOverflowReporter first(other_pool); }
          StackOverflowReporter second(other_pool);  // after the first has gone
          RunNamed(other_pool, "probe");
        });
        other.join();
      },
      testing::KilledBySignal(SIGSEGV), "stack overflow in task probe \\(stack 0 of worker 2\\)");
}

void PreviousHandler(int) {
  constexpr char kSaid[] = "handled by who was there before\n";
  if (write(STDERR_FILENO, kSaid, std::strlen(kSaid)) > 0) _exit(3);
}

TEST_P(StackOverflowDeathTest, AFaultElsewhereGoesToTheHandlerThatWasThereBefore) {
  EXPECT_EXIT(
      {
        signal(SIGSEGV, PreviousHandler);
        StackPool pool(Options(0), Fault);
        StackOverflowReporter reporter(pool);
        RunNamed(pool, "relay");
      },
      testing::ExitedWithCode(3), "^handled by who was there before\n$");
}

TEST_P(StackOverflowDeathTest, ASignalSentBySomebodyGoesToTheHandlerThatWasThereBefore) {
  EXPECT_EXIT(
      {
        signal(SIGSEGV, PreviousHandler);
        StackPool pool(Options(0), Fault);
        StackOverflowReporter reporter(pool);
        kill(getpid(), SIGSEGV);
        for (;;) pause();
      },
      testing::ExitedWithCode(3), "^handled by who was there before\n$");
}

INSTANTIATE_TEST_SUITE_P(ByAdviceAndByProtection, StackOverflowDeathTest, testing::Bool(),
                         [](const auto& test) { return test.param ? "mprotect" : "advice"; });

#endif

}  // namespace
}  // namespace parkway
