// Dialer: from an address to a connected socket.
//
//   Dial dial = DialStart(scheduler, address, session);
//   if (dial.in_progress) error = DialFinish(scheduler, *dial.desc, deadline);
//
// The two steps are apart because between them there is something to do: on one machine a connect
// is done before the call returns although it says EINPROGRESS, and a first send then saves the
// wait. And whoever waits must be told of other things meanwhile, so the descriptor belongs to its
// user from the start.
//
// Owner thread only; DialFinish for a task that keeps its stack.
#ifndef POLLER_DIALER_H_
#define POLLER_DIALER_H_

#include <sys/uio.h>

#include <cstddef>

#include "poller/address.h"
#include "poller/clock.h"
#include "poller/poll_desc.h"
#include "poller/scheduler.h"
#include "poller/socket_options.h"

namespace parkway {

struct Dial {
  PollDesc* desc = nullptr;  // null on failure; not yet registered with epoll
  int error = 0;             // positive errno. EAGAIN: the backlog of a unix listener is full, and
                             // no event will say when it is not: try again after a pause
  bool in_progress = false;
};

// What goes to the server with the connect itself, if the kernel has its cookie (TCP fast open).
struct SynData {
  const iovec* parts = nullptr;
  int count = 0;
  size_t sent = 0;  // how much went; it is the server's once that has accepted
};

// socket, options (may be null), connect from `from` (null: as the kernel chooses; of the family of
// `to`; with port 0 the kernel chooses that when it knows both ends, so that one local port serves
// many servers). Waits for nothing. Urgent data is out of band until InlineUrgent. An option that
// the kernel refuses fails the dial. `first` (may be null) is sent with the SYN where that can be,
// and then the dial is in progress.
Dial DialStart(Scheduler& scheduler, const Address& to, void* user,
               const SocketOptions* options = nullptr, const Address* from = nullptr,
               SynData* first = nullptr);

// From now on an urgent byte is data in its place (SO_OOBINLINE). Early enough before the first
// read if no event of `desc` said PRI, and before any other read: the first one finds what the
// event was about, so it does not begin at a mark, and a read never goes past one.
void InlineUrgent(PollDesc& desc);

// Waits until the connect that is in progress has succeeded (0) or failed (positive errno):
// ETIMEDOUT at `deadline`, ECANCELED when evicted. The descriptor stays the caller's. What epoll
// said tells which it is (PollDesc::kConnected); the socket is asked only where that says nothing.
int DialFinish(Scheduler& scheduler, PollDesc& desc, MonotonicTime deadline);

// A TCP connect to a dead local port may take that port as its own and connect to itself.
// Whether the connection of `desc`, which was dialled `to`, has done so.
bool ConnectedToItself(const PollDesc& desc, const Address& to);

// Evicts and frees the descriptor, and closes its fd.
void DialClose(Scheduler& scheduler, PollDesc& desc);

}  // namespace parkway

#endif  // POLLER_DIALER_H_
