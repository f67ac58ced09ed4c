#include "proxy/drain.h"

#include <algorithm>
#include <utility>

#include "poller/check.h"
#include "poller/task.h"
#include "proxy/upstream/server.h"

namespace parkway {

namespace {

// Between two looks through all sessions: a part of the time that is left, and at least so long.
constexpr int64_t kLookPart = 16;
constexpr int64_t kLeastLookNs = 250'000'000;
constexpr int64_t kMostLookNs = 30'000'000'000;
// Who has moved something within this time is busy.
constexpr int64_t kBusyNs = 1'000'000'000;
// Before the next look whether somebody is no longer.
constexpr int64_t kUnripePauseNs = 50'000'000;

}  // namespace

class Drains::Drain final : public Task {
 public:
  Drain(Drains& drains, const DrainOrder& order, MonotonicTime now)
      : drains_(drains), order_(order), begun_(now), end_(now + order.over), cause_(order.cause) {
    set_background(true);
  }

  const char* name() const override { return "drain"; }
  bool Names(const SlotRef& slot) const {
    if (slot.kind == SlotRef::Kind::kListener) {
      return order_.whom == DrainOrder::Whom::kListeners && HasListener(slot.slot);
    }
    const bool one =
        order_.whom == DrainOrder::Whom::kServer || order_.whom == DrainOrder::Whom::kBackups;
    if (!one || order_.upstream != slot.slot) return false;
    return slot.kind == SlotRef::Kind::kUpstream || order_.server == slot.server;
  }

  Next Run(Scheduler& scheduler, Wake) noexcept override {
    if (drains_.stopped_ || order_.tally->cancelled.load(std::memory_order_relaxed)) return End();
    const MonotonicTime now = scheduler.now();
    if (looking_ && !LookOn()) return Next::Yield();
    for (size_t i = 0; i < kSlice && !line_.empty() && left_ > 0 && next_ <= now; ++i) {
      if (!MayEnd(line_.back(), now)) {
        next_ = now.PlusNs(kUnripePauseNs);
        break;
      }
      EndOne(now);
    }
    if (!line_.empty() && left_ > 0 && next_ <= now) return Next::Yield();
    if (left_ == 0 && (!order_.later || now >= end_ || NobodyCanCome())) return End();
    if (now >= end_ && line_.empty()) return End();
    // Nobody is left in the line, or what is known of them is old.
    if (line_.empty() && left_ > 0) {
      BeginLook();
      return Next::Yield();
    }
    if (now >= look_again_) {
      BeginLook();
      return Next::Yield();
    }
    MonotonicTime wake = std::min(look_again_, end_);
    if (left_ > 0) wake = std::min(wake, next_);
    return Next::SleepUntil(timer_, std::max(wake, now.PlusNs(1)));
  }

 private:
  struct Place {
    Session* session;
    uint64_t id;
    MonotonicTime idle_since;
  };

  void BeginLook() {
    looking_ = true;
    slab_ = 0;
    line_.clear();
  }

  // One that has just said something is about to be done: it has the first half of the time.
  bool MayEnd(const Place& place, MonotonicTime now) const {
    const int64_t over = end_.ns() - begun_.ns();
    if (now >= begun_.PlusNs(over / 2)) return true;
    if (place.idle_since == MonotonicTime::InfiniteFuture()) return false;
    return place.idle_since.PlusNs(std::min(kBusyNs, over / 4)) <= now;
  }

  // A slice. True: all have been seen.
  bool LookOn() {
    size_t visited = 0;
    while (slab_ < drains_.sessions_.slabs() && visited < kSlice) {
      drains_.sessions_.ForEachIn(slab_++, [&](Session& session) {
        ++visited;
        if (Concerns(session)) line_.push_back({&session, session.id(), IdleSince(session)});
      });
    }
    if (slab_ < drains_.sessions_.slabs()) return false;
    looking_ = false;
    Arrange();
    return true;
  }

  // Those that have been idle longest come last: they are taken from there.
  void Arrange() {
    std::sort(line_.begin(), line_.end(), [](const Place& one, const Place& other) {
      if (one.idle_since != other.idle_since) return one.idle_since > other.idle_since;
      return one.id > other.id;
    });
    const auto found = static_cast<uint32_t>(line_.size());
    if (!counted_) {
      counted_ = true;
      goal_ = order_.tally->ShareOf(found, order_.percent);
      total_ = found;
      order_.tally->total.fetch_add(goal_, std::memory_order_relaxed);
      SetLeft(goal_);
      order_.tally->counted.fetch_add(1, std::memory_order_release);
      Schedule(begun_);
    } else if (!order_.later) {
      // Those that have gone by themselves are as good.
      const uint32_t gone = total_ - std::min(found, total_);
      SetLeft(goal_ - std::min(gone, goal_));
    } else {
      SetLeft(found);
    }
    const MonotonicTime now = drains_.scheduler_.now();
    if (next_ == MonotonicTime() || left_ <= 1) Schedule(now);
    const int64_t pause = (end_.ns() - now.ns()) / kLookPart;
    look_again_ = now.PlusNs(std::clamp(pause, kLeastLookNs, kMostLookNs));
  }

  void SetLeft(uint32_t left) {
    order_.tally->left.fetch_add(left - left_, std::memory_order_relaxed);
    left_ = left;
  }

  // When the next one ends, if the one before ended at `from`.
  void Schedule(MonotonicTime from) {
    if (left_ <= 1) {
      next_ = end_;
      return;
    }
    const int64_t step = std::max<int64_t>(end_.ns() - from.ns(), 0) / left_;
    const int64_t jitter = step / 2 == 0 ? 0 : static_cast<int64_t>(drains_.random_() % (step / 2));
    next_ = from.PlusNs(step - step / 4 + jitter);
  }

  void EndOne(MonotonicTime now) {
    const Place place = line_.back();
    line_.pop_back();
    if (!drains_.sessions_.Holds(place.session, place.id)) {
      // It has ended by itself.
      SetLeft(left_ - 1);
      Schedule(std::max(next_, begun_));
      return;
    }
    Session& session = *place.session;
    if (!Concerns(session)) return;
    // It has said something: there may be others that have not. The next look finds it again.
    if (now < end_ && IdleSince(session) != place.idle_since) return;
    SetLeft(left_ - 1);
    session.Abort(cause_, session.phase() != Session::Phase::kRelaying);
    Schedule(next_);
  }

  // One that is being connected is as busy as can be.
  MonotonicTime IdleSince(const Session& session) const {
    return session.phase() == Session::Phase::kRelaying ? session.last_activity()
                                                        : MonotonicTime::InfiniteFuture();
  }

  bool Concerns(Session& session) const {
    if (session.phase() == Session::Phase::kEnding) return false;
    if (!order_.later && session.started() > begun_) return false;
    switch (order_.whom) {
      case DrainOrder::Whom::kAll:
        return true;
      case DrainOrder::Whom::kListeners:
        return HasListener(session.listener);
      case DrainOrder::Whom::kServer:
        return HasServer(session) && session.server_index == order_.server;
      case DrainOrder::Whom::kBackups: {
        if (!HasServer(session)) return false;
        const UpstreamPlan& upstream = drains_.views_.now().roster(order_.upstream).plan();
        return upstream.servers[session.server_index].priority >
               upstream.servers[order_.server].priority;
      }
    }
    return false;
  }

  bool HasListener(uint16_t slot) const {
    return std::find(order_.listeners.begin(), order_.listeners.end(), slot) !=
           order_.listeners.end();
  }

  // A server that is gone gets nobody.
  bool NobodyCanCome() const {
    if (order_.whom != DrainOrder::Whom::kServer) return false;
    const Server& server = drains_.views_.now().roster(order_.upstream).server(order_.server);
    return (server.flags() & Server::kGone) != 0 && server.connections() == 0;
  }

  // One that is not connected yet looks for itself.
  bool HasServer(Session& session) const {
    return session.upstream == order_.upstream && session.server() != nullptr &&
           session.phase() == Session::Phase::kRelaying;
  }

  Next End() {
    SetLeft(0);
    if (!counted_) order_.tally->counted.fetch_add(1, std::memory_order_relaxed);
    order_.tally->ended.fetch_add(1, std::memory_order_release);
    // This deletes it.
    Drains& drains = drains_;
    drains.running_.remove_if([this](const auto& drain) { return drain.get() == this; });
    drains.live_.fetch_sub(1, std::memory_order_release);
    return Next::Done();
  }

  Drains& drains_;
  const DrainOrder order_;
  const MonotonicTime begun_;
  const MonotonicTime end_;
  const CloseCause cause_;
  std::vector<Place> line_;
  MonotonicTime next_;
  MonotonicTime look_again_;
  SleepTimer timer_;
  size_t slab_ = 0;
  uint32_t total_ = 0;
  uint32_t goal_ = 0;
  uint32_t left_ = 0;
  bool looking_ = true;
  bool counted_ = false;
};

Drains::Drains(Scheduler& scheduler, SessionPool& sessions, const Views& views, uint64_t seed)
    : scheduler_(scheduler), sessions_(sessions), views_(views), random_(seed) {}

Drains::~Drains() { PARKWAY_CHECK(running_.empty(), "drains are destroyed while they run"); }

void Drains::Begin(const DrainOrder& order) {
  if (stopped_) {
    order.tally->counted.fetch_add(1, std::memory_order_relaxed);
    order.tally->ended.fetch_add(1, std::memory_order_release);
    return;
  }
  live_.fetch_add(1, std::memory_order_relaxed);
  running_.push_back(std::make_unique<Drain>(*this, order, scheduler_.now()));
  scheduler_.Spawn(*running_.back());
}

bool Drains::Names(const SlotRef& slot) const {
  return std::any_of(running_.begin(), running_.end(),
                     [&slot](const auto& drain) { return drain->Names(slot); });
}

void Drains::Stop() {
  stopped_ = true;
  for (const auto& drain : running_) scheduler_.Kick(*drain);
}

}  // namespace parkway
