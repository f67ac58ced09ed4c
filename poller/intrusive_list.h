// A singly linked queue whose links live in the objects: putting a task on the run queue
// allocates nothing.
//
//   struct Item { Item* next = nullptr; };
//   IntrusiveQueue<Item, &Item::next> queue;
//
// One thread. It owns nothing.
//
// Invariants
//   1. An object is in at most one queue that uses the same link.
//   2. First in, first out.
#ifndef POLLER_INTRUSIVE_LIST_H_
#define POLLER_INTRUSIVE_LIST_H_

#include <cstddef>

namespace parkway {

template <typename T, T* T::*Link>
class IntrusiveQueue {
 public:
  IntrusiveQueue() = default;
  IntrusiveQueue(const IntrusiveQueue&) = delete;
  IntrusiveQueue& operator=(const IntrusiveQueue&) = delete;

  bool empty() const { return head_ == nullptr; }
  size_t size() const { return size_; }

  void PushFront(T& item) {
    item.*Link = head_;
    head_ = &item;
    if (tail_ == nullptr) tail_ = &item;
    ++size_;
  }

  void PushBack(T& item) {
    item.*Link = nullptr;
    if (tail_ != nullptr) {
      tail_->*Link = &item;
    } else {
      head_ = &item;
    }
    tail_ = &item;
    ++size_;
  }

  // nullptr if empty.
  T* Front() const { return head_; }
  T* PopFront() {
    T* item = head_;
    if (item == nullptr) return nullptr;
    head_ = item->*Link;
    if (head_ == nullptr) tail_ = nullptr;
    item->*Link = nullptr;
    --size_;
    return item;
  }

  // Moves all of `other` behind what is here.
  void Append(IntrusiveQueue& other) {
    if (other.head_ == nullptr) return;
    if (tail_ != nullptr) {
      tail_->*Link = other.head_;
    } else {
      head_ = other.head_;
    }
    tail_ = other.tail_;
    size_ += other.size_;
    other.head_ = other.tail_ = nullptr;
    other.size_ = 0;
  }

 private:
  T* head_ = nullptr;
  T* tail_ = nullptr;
  size_t size_ = 0;
};

}  // namespace parkway

#endif  // POLLER_INTRUSIVE_LIST_H_
