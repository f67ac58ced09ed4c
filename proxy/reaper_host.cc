#include "proxy/reaper_host.h"

#include <utility>
#include <vector>

#include "proxy/core/post_call.h"
#include "proxy/upstream/balancer.h"

namespace parkway {

SlotReaper::Host ReaperHostOf(const ReaperParts& parts) {
  Scheduler* scheduler = &parts.scheduler;
  Crew* crew = &parts.crew;
  Planner* planner = &parts.planner;
  return {
      .workers = parts.workers,
      .on_worker =
          [crew](size_t worker, std::function<void(SlotUse&)> call) {
            crew->workers()[worker]->PostToSlots(std::move(call));
          },
      .post = [scheduler](std::function<void()> call) { PostCall(*scheduler, std::move(call)); },
      .wake = parts.wake,
      .connections =
          [crew](ServerRef slot) {
            const Generation& now = *crew->shared().generations.current();
            return now.roster(slot.upstream).server(slot.server).connections();
          },
      .log_passes = parts.log_passes,
      .quiet = parts.quiet,
      .vacate =
          [planner, publish = parts.publish](const std::vector<SlotRef>& slots) {
            planner->Vacate(slots);
            publish();
          },
      .free = [planner](const std::vector<SlotRef>& slots) { planner->Free(slots); }};
}

}  // namespace parkway
