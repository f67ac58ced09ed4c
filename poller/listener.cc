#include "poller/listener.h"

#include <errno.h>
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

constexpr int kKeepaliveIdleSeconds = 60;
constexpr int kKeepaliveIntervalSeconds = 10;
constexpr int kKeepaliveProbes = 3;

// What every accepted socket inherits.
void SetInherited(int fd) {
  // None of these is worth refusing to serve for.
  static_cast<void>(SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1));
  static_cast<void>(SetOption(fd, SOL_SOCKET, SO_OOBINLINE, 1));
  static_cast<void>(SetOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1));
  static_cast<void>(SetOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, kKeepaliveIdleSeconds));
  static_cast<void>(SetOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, kKeepaliveIntervalSeconds));
  static_cast<void>(SetOption(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepaliveProbes));
}

int BindAndListen(int fd, const Address& address, const ListenOptions& options) {
  int error = 0;
  if (!address.is_unix()) {
    // A restart among connections in TIME_WAIT works.
    error = SetOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (error == 0 && options.join) error = SetOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (error == 0 && address.family() == AF_INET6) {
      error = SetOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, address.is_any() && !options.v6only ? 0 : 1);
    }
    if (error == 0) SetInherited(fd);
  }
  if (error == 0) error = kernel::Bind(fd, address.data(), address.size());
  if (error == 0 && options.share && !address.is_unix()) {
    error = SetOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  }
  if (error == 0) error = kernel::Listen(fd, options.backlog);
  return error;
}

}  // namespace

int OpenListenSocket(const Address& address, const ListenOptions& options, Address* bound) {
  const int fd = kernel::Socket(address.family(), SOCK_STREAM);
  if (fd < 0) return fd;
  int error = BindAndListen(fd, address, options);
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
