// What a worker counts of a session, and of a connection for which none was made, wherever it is to
// be found later: of the worker, its listener, its upstream and its server.
//
// The worker's thread.
#ifndef PROXY_WORKER_COUNTS_H_
#define PROXY_WORKER_COUNTS_H_

#include <cstddef>

#include "poller/clock.h"
#include "proxy/core/close_cause.h"
#include "proxy/core/stats.h"
#include "proxy/session/session.h"
#include "proxy/session/session_end.h"

namespace parkway {

void CountBegin(const Session& session, WorkerStats& stats);
// What it has moved since this was called last.
void CountBytes(Session& session, WorkerStats& stats);
void CountEnd(Session& session, const SessionEnd& end, MonotonicTime now, WorkerStats& stats);
void CountRefused(size_t listener, CloseCause cause, WorkerStats& stats);

}  // namespace parkway

#endif  // PROXY_WORKER_COUNTS_H_
