#include "proxy/observe/log_format.h"

#include <string.h>

#include <algorithm>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "proxy/observe/json_line.h"
#include "proxy/observe/termination_state.h"

namespace parkway {

namespace {

constexpr double kNsPerSecond = 1e9;
constexpr double kNsPerMs = 1e6;
constexpr int64_t kUsPerMs = 1000;
constexpr int64_t kMsPerSecond = 1000;
constexpr int64_t kNsPerUs = 1000;

int64_t DurationUs(const ClosedRecord& record) {
  return (record.ended.ns() - record.started.ns()) / kNsPerUs;
}

// nullptr: no route took it.
template <typename Record>
const UpstreamPlan* UpstreamOf(const Plan& plan, const Record& record) {
  return record.upstream < plan.upstreams.size() ? plan.upstreams[record.upstream].get() : nullptr;
}

// nullptr: it found none.
template <typename Record>
const ServerPlan* ServerOf(const UpstreamPlan* upstream, const Record& record) {
  return upstream == nullptr || record.attempts == 0 ? nullptr : &upstream->servers[record.server];
}

bool Known(const PackedAddress& address) { return address != PackedAddress(); }

// Without the port, and without the brackets that the port needs.
std::string HostOf(const PackedAddress& address) {
  std::string text = address.ToString();
  text.resize(std::min(text.rfind(':'), text.size()));
  text.erase(std::remove_if(text.begin(), text.end(), [](char c) { return c == '[' || c == ']'; }),
             text.end());
  return text;
}

// An address as HAProxy writes it: IPv6 without brackets, and a number for what has no port.
std::string HaproxyAddress(const PackedAddress& address) {
  if (address.is_unix()) return "unix:1";
  return absl::StrCat(HostOf(address), ":", address.port());
}

// Control characters would break the line.
std::string Escaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\r') {
      escaped += "\\r";
    } else if (c == '\n') {
      escaped += "\\n";
    } else if (c < ' ' || c > '~' || c == '"' || c == '\\') {
      absl::StrAppendFormat(&escaped, "\\x%02x", static_cast<uint8_t>(c));
    } else {
      escaped += c;
    }
  }
  return escaped;
}

const char* CloserName(FirstCloser closer) {
  switch (closer) {
    case FirstCloser::kClient:
      return "client";
    case FirstCloser::kServer:
      return "server";
    case FirstCloser::kProxy:
      break;
  }
  return "proxy";
}

// Not by printf's floating point, which took longer than all else in a line.
void AppendMs(int64_t us, std::string& line) {
  absl::StrAppend(&line, us / kUsPerMs, ".", absl::Dec(us % kUsPerMs, absl::kZeroPad3), "ms");
}

// To the nearest millisecond.
void AppendSeconds(int64_t us, std::string& line) {
  const int64_t ms = (us + kUsPerMs / 2) / kUsPerMs;
  absl::StrAppend(&line, ms / kMsPerSecond, ".", absl::Dec(ms % kMsPerSecond, absl::kZeroPad3),
                  "s");
}

// Those that HAProxy's line has no place for.
void AppendWhoWasSlow(const ClosedRecord& record, std::string& line) {
  if (record.phase != EndPhase::kRelaying) return;
  if (record.first_byte_us >= 0) {
    line += " first_byte=";
    AppendMs(record.first_byte_us, line);
  }
  if (record.limited_by != LimitedBy::kUnknown) {
    absl::StrAppend(&line, " limited_by=", LimitedByName(record.limited_by));
  }
  const auto side = [&line](const char* name, const TcpFacts& facts) {
    if (!facts.known) return;
    absl::StrAppend(&line, " ", name, "_rtt=");
    AppendMs(facts.rtt_us, line);
    absl::StrAppend(&line, " ", name, "_retrans=", facts.retransmits);
  };
  side("client", record.client_tcp);
  side("server", record.server_tcp);
}

// What is left of a moment below its second.
int64_t MicrosOf(absl::Time when) {
  constexpr int64_t kUsPerSecond = 1'000'000;
  return absl::ToUnixMicros(when) - absl::ToUnixSeconds(when) * kUsPerSecond;
}

const char* StageName(StageRecord::What what) {
  switch (what) {
    case StageRecord::What::kOpen:
      return "open";
    case StageRecord::What::kConnect:
      return "connect";
    case StageRecord::What::kProgress:
      break;
  }
  return "progress";
}

void AppendTcp(const char* side, const TcpFacts& facts, JsonLine& json) {
  if (!facts.known) return;
  json.Number(absl::StrCat(side, "_rtt_us"), facts.rtt_us);
  json.Number(absl::StrCat(side, "_min_rtt_us"), facts.min_rtt_us);
  json.Number(absl::StrCat(side, "_retrans"), facts.retransmits);
  json.Number(absl::StrCat(side, "_rwnd_limited_ms"), facts.rwnd_limited_us / kUsPerMs);
}

}  // namespace

void LogFormatter::Append(const ClosedRecord& record, uint16_t worker, LogFormat format,
                          std::string& line) const {
  switch (format) {
    case LogFormat::kKeyValue:
      return AppendKeyValue(record, line);
    case LogFormat::kTcplog:
      return AppendTcplog(record, worker, line);
    case LogFormat::kJson:
      return AppendJson(record, worker, line);
  }
}

void LogFormatter::AppendKeyValue(const ClosedRecord& record, std::string& line) const {
  const ListenerPlan& listener = *plan_.listeners[record.listener];
  const UpstreamPlan* upstream = UpstreamOf(plan_, record);
  const ServerPlan* server = ServerOf(upstream, record);
  absl::StrAppend(&line, "client=", record.client.ToString(), " listener=", listener.name,
                  " upstream=", upstream == nullptr ? "-" : upstream->name,
                  " server=", server == nullptr ? "-" : TargetOf(*server, listener).ToString());
  absl::StrAppend(&line, " bytes_in=", record.bytes_up, " bytes_out=", record.bytes_down,
                  " duration=");
  AppendSeconds(DurationUs(record), line);
  absl::StrAppend(&line, " cause=", CloseCauseName(record.cause), " attempts=", record.attempts,
                  " unsent=", record.unsent_bytes);
  AppendWhoWasSlow(record, line);
}

void LogFormatter::AppendTcplog(const ClosedRecord& record, uint16_t worker,
                                std::string& line) const {
  const std::string& listener = plan_.listeners[record.listener]->name;
  const UpstreamPlan* upstream = UpstreamOf(plan_, record);
  const ServerPlan* server = ServerOf(upstream, record);
  const bool served = record.attempts > 0 || record.queue_place > 0;
  const int64_t queued_ms = served ? record.queued_us / kUsPerMs : -1;
  const int64_t connect_ms =
      record.connected_us < 0
          ? -1
          : std::max<int64_t>(record.connected_us - record.queued_us, 0) / kUsPerMs;
  const absl::Time started = WallOf(record.started);
  absl::StrAppend(&line, HaproxyAddress(record.client), " [", local_.Of(started), ".",
                  absl::Dec(MicrosOf(started) / kUsPerMs, absl::kZeroPad3), "] ", listener, " ",
                  upstream == nullptr ? listener : upstream->name, "/",
                  server == nullptr ? "<NOSRV>" : server->name);
  absl::StrAppend(&line, " ", queued_ms, "/", connect_ms, "/", DurationUs(record) / kUsPerMs, " ",
                  record.bytes_down, " ", TerminationState(record));
  absl::StrAppend(&line, " ", record.process_connections, "/", record.listener_connections, "/",
                  record.upstream_connections, "/", record.server_connections,
                  record.redispatched ? "/+" : "/", std::max(record.attempts - 1, 0), " 0/",
                  record.queue_place);
  absl::StrAppend(&line, " cause=", CloseCauseName(record.cause), " bytes_in=", record.bytes_up,
                  " unsent=", record.unsent_bytes);
  AppendWhoWasSlow(record, line);
  absl::StrAppend(&line, " conn_id=", record.id, " thread=", worker,
                  " generation=", record.generation);
}

void LogFormatter::AppendUtc(MonotonicTime when, JsonLine& json) const {
  const absl::Time wall = WallOf(when);
  json.Text("ts",
            absl::StrCat(utc_.Of(wall), ".", absl::Dec(MicrosOf(wall), absl::kZeroPad6), "Z"));
}

void LogFormatter::AppendJson(const ClosedRecord& record, uint16_t worker,
                              std::string& line) const {
  const ListenerPlan& listener = *plan_.listeners[record.listener];
  const UpstreamPlan* upstream = UpstreamOf(plan_, record);
  const ServerPlan* server = ServerOf(upstream, record);
  JsonLine json(line);
  AppendUtc(record.ended, json);
  json.Text("event", "close");
  // A number of this size is none to every reader of JSON.
  json.Text("conn_id", absl::StrCat(record.id));
  json.Text("listener", listener.name);
  json.Text("client_addr", HostOf(record.client));
  if (!record.client.is_unix()) json.Number("client_port", record.client.port());
  if (Known(record.local)) json.Text("local_addr", record.local.ToString());
  // Whoever sent the PROXY header that says who the client is.
  if (Known(record.peer)) json.Text("proxy_addr", record.peer.ToString());
  json.TextIf("sni", record.sni.view());
  json.TextIf("alpn", record.alpn.view());
  json.TextIf("upstream", upstream == nullptr ? std::string_view() : upstream->name);
  if (server != nullptr) {
    json.Text("server", server->name);
    json.Text("server_addr", TargetOf(*server, listener).ToString());
  }
  if (Known(record.source)) json.Text("source_addr", record.source.ToString());
  json.Number("attempts", record.attempts);
  json.Ms("queue_ms", record.queued_us);
  json.Ms("connect_ms", record.connected_us < 0
                            ? -1
                            : std::max<int64_t>(record.connected_us - record.queued_us, 0));
  json.Ms("first_byte_ms", record.first_byte_us);
  json.Ms("duration_ms", DurationUs(record));
  json.Number("bytes_in", record.bytes_up);
  json.Number("bytes_out", record.bytes_down);
  json.Number("spliced_bytes", record.spliced_bytes);
  json.Text("cause", CloseCauseName(record.cause));
  json.Text("ha_state", TerminationState(record));
  json.Text("first_closer", CloserName(record.first_closer));
  json.Number("unsent_bytes", record.unsent_bytes);
  AppendTcp("client", record.client_tcp, json);
  AppendTcp("server", record.server_tcp, json);
  if (record.limited_by != LimitedBy::kUnknown) {
    json.Text("limited_by", LimitedByName(record.limited_by));
  }
  json.Number("actconn", record.process_connections);
  json.Number("feconn", record.listener_connections);
  json.Number("beconn", record.upstream_connections);
  json.Number("srvconn", record.server_connections);
  json.Number("retries", static_cast<uint64_t>(std::max(record.attempts - 1, 0)));
  json.Number("backend_queue", record.queue_place);
  json.Number("thread", worker);
  json.Number("config_generation", record.generation);
}

void LogFormatter::Append(const StageRecord& record, uint16_t worker, std::string& line) const {
  const ListenerPlan& listener = *plan_.listeners[record.listener];
  const UpstreamPlan* upstream = UpstreamOf(plan_, record);
  const ServerPlan* server = ServerOf(upstream, record);
  JsonLine json(line);
  AppendUtc(record.when, json);
  json.Text("event", StageName(record.what));
  json.Text("conn_id", absl::StrCat(record.id));
  json.Text("listener", listener.name);
  json.Text("client_addr", HostOf(record.client));
  if (!record.client.is_unix()) json.Number("client_port", record.client.port());
  if (record.what != StageRecord::What::kOpen) {
    json.TextIf("upstream", upstream == nullptr ? std::string_view() : upstream->name);
    if (server != nullptr) {
      json.Text("server", server->name);
      json.Text("server_addr", TargetOf(*server, listener).ToString());
    }
    json.Number("attempts", record.attempts);
    json.Ms("queue_ms", record.queued_us);
    json.Ms("connect_ms", std::max<int64_t>(record.connected_us - record.queued_us, 0));
    json.Ms("duration_ms", (record.when.ns() - record.started.ns()) / kNsPerUs);
    json.Number("bytes_in", record.bytes_up);
    json.Number("bytes_out", record.bytes_down);
  }
  json.Number("thread", worker);
  json.Number("config_generation", record.generation);
}

// ---------------------------------------------------------------------------------------------
// What is not a connection

namespace {

std::string HealthLine(const Plan& plan, const HealthRecord& record) {
  const UpstreamPlan& upstream = *plan.upstreams[record.upstream];
  const ServerPlan& server = upstream.servers[record.server];
  const std::string address = server.health.probe.address.ToString();
  std::string line = absl::StrCat(record.up ? "NOTICE" : "WARNING", ": upstream ", upstream.name,
                                  " server ", server.name, " is ", record.up ? "UP" : "DOWN", ": ",
                                  HealthWordName(record.word));
  if (record.error != 0) absl::StrAppend(&line, " (", strerror(record.error), ")");
  if (!record.answer.view().empty()) {
    absl::StrAppend(&line, " \"", Escaped(record.answer.view()), "\"");
  }
  if (address != server.name) absl::StrAppend(&line, " from ", address);
  absl::StrAppendFormat(&line, " after %.3fms, %d in a row; was %s ",
                        static_cast<double>(record.took_ns) / kNsPerMs, record.in_a_row,
                        record.up ? "down" : "up");
  if (record.since.ns() == 0) {
    line += "by assumption";
  } else {
    absl::StrAppendFormat(&line, "for %.3fs",
                          static_cast<double>(record.when.ns() - record.since.ns()) / kNsPerSecond);
  }
  absl::StrAppend(&line, "; ", record.servers_up, " of ", upstream.servers.size(), " servers up");
  return line;
}

}  // namespace

void LogFormatter::AppendEvent(const LogRecord& record, std::string& line) const {
  if (const auto* health = std::get_if<HealthRecord>(&record.what)) {
    line += HealthLine(plan_, *health);
  } else if (const auto* trouble = std::get_if<AcceptTroubleRecord>(&record.what)) {
    absl::StrAppend(&line, "listener ", plan_.listeners[trouble->listener]->name,
                    ": accept: ", strerror(trouble->error), "; paused, the backlog queues");
  } else if (const auto* pass = std::get_if<WouldRefuseRecord>(&record.what)) {
    absl::StrAppend(&line, "listener ", plan_.listeners[pass->listener]->name, ": dry_run: client ",
                    pass->client.ToString(), " would end with cause=", CloseCauseName(pass->cause));
  }
}

void LogFormatter::AddJournalFields(const LogRecord& record, JournalEntry& entry) const {
  const auto server = [&entry](const UpstreamPlan& upstream, size_t index) {
    entry.Add("L4_SERVER", absl::StrCat(upstream.name, "/", upstream.servers[index].name));
  };
  const auto listener = [&](uint16_t slot) {
    entry.Add("L4_LISTENER", plan_.listeners[slot]->name);
  };
  if (const ClosedRecord* closed = record.closed()) {
    entry.Add("L4_CONN_ID", absl::StrCat(closed->id));
    listener(closed->listener);
    const UpstreamPlan* upstream = UpstreamOf(plan_, *closed);
    if (ServerOf(upstream, *closed) != nullptr) server(*upstream, closed->server);
    entry.Add("L4_CAUSE", CloseCauseName(closed->cause));
  } else if (const StageRecord* stage = record.stage()) {
    entry.Add("L4_CONN_ID", absl::StrCat(stage->id));
    listener(stage->listener);
    const UpstreamPlan* upstream = UpstreamOf(plan_, *stage);
    if (ServerOf(upstream, *stage) != nullptr) server(*upstream, stage->server);
  } else if (const auto* health = std::get_if<HealthRecord>(&record.what)) {
    server(*plan_.upstreams[health->upstream], health->server);
  } else if (const auto* trouble = std::get_if<AcceptTroubleRecord>(&record.what)) {
    listener(trouble->listener);
  } else if (const auto* pass = std::get_if<WouldRefuseRecord>(&record.what)) {
    listener(pass->listener);
    entry.Add("L4_CAUSE", CloseCauseName(pass->cause));
  }
}

}  // namespace parkway
