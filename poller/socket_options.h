// SocketOptions: what a socket is told beyond what it must be told. All off by default, and then
// none costs a call: the kernel's own behaviour is the default.
//
// Set on a listening socket they are inherited by what it accepts; on a socket that is to connect
// they are set before it does, for the window's scale is agreed on in the handshake.
//
// Any thread.
#ifndef POLLER_SOCKET_OPTIONS_H_
#define POLLER_SOCKET_OPTIONS_H_

#include <cstdint>
#include <string>

namespace parkway {

struct SocketOptions {
  uint32_t receive_buffer_bytes = 0;  // SO_RCVBUF; 0: the kernel's, which adapts itself
  uint32_t send_buffer_bytes = 0;     // SO_SNDBUF; the same
  uint32_t notsent_low_bytes = 0;     // TCP_NOTSENT_LOWAT
  uint32_t busy_poll_us = 0;          // SO_BUSY_POLL
  std::string congestion;             // TCP_CONGESTION, such as "bbr"

  bool any() const {
    return receive_buffer_bytes != 0 || send_buffer_bytes != 0 || notsent_low_bytes != 0 ||
           busy_poll_us != 0 || !congestion.empty();
  }
  bool operator==(const SocketOptions&) const = default;
};

// The first that the kernel refused, by its name and -errno.
struct OptionFailure {
  const char* option = nullptr;
  int error = 0;

  bool failed() const { return error != 0; }
};

// What is TCP's own is left out on a unix socket.
OptionFailure SetSocketOptions(int fd, bool is_unix, const SocketOptions& options);

}  // namespace parkway

#endif  // POLLER_SOCKET_OPTIONS_H_
