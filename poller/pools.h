// Chunks: the memory for bytes that were read and could not be written yet, lent by the worker
// only while they hold something.
//
// Three sizes. A chunk is a stretch of its own mapping from the kernel's point of view: what is
// given back beyond a few warm ones of each size returns to the kernel at once, so the memory of
// a burst of blocked receivers is not kept.
//
// Owner thread only.
//
// Invariants
//   1. in_use_bytes() <= the cap.
//   2. CanBorrow(n) is true only if the next Borrow(m), m <= n, succeeds.
#ifndef POLLER_POOLS_H_
#define POLLER_POOLS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace parkway {

// A borrowed stretch of memory; the header stands in the pool, not in front of the bytes.
class Chunk {
 public:
  char* data() { return data_; }
  size_t capacity() const { return capacity_; }

 private:
  friend class ChunkPool;
  char* data_ = nullptr;
  uint32_t capacity_ = 0;
  Chunk* next_ = nullptr;
};

class ChunkPool {
 public:
  static constexpr std::array<uint32_t, 3> kSizes = {4 * 1024, 16 * 1024, 64 * 1024};
  // Chunks of each size that stay when nobody needs them.
  static constexpr size_t kWarm = 4;

  explicit ChunkPool(size_t cap_bytes);
  // REQUIRES: nothing is lent.
  ~ChunkPool();
  ChunkPool(const ChunkPool&) = delete;
  ChunkPool& operator=(const ChunkPool&) = delete;

  // Whether Borrow of up to `bytes` succeeds now.
  bool CanBorrow(size_t bytes);
  // The smallest size that holds `bytes` (at most the largest size). nullptr: at the cap, or the
  // kernel has no memory.
  Chunk* Borrow(size_t bytes);
  void Return(Chunk& chunk);

  size_t in_use() const { return in_use_; }
  size_t in_use_bytes() const { return in_use_bytes_; }
  size_t high_water_bytes() const { return high_water_bytes_; }

 private:
  static size_t ClassOf(size_t bytes);
  Chunk* Fresh(size_t size_class);

  const size_t cap_bytes_;
  size_t in_use_ = 0;
  size_t in_use_bytes_ = 0;
  size_t high_water_bytes_ = 0;
  struct Class {
    Chunk* warm = nullptr;
    size_t warm_count = 0;
  };
  std::array<Class, 3> classes_;
  // Set aside by CanBorrow for the Borrow that follows.
  Chunk* reserved_ = nullptr;
};

}  // namespace parkway

#endif  // POLLER_POOLS_H_
