// For programs that run under valgrind 3.19, which does not know epoll_pwait2: preloaded, it gives
// them epoll_pwait, which waits for whole milliseconds. Nothing else is changed.
#include <sys/epoll.h>
#include <time.h>

extern "C" int epoll_pwait2(int epoll_fd, epoll_event* events, int capacity,
                            const timespec* timeout, const sigset_t* signals) {
  int milliseconds = -1;
  if (timeout != nullptr) {
    milliseconds =
        static_cast<int>(timeout->tv_sec * 1'000 + (timeout->tv_nsec + 999'999) / 1'000'000);
  }
  return epoll_pwait(epoll_fd, events, capacity, milliseconds, signals);
}
