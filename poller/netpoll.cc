#include "poller/netpoll.h"

#include <errno.h>

#include "poller/check.h"
#include "poller/kernel.h"
#include "poller/test_point.h"

namespace parkway {

Netpoll::Netpoll(void* owner) : cache_(owner) {
  if (!cache_.ok()) {
    init_error_ = -ENOMEM;
    return;
  }
  epoll_fd_ = kernel::EpollCreate();
  if (epoll_fd_ < 0) {
    init_error_ = epoll_fd_;
    return;
  }
  wake_fd_ = kernel::EventFd();
  if (wake_fd_ < 0) {
    init_error_ = wake_fd_;
    return;
  }
  init_error_ = kernel::EpollAdd(epoll_fd_, wake_fd_, EPOLLIN | EPOLLET, 0);
  if (init_error_ == 0) init_error_ = wake_timer_.Init(epoll_fd_, kTimerData);
}

Netpoll::~Netpoll() {
  if (wake_fd_ >= 0) kernel::Close(wake_fd_);
  if (epoll_fd_ >= 0) kernel::Close(epoll_fd_);
}

PollDesc* Netpoll::Allocate(int fd, void* user) {
  PollDesc* desc = cache_.Allocate();
  if (desc != nullptr) desc->Open(fd, user);
  return desc;
}

int Netpoll::Register(PollDesc& desc, uint8_t muted) {
  PARKWAY_DCHECK(!desc.registered(), "a descriptor is registered once");
  desc.add_edge_bits(muted);
  const int error = kernel::EpollAdd(epoll_fd_, desc.fd(), EventsOf(desc), Data(desc));
  if (error == 0) desc.set_registered(true);
  return error;
}

PollDesc* Netpoll::Open(int fd, void* user, int* error) {
  PollDesc* desc = Allocate(fd, user);
  if (desc == nullptr) {
    *error = -ENOMEM;
    return nullptr;
  }
  *error = Register(*desc, /*muted=*/0);
  if (*error == 0) return desc;
  desc->Evict(desc->fdseq());
  Close(*desc);
  return nullptr;
}

void Netpoll::Close(PollDesc& desc) {
  Forget(desc);
  desc.Close();
  cache_.Free(desc);
}

void Netpoll::End(PollDesc& desc) {
  Forget(desc);
  desc.End();
  cache_.Free(desc);
}

int Netpoll::RegisterListener(PollDesc& desc) {
  const int error = kernel::EpollAdd(epoll_fd_, desc.fd(), EPOLLIN, Data(desc));
  if (error == 0) {
    desc.set_registered(true);
    desc.add_edge_bits(PollDesc::kLevel);
  }
  return error;
}

int Netpoll::PauseListener(PollDesc& desc) {
  return kernel::EpollMod(epoll_fd_, desc.fd(), 0, Data(desc));
}

int Netpoll::ResumeListener(PollDesc& desc) {
  return kernel::EpollMod(epoll_fd_, desc.fd(), EPOLLIN, Data(desc));
}

int Netpoll::Deregister(PollDesc& desc) {
  if (!desc.registered()) return 0;
  const int error = kernel::EpollDel(epoll_fd_, desc.fd());
  if (error == 0) {
    desc.set_registered(false);
    desc.clear_edge_bits(PollDesc::kReadMuted | PollDesc::kWriteMuted);
  }
  return error;
}

void Netpoll::Forget(PollDesc& desc) {
  // If it is closed already, epoll may have forgotten it.
  if ((desc.edge_bits() & PollDesc::kLevel) != 0) static_cast<void>(Deregister(desc));
}

uint32_t Netpoll::EventsOf(const PollDesc& desc) {
  uint32_t events = kEvents;
  if ((desc.edge_bits() & PollDesc::kReadMuted) != 0) events &= ~kReadEvents;
  if ((desc.edge_bits() & PollDesc::kWriteMuted) != 0) events &= ~uint32_t{EPOLLOUT};
  return events;
}

void Netpoll::SetMuted(PollDesc& desc, uint8_t bit, bool muted) {
  if (muted) {
    desc.add_edge_bits(bit);
  } else {
    desc.clear_edge_bits(bit);
  }
  const int error = kernel::EpollMod(epoll_fd_, desc.fd(), EventsOf(desc), Data(desc));
  if (error == 0) return;
  PARKWAY_CHECK(muted, "epoll forgot a descriptor that is registered");
  desc.clear_edge_bits(bit);
}

void Netpoll::Ready(const epoll_event& event, Polled& polled) {
  const uint32_t index = static_cast<uint32_t>(event.data.u64);
  const uint32_t fdseq = static_cast<uint32_t>(event.data.u64 >> 32);
  PollDesc* desc = cache_.Find(index);
  // An event of a use that has ended: the file lives on in another process, or the batch was
  // older than the close (T31, T35).
  if (desc == nullptr || desc->fdseq() != fdseq) return;
  PARKWAY_TEST_POINT("Netpoll::Ready:checked");

  const uint32_t mask = event.events;
  uint8_t bits = 0;
  if (mask & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) bits |= PollDesc::kHangup;
  if (mask & EPOLLPRI) bits |= PollDesc::kUrgent;
  if (mask & EPOLLERR) bits |= PollDesc::kError;
  const bool connected = (mask & (EPOLLOUT | EPOLLHUP | EPOLLERR)) == EPOLLOUT;
  // Nothing told of an urgent mark, at which a read would stop as if the end had come.
  if (bits != 0 && (desc->edge_bits() & PollDesc::kReadMuted) != 0) bits |= PollDesc::kUrgent;
  desc->add_edge_bits(bits | (connected ? PollDesc::kConnected : 0));
  // Of what is muted we are told nothing, so there an error alone is but an error.
  constexpr uint8_t kMuted = PollDesc::kReadMuted | PollDesc::kWriteMuted;
  desc->SetEventError(mask == EPOLLERR && (desc->edge_bits() & kMuted) == 0, fdseq);

  // Whoever waits is counted before the words change.
  if ((mask & (EPOLLHUP | EPOLLERR)) != 0 && !desc->HasWaiter()) {
    polled.hangups[polled.hangup_count++] = desc->handle();
  }
  if (mask & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
    // Nobody has looked since the last time, because the bytes have nowhere to go or their turn has
    // not come: each of those that follow would end a sleep for nothing.
    const uint8_t spared = PollDesc::kReadMuted | PollDesc::kLevel;
    if (bits == 0 && (desc->edge_bits() & spared) == 0 && desc->IsLatched(Direction::kRead)) {
      SetMuted(*desc, PollDesc::kReadMuted, true);
    }
    if (Task* task = desc->Ready(Direction::kRead)) polled.runnable.PushBack(*task);
  }
  if (mask & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
    Task* task = desc->Ready(Direction::kWrite);
    if (task != nullptr) {
      polled.runnable.PushBack(*task);
    } else if ((desc->edge_bits() & (PollDesc::kUnix | PollDesc::kWriteMuted)) == PollDesc::kUnix) {
      // It would be told so each time that the peer has read something.
      SetMuted(*desc, PollDesc::kWriteMuted, true);
    }
  }
}

void Netpoll::Poll(int64_t timeout_ns, Polled& polled) {
  const int count = kernel::EpollWait(epoll_fd_, events_.data(), kEventsPerPoll, timeout_ns);
  PARKWAY_CHECK(count >= 0 || count == -EINTR, "epoll_pwait2 refused its own arguments");
  polled.full = count == kEventsPerPoll;
  for (int i = 0; i < count; ++i) {
    // The wake-up has done its work by ending the wait; the inbox says what it was for.
    if (static_cast<uint32_t>(events_[i].data.u64) == 0) {
      if (events_[i].data.u64 == kTimerData) wake_timer_.Fired();
      continue;
    }
    Ready(events_[i], polled);
  }
}

bool Netpoll::Break() {
  if (!sleeping_.exchange(false, std::memory_order_seq_cst)) return false;
  PARKWAY_TEST_POINT("Netpoll::Break:write");
  const int error = kernel::EventFdSignal(wake_fd_);
  PARKWAY_CHECK(error == 0, "the wake-up of a worker could not be written");
  return true;
}

}  // namespace parkway
