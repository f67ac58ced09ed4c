#include "proxy/upstream/queue.h"

#include <utility>

namespace parkway {

WaitQueue::~WaitQueue() {
  Collect();
  while (first_ != nullptr) delete std::exchange(first_, first_->behind_);
}

bool WaitQueue::Push(std::unique_ptr<Ticket> ticket, uint32_t most) {
  uint32_t waiting = waiting_.load(std::memory_order_relaxed);
  do {
    if (waiting >= most) return false;
  } while (!waiting_.compare_exchange_weak(waiting, waiting + 1, std::memory_order_seq_cst));
  Ticket* added = ticket.release();
  Ticket* top = incoming_.load(std::memory_order_relaxed);
  do {
    added->behind_ = top;
  } while (!incoming_.compare_exchange_weak(top, added, std::memory_order_seq_cst));
  return true;
}

bool WaitQueue::Leave(Ticket& ticket) {
  // Counted first: once it is marked, whoever serves may destroy it and count it off.
  left_.fetch_add(1, std::memory_order_relaxed);
  auto expected = Ticket::State::kWaiting;
  if (!ticket.state_.compare_exchange_strong(expected, Ticket::State::kLeft,
                                             std::memory_order_acq_rel)) {
    left_.fetch_sub(1, std::memory_order_relaxed);
    return false;
  }
  waiting_.fetch_sub(1, std::memory_order_seq_cst);
  return true;
}

void WaitQueue::Collect() {
  // They come youngest first.
  Ticket* came = incoming_.exchange(nullptr, std::memory_order_seq_cst);
  Ticket* oldest = nullptr;
  Ticket* youngest = came;
  while (came != nullptr) {
    Ticket* next = came->behind_;
    came->behind_ = oldest;
    oldest = came;
    came = next;
  }
  if (oldest != nullptr) {
    (first_ == nullptr ? first_ : last_->behind_) = oldest;
    last_ = youngest;
  }
  if (left_.load(std::memory_order_relaxed) < kSweepAt) return;
  if (left_.load(std::memory_order_relaxed) < waiting_.load(std::memory_order_relaxed)) return;
  Ticket** place = &first_;
  last_ = nullptr;
  while (Ticket* ticket = *place) {
    if (ticket->state_.load(std::memory_order_acquire) == Ticket::State::kLeft) {
      *place = ticket->behind_;
      delete ticket;
      left_.fetch_sub(1, std::memory_order_relaxed);
    } else {
      last_ = ticket;
      place = &ticket->behind_;
    }
  }
}

Ticket* WaitQueue::First() {
  while (first_ != nullptr &&
         first_->state_.load(std::memory_order_acquire) == Ticket::State::kLeft) {
    delete std::exchange(first_, first_->behind_);
    left_.fetch_sub(1, std::memory_order_relaxed);
  }
  return first_;
}

bool WaitQueue::Grant(Ticket& first, size_t server) {
  first.server_ = server;
  auto expected = Ticket::State::kWaiting;
  if (!first.state_.compare_exchange_strong(expected, Ticket::State::kGranted,
                                            std::memory_order_acq_rel)) {
    return false;
  }
  first_ = first.behind_;
  waiting_.fetch_sub(1, std::memory_order_seq_cst);
  // From here it belongs to its worker.
  Scheduler& home = first.home_;
  home.Post(std::unique_ptr<Message>(&first));
  return true;
}

}  // namespace parkway
