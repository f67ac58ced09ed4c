// Ejections: which servers of one upstream are left alone for a time because connects to them
// failed.
//
//   ejections.Failed(roster, server, error, now)    a connect has failed: perhaps that is it
//   ejections.ReturnIfOver(roster, server, now)     whoever meets one that is ejected asks this
//
// After passive_fails failures in a row a server is ejected for ejection_time, and longer if that
// happens again soon. It comes back with the first choice after its time is over: nobody watches.
//
// Any thread; nobody waits. A choice that meets no ejected server does not come here.
//
// Invariants
//   1. At least one server of an upstream is not ejected, and at most max_ejection_percent are.
//   2. What is said of an upstream's servers is said once, by who has changed it.
#ifndef PROXY_UPSTREAM_EJECTIONS_H_
#define PROXY_UPSTREAM_EJECTIONS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"
#include "poller/clock.h"
#include "proxy/core/plan.h"
#include "proxy/upstream/roster.h"
#include "proxy/upstream/server.h"

namespace parkway {

// A server has changed; one line in the log.
struct ServerChange {
  enum class What : uint8_t { kEjected, kReturned };

  What what;
  size_t upstream;
  size_t server;
  const UpstreamPlan& plan;  // while it is told
  uint32_t failures = 0;     // kEjected: connects that failed in a row
  int error = 0;             // kEjected: the errno of the last
  absl::Duration how_long;   // it will be ejected, or was
};

class ServerWatcher {
 public:
  // Any thread; must not wait.
  virtual void OnServerChange(const ServerChange& change) = 0;

 protected:
  ~ServerWatcher() = default;
};

class Ejections {
 public:
  explicit Ejections(size_t upstream) : upstream_(upstream) {}
  Ejections(const Ejections&) = delete;
  Ejections& operator=(const Ejections&) = delete;

  // Before the workers run. May be null.
  void set_watcher(ServerWatcher* watcher) { watcher_ = watcher; }

  // A connect failed with `error`. True: the server is ejected now, and this is who did it.
  bool Failed(const Roster& roster, size_t server, int error, MonotonicTime now);
  // True: its time is over, and it is back. REQUIRES: it was seen to be ejected.
  bool ReturnIfOver(const Roster& roster, size_t server, MonotonicTime now);
  // It is not, if it was, and nobody is told: it is another's, or gone.
  void End(Server& server) {
    if (server.Lower(Server::kEjected)) ejected_.fetch_sub(1, std::memory_order_relaxed);
  }
  // When the next one's time is over, after `now`; InfiniteFuture: nobody's. Whose time was over
  // before comes back with a choice, but not while something else keeps it away.
  MonotonicTime NextReturn(const Roster& roster, MonotonicTime now) const;

 private:
  void Tell(const ServerChange& change) {
    if (watcher_ != nullptr) watcher_->OnServerChange(change);
  }

  const size_t upstream_;
  ServerWatcher* watcher_ = nullptr;
  alignas(64) std::atomic<uint32_t> ejected_{0};
};

}  // namespace parkway

#endif  // PROXY_UPSTREAM_EJECTIONS_H_
