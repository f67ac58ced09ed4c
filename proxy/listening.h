// Listening: which addresses are listened on now, by which slot of the plan, and how that becomes
// what another plan says.
//
//   std::string wrong = listening.Open(plan);           // at the start; empty: done
//   Listening::Changes changes = listening.Prepare(next);    // opens what is new, and nothing else
//   if (changes.error.empty()) listening.Apply(next, changes, trouble); else it was all undone
//
// Sockets are matched by address: a listener that is renamed, and two that swap theirs, keep them,
// and nobody who connects meanwhile is turned away. A socket that is no longer wanted is closed as
// acceptor.h says, resetting nobody; until then nobody can listen there anew: try again `soon`.
//
// Addresses of one port may overlap, as 127.0.0.1:80 and 0.0.0.0:80 do: who connects gets the one
// that says more. So a listener can move from one to the other: the new one listens before the old
// one steps aside, and there is no moment in which nobody does.
//
// The control thread. The workers own the sockets that they accept from; here are only their
// numbers, which stay valid until Apply or Close has said that they are to be closed.
#ifndef PROXY_LISTENING_H_
#define PROXY_LISTENING_H_

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "poller/address.h"
#include "proxy/core/plan.h"
#include "proxy/system/listen_sockets.h"
#include "proxy/system/systemd.h"
#include "proxy/worker.h"

namespace parkway {

class Listening {
 public:
  using Workers = std::vector<std::unique_ptr<Worker>>;

  // Both outlive this.
  Listening(const Workers& workers, const std::vector<InheritedSocket>& inherited)
      : workers_(workers), inherited_(inherited) {}

  // Before the workers run. What was opened before a failure is to be closed by Close.
  std::string Open(const Plan& plan);

  struct Changes {
    std::vector<std::pair<size_t, ListenSockets>> opened;    // by slot
    std::vector<std::pair<std::string, size_t>> retargeted;  // by address: the new slot
    std::vector<std::string> closed;                         // addresses
    std::set<std::string> overlapped;                        // addresses, by what was opened
    std::string error;                                       // empty: Apply can do it
    bool soon = false;  // with an error: one of our own sockets is closing there
  };
  Changes Prepare(const Plan& next) const;
  // Closes what Prepare opened.
  static void Discard(const Plan& next, Changes& changes);
  // The workers go by `next` already, or have been told to. `trouble`: one line, on any thread.
  void Apply(const Plan& next, Changes& changes, std::function<void(std::string)> trouble);

  // Removes the paths of unix sockets: nobody finds them any more.
  void RemovePaths();

 private:
  struct Door {
    size_t slot = 0;
    std::shared_ptr<const ListenerPlan> told;  // what its sockets go by
    std::vector<int> fds;                      // of worker 0, 1, ...
    bool inherited = false;
    SocketPath path;  // to be removed
  };

  static std::string KeyOf(const ListenerPlan& listener) { return listener.address.ToString(); }
  // A socket that has been told to close, while the workers keep `open`.
  struct Closing {
    Address address;
    std::weak_ptr<const void> open;
  };
  bool IsClosing(const Address& address) const;
  class Neighbors;
  static Door MakeDoor(std::shared_ptr<const ListenerPlan> listener, size_t slot,
                       const ListenSockets& sockets);

  const Workers& workers_;
  const std::vector<InheritedSocket>& inherited_;
  std::map<std::string, Door> doors_;  // by address
  std::vector<Closing> closing_;
};

}  // namespace parkway

#endif  // PROXY_LISTENING_H_
