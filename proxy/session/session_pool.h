// The sessions of one worker: pooled blocks, found again without a list.
//
// Slabs of 64 blocks with a bit for each that is in use. A session costs its block and an eighth
// of a byte; who wants all of them (drain, show) walks the bits. Slabs are not given back: the
// memory of a burst is the memory of the next one.
//
// Owner thread only.
//
// Invariants
//   1. ForEach visits each session that lives when it comes by, in an order that depends on
//      nothing but the calls made; the visited one may be freed by the visitor.
#ifndef PROXY_SESSION_SESSION_POOL_H_
#define PROXY_SESSION_SESSION_POOL_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "proxy/session/session.h"

namespace parkway {

class SessionPool {
 public:
  SessionPool() = default;
  SessionPool(const SessionPool&) = delete;
  SessionPool& operator=(const SessionPool&) = delete;

  template <typename... Args>
  Session& New(Args&&... args) {
    if (open_.empty()) AddSlab();
    Slab& slab = *slabs_[open_.back()];
    const int place = std::countr_one(slab.used);
    slab.used |= uint64_t{1} << place;
    if (slab.used == ~uint64_t{0}) open_.pop_back();
    ++size_;
    return *new (slab.block(place)) Session(std::forward<Args>(args)...);
  }

  void Free(Session& session) {
    Slab& slab = SlabOf(session);
    const auto place = (reinterpret_cast<char*>(&session) - slab.blocks) / sizeof(Session);
    session.~Session();
    if (slab.used == ~uint64_t{0}) open_.push_back(slab.number);
    slab.used &= ~(uint64_t{1} << place);
    --size_;
  }

  template <typename Visitor>
  void ForEach(Visitor visit) {
    for (size_t i = 0; i < slabs_.size(); ++i) {
      for (uint64_t left = slabs_[i]->used; left != 0; left &= left - 1) {
        const int place = std::countr_zero(left);
        // A visit may free others of the same slab.
        if ((slabs_[i]->used >> place & 1) == 0) continue;
        visit(*reinterpret_cast<Session*>(slabs_[i]->block(place)));
      }
    }
  }

  size_t size() const { return size_; }

 private:
  static constexpr size_t kPerSlab = 64;
  static constexpr size_t kSlabBytes = 32 * 1024;

  // Aligned to its size, so that a block leads to its slab.
  struct alignas(kSlabBytes) Slab {
    char* block(int place) { return blocks + static_cast<size_t>(place) * sizeof(Session); }

    uint64_t used = 0;
    uint32_t number = 0;
    alignas(alignof(Session)) char blocks[kPerSlab * sizeof(Session)];
  };

  static Slab& SlabOf(Session& session) {
    return *reinterpret_cast<Slab*>(reinterpret_cast<uintptr_t>(&session) & ~(kSlabBytes - 1));
  }

  void AddSlab() {
    slabs_.push_back(std::make_unique<Slab>());
    slabs_.back()->number = static_cast<uint32_t>(slabs_.size() - 1);
    open_.push_back(slabs_.back()->number);
  }

  std::vector<std::unique_ptr<Slab>> slabs_;
  std::vector<uint32_t> open_;  // slabs with room
  size_t size_ = 0;
};

}  // namespace parkway

#endif  // PROXY_SESSION_SESSION_POOL_H_
