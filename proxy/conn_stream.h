// ConnDesk: the control thread's part of `show conns` and `conn kill`: asks all workers, and names
// what they find.
//
//   std::unique_ptr<ConnStream> rows = desk.Ask(question, bell, &wrong);
//   desk.Kill(selector, [](const Outcome& outcome) { ... });
//
// Control thread only; the workers outlive it.
//
// Invariants
//   1. What workers look for, and what they answer, are slots of the plan that the question was put
//      by. Until their walks are over it is busy, and no slot becomes another's (see SlotReaper).
#ifndef PROXY_CONN_STREAM_H_
#define PROXY_CONN_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "poller/scheduler.h"
#include "proxy/conn_walk.h"
#include "proxy/control.h"
#include "proxy/core/plan.h"
#include "proxy/observe/conn_row.h"

namespace parkway {

class ConnDesk {
 public:
  // What it needs of one worker: calls `call` on the worker's thread.
  using OnWorker = std::function<void(size_t worker, std::function<void(ConnWalks&)> call)>;

  ConnDesk(Scheduler& control, size_t workers, OnWorker on_worker,
           std::function<std::shared_ptr<const Plan>()> plan)
      : control_(control),
        workers_(workers),
        on_worker_(std::move(on_worker)),
        plan_(std::move(plan)) {}
  ConnDesk(const ConnDesk&) = delete;
  ConnDesk& operator=(const ConnDesk&) = delete;

  std::unique_ptr<ConnStream> Ask(const ConnQuestion& question, std::function<void()> bell,
                                  std::string* wrong);
  void Kill(const ConnSelector& selector, OnOutcome done);
  // Whether a worker has not finished with a question that somebody still waits for.
  bool busy() const { return asked_ > 0; }

 private:
  class Stream;
  struct Killing;

  // Null: `wrong` says why.
  std::shared_ptr<ConnOrder> OrderOf(const ConnQuestion& question, std::string* wrong) const;

  Scheduler& control_;
  const size_t workers_;
  const OnWorker on_worker_;
  const std::function<std::shared_ptr<const Plan>()> plan_;
  uint64_t next_number_ = 0;
  size_t asked_ = 0;  // questions that some worker is not done with
};

}  // namespace parkway

#endif  // PROXY_CONN_STREAM_H_
