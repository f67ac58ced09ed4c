// A stack that can be switched to and from, with what the sanitizers must be told about it.
//
//   void* Entry(void* message) { ... context.SwitchBack(question) ...; return result; }
//
//   StackContext context;
//   context.Init(bottom, bytes, Entry);
//   void* said = context.SwitchTo(message);      // what Entry returned, or asked in SwitchBack
//   if (context.at_rest()) ...                   // it returned; the stack may serve another
//
// A stack runs one function for ever: for (;;) { message = Entry(message) back to the scheduler }.
// So the entry always returns before the stack serves somebody else, nothing is abandoned in the
// middle of a frame, and a second use costs one switch and no set-up (Boost.Context's fcontext:
// about 4 ns).
//
// One thread: that which called SwitchTo() first. A context has no link to whoever runs on it.
//
// Invariants
//   1. A switch never happens inside a catch block or while an exception unwinds: the C++ runtime
//      keeps both per thread, not per stack.
//   2. SwitchTo() is called from outside the stack, SwitchBack() from within; never nested.
//   3. Under TSan each context that was entered owns one fiber; TSan dies above 8,128 of them, so
//      contexts belong to pooled stacks and not to tasks.
#ifndef POLLER_CONTEXT_H_
#define POLLER_CONTEXT_H_

#include <cstddef>
#include <cstdint>

#include "absl/base/config.h"

namespace parkway {

class StackContext {
 public:
  // What runs on the stack, from its top, once for each SwitchTo() of a context at rest. Never
  // throws.
  using Entry = void* (*)(void* message);

  StackContext() = default;
  ~StackContext();
  StackContext(const StackContext&) = delete;
  StackContext& operator=(const StackContext&) = delete;

  // The stack is [bottom, bottom + bytes), which outlives this object. Touches none of it.
  void Init(void* bottom, size_t bytes, Entry entry);

  // From the scheduler: runs the stack, from the entry (at rest) or from where it switched back,
  // until it switches back or the entry returns. Returns what was said there.
  // REQUIRES: Init() was called; not running.
  void* SwitchTo(void* message);

  // From the stack: leaves it as it is and returns from SwitchTo(). Returns the message of the
  // next SwitchTo(). REQUIRES: running on this stack; no exception in flight or being handled.
  void* SwitchBack(void* message);

  // Nothing of an entry is on the stack.
  bool at_rest() const { return state_ == State::kNoFrames || state_ == State::kResting; }

  // Forgets the frames of the trampoline, after which the memory of the stack may be given back
  // to the kernel; the next SwitchTo() makes them anew. REQUIRES: at_rest().
  void Discard();

 private:
  enum class State : uint8_t {
    kNoFrames,   // nothing is on the stack
    kResting,    // the trampoline waits for the next message
    kRunning,    // somebody runs on it
    kSuspended,  // an entry has switched back
  };

  struct Trampoline;

  void* Jump(void* message);
  void* Return(void* message);

  void* stack_ = nullptr;      // fcontext of this stack while somebody else runs
  void* scheduler_ = nullptr;  // fcontext of the caller of SwitchTo() while this stack runs
  void* message_ = nullptr;    // what a switch carries
  char* bottom_ = nullptr;
  size_t bytes_ = 0;
  Entry entry_ = nullptr;
  State state_ = State::kNoFrames;
  bool leaving_ = false;  // tells the trampoline to leave for good
#ifdef ABSL_HAVE_ADDRESS_SANITIZER
  const void* scheduler_bottom_ = nullptr;
  size_t scheduler_bytes_ = 0;
#endif
#ifdef ABSL_HAVE_THREAD_SANITIZER
  void* fiber_ = nullptr;
  void* scheduler_fiber_ = nullptr;
#endif
};

}  // namespace parkway

#endif  // POLLER_CONTEXT_H_
