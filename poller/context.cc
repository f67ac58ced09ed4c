#include "poller/context.h"

#include <boost/context/detail/fcontext.hpp>
#include <exception>

#include "poller/check.h"

#ifdef ABSL_HAVE_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef ABSL_HAVE_THREAD_SANITIZER
#include <sanitizer/tsan_interface.h>

#include <atomic>
#endif

namespace parkway {
namespace {

using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

#ifdef ABSL_HAVE_THREAD_SANITIZER
// TSan itself ends at 8,128 with a line that names no cause; threads count as well.
constexpr int kMaxFibers = 8000;
std::atomic<int> live_fibers{0};
#endif

}  // namespace

struct StackContext::Trampoline {
  // The one function of a stack. It leaves for good only when it is told to.
  [[noreturn]] static void Run(transfer_t from) noexcept {
    auto* self = static_cast<StackContext*>(from.data);
    self->scheduler_ = from.fctx;
#ifdef ABSL_HAVE_ADDRESS_SANITIZER
    __sanitizer_finish_switch_fiber(nullptr, &self->scheduler_bottom_, &self->scheduler_bytes_);
#endif
    void* message = self->message_;
    while (!self->leaving_) {
      void* result = self->entry_(message);
      self->state_ = State::kResting;
      message = self->Return(result);
    }
#ifdef ABSL_HAVE_ADDRESS_SANITIZER
    // No place to save to: ASan frees what it keeps for this stack.
    __sanitizer_start_switch_fiber(nullptr, self->scheduler_bottom_, self->scheduler_bytes_);
#endif
#ifdef ABSL_HAVE_THREAD_SANITIZER
    __tsan_switch_to_fiber(self->scheduler_fiber_, 0);
#endif
    jump_fcontext(self->scheduler_, nullptr);
    __builtin_unreachable();
  }
};

StackContext::~StackContext() {
  // A stack that is thrown away in the middle of an entry has nobody left to run it.
  if (at_rest()) {
    Discard();
    return;
  }
#ifdef ABSL_HAVE_ADDRESS_SANITIZER
  __asan_unpoison_memory_region(bottom_, bytes_);
#endif
#ifdef ABSL_HAVE_THREAD_SANITIZER
  __tsan_destroy_fiber(fiber_);
  live_fibers.fetch_sub(1, std::memory_order_relaxed);
#endif
}

void StackContext::Init(void* bottom, size_t bytes, Entry entry) {
  PARKWAY_CHECK(bottom_ == nullptr, "a stack context is initialised twice");
  bottom_ = static_cast<char*>(bottom);
  bytes_ = bytes;
  entry_ = entry;
}

void* StackContext::SwitchTo(void* message) {
  PARKWAY_DCHECK(bottom_ != nullptr, "a switch to a context without a stack");
  PARKWAY_DCHECK(state_ != State::kRunning, "a switch to the stack that is running");
  return Jump(message);
}

void* StackContext::SwitchBack(void* message) {
  PARKWAY_DCHECK(state_ == State::kRunning, "a switch back from a stack that is not running");
  PARKWAY_DCHECK(std::uncaught_exceptions() == 0, "a switch while an exception unwinds");
  PARKWAY_DCHECK(std::current_exception() == nullptr, "a switch inside a catch block");
  state_ = State::kSuspended;
  return Return(message);
}

void StackContext::Discard() {
  PARKWAY_CHECK(at_rest(), "a stack is discarded while an entry is on it");
#if defined(ABSL_HAVE_ADDRESS_SANITIZER) || defined(ABSL_HAVE_THREAD_SANITIZER)
  if (state_ == State::kResting) {
    leaving_ = true;
    Jump(nullptr);
    leaving_ = false;
  }
#endif
#ifdef ABSL_HAVE_ADDRESS_SANITIZER
  if (bottom_ != nullptr) __asan_unpoison_memory_region(bottom_, bytes_);
#endif
#ifdef ABSL_HAVE_THREAD_SANITIZER
  if (fiber_ != nullptr) {
    __tsan_destroy_fiber(fiber_);
    fiber_ = nullptr;
    live_fibers.fetch_sub(1, std::memory_order_relaxed);
  }
#endif
  stack_ = nullptr;
  state_ = State::kNoFrames;
}

// Outside the stack: into it and out again.
void* StackContext::Jump(void* message) {
  void* to_pass = message;
  if (state_ == State::kNoFrames) {
    stack_ = make_fcontext(bottom_ + bytes_, bytes_, Trampoline::Run);
    message_ = message;
    to_pass = this;
#ifdef ABSL_HAVE_THREAD_SANITIZER
    PARKWAY_CHECK(live_fibers.fetch_add(1, std::memory_order_relaxed) < kMaxFibers,
                  "more stacks in use than TSan has fibers for");
    fiber_ = __tsan_create_fiber(0);
#endif
  }
  state_ = State::kRunning;
#ifdef ABSL_HAVE_ADDRESS_SANITIZER
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, bottom_, bytes_);
#endif
#ifdef ABSL_HAVE_THREAD_SANITIZER
  scheduler_fiber_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(fiber_, 0);
#endif
  const transfer_t from = jump_fcontext(stack_, to_pass);
#ifdef ABSL_HAVE_ADDRESS_SANITIZER
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
  stack_ = from.fctx;
  return from.data;
}

// On the stack: out of it and into it again.
void* StackContext::Return(void* message) {
#ifdef ABSL_HAVE_ADDRESS_SANITIZER
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, scheduler_bottom_, scheduler_bytes_);
#endif
#ifdef ABSL_HAVE_THREAD_SANITIZER
  __tsan_switch_to_fiber(scheduler_fiber_, 0);
#endif
  const transfer_t from = jump_fcontext(scheduler_, message);
#ifdef ABSL_HAVE_ADDRESS_SANITIZER
  __sanitizer_finish_switch_fiber(fake_stack, &scheduler_bottom_, &scheduler_bytes_);
#endif
  scheduler_ = from.fctx;
  return from.data;
}

}  // namespace parkway
