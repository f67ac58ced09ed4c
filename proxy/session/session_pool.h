// The sessions of one worker: pooled blocks, found again without a list.
//
// Slabs of 16 KiB: a word with a bit for each block in use, and 63 blocks. A session costs its
// block and four bytes; who wants all of them (drain, show) walks the bits. Slabs are cut from
// larger stretches and not given back: the memory of a burst is the memory of the next one.
//
// Owner thread only.
//
// Invariants
//   1. ForEach visits each session that lives when it comes by, in an order that depends on
//      nothing but the calls made; the visited one may be freed by the visitor.
#ifndef PROXY_SESSION_SESSION_POOL_H_
#define PROXY_SESSION_SESSION_POOL_H_

#include <sys/mman.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>
#include <vector>

#include "poller/kernel.h"
#include "proxy/session/session.h"

namespace parkway {

class SessionPool {
 public:
  SessionPool() = default;
  SessionPool(const SessionPool&) = delete;
  SessionPool& operator=(const SessionPool&) = delete;

  ~SessionPool() {
    for (void* stretch : stretches_) kernel::Unmap(stretch, kStretchBytes);
  }

  // nullptr: the kernel has no memory.
  template <typename... Args>
  Session* New(Args&&... args) {
    if (open_.empty() && !AddSlab()) return nullptr;
    Slab& slab = *slabs_[open_.back()];
    const int place = std::countr_one(slab.used);
    slab.used |= uint64_t{1} << place;
    if (slab.used == kFull) open_.pop_back();
    ++size_;
    return new (slab.block(place)) Session(std::forward<Args>(args)...);
  }

  void Free(Session& session) {
    Slab& slab = SlabOf(session);
    const auto place = (reinterpret_cast<char*>(&session) - slab.blocks) / sizeof(Session);
    session.~Session();
    if (slab.used == kFull) open_.push_back(slab.number);
    slab.used &= ~(uint64_t{1} << place);
    --size_;
  }

  template <typename Visitor>
  void ForEach(Visitor visit) {
    for (size_t i = 0; i < slabs_.size(); ++i) ForEachIn(i, visit);
  }

  // Those of one slab, for who goes through all of them a part at a time: slabs only become more.
  size_t slabs() const { return slabs_.size(); }
  template <typename Visitor>
  void ForEachIn(size_t slab, Visitor visit) {
    for (uint64_t left = slabs_[slab]->used; left != 0; left &= left - 1) {
      const int place = std::countr_zero(left);
      // A visit may free others of the same slab.
      if ((slabs_[slab]->used >> place & 1) == 0) continue;
      visit(*reinterpret_cast<Session*>(slabs_[slab]->block(place)));
    }
  }

  // Whether the session that was at `place` with this id lives.
  bool Holds(const Session* place, uint64_t id) const {
    const Slab& slab = SlabOf(*place);
    const auto number = (reinterpret_cast<const char*>(place) - slab.blocks) /
                        static_cast<ptrdiff_t>(sizeof(Session));
    return (slab.used >> number & 1) != 0 && place->id() == id;
  }

  size_t size() const { return size_; }

 private:
  static constexpr size_t kPerSlab = 63;
  static constexpr size_t kSlabBytes = 16 * 1024;
  static constexpr size_t kSlabsPerStretch = 64;
  // One slab more, for the alignment.
  static constexpr size_t kStretchBytes = (kSlabsPerStretch + 1) * kSlabBytes;
  static constexpr uint64_t kFull = (uint64_t{1} << kPerSlab) - 1;

  // Aligned to its size, so that a block leads to its slab.
  struct Slab {
    char* block(int place) { return blocks + static_cast<size_t>(place) * sizeof(Session); }

    uint64_t used = 0;
    uint32_t number = 0;
    alignas(64) char blocks[kPerSlab * sizeof(Session)];
  };
  static_assert(sizeof(Slab) <= kSlabBytes);

  static Slab& SlabOf(const Session& session) {
    return *reinterpret_cast<Slab*>(reinterpret_cast<uintptr_t>(&session) & ~(kSlabBytes - 1));
  }

  bool AddSlab() {
    const size_t place = slabs_.size() % kSlabsPerStretch;
    if (place == 0) {
      void* stretch = kernel::Map(kStretchBytes);
      if (stretch == nullptr) return false;
      // A huge page would charge a worker with ten connections for thousands.
      static_cast<void>(kernel::Advise(stretch, kStretchBytes, MADV_NOHUGEPAGE));
      stretches_.push_back(stretch);
    }
    const uintptr_t first =
        (reinterpret_cast<uintptr_t>(stretches_.back()) + kSlabBytes - 1) & ~(kSlabBytes - 1);
    // The blocks are not touched before they are needed.
    Slab* slab = new (reinterpret_cast<void*>(first + place * kSlabBytes)) Slab;
    slab->number = static_cast<uint32_t>(slabs_.size());
    slabs_.push_back(slab);
    open_.push_back(slab->number);
    return true;
  }

  std::vector<void*> stretches_;
  std::vector<Slab*> slabs_;
  std::vector<uint32_t> open_;  // slabs with room
  size_t size_ = 0;
};

}  // namespace parkway

#endif  // PROXY_SESSION_SESSION_POOL_H_
