// ServiceReport: tells the service manager how the process is doing, as tasks on the control
// thread's engine.
//
//   ServiceReport report(systemd, sources);
//   report.Announce(control);            // reloads, from now on
//   report.Start(scheduler);             // once every listener listens
//   ... report.Look() when the process begins to stop
//   ... report.End(scheduler); ... until report.ended()
//
//   READY      when the first round of health checks and names has ended, or has taken too long
//   STATUS     connections, servers, generation; a reload that was refused, and why; how far paced
//              drains and the stop are. Looked at every second, sent when it has changed
//   RELOADING  around each reload; READY follows, also after one that was refused
//   STOPPING   once; after that more time is asked for while the stop is within its own
//   WATCHDOG   only if every worker has turned since the last time. One that sleeps is posted
//              something, so that one that is stuck can be told from it; then there is no beat,
//              and the manager ends us with a core
//
// Without a service manager nothing is started, and nothing is asked of the workers.
//
// Control thread only.
#ifndef PROXY_SERVICE_REPORT_H_
#define PROXY_SERVICE_REPORT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "poller/clock.h"
#include "poller/scheduler.h"
#include "proxy/control.h"
#include "proxy/repeated.h"
#include "proxy/system/systemd.h"

namespace parkway {

struct ServiceView {
  uint32_t connections = 0;
  uint32_t servers_up = 0;
  uint32_t servers = 0;
  // Every server that is checked has been, and every name was asked for.
  bool first_round_done = true;
  std::vector<DrainProgress> drains = {};  // under way; that of a stop too
  bool stopping = false;
  absl::Duration stop_left = {};  // of the time that connections have; infinite: no end
};

struct ServiceSources {
  std::function<ServiceView()> look;
  std::function<ReloadState()> reload_state;
  // Of each worker: a number that grows while it goes on.
  std::function<std::vector<uint64_t>()> turns;
  // Lets each worker take a turn.
  std::function<void()> nudge;
};

class ServiceReport {
 public:
  // Outlives this; the sources are called until End.
  ServiceReport(Systemd& systemd, ServiceSources sources);

  // Puts itself before the reload that `control` has.
  void Announce(Control& control);
  void Start(Scheduler& scheduler);
  // Reports what has changed, now.
  void Look();
  void End(Scheduler& scheduler);
  bool ended() const { return tick_.ended(); }

  // The line for STATUS.
  static std::string StatusOf(const ServiceView& view, const ReloadState& reload);

 private:
  void Tick();
  void BeatIfDue();
  void GetReady(const ServiceView& view);

  Systemd& systemd_;
  const ServiceSources sources_;
  Repeated tick_;
  Scheduler* scheduler_ = nullptr;  // null: not started, or nobody hears us
  MonotonicTime started_;
  MonotonicTime last_extension_;
  MonotonicTime next_beat_;
  std::vector<uint64_t> turns_;  // when the workers were last nudged
  uint32_t reloads_ = 0;         // under way
  bool ready_ = false;
  bool stopping_ = false;
};

}  // namespace parkway

#endif  // PROXY_SERVICE_REPORT_H_
