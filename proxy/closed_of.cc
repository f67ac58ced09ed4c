#include "proxy/closed_of.h"

namespace parkway {

namespace {

constexpr int64_t kNsPerUs = 1'000;

bool InOrder(const Session& session) {
  return (session.cause() == CloseCause::kClientFin || session.cause() == CloseCause::kServerFin) &&
         session.connected_after_us() >= 0;
}

EndPhase PhaseOf(const Session& session) {
  if (session.connected_after_us() >= 0) return EndPhase::kRelaying;
  const SessionExtras* extras = session.extras_if_any();
  if (extras != nullptr && extras->in_line_since != MonotonicTime()) return EndPhase::kQueued;
  return session.attempts > 0 ? EndPhase::kConnecting : EndPhase::kReceiving;
}

FirstCloser CloserOf(const Session& session) {
  switch (session.cause()) {
    case CloseCause::kClientFin:
    case CloseCause::kClientRst:
    case CloseCause::kClientNetError:
      return FirstCloser::kClient;
    case CloseCause::kServerFin:
    case CloseCause::kServerRst:
    case CloseCause::kServerNetError:
    case CloseCause::kConnectRefused:
      return FirstCloser::kServer;
    default:
      break;
  }
  // One side had ended before something else ended the connection.
  if (session.client_ended()) return FirstCloser::kClient;
  return session.server_ended() ? FirstCloser::kServer : FirstCloser::kProxy;
}

void AddExtras(const SessionExtras& extras, MonotonicTime now, ClosedRecord& record) {
  int64_t queued_ns = extras.queued_ns;
  if (extras.in_line_since != MonotonicTime()) queued_ns += now.ns() - extras.in_line_since.ns();
  record.queued_us = queued_ns / kNsPerUs;
  record.queue_place = extras.queue_place;
  record.spliced_bytes = extras.spliced_bytes;
  record.peer = extras.peer;
  record.sni = decltype(record.sni)(extras.sni);
  record.alpn = decltype(record.alpn)(extras.alpn);
}

}  // namespace

bool IsSkipped(const LogPlan& plan, const Session& session) {
  if (plan.skip_normal && InOrder(session)) return true;
  // Whoever came, said nothing, heard nothing and left: a probe. Where something went wrong with
  // the server it is worth a line all the same.
  return plan.skip_null && session.bytes_up() == 0 && session.bytes_down() == 0 &&
         session.unsent_bytes() == 0 &&
         (session.cause() == CloseCause::kClientFin || session.cause() == CloseCause::kClientRst ||
          session.cause() == CloseCause::kServerFin);
}

bool IsInSample(const LogPlan& plan, const Session& session) {
  // By its number, well mixed.
  return plan.sample <= 1 || (session.id() * 0x9e3779b97f4a7c15u >> 32) % plan.sample == 0;
}

StageRecord StageOf(const Session& session, StageRecord::What what, uint64_t generation,
                    MonotonicTime now) {
  StageRecord record;
  record.what = what;
  record.attempts = session.attempts;
  record.listener = session.listener;
  record.upstream = session.upstream;
  record.server = session.server_index;
  record.id = session.id();
  record.generation = generation;
  record.client = session.client_address();
  record.bytes_up = session.bytes_up();
  record.bytes_down = session.bytes_down();
  record.started = session.started();
  record.when = now;
  record.connected_us = what == StageRecord::What::kConnect
                            ? (now.ns() - session.started().ns()) / kNsPerUs
                            : session.connected_after_us();
  if (const SessionExtras* extras = session.extras_if_any()) {
    record.queued_us = extras->queued_ns / kNsPerUs;
  }
  return record;
}

ClosedRecord ClosedOf(const Session& session, const SessionEnd& end, MonotonicTime now) {
  ClosedRecord record;
  record.id = session.id();
  record.listener = session.listener;
  record.upstream = session.upstream;
  record.server = session.server_index;
  record.cause = session.cause();
  record.phase = PhaseOf(session);
  record.first_closer = CloserOf(session);
  record.attempts = session.attempts;
  record.redispatched = session.redispatched;
  record.client = session.client_address();
  record.local = end.local;
  record.source = end.source;
  record.bytes_up = session.bytes_up();
  record.bytes_down = session.bytes_down();
  record.unsent_bytes = session.unsent_bytes();
  record.started = session.started();
  record.ended = now;
  record.connected_us = session.connected_after_us();
  record.first_byte_us = session.first_byte_after_us();
  record.client_tcp = end.client;
  record.server_tcp = end.server;
  record.limited_by = end.limited_by;
  if (const SessionExtras* extras = session.extras_if_any()) AddExtras(*extras, now, record);
  return record;
}

}  // namespace parkway
