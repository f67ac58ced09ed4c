#include "proxy/inbound/connector.h"

#include <errno.h>

#include <algorithm>

#include "poller/check.h"
#include "poller/dialer.h"
#include "poller/kernel.h"
#include "poller/socket.h"

namespace parkway {

namespace {

// Between two tries of what no event will announce: a full backlog of a unix listener, a
// descriptor that somebody may close.
constexpr int64_t kRetryPauseNs = 5'000'000;

bool WorthAPause(int error) { return error == EAGAIN; }

}  // namespace

Connector::Connector(Scheduler& scheduler, const Plan& plan, Balancer& balancer,
                     ConnectionLimit& limit, RelayTools& tools, WorkerStats& stats)
    : scheduler_(scheduler),
      plan_(plan),
      balancer_(balancer),
      limit_(limit),
      tools_(tools),
      stats_(stats) {}

bool Connector::Connect(Session& session) {
  const UpstreamPlan& upstream = plan_.upstreams[session.upstream];
  const size_t servers = upstream.servers.size();
  const size_t first = balancer_.Next(session.upstream, servers);
  const size_t attempts =
      std::min(servers, static_cast<size_t>(std::max(upstream.connect_attempts, 1)));
  int error = 0;
  for (size_t i = 0; i < attempts; ++i) {
    const size_t chosen = (first + i) % servers;
    session.server_index = static_cast<uint16_t>(chosen);
    ++session.attempts;
    stats_.connect_attempts.Add(1);
    const MonotonicTime deadline = scheduler_.now() + upstream.servers[chosen].connect_timeout;
    do {
      error = Attempt(session, upstream, chosen, deadline);
      if (session.ended()) return false;
      if (error == 0) return true;
      if (!WorthAPause(error)) break;
      if (!session.client().registered() && scheduler_.netpoll().Register(session.client()) != 0) {
        error = ENOBUFS;
        break;
      }
      static_cast<void>(scheduler_.SleepUntil(scheduler_.now().PlusNs(kRetryPauseNs)));
      if (session.ended()) return false;
      if (scheduler_.now() >= deadline) error = ETIMEDOUT;
    } while (WorthAPause(error));
    stats_.connect_failures.Add(1);
    if (error == EMFILE || error == ENFILE) {
      rlimit descriptors;
      if (kernel::GetDescriptorLimit(&descriptors) == 0) {
        limit_.FitToDescriptors(descriptors.rlim_cur);
      }
    }
  }
  session.FailConnect(CauseOf(error));
  return false;
}

int Connector::Attempt(Session& session, const UpstreamPlan& upstream, size_t chosen,
                       MonotonicTime deadline) {
  const ServerPlan& server = upstream.servers[chosen];
  const Dial dial = DialStart(scheduler_, server.address, &session, &server.sockets);
  if (dial.desc == nullptr) return dial.error;
  session.set_server(dial.desc);
  int error = dial.in_progress ? Establish(session, *dial.desc, server.local, deadline) : 0;
  if (error == 0 && server.may_connect_to_itself && ConnectedToItself(*dial.desc, server.address)) {
    error = ECONNREFUSED;
  }
  if (error == 0) return 0;
  // An ended session closes its descriptors itself.
  if (session.ended()) return error;
  session.set_server(nullptr);
  DialClose(scheduler_, *dial.desc);
  return error;
}

int Connector::Establish(Session& session, PollDesc& desc, bool local, MonotonicTime deadline) {
  if (local) {
    const int error = SendEarlyBytes(session, desc);
    if (error != EAGAIN) return error;
  }
  if (!session.client().registered() && scheduler_.netpoll().Register(session.client()) != 0) {
    return ENOBUFS;
  }
  return DialFinish(scheduler_, desc, deadline);
}

int Connector::SendEarlyBytes(Session& session, PollDesc& server) {
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
  stats_.bytes_up.Add(sent.bytes);
  if (sent.bytes < got.bytes) {
    const bool held = up.Hold(tools_.buffer + sent.bytes, got.bytes - sent.bytes, tools_);
    PARKWAY_CHECK(held, "a chunk that was there before the read is gone");
  }
  if (sent.failed()) return sent.error;
  return sent.bytes > 0 ? 0 : EAGAIN;
}

CloseCause Connector::CauseOf(int error) {
  switch (error) {
    case ECONNREFUSED:
    case ECONNRESET:
    case ENOENT:  // a unix socket that is not there
      return CloseCause::kConnectRefused;
    case ETIMEDOUT:
      return CloseCause::kConnectTimeout;
    case EADDRNOTAVAIL:
      return CloseCause::kLocalPortExhausted;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      return CloseCause::kLocalResources;
    default:
      return CloseCause::kConnectUnreachable;
  }
}

}  // namespace parkway
