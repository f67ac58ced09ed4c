// PlanOf: from what the operator says (config/) to what the workers need (core/plan.h).
//
// The only place that knows both. Pure: any thread.
#ifndef PROXY_PLAN_OF_H_
#define PROXY_PLAN_OF_H_

#include <cstddef>
#include <vector>

#include "config/snapshot.h"
#include "config/value.h"
#include "poller/address.h"
#include "proxy/core/plan.h"
#include "proxy/system/facts.h"

namespace parkway {

// `ipv6`: whether ":80" means both families, or IPv4 alone.
Address AddressOf(const config::Address& address, bool ipv6);

UpstreamPlan UpstreamPlanOf(const config::Upstream& upstream, const config::SystemFacts& facts,
                            const PortRange& ephemeral);

// One for each address. `upstream_slots`: where those of the snapshot are in the plan.
std::vector<ListenerPlan> ListenerPlansOf(const config::Snapshot& snapshot, size_t listener,
                                          const std::vector<size_t>& upstream_slots,
                                          const config::SystemFacts& facts);

// What is said of the process as a whole.
void SetProcessPart(const config::Snapshot& snapshot, Plan& plan);

// The first plan: slots are places in the snapshot. One listener of the plan for each address of
// one in the snapshot.
Plan PlanOf(const config::Snapshot& snapshot, const config::SystemFacts& facts,
            const PortRange& ephemeral);

}  // namespace parkway

#endif  // PROXY_PLAN_OF_H_
