#include "poller/listener.h"

#include <errno.h>
#include <limits.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "poller/kernel.h"

namespace parkway {

namespace {

int SetOption(int fd, int level, int name, int value) {
  return kernel::SetSockOpt(fd, level, name, &value, sizeof(value));
}

// Before it is bound.
OptionFailure SetBindOptions(int fd, int family, const ListenOptions& options) {
  const bool ipv6 = family == AF_INET6;
  int error = 0;
  if (options.freebind) {
    error = ipv6 ? SetOption(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1)
                 : SetOption(fd, IPPROTO_IP, IP_FREEBIND, 1);
    if (error != 0) return {"freebind", error};
  }
  if (options.transparent) {
    error = ipv6 ? SetOption(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
                 : SetOption(fd, IPPROTO_IP, IP_TRANSPARENT, 1);
    if (error != 0) return {"transparent", error};
  }
  return {};
}

int BindAndListen(int fd, const Address& address, const ListenOptions& options,
                  OptionFailure* refused) {
  int error = 0;
  if (!address.is_unix()) {
    // A restart among connections in TIME_WAIT works.
    error = SetOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (error == 0 && options.join) error = SetOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (error == 0 && address.family() == AF_INET6) {
      error = SetOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, address.is_any() && !options.v6only ? 0 : 1);
    }
  }
  if (error != 0) return error;
  if (!address.is_unix()) *refused = SetBindOptions(fd, address.family(), options);
  if (!refused->failed()) *refused = SetListenerOptions(fd, address.family(), options);
  if (refused->failed()) return refused->error;
  error = kernel::Bind(fd, address.data(), address.size());
  if (error == 0 && options.share && !address.is_unix()) {
    error = SetOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  }
  if (error == 0) error = kernel::Listen(fd, options.backlog);
  // It was needed to bind alone.
  if (error == 0 && options.join && !options.share) error = ShareListener(fd, false);
  return error;
}

}  // namespace

OptionFailure SetListenerOptions(int fd, int family, const ListenOptions& options) {
  const SocketOptions* sockets = options.sockets;
  if (family != AF_UNIX) {
    // None of these is worth refusing to serve for.
    static_cast<void>(SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1));
    static_cast<void>(SetOption(fd, SOL_SOCKET, SO_OOBINLINE, 1));
    SetKeepalive(fd, sockets != nullptr ? sockets->keepalive : Keepalive());
    if (options.defer_accept_s != 0) {
      const int seconds = static_cast<int>(options.defer_accept_s);
      const int error = SetOption(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, seconds);
      if (error != 0) return {"defer_accept", error};
    }
    if (sockets != nullptr && sockets->fast_open != 0) {
      const int queue = static_cast<int>(sockets->fast_open);
      const int error = SetOption(fd, IPPROTO_TCP, TCP_FASTOPEN, queue);
      if (error != 0) return {"tfo", error};
    }
  }
  if (sockets == nullptr) return {};
  return SetSocketOptions(fd, family, *sockets);
}

OptionFailure ChangeListenerOptions(int fd, int family, const ListenOptions& before,
                                    const ListenOptions& options) {
  static const SocketOptions kNone;
  const auto sockets_of = [](const ListenOptions& of) -> const SocketOptions& {
    return of.sockets != nullptr ? *of.sockets : kNone;
  };
  if (before.defer_accept_s != 0 && options.defer_accept_s == 0 && family != AF_UNIX) {
    const int error = SetOption(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0);
    if (error != 0) return {"defer_accept", error};
  }
  const OptionFailure failure =
      ResetSocketOptions(fd, family, sockets_of(before), sockets_of(options));
  return failure.failed() ? failure : SetListenerOptions(fd, family, options);
}

int OpenListenSocket(const Address& address, const ListenOptions& options, Address* bound,
                     OptionFailure* refused) {
  OptionFailure failure;
  if (refused == nullptr) refused = &failure;
  *refused = {};
  const int fd = StreamSocket(address.family(), options.sockets);
  if (fd < 0) {
    if (IsMultipathRefusal(fd, options.sockets)) *refused = {"mptcp", fd};
    return fd;
  }
  int error = BindAndListen(fd, address, options, refused);
  if (error == 0 && bound != nullptr) {
    sockaddr_storage storage;
    socklen_t length = sizeof(storage);
    error = kernel::GetSockName(fd, reinterpret_cast<sockaddr*>(&storage), &length);
    if (error == 0) {
      *bound = Address::FromSockaddr(reinterpret_cast<const sockaddr*>(&storage), length);
    }
  }
  if (error == 0) return fd;
  kernel::Close(fd);
  return error;
}

int ShareListener(int fd, bool shared) {
  return SetOption(fd, SOL_SOCKET, SO_REUSEPORT, shared ? 1 : 0);
}

int StepAside(int fd) {
  // What arrives by this interface, which there is not.
  return SetOption(fd, SOL_SOCKET, SO_BINDTOIFINDEX, INT_MAX);
}

Accepted AcceptOne(int fd) {
  sockaddr_storage storage;
  socklen_t length = sizeof(storage);
  const int accepted = kernel::Accept(fd, reinterpret_cast<sockaddr*>(&storage), &length);
  Accepted result;
  if (accepted < 0) {
    result.error = -accepted;
    return result;
  }
  result.fd = accepted;
  result.peer = Address::FromSockaddr(reinterpret_cast<const sockaddr*>(&storage), length);
  return result;
}

bool AcceptMustPause(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

int BlockNewHandshakes(int fd) {
  // Byte 13 of the TCP header holds the flags; a packet with SYN and without ACK is dropped. What
  // the filter sees begins at the TCP header.
  sock_filter program[] = {
      {BPF_LD | BPF_B | BPF_ABS, 0, 0, 13},    {BPF_ALU | BPF_AND | BPF_K, 0, 0, 0x12},
      {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0x02}, {BPF_RET | BPF_K, 0, 0, 0},
      {BPF_RET | BPF_K, 0, 0, 0xffffffff},
  };
  sock_fprog filter = {sizeof(program) / sizeof(program[0]), program};
  return kernel::SetSockOpt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter));
}

}  // namespace parkway
