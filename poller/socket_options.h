// SocketOptions: what a socket is told beyond what it must be told. All off by default, and then
// none costs a call: the kernel's own behaviour is the default.
//
// Set on a listening socket they are inherited by what it accepts; on a socket that is to connect
// they are set before it does, for the window's scale is agreed on in the handshake, and routes go
// by mark and device.
//
// Any thread.
#ifndef POLLER_SOCKET_OPTIONS_H_
#define POLLER_SOCKET_OPTIONS_H_

#include <cstdint>
#include <string>

namespace parkway {

// When the kernel asks whether a silent peer is still there.
struct Keepalive {
  uint32_t idle_s = 60;  // 0: never
  uint32_t interval_s = 10;
  uint32_t probes = 3;

  bool on() const { return idle_s != 0; }
  bool operator==(const Keepalive&) const = default;
};

struct SocketOptions {
  uint32_t receive_buffer_bytes = 0;  // SO_RCVBUF; 0: the kernel's, which adapts itself
  uint32_t send_buffer_bytes = 0;     // SO_SNDBUF; the same
  uint32_t notsent_low_bytes = 0;     // TCP_NOTSENT_LOWAT
  uint32_t busy_poll_us = 0;          // SO_BUSY_POLL
  uint32_t user_timeout_ms = 0;       // TCP_USER_TIMEOUT
  uint32_t mark = 0;                  // SO_MARK
  uint32_t dscp = 0;                  // IP_TOS, IPV6_TCLASS, of which it is the upper six bits
  std::string congestion;             // TCP_CONGESTION, such as "bbr"
  std::string device;                 // SO_BINDTODEVICE, such as "eth0"
  Keepalive keepalive = {};           // not set by SetSocketOptions, but for one that is near
  // Not by it either: they are a matter of the socket's making.
  uint32_t fast_open = 0;  // of a listener: TCP_FASTOPEN; of a connect: whether, see DialStart
  bool multipath = false;  // IPPROTO_MPTCP

  // Keepalive that begins so soon that it cannot wait until somebody looks at the connection.
  bool keepalive_is_near() const { return keepalive.on() && keepalive.idle_s < kNearSeconds; }
  // Whether SetSocketOptions has anything to do.
  bool any() const {
    return (receive_buffer_bytes | send_buffer_bytes | notsent_low_bytes | busy_poll_us |
            user_timeout_ms | mark | dscp) != 0 ||
           !congestion.empty() || !device.empty() || keepalive_is_near();
  }
  bool operator==(const SocketOptions&) const = default;

  static constexpr uint32_t kNearSeconds = 10;
};

// The first that the kernel refused, by its name and -errno.
struct OptionFailure {
  const char* option = nullptr;
  int error = 0;

  bool failed() const { return error != 0; }
  // "the kernel refuses mark: Operation not permitted; that needs CAP_NET_ADMIN"
  std::string ToString() const;
};

// What is not a unix socket's is left out on one (`family`).
OptionFailure SetSocketOptions(int fd, int family, const SocketOptions& options);

// What `before` has set and `now` does not say is the kernel's own again, as a new socket has it.
OptionFailure ResetSocketOptions(int fd, int family, const SocketOptions& before,
                                 const SocketOptions& now);

// Its failure is no reason not to serve.
void SetKeepalive(int fd, const Keepalive& keepalive);

// A socket of `family` for a stream, non-blocking and close-on-exec, which speaks multipath TCP if
// `options` (may be null) say so. -errno if there is none.
int StreamSocket(int family, const SocketOptions* options);
// Whether `error`, which StreamSocket returned, says that there is no multipath TCP here.
bool IsMultipathRefusal(int error, const SocketOptions* options);

}  // namespace parkway

#endif  // POLLER_SOCKET_OPTIONS_H_
