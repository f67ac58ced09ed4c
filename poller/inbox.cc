#include "poller/inbox.h"

namespace parkway {

Inbox::~Inbox() {
  Message* message = messages_.load(std::memory_order_acquire);
  while (message != nullptr) {
    Message* next = message->next_;
    delete message;
    message = next;
  }
}

// The push is the poster's half of the handshake with a worker about to sleep: sequentially
// consistent with its store of "sleeping" (push, then look at sleeping; set sleeping, then look
// at the inbox).
void Inbox::Push(Task& task) {
  Task* head = tasks_.load(std::memory_order_relaxed);
  do {
    task.link_ = head;
  } while (!tasks_.compare_exchange_weak(head, &task, std::memory_order_seq_cst));
}

void Inbox::Push(Message* message) {
  Message* head = messages_.load(std::memory_order_relaxed);
  do {
    message->next_ = head;
  } while (!messages_.compare_exchange_weak(head, message, std::memory_order_seq_cst));
}

void Inbox::TakeTasks(Task::Queue& queue) {
  if (tasks_.load(std::memory_order_relaxed) == nullptr) return;
  Task* newest = tasks_.exchange(nullptr, std::memory_order_acquire);
  Task* oldest = nullptr;
  while (newest != nullptr) {
    Task* next = newest->link_;
    newest->link_ = oldest;
    oldest = newest;
    newest = next;
  }
  while (oldest != nullptr) {
    Task* next = oldest->link_;
    queue.PushBack(*oldest);
    oldest = next;
  }
}

bool Inbox::DeliverMessages(Scheduler& scheduler) {
  if (messages_.load(std::memory_order_relaxed) == nullptr) return false;
  Message* newest = messages_.exchange(nullptr, std::memory_order_acquire);
  Message* oldest = nullptr;
  while (newest != nullptr) {
    Message* next = newest->next_;
    newest->next_ = oldest;
    oldest = newest;
    newest = next;
  }
  while (oldest != nullptr) {
    Message* next = oldest->next_;
    oldest->Deliver(scheduler);
    delete oldest;
    oldest = next;
  }
  return true;
}

}  // namespace parkway
