#include "poller/poll_cache.h"

#include <sys/mman.h>

#include <new>

#include "poller/check.h"
#include "poller/kernel.h"

namespace parkway {

PollCache::PollCache(void* owner) : owner_(owner) {
  const size_t slabs = (kMaxDescriptors + kPerSlab - 1) / kPerSlab;
  mapping_bytes_ = (slabs + 1) * kSlabBytes;
  mapping_ = kernel::Map(mapping_bytes_);
  if (mapping_ == nullptr) return;
  // A huge page would make a worker with ten connections pay for two megabytes. The advice fails
  // only where there are no huge pages.
  static_cast<void>(kernel::Advise(mapping_, mapping_bytes_, MADV_NOHUGEPAGE));
  base_ = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(mapping_) + kSlabBytes - 1) &
                                  ~(kSlabBytes - 1));
}

PollCache::~PollCache() {
  if (mapping_ != nullptr) kernel::Unmap(mapping_, mapping_bytes_);
}

// Places count from 0; the index of a descriptor is its place + 1.
PollDesc* PollCache::At(uint32_t place) const {
  char* slab = base_ + static_cast<size_t>(place / kPerSlab) * kSlabBytes;
  return reinterpret_cast<PollDesc*>(slab + sizeof(Slab)) + place % kPerSlab;
}

PollDesc* PollCache::Find(uint32_t index) const {
  if (index == 0 || index > constructed_.load(std::memory_order_acquire)) return nullptr;
  return At(index - 1);
}

bool PollCache::AddSlab() {
  const uint32_t first = constructed_.load(std::memory_order_relaxed);
  if (first + kPerSlab > kMaxDescriptors) return false;
  char* slab = base_ + static_cast<size_t>(first / kPerSlab) * kSlabBytes;
  new (slab) Slab{owner_};
  for (uint32_t place = first + kPerSlab; place-- > first;) {
    PollDesc* desc = new (At(place)) PollDesc(place + 1);
    desc->link_ = free_;
    free_ = desc;
  }
  constructed_.store(first + kPerSlab, std::memory_order_release);
  return true;
}

PollDesc* PollCache::Allocate() {
  if (free_ == nullptr && !AddSlab()) return nullptr;
  PollDesc* desc = free_;
  free_ = desc->link_;
  desc->link_ = nullptr;
  ++in_use_;
  if (in_use_ > high_water_) high_water_ = in_use_;
  return desc;
}

void PollCache::Free(PollDesc& desc) {
  PARKWAY_CHECK(in_use_ > 0, "more descriptors freed than allocated");
  --in_use_;
  desc.link_ = free_;
  free_ = &desc;
}

}  // namespace parkway
