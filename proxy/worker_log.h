// WorkerLog: what one worker puts into the log: of its sessions as they open, are connected, go on
// and end, of whom it turned away, and of its own trouble.
//
// The plan that the worker goes by says whether there is a log, of which sessions, and at which
// stages; what a record says of a session is told by closed_of.h, and who else was there is added
// here. A record that finds no room is dropped and counted.
//
// Owner thread only; ring(): its reader's, too.
#ifndef PROXY_WORKER_LOG_H_
#define PROXY_WORKER_LOG_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "poller/address.h"
#include "poller/scheduler.h"
#include "proxy/core/close_cause.h"
#include "proxy/core/log_plan.h"
#include "proxy/core/stats.h"
#include "proxy/inbound/spread.h"
#include "proxy/observe/log_record.h"
#include "proxy/observe/log_ring.h"
#include "proxy/session/session.h"
#include "proxy/session/session_end.h"
#include "proxy/upstream/views.h"

namespace parkway {

class WorkerLog {
 public:
  // All workers of the process, by number.
  struct Everybody {
    const Spread& spread;
    const std::vector<const WorkerStats*>& stats;
  };

  WorkerLog(uint32_t worker, const Scheduler& scheduler, const Views& views, WorkerStats& stats,
            const Everybody& everybody)
      : worker_(static_cast<uint16_t>(worker)),
        scheduler_(scheduler),
        views_(views),
        stats_(stats),
        everybody_(everybody) {}
  WorkerLog(const WorkerLog&) = delete;
  WorkerLog& operator=(const WorkerLog&) = delete;

  const LogPlan& plan() const { return views_.now().plan->log; }
  LogRing& ring() { return ring_; }

  void Opened(const Session& session) {
    if (plan().opens) WriteStage(session, StageRecord::What::kOpen);
  }
  void Connected(const Session& session) {
    if (plan().connects) WriteStage(session, StageRecord::What::kConnect);
  }
  // Whoever calls this knows when.
  void GoesOn(const Session& session) { WriteStage(session, StageRecord::What::kProgress); }
  // REQUIRES: it still counts wherever it counted.
  void Ended(const Session& session, const SessionEnd& end) {
    if (plan().on()) WriteEnd(session, end);
  }

  // A connection for which no session was made.
  void Refused(size_t listener, const Address& peer, CloseCause cause);
  // One that goes on, for that is how its listener is configured.
  void WouldBeRefused(const Session& session, CloseCause cause);
  void AcceptTrouble(size_t listener, int error);
  void Write(const LogRecord& record);

 private:
  void WriteStage(const Session& session, StageRecord::What what);
  void WriteEnd(const Session& session, const SessionEnd& end);
  void AddOthers(const Session& session, ClosedRecord& record) const;

  const uint16_t worker_;
  const Scheduler& scheduler_;
  const Views& views_;
  WorkerStats& stats_;
  const Everybody everybody_;
  LogRing ring_;
};

}  // namespace parkway

#endif  // PROXY_WORKER_LOG_H_
