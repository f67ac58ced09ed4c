#include "poller/stack_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "poller/check.h"
#include "poller/kernel.h"

#ifdef ABSL_HAVE_ADDRESS_SANITIZER
#include <sanitizer/lsan_interface.h>
#endif

namespace parkway {
namespace {

// Of Linux 6.13, younger than the headers of the C library that we build with.
constexpr int kMadvGuardInstall = 102;

constexpr uint32_t kMaxSlotsPerSlab = 1024;

}  // namespace

StackPool::StackPool(const StackPoolOptions& options, StackContext::Entry entry)
    : options_(options),
      entry_(entry),
      slots_per_slab_(std::clamp<uint32_t>(options.max_stacks, 1, kMaxSlotsPerSlab)),
      limit_(options.max_stacks),
      uses_mprotect_(options.force_mprotect) {
  PARKWAY_CHECK(
      options.slot_bytes % kStackGuardBytes == 0 && options.slot_bytes > 2 * kStackGuardBytes,
      "a stack slot is whole pages, and more than its guard");
  if (uses_mprotect_) limit_ = std::min(limit_, options_.max_protected_stacks);
}

StackPool::~StackPool() {
  PARKWAY_DCHECK(in_use_ == 0, "a pool of stacks ends while tasks are on them");
#ifdef ABSL_HAVE_ADDRESS_SANITIZER
  for (Stack& stack : stacks_) __lsan_unregister_root_region(stack.bottom_, stack.bytes_);
#endif
  stacks_.clear();  // contexts are told to leave their stacks while these are still mapped
  for (char* slab : slabs_) kernel::Unmap(slab, slots_per_slab_ * options_.slot_bytes);
}

Stack* StackPool::Acquire() {
  if (in_use_ >= limit_) return nullptr;
  Stack* stack = nullptr;
  if (warm_ != nullptr) {
    stack = warm_;
    warm_ = stack->next_idle_;
    --warm_count_;
  } else if (cold_ != nullptr) {
    stack = cold_;
    cold_ = stack->next_idle_;
  } else {
    stack = Create();
    if (stack == nullptr) return nullptr;
  }
  stack->next_idle_ = nullptr;
  stack->lent_ = true;
  ++in_use_;
  high_water_ = std::max(high_water_, in_use_);
  return stack;
}

void StackPool::Release(Stack& stack) {
  PARKWAY_CHECK(stack.lent_, "a stack is released twice");
  PARKWAY_CHECK(stack.context_.at_rest(), "a stack is released while an entry is on it");
  stack.lent_ = false;
  stack.set_owner_name(nullptr);
  --in_use_;
  if (warm_count_ < options_.warm_stacks) {
    stack.next_idle_ = warm_;
    warm_ = &stack;
    ++warm_count_;
    return;
  }
  GiveBack(stack);
  stack.next_idle_ = cold_;
  cold_ = &stack;
}

void StackPool::Trim(uint32_t keep) {
  if (warm_count_ <= keep) return;
  Stack** end = &warm_;
  for (uint32_t i = 0; i < keep; ++i) end = &(*end)->next_idle_;
  Stack* rest = *end;
  *end = nullptr;
  warm_count_ = keep;
  while (rest != nullptr) {
    Stack* next = rest->next_idle_;
    GiveBack(*rest);
    rest->next_idle_ = cold_;
    cold_ = rest;
    rest = next;
  }
}

const Stack* StackPool::FindGuard(const void* address) const {
  const char* at = static_cast<const char*>(address);
  const size_t slab_bytes = slots_per_slab_ * options_.slot_bytes;
  for (size_t slab = 0; slab < slabs_.size(); ++slab) {
    if (at < slabs_[slab] || at >= slabs_[slab] + slab_bytes) continue;
    const size_t offset = static_cast<size_t>(at - slabs_[slab]);
    const size_t index = slab * slots_per_slab_ + offset / options_.slot_bytes;
    const bool in_guard = offset % options_.slot_bytes < kStackGuardBytes;
    return in_guard && index < stacks_.size() ? &stacks_[index] : nullptr;
  }
  return nullptr;
}

// A stack that never existed before, with its guard.
Stack* StackPool::Create() {
  const size_t index = stacks_.size();
  const size_t slab = index / slots_per_slab_;
  if (slab == slabs_.size()) {
    const size_t slab_bytes = slots_per_slab_ * options_.slot_bytes;
    void* start = kernel::Map(slab_bytes);
    if (start == nullptr) return nullptr;
    // A huge page under a stack would make 2 MiB resident at its first touch. A kernel without
    // huge pages refuses the advice, and needs none.
    kernel::Advise(start, slab_bytes, MADV_NOHUGEPAGE);
    slabs_.push_back(static_cast<char*>(start));
  }
  char* slot = slabs_[slab] + index % slots_per_slab_ * options_.slot_bytes;
  if (!InstallGuard(slot)) return nullptr;
  Stack& stack = stacks_.emplace_back(static_cast<uint32_t>(index));
  stack.bottom_ = slot + kStackGuardBytes;
  stack.bytes_ = options_.slot_bytes - kStackGuardBytes;
  stack.context_.Init(stack.bottom_, stack.bytes_, entry_);
#ifdef ABSL_HAVE_ADDRESS_SANITIZER
  __lsan_register_root_region(stack.bottom_, stack.bytes_);
#endif
  return &stack;
}

bool StackPool::InstallGuard(char* start) {
  if (!uses_mprotect_) {
    const int error = kernel::Advise(start, kStackGuardBytes, kMadvGuardInstall);
    if (error == 0) return true;
    if (error != -EINVAL) return false;  // no memory for page tables: the next one may succeed
    // Unknown to this kernel, or locked memory. The guards that exist stay as they are.
    uses_mprotect_ = true;
    limit_ = std::min(limit_, created() + options_.max_protected_stacks);
    if (created() >= limit_) return false;
  }
  return kernel::ProtectNone(start, kStackGuardBytes) == 0;
}

void StackPool::GiveBack(Stack& stack) {
  stack.context_.Discard();
  kernel::Advise(stack.bottom_, stack.bytes_, MADV_DONTNEED);
}

}  // namespace parkway
