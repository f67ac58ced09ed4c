#include "proxy/stats_line.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "proxy/core/stats.h"

namespace parkway {

namespace {

constexpr absl::Duration kShortest = absl::Milliseconds(1);
// The workers answer between two activations; one that is stuck shows its last numbers.
constexpr absl::Duration kPatience = absl::Milliseconds(20);

}  // namespace

void StatsLine::Every(absl::Duration interval) {
  if (interval > absl::ZeroDuration()) {
    ask_.Every(scheduler_, std::max(interval, kShortest));
  } else if (!ask_.ended()) {
    ask_.Every(scheduler_, absl::InfiniteDuration());
  }
}

void StatsLine::End() {
  ask_.End(scheduler_);
  line_.End(scheduler_);
}

void StatsLine::Ask() {
  for (const auto& worker : crew_.workers()) worker->PostRefreshGauges();
  line_.Once(scheduler_, kPatience);
}

void StatsLine::Write() {
  uint64_t descriptors = 0, stacks = 0, peak = 0, buffers = 0, bytes = 0, pipes = 0, timers = 0;
  uint64_t accepted = 0, closed = 0, dropped = log_.dropped();
  for (const auto& worker : crew_.workers()) {
    const WorkerStats& stats = worker->worker_stats();
    descriptors += stats.descriptors.value();
    stacks += stats.stacks.value();
    peak += stats.stacks_peak.value();
    buffers += stats.buffers.value();
    bytes += stats.buffer_bytes.value();
    pipes += stats.pipes.value();
    timers += stats.timers.value();
    accepted += stats.accepted.value();
    closed += stats.sessions_out.value();
    dropped += stats.log_dropped.value();
  }
  log_.write(absl::StrCat("stats connections=", crew_.sessions(), " descriptors=", descriptors,
                          " stacks=", stacks, " stacks_peak=", peak, " buffers=", buffers,
                          " buffer_bytes=", bytes, " pipes=", pipes, " timers=", timers,
                          " accepted=", accepted, " closed=", closed, " log_dropped=", dropped));
}

}  // namespace parkway
