#include "proxy/progress_log.h"

namespace parkway {

namespace {

// For the writer to take what is in the ring.
constexpr int64_t kPauseNs = 20'000'000;
constexpr absl::Duration kLong = absl::Hours(24);

}  // namespace

void ProgressLog::Follow(absl::Duration interval) {
  if (interval == interval_ || stopped_) return;
  interval_ = interval;
  slab_ = 0;
  round_ = scheduler_.now() + interval;
  if (live_.load(std::memory_order_relaxed)) {
    scheduler_.Kick(*this);
  } else {
    live_.store(true, std::memory_order_relaxed);
    scheduler_.Spawn(*this);
  }
}

void ProgressLog::Stop() {
  stopped_ = true;
  if (live_.load(std::memory_order_relaxed)) scheduler_.Kick(*this);
}

Next ProgressLog::Run(Scheduler& scheduler, Wake) noexcept {
  if (stopped_) {
    live_.store(false, std::memory_order_release);
    return Next::Done();
  }
  const MonotonicTime now = scheduler.now();
  if (interval_ == absl::ZeroDuration()) return Next::SleepUntil(timer_, now + kLong);
  if (now < round_) return Next::SleepUntil(timer_, round_);
  size_t visited = 0;
  while (slab_ < sessions_.slabs() && visited < kSlice) {
    sessions_.ForEachIn(slab_++, [&](Session& session) {
      ++visited;
      const bool open = session.phase() == Session::Phase::kRelaying;
      if (open && session.started() + interval_ <= now) tell_(session);
    });
  }
  if (slab_ < sessions_.slabs()) return Next::SleepUntil(timer_, now.PlusNs(kPauseNs));
  slab_ = 0;
  round_ = now + interval_;
  return Next::SleepUntil(timer_, round_);
}

}  // namespace parkway
