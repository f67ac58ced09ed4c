// RaceDials: connects to the first of several addresses of one server that answers (RFC 8305,
// "happy eyeballs"): the first one is dialled, and while it says nothing the next one after a
// pause, or at once when one has failed. The first that is connected wins, the others are closed.
//
//   RaceResult won = RaceDials(scheduler, candidates, {.delay_ns = 250'000'000, .deadline = d},
//                              [&](const Address& to) { return DialStart(scheduler, to, nullptr);
//                              },
//                              [&] { return session.ended(); });
//
// Nothing is sent before there is a winner, so no byte goes to two of them.
//
// Owner thread only, for a task that keeps its stack.
//
// Invariants
//   1. When it returns, all descriptors but the winner's are closed and no task of it waits.
#ifndef POLLER_DIAL_RACE_H_
#define POLLER_DIAL_RACE_H_

#include <cstddef>
#include <cstdint>
#include <functional>

#include "absl/types/span.h"
#include "poller/address.h"
#include "poller/clock.h"
#include "poller/dialer.h"
#include "poller/poll_desc.h"
#include "poller/scheduler.h"

namespace parkway {

struct RaceOptions {
  int64_t delay_ns = 250'000'000;  // 0: the next one only when one has failed
  MonotonicTime deadline;          // of all
};

struct RaceResult {
  // Connected and registered with epoll, its user null; null: none was, see `error`.
  PollDesc* desc = nullptr;
  size_t winner = 0;  // index of the candidate
  // Positive errno: ETIMEDOUT, ECANCELED if `ended` said so, else of the last that failed, but
  // one that never left this machine (no route, no such family) hides no other.
  int error = 0;
};

// `start` begins one dial (DialStart, with a null user). `ended`: whether nobody wants the outcome
// any more; it is asked again when the calling task is kicked. REQUIRES: at least one candidate.
RaceResult RaceDials(Scheduler& scheduler, absl::Span<const Address> candidates,
                     const RaceOptions& options, const std::function<Dial(const Address&)>& start,
                     const std::function<bool()>& ended);

}  // namespace parkway

#endif  // POLLER_DIAL_RACE_H_
