// Says whose stack it was when a task runs over the end of its stack.
//
//   StackOverflowReporter reporter(pool);   // in the worker's thread, for its life
//
// The overflow hits the guard page of a pooled stack, which is a SIGSEGV. The handler, on a stack
// of its own, writes one line to stderr
//
//   stack overflow in task relay (stack 17 of worker 2)
//
// and lets the process die of the same fault, with the core at the faulting instruction. A SIGSEGV
// elsewhere goes to whoever handled it before, as if this were not here.
//
// Any thread, one reporter per thread, destroyed on the thread that made it; it unblocks SIGSEGV
// there, because a blocked fault ends the process without a word. Under ASan and TSan
// it does nothing: both have handlers of their own, and say more.
#ifndef POLLER_STACK_OVERFLOW_H_
#define POLLER_STACK_OVERFLOW_H_

#include <cstddef>

namespace parkway {

class StackPool;

class StackOverflowReporter {
 public:
  // `pool` outlives this.
  explicit StackOverflowReporter(const StackPool& pool);
  ~StackOverflowReporter();
  StackOverflowReporter(const StackOverflowReporter&) = delete;
  StackOverflowReporter& operator=(const StackOverflowReporter&) = delete;

 private:
  void* signal_stack_ = nullptr;
};

}  // namespace parkway

#endif  // POLLER_STACK_OVERFLOW_H_
