// Balancer: which server of one upstream gets the next connection, and who waits when none can.
//
// One per upstream and process, used by all workers. Where it decides it is exact (max_conns, who
// is first in line); where it only steers it reads what others write without ever waiting.
//
//   choice = balancer.Choose(roster, asker)
//     kServer  a connection of choice.server is counted; Release() when it is over
//     kWait    all are full: Enqueue(), and the ticket will be granted
//     kNone    no server takes connections
//
// Order of a choice: servers that this client has not tried before those it has; the lowest
// priority with a server that is up; of that, by `balance`, one that has room.
//
// The state of servers lives here as long as the upstream does. What the configuration says of them
// is a Roster (roster.h), one for each generation; who asks passes the one that it goes by.
//
//   roster = balancer.MakeRoster(plan, before);    // changes nothing for anybody
//   balancer.Welcome(*roster, before, now);        // states of servers that have come or changed
//   balancer.Dismiss(*roster);                     // servers that are gone get nobody from here on
//   ... each worker, once it goes by it: balancer.Serve(*roster, now)
//
// Any thread; MakeRoster, Welcome and Dismiss: one, the control thread.
//
// Invariants
//   1. A server never has more than max_conns connections, by the roster of who chose it.
//   2. Nobody is served before those who wait.
//   3. A server that is gone is never chosen, nor granted, by whatever roster.
#ifndef PROXY_UPSTREAM_BALANCER_H_
#define PROXY_UPSTREAM_BALANCER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <random>

#include "poller/address.h"
#include "poller/clock.h"
#include "proxy/core/plan.h"
#include "proxy/upstream/ejections.h"
#include "proxy/upstream/queue.h"
#include "proxy/upstream/roster.h"
#include "proxy/upstream/server.h"

namespace parkway {

// The hash of a client's address that kSourceHash goes by: without the port.
uint64_t HashOfSource(const PackedAddress& client);

class Balancer {
 public:
  using Random = std::mt19937_64;

  struct Asker {
    MonotonicTime now;
    Random& random;
    uint64_t source = 0;           // HashOfSource; only kSourceHash reads it
    const Tried* tried = nullptr;  // may be null
  };

  struct Choice {
    enum class Kind : uint8_t { kServer, kWait, kNone };
    Kind kind = Kind::kNone;
    size_t server = 0;
  };

  explicit Balancer(size_t upstream) : ejections_(upstream) {}
  Balancer(const Balancer&) = delete;
  Balancer& operator=(const Balancer&) = delete;

  // Before the workers run. May be null.
  void set_watcher(ServerWatcher* watcher) { ejections_.set_watcher(watcher); }

  // `before`: the roster that was made before it, or null. What need not be made anew is shared.
  std::shared_ptr<const Roster> MakeRoster(std::shared_ptr<const UpstreamPlan> plan,
                                           const Roster* before);
  // From now on the states of the servers are those of `roster`, but for those that are gone in it.
  void Welcome(const Roster& roster, const Roster* before, MonotonicTime now);
  // And of those, too.
  void Dismiss(const Roster& roster);

  Choice Choose(const Roster& roster, const Asker& asker);
  // A connection of `server`, or an attempt at one, is over.
  void Release(const Roster& roster, size_t server, MonotonicTime now);

  // Counts the attempts at `server`, for what is to be used in turn.
  static uint32_t NextSource(const Roster& roster, size_t server) {
    return roster.server(server).NextSource();
  }

  // How an attempt went. Only what says something about the server counts. Failed: true if this
  // one has ejected it.
  static void Connected(const Roster& roster, size_t server, int64_t took_ns, MonotonicTime now);
  bool Failed(const Roster& roster, size_t server, int error, MonotonicTime now) {
    return ejections_.Failed(roster, server, error, now);
  }

  // --- The line ---

  // False: it is full as well.
  bool Enqueue(const Roster& roster, std::unique_ptr<Ticket> ticket, MonotonicTime now);
  // False: it was granted, its message is under way, and the connection is the caller's.
  bool Leave(const Roster& roster, Ticket& ticket, MonotonicTime now);
  // Looks whether who waits can be served: for changes that come with time alone.
  void Serve(const Roster& roster, MonotonicTime now);
  // When a server may come back without anybody saying so, after `now`; InfiniteFuture: none will.
  MonotonicTime NextReturn(const Roster& roster, MonotonicTime now) const {
    return ejections_.NextReturn(roster, now);
  }
  uint32_t waiting() const { return queue_.waiting(); }

  // --- Servers ---

  // kUnhealthy is the checks', the others are those of the configuration. True: it was otherwise
  // before.
  static bool Raise(const Roster& roster, size_t server, Server::Flag flag) {
    return roster.server(server).Raise(flag);
  }
  bool Lower(const Roster& roster, size_t server, Server::Flag flag, MonotonicTime now);

 private:
  using Level = Roster::Level;

  // What a server must be like to be chosen.
  struct Wanted {
    const Roster& roster;
    const Asker& asker;
    const Tried* tried;
    uint32_t away;  // flags that rule it out
  };

  static constexpr size_t kNobody = SIZE_MAX;

  Choice Take(const Roster& roster, const Asker& asker);
  Choice TakeIn(const Level& level, const Wanted& wanted);
  size_t Pick(const Level& level, const Wanted& wanted, uint32_t* seen);
  size_t PickOfTwo(const Level& level, const Wanted& wanted);
  size_t PickRandom(const Level& level, const Wanted& wanted);
  size_t PickInTurn(const Level& level, const Wanted& wanted);
  size_t PickByHash(const Level& level, const Wanted& wanted);
  template <typename Score>
  size_t PickLowest(const Level& level, const Wanted& wanted, uint32_t* seen, Score score);
  size_t Draw(const Level& level, const Wanted& wanted);

  bool AnyUp(const Roster& roster, const Asker& asker);
  bool Up(size_t server, const Wanted& wanted);
  bool Fits(size_t server, const Wanted& wanted);
  uint32_t AwayIn(const Level& level, const Roster& roster, const Asker& asker);

  void Renew(Server& server, const ServerPlan& plan);
  void ApplyState(Server& server, const ServerPlan& plan, MonotonicTime now);

  std::deque<Server> servers_;  // by slot; of MakeRoster: others find them in their roster
  Random queue_random_;         // of whoever serves the queue
  Ejections ejections_;
  WaitQueue queue_;
};

}  // namespace parkway

#endif  // PROXY_UPSTREAM_BALANCER_H_
