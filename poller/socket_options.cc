#include "poller/socket_options.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "poller/kernel.h"

namespace parkway {

OptionFailure SetSocketOptions(int fd, bool is_unix, const SocketOptions& options) {
  OptionFailure failure;
  const auto set = [&](const char* option, int level, int name, uint32_t value) {
    if (value == 0 || failure.failed()) return;
    const int number = static_cast<int>(value);
    const int error = kernel::SetSockOpt(fd, level, name, &number, sizeof(number));
    if (error != 0) failure = {option, error};
  };
  set("rcvbuf", SOL_SOCKET, SO_RCVBUF, options.receive_buffer_bytes);
  set("sndbuf", SOL_SOCKET, SO_SNDBUF, options.send_buffer_bytes);
  if (is_unix) return failure;
  set("busy_poll", SOL_SOCKET, SO_BUSY_POLL, options.busy_poll_us);
  set("notsent_lowat", IPPROTO_TCP, TCP_NOTSENT_LOWAT, options.notsent_low_bytes);
  if (!options.congestion.empty() && !failure.failed()) {
    const int error = kernel::SetSockOpt(fd, IPPROTO_TCP, TCP_CONGESTION, options.congestion.data(),
                                         static_cast<socklen_t>(options.congestion.size()));
    if (error != 0) failure = {"congestion", error};
  }
  return failure;
}

}  // namespace parkway
