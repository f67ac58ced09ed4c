#include "poller/pools.h"

#include <algorithm>
#include <utility>

#include "poller/check.h"
#include "poller/kernel.h"

namespace parkway {

ChunkPool::ChunkPool(size_t cap_bytes) : cap_bytes_(cap_bytes) {}

ChunkPool::~ChunkPool() {
  PARKWAY_CHECK(in_use_ == 0, "a chunk outlives its pool");
  if (reserved_ != nullptr) {
    kernel::Unmap(reserved_->data_, reserved_->capacity_);
    delete reserved_;
  }
  for (Class& size_class : classes_) {
    while (Chunk* chunk = size_class.warm) {
      size_class.warm = chunk->next_;
      kernel::Unmap(chunk->data_, chunk->capacity_);
      delete chunk;
    }
  }
}

size_t ChunkPool::ClassOf(size_t bytes) {
  size_t size_class = 0;
  while (size_class + 1 < kSizes.size() && kSizes[size_class] < bytes) ++size_class;
  return size_class;
}

Chunk* ChunkPool::Fresh(size_t size_class) {
  void* data = kernel::Map(kSizes[size_class]);
  if (data == nullptr) return nullptr;
  Chunk* chunk = new Chunk;
  chunk->data_ = static_cast<char*>(data);
  chunk->capacity_ = kSizes[size_class];
  return chunk;
}

bool ChunkPool::CanBorrow(size_t bytes) {
  PARKWAY_DCHECK(bytes <= kSizes.back(), "no chunk is so large");
  if (in_use_bytes_ + kSizes.back() > cap_bytes_) return false;
  // One of the largest size is set aside, untouched: whatever the kernel says later, it serves.
  if (reserved_ == nullptr) reserved_ = Fresh(kSizes.size() - 1);
  return reserved_ != nullptr;
}

Chunk* ChunkPool::Borrow(size_t bytes) {
  PARKWAY_DCHECK(bytes <= kSizes.back(), "no chunk is so large");
  const size_t size_class = ClassOf(bytes);
  if (in_use_bytes_ + kSizes[size_class] > cap_bytes_) return nullptr;
  Chunk* chunk = classes_[size_class].warm;
  if (chunk != nullptr) {
    classes_[size_class].warm = chunk->next_;
    --classes_[size_class].warm_count;
  } else {
    chunk = Fresh(size_class);
    if (chunk == nullptr) chunk = std::exchange(reserved_, nullptr);
    if (chunk == nullptr) return nullptr;
  }
  chunk->next_ = nullptr;
  ++in_use_;
  in_use_bytes_ += chunk->capacity_;
  high_water_bytes_ = std::max(high_water_bytes_, in_use_bytes_);
  return chunk;
}

void ChunkPool::Return(Chunk& chunk) {
  PARKWAY_CHECK(in_use_ > 0, "a chunk was returned twice");
  --in_use_;
  in_use_bytes_ -= chunk.capacity_;
  Class& size_class = classes_[ClassOf(chunk.capacity_)];
  // Where the kernel refuses to take it back (too many mappings), it stays warm.
  if (size_class.warm_count >= kWarm && kernel::Unmap(chunk.data_, chunk.capacity_) == 0) {
    delete &chunk;
    return;
  }
  chunk.next_ = size_class.warm;
  size_class.warm = &chunk;
  ++size_class.warm_count;
}

}  // namespace parkway
