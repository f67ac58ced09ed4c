#include "poller/socket_options.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include <string_view>

#include "poller/kernel.h"

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif
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

// One option of one socket after the other, until the first that is refused.
class Resetting {
 public:
  // `fresh`: one that nobody has told anything.
  Resetting(int fd, int fresh) : fd_(fd), fresh_(fresh) {}

  void To(const char* option, int level, int name, int value) {
    if (failure_.failed()) return;
    const int error = kernel::SetSockOpt(fd_, level, name, &value, sizeof(value));
    if (error != 0) failure_ = {option, error};
  }
  void AsFresh(const char* option, int level, int name) {
    To(option, level, name, Fresh(level, name));
  }
  void NameAsFresh(const char* option, int level, int name) {
    if (failure_.failed()) return;
    char value[64] = {};
    socklen_t size = sizeof(value);
    int error = kernel::GetSockOpt(fresh_, level, name, value, &size);
    if (error == 0) error = kernel::SetSockOpt(fd_, level, name, value, size);
    if (error != 0) failure_ = {option, error};
  }
  // The kernel doubles what it is told, and adapts the buffer no more until it is told it may.
  void Buffer(const char* option, int name) {
    To(option, SOL_SOCKET, name, Fresh(SOL_SOCKET, name) / 2);
    To(option, SOL_SOCKET, SO_BUF_LOCK, 0);
  }
  const OptionFailure& failure() const { return failure_; }

 private:
  int Fresh(int level, int name) const {
    int value = 0;
    socklen_t size = sizeof(value);
    static_cast<void>(kernel::GetSockOpt(fresh_, level, name, &value, &size));
    return value;
  }

  const int fd_;
  const int fresh_;
  OptionFailure failure_;
};

}  // namespace

OptionFailure ResetSocketOptions(int fd, int family, const SocketOptions& before,
                                 const SocketOptions& now) {
  if (before == now) return {};
  const int fresh = StreamSocket(family, nullptr);
  if (fresh < 0) return {"a new socket", fresh};
  Resetting reset(fd, fresh);
  const auto gone = [&](uint32_t SocketOptions::*field) {
    return before.*field != 0 && now.*field == 0;
  };
  if (gone(&SocketOptions::receive_buffer_bytes)) reset.Buffer("rcvbuf", SO_RCVBUF);
  if (gone(&SocketOptions::send_buffer_bytes)) reset.Buffer("sndbuf", SO_SNDBUF);
  if (family != AF_UNIX) {
    if (!before.device.empty() && now.device.empty())
      reset.To("device", SOL_SOCKET, SO_BINDTODEVICE, 0);
    if (gone(&SocketOptions::mark)) reset.To("mark", SOL_SOCKET, SO_MARK, 0);
    if (gone(&SocketOptions::dscp)) {
      reset.To("dscp", IPPROTO_IP, IP_TOS, 0);
      if (family == AF_INET6) reset.To("dscp", IPPROTO_IPV6, IPV6_TCLASS, 0);
    }
    if (gone(&SocketOptions::busy_poll_us)) reset.AsFresh("busy_poll", SOL_SOCKET, SO_BUSY_POLL);
    if (gone(&SocketOptions::notsent_low_bytes)) {
      reset.To("notsent_lowat", IPPROTO_TCP, TCP_NOTSENT_LOWAT, 0);
    }
    if (gone(&SocketOptions::user_timeout_ms)) {
      reset.To("tcp_user_timeout", IPPROTO_TCP, TCP_USER_TIMEOUT, 0);
    }
    if (!before.congestion.empty() && now.congestion.empty()) {
      reset.NameAsFresh("congestion", IPPROTO_TCP, TCP_CONGESTION);
    }
    if (gone(&SocketOptions::fast_open)) reset.To("tfo", IPPROTO_TCP, TCP_FASTOPEN, 0);
    if (before.keepalive.on() && !now.keepalive.on()) {
      reset.To("keepalive", SOL_SOCKET, SO_KEEPALIVE, 0);
    }
  }
  kernel::Close(fresh);
  return reset.failure();
}

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
