#include "poller/timer_wheel.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace parkway {

// Looks at the invariants that the header numbers.
class TimerWheelPeer {
 public:
  static void CheckInvariants(const TimerWheel& wheel) {
    size_t nodes = 0;
    for (int level = 0; level < TimerWheel::kLevels; ++level) {
      for (int slot = 0; slot < TimerWheel::kSlots; ++slot) {
        const auto& head = wheel.slots_[level][slot];
        const bool marked = (wheel.occupied_[level] >> slot & 1) != 0;
        ASSERT_EQ(marked, head.next != &head) << "level " << level << " slot " << slot;
        for (const auto* at = head.next; at != &head; at = at->next) {
          ASSERT_EQ(at->next->prev, at);
          const auto& node = static_cast<const TimerWheel::Node&>(*at);
          ASSERT_EQ(node.level_, level);
          ASSERT_EQ(node.slot_, slot);
          CheckPlace(wheel, node);
          ++nodes;
        }
      }
    }
    ASSERT_EQ(nodes, wheel.count());
  }

 private:
  static void CheckPlace(const TimerWheel& wheel, const TimerWheel::Node& node) {
    const uint64_t tick = wheel.TickOf(node);
    const int shift = node.level_ * TimerWheel::kBitsPerLevel;
    const uint64_t mine = tick >> shift;
    const uint64_t present = wheel.present_ >> shift;
    if (node.level_ == TimerWheel::kLevels - 1) {
      // The next time that the ring comes to this slot is not too late.
      const uint64_t ahead = (node.slot_ - present - 1) % TimerWheel::kSlots + 1;
      ASSERT_LE(present + ahead, mine);
      return;
    }
    ASSERT_EQ(mine % TimerWheel::kSlots, node.slot_);
    ASSERT_EQ(mine >> TimerWheel::kBitsPerLevel, present >> TimerWheel::kBitsPerLevel);
    if (node.level_ == 0) {
      ASSERT_GE(mine, present);
    } else {
      ASSERT_GT(mine, present);
    }
  }
};

namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kSecond = 1'000 * kMs;
constexpr int64_t kDay = 86'400 * kSecond;
constexpr int64_t kTickWrap = (int64_t{1} << 32) * kMs;  // 49.7 days
constexpr int64_t kWideTickWrap = (int64_t{1} << 40) * kMs;
constexpr int64_t kRange = (int64_t{1} << 30) * kMs;  // 12.4 days

using Node = TimerWheel::Node;
using NodeList = TimerWheel::NodeList;

MonotonicTime At(int64_t ns) { return MonotonicTime(ns); }

std::vector<Node*> Fire(TimerWheel& wheel, int64_t now_ns) {
  NodeList fired;
  wheel.Advance(At(now_ns), fired);
  std::vector<Node*> nodes;
  while (Node* node = fired.PopFront()) nodes.push_back(node);
  return nodes;
}

// How often NextWake() calls before the one timer fires at `when`.
int WakesUntilFired(TimerWheel& wheel, int64_t when_ns) {
  int wakes = 0;
  for (;;) {
    const MonotonicTime wake = wheel.NextWake();
    EXPECT_LE(wake, At(when_ns));
    ++wakes;
    if (!Fire(wheel, wake.ns()).empty()) return wakes;
    if (wakes > 1000) return wakes;
  }
}

TEST(TimerWheelTest, NodeIsThirtyTwoBytesAndStartsUnlinked) {
  Node node;
  EXPECT_EQ(sizeof(node), 32u);
  EXPECT_FALSE(node.linked());
  EXPECT_EQ(node.kind, TimerKind::kDescriptor);
  EXPECT_EQ(Node(TimerKind::kOwner1).kind, TimerKind::kOwner1);
}

TEST(TimerWheelTest, EmptyWheelNeverWakesAndFiresNothing) {
  TimerWheel wheel(At(5 * kSecond));
  EXPECT_EQ(wheel.NextWake(), MonotonicTime::InfiniteFuture());
  EXPECT_TRUE(Fire(wheel, 1000 * kDay).empty());
  EXPECT_EQ(wheel.NextWake(), MonotonicTime::InfiniteFuture());
  EXPECT_EQ(wheel.count(), 0u);
}

TEST(TimerWheelTest, FiresAtItsTickAndNotBefore) {
  TimerWheel wheel(At(kSecond));
  Node node;
  wheel.Arm(node, At(kSecond + 7 * kMs));
  EXPECT_TRUE(node.linked());
  EXPECT_EQ(wheel.count(), 1u);
  EXPECT_TRUE(Fire(wheel, kSecond + 7 * kMs - 1).empty());
  EXPECT_EQ(Fire(wheel, kSecond + 7 * kMs), std::vector<Node*>{&node});
  EXPECT_FALSE(node.linked());
  EXPECT_EQ(wheel.count(), 0u);
}

TEST(TimerWheelTest, RoundsUpAPartOfATick) {
  TimerWheel wheel(At(0));
  Node node;
  wheel.Arm(node, At(3 * kMs + 1));
  EXPECT_EQ(wheel.NextWake(), At(4 * kMs));
  EXPECT_TRUE(Fire(wheel, 3 * kMs + 2).empty());
  EXPECT_TRUE(Fire(wheel, 4 * kMs - 1).empty());
  EXPECT_EQ(Fire(wheel, 4 * kMs).size(), 1u);
}

TEST(TimerWheelTest, TimeThatHasPassedFiresAtTheNextAdvanceEvenOfTheSameTime) {
  TimerWheel wheel(At(10 * kSecond));
  Node past, present, zero;
  wheel.Arm(past, At(3 * kSecond));
  wheel.Arm(present, At(10 * kSecond));
  wheel.Arm(zero, At(0));
  EXPECT_LE(wheel.NextWake(), At(10 * kSecond));
  EXPECT_EQ(Fire(wheel, 10 * kSecond).size(), 3u);
}

TEST(TimerWheelTest, NowThatStepsBackCountsAsTheLatestSeen) {
  TimerWheel wheel(At(10 * kSecond));
  Node due, later;
  wheel.Arm(due, At(10 * kSecond));
  wheel.Arm(later, At(11 * kSecond));
  EXPECT_EQ(Fire(wheel, 2 * kSecond), std::vector<Node*>{&due});
  EXPECT_EQ(Fire(wheel, 11 * kSecond), std::vector<Node*>{&later});
}

TEST(TimerWheelTest, PayloadSurvivesTheWheel) {
  TimerWheel wheel(At(0));
  Node node(TimerKind::kTask);
  node.rseq = 0xfeedbeef;
  node.wseq = 7;
  wheel.Arm(node, At(5 * kDay));
  ASSERT_EQ(Fire(wheel, 6 * kDay).size(), 1u);
  EXPECT_EQ(node.rseq, 0xfeedbeefu);
  EXPECT_EQ(node.wseq, 7u);
  EXPECT_EQ(node.kind, TimerKind::kTask);
}

TEST(TimerWheelTest, CancelUnlinksAndIsHarmlessTwice) {
  TimerWheel wheel(At(0));
  Node node, other;
  wheel.Arm(node, At(kSecond));
  wheel.Arm(other, At(kSecond));
  wheel.Cancel(node);
  wheel.Cancel(node);
  EXPECT_FALSE(node.linked());
  EXPECT_EQ(wheel.count(), 1u);
  TimerWheelPeer::CheckInvariants(wheel);
  EXPECT_EQ(Fire(wheel, kDay), std::vector<Node*>{&other});
  EXPECT_EQ(wheel.NextWake(), MonotonicTime::InfiniteFuture());
}

TEST(TimerWheelTest, EarlierTicksComeFirstAcrossAllLevels) {
  const std::vector<int64_t> delays = {9 * kDay,      3 * kMs,   2 * kSecond, 70 * kMs,
                                       300 * kSecond, 11 * kDay, 64 * kMs,    63 * kMs};
  TimerWheel wheel(At(kSecond));
  std::vector<Node> nodes(delays.size());
  for (size_t i = 0; i < delays.size(); ++i) wheel.Arm(nodes[i], At(kSecond + delays[i]));
  TimerWheelPeer::CheckInvariants(wheel);

  const std::vector<Node*> fired = Fire(wheel, 100 * kDay);

  std::vector<int64_t> order;
  for (Node* node : fired) order.push_back(delays[static_cast<size_t>(node - nodes.data())]);
  EXPECT_EQ(order.size(), delays.size());
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST(TimerWheelTest, ATimerOfEachLevelCostsAtMostFiveWakes) {
  for (const int64_t delay : {int64_t{1} * kMs, 63 * kMs, 64 * kMs, 5 * kSecond, 3600 * kSecond,
                              kDay, 12 * kDay, kRange - kMs}) {
    for (const int64_t start : {int64_t{0}, 17 * kSecond + 5 * kMs, kTickWrap - 3 * kMs}) {
      TimerWheel wheel(At(start));
      Node node;
      wheel.Arm(node, At(start + delay));
      EXPECT_LE(WakesUntilFired(wheel, start + delay), 5) << delay << " from " << start;
    }
  }
}

TEST(TimerWheelTest, BeyondTheRangeItWaitsInTheTopLevelAndFiresOnTime) {
  for (const int64_t delay : {kRange, kRange + kMs, 13 * kDay, 24 * kDay, 25 * kDay, 41 * kDay,
                              50 * kDay, 100 * kDay, 4000 * kDay}) {
    TimerWheel wheel(At(3 * kDay));
    Node node;
    wheel.Arm(node, At(3 * kDay + delay));
    TimerWheelPeer::CheckInvariants(wheel);
    // Looked at once in 12.4 days, then down the levels.
    EXPECT_LE(WakesUntilFired(wheel, 3 * kDay + delay), delay / kRange + 6) << delay;
    EXPECT_EQ(wheel.count(), 0u);
  }
}

TEST(TimerWheelTest, BeyondTheRangeOneJumpFiresItWithoutBeingEarly) {
  TimerWheel wheel(At(0));
  Node node;
  wheel.Arm(node, At(90 * kDay));
  EXPECT_TRUE(Fire(wheel, 90 * kDay - 1).empty());
  EXPECT_EQ(Fire(wheel, 90 * kDay).size(), 1u);
}

TEST(TimerWheelTest, InfiniteFutureIsArmedButFarAway) {
  TimerWheel wheel(At(kSecond));
  Node node;
  wheel.Arm(node, MonotonicTime::InfiniteFuture());
  EXPECT_TRUE(Fire(wheel, 6000 * kDay).empty());
  EXPECT_TRUE(node.linked());
  wheel.Cancel(node);
  EXPECT_EQ(wheel.count(), 0u);
}

TEST(TimerWheelTest, EndOfTimeDoesNotOverflow) {
  const int64_t start = MonotonicTime::InfiniteFuture().ns() - 5 * kMs;
  TimerWheel wheel(At(start));
  Node node;
  wheel.Arm(node, MonotonicTime::InfiniteFuture());
  EXPECT_TRUE(Fire(wheel, start + kMs).empty());
  EXPECT_LE(wheel.NextWake(), MonotonicTime::InfiniteFuture());
  wheel.Cancel(node);
}

TEST(TimerWheelTest, TicksWrapWithoutFiringEarlyOrLate) {
  for (const int64_t wrap : {kTickWrap, 2 * kTickWrap, kTickWrap / 2, kWideTickWrap}) {
    for (const int64_t delay : {int64_t{2} * kMs, 90 * kMs, 5 * kSecond, 3600 * kSecond, 5 * kDay,
                                12 * kDay, 20 * kDay, 60 * kDay}) {
      const int64_t start = wrap - kMs;
      TimerWheel wheel(At(start));
      Node before, after;
      wheel.Arm(before, At(start));
      wheel.Arm(after, At(start + delay));
      TimerWheelPeer::CheckInvariants(wheel);
      EXPECT_EQ(Fire(wheel, start), std::vector<Node*>{&before});
      EXPECT_TRUE(Fire(wheel, start + delay - 1).empty()) << delay;
      EXPECT_EQ(Fire(wheel, start + delay), std::vector<Node*>{&after}) << delay;
    }
  }
}

TEST(TimerWheelTest, FiredNodeMayBeCancelledBeforeItIsTakenOut) {
  TimerWheel wheel(At(0));
  Node first, second, third;
  wheel.Arm(first, At(1 * kMs));
  wheel.Arm(second, At(2 * kMs));
  wheel.Arm(third, At(3 * kMs));
  NodeList fired;
  wheel.Advance(At(kSecond), fired);
  EXPECT_EQ(wheel.count(), 0u);
  EXPECT_TRUE(second.linked());

  EXPECT_EQ(fired.PopFront(), &first);
  wheel.Cancel(second);

  EXPECT_FALSE(second.linked());
  EXPECT_EQ(wheel.count(), 0u);
  EXPECT_EQ(fired.PopFront(), &third);
  EXPECT_EQ(fired.PopFront(), nullptr);
  EXPECT_TRUE(fired.empty());
}

TEST(TimerWheelTest, FiredNodeMayBeArmedAgainWhileTheListIsWalked) {
  TimerWheel wheel(At(0));
  Node first, second;
  wheel.Arm(first, At(1 * kMs));
  wheel.Arm(second, At(2 * kMs));
  NodeList fired;
  wheel.Advance(At(2 * kMs), fired);

  ASSERT_EQ(fired.PopFront(), &first);
  wheel.Arm(first, At(1 * kMs));  // due already: next Advance, not this list
  wheel.Cancel(second);
  wheel.Arm(second, At(5 * kMs));  // from the fired list back into the wheel

  EXPECT_TRUE(fired.empty());
  EXPECT_EQ(Fire(wheel, 2 * kMs), std::vector<Node*>{&first});
  EXPECT_EQ(Fire(wheel, 5 * kMs), std::vector<Node*>{&second});
}

TEST(TimerWheelTest, AdvanceAppendsBehindWhatTheListHolds) {
  TimerWheel wheel(At(0));
  Node first, second;
  wheel.Arm(first, At(1 * kMs));
  wheel.Arm(second, At(2 * kMs));
  NodeList fired;
  wheel.Advance(At(1 * kMs), fired);
  wheel.Advance(At(2 * kMs), fired);
  EXPECT_EQ(fired.PopFront(), &first);
  EXPECT_EQ(fired.PopFront(), &second);
}

TEST(TimerWheelTest, AJumpOfYearsOverAFullWheelFiresEverythingInOrder) {
  // One timer in every slot of every level: the jump passes all of them once.
  TimerWheel wheel(At(0));
  std::vector<Node> nodes(5 * 64);
  std::vector<int64_t> when(nodes.size());
  size_t i = 0;
  for (int64_t unit = kMs; i < nodes.size(); unit *= 64) {
    for (int64_t slot = 1; slot <= 64; ++slot, ++i) {
      when[i] = slot * unit;
      wheel.Arm(nodes[i], At(when[i]));
    }
  }
  const std::vector<Node*> fired = Fire(wheel, 5000 * kDay);
  ASSERT_EQ(fired.size(), nodes.size());
  int64_t last = 0;
  for (Node* node : fired) {
    const int64_t at = when[static_cast<size_t>(node - nodes.data())];
    EXPECT_GE(at, last);
    last = at;
  }
}

#ifndef NDEBUG
TEST(TimerWheelDeathTest, ArmingTwiceIsABrokenInvariant) {
  TimerWheel wheel(At(0));
  Node node;
  wheel.Arm(node, At(kSecond));
  EXPECT_DEATH(wheel.Arm(node, At(kSecond)), "armed twice");
  wheel.Cancel(node);
}

TEST(TimerWheelDeathTest, AWheelMustBeEmptyAtItsEnd) {
  EXPECT_DEATH(
      {
        Node node;
        TimerWheel wheel(At(0));
        wheel.Arm(node, At(kSecond));
      },
      "ends with timers");
}
#endif

// Against a sorted map: the same calls, the same timers fired, in the same order of ticks.
class RandomTimers {
 public:
  RandomTimers(uint32_t seed, int64_t start_ns)
      : random_(seed), now_ns_(start_ns), wheel_(At(start_ns)), timers_(kTimers) {
    for (auto& timer : timers_) timer.place = by_tick_.end();
  }

  ~RandomTimers() {
    for (auto& timer : timers_) wheel_.Cancel(timer);
  }

  void Step() {
    switch (Below(8)) {
      case 0:
      case 1:
      case 2:
        ArmOne(Any());
        break;
      case 3:
        CancelOne(Any());
        break;
      default:
        Advance();
    }
    CheckNextWake();
  }

  const TimerWheel& wheel() const { return wheel_; }
  size_t fired() const { return fired_; }

 private:
  static constexpr size_t kTimers = 300;

  struct Timer : Node {
    std::multimap<int64_t, Timer*>::iterator place;  // end: not in the model
    bool pending = false;                            // fired in the model, not yet taken out
  };

  uint64_t Below(uint64_t bound) {
    return std::uniform_int_distribution<uint64_t>(0, bound - 1)(random_);
  }
  Timer& Any() { return timers_[Below(kTimers)]; }

  // Mostly short, sometimes weeks: every power of two up to 2^52 ns (52 days) alike.
  int64_t RandomDelay() { return static_cast<int64_t>(Below(uint64_t{1} << (1 + Below(52)))); }

  void ArmOne(Timer& timer) {
    CancelOne(timer);
    int64_t when = now_ns_ + RandomDelay();
    if (Below(20) == 0) when = now_ns_ - std::min(now_ns_, RandomDelay());
    if (Below(200) == 0) when = MonotonicTime::InfiniteFuture().ns();
    timer.rseq = static_cast<uint32_t>(when / kMs);
    wheel_.Arm(timer, At(when));
    const int64_t far = now_ns_ / kMs + (int64_t{1} << 39);
    const int64_t tick = std::clamp(when / kMs + (when % kMs != 0 ? 1 : 0), now_ns_ / kMs, far);
    timer.place = by_tick_.emplace(tick, &timer);
  }

  void CancelOne(Timer& timer) {
    wheel_.Cancel(timer);
    EXPECT_FALSE(timer.linked());
    timer.pending = false;
    if (timer.place == by_tick_.end()) return;
    by_tick_.erase(timer.place);
    timer.place = by_tick_.end();
  }

  void Advance() {
    switch (Below(4)) {
      case 0:  // as the loop does it
        if (!by_tick_.empty() && wheel_.NextWake() < At(now_ns_ + 400 * kDay)) {
          now_ns_ = std::max(now_ns_, wheel_.NextWake().ns());
        }
        break;
      case 1:
        now_ns_ += RandomDelay();
        break;
      default:
        now_ns_ += static_cast<int64_t>(Below(static_cast<uint64_t>(20 * kMs)));
    }
    NodeList fired;
    wheel_.Advance(At(now_ns_), fired);

    std::map<const Node*, int64_t> due;
    while (!by_tick_.empty() && by_tick_.begin()->first <= now_ns_ / kMs) {
      Timer* timer = by_tick_.begin()->second;
      due[timer] = by_tick_.begin()->first;
      timer->pending = true;
      timer->place = by_tick_.end();
      by_tick_.erase(by_tick_.begin());
    }
    int64_t last_tick = 0;
    while (Node* node = fired.PopFront()) {
      ++fired_;
      Timer& timer = static_cast<Timer&>(*node);
      ASSERT_TRUE(timer.pending);
      timer.pending = false;
      ASSERT_EQ(due.count(node), 1u);
      ASSERT_GE(due[node], last_tick);
      last_tick = due[node];
      // What the handlers of timers do: arm themselves again, cancel and arm others, among them
      // some that wait in this very list.
      if (Below(2) == 0) ArmOne(timer);
      if (Below(4) == 0) CancelOne(Any());
      if (Below(4) == 0) ArmOne(Any());
    }
    for (const Timer& timer : timers_) {
      ASSERT_FALSE(timer.pending) << "due by the model, not fired by the wheel";
    }
    ASSERT_EQ(wheel_.count(), by_tick_.size());
  }

  void CheckNextWake() {
    if (by_tick_.empty()) {
      ASSERT_EQ(wheel_.NextWake(), MonotonicTime::InfiniteFuture());
      return;
    }
    ASSERT_LE(wheel_.NextWake().ns() / kMs, by_tick_.begin()->first);
    ASSERT_GE(wheel_.NextWake().ns() / kMs, now_ns_ / kMs);
    // Not in the past either, unless something is due: a loop that trusts it does not spin.
    if (by_tick_.begin()->first > now_ns_ / kMs) {
      ASSERT_GT(wheel_.NextWake().ns() / kMs, now_ns_ / kMs);
    }
  }

  std::mt19937_64 random_;
  int64_t now_ns_;
  TimerWheel wheel_;
  std::vector<Timer> timers_;
  std::multimap<int64_t, Timer*> by_tick_;
  size_t fired_ = 0;
};

class TimerWheelPropertyTest : public testing::TestWithParam<int64_t> {};

TEST_P(TimerWheelPropertyTest, AgreesWithASortedMapOver100000Steps) {
  RandomTimers timers(20240607, GetParam());
  for (int step = 0; step < 100'000; ++step) {
    timers.Step();
    ASSERT_FALSE(HasFailure()) << "at step " << step;
    if (step % 500 == 0) TimerWheelPeer::CheckInvariants(timers.wheel());
    ASSERT_FALSE(HasFailure()) << "at step " << step;
  }
  EXPECT_GT(timers.fired(), 10'000u);
}

INSTANTIATE_TEST_SUITE_P(FromDifferentStarts, TimerWheelPropertyTest,
                         testing::Values(int64_t{0}, 123'456'789'012'345, kTickWrap - 2 * kSecond,
                                         kTickWrap / 2 - kSecond, kWideTickWrap - 3 * kDay));

}  // namespace
}  // namespace parkway
