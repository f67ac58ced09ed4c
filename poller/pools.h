// Chunks: the memory for bytes that were read and could not be written yet, lent by the worker
// only while they hold something.
//
//   ChunkPool chunks(64 << 20);
//   Chunk* chunk = chunks.Borrow(rest);        // nullptr at the cap
//   std::memcpy(chunk->data(), bytes, rest);
//   ...
//   chunks.Return(*chunk);
//
// Three sizes, each carved from slabs of 1 MiB of address space. Every chunk is whole pages, so
// what is given back beyond a few warm ones returns to the kernel at once and alone
// (MADV_DONTNEED), whatever its neighbours do: a burst of blocked receivers leaves neither its
// memory nor mappings behind. Trim does the same for warm ones of a size that is no longer asked
// for. A slab of which nothing is lent or warm is unmapped, but for one of each size.
//
// Owner thread only.
//
// Invariants
//   1. in_use_bytes() <= the cap.
//   2. CanBorrow(n) is true only if the next Borrow(m), m <= n, succeeds.
//   3. A chunk is lent, warm, set aside, or holds no memory.
//   4. Under ASan nobody may touch a chunk that is not lent.
#ifndef POLLER_POOLS_H_
#define POLLER_POOLS_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace parkway {

// A borrowed stretch of memory; the header stands behind the slab's chunks, not in front of the
// bytes.
class Chunk {
 public:
  char* data() { return data_; }
  size_t capacity() const { return capacity_; }

 private:
  friend class ChunkPool;
  struct Slab;

  char* data_ = nullptr;
  Slab* slab_ = nullptr;
  Chunk* next_ = nullptr;  // warm, or free in its slab
  uint32_t capacity_ = 0;
  bool lent_ = false;
};

class ChunkPool {
 public:
  static constexpr std::array<uint32_t, 3> kSizes = {4 * 1024, 16 * 1024, 64 * 1024};
  // Chunks of each size that keep their memory when nobody needs them.
  static constexpr size_t kWarm = 4;
  static constexpr size_t kSlabBytes = 1024 * 1024;

  explicit ChunkPool(size_t cap_bytes);
  // REQUIRES: nothing is lent.
  ~ChunkPool();
  ChunkPool(const ChunkPool&) = delete;
  ChunkPool& operator=(const ChunkPool&) = delete;

  // Whether Borrow of up to `bytes` succeeds now. REQUIRES: bytes <= the largest size.
  bool CanBorrow(size_t bytes);
  // The smallest size that holds `bytes` (at most the largest size). nullptr: at the cap, or the
  // kernel has no memory.
  Chunk* Borrow(size_t bytes);
  // REQUIRES: lent by this pool.
  void Return(Chunk& chunk);
  // Warm chunks of a size that nobody has borrowed since the last Trim give their memory back. To
  // be called now and then.
  void Trim();

  size_t in_use() const { return in_use_; }
  size_t in_use_bytes() const { return in_use_bytes_; }
  size_t high_water_bytes() const { return high_water_bytes_; }
  // Address space of all chunks.
  size_t mapped_bytes() const { return slab_count_ * kSlabBytes; }

 private:
  // The chunks of one size.
  struct Class {
    Chunk* warm = nullptr;
    size_t warm_count = 0;
    bool borrowed = false;  // since the last Trim
    // Slabs with a free chunk; a full one is in no list, its lent chunks know it.
    Chunk::Slab* partial = nullptr;
  };

  static size_t ClassOf(size_t bytes);
  // With the records of its chunks.
  static size_t SlabMappingBytes(size_t size_class);
  // A chunk that holds no memory yet; nullptr if the kernel has no address space.
  Chunk* TakeCold(size_t size_class);
  void PutCold(Chunk& chunk);
  Chunk::Slab* NewSlab(size_t size_class);
  void DeleteSlab(Chunk::Slab* slab);
  static void Link(Class& of, Chunk::Slab* slab);
  static void Unlink(Class& of, Chunk::Slab* slab);

  const size_t cap_bytes_;
  size_t in_use_ = 0;
  size_t in_use_bytes_ = 0;
  size_t high_water_bytes_ = 0;
  size_t slab_count_ = 0;
  std::array<Class, kSizes.size()> classes_;
  Chunk* reserved_ = nullptr;  // set aside by CanBorrow for the Borrow that follows
};

}  // namespace parkway

#endif  // POLLER_POOLS_H_
