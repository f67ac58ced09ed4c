// What `parkwayctl top` shows: a screen made of two samples of the daemon's numbers, the second
// taken a moment after the first.
//
//   std::vector<std::string> lines = TopScreen(now, &before, {.columns = 80, .rows = 24});
//
// Pure functions: any thread.
#ifndef PROXY_ADMIN_TOP_VIEW_H_
#define PROXY_ADMIN_TOP_VIEW_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "nlohmann/json.hpp"

namespace parkway::admin {

// The answers to the `show` of the same names, as JSON.
struct TopSample {
  absl::Time taken;
  nlohmann::json info;
  nlohmann::json listeners;
  nlohmann::json upstreams;
  nlohmann::json threads;
  nlohmann::json slowest;
};

struct TopSize {
  int columns = 80;
  int rows = 24;  // at most so many lines; 0: as many as there are
  bool colors = false;
};

// Lines without their ends, none wider than the screen. `before` may be null: no rates then.
std::vector<std::string> TopScreen(const TopSample& now, const TopSample* before,
                                   const TopSize& size);

}  // namespace parkway::admin

#endif  // PROXY_ADMIN_TOP_VIEW_H_
