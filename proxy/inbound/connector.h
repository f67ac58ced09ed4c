// Connector: from an accepted socket to a connected pair. The part of a connection's way that is
// written straight down and keeps its stack while it waits.
//
//   choose a server -> connect (within connect_timeout) -> connected, or the next server
//        \-> all are full: in line without a stack, and on from here when its turn has come
//
// Another server while there is one, then the same ones again, but for one that was silent; the
// second attempt at once, those after it after a pause that doubles.
//
// The client's early bytes are never lost: attempts.h says how.
//
// Owner thread only. One per worker; the state of an attempt is on the stack.
//
// Invariants
//   1. Before the first wait the client is registered: one that resets ends the attempt.
//   2. It returns with session.server() connected, or with a cause and no server, or in line.
//   3. session.counted: a connection of session.server_index is held at its balancer. Who ends the
//      session gives it back.
//   4. A client in line leaves it when it resets, or when it says nothing and then ends. One that
//      said something and ended its side (FIN) still wants an answer, and stays.
#ifndef PROXY_INBOUND_CONNECTOR_H_
#define PROXY_INBOUND_CONNECTOR_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <unordered_map>
#include <vector>

#include "poller/task.h"
#include "proxy/core/close_cause.h"
#include "proxy/core/plan.h"
#include "proxy/core/stats.h"
#include "proxy/inbound/attempts.h"
#include "proxy/inbound/limits.h"
#include "proxy/inbound/reception.h"
#include "proxy/session/session.h"
#include "proxy/upstream/balancer.h"
#include "proxy/upstream/queue.h"
#include "proxy/upstream/views.h"

namespace parkway {

class Connector {
 public:
  Connector(Scheduler& scheduler, Views& views, ConnectionLimit& limit, Reception& reception,
            RelayTools& tools, WorkerStats& stats, std::mt19937_64& random);
  // REQUIRES: nobody is in line.
  ~Connector();

  // See SessionHost.
  SessionHost::Progress Connect(Session& session, Wake wake);
  void LeaveQueue(Session& session);
  // The view is another one: who waits in line looks anew.
  void OnNewView();

 private:
  class Place;
  // One that is in line, or was and has not gone on yet.
  struct Waiting {
    Place* place = nullptr;  // null: granted
    size_t server = 0;       // granted
    Tried tried;
    Heard heard;
    MonotonicTime since;
    MonotonicTime deadline;
  };
  static constexpr size_t kNoServer = SIZE_MAX;

  SessionHost::Progress TryServers(Session& session, Tried& tried, Heard& heard, size_t granted);
  SessionHost::Progress JoinQueue(Session& session, const Tried& tried, Heard& heard);
  SessionHost::Progress StillQueued(Session& session, Wake wake);
  // It stands in line no more.
  void GoOn(Session& session);
  void Granted(Session& session, size_t server);
  void ArmQueued(Session& session, const Waiting& waiting);
  // False: the client has left, and the session has a cause.
  bool StillThere(Session& session);
  // True: it was reset while somebody waited for what it says, and the session has a cause.
  bool WasReset(Session& session);
  // `again`: at a server that this client has tried.
  ServerStats& CountAttempt(Session& session, bool again);
  // Before attempt number `attempt`. 0, or the errno that ends it.
  int Pause(Session& session, int attempt);
  // As of now; without a wait before it is used.
  const Roster& RosterOf(const Session& session) const {
    return views_.now().roster(session.upstream);
  }
  // The same, and it knows `server`, which another worker may have granted by a later generation.
  const Roster& RosterWith(const Session& session, size_t server) {
    if (server >= RosterOf(session).size()) views_.CatchUp();
    return RosterOf(session);
  }
  bool Redirect(Session& session);

  static CloseCause CauseOf(int error);

  Scheduler& scheduler_;
  Views& views_;
  Reception& reception_;
  WorkerStats& stats_;
  std::mt19937_64& random_;
  Attempts attempts_;
  std::unordered_map<Session*, Waiting> queued_;
};

}  // namespace parkway

#endif  // PROXY_INBOUND_CONNECTOR_H_
