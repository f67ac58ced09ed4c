#include "poller/wake_timer.h"

#include <sys/epoll.h>

#include "poller/kernel.h"

namespace parkway {

WakeTimer::~WakeTimer() {
  if (fd_ >= 0) kernel::Close(fd_);
}

int WakeTimer::Init(int epoll_fd, uint64_t data) {
  fd_ = kernel::TimerFd();
  if (fd_ < 0) return fd_;
  return kernel::EpollAdd(epoll_fd, fd_, EPOLLIN | EPOLLET, data);
}

int64_t WakeTimer::Sleep(MonotonicTime wake, MonotonicTime now) {
  if (wake == MonotonicTime::InfiniteFuture()) return -1;
  if (wake <= now) return 0;
  // It fires at that very moment or later, so one that is due now may have fired.
  if (set_to_ > now && set_to_ <= wake) return -1;
  const int64_t left_ns = wake.ns() - now.ns();
  if (left_ns < kWorthSettingNs || kernel::TimerFdSet(fd_, wake.ns()) != 0) return left_ns;
  set_to_ = wake;
  return -1;
}

}  // namespace parkway
