#include "proxy/upstream/maglev.h"

#include <algorithm>
#include <numeric>

namespace parkway {

namespace {

constexpr uint16_t kFree = 0xffff;

// The finaliser of SplitMix64 (Steele, Lea, Flood, 2014).
uint64_t Mix(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Where a server looks for a free slot: start, start + step, start + 2 * step, ...
struct Walk {
  uint32_t next;
  uint32_t step;
};

}  // namespace

uint64_t StableHash(std::string_view bytes, uint64_t seed) {
  uint64_t hash = Mix(seed + 0x9e3779b97f4a7c15u) ^ bytes.size();
  uint64_t word = 0;
  int have = 0;
  for (const char c : bytes) {
    word |= static_cast<uint64_t>(static_cast<unsigned char>(c)) << (8 * have);
    if (++have == 8) {
      hash = Mix(hash ^ word) + 0x9e3779b97f4a7c15u;
      word = 0;
      have = 0;
    }
  }
  return Mix(hash ^ word);
}

MaglevTable::MaglevTable(const std::vector<std::string_view>& names,
                         const std::vector<uint32_t>& weights)
    : slots_(kSlots, kFree) {
  // The order of the turns is part of the result, so it must not be that of the list.
  std::vector<uint16_t> order(names.size());
  std::iota(order.begin(), order.end(), uint16_t{0});
  std::sort(order.begin(), order.end(),
            [&names](uint16_t a, uint16_t b) { return names[a] < names[b]; });
  std::vector<Walk> walks;
  uint32_t heaviest = 1;
  for (const uint16_t server : order) {
    walks.push_back({static_cast<uint32_t>(StableHash(names[server], 1) % kSlots),
                     static_cast<uint32_t>(StableHash(names[server], 2) % (kSlots - 1) + 1)});
    heaviest = std::max(heaviest, weights[server]);
  }
  // In a round the heaviest takes one slot, and each other its part of one.
  std::vector<uint32_t> due(order.size());
  uint32_t left = kSlots;
  while (left > 0) {
    for (size_t i = 0; i < order.size() && left > 0; ++i) {
      due[i] += weights[order[i]];
      if (due[i] < heaviest) continue;
      due[i] -= heaviest;
      Walk& walk = walks[i];
      while (slots_[walk.next] != kFree) walk.next = (walk.next + walk.step) % kSlots;
      slots_[walk.next] = order[i];
      --left;
    }
  }
}

}  // namespace parkway
