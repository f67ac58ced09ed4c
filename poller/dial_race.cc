#include "poller/dial_race.h"

#include <errno.h>
#include <sys/socket.h>

#include <algorithm>
#include <list>

#include "poller/check.h"
#include "poller/kernel.h"
#include "poller/socket.h"
#include "poller/task.h"

namespace parkway {

namespace {

// Says nothing about the server, only about this machine.
bool NeverLeft(int error) {
  return error == ENETUNREACH || error == EAFNOSUPPORT || error == EADDRNOTAVAIL;
}

// Waits until one dial has succeeded or failed.
class Racer final : public Task {
 public:
  Racer(Scheduler& scheduler, Task& whoever, PollDesc& desc_in, size_t candidate_in)
      : desc(desc_in), candidate(candidate_in), waiter_(whoever) {
    scheduler.SpawnAwaiting(*this, desc, Direction::kWrite);
  }

  Next Run(Scheduler& scheduler, Wake wake) noexcept override {
    if (wake == Wake::kReady) {
      error = TakeSocketError(desc);
      // A wake-up is not yet a connection: only a peer's name is.
      if (error == 0) {
        sockaddr_storage peer;
        socklen_t length = sizeof(peer);
        const int named =
            kernel::GetPeerName(desc.fd(), reinterpret_cast<sockaddr*>(&peer), &length);
        if (named == -ENOTCONN) return Next::AwaitWritable(desc);
        error = -named;
      }
    } else {
      error = wake == Wake::kNotPollable ? ENOBUFS : ECANCELED;
    }
    running = false;
    scheduler.Kick(waiter_);
    return Next::Done();
  }
  const char* name() const override { return "dial"; }

  PollDesc& desc;
  const size_t candidate;
  bool running = true;
  int error = 0;

 private:
  Task& waiter_;
};

class Race {
 public:
  Race(Scheduler& scheduler, absl::Span<const Address> candidates, const RaceOptions& options,
       const std::function<Dial(const Address&)>& start, const std::function<bool()>& ended)
      : scheduler_(scheduler),
        candidates_(candidates),
        options_(options),
        start_(start),
        ended_(ended) {}

  RaceResult Run() {
    while (result_.desc == nullptr && result_.error != ECANCELED) {
      if (ended_()) {
        result_.error = ECANCELED;
      } else if (scheduler_.now() >= options_.deadline) {
        result_.error = ETIMEDOUT;
        break;
      } else if (!Collect()) {
        if (next_ < candidates_.size() && (racers_.empty() || scheduler_.now() >= next_start_)) {
          StartNext();
        } else if (racers_.empty()) {
          result_.error = error_;
          break;
        } else {
          static_cast<void>(scheduler_.SleepUntil(std::min(options_.deadline, NextStart())));
        }
      }
    }
    CloseRest();
    return result_;
  }

 private:
  MonotonicTime NextStart() const {
    return next_ < candidates_.size() ? next_start_ : MonotonicTime::InfiniteFuture();
  }

  void StartNext() {
    const size_t candidate = next_++;
    next_start_ = options_.delay_ns > 0 ? scheduler_.now().PlusNs(options_.delay_ns)
                                        : MonotonicTime::InfiniteFuture();
    const Dial dial = start_(candidates_[candidate]);
    if (dial.desc == nullptr) {
      Fail(dial.error);
      return;
    }
    if (dial.in_progress) {
      racers_.emplace_back(scheduler_, scheduler_.running(), *dial.desc, candidate);
      return;
    }
    if (!dial.desc->registered() && scheduler_.netpoll().Register(*dial.desc) != 0) {
      DialClose(scheduler_, *dial.desc);
      Fail(ENOBUFS);
      return;
    }
    result_.desc = dial.desc;
    result_.winner = candidate;
  }

  // Those that have an outcome. True: there is a winner.
  bool Collect() {
    for (auto racer = racers_.begin(); racer != racers_.end();) {
      if (racer->running) {
        ++racer;
        continue;
      }
      if (racer->error == 0 && result_.desc == nullptr) {
        result_.desc = &racer->desc;
        result_.winner = racer->candidate;
      } else {
        if (racer->error != 0) Fail(racer->error);
        DialClose(scheduler_, racer->desc);
      }
      racer = racers_.erase(racer);
    }
    return result_.desc != nullptr;
  }

  void Fail(int error) {
    if (error_ == 0 || !NeverLeft(error)) error_ = error;
    next_start_ = scheduler_.now();
  }

  void CloseRest() {
    for (Racer& racer : racers_) scheduler_.Evict(racer.desc);
    for (Racer& racer : racers_) {
      while (racer.running) {
        static_cast<void>(scheduler_.SleepUntil(MonotonicTime::InfiniteFuture()));
      }
      DialClose(scheduler_, racer.desc);
    }
    racers_.clear();
  }

  Scheduler& scheduler_;
  const absl::Span<const Address> candidates_;
  const RaceOptions& options_;
  const std::function<Dial(const Address&)>& start_;
  const std::function<bool()>& ended_;
  std::list<Racer> racers_;  // under way
  size_t next_ = 0;          // candidate that is dialled next
  MonotonicTime next_start_;
  int error_ = 0;  // of those that failed
  RaceResult result_;
};

}  // namespace

RaceResult RaceDials(Scheduler& scheduler, absl::Span<const Address> candidates,
                     const RaceOptions& options, const std::function<Dial(const Address&)>& start,
                     const std::function<bool()>& ended) {
  PARKWAY_CHECK(!candidates.empty(), "a race of dials without candidates");
  return Race(scheduler, candidates, options, start, ended).Run();
}

}  // namespace parkway
