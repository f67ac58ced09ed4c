// Listener: a listening socket: made, accepted from, paused, and closed without resetting anybody.
//
//   int fd = OpenListenSocket(address, {.backlog = 4096, .share = true}, nullptr);   // or -errno
//
// Several workers listen on one address with a socket each (share: SO_REUSEPORT). The first binds
// without it, so that a second process on the same port fails instead of taking half of the
// traffic, and sets it afterwards, before listen, so that the others may join. Options that
// accepted sockets inherit are set here, once, and not per connection.
//
// Closing. The kernel resets whoever stands in the queue of a socket that is closed. So:
//   Drop new handshakes   BlockNewHandshakes: a packet filter that lets no SYN in (no privilege)
//   empty the queue       Accept until EAGAIN
//   grace                 for handshakes whose last packet is under way
//   empty it again, close
// A unix socket has no handshakes under way: unlink, empty, close.
//
// Beside another. A wildcard and an address of this machine can be listened on at the same port,
// and who connects to the address gets that socket: both are to be shared while the second binds
// (ShareListener). StepAside leaves to the wildcard who connects to the address from then on.
//
// Owner thread only, but for ShareListener and StepAside: any thread.
#ifndef POLLER_LISTENER_H_
#define POLLER_LISTENER_H_

#include <cstddef>
#include <cstdint>

#include "poller/address.h"
#include "poller/socket_options.h"

namespace parkway {

struct ListenOptions {
  int backlog = 4096;
  // More sockets of this process will bind the same address.
  bool share = false;
  // One of them has bound it already, or another one that overlaps and is shared now.
  bool join = false;
  // [::] takes no IPv4.
  bool v6only = false;
  // Addresses that this machine does not have (yet), or never will.
  bool freebind = false;
  bool transparent = false;
  // Nobody is accepted before its first bytes are there, or so many seconds are over; 0: at once.
  uint32_t defer_accept_s = 0;
  // May be null.
  const SocketOptions* sockets = nullptr;
};

// A descriptor that was accepted, or why not.
struct Accepted {
  int fd = -1;
  int error = 0;  // positive errno; EAGAIN: nobody waits
  Address peer;   // as the kernel gave it: a later getpeername fails after a reset
};

// Binds and listens. Returns the fd, or -errno and nothing is left behind. `bound` (may be null)
// gets the address with the port the kernel chose; `refused` (may be null) the option that was to
// blame, if it was one.
int OpenListenSocket(const Address& address, const ListenOptions& options, Address* bound,
                     OptionFailure* refused = nullptr);

// Those of `options` that accepted sockets inherit, and those of the queue: for a socket that
// somebody else has bound.
OptionFailure SetListenerOptions(int fd, int family, const ListenOptions& options);

// The same for one that has had `before`: what it is not told any more is the kernel's own again.
OptionFailure ChangeListenerOptions(int fd, int family, const ListenOptions& before,
                                    const ListenOptions& options);

// Whether others of the same user that say so too may bind an address that overlaps that of `fd`.
// 0 or -errno.
int ShareListener(int fd, bool shared);

// No new handshake finds `fd`, but another socket that listens there, too, or none; those that are
// under way end in its queue. 0 or -errno.
int StepAside(int fd);

// Takes one connection out of the queue of `fd`; non-blocking, close-on-exec.
Accepted AcceptOne(int fd);

// Whether an error of accept is about us (out of descriptors or memory: pause) or about that one
// connection (go on).
bool AcceptMustPause(int error);

// From now on no new handshake begins. 0 or -errno. For TCP sockets.
int BlockNewHandshakes(int fd);

}  // namespace parkway

#endif  // POLLER_LISTENER_H_
