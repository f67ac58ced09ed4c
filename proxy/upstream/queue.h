// WaitQueue: clients that wait for a server of one upstream because all of them are full (or, if
// so configured, down). First come, first served, whichever worker a client is on.
//
//   a worker:   queue.Push(ticket, most)         then Serve()
//   any worker: a server has room                   Serve(): the first in line gets it; its ticket
//                                                   is posted to its worker as a message
//   a worker:   the client has left, or its time is over: queue.Leave(*ticket)
//
// Nobody waits for a lock: who comes while another serves leaves a note, and that one goes round
// again. Tickets of those who left stay in line until they are met, or swept when they are many.
//
// Any thread, except that a ticket's own worker alone pushes and leaves.
//
// Invariants
//   1. waiting() counts those who wait; a push is counted before the line is looked at, and a slot
//      is given back before waiting() is read: no slot is free while somebody waits for it.
//   2. A ticket is either left, and then destroyed by the queue, or granted, and then it is a
//      message that owns itself and a connection of the server it names.
#ifndef PROXY_UPSTREAM_QUEUE_H_
#define PROXY_UPSTREAM_QUEUE_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "poller/inbox.h"
#include "poller/scheduler.h"

namespace parkway {

// Servers that one client has tried, the latest few.
class Tried {
 public:
  static constexpr size_t kMost = 16;

  bool empty() const { return count_ == 0; }
  void Add(size_t server) {
    servers_[count_ % kMost] = static_cast<uint16_t>(server);
    ++count_;
  }
  bool Contains(size_t server) const {
    const size_t known = count_ < kMost ? count_ : kMost;
    for (size_t i = 0; i < known; ++i) {
      if (servers_[i] == server) return true;
    }
    return false;
  }

 private:
  std::array<uint16_t, kMost> servers_;
  uint32_t count_ = 0;
};

// A place in the line. Deliver(), on the worker's thread, says that it was granted.
class Ticket : public Message {
 public:
  explicit Ticket(Scheduler& home) : home_(home) {}

  // What it was granted.
  size_t server() const { return server_; }
  // Whether its place was given up or granted.
  bool granted() const { return state_.load(std::memory_order_acquire) == State::kGranted; }

  // What its choice depends on.
  uint64_t source = 0;
  Tried tried;

 private:
  friend class WaitQueue;
  enum class State : uint8_t { kWaiting, kGranted, kLeft };

  Scheduler& home_;
  Ticket* behind_ = nullptr;
  size_t server_ = 0;
  std::atomic<State> state_{State::kWaiting};
};

class WaitQueue {
 public:
  WaitQueue() = default;
  // REQUIRES: nobody pushes or serves any more. Those who still wait are destroyed.
  ~WaitQueue();
  WaitQueue(const WaitQueue&) = delete;
  WaitQueue& operator=(const WaitQueue&) = delete;

  uint32_t waiting() const { return waiting_.load(std::memory_order_seq_cst); }

  // Puts `ticket` at the end unless `most` wait already. The caller serves then.
  bool Push(std::unique_ptr<Ticket> ticket, uint32_t most);

  // True: it no longer waits, and belongs to the queue. False: it was granted, and its message is
  // under way.
  bool Leave(Ticket& ticket);

  // Grants while `take(ticket, &server)` finds a server, of which it then holds a connection;
  // `give_back(server)` if the client has left meanwhile. Returns at once if somebody else is at
  // it: that one goes round again.
  template <typename Take, typename GiveBack>
  void Serve(Take take, GiveBack give_back) {
    if (work_.fetch_add(1, std::memory_order_seq_cst) != 0) return;
    uint32_t seen;
    do {
      seen = work_.load(std::memory_order_seq_cst);
      Collect();
      while (Ticket* first = First()) {
        size_t server = 0;
        if (!take(*first, &server)) break;
        if (!Grant(*first, server)) give_back(server);
      }
    } while (!work_.compare_exchange_strong(seen, 0, std::memory_order_seq_cst));
  }

 private:
  // The rest of the line grows over those who left.
  static constexpr uint32_t kSweepAt = 64;

  // Of whoever serves:
  void Collect();                            // those who came go to the end of the line
  Ticket* First();                           // the first who still waits; null: nobody
  bool Grant(Ticket& first, size_t server);  // false: has left

  std::atomic<uint32_t> waiting_{0};
  std::atomic<uint32_t> left_{0};  // of those in line
  std::atomic<uint32_t> work_{0};  // calls of Serve since somebody is at it
  std::atomic<Ticket*> incoming_{nullptr};
  Ticket* first_ = nullptr;
  Ticket* last_ = nullptr;
};

}  // namespace parkway

#endif  // PROXY_UPSTREAM_QUEUE_H_
