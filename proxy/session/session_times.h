// SessionTimes: how long a session may do nothing and how long it may live, and how fast its bytes
// may go: shared by all sessions that began under one configuration of a listener.
//
// Values: any thread.
#ifndef PROXY_SESSION_SESSION_TIMES_H_
#define PROXY_SESSION_SESSION_TIMES_H_

#include <cstdint>

namespace parkway {

struct SessionTimes {
  int64_t idle_ns = 0;           // 0: off
  int64_t half_close_ns = 0;     // while one side has ended; 0: as if none had
  int64_t delayed_close_ns = 0;  // how long what was read may take to be delivered after a reset

  bool operator==(const SessionTimes&) const = default;
};

}  // namespace parkway

#endif  // PROXY_SESSION_SESSION_TIMES_H_
