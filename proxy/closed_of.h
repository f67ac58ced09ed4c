// What the log says of a session that has ended, from the session itself; who else was there is
// the worker's to add.
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

ClosedRecord ClosedOf(const Session& session, const SessionEnd& end, MonotonicTime now);

}  // namespace parkway

#endif  // PROXY_CLOSED_OF_H_
