// The real kernel behind kernel.h and clock.h.
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "absl/base/config.h"
#include "poller/clock.h"
#include "poller/kernel.h"
#include "poller/system_call.h"

namespace parkway {

namespace {

// The result of a system call as this seam returns it.
template <typename T>
inline T Result(T value) {
  return value < 0 ? static_cast<T>(-errno) : value;
}

template <typename Call>
inline auto Retry(Call call) {
  for (;;) {
    const auto value = call();
    if (value >= 0 || errno != EINTR) return Result(value);
  }
}

// The sanitizers look into the wrappers of the C library.
#if defined(ABSL_HAVE_ADDRESS_SANITIZER) || defined(ABSL_HAVE_THREAD_SANITIZER)
#define PARKWAY_CALL(name, ...) Result(static_cast<long>(name(__VA_ARGS__)))
#else
#define PARKWAY_CALL(name, ...) SystemCall(SYS_##name, __VA_ARGS__)
#endif

// The same again where a signal came in between.
#define PARKWAY_RETRIED_CALL(name, ...)                    \
  [&] {                                                    \
    for (;;) {                                             \
      const long result = PARKWAY_CALL(name, __VA_ARGS__); \
      if (result != -EINTR) [[likely]]                     \
        return result;                                     \
    }                                                      \
  }()

}  // namespace

MonotonicTime ReadMonotonicClock() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return MonotonicTime(static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec);
}

namespace kernel {

int EpollCreate() { return Result(epoll_create1(EPOLL_CLOEXEC)); }

static int EpollControl(int epoll_fd, int operation, int fd, uint32_t events, uint64_t data) {
  epoll_event event;
  event.events = events;
  event.data.u64 = data;
  return static_cast<int>(PARKWAY_CALL(epoll_ctl, epoll_fd, operation, fd, &event));
}

int EpollAdd(int epoll_fd, int fd, uint32_t events, uint64_t data) {
  return EpollControl(epoll_fd, EPOLL_CTL_ADD, fd, events, data);
}

int EpollMod(int epoll_fd, int fd, uint32_t events, uint64_t data) {
  return EpollControl(epoll_fd, EPOLL_CTL_MOD, fd, events, data);
}

int EpollDel(int epoll_fd, int fd) { return EpollControl(epoll_fd, EPOLL_CTL_DEL, fd, 0, 0); }

int EpollWait(int epoll_fd, epoll_event* events, int capacity, int64_t timeout_ns) {
  if (timeout_ns < 0) return Result(epoll_pwait2(epoll_fd, events, capacity, nullptr, nullptr));
  timespec timeout;
  timeout.tv_sec = timeout_ns / 1'000'000'000;
  timeout.tv_nsec = timeout_ns % 1'000'000'000;
  return Result(epoll_pwait2(epoll_fd, events, capacity, &timeout, nullptr));
}

int EventFd() { return Result(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

int EventFdSignal(int fd) {
  const uint64_t one = 1;
  const ssize_t written = Result(write(fd, &one, sizeof(one)));
  if (written != -EAGAIN) return written < 0 ? static_cast<int>(written) : 0;
  // The counter is full, which it never is in practice: drain it, so that the next write is an
  // edge again.
  uint64_t count;
  if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN) return -errno;
  return static_cast<int>(Result(write(fd, &one, sizeof(one)))) < 0 ? -errno : 0;
}

int TimerFd() { return Result(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)); }

int TimerFdSet(int fd, int64_t when_ns) {
  itimerspec when = {};
  when.it_value.tv_sec = when_ns / 1'000'000'000;
  when.it_value.tv_nsec = when_ns % 1'000'000'000;
  return Result(timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, nullptr));
}

int Socket(int domain, int type, int protocol) {
  return static_cast<int>(
      PARKWAY_CALL(socket, domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol));
}

int Bind(int fd, const sockaddr* address, socklen_t length) {
  return Result(bind(fd, address, length));
}

int Listen(int fd, int backlog) { return Result(listen(fd, backlog)); }

int Accept(int fd, sockaddr* address, socklen_t* length) {
  return static_cast<int>(
      PARKWAY_RETRIED_CALL(accept4, fd, address, length, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

int Connect(int fd, const sockaddr* address, socklen_t length) {
  return static_cast<int>(PARKWAY_CALL(connect, fd, address, length));
}

int GetSockOpt(int fd, int level, int name, void* value, socklen_t* length) {
  return static_cast<int>(PARKWAY_CALL(getsockopt, fd, level, name, value, length));
}

int SetSockOpt(int fd, int level, int name, const void* value, socklen_t length) {
  return static_cast<int>(PARKWAY_CALL(setsockopt, fd, level, name, value, length));
}

int GetSockName(int fd, sockaddr* address, socklen_t* length) {
  return Result(getsockname(fd, address, length));
}

int GetPeerName(int fd, sockaddr* address, socklen_t* length) {
  return Result(getpeername(fd, address, length));
}

int Shutdown(int fd, int how) { return static_cast<int>(PARKWAY_CALL(shutdown, fd, how)); }

int Close(int fd) { return Result(close(fd)); }

int CloseRange(unsigned first, unsigned last) {
  return static_cast<int>(SystemCall(SYS_close_range, first, last, 0u));
}

ssize_t Recv(int fd, void* data, size_t size, int flags) {
  return PARKWAY_RETRIED_CALL(recvfrom, fd, data, size, flags, nullptr, nullptr);
}

ssize_t Read(int fd, void* data, size_t size) {
  return Retry([&] { return read(fd, data, size); });
}

ssize_t Send(int fd, const void* data, size_t size, int flags) {
  return PARKWAY_RETRIED_CALL(sendto, fd, data, size, flags | MSG_NOSIGNAL, nullptr, 0);
}

ssize_t SendMsg(int fd, const msghdr* message, int flags) {
  return Retry([&] { return sendmsg(fd, message, flags | MSG_NOSIGNAL); });
}

ssize_t RecvMsg(int fd, msghdr* message, int flags) {
  return Retry([&] { return recvmsg(fd, message, flags); });
}

ssize_t Splice(int from, int to, size_t size) {
  return PARKWAY_RETRIED_CALL(splice, from, nullptr, to, nullptr, size,
                              SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
}

int SendQueueBytes(int fd) {
  int bytes = 0;
  const int result = Result(ioctl(fd, SIOCOUTQ, &bytes));
  return result < 0 ? result : bytes;
}

int Pipe(int fds[2]) { return Result(pipe2(fds, O_CLOEXEC | O_NONBLOCK)); }

int SetPipeSize(int fd, int bytes) { return Result(fcntl(fd, F_SETPIPE_SZ, bytes)); }

void* Map(size_t bytes) {
  void* start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return start == MAP_FAILED ? nullptr : start;
}

int Unmap(void* start, size_t bytes) { return Result(munmap(start, bytes)); }

int Advise(void* start, size_t bytes, int advice) { return Result(madvise(start, bytes, advice)); }

int ProtectNone(void* start, size_t bytes) { return Result(mprotect(start, bytes, PROT_NONE)); }

int GetDescriptorLimit(rlimit* limit) { return Result(getrlimit(RLIMIT_NOFILE, limit)); }

}  // namespace kernel
}  // namespace parkway
