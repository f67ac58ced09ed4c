// Inbox: what other threads hand to a worker: tasks to make ready, and messages to deliver.
//
// A lock-free stack of each kind (Treiber, 1986); the owner takes all at once, which needs no
// hazard pointers, and turns the order around: first in, first out.
//
// Any thread may push; only the owner takes. Pushing does not wake the worker: see
// Scheduler::Post, which does both in the right order.
//
// Invariants
//   1. What is pushed before the owner's Take* began is taken by it.
//   2. From one thread, order is kept.
#ifndef POLLER_INBOX_H_
#define POLLER_INBOX_H_

#include <atomic>

#include "poller/task.h"

namespace parkway {

// Something to do on another worker's thread, between two activations. It must not wait.
class Message {
 public:
  virtual ~Message() = default;
  virtual void Deliver(Scheduler& scheduler) = 0;

 private:
  friend class Inbox;
  Message* next_ = nullptr;
};

class Inbox {
 public:
  Inbox() = default;
  // Messages that were never taken are destroyed undelivered.
  ~Inbox();
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;

  // The task has left its word and is nowhere else.
  void Push(Task& task);
  // Takes ownership.
  void Push(Message* message);

  bool empty() const {
    return tasks_.load(std::memory_order_seq_cst) == nullptr &&
           messages_.load(std::memory_order_seq_cst) == nullptr;
  }

  // Appends all tasks to `queue`, oldest first.
  void TakeTasks(Task::Queue& queue);
  // Delivers all messages, oldest first, and destroys them. True: there was one.
  bool DeliverMessages(Scheduler& scheduler);

 private:
  std::atomic<Task*> tasks_{nullptr};
  std::atomic<Message*> messages_{nullptr};
};

}  // namespace parkway

#endif  // POLLER_INBOX_H_
