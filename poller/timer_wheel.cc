#include "poller/timer_wheel.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "poller/check.h"

namespace parkway {
namespace {

constexpr int64_t kNsPerTick = 1'000'000;
constexpr int kTickBits = 40;
constexpr uint64_t kTickMask = (uint64_t{1} << kTickBits) - 1;
// Ticks compare modulo 2^40, so nothing may be further ahead than half of that.
constexpr uint64_t kFarthest = uint64_t{1} << (kTickBits - 1);

uint64_t TickAtOrBefore(MonotonicTime time) {
  return time.ns() <= 0 ? 0 : static_cast<uint64_t>(time.ns() / kNsPerTick);
}

uint64_t TickAtOrAfter(MonotonicTime time) {
  return TickAtOrBefore(time) + (time.ns() > 0 && time.ns() % kNsPerTick != 0 ? 1 : 0);
}

template <typename Links>
void MakeEmpty(Links& head) {
  head.prev = head.next = &head;
}

template <typename Links>
void PushBack(Links& head, Links& node) {
  node.prev = head.prev;
  node.next = &head;
  head.prev->next = &node;
  head.prev = &node;
}

template <typename Links>
void Remove(Links& node) {
  node.prev->next = node.next;
  node.next->prev = node.prev;
  node.prev = node.next = nullptr;
}

}  // namespace

TimerWheel::NodeList::~NodeList() {
  PARKWAY_DCHECK(empty(), "a list of fired timers ends with timers in it");
}

TimerWheel::Node* TimerWheel::NodeList::PopFront() {
  if (empty()) return nullptr;
  Links* first = head_.next;
  Remove(*first);
  return static_cast<Node*>(first);
}

TimerWheel::TimerWheel(MonotonicTime start) : present_(TickAtOrBefore(start)) {
  for (auto& level : slots_) {
    for (Links& slot : level) MakeEmpty(slot);
  }
}

TimerWheel::~TimerWheel() { PARKWAY_DCHECK(count_ == 0, "a timer wheel ends with timers in it"); }

void TimerWheel::Arm(Node& node, MonotonicTime when) {
  PARKWAY_DCHECK(!node.linked(), "a timer is armed twice");
  uint64_t tick = TickAtOrAfter(when);
  if (tick < present_) tick = present_;
  if (tick - present_ > kFarthest) tick = present_ + kFarthest;
  node.tick_ = static_cast<uint32_t>(tick);
  node.tick_high_ = static_cast<uint8_t>(tick >> 32);
  Place(node, tick);
  ++count_;
}

void TimerWheel::Cancel(Node& node) {
  if (!node.linked()) return;
  if (node.level_ == Node::kNoLevel) {
    Remove<Links>(node);
    return;
  }
  Unlink(node);
  --count_;
}

void TimerWheel::Advance(MonotonicTime now, NodeList& fired) {
  const uint64_t target = std::max(TickAtOrBefore(now), present_);
  // One occupied slot at a time, in the order of their ticks: a slot of level 0 fires, one of a
  // higher level moves its nodes down, where the next turns of this loop find them.
  for (Due due = NextDue(); due.level >= 0 && due.tick <= target; due = NextDue()) {
    if (due.tick > present_) present_ = due.tick;
    Links& slot = slots_[due.level][due.slot];
    // Nodes of the top level may come back into this very slot, so it is emptied first.
    Links nodes = slot;
    nodes.prev->next = nodes.next->prev = &nodes;
    MakeEmpty(slot);
    occupied_[due.level] &= ~(uint64_t{1} << due.slot);
    while (nodes.next != &nodes) {
      Node& node = static_cast<Node&>(*nodes.next);
      Remove<Links>(node);
      if (due.level == 0) {
        node.level_ = Node::kNoLevel;
        PushBack<Links>(fired.head_, node);
        --count_;
      } else {
        Place(node, TickOf(node));
      }
    }
  }
  present_ = target;
}

MonotonicTime TimerWheel::NextWake() const {
  const Due due = NextDue();
  if (due.level < 0) return MonotonicTime::InfiniteFuture();
  constexpr uint64_t kLastTick = std::numeric_limits<int64_t>::max() / kNsPerTick;
  if (due.tick > kLastTick) return MonotonicTime::InfiniteFuture();
  return MonotonicTime(static_cast<int64_t>(due.tick) * kNsPerTick);
}

uint64_t TimerWheel::TickOf(const Node& node) const {
  const uint64_t tick = uint64_t{node.tick_high_} << 32 | node.tick_;
  return present_ + ((tick - present_) & kTickMask);
}

// REQUIRES: tick >= present_.
void TimerWheel::Place(Node& node, uint64_t tick) {
  constexpr int kTop = kLevels - 1;
  constexpr int kTopShift = kTop * kBitsPerLevel;
  const int highest_bit = std::bit_width((tick ^ present_) | 1) - 1;
  int level = highest_bit / kBitsPerLevel;
  uint64_t digit = tick >> (level * kBitsPerLevel);
  if (level >= kTop) {
    level = kTop;
    digit = tick >> kTopShift;
    const uint64_t furthest = (present_ >> kTopShift) + kSlots;
    if (digit > furthest) digit = furthest;
  }
  const int slot = static_cast<int>(digit % kSlots);
  node.level_ = static_cast<uint8_t>(level);
  node.slot_ = static_cast<uint8_t>(slot);
  PushBack<Links>(slots_[level][slot], node);
  occupied_[level] |= uint64_t{1} << slot;
}

void TimerWheel::Unlink(Node& node) {
  Links& slot = slots_[node.level_][node.slot_];
  Remove<Links>(node);
  if (slot.next == &slot) occupied_[node.level_] &= ~(uint64_t{1} << node.slot_);
  node.level_ = Node::kNoLevel;
}

TimerWheel::Due TimerWheel::NextDue() const {
  // By invariant 4 whatever is in a lower level comes before all of the higher ones.
  for (int level = 0; level < kLevels; ++level) {
    const uint64_t occupied = occupied_[level];
    if (occupied == 0) continue;
    const int shift = level * kBitsPerLevel;
    const uint64_t digits = present_ >> shift;  // this level's and all above
    const int here = static_cast<int>(digits % kSlots);
    // The slots from here on in the order of the ring. In the levels between, and in the top one,
    // the present slot was moved down when the time reached it: what it holds is for next round.
    const int first = level == 0 ? here : here + 1;
    const int ahead = std::countr_zero(std::rotr(occupied, first % kSlots));
    const uint64_t digit = digits + static_cast<uint64_t>(first - here + ahead);
    return {level, static_cast<int>(digit % kSlots), digit << shift};
  }
  return {-1, 0, 0};
}

}  // namespace parkway
