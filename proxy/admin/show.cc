#include "proxy/admin/show.h"

#include "absl/time/time.h"
#include "config/text.h"
#include "proxy/admin/format.h"
#include "proxy/admin/show_json.h"

namespace parkway::admin {

using config::Append;
using config::Cat;
using config::Join;

namespace {

std::string Percent(double ratio) { return ShortNumber(ratio * 100) + "%"; }

std::string OfMost(uint64_t number, uint64_t most) {
  return most == 0 ? Cat(number) : Cat(number, "/", most);
}

std::string MicrosText(double us) {
  return us == 0 ? "-" : ShortTime(absl::Nanoseconds(static_cast<int64_t>(us * 1000)));
}

Json TcpJson(const TcpReading& tcp) {
  return {{"rtt", TimesJson(tcp.rtt)},
          {"retransmits", tcp.retransmits},
          {"rwnd_limited_s", Seconds(tcp.rwnd_limited)}};
}

Json CausesJson(const ByCause& closed) {
  Json causes = Json::object();
  for (size_t i = 1; i < closed.size(); ++i) {
    if (closed[i] > 0) causes[CloseCauseName(static_cast<CloseCause>(i))] = closed[i];
  }
  return causes;
}

uint64_t Sum(const ByCause& closed) {
  uint64_t sum = 0;
  for (const uint64_t number : closed) sum += number;
  return sum;
}

uint64_t PipesOf(const Readings& readings) {
  uint64_t sum = 0;
  for (const WorkerReading& worker : readings.workers) sum += worker.pipes;
  return sum;
}

bool Wanted(const UpstreamReading& upstream, std::string_view name) {
  return name.empty() || upstream.name == name;
}

std::string CheckText(const ServerReading& server) {
  if (!server.checked) return "-";
  return Cat(HealthWordName(server.last_check), " ", ShortTime(server.last_check_took));
}

std::vector<std::string> ServerColumns(const UpstreamReading& upstream,
                                       const ServerReading& server) {
  return {Cat(upstream.name, "/", server.name),
          server.address,
          ServerStateName(server.state),
          ShortTime(server.since),
          Cat(server.weight),
          OfMost(server.active, server.max_conns),
          Cat(server.total),
          Cat(server.connect_failures()),
          MicrosText(server.connect_time.QuantileUs(0.5)),
          ShortBytes(server.bytes_received),
          ShortBytes(server.bytes_sent),
          CheckText(server)};
}

Json ServerJson(const ServerReading& server) {
  Json json = {{"name", server.name},
               {"group", server.group},
               {"address", server.address},
               {"state", ServerStateName(server.state)},
               {"since_s", Seconds(server.since)},
               {"weight", server.weight},
               {"priority", server.priority},
               {"max_conns", server.max_conns},
               {"active", server.active},
               {"total", server.total},
               {"connect_attempts", server.connect_attempts},
               {"connect_failures", server.connect_failures()},
               {"connect_time", TimesJson(server.connect_time)},
               {"received_bytes", server.bytes_received},
               {"sent_bytes", server.bytes_sent},
               {"tcp", TcpJson(server.tcp)},
               {"ejections", server.ejections}};
  if (server.checked) {
    json["check"] = {{"last", HealthWordName(server.last_check)},
                     {"took_s", Seconds(server.last_check_took)},
                     {"passed", server.checks_passed},
                     {"failed", server.checks_failed},
                     {"transitions", server.transitions}};
  }
  return json;
}

}  // namespace

// ---------------------------------------------------------------------------------------------

std::string InfoText(const Readings& readings) {
  const ProcessReading& process = readings.process;
  double busy = 0;
  for (const WorkerReading& worker : readings.workers) busy += worker.busy_ratio;
  const double workers = std::max<double>(1, static_cast<double>(readings.workers.size()));
  const int64_t uptime = absl::ToInt64Seconds(process.uptime);
  std::string text;
  const auto line = [&text](std::string_view key, const auto& value) {
    Append(&text, key, ": ", value, "\n");
  };
  line("Name", "Parkway");
  line("Version", process.version);
  line("Release_date", process.version_date);
  line("Nbthread", readings.workers.size());
  line("Nbproc", 1);
  line("Process_num", 1);
  line("Pid", process.pid);
  line("Uptime", Cat(uptime / 86400, "d ", uptime % 86400 / 3600, "h", uptime % 3600 / 60, "m",
                     uptime % 60, "s"));
  line("Uptime_sec", uptime);
  line("Start_time_sec", absl::ToUnixSeconds(process.started));
  line("Ulimit-n", process.fds_max);
  line("Fds_open", process.fds_open);
  line("Maxconn", process.max_connections);
  line("Maxpipes", process.pipes_max);
  line("Connection_limit", process.connection_limit);
  line("CurrConns", process.connections);
  line("CumConns", process.accepted);
  line("PipesUsed", PipesOf(readings));
  line("Closed", process.closed);
  line("Bytes_from_clients", process.bytes_from_clients);
  line("Bytes_from_servers", process.bytes_from_servers);
  line("TotalBytesOut", process.bytes_from_servers);
  line("TotalSplicedBytesOut", process.splice_bytes);
  line("Bytes_unsent", process.bytes_unsent);
  line("Accept_pauses", process.accept_pauses);
  for (const auto& [name, count] : process.accept_errors) line(Cat("Accept_errors_", name), count);
  line("DroppedLogs", process.log_dropped);
  line("Idle_pct", static_cast<int64_t>(100 - 100 * busy / workers));
  line("Memory_resident", process.memory_resident_bytes);
  line("Memory_buffers", process.memory_buffers_bytes);
  line("Cpu_user", Cat(absl::ToInt64Milliseconds(process.cpu_user), "ms"));
  line("Cpu_system", Cat(absl::ToInt64Milliseconds(process.cpu_system), "ms"));
  line("Listeners", readings.listeners.size());
  line("Upstreams", readings.upstreams.size());
  line("Listener_slots", process.listener_slots);
  line("Listener_slots_used", process.listener_slots_used);
  line("Upstream_slots", process.upstream_slots);
  line("Upstream_slots_used", process.upstream_slots_used);
  line("Server_slots", process.server_slots);
  line("Server_slots_used", process.server_slots_used);
  line("node", process.node);
  line("Ready", process.ready ? 1 : 0);
  line("Stopping", process.stopping ? 1 : 0);
  line("Generation", process.generation);
  line("Reloads", process.reload.reloads);
  line("Reloads_refused", process.reload.reloads_refused);
  line("Last_reload", process.reload.last_ok ? "successful" : process.reload.last_error);
  return text;
}

Json InfoJson(const Readings& readings) {
  const ProcessReading& process = readings.process;
  Json errors = Json::object();
  for (const auto& [name, count] : process.accept_errors) errors[name] = count;
  return {{"name", "parkway"},
          {"version", process.version},
          {"node", process.node},
          {"pid", process.pid},
          {"taken", MomentOrNull(readings.taken)},
          {"started", MomentOrNull(process.started)},
          {"uptime_s", Seconds(process.uptime)},
          {"ready", process.ready},
          {"threads", readings.workers.size()},
          {"connections", process.connections},
          {"max_connections", process.max_connections},
          {"connection_limit", process.connection_limit},
          {"accepted", process.accepted},
          {"closed", process.closed},
          {"from_clients_bytes", process.bytes_from_clients},
          {"from_servers_bytes", process.bytes_from_servers},
          {"unsent_bytes", process.bytes_unsent},
          {"splice_bytes", process.splice_bytes},
          {"pipes", PipesOf(readings)},
          {"pipes_max", process.pipes_max},
          {"accept_pauses", process.accept_pauses},
          {"accept_errors", std::move(errors)},
          {"log_dropped", process.log_dropped},
          {"listener_slots", process.listener_slots},
          {"listener_slots_used", process.listener_slots_used},
          {"upstream_slots", process.upstream_slots},
          {"upstream_slots_used", process.upstream_slots_used},
          {"server_slots", process.server_slots},
          {"server_slots_used", process.server_slots_used},
          {"fds_open", process.fds_open},
          {"fds_max", process.fds_max},
          {"memory_resident_bytes", process.memory_resident_bytes},
          {"memory_buffers_bytes", process.memory_buffers_bytes},
          {"cpu_user_s", Seconds(process.cpu_user)},
          {"cpu_system_s", Seconds(process.cpu_system)},
          {"config",
           {{"generation", process.generation},
            {"last_reload_successful", process.reload.last_ok},
            {"last_error", process.reload.last_error},
            {"last_success", MomentOrNull(process.reload.last_success)},
            {"reloads", process.reload.reloads},
            {"reloads_refused", process.reload.reloads_refused}}},
          {"stopping", process.stopping},
          {"draining", process.drain.draining}};
}

// ---------------------------------------------------------------------------------------------

std::string ServersText(const Readings& readings, std::string_view upstream_name) {
  Columns columns({"SERVER", "ADDRESS", "STATE", "SINCE", ">WEIGHT", ">CONNS", ">TOTAL", ">FAILED",
                   ">CONNECT", ">IN", ">OUT", "CHECK"});
  for (const UpstreamReading& upstream : readings.upstreams) {
    if (!Wanted(upstream, upstream_name)) continue;
    // Those that a name stands for come below what they are together; names are in the order in
    // which the first of each comes.
    size_t told = 0;
    for (const ServerReading& server : upstream.servers) {
      if (told < upstream.names.size() && upstream.names[told].sum.name == server.group) {
        columns.Add(ServerColumns(upstream, upstream.names[told++].sum));
      }
      columns.Add(ServerColumns(upstream, server));
    }
  }
  return columns.ToString();
}

Json ServersJson(const Readings& readings, std::string_view upstream_name) {
  Json upstreams = Json::array();
  for (const UpstreamReading& upstream : readings.upstreams) {
    if (!Wanted(upstream, upstream_name)) continue;
    Json servers = Json::array();
    for (const ServerReading& server : upstream.servers) servers.push_back(ServerJson(server));
    Json names = Json::array();
    for (const UpstreamReading::Name& name : upstream.names) {
      Json& json = names.emplace_back(ServerJson(name.sum));
      json["servers"] = name.servers;
      json["servers_up"] = name.servers_up;
    }
    upstreams.push_back({{"name", upstream.name},
                         {"gone", upstream.gone},
                         {"used", upstream.used},
                         {"balance", upstream.balance},
                         {"servers_up", upstream.servers_up()},
                         {"queue_length", upstream.queue_length},
                         {"queue_max", upstream.queue_max},
                         {"queued", upstream.queued},
                         {"queue_time", TimesJson(upstream.queue_time)},
                         {"retries", upstream.retries},
                         {"redispatches", upstream.redispatches},
                         {"servers", std::move(servers)},
                         {"names", std::move(names)}});
    const ServersFileReading& file = upstream.servers_file;
    if (file.path.empty()) continue;
    upstreams.back()["servers_file"] = {
        {"path", file.path}, {"servers", file.servers}, {"error", file.error}};
  }
  return upstreams;
}

// ---------------------------------------------------------------------------------------------

std::string ListenersText(const Readings& readings) {
  Columns columns(
      {"LISTENER", "STATE", "UPSTREAM", ">CONNS", ">TOTAL", ">ENDED", ">IN", ">OUT", "ADDRESSES"});
  for (const ListenerReading& listener : readings.listeners) {
    columns.Add({listener.name, listener.gone ? "gone" : ListenerStateName(listener.state),
                 listener.upstream.empty() ? "(routes)" : listener.upstream,
                 OfMost(listener.active, listener.max_connections), Cat(listener.total),
                 Cat(Sum(listener.closed)), ShortBytes(listener.bytes_received),
                 ShortBytes(listener.bytes_sent), Join(listener.addresses, ",")});
  }
  return columns.ToString();
}

Json ListenersJson(const Readings& readings) {
  Json listeners = Json::array();
  for (const ListenerReading& listener : readings.listeners) {
    listeners.push_back({{"name", listener.name},
                         {"addresses", listener.addresses},
                         {"state", ListenerStateName(listener.state)},
                         {"gone", listener.gone},
                         {"upstream", listener.upstream},
                         {"active", listener.active},
                         {"max_connections", listener.max_connections},
                         {"total", listener.total},
                         {"closed", CausesJson(listener.closed)},
                         {"received_bytes", listener.bytes_received},
                         {"sent_bytes", listener.bytes_sent},
                         {"duration", TimesJson(listener.duration)},
                         {"tcp", TcpJson(listener.tcp)}});
  }
  return listeners;
}

// ---------------------------------------------------------------------------------------------

std::string ThreadsText(const Readings& readings) {
  Columns columns({">THREAD", ">CONNS", ">ACCEPTED", ">GIVEN", ">BUSY", ">LAG99", ">LONGEST",
                   ">FDS", ">STACKS", ">BUFFERS", ">PIPES", ">TIMERS", ">TURNS", "ANSWERS"});
  for (const WorkerReading& worker : readings.workers) {
    columns.Add({Cat(worker.index), Cat(worker.connections), Cat(worker.accepts),
                 Cat(worker.handed_over), Percent(worker.busy_ratio),
                 MicrosText(worker.loop_lag.QuantileUs(0.99)), ShortTime(worker.longest_turn),
                 Cat(worker.descriptors), OfMost(worker.stacks, worker.stacks_peak),
                 ShortBytes(worker.buffer_bytes), Cat(worker.pipes), Cat(worker.timers),
                 Cat(worker.turns), worker.answered ? "yes" : "no"});
  }
  return columns.ToString();
}

Json ThreadsJson(const Readings& readings) {
  Json threads = Json::array();
  for (const WorkerReading& worker : readings.workers) {
    threads.push_back({{"index", worker.index},
                       {"answered", worker.answered},
                       {"connections", worker.connections},
                       {"accepts", worker.accepts},
                       {"handed_over", worker.handed_over},
                       {"turns", worker.turns},
                       {"busy_ratio", worker.busy_ratio},
                       {"loop_lag", TimesJson(worker.loop_lag)},
                       {"turn_time", TimesJson(worker.turn_time)},
                       {"longest_turn_s", Seconds(worker.longest_turn)},
                       {"descriptors", worker.descriptors},
                       {"stacks", worker.stacks},
                       {"stacks_peak", worker.stacks_peak},
                       {"buffers", worker.buffers},
                       {"buffer_bytes", worker.buffer_bytes},
                       {"pipes", worker.pipes},
                       {"timers", worker.timers}});
  }
  return threads;
}

// ---------------------------------------------------------------------------------------------

std::string SlowestText(const Readings& readings) {
  Columns columns({"ID", "CLIENT", "LISTENER", "SERVER", ">AGE", ">IDLE", ">IN", ">OUT", ">PENDING",
                   ">RTT.C", ">RTT.S"});
  for (const SlowReading& conn : readings.slowest) {
    columns.Add({Cat(conn.id), conn.client, conn.listener, Cat(conn.upstream, "/", conn.server),
                 ShortTime(conn.age), ShortTime(conn.idle), ShortBytes(conn.bytes_received),
                 ShortBytes(conn.bytes_sent), ShortBytes(conn.waiting_bytes),
                 ShortTime(conn.rtt_client), ShortTime(conn.rtt_server)});
  }
  return columns.rows() == 0 ? "no connection is open\n" : columns.ToString();
}

Json SlowestJson(const Readings& readings) {
  Json slowest = Json::array();
  for (const SlowReading& conn : readings.slowest) {
    slowest.push_back({{"id", conn.id},
                       {"client", conn.client},
                       {"listener", conn.listener},
                       {"upstream", conn.upstream},
                       {"server", conn.server},
                       {"age_s", Seconds(conn.age)},
                       {"idle_s", Seconds(conn.idle)},
                       {"from_client_bytes", conn.bytes_received},
                       {"from_server_bytes", conn.bytes_sent},
                       {"pending_bytes", conn.waiting_bytes},
                       {"client_rtt_us", absl::ToDoubleMicroseconds(conn.rtt_client)},
                       {"server_rtt_us", absl::ToDoubleMicroseconds(conn.rtt_server)}});
  }
  return slowest;
}

}  // namespace parkway::admin
