// PollCache: where poll descriptors come from, and where a number finds its descriptor again.
//
// Slabs of one page, 36 descriptors each, cut in order from one reserved stretch of addresses.
// A slab is touched when its first descriptor is needed and never given back: descriptors are
// type-stable, because the kernel may deliver an event, and another thread may hold a handle, of
// a use that ended long ago. Free descriptors hang on a list through `link` (Go: pollCache).
//
// Each slab begins with a pointer to the owner, so a descriptor leads to its worker without
// spending eight bytes on it.
//
// Threads: Allocate, Free and the statistics are the owner's. Find may be called by anybody.
//
// Invariants
//   1. Index 0 is never a descriptor: it stands for the wake-up in epoll's data.
//   2. Find(h) is null or a constructed descriptor, for every h.
//   3. The last freed is the first reused: it is warm in the cache.
#ifndef POLLER_POLL_CACHE_H_
#define POLLER_POLL_CACHE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "poller/poll_desc.h"

namespace parkway {

class PollCache {
 public:
  // Address space for this many descriptors is reserved at once (nothing is touched).
  static constexpr uint32_t kMaxDescriptors = 8u << 20;

  // `owner` is what OwnerOf returns; not used here.
  explicit PollCache(void* owner);
  ~PollCache();
  PollCache(const PollCache&) = delete;
  PollCache& operator=(const PollCache&) = delete;

  // False: the address space could not be reserved; nothing else may be called.
  bool ok() const { return base_ != nullptr; }

  // nullptr when all are in use. The descriptor is free: call Open on it.
  PollDesc* Allocate();
  // REQUIRES: Close() was called on it, or Open never.
  void Free(PollDesc& desc);

  // The descriptor of this number whatever its use, nullptr if there never was one. Any thread.
  PollDesc* Find(uint32_t index) const;

  static void* OwnerOf(const PollDesc& desc) {
    return reinterpret_cast<const Slab*>(reinterpret_cast<uintptr_t>(&desc) & ~(kSlabBytes - 1))
        ->owner;
  }

  uint32_t in_use() const { return in_use_; }
  uint32_t high_water() const { return high_water_; }

 private:
  static constexpr uintptr_t kSlabBytes = 4096;
  static constexpr uint32_t kPerSlab = 36;
  struct alignas(64) Slab {
    void* owner;
  };
  static_assert(sizeof(Slab) + kPerSlab * sizeof(PollDesc) <= kSlabBytes);

  PollDesc* At(uint32_t place) const;
  bool AddSlab();

  void* const owner_;
  void* mapping_ = nullptr;
  size_t mapping_bytes_ = 0;
  char* base_ = nullptr;                  // first slab, aligned to its size
  std::atomic<uint32_t> constructed_{0};  // descriptors in the slabs that exist
  PollDesc* free_ = nullptr;
  uint32_t in_use_ = 0;
  uint32_t high_water_ = 0;
};

}  // namespace parkway

#endif  // POLLER_POLL_CACHE_H_
