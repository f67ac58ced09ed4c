// CollectSource from workers: where the collector (observe/collect.h) finds its numbers.
//
// Control thread; the workers outlive what is returned.
#ifndef PROXY_COLLECT_SOURCE_H_
#define PROXY_COLLECT_SOURCE_H_

#include <memory>
#include <thread>
#include <vector>

#include "proxy/observe/collect.h"
#include "proxy/worker.h"

namespace parkway {

// All but `generation` and `add`, which are the caller's. `threads`: in which they run, in
// the same order.
CollectSource SourceOf(const std::vector<std::unique_ptr<Worker>>& workers,
                       std::vector<std::thread>& threads);

}  // namespace parkway

#endif  // PROXY_COLLECT_SOURCE_H_
