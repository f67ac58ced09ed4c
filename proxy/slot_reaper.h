// SlotReaper: gives the slots of servers, upstreams and listeners that are gone to others once
// nobody refers to them, so that a daemon in which they come and go for years needs no more slots
// than it had of them at a time.
//
//   SlotReaper reaper(host);
//   reaper.Follow(plan);          // after each publication
//
// One round, for all that is gone and has no connection; an upstream is looked at when its servers
// are vacant, and no listener that is not vacant leads to it:
//
//   all workers mark     they go by a generation in which these are gone, so nobody begins to refer
//                        to one, and have posted to each other whatever they had to say of them
//   all workers are asked whether anything on them still refers to one (slot_use.h)
//   the log              has written what had been said by then
//   the slots are vacant nobody has a name for them any more; published
//   all workers clear    what they counted of them
//   the slots are free   the next servers get them
//
// A slot that is still in use is looked at again in the next round; one that came back to life
// meanwhile is left alone. Where nothing is gone nothing is done.
//
// Control thread only. It holds nothing of the engine: the simulation drives it as well.
//
// Invariants
//   1. A slot is freed only if, from a moment after it was gone, nobody referred to it any more.
//   2. One round at a time.
#ifndef PROXY_SLOT_REAPER_H_
#define PROXY_SLOT_REAPER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "proxy/core/plan.h"
#include "proxy/slot_use.h"

namespace parkway {

class SlotReaper {
 public:
  static constexpr absl::Duration kBetweenRounds = absl::Seconds(1);
  // Between two looks whether the log has been written.
  static constexpr absl::Duration kLogLook = absl::Milliseconds(100);

  struct Host {
    size_t workers = 0;
    // Calls `call` on that worker's thread.
    std::function<void(size_t worker, std::function<void(SlotUse&)> call)> on_worker;
    // Any thread: calls `call` on the control thread.
    std::function<void(std::function<void()> call)> post;
    // Calls Look() after that time; a later call takes the place of an earlier one.
    std::function<void(absl::Duration delay)> wake;
    // Of a server.
    std::function<uint32_t(ServerRef)> connections;
    // AccessLog::passes.
    std::function<uint64_t()> log_passes;
    // Nobody on the control thread waits for workers to find something by slots of the plan, or is
    // about to name what they have found. Asked in one go with vacate(), after which slots have no
    // name by which anybody could begin to.
    std::function<bool()> quiet;
    // Makes and publishes the plan in which these are vacant.
    std::function<void(const std::vector<SlotRef>&)> vacate;
    std::function<void(const std::vector<SlotRef>&)> free;
  };

  explicit SlotReaper(Host host) : host_(std::move(host)) {}
  SlotReaper(const SlotReaper&) = delete;
  SlotReaper& operator=(const SlotReaper&) = delete;

  // All go by this plan from now on.
  void Follow(const std::shared_ptr<const Plan>& plan);
  // As wake() was asked for it.
  void Look();
  // Workers are about to be told something that refers to it. Whether it is over only they know:
  // the next round asks them.
  void Use(const SlotRef& slot);

 private:
  enum class State : uint8_t { kResting, kMarking, kAsking, kLogging, kClearing };

  void Begin();
  void Ask();
  void OnAnswer(const std::vector<bool>& used);
  void Vacate();
  void Finish();
  // Calls `call` on each worker with what is to be called, here, when it has been done by all.
  void OnEach(const std::function<void(SlotUse&, std::function<void()> done)>& call,
              std::function<void()> all_done);

  const Host host_;
  std::shared_ptr<const Plan> plan_;
  State state_ = State::kResting;
  bool waking_ = false;
  // Of the round: those that came to life again, or that somebody began to refer to, count as used.
  SlotUse::Slots asked_;
  std::vector<bool> used_;
  std::vector<SlotRef> vacated_;
  size_t left_ = 0;  // workers that have not answered
  uint64_t passes_ = 0;
};

}  // namespace parkway

#endif  // PROXY_SLOT_REAPER_H_
