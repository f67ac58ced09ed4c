// WakeTimer: what ends the sleep of a worker when a timer is due, without arming one each time.
//
//   netpoll.Poll(wake_timer.Sleep(next_timer, now), polled);
//
// A wait with a timeout makes the kernel start a timer, and stop it again when something else ends
// the wait. A worker that sleeps 30,000 times a second for some microseconds each, with timers that
// are seconds away, pays for that more than for the wait: on a virtual machine each is an exit.
// So a timer far away is set once, on a timerfd in the worker's epoll, and stays while it is early
// enough: the wait itself has no timeout. It may end a sleep too early, once, and is set anew then.
// (HAProxy and nginx pass the timeout to each wait; Go's sysmon thread waits in their place.)
//
// Owner thread only.
//
// Invariants
//   1. A sleep until `wake` ends no later than that: because the timerfd is set to then or earlier
//      and has not fired yet, or by the wait's own timeout, which counts from `now`: later by the
//      time that has passed since that was read, which is no more than the turn took.
#ifndef POLLER_WAKE_TIMER_H_
#define POLLER_WAKE_TIMER_H_

#include <cstdint>

#include "poller/clock.h"

namespace parkway {

class WakeTimer {
 public:
  // What is due sooner is waited for with the wait's own timeout.
  static constexpr int64_t kWorthSettingNs = 10'000'000;

  WakeTimer() = default;
  ~WakeTimer();
  WakeTimer(const WakeTimer&) = delete;
  WakeTimer& operator=(const WakeTimer&) = delete;

  // Makes the timerfd, as `data` in this epoll, edge-triggered and never read. 0 or -errno.
  int Init(int epoll_fd, uint64_t data);

  // Its event has come, so it has fired, whatever the clock says.
  void Fired() { set_to_ = MonotonicTime(); }

  // What a wait that is to end at `wake` may take as its timeout, in nanoseconds: -1 if something
  // else will end it, 0 if `wake` is not after `now`.
  int64_t Sleep(MonotonicTime wake, MonotonicTime now);

 private:
  int fd_ = -1;
  MonotonicTime set_to_{};  // if this is after now, it is still to fire or its event to come
};

}  // namespace parkway

#endif  // POLLER_WAKE_TIMER_H_
