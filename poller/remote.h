// What another thread may do to a descriptor of a worker: move its deadlines, evict it.
//
//   RemoteEvict(scheduler, handle);     // drain, admin, kill: whoever waits wakes with kClosing
//
// The protocol itself runs here, on the calling thread, under the descriptor's lock, so it takes
// effect at once even if the worker is in the middle of a long batch. Tasks taken out of a word
// are posted to their worker, never run here; the timer is the worker's, so it is asked to re-arm.
//
// Any thread; on the worker's own thread use Scheduler::SetDeadline and Evict. The scheduler must
// outlive the call.
//
// All return false, and do nothing, if the handle is of a use that has ended or is closing.
#ifndef POLLER_REMOTE_H_
#define POLLER_REMOTE_H_

#include "poller/clock.h"
#include "poller/poll_desc.h"
#include "poller/scheduler.h"

namespace parkway {

bool RemoteSetDeadline(Scheduler& owner, PollHandle handle, Directions directions,
                       MonotonicTime deadline);

bool RemoteEvict(Scheduler& owner, PollHandle handle);

}  // namespace parkway

#endif  // POLLER_REMOTE_H_
