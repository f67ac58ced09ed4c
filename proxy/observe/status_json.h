// StatusJson: what the dashboard shows, as JSON: readings and their history.
//
// Durations are seconds, sizes bytes, times seconds since 1970; what is not known is null or left
// out. Of many servers only kMostServers of each upstream are listed, those first that do not take
// connections; the counts say how many there are.
//
// Any thread.
#ifndef PROXY_OBSERVE_STATUS_JSON_H_
#define PROXY_OBSERVE_STATUS_JSON_H_

#include <cstddef>
#include <string>

#include "proxy/observe/history.h"
#include "proxy/observe/readings.h"

namespace parkway {

inline constexpr size_t kMostServers = 50;
inline constexpr size_t kMostShown = 100;  // listeners, and upstreams

// `clients`: the addresses of clients may be shown.
std::string StatusJson(const Readings& readings, const HistoryView& history, bool clients);

}  // namespace parkway

#endif  // PROXY_OBSERVE_STATUS_JSON_H_
