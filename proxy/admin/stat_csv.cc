#include "proxy/admin/stat_csv.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "config/text.h"

namespace parkway::admin {

using config::Cat;

namespace {

constexpr auto kColumns = std::to_array<std::string_view>({
    "pxname",
    "svname",
    "qcur",
    "qmax",
    "scur",
    "smax",
    "slim",
    "stot",
    "bin",
    "bout",
    "dreq",
    "dresp",
    "ereq",
    "econ",
    "eresp",
    "wretr",
    "wredis",
    "status",
    "weight",
    "act",
    "bck",
    "chkfail",
    "chkdown",
    "lastchg",
    "downtime",
    "qlimit",
    "pid",
    "iid",
    "sid",
    "throttle",
    "lbtot",
    "tracked",
    "type",
    "rate",
    "rate_lim",
    "rate_max",
    "check_status",
    "check_code",
    "check_duration",
    "hrsp_1xx",
    "hrsp_2xx",
    "hrsp_3xx",
    "hrsp_4xx",
    "hrsp_5xx",
    "hrsp_other",
    "hanafail",
    "req_rate",
    "req_rate_max",
    "req_tot",
    "cli_abrt",
    "srv_abrt",
    "comp_in",
    "comp_out",
    "comp_byp",
    "comp_rsp",
    "lastsess",
    "last_chk",
    "last_agt",
    "qtime",
    "ctime",
    "rtime",
    "ttime",
    "agent_status",
    "agent_code",
    "agent_duration",
    "check_desc",
    "agent_desc",
    "check_rise",
    "check_fall",
    "check_health",
    "agent_rise",
    "agent_fall",
    "agent_health",
    "addr",
    "cookie",
    "mode",
    "algo",
    "conn_rate",
    "conn_rate_max",
    "conn_tot",
    "intercepted",
    "dcon",
    "dses",
    "wrew",
    "connect",
    "reuse",
    "cache_lookups",
    "cache_hits",
    "srv_icur",
    "src_ilim",
    "qtime_max",
    "ctime_max",
    "rtime_max",
    "ttime_max",
    "eint",
    "idle_conn_cur",
    "safe_conn_cur",
    "used_conn_cur",
    "need_conn_est",
    "uweight",
    "agg_server_status",
    "agg_server_check_status",
    "agg_check_status",
});

consteval size_t At(std::string_view column) {
  for (size_t i = 0; i < kColumns.size(); ++i) {
    if (kColumns[i] == column) return i;
  }
  throw "no such column";
}

constexpr absl::Duration kLeastRateTime = absl::Seconds(1);

// The numbers of HAProxy's `type`.
enum class RowType { kFrontend = 0, kBackend = 1, kServer = 2 };

class Row {
 public:
  explicit Row(RowType type) : values_(kColumns.size()) {
    values_[At("type")] = Cat(static_cast<int>(type));
    values_[At("pid")] = "1";
    values_[At("mode")] = "tcp";
  }
  void Set(size_t column, uint64_t value) { values_[column] = Cat(value); }
  void Set(size_t column, std::string_view value) { values_[column] = std::string(value); }
  StatRow Take() { return std::move(values_); }

 private:
  StatRow values_;
};

uint64_t Closed(const ListenerReading& listener, std::initializer_list<CloseCause> causes) {
  uint64_t sum = 0;
  for (const CloseCause cause : causes) sum += listener.closed[static_cast<size_t>(cause)];
  return sum;
}

template <typename Times>
uint64_t MeanMs(const Times& times) {
  const uint64_t count = times.count();
  return count == 0 ? 0 : times.sum_us / count / 1000;
}

std::string_view FrontendStatus(const ListenerReading& listener) {
  if (listener.gone) return "STOP";
  return listener.state == ListenerReading::State::kAccepting ? "OPEN" : "PAUSED";
}

std::string_view ServerStatus(const ServerReading& server) {
  switch (server.state) {
    case ServerReading::State::kUp:
      return server.checked ? "UP" : "no check";
    case ServerReading::State::kDrain:
      return "DRAIN";
    case ServerReading::State::kDown:
    case ServerReading::State::kGone:
      return "MAINT";
    case ServerReading::State::kUnhealthy:
    case ServerReading::State::kEjected:
      break;
  }
  return "DOWN";
}

// HAProxy's words for our balance.
std::string_view AlgorithmOf(std::string_view balance) {
  if (balance == "round_robin") return "roundrobin";
  if (balance == "least_conn") return "leastconn";
  if (balance == "source_hash") return "source";
  return balance;
}

// What each row has, of connections that ended and are open.
void SetTraffic(Row& row, const StatHistory::Entry& known, uint64_t active, uint64_t total,
                uint64_t from_client, uint64_t to_client) {
  row.Set(At("scur"), active);
  row.Set(At("smax"), known.active_max);
  row.Set(At("stot"), total);
  row.Set(At("bin"), from_client);
  row.Set(At("bout"), to_client);
  row.Set(At("rate"), known.rate);
  row.Set(At("rate_max"), known.rate_max);
}

StatRow FrontendRow(const Readings& readings, const ListenerReading& listener, uint64_t number,
                    StatHistory& history) {
  Row row(RowType::kFrontend);
  row.Set(At("pxname"), listener.name);
  row.Set(At("svname"), "FRONTEND");
  const StatHistory::Entry& known =
      history.Note(listener.name, "FRONTEND", listener.total, listener.active, 0, readings.taken);
  SetTraffic(row, known, listener.active, listener.total, listener.bytes_received,
             listener.bytes_sent);
  row.Set(At("slim"), listener.max_connections > 0 ? listener.max_connections
                                                   : readings.process.max_connections);
  const uint64_t limited = Closed(listener, {CloseCause::kLimitListener, CloseCause::kLimitSource});
  row.Set(At("dreq"), Closed(listener, {CloseCause::kDenied}));
  row.Set(At("dresp"), uint64_t{0});
  row.Set(At("ereq"), Closed(listener, {CloseCause::kProxyHeaderBad, CloseCause::kPrereadTimeout,
                                        CloseCause::kNoRoute}));
  row.Set(At("status"), FrontendStatus(listener));
  row.Set(At("iid"), number);
  row.Set(At("sid"), uint64_t{0});
  row.Set(At("rate_lim"), uint64_t{0});
  row.Set(At("conn_rate"), known.rate);
  row.Set(At("conn_rate_max"), known.rate_max);
  row.Set(At("conn_tot"), listener.total);
  row.Set(At("intercepted"), uint64_t{0});
  row.Set(At("dcon"), limited);
  row.Set(At("dses"), uint64_t{0});
  row.Set(At("eint"), Closed(listener, {CloseCause::kInternal}));
  return row.Take();
}

StatRow ServerRow(const Readings& readings, const UpstreamReading& upstream,
                  const ServerReading& server, uint64_t upstream_number, uint64_t number,
                  StatHistory& history) {
  Row row(RowType::kServer);
  row.Set(At("pxname"), upstream.name);
  row.Set(At("svname"), server.name);
  const StatHistory::Entry& known =
      history.Note(upstream.name, server.name, server.total, server.active, 0, readings.taken);
  SetTraffic(row, known, server.active, server.total, server.bytes_sent, server.bytes_received);
  for (const size_t column : {At("qcur"), At("qmax"), At("dresp"), At("eresp"), At("wretr"),
                              At("wredis"), At("qtime"), At("rtime"), At("cli_abrt")}) {
    row.Set(column, uint64_t{0});
  }
  if (server.max_conns > 0) row.Set(At("slim"), server.max_conns);
  row.Set(At("econ"), server.connect_failures());
  row.Set(At("status"), ServerStatus(server));
  row.Set(At("weight"), server.weight);
  row.Set(At("uweight"), server.weight);
  row.Set(At("act"), uint64_t{server.priority == 0});
  row.Set(At("bck"), uint64_t{server.priority != 0});
  row.Set(At("lastchg"), static_cast<uint64_t>(absl::ToInt64Seconds(server.since)));
  row.Set(At("iid"), upstream_number);
  row.Set(At("sid"), number);
  row.Set(At("lbtot"), server.total);
  row.Set(At("addr"), server.address);
  row.Set(At("ctime"), MeanMs(server.connect_time));
  row.Set(At("connect"), server.connect_attempts);
  row.Set(At("used_conn_cur"), server.active);
  if (server.checked) {
    row.Set(At("chkfail"), server.checks_failed);
    row.Set(At("chkdown"), (server.transitions + 1) / 2);
    row.Set(At("check_status"), HealthWordName(server.last_check));
    row.Set(At("check_duration"),
            static_cast<uint64_t>(absl::ToInt64Milliseconds(server.last_check_took)));
  }
  return row.Take();
}

StatRow BackendRow(const Readings& readings, const UpstreamReading& upstream, uint64_t number,
                   StatHistory& history) {
  uint64_t active = 0, total = 0, from_client = 0, to_client = 0, failures = 0, attempts = 0;
  uint64_t weight = 0, first = 0, backup = 0;
  ShortTimes connect_time;
  for (const ServerReading& server : upstream.servers) {
    active += server.active;
    total += server.total;
    from_client += server.bytes_sent;
    to_client += server.bytes_received;
    failures += server.connect_failures();
    attempts += server.connect_attempts;
    connect_time.Add(server.connect_time);
    if (!server.up()) continue;
    weight += server.weight;
    ++(server.priority == 0 ? first : backup);
  }
  Row row(RowType::kBackend);
  row.Set(At("pxname"), upstream.name);
  row.Set(At("svname"), "BACKEND");
  const StatHistory::Entry& known =
      history.Note(upstream.name, "BACKEND", total, active, upstream.queue_length, readings.taken);
  SetTraffic(row, known, active, total, from_client, to_client);
  row.Set(At("qcur"), upstream.queue_length);
  row.Set(At("qmax"), known.queue_max);
  row.Set(At("qlimit"), upstream.queue_max);
  row.Set(At("slim"), readings.process.max_connections);
  for (const size_t column : {At("dreq"), At("dresp"), At("eresp"), At("cli_abrt"), At("chkdown"),
                              At("downtime"), At("sid"), At("rtime")}) {
    row.Set(column, uint64_t{0});
  }
  row.Set(At("econ"), failures);
  row.Set(At("wretr"), upstream.retries);
  row.Set(At("wredis"), upstream.redispatches);
  row.Set(At("status"), first + backup > 0 ? "UP" : "DOWN");
  row.Set(At("weight"), weight);
  row.Set(At("uweight"), weight);
  row.Set(At("act"), first);
  row.Set(At("bck"), backup);
  row.Set(At("iid"), number);
  row.Set(At("lbtot"), total);
  row.Set(At("qtime"), MeanMs(upstream.queue_time));
  row.Set(At("ctime"), MeanMs(connect_time));
  row.Set(At("algo"), AlgorithmOf(upstream.balance));
  row.Set(At("connect"), attempts);
  return row.Take();
}

}  // namespace

const StatHistory::Entry& StatHistory::Note(const std::string& proxy, const std::string& server,
                                            uint64_t total, uint64_t active, uint64_t queued,
                                            absl::Time now) {
  const auto [place, made] = rows_.try_emplace({proxy, server});
  Kept& kept = place->second;
  Entry& entry = kept.entry;
  kept.seen = true;
  // A name that was removed and came again counts from 0.
  if (made || total < entry.total) {
    entry.total = total;
    entry.begun = now;
  } else if (now - entry.begun >= kLeastRateTime) {
    entry.rate = static_cast<uint64_t>(
        static_cast<double>(total - entry.total) / absl::ToDoubleSeconds(now - entry.begun) + 0.5);
    entry.rate_max = std::max(entry.rate_max, entry.rate);
    entry.total = total;
    entry.begun = now;
  }
  entry.active_max = std::max(entry.active_max, active);
  entry.queue_max = std::max(entry.queue_max, queued);
  return entry;
}

void StatHistory::Sweep() {
  std::erase_if(rows_, [](const auto& row) { return !row.second.seen; });
  for (auto& [name, kept] : rows_) kept.seen = false;
}

std::span<const std::string_view> StatColumns() { return kColumns; }

std::vector<StatRow> StatRows(const Readings& readings, StatHistory& history) {
  std::vector<StatRow> rows;
  uint64_t number = 1;  // HAProxy's first is 2: the one before is its statistics' own
  for (const ListenerReading& listener : readings.listeners) {
    rows.push_back(FrontendRow(readings, listener, ++number, history));
  }
  for (const UpstreamReading& upstream : readings.upstreams) {
    ++number;
    uint64_t server_number = 0;
    for (const ServerReading& server : upstream.servers) {
      rows.push_back(ServerRow(readings, upstream, server, number, ++server_number, history));
    }
    rows.push_back(BackendRow(readings, upstream, number, history));
  }
  history.Sweep();
  return rows;
}

std::string StatHeader() {
  std::string line = "# ";
  for (const std::string_view column : kColumns) config::Append(&line, column, ",");
  return line;
}

// A value never has a comma of its own but in an address of several words; HAProxy quotes then.
std::string StatLine(const StatRow& row) {
  std::string line;
  for (const std::string& value : row) {
    if (value.find_first_of(",\"") == std::string::npos) {
      line += value;
    } else {
      line += '"';
      for (const char c : value) line += c == '"' ? "\"\"" : std::string(1, c);
      line += '"';
    }
    line += ',';
  }
  return line;
}

}  // namespace parkway::admin
