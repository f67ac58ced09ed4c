// kernel.h and clock.h for a simulated world: takes the place of kernel_linux.cc at link time.
// Memory is real, but for what the seed refuses.
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "poller/clock.h"
#include "poller/kernel.h"
#include "tests/sim/world.h"

namespace parkway {

using sim::Epoll;
using sim::EventCounter;
using sim::File;
using sim::PipeBuffer;
using sim::PipeEnd;
using sim::World;

MonotonicTime ReadMonotonicClock() { return MonotonicTime(World::Current()->ReadClock()); }

namespace kernel {

namespace {

World& Begin() {
  World& world = *World::Current();
  world.BeginCall();
  return world;
}

void Fill(const Address& address, sockaddr* to, socklen_t* length) {
  if (to == nullptr || length == nullptr) return;
  std::memcpy(to, address.data(), std::min(*length, address.size()));
  *length = address.size();
}

int Control(int epoll_fd, int operation, int fd, uint32_t events, uint64_t data) {
  World& world = Begin();
  Epoll* epoll = world.FindAs<Epoll>(epoll_fd, File::Kind::kEpoll, "epoll_ctl");
  if (epoll == nullptr) return -EBADF;
  return static_cast<int>(
      world.Trace("epoll_ctl", fd, world.Control(*epoll, operation, fd, events, data)));
}

}  // namespace

int EpollCreate() {
  World& world = Begin();
  return world.AddDescriptor(world.NewEpoll());
}

int EpollAdd(int epoll_fd, int fd, uint32_t events, uint64_t data) {
  return Control(epoll_fd, EPOLL_CTL_ADD, fd, events, data);
}

int EpollMod(int epoll_fd, int fd, uint32_t events, uint64_t data) {
  return Control(epoll_fd, EPOLL_CTL_MOD, fd, events, data);
}

int EpollDel(int epoll_fd, int fd) { return Control(epoll_fd, EPOLL_CTL_DEL, fd, 0, 0); }

// Never sleeps: whoever drives the world lets the time pass between two turns.
int EpollWait(int epoll_fd, epoll_event* events, int capacity, int64_t) {
  World& world = Begin();
  Epoll* epoll = world.FindAs<Epoll>(epoll_fd, File::Kind::kEpoll, "epoll_pwait2");
  if (epoll == nullptr) return -EBADF;
  return static_cast<int>(
      world.Trace("epoll_pwait2", epoll_fd, world.Wait(*epoll, events, capacity)));
}

int EventFd() {
  World& world = Begin();
  return world.AddDescriptor(world.NewEventCounter());
}

int EventFdSignal(int fd) {
  World& world = Begin();
  EventCounter* counter = world.FindAs<EventCounter>(fd, File::Kind::kEvent, "write of an eventfd");
  if (counter == nullptr) return -EBADF;
  world.Signal(*counter);
  return 0;
}

// It never fires: time passes between two turns, and who lets it pass knows when the next is due.
int TimerFd() {
  World& world = Begin();
  return world.AddDescriptor(world.NewEventCounter());
}

int TimerFdSet(int fd, int64_t) {
  World& world = Begin();
  return world.FindAs<EventCounter>(fd, File::Kind::kEvent, "timerfd_settime") == nullptr ? -EBADF
                                                                                          : 0;
}

int Socket(int domain, int, int) {
  World& world = Begin();
  if (const int error = world.ResourceFault(world.faults().socket_resources)) return -error;
  return world.AddDescriptor(world.NewSocket(domain == AF_UNIX, world.process()));
}

int Bind(int fd, const sockaddr* address, socklen_t length) {
  World& world = Begin();
  auto* socket = world.FindAs<sim::Socket>(fd, File::Kind::kSocket, "bind");
  if (socket == nullptr) return -EBADF;
  return world.Bind(*socket, Address::FromSockaddr(address, length));
}

int Listen(int fd, int backlog) {
  World& world = Begin();
  auto* socket = world.FindAs<sim::Socket>(fd, File::Kind::kSocket, "listen");
  return socket == nullptr ? -EBADF : world.Listen(*socket, backlog);
}

int Accept(int fd, sockaddr* address, socklen_t* length) {
  World& world = Begin();
  auto* listener = world.FindAs<sim::Socket>(fd, File::Kind::kSocket, "accept");
  if (listener == nullptr) return -EBADF;
  if (listener->state != sim::Socket::State::kListening) {
    world.Complain("accept on a socket that does not listen");
    return -EINVAL;
  }
  if (const int error = world.ResourceFault(world.faults().accept_resources)) return -error;
  if (listener->accept_queue.empty()) return -EAGAIN;
  if (world.random().Chance(world.faults().accept_aborted)) {
    // Linux hands errors of the connection to come through accept.
    world.TurnAway(*listener);
    static constexpr int kErrors[] = {ECONNABORTED, EPROTO, ENETDOWN, EHOSTUNREACH, EPERM};
    return -kErrors[world.random().Below(5)];
  }
  sim::Socket* child = listener->accept_queue.front();
  const int accepted = world.AddDescriptor(child);
  if (accepted < 0) return accepted;
  world.Trace("accept", fd, accepted);
  world.Accept(*listener);
  Fill(child->remote, address, length);
  return accepted;
}

int Connect(int fd, const sockaddr* address, socklen_t length) {
  World& world = Begin();
  auto* socket = world.FindAs<sim::Socket>(fd, File::Kind::kSocket, "connect");
  if (socket == nullptr) return -EBADF;
  if (!socket->is_unix && world.random().Chance(world.faults().no_local_port)) {
    ++world.counts().resource_faults;
    return -EADDRNOTAVAIL;
  }
  return static_cast<int>(
      world.Trace("connect", fd, world.Connect(*socket, Address::FromSockaddr(address, length))));
}

int GetSockOpt(int fd, int level, int name, void* value, socklen_t* length) {
  World& world = Begin();
  auto* socket = world.FindAs<sim::Socket>(fd, File::Kind::kSocket, "getsockopt");
  if (socket == nullptr) return -EBADF;
  // Nothing that it could say.
  if (level == IPPROTO_TCP && name == TCP_INFO) return -ENOPROTOOPT;
  if (level != SOL_SOCKET || name != SO_ERROR || *length < sizeof(int)) {
    world.Complain("getsockopt of an option that the simulation does not know");
    return -ENOPROTOOPT;
  }
  const int error = socket->TakeError();
  world.Trace("getsockopt(SO_ERROR)", fd, -error);
  std::memcpy(value, &error, sizeof(error));
  *length = sizeof(error);
  return 0;
}

int SetSockOpt(int fd, int level, int name, const void* value, socklen_t length) {
  World& world = Begin();
  auto* socket = world.FindAs<sim::Socket>(fd, File::Kind::kSocket, "setsockopt");
  if (socket == nullptr) return -EBADF;
  if (level == IPPROTO_TCP && socket->is_unix) return -EOPNOTSUPP;
  int number = 0;
  std::memcpy(&number, value, std::min<size_t>(length, sizeof(number)));
  if (level == IPPROTO_TCP && name == TCP_NODELAY) socket->no_delay = number != 0;
  if (level != SOL_SOCKET) return 0;
  world.Trace("setsockopt(SOL_SOCKET)", fd, name);
  switch (name) {
    case SO_LINGER: {
      linger how;
      std::memcpy(&how, value, sizeof(how));
      socket->reset_on_close = how.l_onoff != 0 && how.l_linger == 0;
      break;
    }
    case SO_OOBINLINE:
      socket->urgent_inline = number != 0;
      break;
    case SO_REUSEPORT:
      socket->reuse_port = number != 0;
      break;
    case SO_KEEPALIVE:
      socket->keepalive = number != 0;
      break;
    case SO_ATTACH_FILTER:
      socket->filtered = true;
      break;
    default:
      break;
  }
  return 0;
}

int GetSockName(int fd, sockaddr* address, socklen_t* length) {
  World& world = Begin();
  auto* socket = world.FindAs<sim::Socket>(fd, File::Kind::kSocket, "getsockname");
  if (socket == nullptr) return -EBADF;
  Fill(socket->local, address, length);
  return 0;
}

int GetPeerName(int fd, sockaddr* address, socklen_t* length) {
  World& world = Begin();
  auto* socket = world.FindAs<sim::Socket>(fd, File::Kind::kSocket, "getpeername");
  if (socket == nullptr) return -EBADF;
  if (socket->state != sim::Socket::State::kEstablished) return -ENOTCONN;
  Fill(socket->remote, address, length);
  return 0;
}

int Shutdown(int fd, int how) {
  World& world = Begin();
  auto* socket = world.FindAs<sim::Socket>(fd, File::Kind::kSocket, "shutdown");
  if (socket == nullptr) return -EBADF;
  return static_cast<int>(world.Trace("shutdown", fd, world.Shutdown(*socket, how)));
}

int Close(int fd) {
  World& world = Begin();
  return static_cast<int>(world.Trace("close", fd, world.CloseDescriptor(fd)));
}

int CloseRange(unsigned first, unsigned last) {
  World& world = Begin();
  for (unsigned fd = first; fd <= last; ++fd) {
    world.Trace("close_range", static_cast<int>(fd), world.CloseDescriptor(static_cast<int>(fd)));
  }
  return 0;
}

ssize_t Recv(int fd, void* data, size_t size, int flags) {
  World& world = Begin();
  auto* socket = world.FindAs<sim::Socket>(fd, File::Kind::kSocket, "recv");
  if (socket == nullptr) return -EBADF;
  const bool peek = (flags & MSG_PEEK) != 0;
  return world.Trace(peek ? "peek" : "recv", fd,
                     world.FaultyReceive(*socket, static_cast<char*>(data), size, peek));
}

ssize_t Send(int fd, const void* data, size_t size, int flags) {
  World& world = Begin();
  auto* socket = world.FindAs<sim::Socket>(fd, File::Kind::kSocket, "send");
  if (socket == nullptr) return -EBADF;
  return world.Trace(
      "send", fd,
      world.FaultySend(*socket, static_cast<const char*>(data), size, (flags & MSG_OOB) != 0));
}

ssize_t SendMsg(int fd, const msghdr* message, int flags) {
  World& world = Begin();
  auto* socket = world.FindAs<sim::Socket>(fd, File::Kind::kSocket, "sendmsg");
  if (socket == nullptr) return -EBADF;
  std::vector<char> all;
  for (size_t i = 0; i < message->msg_iovlen; ++i) {
    const auto* part = static_cast<const char*>(message->msg_iov[i].iov_base);
    all.insert(all.end(), part, part + message->msg_iov[i].iov_len);
  }
  return world.FaultySend(*socket, all.data(), all.size(), (flags & MSG_OOB) != 0);
}

ssize_t RecvMsg(int fd, msghdr* message, int flags) {
  World& world = Begin();
  auto* socket = world.FindAs<sim::Socket>(fd, File::Kind::kSocket, "recvmsg");
  if (socket == nullptr) return -EBADF;
  if (message->msg_iovlen != 1) {
    world.Complain("recvmsg into several parts is not simulated");
    return -EINVAL;
  }
  return world.FaultyReceive(*socket, static_cast<char*>(message->msg_iov->iov_base),
                             message->msg_iov->iov_len, (flags & MSG_PEEK) != 0);
}

ssize_t Splice(int from, int to, size_t size) {
  World& world = Begin();
  File* source = world.Find(from, "splice");
  File* sink = world.Find(to, "splice");
  if (source == nullptr || sink == nullptr) return -EBADF;
  if (source->kind == File::Kind::kSocket && sink->kind == File::Kind::kPipeWrite) {
    return world.Trace(
        "splice from", from,
        world.SpliceIn(static_cast<sim::Socket&>(*source), static_cast<PipeEnd&>(*sink), size));
  }
  if (source->kind == File::Kind::kPipeRead && sink->kind == File::Kind::kSocket) {
    return world.Trace(
        "splice to", to,
        world.SpliceOut(static_cast<PipeEnd&>(*source), static_cast<sim::Socket&>(*sink), size));
  }
  world.Complain("splice between files of the wrong kinds");
  return -EINVAL;
}

int SendQueueBytes(int fd) {
  World& world = Begin();
  auto* socket = world.FindAs<sim::Socket>(fd, File::Kind::kSocket, "ioctl(SIOCOUTQ)");
  return socket == nullptr ? -EBADF : world.SendQueueBytes(*socket);
}

ssize_t Read(int fd, void* data, size_t size) {
  World& world = Begin();
  auto* end = world.FindAs<PipeEnd>(fd, File::Kind::kPipeRead, "read");
  if (end == nullptr) return -EBADF;
  return world.Trace("read", fd, world.ReadPipe(*end, static_cast<char*>(data), size));
}

int Pipe(int fds[2]) {
  World& world = Begin();
  if (const int error = world.ResourceFault(world.faults().pipe_resources)) return -error;
  const auto [read, write] = world.NewPipe();
  fds[0] = world.AddDescriptor(read);
  if (fds[0] < 0) return fds[0];
  fds[1] = world.AddDescriptor(write);
  if (fds[1] >= 0) return 0;
  world.CloseDescriptor(fds[0]);
  return fds[1];
}

int SetPipeSize(int fd, int bytes) {
  World& world = Begin();
  auto* end = static_cast<PipeEnd*>(world.Find(fd, "fcntl(F_SETPIPE_SZ)"));
  if (end == nullptr) return -EBADF;
  if (bytes > 64 * 1024 && world.random().Chance(world.faults().small_pipe)) return -EPERM;
  end->buffer->slot_count = static_cast<size_t>(bytes) / PipeBuffer::kPageBytes;
  return bytes;
}

void* Map(size_t bytes) {
  World& world = *World::Current();
  if (world.random().Chance(world.faults().no_memory)) {
    ++world.counts().resource_faults;
    return nullptr;
  }
  void* start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return start == MAP_FAILED ? nullptr : start;
}

int Unmap(void* start, size_t bytes) { return munmap(start, bytes) < 0 ? -errno : 0; }

int Advise(void* start, size_t bytes, int advice) {
  return madvise(start, bytes, advice) < 0 ? -errno : 0;
}

int ProtectNone(void* start, size_t bytes) {
  return mprotect(start, bytes, PROT_NONE) < 0 ? -errno : 0;
}

int GetDescriptorLimit(rlimit* limit) {
  const World& world = Begin();
  limit->rlim_cur = limit->rlim_max = static_cast<rlim_t>(world.DescriptorLimit());
  return 0;
}

}  // namespace kernel
}  // namespace parkway
