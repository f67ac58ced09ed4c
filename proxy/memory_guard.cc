#include "proxy/memory_guard.h"

#include <utility>

#include "absl/time/time.h"
#include "proxy/core/close_cause.h"
#include "proxy/core/post_call.h"
#include "proxy/system/facts.h"

namespace parkway {

namespace {

constexpr uint32_t kShedAtATime = 5;  // percent

}  // namespace

MemoryGuard::MemoryGuard(Scheduler& scheduler, Crew& crew,
                         std::function<void(std::string line)> say)
    : scheduler_(scheduler),
      crew_(crew),
      watch_(HostOf(std::move(say))),
      look_("memory", [this] { watch_.Look(limit_bytes_); }) {}

void MemoryGuard::Keep(uint64_t limit_bytes) {
  limit_bytes_ = limit_bytes;
  watch_.Look(limit_bytes);
  if (limit_bytes != 0) {
    look_.Every(scheduler_, MemoryWatch::kEvery);
  } else if (!look_.ended()) {
    look_.Every(scheduler_, absl::InfiniteDuration());
  }
}

MemoryWatch::Host MemoryGuard::HostOf(std::function<void(std::string line)> say) {
  return {.used_bytes = OwnMemoryBytes,
          .hold = [this](bool hold) { Hold(hold); },
          .shed = [this] { Shed(); },
          .say = std::move(say)};
}

void MemoryGuard::Hold(bool hold) {
  crew_.shared().limit.Hold(hold);
  if (hold) return;
  for (const auto& worker : crew_.workers()) {
    PostCall(worker->scheduler_ref(), [&worker = *worker] { worker.SlotFreed(); });
  }
}

void MemoryGuard::Shed() {
  if (shed_ != nullptr && shed_->ended.load() < crew_.workers().size()) return;
  DrainOrder order;
  order.percent = kShedAtATime;
  order.later = false;
  order.cause = CloseCause::kLimitMemory;
  shed_ = order.tally;
  for (const auto& worker : crew_.workers()) worker->PostDrain(order);
}

}  // namespace parkway
