#include "proxy/worker_counts.h"

#include <cstdint>

#include "proxy/core/tcp_facts.h"

namespace parkway {

namespace {

constexpr uint64_t kNsPerUs = 1'000;

void CountTcp(const TcpFacts& facts, TcpStats& stats) {
  stats.rtt.Add(facts.rtt_us);
  stats.retransmits.Add(facts.retransmits);
  stats.rwnd_limited_us.Add(facts.rwnd_limited_us);
}

}  // namespace

void CountBegin(const Session& session, WorkerStats& stats) {
  stats.sessions_in.Add(1);
  stats.listeners.At(session.listener).begun.Add(1);
}

void CountBytes(Session& session, WorkerStats& stats) {
  const Session::Moved moved = session.TakeMoved();
  stats.bytes_up.Add(moved.up);
  stats.bytes_down.Add(moved.down);
  ListenerStats& listener = stats.listeners.At(session.listener);
  listener.bytes_received.Add(moved.up);
  listener.bytes_sent.Add(moved.down);
  // Where the last attempt went, whether it has come to something or not.
  if (session.attempts == 0) return;
  ServerStats& server = stats.server(session.upstream, session.server_index);
  server.bytes_sent.Add(moved.up);
  server.bytes_received.Add(moved.down);
}

void CountEnd(Session& session, const SessionEnd& end, MonotonicTime now, WorkerStats& stats) {
  CountBytes(session, stats);
  stats.sessions_out.Add(1);
  stats.bytes_unsent.Add(session.unsent_bytes());
  stats.closed[static_cast<size_t>(session.cause())].Add(1);
  ListenerStats& listener = stats.listeners.At(session.listener);
  listener.ended.Add(1);
  listener.closed.Add(session.upstream, session.cause());
  listener.duration.Add(static_cast<uint64_t>(now.ns() - session.started().ns()) / kNsPerUs);
  if (session.counted_upstream) stats.upstreams.At(session.upstream).ended.Add(1);
  if (end.client.known) CountTcp(end.client, listener.tcp);
  if (end.server.known) {
    CountTcp(end.server, stats.server(session.upstream, session.server_index).tcp);
  }
}

void CountRefused(size_t listener, CloseCause cause, WorkerStats& stats) {
  stats.closed[static_cast<size_t>(cause)].Add(1);
  stats.listeners.At(listener).closed.Add(ClosedStats::kNoUpstream, cause);
}

}  // namespace parkway
