// MetricLines: one name of the metrics with all its lines, in the text format of Prometheus.
//
//   MetricLines lines("server_up", "1 if ...", prometheus::MetricType::Gauge);
//   lines.Add({{"upstream", "app"}, {"server", "a"}}, 1.0);
//   lines.WriteTo(out);
//
// One thread at a time.
#ifndef PROXY_OBSERVE_METRIC_LINES_H_
#define PROXY_OBSERVE_METRIC_LINES_H_

#include <prometheus/client_metric.h>
#include <prometheus/metric_family.h>
#include <prometheus/metric_type.h>
#include <prometheus/text_serializer.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>

#include "proxy/observe/readings.h"

namespace parkway {

class MetricLines {
 public:
  using Labels = std::initializer_list<std::pair<const char*, std::string_view>>;

  MetricLines(const char* name, const char* help, prometheus::MetricType type) {
    family_.name = std::string("parkway_") + name;
    family_.help = help;
    family_.type = type;
  }

  void set_name(const char* name) { family_.name = name; }

  void Add(Labels labels, double value) {
    prometheus::ClientMetric& metric = New(labels);
    if (family_.type == prometheus::MetricType::Counter) {
      metric.counter.value = value;
    } else {
      metric.gauge.value = value;
    }
  }
  void Add(Labels labels, uint64_t value) { Add(labels, static_cast<double>(value)); }

  template <const auto& kBounds>
  void Add(Labels labels, const HistogramReading<kBounds>& histogram) {
    prometheus::ClientMetric& metric = New(labels);
    constexpr double kUsPerSecond = 1e6;
    uint64_t sum = 0;
    for (size_t i = 0; i < histogram.counts.size(); ++i) {
      sum += histogram.counts[i];
      const double bound = i < kBounds.size() ? static_cast<double>(kBounds[i]) / kUsPerSecond
                                              : std::numeric_limits<double>::infinity();
      metric.histogram.bucket.push_back({sum, bound});
    }
    metric.histogram.sample_count = sum;
    metric.histogram.sample_sum = static_cast<double>(histogram.sum_us) / kUsPerSecond;
  }

  // One name without lines is not written.
  void WriteTo(std::ostream& out) {
    if (family_.metric.empty()) return;
    prometheus::TextSerializer().Serialize(out, {std::move(family_)});
  }

 private:
  prometheus::ClientMetric& New(Labels labels) {
    prometheus::ClientMetric& metric = family_.metric.emplace_back();
    for (const auto& [name, value] : labels) metric.label.push_back({name, std::string(value)});
    return metric;
  }

  prometheus::MetricFamily family_;
};

}  // namespace parkway

#endif  // PROXY_OBSERVE_METRIC_LINES_H_
