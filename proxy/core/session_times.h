// SessionTimes: how long a session may do nothing and how long it may live, and how fast its bytes
// may go: shared by all sessions that began under one configuration of a listener.
//
// Values: any thread.
#ifndef PROXY_CORE_SESSION_TIMES_H_
#define PROXY_CORE_SESSION_TIMES_H_

#include <cstdint>

namespace parkway {

struct SessionTimes {
  int64_t idle_ns = 0;           // 0: off
  int64_t half_close_ns = 0;     // while one side has ended; 0: as if none had
  int64_t delayed_close_ns = 0;  // how long what was read may take to be delivered after a reset
  // As idle_ns, but of one side: no byte was read from its socket or written to it. 0: off.
  int64_t client_idle_ns = 0;
  int64_t server_idle_ns = 0;
  int64_t write_stall_ns = 0;  // one side takes nothing of what waits for it; 0: off
  // From when it was accepted; 0: no end. Each ends up to so many percent of it earlier, that those
  // who came together do not come back together.
  int64_t lifetime_ns = 0;
  uint32_t lifetime_jitter_percent = 0;
  // Bytes a second; 0: no limit.
  uint64_t rate_up = 0;    // client to server
  uint64_t rate_down = 0;  // server to client

  // Whether a session needs more than its own block for them.
  bool need_extras() const {
    return (client_idle_ns | server_idle_ns | write_stall_ns) != 0 || (rate_up | rate_down) != 0;
  }

  bool operator==(const SessionTimes&) const = default;
};

}  // namespace parkway

#endif  // PROXY_CORE_SESSION_TIMES_H_
