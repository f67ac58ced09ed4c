#include "proxy/admin/show_state.h"

#include "config/text.h"
#include "proxy/admin/format.h"
#include "proxy/admin/show_json.h"

namespace parkway::admin {

using config::Append;
using config::Cat;
using config::Join;

std::string DnsText(const Readings& readings) {
  Columns columns({"NAME", ">AGE", ">GOOD", ">FAILED", "ANSWERS", "LAST ERROR"});
  for (const DnsReading& name : readings.dns) {
    columns.Add({name.name, ShortTime(name.age), Cat(name.queries_ok), Cat(name.queries_failed),
                 name.answers.empty() ? "-" : Join(name.answers, ","),
                 name.last_error.empty() ? "-" : name.last_error});
  }
  std::string text = columns.rows() == 0 ? "no name is resolved\n" : columns.ToString();
  Columns files({"UPSTREAM", "SERVERS_FILE", ">SERVERS", "LAST ERROR"});
  for (const UpstreamReading& upstream : readings.upstreams) {
    const ServersFileReading& file = upstream.servers_file;
    if (file.path.empty()) continue;
    files.Add({upstream.name, file.path, Cat(file.servers), file.error.empty() ? "-" : file.error});
  }
  if (files.rows() > 0) Append(&text, "\n", files.ToString());
  return text;
}

Json DnsJson(const Readings& readings) {
  Json names = Json::array();
  for (const DnsReading& name : readings.dns) {
    names.push_back({{"name", name.name},
                     {"age_s", SecondsOrNull(name.age)},
                     {"last_error", name.last_error},
                     {"queries_ok", name.queries_ok},
                     {"queries_failed", name.queries_failed},
                     {"answers", name.answers}});
  }
  return names;
}

// ---------------------------------------------------------------------------------------------

std::string LimitsText(const Readings& readings) {
  const ProcessReading& process = readings.process;
  Columns columns({"LIMIT", ">USED", ">MOST", "SET BY"});
  columns.Add(
      {"connections", Cat(process.connections), Cat(process.max_connections), "max_connections"});
  if (process.connection_limit < process.max_connections) {
    columns.Add({"connections now", Cat(process.connections), Cat(process.connection_limit),
                 process.memory_short ? "memory is short" : "descriptors are short"});
  }
  if (process.memory_limit_bytes > 0) {
    columns.Add({"memory", ShortBytes(process.memory_counted_bytes),
                 ShortBytes(process.memory_limit_bytes), "memory_limit"});
  }
  columns.Add({"descriptors", Cat(process.fds_open), Cat(process.fds_max), "RLIMIT_NOFILE"});
  for (const ListenerReading& listener : readings.listeners) {
    if (listener.max_connections == 0 || listener.gone) continue;
    columns.Add({Cat("listener ", listener.name), Cat(listener.active),
                 Cat(listener.max_connections), "max_connections of the listener"});
  }
  for (const UpstreamReading& upstream : readings.upstreams) {
    for (const ServerReading& server : upstream.servers) {
      if (server.max_conns == 0) continue;
      columns.Add({Cat("server ", upstream.name, "/", server.name), Cat(server.active),
                   Cat(server.max_conns), "max_conns of the server"});
    }
    if (upstream.gone) continue;
    columns.Add({Cat("queue of ", upstream.name), Cat(upstream.queue_length),
                 Cat(upstream.queue_max), "queue_max"});
  }
  return columns.ToString();
}

Json LimitsJson(const Readings& readings) {
  const ProcessReading& process = readings.process;
  Json limits = {{"connections",
                  {{"used", process.connections},
                   {"most", process.max_connections},
                   {"most_now", process.connection_limit}}},
                 {"descriptors", {{"used", process.fds_open}, {"most", process.fds_max}}}};
  if (process.memory_limit_bytes > 0) {
    limits["memory"] = {{"used", process.memory_counted_bytes},
                        {"most", process.memory_limit_bytes},
                        {"short", process.memory_short},
                        {"pauses", process.memory_pauses}};
  }
  Json listeners = Json::object(), servers = Json::object(), queues = Json::object();
  for (const ListenerReading& listener : readings.listeners) {
    if (listener.max_connections == 0 || listener.gone) continue;
    listeners[listener.name] = {{"used", listener.active}, {"most", listener.max_connections}};
  }
  for (const UpstreamReading& upstream : readings.upstreams) {
    for (const ServerReading& server : upstream.servers) {
      if (server.max_conns == 0) continue;
      servers[Cat(upstream.name, "/", server.name)] = {{"used", server.active},
                                                       {"most", server.max_conns}};
    }
    if (upstream.gone) continue;
    queues[upstream.name] = {{"used", upstream.queue_length}, {"most", upstream.queue_max}};
  }
  limits["listeners"] = std::move(listeners);
  limits["servers"] = std::move(servers);
  limits["queues"] = std::move(queues);
  return limits;
}

// ---------------------------------------------------------------------------------------------

std::string DrainsText(const std::vector<DrainProgress>& drains) {
  Columns columns({">ID", "WHAT", "STATE", ">LEFT", ">OF", ">PASSED", ">OVER"});
  for (const DrainProgress& drain : drains) {
    columns.Add({Cat(drain.id), drain.what, drain.ended ? "ended" : "running", Cat(drain.left),
                 Cat(drain.total), ShortTime(drain.passed), ShortTime(drain.over)});
  }
  return columns.rows() == 0 ? "nothing drains\n" : columns.ToString();
}

Json DrainsJson(const std::vector<DrainProgress>& drains) {
  Json list = Json::array();
  for (const DrainProgress& drain : drains) {
    list.push_back({{"id", drain.id},
                    {"what", drain.what},
                    {"ended", drain.ended},
                    {"left", drain.left},
                    {"total", drain.total},
                    {"passed_s", Seconds(drain.passed)},
                    {"over_s", SecondsOrNull(drain.over)}});
  }
  return list;
}

std::string ReloadText(const ReloadState& state) {
  std::string text =
      Cat("# generation ", state.generation, ", applied ", ShownMoment(state.loaded_at),
          "\n# reloads: ", state.reloads, ", refused: ", state.refused, "\n");
  if (state.reloads > 0) {
    Append(&text, "# the last one, ", ShownMoment(state.last_at),
           state.last_ok ? ", was applied:\n" : ", was refused:\n");
    for (const std::string_view line : config::Split(state.last_text, '\n')) {
      if (!line.empty()) Append(&text, "#   ", line, "\n");
    }
  }
  return text;
}

Json ReloadJson(const ReloadState& state) {
  return {{"generation", state.generation}, {"loaded_at", MomentOrNull(state.loaded_at)},
          {"reloads", state.reloads},       {"refused", state.refused},
          {"last_ok", state.last_ok},       {"last_at", MomentOrNull(state.last_at)},
          {"last_text", state.last_text}};
}

}  // namespace parkway::admin
