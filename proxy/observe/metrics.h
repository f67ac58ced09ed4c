// Metrics: Readings in the text format of Prometheus.
//
// Names begin with parkway_, units are seconds and bytes, counters end with _total, times are
// histograms. Each name has one set of labels; no label ever holds the address of a client, and a
// server is called by its configured name. proxy/observe/README.md lists the names; they are never
// changed.
//
// Where there are few listeners or servers every cause has its line from the start, so that a rate
// sees the first one too; where there are many (kFewListeners, kFewServers) only what has happened.
//
// Any thread.
#ifndef PROXY_OBSERVE_METRICS_H_
#define PROXY_OBSERVE_METRICS_H_

#include <cstddef>
#include <string>

#include "proxy/observe/readings.h"

namespace parkway {

inline constexpr size_t kFewListeners = 64;
inline constexpr size_t kFewServers = 256;

inline constexpr char kMetricsType[] = "text/plain; version=0.0.4; charset=utf-8";

std::string MetricsText(const Readings& readings);

}  // namespace parkway

#endif  // PROXY_OBSERVE_METRICS_H_
