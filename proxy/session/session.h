// Session: one proxied connection: two sockets, two relays with their tasks, and how it ends.
//
//   kConnecting   the up task runs the connector on its stack; the client is registered
//   kQueued       waits for a server to have room: the up task waits for the client to leave,
//                 without a stack
//   kRelaying     up: client to server; down: server to client; each a task without a stack
//   kResetting    one side failed; what was read from it is still delivered to the other
//   kLingering    all is delivered to the kernel; waits until the other side's queue is empty,
//                 because a reset would throw it away
//   kEnding       whoever still waits is woken and leaves
//
// Endings. A FIN is forwarded after the last byte, and the other direction goes on under the
// half-close timeout. A reset is forwarded as a reset, after what can still be delivered has been,
// within delayed_close. A socket's error belongs to the session: the first call that meets it eats
// it, so whoever sees it notes it here before anybody reads again. Where bytes are dropped the
// receiver gets a reset, never a FIN that would say "this is all".
//
// Owner thread only. It holds no pointer to its worker but through its descriptors.
//
// Invariants
//   1. Exactly one cause, the first.
//   2. Freed by the last of its tasks that left, or after that by its timer: never while a task of
//      it is in a word, in a queue, or under way from another thread.
//   3. All state that outlives an activation is in this object: a session can be rebuilt from it.
#ifndef PROXY_SESSION_SESSION_H_
#define PROXY_SESSION_SESSION_H_

#include <cstdint>

#include "poller/address.h"
#include "poller/poll_desc.h"
#include "poller/scheduler.h"
#include "poller/socket_options.h"
#include "poller/task.h"
#include "poller/timer_wheel.h"
#include "proxy/core/close_cause.h"
#include "proxy/core/session_times.h"
#include "proxy/session/relay.h"
#include "proxy/session/session_end.h"
#include "proxy/session/session_extras.h"
#include "proxy/session/times_table.h"

namespace parkway {

class Session;

// What a session needs from the worker that it lives on. The scheduler's context() points here.
class SessionHost {
 public:
  enum class Progress : uint8_t {
    kConnected,
    kFailed,  // with a cause set: it is to end
    kQueued,  // no server has room: again when the client says something, or its read deadline is
  };
  // Runs on the stack of the up task: connects `session` to a server (sets server()).
  virtual Progress Connect(Session& session, Wake wake) = 0;
  // A queued session is to end: it gives up its place.
  virtual void LeaveQueue(Session& session) = 0;
  // The session has ended, its sockets are closed: account for it and free it.
  virtual void Finished(Session& session, const SessionEnd& end) = 0;
  // Much has moved since the last TakeMoved: it is to be called.
  virtual void CountMoved(Session& session) = 0;
  // When its server's side is to be asked whether it is still there.
  virtual Keepalive ServerKeepalive(const Session&) const { return {}; }

  Scheduler* scheduler = nullptr;
  RelayTools tools;
  TimesTable times;
  ExtrasPool extras;
  EndWishes wishes;  // of `end` above

 protected:
  ~SessionHost() = default;
};

class Session {
 public:
  enum class Side : uint8_t { kClient = 0, kServer = 1 };
  enum class Phase : uint8_t { kConnecting, kQueued, kRelaying, kResetting, kLingering, kEnding };

  // `client` is an open descriptor whose user becomes this session. `times`: held in the host's
  // table; given back when the session ends.
  Session(uint64_t id, PollDesc& client, const PackedAddress& client_address, uint16_t times,
          MonotonicTime now);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Spawns the up task, which connects first.
  void Start(Scheduler& scheduler);

  // --- For the connector ---

  PollDesc& client() { return *client_; }
  PollDesc* server() { return server_; }
  void set_server(PollDesc* server) { server_ = server; }
  Relay& up() { return up_.relay; }
  Relay& down() { return down_.relay; }
  // The session is to end: stop connecting.
  bool ended() const { return phase_ == Phase::kEnding; }
  // The client's socket speaks for another: a PROXY header says so.
  void set_client_address(const PackedAddress& address) { client_address_ = address; }
  // What most sessions lack: there from the first call on.
  SessionExtras& extras();
  // Whether the log wants to know what a client has said of itself.
  bool remembers() const { return host().wishes.addresses; }
  // Every attempt has failed: the client will get a reset.
  void FailConnect(CloseCause cause);
  // The client is turned away.
  void Refuse(CloseCause cause, Reject how);
  // The client's socket has failed with `error` while connecting.
  void FailClient(int error);

  // --- For the worker ---

  // The scheduler reported ERR or HUP on `desc`, and nobody waits there.
  void OnHangup(PollDesc& desc);
  // The timer of this session has fired.
  void OnTimer();
  // Ends it now, with resets where bytes are lost (or everywhere if `reset`).
  void Abort(CloseCause cause, bool reset);

  uint64_t id() const { return id_; }
  CloseCause cause() const { return cause_; }
  Phase phase() const { return phase_; }
  const PackedAddress& client_address() const { return client_address_; }
  MonotonicTime started() const { return started_; }
  MonotonicTime last_activity() const { return last_activity_; }
  uint64_t bytes_up() const { return up_.relay.bytes(); }
  uint64_t bytes_down() const { return down_.relay.bytes(); }
  uint32_t unsent_bytes() const { return unsent_; }
  // When the server's side stood, and when the server's first byte went to the client, after
  // started(); negative: it did not.
  int64_t connected_after_us() const { return UsOf(timer_.rseq); }
  int64_t first_byte_after_us() const { return UsOf(timer_.wseq); }
  // Null: it has none.
  const SessionExtras* extras_if_any() const { return extras_; }
  // Whether its FIN was passed on.
  bool client_ended() const { return up_.done; }
  bool server_ended() const { return down_.done; }

  // What has moved since the last call: totals are made of these while a session lives, whenever
  // somebody looks, and at no cost per message. To be called each 4 GiB (CountMoved sees to that).
  struct Moved {
    uint32_t up;    // client to server
    uint32_t down;  // server to client
  };
  Moved TakeMoved() {
    const Moved moved = {Unmarked(up_.relay, counted_up_), Unmarked(down_.relay, counted_down_)};
    counted_up_ += moved.up;
    counted_down_ += moved.down;
    return moved;
  }

  // Slots of the plan, and counts, that the layers around fill in.
  uint16_t listener = 0;
  uint16_t upstream = 0;
  uint16_t server_index = 0;
  uint8_t attempts = 0;
  bool counted : 1 = false;           // as a connection of the server: to be given back
  bool counted_source : 1 = false;    // the same for max_connections_per_source
  bool counted_upstream : 1 = false;  // as one of its upstream
  bool redispatched : 1 = false;      // not all attempts were on one server
  bool counted_listener : 1 = false;  // the same for max_connections of its listener

  static Session& OfTimer(TimerWheel::Node& node);
  static constexpr TimerKind kTimerKind = TimerKind::kOwner0;

 private:
  // One direction's task. Its relay is all it has.
  class Flow : public Task {
   public:
    Next Run(Scheduler& scheduler, Wake wake) noexcept override;
    const char* name() const override { return "relay"; }

    bool up = false;
    bool live = false;  // spawned and not left
    bool done = false;  // its FIN was forwarded
    Relay relay;
  };

  Next RunFlow(Flow& flow, Scheduler& scheduler, Wake wake);
  Next AfterStep(Flow& flow, const Relay::Step& step, Wake wake);
  // Server and client are connected.
  void Connected(Scheduler& scheduler);
  // The part of a step that only sessions with extras have.
  void NoteStep(Flow& flow, const Relay::Step& step, size_t held_before);
  // The receiver of this direction takes no more until it has room.
  void NoteStuck(Flow& flow);
  // Nobody may wait for this socket from now on, and its reset is to be heard of all the same.
  // False: epoll has refused it, and the session ends.
  bool Heard(PollDesc& desc);
  // To be called where this direction waits for something else than its source.
  void HearOfReset(const Flow& flow);
  Next SleepForTokens(Flow& flow);
  Next OnEnd(Flow& flow);
  // One side's socket has failed with `error`; 0: ask the socket.
  void OnSideError(Side side, int error);
  void AfterReset(Flow& survivor);
  void Finish();
  Next Leave(Flow& flow);
  void AllLeft();
  SessionEnd Look();
  // It moved much or lived for a while; and of the others one in 32, so that what is noted of
  // short connections costs them no calls to speak of.
  bool TellsOfTcp() const;
  void Linger();
  void Close();

  void SetCause(CloseCause cause) {
    if (cause_ == CloseCause::kNone) cause_ = cause;
  }
  bool half_closed() const { return up_.done || down_.done; }
  // What ends it if nothing moves any more. InfiniteFuture: nothing.
  struct Due {
    MonotonicTime when;
    CloseCause cause;
  };
  Due NextDue() const;
  int64_t LifetimeNs() const;
  void ArmTimer();
  void ArmHalfClosedTimer();
  void LookAtTimes();
  // Whoever waits or sleeps goes on.
  void WakeBoth();

  static uint32_t Unmarked(const Relay& relay, uint32_t mark) {
    return static_cast<uint32_t>(relay.bytes()) - mark;
  }
  // 0 in the timer's words: it has not happened.
  static int64_t UsOf(uint32_t word) { return static_cast<int64_t>(word) - 1; }
  uint32_t WordOfNow() const;
  void NoteServerWait() {
    const int64_t waited = (scheduler().now().ns() - last_activity_.ns()) >> kServerWaitShift;
    const uint64_t sum = server_wait_ + static_cast<uint64_t>(waited);
    server_wait_ = sum > UINT32_MAX ? UINT32_MAX : static_cast<uint32_t>(sum);
  }
  const SessionTimes& times() const { return host().times[times_]; }

  SessionHost& host() const;
  Scheduler& scheduler() const { return Scheduler::Of(*client_); }
  PollDesc& desc(Side side) { return side == Side::kClient ? *client_ : *server_; }
  Flow& flow_from(Side side) { return side == Side::kClient ? up_ : down_; }
  SessionExtras::Way& way(const Flow& flow) { return flow.up ? extras_->up : extras_->down; }
  // Whether it has tokens to look at: what a failed side left behind goes as fast as it can.
  bool HasRate(const Flow& flow) {
    return extras_ != nullptr && phase_ == Phase::kRelaying && way(flow).pacer.limited();
  }

  static constexpr int kServerWaitShift = 14;
  // So much moved is counted, though nobody has asked.
  static constexpr uint32_t kMostUncounted = uint32_t{1} << 30;

  uint8_t linger_doublings_ : 3 = 0;
  uint16_t times_;
  Phase phase_ : 3 = Phase::kConnecting;
  Side failed_ : 1 = Side::kClient;  // kResetting, kLingering: the side that failed
  bool reset_client_ : 1 = false;    // close with RST
  bool reset_server_ : 1 = false;
  bool vanish_client_ : 1 = false;  // close without a word
  bool server_tuned_ : 1 = false;   // keepalive was set
  CloseCause cause_ = CloseCause::kNone;
  // For how long it was the server's turn to say something, in units of 2^kServerWaitShift ns.
  uint32_t server_wait_ = 0;
  Flow up_;
  Flow down_;
  PollDesc* client_;
  PollDesc* server_ = nullptr;
  // The wheel carries two words for its owner: when the server's side stood, and when the first
  // byte came from it, in microseconds after started_, plus one.
  TimerWheel::Node timer_{kTimerKind};
  MonotonicTime started_;
  MonotonicTime last_activity_;
  uint64_t id_;
  SessionExtras* extras_ = nullptr;
  PackedAddress client_address_;
  uint32_t unsent_ = 0;
  // The lower halves of the bytes of either direction that the totals have.
  uint32_t counted_up_ = 0;
  uint32_t counted_down_ = 0;
};

static_assert(sizeof(Session) <= 256, "an idle proxied pair stays under 512 bytes");

}  // namespace parkway

#endif  // PROXY_SESSION_SESSION_H_
