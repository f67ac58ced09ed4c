#include "proxy/self_report.h"

#include <string.h>

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "proxy/core/version.h"
#include "proxy/observe/collect.h"

namespace parkway {

ServiceView LookForService(const SelfParts& parts) {
  ServiceView view;
  view.connections = parts.crew.sessions();
  for (const auto& roster : parts.crew.shared().generations.current()->rosters) {
    view.servers += static_cast<uint32_t>(roster->present());
    for (size_t i = 0; i < roster->size(); ++i) {
      view.servers_up += !roster->plan_of(i).gone && roster->server(i).flags() == 0;
    }
  }
  view.first_round_done = parts.crew.first_checks_done();
  view.stopping = parts.ending.asked();
  view.stop_left = parts.ending.left();
  view.drains = parts.drains.List();
  // What is left of a stop is told by itself.
  std::erase_if(view.drains, [](const DrainProgress& drain) {
    return drain.ended || drain.what == DrainDesk::kStop;
  });
  return view;
}

void AddOwn(const SelfParts& parts, Readings& readings) {
  ProcessReading& process = readings.process;
  process.log_dropped += parts.log.dropped();
  process.version = parts.version;
  process.version_date = kVersionDate;
  process.pipes_max = parts.crew.pipes_max();
  process.stopping = parts.ending.asked();
  process.ready = !process.stopping;
  const ReloadState& state = parts.reloader.state();
  process.generation = state.generation;
  process.connection_limit = parts.crew.shared().limit.limit();
  process.memory_limit_bytes = parts.memory.limit_bytes();
  process.memory_counted_bytes = parts.memory.used_bytes();
  process.memory_short = parts.memory.holds();
  process.memory_pauses = parts.memory.pauses();
  process.reload.last_ok = state.last_ok;
  if (!state.last_ok) process.reload.last_error = state.last_text;
  process.reload.last_success = state.loaded_at;
  process.reload.reloads = state.reloads;
  process.reload.reloads_refused = state.refused;
  for (const DrainProgress& drain : parts.drains.List()) {
    if (drain.ended) continue;
    process.drain.draining = true;
    process.drain.what = drain.what;
    process.drain.began_with += drain.total;
    process.drain.left += drain.left;
    process.drain.time_left = std::max(process.drain.time_left, drain.over - drain.passed);
  }
  for (ListenerReading& listener : readings.listeners) {
    if (parts.holds.holds(listener.name)) listener.state = ListenerReading::State::kPaused;
  }
  readings.dns = parts.members.Dns();
  std::map<std::string, ServersFileReading> files;
  for (const ServersFileStatus& file : parts.members.Files()) {
    files[file.upstream] = {.path = file.path, .servers = file.servers, .error = file.error};
  }
  for (UpstreamReading& upstream : readings.upstreams) {
    if (const auto file = files.find(upstream.name); file != files.end()) {
      upstream.servers_file = file->second;
    }
  }
  if (!process.stopping) return;
  process.drain.draining = true;
  process.drain.what = DrainDesk::kStop;
  process.drain.left = process.connections;
  process.drain.time_left = parts.ending.left();
  for (ListenerReading& listener : readings.listeners) {
    listener.state = ListenerReading::State::kDraining;
  }
}

std::string StartLine(const std::string& version, uint32_t workers, const Plan& plan) {
  std::string listeners;
  for (const auto& listener : plan.listeners) {
    absl::StrAppend(&listeners, listeners.empty() ? "" : ",", listener->address.ToString());
  }
  ProcessReading system;
  ReadSystem(system);
  return absl::StrCat("parkway ", version, " started: pid=", system.pid, " workers=", workers,
                      " listeners=", listeners, " max_connections=", plan.max_connections,
                      " nofile=", system.fds_max);
}

std::string LineOf(const ServerChange& change) {
  const UpstreamPlan& upstream = change.plan;
  std::string what;
  switch (change.what) {
    case ServerChange::What::kEjected:
      what = absl::StrCat("ejected for ", absl::FormatDuration(change.how_long), " after ",
                          change.failures, " failed connects, the last: ", strerror(change.error));
      break;
    case ServerChange::What::kReturned:
      what =
          absl::StrCat("takes connections again, after ",
                       absl::FormatDuration(absl::Trunc(change.how_long, absl::Milliseconds(1))));
      break;
  }
  return absl::StrCat("upstream ", upstream.name, " server ", upstream.servers[change.server].name,
                      ": ", what);
}

}  // namespace parkway
