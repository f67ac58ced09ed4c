// Reloader: reads the configuration again and applies it in the running process.
//
//   Reloader reloader(scheduler, planner, listening, host);
//   reloader.Ask({}, done);         // done is called once, on the control thread
//
//   read -> compare -> names -> plan -> new sockets -> here it holds -> all workers go by it ->
//   done
//
// Up to "here it holds" everything may fail, and then nothing has changed: the whole is refused,
// and why is kept. Requests that come meanwhile are answered together by one more round.
//
// A port may come back at once: while its old socket is closing, the new one is tried again and
// again, for a second at most.
//
// It runs on the scheduler's own stack, between two activations: reading files needs more than a
// task has. Control thread only.
//
// Invariants
//   1. A refused configuration changes nothing.
//   2. Each request is answered once, unless the process ends before.
#ifndef PROXY_RELOAD_H_
#define PROXY_RELOAD_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "config/diff.h"
#include "config/load.h"
#include "config/snapshot.h"
#include "poller/clock.h"
#include "poller/scheduler.h"
#include "proxy/control.h"
#include "proxy/core/log_plan.h"
#include "proxy/listening.h"
#include "proxy/planner.h"
#include "proxy/repeated.h"

namespace parkway {

class Reloader {
 public:
  using Snapshot = std::shared_ptr<const config::Snapshot>;

  struct Host {
    // The command line and the files, again.
    std::function<config::LoadResult()> load;
    // Asks for the names of a configuration; `ready` is called when it may be used.
    std::function<void(Snapshot next, std::function<void()> ready)> prepare;
    // What was prepared will not be used.
    std::function<void()> abandon;
    // Why the access log cannot go where it is to; empty: it can.
    std::function<std::string(const LogPlan& log)> try_log;
    // The planner has accepted it: all go by the planner's plan from now on. `before` is the plan
    // that they went by.
    std::function<void(std::shared_ptr<const Plan> before)> publish;
    // Calls `done` on the control thread when every worker has done what it was posted before.
    std::function<void(std::function<void()> done)> after_workers;
    std::function<void(std::string line)> say;
  };

  Reloader(Scheduler& scheduler, Planner& planner, Listening& listening, Host host)
      : scheduler_(scheduler),
        planner_(planner),
        listening_(listening),
        host_(std::move(host)),
        started_with_(planner.snapshot()),
        again_("reload", [this] { PostRetry(); }) {
    state_.loaded_at = state_.last_at = absl::Now();
  }
  Reloader(const Reloader&) = delete;
  Reloader& operator=(const Reloader&) = delete;

  void Ask(const Control::Reload& how, OnOutcome done);
  // Applies nothing from now on; a round that waits is refused.
  void End();
  bool ended() const { return again_.ended(); }
  const ReloadState& state() const { return state_; }

 private:
  struct Request {
    Control::Reload how;
    OnOutcome done;
  };

  void PostBegin();
  void Begin();
  void BeginRound();
  void Continue();
  void PostRetry();
  void Apply(const Planner::Draft& draft, Listening::Changes& changes);
  void Refuse(const std::string& why);
  void Finish(const Outcome& outcome);

  Scheduler& scheduler_;
  Planner& planner_;
  Listening& listening_;
  const Host host_;
  const Snapshot started_with_;  // what only a restart can change is as it says
  Repeated again_;
  MonotonicTime patience_;  // of the round under way, with sockets that are closing
  ReloadState state_;
  std::vector<Request> waiting_;
  // Of the round under way.
  std::vector<Request> round_;
  Control::Reload how_;
  Snapshot next_;
  config::Difference difference_;
  bool running_ = false;
  bool posted_ = false;
  bool tries_again_ = false;
  bool ending_ = false;
};

}  // namespace parkway

#endif  // PROXY_RELOAD_H_
