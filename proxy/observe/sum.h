// Sums: adds what all workers have counted by slot to readings by name.
//
// A name may have several slots, one after the other: a listener whose address was changed. What
// was removed is there as long as it has connections, behind the others.
//
// Control thread; the workers go on counting meanwhile.
#ifndef PROXY_OBSERVE_SUM_H_
#define PROXY_OBSERVE_SUM_H_

#include <vector>

#include "poller/clock.h"
#include "proxy/core/plan.h"
#include "proxy/core/stats.h"
#include "proxy/observe/readings.h"
#include "proxy/upstream/generation.h"

namespace parkway {

void SumListeners(const Plan& plan, const std::vector<const WorkerStats*>& workers,
                  Readings& readings);
// After the listeners: they say which are used.
void SumUpstreams(const Generation& generation, const std::vector<const WorkerStats*>& workers,
                  MonotonicTime now, Readings& readings);

}  // namespace parkway

#endif  // PROXY_OBSERVE_SUM_H_
