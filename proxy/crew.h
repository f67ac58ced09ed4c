// Crew: the workers of the process and the threads that they run in: made, started, told something
// all at once, ended.
//
//   Crew crew(control, plan, options);
//   if (std::string error = crew.Make(); !error.empty()) ...
//   ... listeners are given to crew.workers() ...
//   if (std::string error = crew.Start(); !error.empty()) ...
//   ... crew.Stop();
//
// Control thread only.
#ifndef PROXY_CREW_H_
#define PROXY_CREW_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "poller/scheduler.h"
#include "proxy/core/plan.h"
#include "proxy/observe/log_ring.h"
#include "proxy/worker.h"

namespace parkway {

class Crew {
 public:
  using Workers = std::vector<std::unique_ptr<Worker>>;

  struct Options {
    uint32_t threads = 1;
    std::vector<uint32_t> cpus;  // worker i runs on the i-th, around; empty: on any
    uint32_t pipes_per_worker = 0;
    uint64_t reserved_descriptors = 0;
    bool tcp_of_some = false;
  };

  // `control`: of the thread that calls all this; outlives it.
  Crew(Scheduler& control, std::shared_ptr<const Plan> plan, Options options);
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  // Each: empty, or one line that says what failed and why.
  std::string Make();
  std::string Start();
  // Those that run. False: on some worker a connection or a check has not ended; nothing of the
  // crew can be destroyed any more.
  bool Stop();

  const Workers& workers() const { return workers_; }
  std::vector<std::thread>& threads() { return threads_; }
  WorkerShared& shared() { return shared_; }
  const WorkerShared& shared() const { return shared_; }
  std::vector<LogRing*> log_rings() const;

  // Calls `done` here when every worker has done what it was posted before.
  void After(std::function<void()> done);
  // Lets each take a turn.
  void Nudge();

  // That they may all have lent at once.
  uint64_t pipes_max() const { return uint64_t{options_.threads} * options_.pipes_per_worker; }
  uint32_t sessions() const;
  // Whether a listening socket of any of them is open.
  bool accepting() const;
  bool first_checks_done() const;
  // Connections that were accepted so far.
  uint64_t accepted() const;
  // Of each: a number that grows while it goes on.
  std::vector<uint64_t> turns() const;

 private:
  std::string Pin(size_t worker);

  Scheduler& control_;
  const Options options_;
  WorkerShared shared_;
  Workers workers_;
  std::vector<std::thread> threads_;
};

}  // namespace parkway

#endif  // PROXY_CREW_H_
