// The times of a session: what its timer is armed for, what ends it when nothing moves, and how a
// direction sleeps that has used up its rate; and what it looks at before it closes.
#include <algorithm>

#include "poller/kernel.h"
#include "poller/socket_options.h"
#include "proxy/session/session.h"
#include "proxy/session/tcp_info.h"

namespace parkway {

namespace {

// See TellsOfTcp.
constexpr uint64_t kTellingBytes = 256 * 1024;
constexpr int64_t kTellingNs = 1'000'000'000;
constexpr uint64_t kOneOf = 32;
constexpr int64_t kMicrosecond = 1'000;
constexpr int64_t kMillisecond = 1'000'000;
// The first look of a session's timer: a connection that lives so long gets keepalive.
constexpr int64_t kFirstLookNs = 10'000 * kMillisecond;
// The next look where something has come that is still to be moved.
constexpr int64_t kSoonNs = 10 * kMillisecond;

// A sink that takes nothing for so long keeps no pipe, if a chunk holds the rest.
constexpr int64_t kPipePatienceNs = 1'000 * kMillisecond;

}  // namespace

void Session::NoteStep(Flow& flow, const Relay::Step& step, size_t held_before) {
  const MonotonicTime now = scheduler().now();
  const bool read = step.moved + flow.relay.held() > held_before;
  if (read) (flow.up ? extras_->client_active : extras_->server_active) = now;
  if (step.moved == 0) return;
  way(flow).stuck_since = MonotonicTime();
  (flow.up ? extras_->server_active : extras_->client_active) = now;
  if (way(flow).pacer.limited()) way(flow).pacer.Take(step.moved);
}

void Session::NoteStuck(Flow& flow) {
  MonotonicTime& since = way(flow).stuck_since;
  if (since != MonotonicTime()) return;
  since = scheduler().now();
  ArmTimer();
}

Next Session::SleepForTokens(Flow& flow) {
  if (!Heard(*client_) || !Heard(*server_)) return Leave(flow);
  HearOfReset(flow);
  if (phase_ != Phase::kRelaying) return Next::Yield();
  SessionExtras::Way& of = way(flow);
  extras_->paced_ns += of.pacer.ReadyAt().ns() - scheduler().now().ns();
  return Next::SleepUntil(of.sleep, of.pacer.ReadyAt());
}

// The same whenever it is asked for.
int64_t Session::LifetimeNs() const {
  const SessionTimes& of = times();
  const int64_t jitter = of.lifetime_ns / 100 * of.lifetime_jitter_percent;
  if (jitter <= 0) return of.lifetime_ns;
  // Multiplicative hashing (Knuth 6.4): ids follow one another.
  const uint64_t hash = (id_ ^ static_cast<uint64_t>(started_.ns())) * 0x9e3779b97f4a7c15u;
  return of.lifetime_ns -
         static_cast<int64_t>((hash >> 32) * static_cast<unsigned __int128>(jitter) >> 32);
}

Session::Due Session::NextDue() const {
  const SessionTimes& of = times();
  Due due = {MonotonicTime::InfiniteFuture(), CloseCause::kNone};
  const auto consider = [&due](MonotonicTime since, int64_t ns, CloseCause cause) {
    if (ns <= 0) return;
    const MonotonicTime when = since.PlusNs(ns);
    if (when < due.when) due = {when, cause};
  };
  if (half_closed() && of.half_close_ns > 0) {
    consider(last_activity_, of.half_close_ns, CloseCause::kHalfCloseTimeout);
  } else {
    if (extras_ != nullptr) {
      consider(extras_->client_active, of.client_idle_ns, CloseCause::kClientTimeout);
      consider(extras_->server_active, of.server_idle_ns, CloseCause::kServerTimeout);
    }
    consider(last_activity_, of.idle_ns, CloseCause::kIdle);
  }
  if (extras_ != nullptr && of.write_stall_ns > 0) {
    const auto stuck = [&](MonotonicTime since, CloseCause cause) {
      if (since != MonotonicTime()) consider(since, of.write_stall_ns, cause);
    };
    stuck(extras_->up.stuck_since, CloseCause::kServerTimeout);
    stuck(extras_->down.stuck_since, CloseCause::kClientTimeout);
  }
  if (of.lifetime_ns > 0) consider(started_, LifetimeNs(), CloseCause::kLifetime);
  return due;
}

void Session::ArmTimer() {
  Scheduler& s = scheduler();
  MonotonicTime when = NextDue().when;
  if (!server_tuned_) when = std::min(when, started_.PlusNs(kFirstLookNs));
  if (up_.relay.could_unpipe() || down_.relay.could_unpipe()) {
    when = std::min(when, std::max(last_activity_, s.now()).PlusNs(kPipePatienceNs));
  }
  s.wheel().Cancel(timer_);
  if (when != MonotonicTime::InfiniteFuture()) s.wheel().Arm(timer_, when);
}

// The half-close timeout may be the shortest, but than the first look.
void Session::ArmHalfClosedTimer() {
  if (server_tuned_ || times().half_close_ns < kFirstLookNs) ArmTimer();
}

void Session::LookAtTimes() {
  const int64_t now = scheduler().now().ns();
  if (!server_tuned_ && now >= started_.PlusNs(kFirstLookNs).ns()) {
    server_tuned_ = true;
    // A unix socket has none; nothing depends on it.
    SetKeepalive(server_->fd(), host().ServerKeepalive(*this));
  }
  if (now >= last_activity_.PlusNs(kPipePatienceNs).ns()) {
    for (Flow* flow : {&up_, &down_}) {
      // Without memory for it the pipe stays; the next look tries again.
      if (flow->relay.could_unpipe()) static_cast<void>(flow->relay.Unpipe(host().tools));
    }
  }
  const Due due = NextDue();
  if (scheduler().now() >= due.when) {
    // A thread that was kept from running finds the end of that time together with what came in it,
    // which is no silence: it is moved first.
    if (due.cause != CloseCause::kLifetime && (up_.queued() || down_.queued())) {
      scheduler().wheel().Cancel(timer_);
      scheduler().wheel().Arm(timer_, scheduler().now().PlusNs(kSoonNs));
      return;
    }
    Abort(due.cause, false);
    return;
  }
  ArmTimer();
}

// What is to be known of the sockets before they are closed.
bool Session::TellsOfTcp() const {
  if (bytes_up() + bytes_down() >= kTellingBytes) return true;
  if (scheduler().now().ns() - started_.ns() >= kTellingNs) return true;
  return id_ % kOneOf == 0;
}

SessionEnd Session::Look() {
  SessionEnd end;
  const auto name_of = [](const PollDesc& desc) {
    sockaddr_storage name = {};
    socklen_t length = sizeof(name);
    auto* any = reinterpret_cast<sockaddr*>(&name);
    if (kernel::GetSockName(desc.fd(), any, &length) != 0) return PackedAddress();
    return PackedAddress(Address::FromSockaddr(any, length));
  };
  const EndWishes& wishes = host().wishes;
  if (wishes.addresses) {
    end.local = name_of(*client_);
    if (server_ != nullptr) end.source = name_of(*server_);
  }
  if (!wishes.tcp && !(wishes.tcp_of_some && TellsOfTcp())) return end;
  end.client = ReadTcpFacts(client_->fd());
  if (server_ == nullptr || connected_after_us() < 0) return end;
  end.server = ReadTcpFacts(server_->fd());
  const int64_t now = scheduler().now().ns();
  Waits waits;
  waits.lived_us = (now - started_.ns()) / kMicrosecond - connected_after_us();
  waits.server_us = (static_cast<int64_t>(server_wait_) << kServerWaitShift) / kMicrosecond;
  waits.last_us = (now - last_activity_.ns()) / kMicrosecond;
  if (extras_ != nullptr) waits.paced_us = extras_->paced_ns / kMicrosecond;
  end.limited_by = Verdict(end.client, end.server, waits);
  return end;
}

}  // namespace parkway
