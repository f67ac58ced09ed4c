// The stacks of one worker: lent to tasks while they run or wait in the middle of something.
//
//   StackPool pool({.max_stacks = 4096}, Entry);
//   Stack* stack = pool.Acquire();             // nullptr at the limit
//   stack->set_owner_name(task->name());
//   stack->context().SwitchTo(task);
//   if (stack->context().at_rest()) pool.Release(*stack);
//
// A slot is 64 KiB of address space whose lowest page is a guard. Slots lie in slabs of up to 1024,
// each one mapping without reserve, so a stack costs the pages that it touched and nothing else.
// Guards are made with MADV_GUARD_INSTALL (Linux 6.13), which splits no mapping and survives
// MADV_DONTNEED; where the kernel lacks it, with mprotect, which costs two mappings out of
// vm.max_map_count per stack and is therefore bounded: there is no stack without a guard.
//
// The last one released is the first one lent again, so that the same few stacks stay hot. Of the
// idle ones `warm_stacks` keep their memory; the others are given back by MADV_DONTNEED at once,
// and those that turn out not to be needed by Trim.
//
// Owner thread only, but for the construction and destruction.
//
// Invariants
//   1. A stack is lent (in_use), warm, or cold; a cold one holds no memory but its page tables.
//   2. A stack that is released is at rest: nothing of an entry is on it.
//   3. Every stack ever lent has a guard page below it.
//   4. Under ASan each usable range, without its guard, is a root region of the leak checker,
//      which would die of reading a guard.
#ifndef POLLER_STACK_POOL_H_
#define POLLER_STACK_POOL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "absl/base/config.h"
#include "poller/context.h"

namespace parkway {

#if defined(ABSL_HAVE_ADDRESS_SANITIZER) || defined(ABSL_HAVE_THREAD_SANITIZER)
inline constexpr size_t kStackSlotBytes = 256 * 1024;  // the sanitizers' frames are larger
#else
inline constexpr size_t kStackSlotBytes = 64 * 1024;
#endif
inline constexpr size_t kStackGuardBytes = 4096;
inline constexpr uint32_t kWarmStacks = 64;
inline constexpr uint32_t kMaxProtectedStacks = 2048;

class Stack {
 public:
  explicit Stack(uint32_t index) : index_(index) {}
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  StackContext& context() { return context_; }
  // Place in the pool, for reports.
  uint32_t index() const { return index_; }

  // Who runs on it, for reports: a string that lives as long as the task runs. Read by the
  // handler of a stack overflow, on this thread.
  void set_owner_name(const char* name) { owner_name_.store(name, std::memory_order_relaxed); }
  const char* owner_name() const { return owner_name_.load(std::memory_order_relaxed); }

  // The usable range, above the guard.
  char* bottom() const { return bottom_; }
  size_t bytes() const { return bytes_; }

 private:
  friend class StackPool;

  StackContext context_;
  std::atomic<const char*> owner_name_{nullptr};
  char* bottom_ = nullptr;
  size_t bytes_ = 0;
  Stack* next_idle_ = nullptr;
  const uint32_t index_;
  bool lent_ = false;
};

struct StackPoolOptions {
  uint32_t max_stacks = 1024;  // kMaxStacks of the worker: Acquire() fails beyond
  uint32_t warm_stacks = kWarmStacks;
  uint32_t worker = 0;  // for reports
  size_t slot_bytes = kStackSlotBytes;
  // Without MADV_GUARD_INSTALL the pool ends at this many stacks.
  uint32_t max_protected_stacks = kMaxProtectedStacks;
  bool force_mprotect = false;  // as if the kernel had no MADV_GUARD_INSTALL
};

class StackPool {
 public:
  StackPool(const StackPoolOptions& options, StackContext::Entry entry);
  // REQUIRES: in_use() == 0.
  ~StackPool();
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;

  // Gives back the memory of idle stacks but the `keep` that were used last.
  void Trim(uint32_t keep);

  // nullptr at the limit, or if the kernel refuses the memory or the guard.
  Stack* Acquire();

  // REQUIRES: lent by Acquire(); its context is at rest; not called from that stack.
  void Release(Stack& stack);

  // The stack whose guard contains `address`; nullptr if none. Async-signal-safe on the owner's
  // thread.
  const Stack* FindGuard(const void* address) const;

  uint32_t in_use() const { return in_use_; }
  uint32_t high_water() const { return high_water_; }  // of in_use
  uint32_t warm() const { return warm_count_; }
  // Stacks that exist: in use, warm or cold.
  uint32_t created() const { return static_cast<uint32_t>(stacks_.size()); }
  // How many may be in use at once; falls when guards turn out to need mprotect.
  uint32_t limit() const { return limit_; }
  // Guards are made with mprotect (known once a stack was lent).
  bool uses_mprotect() const { return uses_mprotect_; }
  uint32_t worker() const { return options_.worker; }

 private:
  Stack* Create();
  bool InstallGuard(char* start);
  void GiveBack(Stack& stack);

  const StackPoolOptions options_;
  const StackContext::Entry entry_;
  const uint32_t slots_per_slab_;
  std::vector<char*> slabs_;
  std::deque<Stack> stacks_;  // by index; in slot index % slots_per_slab_ of its slab
  Stack* warm_ = nullptr;     // linked by next_idle_, as is cold_
  Stack* cold_ = nullptr;
  uint32_t limit_;
  uint32_t in_use_ = 0;
  uint32_t high_water_ = 0;
  uint32_t warm_count_ = 0;
  bool uses_mprotect_;
};

}  // namespace parkway

#endif  // POLLER_STACK_POOL_H_
