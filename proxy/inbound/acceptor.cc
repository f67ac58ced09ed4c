#include "proxy/inbound/acceptor.h"

#include <errno.h>

#include <algorithm>
#include <utility>

#include "poller/kernel.h"

namespace parkway {

namespace {

constexpr int64_t kTroubleEveryNs = 1'000'000'000;

}  // namespace

Acceptor::Acceptor(size_t listener, int fd, bool is_unix, bool inherited, ConnectionLimit& limit,
                   ListenerLimits* own, WorkerStats& stats, Sink& sink)
    : listener_(listener),
      fd_(fd),
      is_unix_(is_unix),
      inherited_(inherited),
      limit_(limit),
      own_(own),
      stats_(stats),
      sink_(sink) {
  set_stackless(true);
}

Acceptor::~Acceptor() {
  // Never started, or stopped with its worker: nothing runs any more.
  if (desc_ == nullptr && closing_ == Closing::kNo) kernel::Close(fd_);
}

int Acceptor::Start(Scheduler& scheduler) {
  desc_ = scheduler.netpoll().Allocate(fd_, nullptr);
  if (desc_ == nullptr) return -ENOMEM;
  const int error = scheduler.netpoll().RegisterListener(*desc_);
  if (error != 0) {
    scheduler.Evict(*desc_);
    scheduler.Close(*desc_);
    desc_ = nullptr;
    return error;
  }
  scheduler.SpawnAwaiting(*this, *desc_, Direction::kRead);
  return 0;
}

void Acceptor::Stop(Scheduler& scheduler, std::shared_ptr<const void> while_open) {
  if (closing_ != Closing::kNo || desc_ == nullptr) return;
  while_open_ = std::move(while_open);
  closing_ = Closing::kAsked;
  if (!is_unix_ && !inherited_) {
    // If the filter is refused, who comes in the next moments may be reset: said by accept's own
    // counters, and no reason not to stop.
    static_cast<void>(BlockNewHandshakes(fd_));
  }
  scheduler.Evict(*desc_);
  scheduler.Kick(*this);
}

void Acceptor::Retarget(Scheduler& scheduler, size_t listener, ListenerLimits* own) {
  listener_ = listener;
  if (own == own_) return;
  own_ = own;
  // It looks anew, at other limits.
  if (paused_) scheduler.Kick(*this);
}

void Acceptor::Hold(Scheduler& scheduler) {
  if (held_ || desc_ == nullptr || closing_ != Closing::kNo) return;
  held_ = true;
  if (!paused_) SetHeard(scheduler, false);
}

void Acceptor::Unhold(Scheduler& scheduler) {
  if (!held_ || desc_ == nullptr || closing_ != Closing::kNo) return;
  held_ = false;
  if (!paused_) SetHeard(scheduler, true);
}

void Acceptor::SlotFreed(Scheduler& scheduler) {
  if (waits_for_slot_of_ != nullptr) scheduler.Kick(*this);
}

Next Acceptor::Run(Scheduler& scheduler, Wake wake) noexcept {
  if (paused_) Resume(scheduler);
  if (closing_ != Closing::kNo) return Close(scheduler);
  if (held_) return Next::AwaitReadable(*desc_);
  if (wake != Wake::kYield) left_ = batch_;
  return Accept(scheduler);
}

// One connection, and then the others their turn: its connector runs next.
Next Acceptor::Accept(Scheduler& scheduler) {
  while (left_ > 0) {
    --left_;
    if (!scheduler.StackAvailable()) return Pause(scheduler, kStackPauseNs);
    int64_t wait_ns = kLimitPauseNs;
    switch (TryAdmit(scheduler, &wait_ns)) {
      case Admission::kYes:
        break;
      case Admission::kLater:
        stats_.accept_pauses.Add(1);
        return Pause(scheduler, wait_ns);
      case Admission::kRefuse:
        return Refuse(scheduler);
    }
    const Accepted accepted = AcceptOne(fd_);
    if (accepted.fd >= 0) {
      stats_.accepted.Add(1);
      sink_.OnAccepted(listener_, accepted.fd, accepted.peer, counted_);
      if (left_ > 0) return Next::Yield();
      break;
    }
    GiveBack();
    if (accepted.error == EAGAIN) {
      batch_ = 1;
      return Next::AwaitReadable(*desc_);
    }
    stats_.CountAcceptError(accepted.error);
    // Else that one connection has gone.
    if (AcceptMustPause(accepted.error)) return PauseForWant(scheduler, accepted.error);
  }
  // A full batch: more may wait, and epoll says so at once if they do. Then the next is larger:
  // with one that comes now and then, each attempt to take a second would be in vain.
  const uint64_t turn = scheduler.turns();
  if (turn - full_turn_ <= 1) batch_ = std::min(batch_ * 2, most_);
  full_turn_ = turn;
  return Next::AwaitReadable(*desc_);
}

// The limits of the listener first: what is beyond them takes nothing from the others.
Acceptor::Admission Acceptor::TryAdmit(Scheduler& scheduler, int64_t* wait_ns) {
  counted_ = own_ != nullptr && own_->counting();
  if (counted_) {
    if (own_->reject.load(std::memory_order_relaxed)) {
      if (!own_->connections.TryAcquire()) return Admission::kRefuse;
    } else if (!TryAcquire(own_->connections)) {
      return Admission::kLater;
    }
    const int64_t until_next = own_->rate.Take(scheduler.now());
    if (until_next > 0) {
      own_->connections.Release();
      *wait_ns = until_next;
      return Admission::kLater;
    }
  }
  if (TryAcquire(limit_)) return Admission::kYes;
  if (counted_) {
    own_->connections.Release();
    own_->rate.GiveBack();
  }
  return Admission::kLater;
}

// If there is none, whoever gives one back will wake us.
bool Acceptor::TryAcquire(ConnectionLimit& limit) {
  if (limit.TryAcquire()) return true;
  waits_for_slot_of_ = &limit;
  limit.BeginWaiting();
  // One may have been freed before anybody knew that we wait.
  if (!limit.TryAcquire()) return false;
  EndWaiting();
  return true;
}

void Acceptor::EndWaiting() {
  if (waits_for_slot_of_ == nullptr) return;
  waits_for_slot_of_->EndWaiting();
  waits_for_slot_of_ = nullptr;
}

// There was nobody to use them for.
void Acceptor::GiveBack() {
  limit_.Release();
  if (!counted_) return;
  own_->connections.Release();
  own_->rate.GiveBack();
}

// One too many, where that is to be told at once.
Next Acceptor::Refuse(Scheduler& scheduler) {
  const Accepted accepted = AcceptOne(fd_);
  if (accepted.fd >= 0) {
    stats_.accepted.Add(1);
    sink_.OnRefused(listener_, accepted.fd, accepted.peer);
    if (left_ > 0) return Next::Yield();
  } else if (accepted.error == EAGAIN) {
    batch_ = 1;
  } else {
    stats_.CountAcceptError(accepted.error);
    if (AcceptMustPause(accepted.error)) return PauseForWant(scheduler, accepted.error);
  }
  return Next::AwaitReadable(*desc_);
}

// Of descriptors or memory, as `error` says.
Next Acceptor::PauseForWant(Scheduler& scheduler, int error) {
  if (error == EMFILE || error == ENFILE) {
    rlimit descriptors;
    if (kernel::GetDescriptorLimit(&descriptors) == 0) {
      limit_.FitToDescriptors(descriptors.rlim_cur);
    }
  }
  Trouble(scheduler, error);
  stats_.accept_pauses.Add(1);
  return Pause(scheduler, kResourcePauseNs);
}

Next Acceptor::Pause(Scheduler& scheduler, int64_t for_ns) {
  paused_ = true;
  SetHeard(scheduler, false);
  return Next::SleepUntil(timer_, scheduler.now().PlusNs(for_ns));
}

void Acceptor::Resume(Scheduler& scheduler) {
  paused_ = false;
  EndWaiting();
  if (limit_.lowered()) {
    // Somebody had taken descriptors from us; they may be back.
    rlimit descriptors;
    if (kernel::GetDescriptorLimit(&descriptors) == 0) {
      limit_.FitToDescriptors(descriptors.rlim_cur);
    }
  }
  if (!held_) SetHeard(scheduler, true);
}

// Whether epoll is to report who waits.
void Acceptor::SetHeard(Scheduler& scheduler, bool heard) {
  const int error = heard ? scheduler.netpoll().ResumeListener(*desc_)
                          : scheduler.netpoll().PauseListener(*desc_);
  if (error != 0) Trouble(scheduler, -error);
}

void Acceptor::EmptyQueue() {
  if (inherited_) return;
  for (;;) {
    const Accepted accepted = AcceptOne(fd_);
    if (accepted.fd < 0) {
      if (accepted.error == EAGAIN || AcceptMustPause(accepted.error)) return;
      // An error of the socket itself would come for ever.
      if (accepted.error == EINVAL || accepted.error == EBADF) return;
      continue;
    }
    limit_.AcquireBeyond();
    const bool counted = own_ != nullptr && own_->counting();
    if (counted) own_->connections.AcquireBeyond();
    stats_.accepted.Add(1);
    sink_.OnAccepted(listener_, accepted.fd, accepted.peer, counted);
  }
}

Next Acceptor::Close(Scheduler& scheduler) {
  EmptyQueue();
  if (closing_ == Closing::kAsked && !is_unix_ && !inherited_) {
    closing_ = Closing::kGrace;
    // Who comes meanwhile is accepted at its end.
    SetHeard(scheduler, false);
    return Next::SleepUntil(timer_, scheduler.now().PlusNs(kCloseGraceNs));
  }
  scheduler.Close(*desc_);
  desc_ = nullptr;
  kernel::Close(fd_);
  sink_.OnAcceptorClosed(*this);
  return Next::Done();
}

void Acceptor::Trouble(Scheduler& scheduler, int error) {
  if (last_trouble_.ns() != 0 && scheduler.now() < last_trouble_.PlusNs(kTroubleEveryNs)) return;
  last_trouble_ = scheduler.now();
  sink_.OnAcceptTrouble(listener_, error);
}

}  // namespace parkway
