// Slots: records by number, for one writer and any readers: what a worker counts of each listener,
// upstream and server.
//
//   ServerStats& stats = slots.At(7);           // the writer; makes it if it is new
//   if (const ServerStats* s = slots.Find(7))   // any thread
//
// Grows in chunks, each twice as long as the one before; a record never moves and is never freed
// before all are, so a reader may keep what it found.
//
// Invariants
//   1. Find(i) is null or a constructed record, for every i, also while At() makes others.
//   2. Memory is less than twice what the highest number needs, and kFirst records at least.
#ifndef PROXY_CORE_SLOTS_H_
#define PROXY_CORE_SLOTS_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace parkway {

template <typename Record>
class Slots {
 public:
  static constexpr size_t kFirst = 4;
  static constexpr size_t kMost = size_t{1} << 16;  // numbers have 16 bits

  Slots() = default;
  ~Slots() {
    for (const auto& chunk : chunks_) delete[] chunk.load(std::memory_order_relaxed);
  }
  Slots(const Slots&) = delete;
  Slots& operator=(const Slots&) = delete;

  // The writer. REQUIRES: slot < kMost.
  Record& At(size_t slot) {
    const Place place = PlaceOf(slot);
    Record* records = chunks_[place.chunk].load(std::memory_order_relaxed);
    return (records == nullptr ? Make(place.chunk) : records)[place.index];
  }

  // Any thread. Null: nothing was noted of it, nor of those beside it.
  const Record* Find(size_t slot) const {
    if (slot >= kMost) return nullptr;
    const Place place = PlaceOf(slot);
    const Record* records = chunks_[place.chunk].load(std::memory_order_acquire);
    return records == nullptr ? nullptr : records + place.index;
  }

 private:
  struct Place {
    size_t chunk;
    size_t index;
  };
  static constexpr size_t kFirstBits = std::bit_width(kFirst) - 1;
  static constexpr size_t kChunks = std::bit_width(kMost) - kFirstBits;

  // Chunk c holds kFirst << c records, from (kFirst << c) - kFirst on.
  static constexpr Place PlaceOf(size_t slot) {
    const size_t moved = slot + kFirst;
    const auto chunk = static_cast<size_t>(std::bit_width(moved)) - 1 - kFirstBits;
    return {chunk, moved - (kFirst << chunk)};
  }

  Record* Make(size_t chunk) {
    auto* records = new Record[kFirst << std::min(chunk, kChunks - 1)];
    chunks_[chunk].store(records, std::memory_order_release);
    return records;
  }

  std::array<std::atomic<Record*>, kChunks> chunks_{};
};

}  // namespace parkway

#endif  // PROXY_CORE_SLOTS_H_
