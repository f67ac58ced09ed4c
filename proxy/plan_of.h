// PlanOf: from what the operator says (config/) to what the workers need (core/plan.h).
//
// The only place that knows both. Pure: any thread.
#ifndef PROXY_PLAN_OF_H_
#define PROXY_PLAN_OF_H_

#include "config/snapshot.h"
#include "config/value.h"
#include "poller/address.h"
#include "proxy/core/plan.h"
#include "proxy/inbound/access_list.h"
#include "proxy/system/facts.h"

namespace parkway {

// `ipv6`: whether ":80" means both families, or IPv4 alone.
Address AddressOf(const config::Address& address, bool ipv6);

// Who may use HTTP besides loopback.
AccessList HttpAllowOf(const config::Snapshot& snapshot);

// One listener of the plan for each address of one in the snapshot.
Plan PlanOf(const config::Snapshot& snapshot, const config::SystemFacts& facts,
            const PortRange& ephemeral);

}  // namespace parkway

#endif  // PROXY_PLAN_OF_H_
