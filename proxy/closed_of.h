// What the log says of a session, from the session itself; who else was there when it ended is the
// worker's to add.
//
// Owner thread.
#ifndef PROXY_CLOSED_OF_H_
#define PROXY_CLOSED_OF_H_

#include "poller/clock.h"
#include "proxy/core/log_plan.h"
#include "proxy/observe/log_record.h"
#include "proxy/session/session.h"
#include "proxy/session/session_end.h"

namespace parkway {

// Whether log_skip leaves it out.
bool IsSkipped(const LogPlan& plan, const Session& session);

// Whether log_sample has its lines, all of them or none.
bool IsInSample(const LogPlan& plan, const Session& session);

// Of one that goes on.
StageRecord StageOf(const Session& session, StageRecord::What what, uint64_t generation,
                    MonotonicTime now);
ClosedRecord ClosedOf(const Session& session, const SessionEnd& end, MonotonicTime now);

}  // namespace parkway

#endif  // PROXY_CLOSED_OF_H_
