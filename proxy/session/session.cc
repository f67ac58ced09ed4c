#include "proxy/session/session.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cstddef>
#include <limits>

#include "poller/check.h"
#include "poller/kernel.h"
#include "poller/socket.h"

namespace parkway {

namespace {

constexpr int64_t kMicrosecond = 1'000;
constexpr int64_t kMillisecond = 1'000'000;
// Between two looks at a send queue that is to become empty.
constexpr int64_t kFirstLingerMs = 1;
constexpr int64_t kMostLingerMs = 50;
constexpr int kMostLingerDoublings = 6;
// Bulk that comes in again within so short a time may gather: it is over 20 MB/s, and a pause is
// less than half of it.
constexpr int64_t kAtOnceNs = 2 * kMillisecond;

Session::Side Other(Session::Side side) {
  return side == Session::Side::kClient ? Session::Side::kServer : Session::Side::kClient;
}

// One call where their numbers are neighbours, as they often are.
void CloseBoth(const int* fds, int count) {
  if (count == 2) {
    const auto [low, high] = std::minmax(fds[0], fds[1]);
    if (high == low + 1 &&
        kernel::CloseRange(static_cast<unsigned>(low), static_cast<unsigned>(high)) == 0) {
      return;
    }
  }
  for (int i = 0; i < count; ++i) kernel::Close(fds[i]);
}

// Whether bytes wait in its receive queue.
bool HasUnread(PollDesc& desc) {
  char byte;
  return TryPeek(desc, &byte, sizeof(byte)).bytes > 0;
}

bool IsReset(int error) { return error == ECONNRESET || error == EPIPE || error == ENOTCONN; }

}  // namespace

Session::Session(uint64_t id, PollDesc& client, const PackedAddress& client_address, uint16_t times,
                 MonotonicTime now)
    : times_(times),
      client_(&client),
      started_(now),
      last_activity_(now),
      id_(id),
      client_address_(client_address) {
  up_.up = true;
  // The server's socket gets its options when they begin to matter; the client's has inherited
  // them from the listener.
  up_.relay.set_no_delay_due(true);
  down_.relay.set_inline_due(true);
  client.set_user(this);
}

Session& Session::OfTimer(TimerWheel::Node& node) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof"
  constexpr size_t kPlace = offsetof(Session, timer_);
#pragma GCC diagnostic pop
  return *reinterpret_cast<Session*>(reinterpret_cast<char*>(&node) - kPlace);
}

SessionHost& Session::host() const { return *static_cast<SessionHost*>(scheduler().context()); }

SessionExtras& Session::extras() {
  if (extras_ == nullptr) extras_ = host().extras.Borrow();
  return *extras_;
}

uint32_t Session::WordOfNow() const {
  const int64_t us = (scheduler().now().ns() - started_.ns()) / kMicrosecond;
  return static_cast<uint32_t>(std::min<int64_t>(us + 1, std::numeric_limits<uint32_t>::max()));
}

void Session::Start(Scheduler& scheduler) {
  up_.live = true;
  // At once: the server's socket then gets the number after the client's, and both are closed by
  // one call.
  scheduler.SpawnNext(up_);
}

Next Session::Flow::Run(Scheduler& scheduler, Wake wake) noexcept {
  // A flow is a member of its session.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof"
  constexpr size_t kUp = offsetof(Session, up_);
  constexpr size_t kDown = offsetof(Session, down_);
#pragma GCC diagnostic pop
  char* place = reinterpret_cast<char*>(this) - (up ? kUp : kDown);
  return reinterpret_cast<Session*>(place)->RunFlow(*this, scheduler, wake);
}

Next Session::RunFlow(Flow& flow, Scheduler& scheduler, Wake wake) {
  if (phase_ == Phase::kConnecting || phase_ == Phase::kQueued) {
    const SessionHost::Progress progress = host().Connect(*this, wake);
    if (progress != SessionHost::Progress::kConnected || phase_ == Phase::kEnding) {
      if (progress == SessionHost::Progress::kQueued && phase_ != Phase::kEnding) {
        phase_ = Phase::kQueued;
        return Next::AwaitReadable(*client_);
      }
      if (cause_ == CloseCause::kNone) SetCause(CloseCause::kInternal);
      phase_ = Phase::kEnding;
      return Leave(flow);
    }
    Connected(scheduler);
  }
  if (phase_ == Phase::kEnding || phase_ == Phase::kLingering) return Leave(flow);
  // Nothing told a direction that slept for tokens.
  if (wake == Wake::kTimer && client_->CheckError(Direction::kRead) == WaitResult::kClosing) {
    wake = Wake::kClosing;
  }
  // Whoever ends a session from inside says so first; this comes from another thread.
  if (wake == Wake::kClosing && phase_ == Phase::kRelaying) {
    Abort(CloseCause::kAdminKill, true);
    return Leave(flow);
  }
  // While resetting, only the direction that comes from the failed side has anything left to do.
  if (phase_ == Phase::kResetting && &flow != &flow_from(failed_)) return Leave(flow);

  PollDesc& source = flow.up ? *client_ : *server_;
  PollDesc& sink = flow.up ? *server_ : *client_;
  SessionHost& worker = host();
  const size_t budget = flow.background() ? scheduler.BudgetLeft() : Relay::kStepBytes;
  size_t limit = Relay::kNoLimit;
  if (HasRate(flow)) {
    Pacer& pacer = way(flow).pacer;
    const bool ready = pacer.Ready(scheduler.now());
    if (!ready && flow.relay.held() == 0) return SleepForTokens(flow);
    limit = ready ? pacer.Available(scheduler.now()) : 0;
  }
  const bool at_once = flow.background() && scheduler.now().ns() - last_activity_.ns() < kAtOnceNs;
  const size_t held_before = flow.relay.held();
  const Relay::Step step = flow.relay.Run(source, sink, worker.tools, budget, limit, at_once);
  if (extras_ != nullptr) NoteStep(flow, step, held_before);
  if (step.spliced > 0) extras().spliced_bytes += step.spliced;
  if (step.moved > 0) {
    // What was in our hands, or out of tokens, did not wait for the server.
    if (!flow.up && held_before == 0 && wake != Wake::kTimer) NoteServerWait();
    last_activity_ = scheduler.now();
    if (Unmarked(flow.relay, flow.up ? counted_up_ : counted_down_) >= kMostUncounted) {
      worker.CountMoved(*this);
    }
    if (!flow.up && timer_.wseq == 0) timer_.wseq = WordOfNow();
    scheduler.Charge(flow, step.moved);
    flow.set_background(flow.relay.bulk());
  }
  return AfterStep(flow, step, wake);
}

void Session::Connected(Scheduler& scheduler) {
  phase_ = Phase::kRelaying;
  timer_.rseq = WordOfNow();
  const MonotonicTime now = scheduler.now();
  last_activity_ = now;
  if (const SessionTimes& wanted = times(); wanted.need_extras()) {
    SessionExtras& more = extras();
    more.client_active = more.server_active = now;
    more.up.pacer.Begin(wanted.rate_up, now);
    more.down.pacer.Begin(wanted.rate_down, now);
    // The connector has sent these.
    if (wanted.rate_up != 0) more.up.pacer.Take(up_.relay.bytes());
  }
  // Only the connector waits in the middle.
  up_.set_stackless(true);
  down_.set_stackless(true);
  up_.relay.set_fin_follows(true);
  down_.relay.set_fin_follows(true);
  down_.live = true;
  scheduler.SpawnAwaiting(down_, *server_, Direction::kRead);
  ArmTimer();
}

Next Session::AfterStep(Flow& flow, const Relay::Step& step, Wake wake) {
  PollDesc& source = flow.up ? *client_ : *server_;
  PollDesc& sink = flow.up ? *server_ : *client_;
  const Side from = flow.up ? Side::kClient : Side::kServer;
  switch (step.outcome) {
    case Relay::Outcome::kAwaitReadable:
      // A failed side has nothing more to come; and epoll may have refused the descriptor.
      if (phase_ == Phase::kResetting) break;
      if (wake == Wake::kNotPollable && !source.registered()) {
        Abort(CloseCause::kLocalResources, true);
        return Leave(flow);
      }
      return Next::AwaitReadable(source);
    case Relay::Outcome::kAwaitWritable:
      if (phase_ == Phase::kRelaying && !Heard(source)) return Leave(flow);
      HearOfReset(flow);
      if (wake == Wake::kNotPollable && !sink.registered()) {
        Abort(CloseCause::kLocalResources, true);
        return Leave(flow);
      }
      if (flow.relay.could_unpipe() && phase_ == Phase::kRelaying) ArmTimer();
      if (extras_ != nullptr && phase_ == Phase::kRelaying) NoteStuck(flow);
      return Next::AwaitWritable(sink);
    case Relay::Outcome::kGather:
      if (phase_ == Phase::kResetting) break;
      return Next::Pause();
    case Relay::Outcome::kYield:
      if (HasRate(flow) && !way(flow).pacer.Ready(scheduler().now())) return SleepForTokens(flow);
      return Next::Yield();
    case Relay::Outcome::kEnd:
      if (phase_ == Phase::kResetting) break;
      return OnEnd(flow);
    case Relay::Outcome::kSourceError:
      OnSideError(from, step.error);
      break;
    case Relay::Outcome::kSinkError:
      OnSideError(Other(from), step.error);
      break;
  }
  // One side has failed. If this direction comes from it, all that could be delivered was.
  if (phase_ == Phase::kResetting && &flow == &flow_from(failed_)) Finish();
  return Leave(flow);
}

bool Session::Heard(PollDesc& desc) {
  if (desc.registered() || scheduler().netpoll().Register(desc) == 0) return true;
  Abort(CloseCause::kLocalResources, true);
  return false;
}

// Its reset may have been reported together with bytes that were read first: nobody is told again.
void Session::HearOfReset(const Flow& flow) {
  const Side from = flow.up ? Side::kClient : Side::kServer;
  if (phase_ != Phase::kRelaying || (desc(from).edge_bits() & PollDesc::kError) == 0) return;
  OnSideError(from, 0);
}

// The source has ended and all of it was taken.
Next Session::OnEnd(Flow& flow) {
  SetCause(flow.up ? CloseCause::kClientFin : CloseCause::kServerFin);
  Flow& other = flow.up ? down_ : up_;
  if (other.done) {
    // Both have ended and nothing is left: the close sends the FIN that is missing.
    phase_ = Phase::kEnding;
    return Leave(flow);
  }
  PollDesc& sink = flow.up ? *server_ : *client_;
  const int error = kernel::Shutdown(sink.fd(), SHUT_WR);
  if (error != 0) {
    OnSideError(flow.up ? Side::kServer : Side::kClient, -error);
    return Leave(flow);
  }
  if (!Heard(flow.up ? *client_ : *server_)) return Leave(flow);
  flow.done = true;
  if (!flow.up) NoteServerWait();
  last_activity_ = scheduler().now();
  ArmHalfClosedTimer();
  return Leave(flow);
}

void Session::OnSideError(Side side, int error) {
  if (phase_ == Phase::kEnding || phase_ == Phase::kLingering) return;
  if (error == 0) {
    error = TakeSocketError(desc(side));
    if (error == 0) error = ECONNRESET;  // another call has eaten it
  }
  const bool client = side == Side::kClient;
  if (IsReset(error)) {
    SetCause(client ? CloseCause::kClientRst : CloseCause::kServerRst);
  } else {
    SetCause(client ? CloseCause::kClientNetError : CloseCause::kServerNetError);
  }
  if (cause_ == CloseCause::kClientFin || cause_ == CloseCause::kServerFin) {
    // It had begun to end in order, and did not: the reset is what happened to this connection.
    cause_ = client ? CloseCause::kClientRst : CloseCause::kServerRst;
  }
  if (phase_ == Phase::kResetting) {
    // The second side has failed as well: nothing is left to do for anybody.
    if (side != failed_) {
      reset_client_ = reset_server_ = true;
      phase_ = Phase::kEnding;
      WakeBoth();
    }
    return;
  }
  phase_ = Phase::kResetting;
  // No FIN any more.
  up_.relay.set_fin_follows(false);
  down_.relay.set_fin_follows(false);
  failed_ = side;
  reset_client_ = reset_server_ = true;
  // Wakes whoever waits there: the direction that still has bytes to deliver goes on without ever
  // waiting on this side again; the other one leaves.
  Scheduler& s = scheduler();
  s.Evict(desc(side));
  for (Flow* flow : {&up_, &down_}) {
    if (flow->live) s.Kick(*flow);
  }
  s.wheel().Cancel(timer_);
  s.wheel().Arm(timer_, s.now().PlusNs(times().delayed_close_ns));
  last_activity_ = s.now();
  Flow& survivor = flow_from(side);
  if (!survivor.live) Finish();
}

// The failed side has nothing more that could be delivered: wait for the other one's queue, then
// reset it.
void Session::Finish() {
  phase_ = Phase::kLingering;
  linger_doublings_ = 0;
  WakeBoth();
}

Next Session::Leave(Flow& flow) {
  flow.live = false;
  if (!up_.live && !down_.live) AllLeft();
  return Next::Done();
}

void Session::AllLeft() {
  if (phase_ == Phase::kLingering) {
    Linger();
    return;
  }
  PARKWAY_CHECK(phase_ == Phase::kEnding, "both directions left an open session");
  Close();
}

// Closes if the surviving side's kernel has delivered everything, else looks again later.
void Session::Linger() {
  Scheduler& s = scheduler();
  const PollDesc& survivor = desc(Other(failed_));
  const int64_t waited = s.now().ns() - last_activity_.ns();
  const int queued = kernel::SendQueueBytes(survivor.fd());
  if (queued <= 0 || waited >= times().delayed_close_ns) {
    if (queued > 0) unsent_ += static_cast<uint32_t>(queued);
    Close();
    return;
  }
  s.wheel().Cancel(timer_);
  const int64_t wait = std::min(kFirstLingerMs << linger_doublings_, kMostLingerMs);
  s.wheel().Arm(timer_, s.now().PlusNs(wait * kMillisecond));
  if (linger_doublings_ < kMostLingerDoublings) ++linger_doublings_;
}

// Frees the session.
void Session::Close() {
  SessionHost& worker = host();
  Scheduler& s = scheduler();
  const size_t lost_up = up_.relay.Drop(worker.tools);
  const size_t lost_down = down_.relay.Drop(worker.tools);
  unsent_ += static_cast<uint32_t>(lost_up + lost_down);
  // Who was to get the bytes that are dropped here must not take what came for all there was.
  if (lost_up > 0) reset_server_ = true;
  if (lost_down > 0) reset_client_ = true;
  s.wheel().Cancel(timer_);
  SessionEnd end;
  if (worker.wishes.tcp || worker.wishes.addresses || (worker.wishes.tcp_of_some && TellsOfTcp())) {
    end = Look();
  }
  int fds[2];
  int count = 0;
  for (PollDesc* desc : {server_, client_}) {
    if (desc == nullptr) continue;
    const int fd = desc->fd();
    s.End(*desc);
    if (desc == client_ ? reset_client_ : reset_server_) ResetOnClose(fd);
    if (vanish_client_ && desc == client_) VanishOnClose(fd);
    fds[count++] = fd;
  }
  CloseBoth(fds, count);
  worker.times.Release(times_);
  SessionExtras* const extras = extras_;
  worker.Finished(*this, end);
  if (extras != nullptr) worker.extras.Return(*extras);
}

void Session::FailConnect(CloseCause cause) {
  SetCause(cause);
  reset_client_ = true;
}

void Session::Refuse(CloseCause cause, Reject how) {
  SetCause(cause);
  reset_client_ = how == Reject::kRst;
  vanish_client_ = how == Reject::kDrop;
}

void Session::FailClient(int error) {
  Abort(IsReset(error) ? CloseCause::kClientRst : CloseCause::kClientNetError, true);
}

void Session::OnHangup(PollDesc& desc) {
  // A hang-up without an error is two FINs, which the relays find themselves.
  if ((desc.edge_bits() & PollDesc::kError) == 0) return;
  const Side side = &desc == client_ ? Side::kClient : Side::kServer;
  switch (phase_) {
    case Phase::kConnecting:
    case Phase::kQueued:
      // Whatever the connector waits for, the client has left.
      if (side == Side::kClient) Abort(CloseCause::kClientRst, true);
      return;
    case Phase::kRelaying:
      OnSideError(side, 0);
      return;
    case Phase::kResetting:
      if (side != failed_) OnSideError(side, 0);
      return;
    case Phase::kLingering:
      // The one whose queue is waited for is gone too.
      if (side != failed_ && !up_.live && !down_.live) Close();
      return;
    case Phase::kEnding:
      return;
  }
}

void Session::Abort(CloseCause cause, bool reset) {
  if (phase_ == Phase::kEnding) return;
  // A FIN was the beginning of an end in order, and this is not it.
  if (cause_ == CloseCause::kClientFin || cause_ == CloseCause::kServerFin) cause_ = cause;
  SetCause(cause);
  if (reset) reset_client_ = reset_server_ = true;
  if (phase_ == Phase::kRelaying && !reset) {
    // What the kernel still has for a direction is dropped as well.
    if (!up_.done && HasUnread(*client_)) reset_server_ = true;
    if (!down_.done && HasUnread(*server_)) reset_client_ = true;
  }
  if (phase_ == Phase::kQueued) host().LeaveQueue(*this);
  const bool lingering = phase_ == Phase::kLingering;
  phase_ = Phase::kEnding;
  WakeBoth();
  if (lingering && !up_.live && !down_.live) Close();
}

void Session::WakeBoth() {
  Scheduler& s = scheduler();
  s.Evict(*client_);
  if (server_ != nullptr) s.Evict(*server_);
  // The connector may be asleep between two attempts, a direction for tokens.
  for (Flow* flow : {&up_, &down_}) {
    if (flow->live) s.Kick(*flow);
  }
}

void Session::OnTimer() {
  switch (phase_) {
    case Phase::kConnecting:
    case Phase::kQueued:
    case Phase::kEnding:
      return;
    case Phase::kRelaying:
      LookAtTimes();
      return;
    case Phase::kResetting: {
      // Delivering what the failed side left behind has taken too long.
      phase_ = Phase::kEnding;
      WakeBoth();
      return;
    }
    case Phase::kLingering:
      if (!up_.live && !down_.live) Linger();
      return;
  }
}

}  // namespace parkway
