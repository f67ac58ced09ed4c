#include "poller/pools.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>
#include <type_traits>
#include <utility>

#include "absl/base/config.h"
#include "poller/check.h"
#include "poller/kernel.h"

#ifdef ABSL_HAVE_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

namespace parkway {
namespace {

// ASan: what is not lent is nobody's to touch.
void Forbid([[maybe_unused]] void* start, [[maybe_unused]] size_t bytes) {
#ifdef ABSL_HAVE_ADDRESS_SANITIZER
  __asan_poison_memory_region(start, bytes);
#endif
}

void Allow([[maybe_unused]] void* start, [[maybe_unused]] size_t bytes) {
#ifdef ABSL_HAVE_ADDRESS_SANITIZER
  __asan_unpoison_memory_region(start, bytes);
#endif
}

}  // namespace

// Stands behind its chunks in the same mapping, and the headers of the chunks behind it: with the
// slab they go back to the kernel. An allocator would keep the room of those of the largest burst.
struct Chunk::Slab {
  char* start = nullptr;
  size_t size_class = 0;
  size_t taken = 0;       // chunks that are lent, warm or set aside
  Chunk* free = nullptr;  // linked by next_
  Slab* prev = nullptr;   // in Class::partial
  Slab* next = nullptr;
};

size_t ChunkPool::SlabMappingBytes(size_t size_class) {
  constexpr size_t kPage = 4096;
  const size_t records = sizeof(Chunk::Slab) + kSlabBytes / kSizes[size_class] * sizeof(Chunk);
  return kSlabBytes + (records + kPage - 1) / kPage * kPage;
}

ChunkPool::ChunkPool(size_t cap_bytes) : cap_bytes_(cap_bytes) {}

ChunkPool::~ChunkPool() {
  PARKWAY_CHECK(in_use_ == 0, "a chunk outlives its pool");
  if (reserved_ != nullptr) PutCold(*reserved_);
  for (Class& of : classes_) {
    while (Chunk* chunk = of.warm) {
      of.warm = chunk->next_;
      PutCold(*chunk);
    }
    // Nothing is taken, so all slabs that are left are here.
    while (of.partial != nullptr) DeleteSlab(of.partial);
  }
}

size_t ChunkPool::ClassOf(size_t bytes) {
  size_t size_class = 0;
  while (size_class + 1 < kSizes.size() && kSizes[size_class] < bytes) ++size_class;
  return size_class;
}

bool ChunkPool::CanBorrow(size_t bytes) {
  PARKWAY_DCHECK(bytes <= kSizes.back(), "no chunk is so large");
  if (in_use_bytes_ + kSizes.back() > cap_bytes_) return false;
  // One of the largest size is set aside, untouched: whatever the kernel says later, it serves.
  if (reserved_ == nullptr) reserved_ = TakeCold(kSizes.size() - 1);
  return reserved_ != nullptr;
}

Chunk* ChunkPool::Borrow(size_t bytes) {
  PARKWAY_CHECK(bytes <= kSizes.back(), "no chunk is so large");
  const size_t size_class = ClassOf(bytes);
  if (in_use_bytes_ + kSizes[size_class] > cap_bytes_) return nullptr;
  Class& of = classes_[size_class];
  Chunk* chunk = of.warm;
  if (chunk != nullptr) {
    of.warm = chunk->next_;
    --of.warm_count;
  } else {
    chunk = TakeCold(size_class);
    if (chunk == nullptr && in_use_bytes_ + kSizes.back() <= cap_bytes_) {
      chunk = std::exchange(reserved_, nullptr);
    }
    if (chunk == nullptr) return nullptr;
  }
  of.borrowed = true;
  chunk->next_ = nullptr;
  chunk->lent_ = true;
  Allow(chunk->data_, chunk->capacity_);
  ++in_use_;
  in_use_bytes_ += chunk->capacity_;
  high_water_bytes_ = std::max(high_water_bytes_, in_use_bytes_);
  return chunk;
}

void ChunkPool::Return(Chunk& chunk) {
  PARKWAY_CHECK(chunk.lent_, "a chunk was returned twice");
  chunk.lent_ = false;
  --in_use_;
  in_use_bytes_ -= chunk.capacity_;
  Class& of = classes_[chunk.slab_->size_class];
  Forbid(chunk.data_, chunk.capacity_);
  // Where the kernel refuses to take the memory back, which is allowed only for locked memory, it
  // stays in use by nobody until the chunk is lent again.
  if (of.warm_count >= kWarm) {
    kernel::Advise(chunk.data_, chunk.capacity_, MADV_DONTNEED);
    PutCold(chunk);
    return;
  }
  chunk.next_ = of.warm;
  of.warm = &chunk;
  ++of.warm_count;
}

void ChunkPool::Trim() {
  for (Class& of : classes_) {
    if (std::exchange(of.borrowed, false)) continue;
    while (Chunk* chunk = of.warm) {
      of.warm = chunk->next_;
      --of.warm_count;
      kernel::Advise(chunk->data_, chunk->capacity_, MADV_DONTNEED);
      PutCold(*chunk);
    }
  }
}

Chunk* ChunkPool::TakeCold(size_t size_class) {
  Class& of = classes_[size_class];
  Chunk::Slab* slab = of.partial;
  if (slab == nullptr) slab = NewSlab(size_class);
  if (slab == nullptr) return nullptr;
  Chunk* chunk = slab->free;
  slab->free = chunk->next_;
  chunk->next_ = nullptr;
  ++slab->taken;
  if (slab->free == nullptr) Unlink(of, slab);
  return chunk;
}

void ChunkPool::PutCold(Chunk& chunk) {
  Chunk::Slab* slab = chunk.slab_;
  Class& of = classes_[slab->size_class];
  if (slab->free == nullptr) Link(of, slab);
  chunk.next_ = slab->free;
  slab->free = &chunk;
  --slab->taken;
  const bool only_one = of.partial == slab && slab->next == nullptr;
  if (slab->taken == 0 && !only_one) DeleteSlab(slab);
}

Chunk::Slab* ChunkPool::NewSlab(size_t size_class) {
  static_assert(std::is_trivially_destructible_v<Chunk::Slab> &&
                std::is_trivially_destructible_v<Chunk> &&
                sizeof(Chunk::Slab) % alignof(Chunk) == 0);
  const size_t count = kSlabBytes / kSizes[size_class];
  void* start = kernel::Map(SlabMappingBytes(size_class));
  if (start == nullptr) return nullptr;
  // A huge page would be resident as a whole, and would keep what its parts give back. A kernel
  // without them refuses the advice, and needs none.
  kernel::Advise(start, SlabMappingBytes(size_class), MADV_NOHUGEPAGE);
  Forbid(start, kSlabBytes);
  char* records = static_cast<char*>(start) + kSlabBytes;
  auto* slab = new (records) Chunk::Slab;
  slab->start = static_cast<char*>(start);
  slab->size_class = size_class;
  for (size_t i = count; i-- > 0;) {
    Chunk& chunk = *new (records + sizeof(Chunk::Slab) + i * sizeof(Chunk)) Chunk;
    chunk.data_ = slab->start + i * kSizes[size_class];
    chunk.slab_ = slab;
    chunk.capacity_ = kSizes[size_class];
    chunk.next_ = slab->free;
    slab->free = &chunk;
  }
  Link(classes_[size_class], slab);
  ++slab_count_;
  return slab;
}

// REQUIRES: nothing of it is taken.
void ChunkPool::DeleteSlab(Chunk::Slab* slab) {
  Unlink(classes_[slab->size_class], slab);
  Allow(slab->start, kSlabBytes);
  kernel::Unmap(slab->start, SlabMappingBytes(slab->size_class));
  --slab_count_;
}

void ChunkPool::Link(Class& of, Chunk::Slab* slab) {
  slab->prev = nullptr;
  slab->next = of.partial;
  if (of.partial != nullptr) of.partial->prev = slab;
  of.partial = slab;
}

void ChunkPool::Unlink(Class& of, Chunk::Slab* slab) {
  (slab->prev != nullptr ? slab->prev->next : of.partial) = slab->next;
  if (slab->next != nullptr) slab->next->prev = slab->prev;
  slab->prev = slab->next = nullptr;
}

}  // namespace parkway
