#include "proxy/inbound/attempts.h"

#include <errno.h>

#include <string>
#include <vector>

#include "poller/check.h"
#include "poller/dial_race.h"
#include "poller/kernel.h"
#include "poller/pipe_pool.h"
#include "poller/socket.h"
#include "proxy/inbound/opening.h"
#include "proxy/inbound/syn_bytes.h"

namespace parkway {

namespace {

// Between two tries of what no event will announce: a full backlog of a unix listener, a
// descriptor that somebody may close.
constexpr int64_t kRetryPauseNs = 5'000'000;
constexpr int64_t kNoDescriptorPauseNs = 250'000'000;

bool OutOfDescriptors(int error) { return error == EMFILE || error == ENFILE; }

// Nothing will tell when it has become otherwise.
bool WorthAPause(int error) { return error == EAGAIN || OutOfDescriptors(error); }

}  // namespace

int Attempts::Connect(Session& session, const ServerPlan& server, const Heard& heard) {
  const MonotonicTime deadline = scheduler_.now() + server.connect_timeout;
  for (;;) {
    const int error = Once(session, server, heard, deadline);
    if (session.ended() || !WorthAPause(error)) return error;
    if (OutOfDescriptors(error)) MakeRoom();
    if (!session.client().registered() && scheduler_.netpoll().Register(session.client()) != 0) {
      return ENOBUFS;
    }
    const int64_t pause = OutOfDescriptors(error) ? kNoDescriptorPauseNs : kRetryPauseNs;
    static_cast<void>(scheduler_.SleepUntil(scheduler_.now().PlusNs(pause)));
    if (session.ended()) return ECANCELED;
    if (scheduler_.now() >= deadline) return error == EAGAIN ? ETIMEDOUT : error;
  }
}

// Fewer connections than descriptors were there for, and no pipe that lies idle.
void Attempts::MakeRoom() {
  rlimit descriptors;
  if (kernel::GetDescriptorLimit(&descriptors) == 0) limit_.FitToDescriptors(descriptors.rlim_cur);
  if (tools_.pipes != nullptr) tools_.pipes->DropIdle();
}

// From local addresses in turn; one that has no port left says nothing about the next.
Dial Attempts::DialFrom(Session& session, const ServerPlan& server, const Address& to, void* user,
                        SynData* first_bytes) {
  if (server.sources.empty())
    return DialStart(scheduler_, to, user, &server.sockets, nullptr, first_bytes);
  const uint32_t first =
      Balancer::NextSource(views_.now().roster(session.upstream), session.server_index);
  Dial dial;
  dial.error = EADDRNOTAVAIL;
  bool bound = false;
  for (size_t i = 0; i < server.sources.size(); ++i) {
    const Address& from = server.sources[(first + i) % server.sources.size()];
    if (from.family() != to.family()) continue;
    bound = true;
    dial = DialStart(scheduler_, to, user, &server.sockets, &from, first_bytes);
    if (dial.desc != nullptr || dial.error != EADDRNOTAVAIL) break;
  }
  return bound ? dial : DialStart(scheduler_, to, user, &server.sockets, nullptr, first_bytes);
}

int Attempts::Once(Session& session, const ServerPlan& server, const Heard& heard,
                   MonotonicTime deadline) {
  if (!server.candidates.empty()) return AnyOf(session, server, heard, deadline);
  if (server.sockets.fast_open != 0) return Fast(session, server, heard, deadline);
  Address offset;
  if (server.port_is_offset) {
    offset = TargetOf(server, views_.now().listener(session.listener));
  }
  const Address& target = server.port_is_offset ? offset : server.address;
  const Dial dial = DialFrom(session, server, target, &session);
  if (dial.desc == nullptr) return dial.error;
  session.set_server(dial.desc);
  // With a header the client's first bytes must not go ahead of it.
  const bool at_once = server.local && server.send_proxy == nullptr;
  int error = 0;
  // Before anything is said: another server could not be told it again.
  if (server.may_connect_to_itself && ConnectedToItself(*dial.desc, target)) {
    error = ECONNREFUSED;
  } else if (dial.in_progress) {
    error = Establish(session, *dial.desc, at_once, deadline);
  }
  return Conclude(session, server, heard, deadline, error);
}

// The same with what there is to say by now in the SYN.
int Attempts::Fast(Session& session, const ServerPlan& server, const Heard& heard,
                   MonotonicTime deadline) {
  const Address to = TargetOf(server, views_.now().listener(session.listener));
  SynBytes syn(session,
               server.send_proxy == nullptr ? "" : OpeningOf(session, *server.send_proxy, heard),
               tools_);
  const Dial dial = DialFrom(session, server, to, &session, syn.any() ? &syn.first() : nullptr);
  if (dial.desc == nullptr) return dial.error;
  session.set_server(dial.desc);
  int error = dial.in_progress ? Establish(session, *dial.desc, false, deadline) : 0;
  if (error == 0 && server.may_connect_to_itself && ConnectedToItself(*dial.desc, to)) {
    error = ECONNREFUSED;
  }
  if (error == 0) error = syn.Taken();
  return Conclude(session, server, heard, deadline, error, syn.header_sent());
}

// The first of a server's addresses that answers. Nothing of the client is sent before that.
int Attempts::AnyOf(Session& session, const ServerPlan& server, const Heard& heard,
                    MonotonicTime deadline) {
  if (!session.client().registered() && scheduler_.netpoll().Register(session.client()) != 0) {
    return ENOBUFS;
  }
  const ListenerPlan& listener = views_.now().listener(session.listener);
  std::vector<Address> targets;
  for (const Address& candidate : server.candidates) {
    targets.push_back(TargetOf(server, candidate, listener));
  }
  const RaceResult won = RaceDials(
      scheduler_, targets,
      {.delay_ns = absl::ToInt64Nanoseconds(server.happy_eyeballs_delay), .deadline = deadline},
      [&](const Address& to) { return DialFrom(session, server, to, nullptr); },
      [&session] { return session.ended(); });
  if (won.desc == nullptr) return won.error;
  // It may have ended while the losers were closed.
  if (session.ended()) {
    DialClose(scheduler_, *won.desc);
    return ECANCELED;
  }
  won.desc->set_user(&session);
  session.set_server(won.desc);
  const bool itself =
      server.may_connect_to_itself && ConnectedToItself(*won.desc, targets[won.winner]);
  return Conclude(session, server, heard, deadline, itself ? ECONNREFUSED : 0);
}

// The session's server is dialled, with this outcome.
int Attempts::Conclude(Session& session, const ServerPlan& server, const Heard& heard,
                       MonotonicTime deadline, int error, size_t header_sent) {
  PollDesc& desc = *session.server();
  if (error == 0 && server.send_proxy != nullptr) {
    error = Open(scheduler_, session, OpeningOf(session, *server.send_proxy, heard), header_sent,
                 deadline, tools_);
  }
  if (error == 0) return 0;
  // An ended session closes its descriptors itself.
  if (session.ended()) return error;
  session.set_server(nullptr);
  DialClose(scheduler_, desc);
  return error;
}

int Attempts::Establish(Session& session, PollDesc& desc, bool local, MonotonicTime deadline) {
  PollDesc& client = session.client();
  if (local && early_.WorthATry()) {
    const int error = SendEarlyBytes(session, desc);
    early_.Tried(error != EAGAIN);
    if (error != EAGAIN) return error;
  }
  // A server that is some way off answers after the client has said something: that is no reason to
  // wake up. A hang-up is.
  const uint8_t muted = PollDesc::kWriteMuted | (local ? 0 : PollDesc::kReadMuted);
  const bool first_wait = !client.registered();
  if (first_wait && scheduler_.netpoll().Register(client, muted) != 0) return ENOBUFS;
  const int error = DialFinish(scheduler_, desc, deadline);
  // If it had said something by now, epoll would have told with the server's answer or before, and
  // nobody but us has listened.
  if (error == 0 && local && first_wait && !client.IsLatched(Direction::kRead)) {
    session.up().set_source_drained();
  }
  return error;
}

int Attempts::SendEarlyBytes(Session& session, PollDesc& server) {
  Relay& up = session.up();
  // In hand from an earlier attempt: the relay sends them once somebody is connected.
  if (up.held() > 0 || up.source_ended()) return EAGAIN;
  if (!tools_.chunks->CanBorrow(Relay::kFirstReadBytes)) return EAGAIN;
  const IoResult got = TryRead(session.client(), tools_.buffer, Relay::kFirstReadBytes);
  if (got.failed()) {
    // This read has eaten the error; nobody else would see it again.
    session.FailClient(got.error);
    return got.error;
  }
  if (got.end) up.set_source_ended();
  if (got.drained) up.set_source_drained();
  if (got.bytes == 0) return EAGAIN;
  const IoResult sent = TryWrite(server, tools_.buffer, got.bytes);
  up.CountSent(sent.bytes);
  if (sent.bytes < got.bytes) {
    const bool held = up.Hold(tools_.buffer + sent.bytes, got.bytes - sent.bytes, tools_);
    PARKWAY_CHECK(held, "a chunk that was there before the read is gone");
  }
  if (sent.failed()) return sent.error;
  return sent.bytes > 0 ? 0 : EAGAIN;
}

}  // namespace parkway
