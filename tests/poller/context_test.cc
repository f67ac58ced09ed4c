#include "poller/context.h"

#include <sys/mman.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "absl/base/config.h"
#include "gtest/gtest.h"

namespace parkway {
namespace {

constexpr size_t kStackBytes = 256 * 1024;

// What the tests send into a stack: something to run there.
struct Work {
  StackContext* context;
  void* (*body)(Work& work);
  std::vector<std::string> log;
  int number = 0;
};

void* RunWork(void* message) {
  Work& work = *static_cast<Work*>(message);
  return work.body(work);
}

void* Mark(intptr_t number) { return reinterpret_cast<void*>(number); }

class ContextTest : public testing::Test {
 protected:
  ContextTest()
      : memory_(
            mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)),
        context_(std::make_unique<StackContext>()) {
    context_->Init(memory_, kStackBytes, RunWork);
  }
  ~ContextTest() override {
    context_.reset();
    munmap(memory_, kStackBytes);
  }

  void* const memory_;
  std::unique_ptr<StackContext> context_;
};

TEST_F(ContextTest, EntryRunsOnItsOwnStackAndItsResultComesBack) {
  Work work{context_.get(),
            [](Work& w) {
              w.log.push_back("ran");
              return static_cast<void*>(__builtin_frame_address(0));
            },
            {}};
  EXPECT_TRUE(context_->at_rest());

  const char* frame = static_cast<char*>(context_->SwitchTo(&work));

  EXPECT_TRUE(context_->at_rest());
  EXPECT_EQ(work.log, std::vector<std::string>{"ran"});
  EXPECT_GE(frame, static_cast<char*>(memory_));
  EXPECT_LT(frame, static_cast<char*>(memory_) + kStackBytes);
}

TEST_F(ContextTest, SwitchBackKeepsTheFramesAndCarriesMessagesBothWays) {
  Work work{context_.get(),
            [](Work& w) {
              int kept = 7;
              void* answer = w.context->SwitchBack(Mark(1));
              kept += static_cast<int>(reinterpret_cast<intptr_t>(answer));
              answer = w.context->SwitchBack(Mark(2));
              kept += static_cast<int>(reinterpret_cast<intptr_t>(answer));
              return Mark(kept);
            },
            {}};

  EXPECT_EQ(context_->SwitchTo(&work), Mark(1));
  EXPECT_FALSE(context_->at_rest());
  EXPECT_EQ(context_->SwitchTo(Mark(100)), Mark(2));
  EXPECT_FALSE(context_->at_rest());
  EXPECT_EQ(context_->SwitchTo(Mark(1000)), Mark(1107));
  EXPECT_TRUE(context_->at_rest());
}

TEST_F(ContextTest, OneStackServesManyEntriesOneAfterTheOther) {
  Work work{context_.get(),
            [](Work& w) {
              ++w.number;
              if (w.number % 2 == 0) w.context->SwitchBack(Mark(-1));
              return Mark(w.number);
            },
            {}};
  for (int i = 1; i <= 1000; ++i) {
    if (i % 2 == 0) {
      ASSERT_EQ(context_->SwitchTo(&work), Mark(-1));
      ASSERT_FALSE(context_->at_rest());
      ASSERT_EQ(context_->SwitchTo(nullptr), Mark(i));
    } else {
      ASSERT_EQ(context_->SwitchTo(&work), Mark(i));
    }
    ASSERT_TRUE(context_->at_rest());
  }
}

TEST_F(ContextTest, ADiscardedStackStartsAnewOnMemoryThatWasGivenBack) {
  Work work{context_.get(),
            [](Work& w) {
              char large[6'144];
              for (size_t i = 0; i < sizeof(large); i += 512) {
                static_cast<volatile char*>(large)[i] = static_cast<char>(++w.number);
              }
              return Mark(w.number);
            },
            {}};
  EXPECT_EQ(context_->SwitchTo(&work), Mark(12));
  for (int round = 2; round < 10; ++round) {
    context_->Discard();
    EXPECT_TRUE(context_->at_rest());
    ASSERT_EQ(madvise(memory_, kStackBytes, MADV_DONTNEED), 0);
    ASSERT_EQ(context_->SwitchTo(&work), Mark(12 * round));
    ASSERT_EQ(context_->SwitchTo(&work), Mark(12 * ++round));
  }
}

TEST_F(ContextTest, ExceptionsStayOnTheirStackWhenTheyAreOverBeforeTheSwitch) {
  Work work{context_.get(),
            [](Work& w) {
              for (int i = 0; i < 3; ++i) {
                try {
                  throw std::runtime_error("inside");
                } catch (const std::runtime_error& error) {
                  w.log.push_back(error.what());
                }
                w.context->SwitchBack(nullptr);
              }
              return Mark(1);
            },
            {}};
  for (int i = 0; i < 3; ++i) {
    context_->SwitchTo(&work);
    try {
      throw std::runtime_error("outside");
    } catch (const std::runtime_error& error) {
      work.log.push_back(error.what());
    }
  }
  EXPECT_EQ(context_->SwitchTo(nullptr), Mark(1));
  EXPECT_EQ(work.log, (std::vector<std::string>{"inside", "outside", "inside", "outside", "inside",
                                                "outside"}));
}

// A chain of three stacks, each entered from the one before: as when a task of one simulated
// worker steps another worker.
TEST_F(ContextTest, AStackMayEnterAnother) {
  void* memory =
      mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  {
    StackContext inner;
    inner.Init(memory, kStackBytes, RunWork);
    static Work* inner_work;
    Work leaf{&inner,
              [](Work& w) {
                w.context->SwitchBack(Mark(5));
                return Mark(6);
              },
              {}};
    inner_work = &leaf;
    Work work{context_.get(),
              [](Work& w) {
                const void* first = inner_work->context->SwitchTo(inner_work);
                w.context->SwitchBack(const_cast<void*>(first));
                return inner_work->context->SwitchTo(nullptr);
              },
              {}};
    EXPECT_EQ(context_->SwitchTo(&work), Mark(5));
    EXPECT_EQ(context_->SwitchTo(nullptr), Mark(6));
    EXPECT_TRUE(inner.at_rest());
  }
  munmap(memory, kStackBytes);
}

TEST_F(ContextTest, AContextThatIsThrownAwayInTheMiddleOfAnEntryLeavesNothingBehind) {
  Work work{context_.get(),
            [](Work& w) {
              char poisoned[64] = {};
              static_cast<volatile char*>(poisoned)[w.number] = 1;
              w.context->SwitchBack(Mark(poisoned[0]));
              return Mark(0);
            },
            {}};
  EXPECT_EQ(context_->SwitchTo(&work), Mark(1));
  context_.reset();
  // Every byte may be written, also where the frames had their red zones.
  char* stack = static_cast<char*>(memory_);
  for (size_t i = 0; i < kStackBytes; ++i) stack[i] = 1;
  EXPECT_EQ(stack[kStackBytes - 1], 1);
}

TEST_F(ContextTest, MoreContextsThanTsanHasFibersMayLiveOneAfterTheOther) {
  Work work{context_.get(), [](Work& w) { return Mark(++w.number); }, {}};
  for (int i = 1; i <= 9000; ++i) {
    ASSERT_EQ(context_->SwitchTo(&work), Mark(i));
    context_->Discard();
  }
}

#ifndef NDEBUG
using ContextDeathTest = ContextTest;

TEST_F(ContextDeathTest, T61_SwitchInsideACatchBlockIsABrokenInvariant) {
  Work work{context_.get(),
            [](Work& w) {
              try {
                throw std::runtime_error("handled");
              } catch (const std::runtime_error&) {
                w.context->SwitchBack(nullptr);
              }
              return Mark(0);
            },
            {}};
  EXPECT_DEATH(context_->SwitchTo(&work), "inside a catch block");
}

TEST_F(ContextDeathTest, T61_SwitchWhileAnExceptionUnwindsIsABrokenInvariant) {
  struct SwitchesAtItsEnd {
    StackContext* context;
    ~SwitchesAtItsEnd() { context->SwitchBack(nullptr); }
  };
  Work work{context_.get(),
            [](Work& w) {
              try {
                SwitchesAtItsEnd guard{w.context};
                throw std::runtime_error("in flight");
              } catch (const std::runtime_error&) {
              }
              return Mark(0);
            },
            {}};
  EXPECT_DEATH(context_->SwitchTo(&work), "while an exception unwinds");
}

TEST_F(ContextDeathTest, SwitchBackFromOutsideIsABrokenInvariant) {
  EXPECT_DEATH(context_->SwitchBack(nullptr), "not running");
}
#endif

TEST_F(ContextTest, DiscardInTheMiddleOfAnEntryEndsTheProcess) {
  Work work{context_.get(), [](Work& w) { return w.context->SwitchBack(Mark(1)); }, {}};
  EXPECT_EQ(context_->SwitchTo(&work), Mark(1));
  EXPECT_DEATH(context_->Discard(), "discarded while an entry is on it");
  EXPECT_EQ(context_->SwitchTo(Mark(2)), Mark(2));
}

}  // namespace
}  // namespace parkway
