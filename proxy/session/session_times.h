// SessionTimes: how long a session may do nothing, shared by all sessions of one listener.
#ifndef PROXY_SESSION_SESSION_TIMES_H_
#define PROXY_SESSION_SESSION_TIMES_H_

#include <cstdint>

namespace parkway {

struct SessionTimes {
  int64_t idle_ns = 0;           // 0: off
  int64_t half_close_ns = 0;     // while one side has ended; 0: only idle
  int64_t delayed_close_ns = 0;  // how long what was read may take to be delivered after a reset
};

}  // namespace parkway

#endif  // PROXY_SESSION_SESSION_TIMES_H_
