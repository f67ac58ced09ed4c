#include "proxy/observe/readiness.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace parkway {

namespace {

bool Eligible(const UpstreamReading& upstream) { return upstream.servers_up() > 0; }

bool Wanted(const UpstreamReading& upstream, const ListenerReading* only) {
  if (only == nullptr) return upstream.used;
  return std::find(only->upstreams.begin(), only->upstreams.end(), upstream.name) !=
         only->upstreams.end();
}

}  // namespace

std::vector<std::string> NotReady(const Readings& readings, const std::string& listener) {
  std::vector<std::string> reasons;
  const ListenerReading* only = nullptr;
  if (!listener.empty()) {
    const auto found =
        std::find_if(readings.listeners.begin(), readings.listeners.end(),
                     [&](const ListenerReading& one) { return one.name == listener && !one.gone; });
    if (found == readings.listeners.end()) {
      return {absl::StrCat("listener ", listener, ": there is none of this name")};
    }
    only = &*found;
  }
  if (readings.process.stopping) {
    reasons.push_back(absl::StrCat("the process is stopping, ", readings.process.connections,
                                   " connections are left"));
  } else if (!readings.process.ready) {
    reasons.push_back("the process is starting");
  }
  for (const ListenerReading& one : readings.listeners) {
    if (one.gone || (only != nullptr && &one != only)) continue;
    if (one.state == ListenerReading::State::kAccepting) continue;
    reasons.push_back(absl::StrCat("listener ", one.name, " is ", ListenerStateName(one.state)));
  }
  for (const UpstreamReading& upstream : readings.upstreams) {
    if (upstream.gone || !Wanted(upstream, only) || Eligible(upstream)) continue;
    reasons.push_back(absl::StrCat("upstream ", upstream.name, ": none of ",
                                   upstream.servers.size(), " servers takes connections"));
  }
  return reasons;
}

std::vector<std::string> NotAlive(const Readings& readings) {
  std::vector<std::string> reasons;
  for (const WorkerReading& worker : readings.workers) {
    if (worker.silent_for < kStuckAfter) continue;
    reasons.push_back(
        absl::StrCat("worker ", worker.index, " has not answered for ",
                     absl::FormatDuration(absl::Trunc(worker.silent_for, absl::Seconds(1)))));
  }
  return reasons;
}

}  // namespace parkway
