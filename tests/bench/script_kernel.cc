#include "tests/bench/script_kernel.h"

#include <netinet/in.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <utility>

#include "poller/clock.h"
#include "poller/kernel.h"

namespace parkway {
namespace bench {

namespace {

// Numbers of sockets stay below; epoll and its eventfd are this.
constexpr int kNoSocket = 1 << 30;
constexpr size_t kMostSockets = size_t{1} << 23;

[[noreturn]] void Die(const char* why) {
  std::fprintf(stderr, "script_kernel: %s\n", why);
  std::abort();
}

}  // namespace

// The calls, which see inside.
struct ScriptCalls {
  static void Register(ScriptKernel& kernel, int fd, uint32_t events, uint64_t data) {
    if (fd >= kNoSocket) return;
    if (static_cast<size_t>(fd) >= kMostSockets) Die("too many sockets");
    if (kernel.registered_ == nullptr) {
      void* start = mmap(nullptr, kMostSockets * sizeof(uint64_t), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (start == MAP_FAILED) Die("no memory");
      kernel.registered_ = static_cast<uint64_t*>(start);
    }
    kernel.registered_[fd] = data;
    // Only listeners are level-triggered.
    if ((events & EPOLLET) == 0) {
      kernel.listener_data_ = data;
      kernel.listening_ = (events & EPOLLIN) != 0;
    }
  }

  static int Wait(ScriptKernel& kernel, epoll_event* events, int capacity) {
    if (kernel.arriving_ > 0 && kernel.listening_) {
      events[0].events = EPOLLIN;
      events[0].data.u64 = kernel.listener_data_;
      return 1;
    }
    if (kernel.script_.empty()) return 0;
    for (int i = 0; i < capacity; ++i) {
      events[i] = kernel.script_[kernel.script_at_];
      if (++kernel.script_at_ == kernel.script_.size()) kernel.script_at_ = 0;
    }
    return capacity;
  }

  static int Accept(ScriptKernel& kernel) {
    if (kernel.arriving_ == 0) return -EAGAIN;
    --kernel.arriving_;
    kernel.next_fd_ += kernel.next_fd_ & 1;
    return kernel.NewSocket();
  }

  static int NewSocket(ScriptKernel& kernel) { return kernel.NewSocket(); }

  static void Close(ScriptKernel& kernel, int fd) {
    if (fd < kNoSocket) --kernel.open_sockets_;
  }

  static ssize_t Receive(ScriptKernel& kernel, int fd, void* data, size_t size) {
    if (kernel.readable_bytes == 0) return -EAGAIN;
    const size_t count = std::min(size, kernel.readable_bytes);
    std::memset(data, 'x', count);
    ++kernel.receives;
    kernel.last_read_ = fd;
    return static_cast<ssize_t>(count);
  }

  static ssize_t Send(ScriptKernel& kernel, int fd, size_t size) {
    ++kernel.sends;
    kernel.astray += (fd ^ 1) != kernel.last_read_;
    return static_cast<ssize_t>(size);
  }

  static MonotonicTime Clock(ScriptKernel& kernel) {
    if (kernel.clock_ns_ != 0) return MonotonicTime(kernel.clock_ns_ += kernel.clock_step_ns_);
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return MonotonicTime(now.tv_sec * 1'000'000'000LL + now.tv_nsec);
  }

  static void Mapped(ScriptKernel& kernel, void* start, size_t bytes) {
    kernel.mappings_[start] = bytes;
  }
  static void Unmapped(ScriptKernel& kernel, void* start, size_t bytes) {
    const auto found = kernel.mappings_.find(start);
    if (found == kernel.mappings_.end() || found->second != bytes) Die("a part is unmapped");
    kernel.mappings_.erase(found);
  }
};

ScriptKernel& ScriptKernel::Get() {
  // Never destroyed: pools of any lifetime unmap through it.
  static ScriptKernel* const kernel = new ScriptKernel;
  return *kernel;
}

void ScriptKernel::SetScript(std::vector<epoll_event> events) {
  script_ = std::move(events);
  script_at_ = 0;
}

epoll_event ScriptKernel::Readable(int fd) const {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = registered_[fd];
  return event;
}

void ScriptKernel::Restart() {
  if (open_sockets_ != 0) Die("sockets are open");
  next_fd_ = 2;
  arriving_ = 0;
  listening_ = false;
  receives = sends = astray = 0;
}

size_t ScriptKernel::ResidentBytes() const {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> pages;
  size_t resident = 0;
  for (const auto& [start, bytes] : mappings_) {
    // In pieces: some mappings are gigabytes of which little was touched.
    constexpr size_t kPiece = size_t{64} << 20;
    for (size_t at = 0; at < bytes; at += kPiece) {
      const size_t piece = std::min(kPiece, bytes - at);
      pages.resize((piece + page - 1) / page);
      if (mincore(static_cast<char*>(start) + at, piece, pages.data()) != 0) Die("mincore");
      resident += static_cast<size_t>(
          std::count_if(pages.begin(), pages.end(), [](unsigned char in) { return in & 1; }));
    }
  }
  return resident * page;
}

}  // namespace bench

using bench::ScriptCalls;
using bench::ScriptKernel;

MonotonicTime ReadMonotonicClock() { return ScriptCalls::Clock(ScriptKernel::Get()); }

namespace kernel {

namespace {

ScriptKernel& It() { return ScriptKernel::Get(); }

}  // namespace

int EpollCreate() { return bench::kNoSocket; }
int EventFd() { return bench::kNoSocket; }
int EventFdSignal(int) { return 0; }
int TimerFd() { return bench::kNoSocket; }
int TimerFdSet(int, int64_t) { return 0; }
int EpollAdd(int, int fd, uint32_t events, uint64_t data) {
  ScriptCalls::Register(It(), fd, events, data);
  return 0;
}
int EpollMod(int, int fd, uint32_t events, uint64_t data) {
  ScriptCalls::Register(It(), fd, events, data);
  return 0;
}
int EpollDel(int, int) { return 0; }
int EpollWait(int, epoll_event* events, int capacity, int64_t) {
  return ScriptCalls::Wait(It(), events, capacity);
}

int Socket(int, int, int) { return ScriptCalls::NewSocket(It()); }
int Bind(int, const sockaddr*, socklen_t) { return 0; }
int Listen(int, int) { return 0; }
int Accept(int, sockaddr* address, socklen_t* length) {
  sockaddr_in peer{};
  peer.sin_family = AF_INET;
  peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  peer.sin_port = htons(4711);
  std::memcpy(address, &peer, std::min<size_t>(*length, sizeof(peer)));
  *length = sizeof(peer);
  return ScriptCalls::Accept(It());
}
int Connect(int, const sockaddr*, socklen_t) { return 0; }
int GetSockOpt(int, int, int, void* value, socklen_t* length) {
  std::memset(value, 0, *length);
  return 0;
}
int SetSockOpt(int, int, int, const void*, socklen_t) { return 0; }
int GetSockName(int, sockaddr*, socklen_t*) { return -ENOTCONN; }
int GetPeerName(int, sockaddr*, socklen_t*) { return -ENOTCONN; }
int Shutdown(int, int) { return 0; }
int Close(int fd) {
  ScriptCalls::Close(It(), fd);
  return 0;
}
int CloseRange(unsigned first, unsigned last) {
  for (unsigned fd = first; fd <= last; ++fd) ScriptCalls::Close(It(), static_cast<int>(fd));
  return 0;
}

ssize_t Recv(int fd, void* data, size_t size, int) {
  return ScriptCalls::Receive(It(), fd, data, size);
}
ssize_t Send(int fd, const void*, size_t size, int) { return ScriptCalls::Send(It(), fd, size); }
ssize_t SendMsg(int, const msghdr*, int) { return -EINVAL; }
ssize_t RecvMsg(int, msghdr*, int) { return -EINVAL; }
ssize_t Splice(int, int, size_t) { return -EINVAL; }
int SendQueueBytes(int) { return 0; }
ssize_t Read(int, void*, size_t) { return -EINVAL; }
int Pipe(int*) { return -EMFILE; }
int SetPipeSize(int, int) { return -EPERM; }

void* Map(size_t bytes) {
  void* start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) return nullptr;
  ScriptCalls::Mapped(It(), start, bytes);
  return start;
}
int Unmap(void* start, size_t bytes) {
  ScriptCalls::Unmapped(It(), start, bytes);
  return munmap(start, bytes) == 0 ? 0 : -errno;
}
int Advise(void* start, size_t bytes, int advice) {
  return madvise(start, bytes, advice) == 0 ? 0 : -errno;
}
int ProtectNone(void* start, size_t bytes) {
  return mprotect(start, bytes, PROT_NONE) == 0 ? 0 : -errno;
}

int GetDescriptorLimit(rlimit* limit) {
  limit->rlim_cur = limit->rlim_max = bench::kMostSockets;
  return 0;
}

}  // namespace kernel
}  // namespace parkway
