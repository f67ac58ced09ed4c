// `parkwayctl top`: the daemon's numbers, again and again: on a terminal a screen that is redrawn
// until q, elsewhere one screen after the other as plain lines.
//
// The program's own thread; takes over the terminal and gives it back as it was.
#ifndef PROXY_ADMIN_TOP_H_
#define PROXY_ADMIN_TOP_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace parkway::admin {

struct TopOptions {
  std::string socket;
  absl::Duration interval = absl::Seconds(1);
  uint64_t count = UINT64_MAX;                 // of screens, then it ends
  absl::Duration timeout = absl::Seconds(30);  // of one answer
};

// The exit code.
int RunTop(const TopOptions& options);

}  // namespace parkway::admin

#endif  // PROXY_ADMIN_TOP_H_
