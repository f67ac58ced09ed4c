// What the reaper of slots needs, of the parts of the process: see proxy/slot_reaper.h.
#ifndef PROXY_REAPER_HOST_H_
#define PROXY_REAPER_HOST_H_

#include <cstdint>
#include <functional>

#include "absl/time/time.h"
#include "poller/scheduler.h"
#include "proxy/crew.h"
#include "proxy/planner.h"
#include "proxy/slot_reaper.h"

namespace parkway {

// All outlive the reaper.
struct ReaperParts {
  Scheduler& scheduler;  // the control thread's
  Crew& crew;
  Planner& planner;
  size_t workers = 0;
  // As SlotReaper::Host has them.
  std::function<void(absl::Duration)> wake;
  std::function<uint64_t()> log_passes;
  std::function<bool()> quiet;
  // From now on all go by the planner's plan.
  std::function<void()> publish;
};

SlotReaper::Host ReaperHostOf(const ReaperParts& parts);

}  // namespace parkway

#endif  // PROXY_REAPER_HOST_H_
