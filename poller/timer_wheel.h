// The timer wheel of one worker: when is the next deadline, and which ones have passed.
//
//   TimerWheel wheel(now);
//   node.rseq = rseq;                  // whatever the owner wants to find again when it fires
//   wheel.Arm(node, deadline);
//   ...
//   TimerWheel::NodeList fired;
//   wheel.Advance(now, fired);
//   while (TimerWheel::Node* node = fired.PopFront()) Dispatch(*node);   // by node->kind
//
// Hierarchical hashed wheel (Varghese & Lauck, SOSP 1987): 5 levels of 64 slots, 1 ms ticks.
// Level n holds what is due within 64^(n+1) ms; Arm, Cancel and NextWake are O(1); a timer moves
// down at most 4 times before it fires. What lies beyond the range of 64^5 ms (12.4 days) waits
// in the top level and is looked at once in 12.4 days.
//
// Ticks are milliseconds of the monotonic clock, modulo 2^40 (34.8 years). The lower 32 bits,
// which wrap every 49.7 days, stand in the node's `tick_`, the rest in one byte beside it: so a
// node stays at 32 bytes and a deadline of more than 24.8 days is not mistaken for a past one. A
// time more than 17.4 years ahead, InfiniteFuture() included, counts as 17.4 years ahead.
//
// Owner thread only. Nothing here locks, allocates or reads a clock.
//
// Invariants
//   1. A node is in exactly one slot, or in one NodeList of fired ones, while linked; in none
//      otherwise.
//   2. A node never fires before its time, which is rounded up to a tick; it fires at the first
//      Advance() at or after that tick.
//   3. occupied_[level] has bit i set iff slot i of that level is not empty.
//   4. A node of level n shares with the present tick all digits (base 64) above n, and its digit
//      n is the greater one; at level 0 it may be equal. The top level is a ring: a digit that is
//      not greater belongs to the next round, and what lies beyond that round waits in the slot
//      that was furthest away when it was placed.
//   5. count() is the number of nodes in slots.
#ifndef POLLER_TIMER_WHEEL_H_
#define POLLER_TIMER_WHEEL_H_

#include <cstddef>
#include <cstdint>

#include "poller/clock.h"

namespace parkway {

// Whose timer a node is, so that who pops it knows what it is part of. The wheel does not look.
enum class TimerKind : uint8_t {
  kDescriptor = 0,  // the node of a PollDesc
  kTask = 1,        // the sleep of a task
  kOwner0 = 2,      // for the layers above the engine
  kOwner1 = 3,
  kOwner2 = 4,
  kOwner3 = 5,
};

class TimerWheel {
 private:
  struct Links {
    Links* prev;
    Links* next;
  };

 public:
  // Intrusive: lives in what it is the timer of, and may not move while linked.
  class Node : private Links {
   public:
    Node() : Node(TimerKind::kDescriptor) {}
    explicit Node(TimerKind k) : Links{nullptr, nullptr}, kind(k) {}
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;

    // Armed, or fired and not yet taken out of the NodeList.
    bool linked() const { return next != nullptr; }

   private:
    friend class TimerWheel;
    friend class TimerWheelPeer;
    static constexpr uint8_t kNoLevel = 0xff;

    uint32_t tick_ = 0;

   public:
    // The owner's; the wheel carries them. Usually the sequences that the timer is armed under.
    uint32_t rseq = 0;
    uint32_t wseq = 0;
    TimerKind kind;

   private:
    uint8_t tick_high_ = 0;     // bits 32..39 of the tick
    uint8_t level_ = kNoLevel;  // kNoLevel: in no slot (unlinked, or in a NodeList)
    uint8_t slot_ = 0;
  };

  // Nodes that have fired, earliest first.
  class NodeList {
   public:
    NodeList() : head_{&head_, &head_} {}
    // REQUIRES: empty.
    ~NodeList();
    NodeList(const NodeList&) = delete;
    NodeList& operator=(const NodeList&) = delete;

    bool empty() const { return head_.next == &head_; }
    // Takes the first node out; nullptr if empty. The node may be armed again at once. Meanwhile
    // any other node of the list may be cancelled.
    Node* PopFront();

   private:
    friend class TimerWheel;
    Links head_;  // a ring
  };

  // `start` is the present time.
  explicit TimerWheel(MonotonicTime start);
  // REQUIRES: no node is linked.
  ~TimerWheel();
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  // Links `node` to fire at `when`. A time that has passed fires at the next Advance().
  // REQUIRES: !node.linked().
  void Arm(Node& node, MonotonicTime when);

  // Unlinks `node`, from its slot or from the NodeList that it has fired into. Does nothing to a
  // node that is not linked.
  void Cancel(Node& node);

  // Appends to `fired` every node whose tick is at or before `now`, earlier ticks first; within
  // one tick the order is unspecified (but a function of the calls made so far). The cost is that
  // of the nodes and occupied slots passed, however far the time has jumped. A `now` before that
  // of an earlier call counts as that one.
  void Advance(MonotonicTime now, NodeList& fired);

  // The time by which Advance() must be called next: never later than the earliest timer,
  // possibly earlier (a lower bound of its level: at most 4 times for one timer, and once in 12.4
  // days before that). InfiniteFuture() if empty.
  MonotonicTime NextWake() const;

  // Armed nodes; the fired ones no longer count.
  size_t count() const { return count_; }

 private:
  static constexpr int kLevels = 5;
  static constexpr int kBitsPerLevel = 6;
  static constexpr int kSlots = 1 << kBitsPerLevel;

  friend class TimerWheelPeer;  // the test's, which looks at the invariants

  struct Due {
    int level;  // -1: the wheel is empty
    int slot;
    uint64_t tick;  // the first tick that the slot stands for
  };

  uint64_t TickOf(const Node& node) const;
  void Place(Node& node, uint64_t tick);
  void Unlink(Node& node);
  // The occupied slot whose first tick is the earliest.
  Due NextDue() const;

  uint64_t present_;  // the tick of the last Advance(), not modulo anything
  size_t count_ = 0;
  uint64_t occupied_[kLevels] = {};
  Links slots_[kLevels][kSlots];  // rings
};

static_assert(sizeof(TimerWheel::Node) == 32, "two of them live in every proxied pair");

}  // namespace parkway

#endif  // POLLER_TIMER_WHEEL_H_
