#include "proxy/observe/status_json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_format.h"
#include "proxy/observe/readiness.h"

namespace parkway {

namespace {

using Json = nlohmann::ordered_json;

constexpr double kUsPerSecond = 1e6;
constexpr double kRateDigits = 1'000;

Json Seconds(absl::Duration duration) {
  if (duration == absl::InfiniteDuration()) return nullptr;
  return absl::ToDoubleSeconds(duration);
}
double UnixSeconds(absl::Time time) { return absl::ToDoubleSeconds(time - absl::UnixEpoch()); }

// Null where nothing was measured.
template <typename Times>
Json Quantile(const Times& times, double q) {
  if (times.count() == 0) return nullptr;
  return times.QuantileUs(q) / kUsPerSecond;
}

Json Numbers(const std::vector<float>& values) {
  Json numbers = Json::array();
  for (const float value : values) {
    numbers.push_back(std::round(static_cast<double>(value) * kRateDigits) / kRateDigits);
  }
  return numbers;
}

Json Series(const HistorySeries& series) {
  Json json;
  if (!series.name.empty()) json["name"] = series.name;
  json["connections"] = Numbers(series.connections);
  json["new"] = Numbers(series.new_per_second);
  json["received"] = Numbers(series.received_per_second);
  json["sent"] = Numbers(series.sent_per_second);
  return json;
}

Json OfHistory(const HistoryView& history) {
  Json json;
  json["step"] = Seconds(history.step);
  json["last"] = UnixSeconds(history.last);
  json["process"] = Series(history.process);
  json["listeners"] = Json::array();
  for (const HistorySeries& series : history.listeners) {
    json["listeners"].push_back(Series(series));
  }
  json["upstreams"] = Json::array();
  for (const HistorySeries& series : history.upstreams) {
    json["upstreams"].push_back(Series(series));
  }
  return json;
}

Json OfProcess(const ProcessReading& p) {
  Json json = {
      {"version", p.version},
      {"pid", p.pid},
      {"started", UnixSeconds(p.started)},
      {"uptime", Seconds(p.uptime)},
      {"generation", p.generation},
      {"connections", p.connections},
      {"max_connections", p.max_connections},
      {"connection_limit", p.connection_limit},
      {"accepted", p.accepted},
      {"closed", p.closed},
      {"received", p.bytes_from_clients},
      {"sent", p.bytes_from_servers},
      {"unsent", p.bytes_unsent},
      {"fds_open", p.fds_open},
      {"fds_max", p.fds_max},
      {"memory", p.memory_resident_bytes},
      {"buffers", p.memory_buffers_bytes},
      {"cpu", Seconds(p.cpu_user + p.cpu_system)},
      {"log_dropped", p.log_dropped},
  };
  json["reload"] = {
      {"ok", p.reload.last_ok},
      {"error", p.reload.last_error},
      {"at", UnixSeconds(p.reload.last_success)},
      {"reloads", p.reload.reloads},
      {"refused", p.reload.reloads_refused},
      {"running", p.reload.running},
  };
  json["drain"] = {
      {"draining", p.drain.draining},
      {"what", p.drain.what},
      {"began_with", p.drain.began_with},
      {"left", p.drain.left},
      {"time_left", Seconds(p.drain.time_left)},
  };
  return json;
}

Json OfListener(const ListenerReading& l) {
  Json causes = Json::object();
  for (size_t i = 1; i < l.closed.size(); ++i) {
    if (l.closed[i] > 0) causes[CloseCauseName(static_cast<CloseCause>(i))] = l.closed[i];
  }
  return {
      {"name", l.name},
      {"addresses", l.addresses},
      {"state", l.gone ? "gone" : ListenerStateName(l.state)},
      {"upstream", l.upstream},
      {"active", l.active},
      {"max_connections", l.max_connections},
      {"total", l.total},
      {"received", l.bytes_received},
      {"sent", l.bytes_sent},
      {"causes", causes},
      {"duration_p50", Quantile(l.duration, 0.5)},
      {"duration_p99", Quantile(l.duration, 0.99)},
      {"rtt_p50", Quantile(l.tcp.rtt, 0.5)},
      {"rtt_p99", Quantile(l.tcp.rtt, 0.99)},
      {"retransmits", l.tcp.retransmits},
  };
}

Json OfServer(const ServerReading& s) {
  Json json = {
      {"name", s.name},
      {"address", s.address},
      {"state", ServerStateName(s.state)},
      {"weight", s.weight},
      {"priority", s.priority},
      {"max_conns", s.max_conns},
      {"active", s.active},
      {"total", s.total},
      {"attempts", s.connect_attempts},
      {"errors", s.connect_failures()},
      {"received", s.bytes_received},
      {"sent", s.bytes_sent},
      {"connect_p50", Quantile(s.connect_time, 0.5)},
      {"connect_p99", Quantile(s.connect_time, 0.99)},
      {"rtt_p50", Quantile(s.tcp.rtt, 0.5)},
      {"retransmits", s.tcp.retransmits},
      {"ejections", s.ejections},
      {"since", Seconds(s.since)},
  };
  if (s.checked) {
    json["check"] = {
        {"word", HealthWordName(s.last_check)},
        {"took", Seconds(s.last_check_took)},
        {"passed", s.checks_passed},
        {"failed", s.checks_failed},
        {"transitions", s.transitions},
    };
  }
  return json;
}

Json OfUpstream(const UpstreamReading& u) {
  Json json = {
      {"name", u.name},
      {"gone", u.gone},
      {"used", u.used},
      {"balance", u.balance},
      {"queue", u.queue_length},
      {"queue_max", u.queue_max},
      {"queued", u.queued},
      {"queue_p99", Quantile(u.queue_time, 0.99)},
      {"retries", u.retries},
      {"servers_up", u.servers_up()},
      {"server_count", u.servers.size()},
  };
  ShortTimes connects;
  uint64_t active = 0, total = 0, received = 0, sent = 0, errors = 0;
  std::vector<const ServerReading*> shown;
  for (const ServerReading& server : u.servers) {
    connects.Add(server.connect_time);
    active += server.active;
    total += server.total;
    received += server.bytes_received;
    sent += server.bytes_sent;
    errors += server.connect_failures();
    shown.push_back(&server);
  }
  json["active"] = active;
  json["total"] = total;
  json["received"] = received;
  json["sent"] = sent;
  json["errors"] = errors;
  json["connect_p50"] = Quantile(connects, 0.5);
  json["connect_p99"] = Quantile(connects, 0.99);
  if (shown.size() > kMostServers) {
    std::stable_partition(shown.begin(), shown.end(),
                          [](const ServerReading* server) { return !server->up(); });
    shown.resize(kMostServers);
  }
  json["servers"] = Json::array();
  for (const ServerReading* server : shown) json["servers"].push_back(OfServer(*server));
  json["names"] = Json::array();
  for (const UpstreamReading::Name& name : u.names) {
    if (json["names"].size() == kMostServers) break;
    Json& sum = json["names"].emplace_back(OfServer(name.sum));
    sum["servers"] = name.servers;
    sum["servers_up"] = name.servers_up;
  }
  return json;
}

Json OfWorker(const WorkerReading& w) {
  return {
      {"index", w.index},
      {"answered", w.answered},
      {"connections", w.connections},
      {"accepts", w.accepts},
      {"handed_over", w.handed_over},
      {"busy", w.busy_ratio},
      {"lag_p50", Quantile(w.loop_lag, 0.5)},
      {"lag_p99", Quantile(w.loop_lag, 0.99)},
      {"turns", w.turns},
      {"longest_turn", absl::ToDoubleSeconds(w.longest_turn)},
      {"stacks", w.stacks},
      {"buffer_bytes", w.buffer_bytes},
      {"pipes", w.pipes},
  };
}

Json OfSlow(const SlowReading& s, bool clients) {
  Json json = {
      // As text: a number of 64 bits is more than JavaScript has.
      {"id", absl::StrFormat("%x", s.id)},
      {"listener", s.listener},
      {"upstream", s.upstream},
      {"server", s.server},
      {"age", Seconds(s.age)},
      {"idle", Seconds(s.idle)},
      {"received", s.bytes_received},
      {"sent", s.bytes_sent},
      {"rtt_client", Seconds(s.rtt_client)},
      {"rtt_server", Seconds(s.rtt_server)},
      {"waiting", s.waiting_bytes},
  };
  if (clients) json["client"] = s.client;
  return json;
}

Json OfName(const DnsReading& d) {
  return {{"name", d.name},     {"age", Seconds(d.age)},      {"error", d.last_error},
          {"ok", d.queries_ok}, {"failed", d.queries_failed}, {"answers", d.answers}};
}

}  // namespace

std::string StatusJson(const Readings& readings, const HistoryView& history, bool clients) {
  Json json;
  json["taken"] = UnixSeconds(readings.taken);
  json["not_ready"] = NotReady(readings, "");
  json["process"] = OfProcess(readings.process);
  json["listener_count"] = readings.listeners.size();
  json["listeners"] = Json::array();
  for (const ListenerReading& listener : readings.listeners) {
    if (json["listeners"].size() == kMostShown) break;
    json["listeners"].push_back(OfListener(listener));
  }
  json["upstream_count"] = readings.upstreams.size();
  json["upstreams"] = Json::array();
  for (const UpstreamReading& upstream : readings.upstreams) {
    if (json["upstreams"].size() == kMostShown) break;
    json["upstreams"].push_back(OfUpstream(upstream));
  }
  json["workers"] = Json::array();
  for (const WorkerReading& worker : readings.workers) json["workers"].push_back(OfWorker(worker));
  json["slowest"] = Json::array();
  for (const SlowReading& slow : readings.slowest) {
    json["slowest"].push_back(OfSlow(slow, clients));
  }
  json["dns"] = Json::array();
  for (const DnsReading& name : readings.dns) json["dns"].push_back(OfName(name));
  json["history"] = OfHistory(history);
  // Names are the operator's bytes: what is no UTF-8 is replaced rather than refused.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace parkway
