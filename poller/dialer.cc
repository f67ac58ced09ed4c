#include "poller/dialer.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "poller/kernel.h"
#include "poller/socket.h"
#include "poller/test_point.h"

namespace parkway {

namespace {

// 0 or -errno.
int BindTo(int fd, const Address& from) {
  const int on = 1;
  // The family does not matter to this one. Without it the port is taken from those that nobody
  // uses at all, and there are fewer of them.
  static_cast<void>(kernel::SetSockOpt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)));
  return kernel::Bind(fd, from.data(), from.size());
}

// 0 or -errno, as connect.
int ConnectSaying(int fd, const Address& to, SynData& first) {
  msghdr message = {};
  message.msg_name = const_cast<sockaddr*>(to.data());
  message.msg_namelen = to.size();
  message.msg_iov = const_cast<iovec*>(first.parts);
  message.msg_iovlen = static_cast<size_t>(first.count);
  const ssize_t sent = kernel::SendMsg(fd, &message, MSG_FASTOPEN);
  // net.ipv4.tcp_fastopen does not allow it.
  if (sent == -EOPNOTSUPP) return kernel::Connect(fd, to.data(), to.size());
  if (sent < 0) return static_cast<int>(sent);
  first.sent = static_cast<size_t>(sent);
  return -EINPROGRESS;
}

}  // namespace

Dial DialStart(Scheduler& scheduler, const Address& to, void* user, const SocketOptions* options,
               const Address* from, SynData* first) {
  Dial dial;
  const int fd = StreamSocket(to.family(), options);
  if (fd < 0) {
    dial.error = -fd;
    return dial;
  }
  if (options != nullptr && options->any()) {
    const OptionFailure failure = SetSocketOptions(fd, to.family(), *options);
    if (failure.failed()) {
      kernel::Close(fd);
      dial.error = -failure.error;
      return dial;
    }
  }
  if (from != nullptr) {
    const int bound = BindTo(fd, *from);
    if (bound != 0) {
      kernel::Close(fd);
      dial.error = -bound;
      return dial;
    }
  }
  const int result = first != nullptr && !to.is_unix() ? ConnectSaying(fd, to, *first)
                                                       : kernel::Connect(fd, to.data(), to.size());
  dial.in_progress = result == -EINPROGRESS;
  if (result == 0 || dial.in_progress) {
    dial.desc = scheduler.netpoll().Allocate(fd, user);
    if (dial.desc != nullptr) {
      if (to.is_unix()) dial.desc->add_edge_bits(PollDesc::kUnix);
      return dial;
    }
    dial.error = ENOMEM;
  } else {
    dial.error = -result;
  }
  kernel::Close(fd);
  dial.in_progress = false;
  return dial;
}

void InlineUrgent(PollDesc& desc) {
  const int on = 1;
  // It can fail only on what is no socket.
  static_cast<void>(kernel::SetSockOpt(desc.fd(), SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on)));
}

int DialFinish(Scheduler& scheduler, PollDesc& desc, MonotonicTime deadline) {
  scheduler.SetDeadline(desc, Directions::kWrite, deadline);
  for (;;) {
    switch (scheduler.Wait(desc, Direction::kWrite)) {
      case WaitResult::kReady:
        break;
      case WaitResult::kClosing:
        return ECANCELED;
      case WaitResult::kTimeout:
        return ETIMEDOUT;
      case WaitResult::kNotPollable:
        return ENOBUFS;
    }
    PARKWAY_TEST_POINT("DialFinish:woken");
    if ((desc.edge_bits() & (PollDesc::kConnected | PollDesc::kError)) == PollDesc::kConnected) {
      break;
    }
    const int error = TakeSocketError(desc);
    if (error != 0) return error;
    // A wake-up is not yet a connection (golang/go#14548): only a peer's name is.
    sockaddr_storage peer;
    socklen_t length = sizeof(peer);
    const int named = kernel::GetPeerName(desc.fd(), reinterpret_cast<sockaddr*>(&peer), &length);
    if (named == 0) break;
    if (named != -ENOTCONN) return -named;
  }
  // Evicted as it succeeded: its owner wants no connection any more (golang/go#16523).
  if (desc.CheckError(Direction::kWrite) == WaitResult::kClosing) return ECANCELED;
  scheduler.SetDeadline(desc, Directions::kWrite, MonotonicTime());
  return 0;
}

bool ConnectedToItself(const PollDesc& desc, const Address& to) {
  sockaddr_storage here;
  socklen_t length = sizeof(here);
  if (kernel::GetSockName(desc.fd(), reinterpret_cast<sockaddr*>(&here), &length) != 0)
    return false;
  const Address name = Address::FromSockaddr(reinterpret_cast<sockaddr*>(&here), length);
  // Who dials no address in particular comes to the one that it comes from.
  return to.is_any() ? name.port() == to.port() : name == to;
}

void DialClose(Scheduler& scheduler, PollDesc& desc) {
  const int fd = desc.fd();
  scheduler.Evict(desc);
  scheduler.Close(desc);
  kernel::Close(fd);
}

}  // namespace parkway
