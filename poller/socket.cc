#include "poller/socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <utility>

#include "poller/kernel.h"

namespace parkway {

namespace {

// What a successful or failed read means, by what the events said (see the header).
IoResult ReadResult(PollDesc& desc, ssize_t n, size_t asked) {
  IoResult result;
  if (n < 0) {
    result.error = static_cast<int>(-n);
    // Read until EAGAIN: no urgent mark hides anything now.
    if (n == -EAGAIN) desc.clear_edge_bits(PollDesc::kUrgent);
    result.drained = n == -EAGAIN;
    return result;
  }
  result.bytes = static_cast<size_t>(n);
  const uint8_t bits = desc.edge_bits();
  if (n == 0) {
    // An error that another call has eaten leaves an end of stream behind that never was one.
    if (bits & PollDesc::kError) {
      result.error = ECONNRESET;
    } else {
      result.end = true;
    }
    return result;
  }
  if (result.bytes == asked || (bits & PollDesc::kUnix) != 0) return result;
  if ((bits & (PollDesc::kHangup | PollDesc::kUrgent)) == 0) {
    result.drained = true;
  } else if ((bits & (PollDesc::kError | PollDesc::kUrgent)) == 0) {
    // The FIN was in the queue before this read, which has taken all that was before it.
    result.end = true;
  }
  return result;
}

IoResult WriteResult(ssize_t n, size_t asked) {
  IoResult result;
  if (n < 0) {
    result.error = static_cast<int>(-n);
    result.drained = n == -EAGAIN;
    return result;
  }
  result.bytes = static_cast<size_t>(n);
  result.drained = result.bytes < asked;
  return result;
}

bool IsUnix(int fd) {
  int domain = 0;
  socklen_t length = sizeof(domain);
  return kernel::GetSockOpt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_UNIX;
}

}  // namespace

IoResult TryRead(PollDesc& desc, void* data, size_t size) {
  return ReadResult(desc, kernel::Recv(desc.fd(), data, size, 0), size);
}

IoResult TryPeek(PollDesc& desc, void* data, size_t size) {
  IoResult result = ReadResult(desc, kernel::Recv(desc.fd(), data, size, MSG_PEEK), size);
  // The end, if it follows, comes again when the bytes before it have been taken.
  if (result.bytes > 0) result.end = false;
  return result;
}

IoResult TryDiscard(PollDesc& desc, void* scratch, size_t size) {
  return ReadResult(desc, kernel::Recv(desc.fd(), scratch, size, 0), size);
}

IoResult TryWrite(PollDesc& desc, const void* data, size_t size, bool more_follows) {
  static_cast<void>(desc.Reset(Direction::kWrite));
  return WriteResult(kernel::Send(desc.fd(), data, size, more_follows ? MSG_MORE : 0), size);
}

IoResult TryWritev(PollDesc& desc, const iovec* parts, int count) {
  static_cast<void>(desc.Reset(Direction::kWrite));
  msghdr message = {};
  message.msg_iov = const_cast<iovec*>(parts);
  message.msg_iovlen = static_cast<size_t>(count);
  size_t size = 0;
  for (int i = 0; i < count; ++i) size += parts[i].iov_len;
  return WriteResult(kernel::SendMsg(desc.fd(), &message, 0), size);
}

IoResult TrySpliceIn(PollDesc& desc, int pipe, size_t size) {
  return WriteResult(kernel::Splice(desc.fd(), pipe, size), size);
}

IoResult TrySpliceOut(int pipe, PollDesc& desc, size_t size) {
  static_cast<void>(desc.Reset(Direction::kWrite));
  return WriteResult(kernel::Splice(pipe, desc.fd(), size), size);
}

int TakeSocketError(const PollDesc& desc) {
  int error = 0;
  socklen_t length = sizeof(error);
  const int result = kernel::GetSockOpt(desc.fd(), SOL_SOCKET, SO_ERROR, &error, &length);
  return result < 0 ? -result : error;
}

void ResetOnClose(int fd) {
  const linger now = {.l_onoff = 1, .l_linger = 0};
  // It can fail only on what is no socket.
  static_cast<void>(kernel::SetSockOpt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)));
}

bool VanishOnClose(int fd) {
  const int on = 1;
  if (kernel::SetSockOpt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)) == 0) return true;
  ResetOnClose(fd);
  return false;
}

Socket Socket::Adopt(Scheduler& scheduler, int fd) {
  PollDesc* desc = scheduler.netpoll().Allocate(fd, nullptr);
  if (desc == nullptr) {
    kernel::Close(fd);
  } else if (IsUnix(fd)) {
    desc->add_edge_bits(PollDesc::kUnix);
  }
  return Socket(scheduler, desc);
}

Socket::Socket(Socket&& other) noexcept
    : scheduler_(other.scheduler_), desc_(std::exchange(other.desc_, nullptr)) {}

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this != &other) {
    Close();
    scheduler_ = other.scheduler_;
    desc_ = std::exchange(other.desc_, nullptr);
  }
  return *this;
}

Socket::~Socket() { Close(); }

int Socket::WaitFor(Direction direction) {
  switch (scheduler_->Wait(*desc_, direction)) {
    case WaitResult::kReady:
      return 0;
    case WaitResult::kClosing:
      return ECANCELED;
    case WaitResult::kTimeout:
      return ETIMEDOUT;
    case WaitResult::kNotPollable: {
      const int error = TakeSocketError(*desc_);
      return error != 0 ? error : EIO;
    }
  }
  return EIO;
}

IoResult Socket::Read(void* data, size_t size) {
  for (;;) {
    static_cast<void>(desc_->Reset(Direction::kRead));
    IoResult result = TryRead(*desc_, data, size);
    if (!result.would_block()) return result;
    result.error = WaitFor(Direction::kRead);
    if (result.error != 0) return result;
  }
}

IoResult Socket::WriteAll(const void* data, size_t size) {
  iovec part = {const_cast<void*>(data), size};
  return WritevAll(&part, 1);
}

IoResult Socket::WritevAll(iovec* parts, int count) {
  IoResult total;
  while (count > 0) {
    const IoResult result = TryWritev(*desc_, parts, count);
    total.bytes += result.bytes;
    if (result.failed()) {
      total.error = result.error;
      return total;
    }
    size_t taken = result.bytes;
    while (count > 0 && taken >= parts->iov_len) {
      taken -= parts->iov_len;
      ++parts;
      --count;
    }
    if (count == 0) return total;
    parts->iov_base = static_cast<char*>(parts->iov_base) + taken;
    parts->iov_len -= taken;
    total.error = WaitFor(Direction::kWrite);
    if (total.error != 0) return total;
  }
  return total;
}

int Socket::ShutdownWrite() { return -kernel::Shutdown(desc_->fd(), SHUT_WR); }

void Socket::SetDeadline(Directions directions, MonotonicTime deadline) {
  scheduler_->SetDeadline(*desc_, directions, deadline);
}

void Socket::Close() {
  if (desc_ == nullptr) return;
  const int fd = desc_->fd();
  scheduler_->Evict(*desc_);
  scheduler_->Close(*desc_);
  desc_ = nullptr;
  kernel::Close(fd);
}

void Socket::Reset() {
  if (desc_ == nullptr) return;
  ResetOnClose(desc_->fd());
  Close();
}

}  // namespace parkway
