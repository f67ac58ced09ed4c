// Maglev: a table from a hash to a server that changes little when the servers do (Eisenbud et al.,
// "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016).
//
//   MaglevTable table(names, weights);
//   server = table.At(HashOfSource(...));
//
// It is made of names and weights alone: two processes with the same servers, in whatever order
// they are listed, agree on every source. Each server has a permutation of the slots, by its name;
// in turns, as often as its weight says, each takes the next free slot of its own.
//
// Immutable; any thread.
//
// Invariants
//   1. Each server has its share by weight of the slots, to within one turn.
//   2. The functions here are fixed for ever: another hash would move every client.
#ifndef PROXY_UPSTREAM_MAGLEV_H_
#define PROXY_UPSTREAM_MAGLEV_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace parkway {

// A well mixed hash of bytes, the same on every machine.
uint64_t StableHash(std::string_view bytes, uint64_t seed);

class MaglevTable {
 public:
  static constexpr uint32_t kSlots = 65'537;  // a prime

  // `weights`: 1 to 256 each, as many as names. Names are distinct; at least one.
  MaglevTable(const std::vector<std::string_view>& names, const std::vector<uint32_t>& weights);

  // The place in the list of names.
  size_t At(uint64_t hash) const { return slots_[hash % kSlots]; }

 private:
  std::vector<uint16_t> slots_;
};

}  // namespace parkway

#endif  // PROXY_UPSTREAM_MAGLEV_H_
