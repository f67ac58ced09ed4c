// LogPlanOf: the access log, from the configuration's terms to those of its writer.
//
// Pure: any thread.
#ifndef PROXY_LOG_PLAN_OF_H_
#define PROXY_LOG_PLAN_OF_H_

#include "config/snapshot.h"
#include "proxy/core/log_plan.h"

namespace parkway {

LogPlan LogPlanOf(const config::Scalars& scalars);

}  // namespace parkway

#endif  // PROXY_LOG_PLAN_OF_H_
