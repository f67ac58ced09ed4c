// Acceptor: the task that takes connections from one listening socket of one worker.
//
// It accepts in batches that grow while the queue is full and shrink when it is not, so that a
// lone connection costs one accept and no attempt that says EAGAIN (the listener is
// level-triggered: what is left is reported again). It never spins: out of descriptors or at a
// limit it takes the listener out of epoll's sight and sleeps.
//
// Stopping resets nobody; poller/listener.h says how.
//
// Owner thread only.
//
// Invariants
//   1. A slot of the connection limit is held for every connection that was accepted.
//   2. After Stop the socket is closed when everybody who had finished a handshake was accepted.
#ifndef PROXY_INBOUND_ACCEPTOR_H_
#define PROXY_INBOUND_ACCEPTOR_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "poller/listener.h"
#include "poller/scheduler.h"
#include "poller/task.h"
#include "proxy/core/stats.h"
#include "proxy/inbound/limits.h"
#include "proxy/inbound/listener_limits.h"

namespace parkway {

class Acceptor final : public Task {
 public:
  // Who gets what was accepted.
  class Sink {
   public:
    // Takes over `fd`, for which a slot is held, and one of its listener's if it is `counted`.
    virtual void OnAccepted(size_t listener, int fd, const Address& peer, bool counted) = 0;
    // The socket is closed; the acceptor will never run again.
    virtual void OnAcceptorClosed(Acceptor& acceptor) = 0;
    // Takes over `fd`, which is one too many for its listener; no slot is held for it.
    virtual void OnRefused(size_t listener, int fd, const Address& peer) = 0;
    // Something that an operator should know, at most once a second.
    virtual void OnAcceptTrouble(size_t listener, int error) = 0;

   protected:
    ~Sink() = default;
  };

  // Takes over `fd`, which listens. `inherited`: others use it too, so it is neither filtered nor
  // emptied when it is closed. `own`: the limits of this listener, or null.
  Acceptor(size_t listener, int fd, bool is_unix, bool inherited, ConnectionLimit& limit,
           ListenerLimits* own, WorkerStats& stats, Sink& sink);
  ~Acceptor();

  // 0 or -errno (epoll refused it).
  int Start(Scheduler& scheduler);
  // `while_open`: kept until the socket is closed, which is some time after.
  void Stop(Scheduler& scheduler, std::shared_ptr<const void> while_open = nullptr);
  // While it is held it accepts nobody; clients wait in the backlog.
  void Hold(Scheduler& scheduler);
  void Unhold(Scheduler& scheduler);
  size_t listener() const { return listener_; }
  ListenerLimits* limits() const { return own_; }
  // From now on it accepts for this one. `own`: as above; the one before lives a while yet.
  void Retarget(Scheduler& scheduler, size_t listener, ListenerLimits* own);
  // So many for one wake-up, from now on.
  void set_most(uint32_t most) { most_ = static_cast<int>(most); }
  // A slot has become free.
  void SlotFreed(Scheduler& scheduler);

  Next Run(Scheduler& scheduler, Wake wake) noexcept override;
  const char* name() const override { return "acceptor"; }

 private:
  enum class Closing : uint8_t { kNo, kAsked, kGrace };

  // Out of descriptors or memory: somebody must close something first.
  static constexpr int64_t kResourcePauseNs = 100'000'000;
  // At the limit: who frees a slot wakes us; this is for the case that nobody does.
  static constexpr int64_t kLimitPauseNs = 500'000'000;
  // No stack to connect with: connects end soon.
  static constexpr int64_t kStackPauseNs = 10'000'000;
  // For handshakes whose last packet was under way when new ones were blocked.
  static constexpr int64_t kCloseGraceNs = 200'000'000;

  Next Accept(Scheduler& scheduler);
  // What is needed for one more connection.
  enum class Admission : uint8_t { kYes, kLater, kRefuse };
  Admission TryAdmit(Scheduler& scheduler, int64_t* wait_ns);
  bool TryAcquire(ConnectionLimit& limit);
  void GiveBack();
  void EndWaiting();
  Next Refuse(Scheduler& scheduler);
  Next PauseForWant(Scheduler& scheduler, int error);
  Next Pause(Scheduler& scheduler, int64_t for_ns);
  void Resume(Scheduler& scheduler);
  void SetHeard(Scheduler& scheduler, bool heard);
  Next Close(Scheduler& scheduler);
  void EmptyQueue();
  void Trouble(Scheduler& scheduler, int error);

  size_t listener_;
  const int fd_;
  const bool is_unix_;
  const bool inherited_;
  ConnectionLimit& limit_;
  ListenerLimits* own_;
  WorkerStats& stats_;
  Sink& sink_;
  PollDesc* desc_ = nullptr;
  SleepTimer timer_;
  MonotonicTime last_trouble_;
  int most_ = 16;
  int batch_ = 1;           // at most so many for one wake-up
  int left_ = 0;            // of the present batch
  uint64_t full_turn_ = 0;  // of the scheduler, in which the last batch was full
  bool counted_ = false;    // at own_, the one that is to be accepted next
  bool paused_ = false;     // by a limit: sleeps
  bool held_ = false;       // by an operator
  ConnectionLimit* waits_for_slot_of_ = nullptr;
  Closing closing_ = Closing::kNo;
  std::shared_ptr<const void> while_open_;
};

}  // namespace parkway

#endif  // PROXY_INBOUND_ACCEPTOR_H_
