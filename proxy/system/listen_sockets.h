// ListenSockets: the listening sockets of one address, one for each worker, bound and not yet
// accepted from. All of them or none.
//
// The control thread.
#ifndef PROXY_SYSTEM_LISTEN_SOCKETS_H_
#define PROXY_SYSTEM_LISTEN_SOCKETS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "poller/address.h"
#include "proxy/core/plan.h"
#include "proxy/system/systemd.h"

namespace parkway {

// A path that a unix socket was bound to, and the file that this has made there: another one may
// be there later, which is somebody else's.
struct SocketPath {
  std::string path;  // empty: none
  uint64_t device = 0;
  uint64_t file = 0;
};

struct ListenSockets {
  std::vector<int> fds;    // for worker 0, 1, ...; one if the address is a unix socket's
  bool inherited = false;  // others hold it too: one, whatever the address
  SocketPath path;
  std::string error;  // why there are none: one line

  bool ok() const { return error.empty(); }
};

// A socket of ours whose address overlaps: 127.0.0.1:80 beside 0.0.0.0:80. Both can be bound if the
// same user has opened both, and nobody else uses them.
struct Neighbor {
  std::string name;  // of its listener
  Address address;
  std::vector<int> fds;
  bool inherited = false;
};

// Binds and listens, also beside those. The path of a unix socket that nobody listens on any more
// is taken over; its owner and mode are those of the plan, whatever the umask. A socket among
// `inherited` that listens on the address is taken as it is: who opened it has decided those.
ListenSockets OpenListenSockets(const ListenerPlan& plan, size_t workers,
                                const std::vector<InheritedSocket>& inherited,
                                const std::vector<Neighbor>& neighbors = {});

// Of sockets that are open and go by `before`: what may change while they listen, as the plan has
// it. Empty, or why not.
std::string Readjust(const ListenerPlan& before, const ListenerPlan& plan,
                     const std::vector<int>& fds, bool inherited);
// What `plan` says otherwise and only a socket that is not bound yet can be told; null: nothing.
const char* NeedsNewSocket(const ListenerPlan& before, const ListenerPlan& plan);

// Nobody finds a unix socket by it any more. One that somebody else has put there stays.
void RemovePath(const SocketPath& path);

// Closes sockets that nobody got, and removes the path that came with them.
void Discard(const ListenerPlan& plan, ListenSockets& sockets);

}  // namespace parkway

#endif  // PROXY_SYSTEM_LISTEN_SOCKETS_H_
