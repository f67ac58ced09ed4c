// Loops: servers that are our own listeners.
//
// Pure function: any thread.
#ifndef CONFIG_LOOPS_H_
#define CONFIG_LOOPS_H_

#include <vector>

#include "config/declarations.h"
#include "config/snapshot.h"
#include "config/source.h"

namespace parkway::config {

// `places`: of the servers, as in snapshot.upstreams. `machine` is told of loops by an address that
// this machine happens to have.
void CheckLoops(const Declarations& said, const Snapshot& snapshot,
                const std::vector<std::vector<ServerPlace>>& places, const SystemFacts& facts,
                Problems* errors, Problems* machine);

}  // namespace parkway::config

#endif  // CONFIG_LOOPS_H_
