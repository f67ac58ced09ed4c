// FrontOf: who may come in, and by which way, from the configuration's terms to those of the
// reception: PROXY headers, prefixes, routes, limits.
//
// Pure: any thread.
#ifndef PROXY_FRONT_OF_H_
#define PROXY_FRONT_OF_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "config/snapshot.h"
#include "proxy/core/plan.h"
#include "proxy/inbound/access_list.h"
#include "proxy/inbound/front.h"

namespace parkway {

// nullptr: the listener asks for none of it. `upstream_slots`: where those of the snapshot are in
// the plan.
std::shared_ptr<const FrontPlan> FrontOf(const config::Snapshot& snapshot, size_t listener,
                                         const std::vector<size_t>& upstream_slots);

ListenerNumbers NumbersOf(const config::Listener& listener);

// Who may use HTTP besides loopback.
AccessList HttpAllowOf(const config::Snapshot& snapshot);

}  // namespace parkway

#endif  // PROXY_FRONT_OF_H_
