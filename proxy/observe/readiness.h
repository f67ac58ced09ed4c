// Readiness: whether this process should be sent connections, and whether it is alive at all.
//
// Any thread.
#ifndef PROXY_OBSERVE_READINESS_H_
#define PROXY_OBSERVE_READINESS_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "proxy/observe/readings.h"

namespace parkway {

// A worker that has not answered for so long makes no progress.
inline constexpr absl::Duration kStuckAfter = absl::Seconds(10);

// Why it is not ready, one line each; empty: it has started, every listener accepts, nothing
// drains, and every upstream in use has a server that takes connections. With `listener`: only what
// concerns the listener of this name.
std::vector<std::string> NotReady(const Readings& readings, const std::string& listener);

// Which workers make no progress, one line each; empty: all do.
std::vector<std::string> NotAlive(const Readings& readings);

}  // namespace parkway

#endif  // PROXY_OBSERVE_READINESS_H_
