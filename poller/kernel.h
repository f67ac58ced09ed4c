// Every system call of a worker, in one place: the seam behind which a simulation can stand.
//
// Two implementations exist: kernel_linux.cc, and the simulated world of the tests. Which one a
// binary has is chosen when it is linked (depend on //poller:kernel_linux or on the simulation),
// so the seam costs a direct call and nothing else.
//
// Conventions
//   1. A failure is returned as -errno; the variable errno is never read by callers.
//   2. Nothing here retries but on EINTR, which workers (all signals masked) do not see anyway.
//   3. Descriptors are made non-blocking and close-on-exec.
//   4. No state: any thread may call, on descriptors that it owns.
#ifndef POLLER_KERNEL_H_
#define POLLER_KERNEL_H_

#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

struct sock_fprog;

namespace parkway::kernel {

// epoll and what wakes it. `timeout_ns` < 0 waits for ever, 0 polls.
int EpollCreate();
int EpollAdd(int epoll_fd, int fd, uint32_t events, uint64_t data);
int EpollMod(int epoll_fd, int fd, uint32_t events, uint64_t data);
int EpollDel(int epoll_fd, int fd);
int EpollWait(int epoll_fd, epoll_event* events, int capacity, int64_t timeout_ns);
int EventFd();
int EventFdSignal(int fd);
// A timer of CLOCK_MONOTONIC that is readable once it has fired; Set forgets what it was set to.
int TimerFd();
int TimerFdSet(int fd, int64_t when_ns);

// Sockets.
int Socket(int domain, int type, int protocol = 0);
int Bind(int fd, const sockaddr* address, socklen_t length);
int Listen(int fd, int backlog);
// Fills `address` (may be null together with `length`).
int Accept(int fd, sockaddr* address, socklen_t* length);
int Connect(int fd, const sockaddr* address, socklen_t length);
int GetSockOpt(int fd, int level, int name, void* value, socklen_t* length);
int SetSockOpt(int fd, int level, int name, const void* value, socklen_t length);
int GetSockName(int fd, sockaddr* address, socklen_t* length);
int GetPeerName(int fd, sockaddr* address, socklen_t* length);
int Shutdown(int fd, int how);
int Close(int fd);
// Closes first..last, both included.
int CloseRange(unsigned first, unsigned last);

// Bytes. `flags` are MSG_*; MSG_NOSIGNAL is added to sends.
ssize_t Recv(int fd, void* data, size_t size, int flags);
ssize_t Send(int fd, const void* data, size_t size, int flags);
ssize_t SendMsg(int fd, const msghdr* message, int flags);
ssize_t RecvMsg(int fd, msghdr* message, int flags);
// One end is a pipe. Always non-blocking; SIGPIPE must be ignored in the process.
ssize_t Splice(int from, int to, size_t size);
// Bytes that the peer has not acknowledged yet (SIOCOUTQ), for a TCP or unix socket.
int SendQueueBytes(int fd);
// From a pipe.
ssize_t Read(int fd, void* data, size_t size);
// {read end, write end}, non-blocking.
int Pipe(int fds[2]);
// Asks for a pipe of `bytes`; returns what it has now.
int SetPipeSize(int fd, int bytes);

// Memory. Map returns nullptr on failure: private, anonymous, readable and writable, not reserved.
void* Map(size_t bytes);
int Unmap(void* start, size_t bytes);
int Advise(void* start, size_t bytes, int advice);
int ProtectNone(void* start, size_t bytes);

// Limits of the process.
int GetDescriptorLimit(rlimit* limit);

}  // namespace parkway::kernel

#endif  // POLLER_KERNEL_H_
