// Checks of invariants: what the program itself guarantees. A broken one ends the process with a
// sentence, because going on would corrupt somebody's stream. What a peer, the operator or the
// kernel can cause is never a check; it is a return value.
//
//   PARKWAY_CHECK(waiter == nullptr, "double wait on one direction of a descriptor");
//
// Any thread. PARKWAY_CHECK stays on in production; PARKWAY_DCHECK is for what costs too much or
// is proven elsewhere, and is compiled out under NDEBUG.
#ifndef POLLER_CHECK_H_
#define POLLER_CHECK_H_

#include <cstdio>
#include <cstdlib>

namespace parkway {

[[noreturn]] inline void CheckFailed(const char* file, int line, const char* condition,
                                     const char* sentence) {
  std::fprintf(stderr, "%s:%d: broken invariant: %s (%s)\n", file, line, sentence, condition);
  std::abort();
}

}  // namespace parkway

#define PARKWAY_CHECK(condition, sentence)           \
  (__builtin_expect(static_cast<bool>(condition), 1) \
       ? static_cast<void>(0)                        \
       : ::parkway::CheckFailed(__FILE__, __LINE__, #condition, sentence))

#ifdef NDEBUG
#define PARKWAY_DCHECK(condition, sentence) static_cast<void>(sizeof(static_cast<bool>(condition)))
#else
#define PARKWAY_DCHECK(condition, sentence) PARKWAY_CHECK(condition, sentence)
#endif

#endif  // POLLER_CHECK_H_
