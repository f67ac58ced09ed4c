// Balancer: which server of one upstream gets the next connection, and who waits when none can.
//
// One per upstream and process, used by all workers. Where it decides it is exact (max_conns, who
// is first in line); where it only steers it reads what others write without ever waiting.
//
//   choice = balancer.Choose(asker)
//     kServer  a connection of choice.server is counted; Release() when it is over
//     kWait    all are full: Enqueue(), and the ticket will be granted
//     kNone    no server takes connections
//
// Order of a choice: servers that this client has not tried before those it has; the lowest
// priority with a server that is up; of that, by `balance`, one that has room.
//
// Any thread.
//
// Invariants
//   1. A server never has more than max_conns connections.
//   2. Nobody is served before those who wait.
//   3. At least one server of an upstream is not ejected, and at most max_ejection_percent are.
#ifndef PROXY_UPSTREAM_BALANCER_H_
#define PROXY_UPSTREAM_BALANCER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "absl/time/time.h"
#include "poller/address.h"
#include "poller/clock.h"
#include "proxy/core/plan.h"
#include "proxy/upstream/maglev.h"
#include "proxy/upstream/queue.h"
#include "proxy/upstream/server.h"

namespace parkway {

// A server has changed; one line in the log.
struct ServerChange {
  enum class What : uint8_t { kEjected, kReturned };

  What what;
  size_t upstream;
  size_t server;
  uint32_t failures = 0;    // kEjected: connects that failed in a row
  int error = 0;            // kEjected: the errno of the last
  absl::Duration how_long;  // it will be ejected, or was
};

class ServerWatcher {
 public:
  // Any thread; must not wait.
  virtual void OnServerChange(const ServerChange& change) = 0;

 protected:
  ~ServerWatcher() = default;
};

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

  Balancer(const UpstreamPlan& plan, size_t upstream);
  Balancer(const Balancer&) = delete;
  Balancer& operator=(const Balancer&) = delete;

  // Before the workers run. May be null.
  void set_watcher(ServerWatcher* watcher) { watcher_ = watcher; }

  Choice Choose(const Asker& asker);
  // A connection of `server`, or an attempt at one, is over.
  void Release(size_t server, MonotonicTime now);

  // Counts the attempts at `server`, for what is to be used in turn.
  uint32_t NextSource(size_t server) { return servers_[server].NextSource(); }

  // How an attempt went. Only what says something about the server counts. Failed: true if this
  // one has ejected it.
  void Connected(size_t server, int64_t took_ns, MonotonicTime now);
  bool Failed(size_t server, int error, MonotonicTime now);

  // --- The line ---

  // False: it is full as well.
  bool Enqueue(std::unique_ptr<Ticket> ticket, MonotonicTime now);
  // False: it was granted, its message is under way, and the connection is the caller's.
  bool Leave(Ticket& ticket, MonotonicTime now);
  // Looks whether who waits can be served: for changes that come with time alone.
  void Serve(MonotonicTime now);
  // When a server may come back without anybody saying so; InfiniteFuture: none is away.
  MonotonicTime NextReturn() const;
  uint32_t waiting() const { return queue_.waiting(); }

  // --- Servers ---

  // kUnhealthy is the checks', the others are the operator's. True: it was otherwise before.
  bool Raise(size_t server, Server::Flag flag) { return servers_[server].Raise(flag); }
  bool Lower(size_t server, Server::Flag flag, MonotonicTime now);

  size_t size() const { return size_; }
  const Server& server(size_t i) const { return servers_[i]; }

 private:
  // Servers of one priority and of some weight.
  struct Level {
    std::vector<uint16_t> servers;
    std::vector<uint32_t> sums;  // of the weights up to each; empty: all weigh the same
    uint32_t weight = 0;         // of all
    // kRoundRobin: a whole round.
    std::vector<uint16_t> turns;
    std::atomic<uint64_t> turn{0};
    // kSourceHash: made when it is first needed.
    std::atomic<const MaglevTable*> table{nullptr};
    ~Level() { delete table.load(std::memory_order_relaxed); }
  };

  // What a server must be like to be chosen.
  struct Wanted {
    const Asker& asker;
    const Tried* tried;
    uint32_t away;  // flags that rule it out
  };

  static constexpr size_t kNobody = SIZE_MAX;

  Choice Take(const Asker& asker);
  Choice TakeIn(Level& level, const Wanted& wanted);
  size_t Pick(Level& level, const Wanted& wanted, uint32_t* seen);
  size_t PickOfTwo(const Level& level, const Wanted& wanted);
  size_t PickRandom(const Level& level, const Wanted& wanted);
  size_t PickInTurn(Level& level, const Wanted& wanted);
  size_t PickByHash(Level& level, const Wanted& wanted);
  template <typename Score>
  size_t PickLowest(const Level& level, const Wanted& wanted, uint32_t* seen, Score score);
  size_t Draw(const Level& level, const Wanted& wanted);

  bool Up(size_t server, const Wanted& wanted);
  bool HasRoom(size_t server) const;
  bool Fits(size_t server, const Wanted& wanted) { return Up(server, wanted) && HasRoom(server); }
  uint32_t AwayIn(const Level& level, const Asker& asker);
  // In parts of 256 of the plan's, for a server that has just come back.
  uint32_t WeightOf(size_t server, MonotonicTime now) const;
  bool SlowStartTakes(size_t server, const Wanted& wanted) const;
  const MaglevTable& TableOf(Level& level);

  bool OthersUp(size_t server) const;
  void Return(size_t server, MonotonicTime now);
  void Tell(const ServerChange& change) {
    if (watcher_ != nullptr) watcher_->OnServerChange(change);
  }

  const UpstreamPlan& plan_;
  const size_t upstream_;
  const size_t size_;
  const std::unique_ptr<Server[]> servers_;
  std::vector<std::unique_ptr<Level>> levels_;  // lowest priority first
  ServerWatcher* watcher_ = nullptr;
  Random queue_random_;  // of whoever serves the queue
  alignas(64) std::atomic<uint32_t> ejected_{0};
  WaitQueue queue_;
};

}  // namespace parkway

#endif  // PROXY_UPSTREAM_BALANCER_H_
