#include "proxy/worker_log.h"

#include "proxy/closed_of.h"

namespace parkway {

void WorkerLog::WriteStage(const Session& session, StageRecord::What what) {
  if (!IsInSample(plan(), session)) return;
  LogRecord record;
  record.what = StageOf(session, what, views_.now().plan->generation, scheduler_.now());
  Write(record);
}

void WorkerLog::WriteEnd(const Session& session, const SessionEnd& end) {
  if (IsSkipped(plan(), session) || !IsInSample(plan(), session)) return;
  LogRecord record;
  ClosedRecord& closed =
      record.what.emplace<ClosedRecord>(ClosedOf(session, end, scheduler_.now()));
  closed.generation = views_.now().plan->generation;
  AddOthers(session, closed);
  Write(record);
}

// Who else was there. This one still counts everywhere.
void WorkerLog::AddOthers(const Session& session, ClosedRecord& record) const {
  uint64_t listener = 0;
  uint64_t upstream = 0;
  for (size_t i = 0; i < everybody_.stats.size(); ++i) {
    record.process_connections += everybody_.spread.load(i);
    const WorkerStats& stats = *everybody_.stats[i];
    if (const ListenerStats* of = stats.listeners.Find(session.listener)) {
      listener += of->begun.value() - of->ended.value();
    }
    if (const UpstreamStats* of = stats.upstreams.Find(session.upstream)) {
      upstream += of->begun.value() - of->ended.value();
    }
  }
  record.listener_connections = static_cast<uint32_t>(listener);
  if (!session.counted_upstream) return;
  record.upstream_connections = static_cast<uint32_t>(upstream) - 1;
  if (session.attempts == 0) return;
  const uint32_t server =
      views_.now().roster(session.upstream).server(session.server_index).connections();
  record.server_connections = server - (session.counted ? 1 : 0);
}

void WorkerLog::Refused(size_t listener, const Address& peer, CloseCause cause) {
  if (!plan().on()) return;
  ClosedRecord record;
  record.generation = views_.now().plan->generation;
  record.cause = cause;
  record.listener = static_cast<uint16_t>(listener);
  record.upstream = static_cast<uint16_t>(views_.now().listener(listener).upstream);
  record.client = PackedAddress(peer);
  record.started = record.ended = scheduler_.now();
  Write({.what = record});
}

void WorkerLog::WouldBeRefused(const Session& session, CloseCause cause) {
  Write({.what = WouldRefuseRecord{
             .listener = session.listener, .cause = cause, .client = session.client_address()}});
}

void WorkerLog::AcceptTrouble(size_t listener, int error) {
  Write({.what = AcceptTroubleRecord{.listener = static_cast<uint16_t>(listener), .error = error}});
}

void WorkerLog::Write(const LogRecord& record) {
  LogRecord numbered = record;
  numbered.worker = worker_;
  if (!ring_.Push(numbered)) stats_.log_dropped.Add(1);
}

}  // namespace parkway
