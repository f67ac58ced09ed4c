#include "poller/socket_options.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include <string_view>

#include "poller/kernel.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

namespace parkway {

namespace {

// The capability without which the kernel refuses `failure` so; null: it is about another thing.
const char* MissingCapability(const OptionFailure& failure) {
  if (failure.error != -EPERM && failure.error != -EACCES) return nullptr;
  const std::string_view option = failure.option;
  if (option == "transparent") return "CAP_NET_ADMIN or CAP_NET_RAW";
  // A device needs it where the socket has one already; congestion, where the algorithm is not in
  // net.ipv4.tcp_allowed_congestion_control; busy_poll, above net.core.busy_read.
  if (option == "mark" || option == "congestion" || option == "busy_poll") return "CAP_NET_ADMIN";
  if (option == "device") return "CAP_NET_RAW";
  return nullptr;
}

}  // namespace

OptionFailure SetSocketOptions(int fd, int family, const SocketOptions& options) {
  OptionFailure failure;
  const auto set = [&](const char* option, int level, int name, uint32_t value) {
    if (value == 0 || failure.failed()) return;
    const int number = static_cast<int>(value);
    const int error = kernel::SetSockOpt(fd, level, name, &number, sizeof(number));
    if (error != 0) failure = {option, error};
  };
  const auto set_name = [&](const char* option, int level, int name, const std::string& value) {
    if (value.empty() || failure.failed()) return;
    const int error =
        kernel::SetSockOpt(fd, level, name, value.data(), static_cast<socklen_t>(value.size()));
    if (error != 0) failure = {option, error};
  };
  set("rcvbuf", SOL_SOCKET, SO_RCVBUF, options.receive_buffer_bytes);
  set("sndbuf", SOL_SOCKET, SO_SNDBUF, options.send_buffer_bytes);
  if (family == AF_UNIX) return failure;
  // First: it decides by which routes the others are seen.
  set_name("device", SOL_SOCKET, SO_BINDTODEVICE, options.device);
  set("mark", SOL_SOCKET, SO_MARK, options.mark);
  constexpr uint32_t kDscpShift = 2;
  // A socket of IPv6 may come to speak IPv4.
  set("dscp", IPPROTO_IP, IP_TOS, options.dscp << kDscpShift);
  if (family == AF_INET6) set("dscp", IPPROTO_IPV6, IPV6_TCLASS, options.dscp << kDscpShift);
  set("busy_poll", SOL_SOCKET, SO_BUSY_POLL, options.busy_poll_us);
  set("notsent_lowat", IPPROTO_TCP, TCP_NOTSENT_LOWAT, options.notsent_low_bytes);
  set("tcp_user_timeout", IPPROTO_TCP, TCP_USER_TIMEOUT, options.user_timeout_ms);
  set_name("congestion", IPPROTO_TCP, TCP_CONGESTION, options.congestion);
  if (options.keepalive_is_near()) SetKeepalive(fd, options.keepalive);
  return failure;
}

void SetKeepalive(int fd, const Keepalive& keepalive) {
  if (!keepalive.on()) return;
  const auto set = [fd](int level, int name, uint32_t value) {
    const int number = static_cast<int>(value);
    static_cast<void>(kernel::SetSockOpt(fd, level, name, &number, sizeof(number)));
  };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, keepalive.idle_s);
  set(IPPROTO_TCP, TCP_KEEPINTVL, keepalive.interval_s);
  set(IPPROTO_TCP, TCP_KEEPCNT, keepalive.probes);
}

int StreamSocket(int family, const SocketOptions* options) {
  const bool multipath = options != nullptr && options->multipath && family != AF_UNIX;
  return kernel::Socket(family, SOCK_STREAM, multipath ? IPPROTO_MPTCP : 0);
}

bool IsMultipathRefusal(int error, const SocketOptions* options) {
  // The kernel has none, or net.mptcp.enabled is 0.
  return options != nullptr && options->multipath &&
         (error == -EPROTONOSUPPORT || error == -ENOPROTOOPT);
}

std::string OptionFailure::ToString() const {
  std::string text = "the kernel refuses ";
  text += option;
  text += ": ";
  text += strerror(-error);
  if (const char* capability = MissingCapability(*this); capability != nullptr) {
    text += "; that needs ";
    text += capability;
  }
  return text;
}

}  // namespace parkway
