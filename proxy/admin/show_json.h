// JSON as the answers of the admin socket have it: seconds, moments, times, and one line of it.
//
// Pure functions: any thread.
#ifndef PROXY_ADMIN_SHOW_JSON_H_
#define PROXY_ADMIN_SHOW_JSON_H_

#include <string>

#include "absl/time/time.h"
#include "nlohmann/json.hpp"

namespace parkway::admin {

using Json = nlohmann::ordered_json;

inline double Seconds(absl::Duration time) { return absl::ToDoubleSeconds(time); }

// JSON has no infinity.
Json SecondsOrNull(absl::Duration time);
// null: it never was.
Json MomentOrNull(absl::Time time);

template <typename Times>
Json TimesJson(const Times& times) {
  return {{"count", times.count()},
          {"sum_us", times.sum_us},
          {"p50_us", times.QuantileUs(0.5)},
          {"p90_us", times.QuantileUs(0.9)},
          {"p99_us", times.QuantileUs(0.99)}};
}

// As one line. Bytes that are no UTF-8 are replaced, so that it is always valid.
std::string Dump(const Json& json);

}  // namespace parkway::admin

#endif  // PROXY_ADMIN_SHOW_JSON_H_
