#include "proxy/admin/conn_text.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "config/text.h"
#include "proxy/admin/format.h"

namespace parkway::admin {

using config::Append;
using config::Cat;

namespace {

constexpr int64_t kNsPerMs = 1'000'000;

std::string Nanos(int64_t ns) { return ShortTime(absl::Nanoseconds(ns)); }
std::string Micros(int64_t us) { return ShortTime(absl::Microseconds(us)); }
std::string Millis(int64_t ms) { return ShortTime(absl::Milliseconds(ms)); }

// 512 B, 64 KiB, 2.5 MiB.
std::string SpokenBytes(uint64_t bytes) {
  if (bytes < 1024) return Cat(bytes, " B");
  constexpr std::array kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  for (; value >= 1023.95 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  const bool whole = value == static_cast<double>(static_cast<uint64_t>(value)) || value >= 99.95;
  return absl::StrFormat("%.*f %s", whole ? 0 : 1, value, kUnits[unit]);
}

std::string ServerName(const ConnRow& row) {
  if (row.upstream.empty()) return "-";
  return row.has_server ? Cat(row.upstream, "/", row.server) : row.upstream;
}

std::string RttText(const ConnSide& side) { return side.tcp ? Micros(side.rtt_us) : "-"; }

// Why `sink` takes nothing more.
std::string Reason(const ConnSide& sink, std::string_view who) {
  if (!sink.tcp) return Cat("the ", who, " does not read");
  if (sink.window_bytes < sink.mss_bytes) return Cat(who, " receive window closed");
  if (sink.lost > 0) {
    return Cat(sink.lost, sink.lost == 1 ? " segment" : " segments", " lost on the way to the ",
               who, ", being sent again");
  }
  if (sink.unacked_bytes + sink.mss_bytes > sink.window_bytes) {
    return Cat(who, " receive window full");
  }
  if (sink.unacked_bytes + sink.mss_bytes > sink.cwnd_bytes) {
    return Cat("the network is slow: all that may be under way to the ", who,
               " is, and not acknowledged");
  }
  return Cat("the send buffer for the ", who, " is full");
}

std::string KernelHolds(const ConnSide& sink) {
  const uint64_t bytes = sink.unsent_bytes;
  return bytes == 0 ? "" : Cat(", ", SpokenBytes(bytes), " more in the kernel");
}

Json SideJson(const ConnSide& side) {
  if (!side.open) return nullptr;
  Json json = Json::object();
  if (side.peer.family() != 0) json["address"] = side.peer.ToString();
  if (side.local.family() != 0) json["local_address"] = side.local.ToString();
  if (!side.tcp) return json;
  json["rtt_us"] = side.rtt_us;
  json["min_rtt_us"] = side.min_rtt_us;
  json["rttvar_us"] = side.rttvar_us;
  json["mss_bytes"] = side.mss_bytes;
  json["cwnd_bytes"] = side.cwnd_bytes;
  json["window_bytes"] = side.window_bytes;
  json["unacked_bytes"] = side.unacked_bytes;
  json["unsent_bytes"] = side.unsent_bytes;
  json["lost"] = side.lost;
  json["retransmits"] = side.retransmits;
  json["delivery_rate"] = side.delivery_rate;
  json["rwnd_limited_us"] = side.rwnd_limited_us;
  json["sndbuf_limited_us"] = side.sndbuf_limited_us;
  json["last_sent_ms"] = side.last_sent_ms;
  json["last_received_ms"] = side.last_received_ms;
  return json;
}

std::string SideText(const ConnSide& side, std::string_view who) {
  if (!side.tcp) return "";
  return Cat(who, " tcp: rtt ", Micros(side.rtt_us), " +- ", Micros(side.rttvar_us), " (least ",
             Micros(side.min_rtt_us), "), window ", SpokenBytes(side.window_bytes), ", cwnd ",
             SpokenBytes(side.cwnd_bytes), ", under way ", SpokenBytes(side.unacked_bytes),
             ", not sent ", SpokenBytes(side.unsent_bytes), ", sent again ", side.retransmits,
             ", delivered ", SpokenBytes(side.delivery_rate), "/s, held up by the window ",
             Micros(static_cast<int64_t>(side.rwnd_limited_us)), ", last sent ",
             Millis(side.last_sent_ms), " ago, last received ", Millis(side.last_received_ms),
             " ago\n");
}

std::string Ordinal(int number) {
  if (number <= 1) return "at the first attempt";
  return Cat("at attempt ", number);
}

}  // namespace

std::string ConnHeading() {
  return absl::StrFormat("%-18s %8s %8s %-22s %-14s %-28s %-10s %8s %8s %8s %8s %8s %5s", "ID",
                         "AGE", "IDLE", "CLIENT", "LISTENER", "SERVER", "STATE", "IN", "OUT",
                         "PENDING", "RTT.C", "RTT.S", "RETR");
}

std::string ConnLine(const ConnRow& row) {
  const uint64_t retransmits = uint64_t{row.client_side.retransmits} + row.server_side.retransmits;
  return absl::StrFormat("%-18d %8s %8s %-22s %-14s %-28s %-10s %8s %8s %8s %8s %8s %5d", row.id,
                         Nanos(row.age_ns), Nanos(row.idle_ns), row.client.ToString(), row.listener,
                         ServerName(row), ConnStateName(row.state), ShortBytes(row.bytes_up),
                         ShortBytes(row.bytes_down), ShortBytes(row.held_up + row.held_down),
                         RttText(row.client_side), RttText(row.server_side), retransmits);
}

Json ConnJson(const ConnRow& row) {
  Json json = {{"id", row.id},
               {"thread", row.worker},
               {"state", ConnStateName(row.state)},
               {"client", row.client.ToString()},
               {"listener", row.listener},
               {"upstream", row.upstream},
               {"server", row.server},
               {"attempts", row.attempts},
               {"age_s", static_cast<double>(row.age_ns) / 1e9},
               {"idle_s", static_cast<double>(row.idle_ns) / 1e9}};
  json["connect_us"] = row.connected_after_us < 0 ? Json() : Json(row.connected_after_us);
  json["first_byte_us"] = row.first_byte_after_us < 0 ? Json() : Json(row.first_byte_after_us);
  json["from_client_bytes"] = row.bytes_up;
  json["from_server_bytes"] = row.bytes_down;
  json["pending_to_server_bytes"] = row.held_up;
  json["pending_to_client_bytes"] = row.held_down;
  json["client_ended"] = row.ended_up;
  json["server_ended"] = row.ended_down;
  json["client_side"] = SideJson(row.client_side);
  json["server_side"] = SideJson(row.server_side);
  return json;
}

std::string ExplainWay(const ConnRow& row, bool down) {
  const std::string_view from = down ? "server" : "client";
  const std::string_view to = down ? "client" : "server";
  const ConnSide& source = down ? row.server_side : row.client_side;
  const ConnSide& sink = down ? row.client_side : row.server_side;
  const uint64_t held = down ? row.held_down : row.held_up;
  const uint64_t bytes = down ? row.bytes_down : row.bytes_up;
  const std::string name = Cat(from, "->", to);
  if (row.state == ConnRow::State::kConnecting || row.state == ConnRow::State::kQueued) {
    return Cat(name, " has not begun: ",
               row.state == ConnRow::State::kQueued ? "it waits for a server to have room"
                                                    : "no server is connected yet");
  }
  if (held > 0) {
    const int64_t blocked_ms = sink.tcp
                                   ? std::min<int64_t>(sink.last_sent_ms, row.age_ns / kNsPerMs)
                                   : row.idle_ns / kNsPerMs;
    return Cat(name, " blocked ", Millis(blocked_ms), ": ", Reason(sink, to), ", ",
               SpokenBytes(held), " pending", KernelHolds(sink));
  }
  if (sink.unsent_bytes > 0) {
    return Cat(name, " goes slowly: ", Reason(sink, to), ", nothing pending here",
               KernelHolds(sink));
  }
  if (down ? row.ended_down : row.ended_up) {
    return Cat(name, " has ended after ", SpokenBytes(bytes), ": the ", from,
               " has said all, and it was passed on");
  }
  const bool spoke = bytes > 0;
  const std::string when = source.tcp && spoke ? Cat(", which last said something ",
                                                     Millis(source.last_received_ms), " ago")
                           : spoke             ? ""
                                               : ", which has said nothing yet";
  return Cat(name, " waits for the ", from, when);
}

std::string ExplainConn(const ConnRow& row) {
  std::string text = Cat("connection ", row.id, " is ", ConnStateName(row.state), ", ",
                         Nanos(row.age_ns), " old, idle for ", Nanos(row.idle_ns), ", on thread ",
                         row.worker, "\nclient ", row.client.ToString());
  const ConnSide& client = row.client_side;
  if (client.peer.family() != 0 && !row.client.is_unix() &&
      client.peer.Unmapped().ToString() != row.client.ToString()) {
    Append(&text, " (by ", client.peer.ToString(), ")");
  }
  if (client.local.family() != 0) Append(&text, " to ", client.local.ToString());
  Append(&text, ", listener ", row.listener, "\n");
  if (!row.upstream.empty()) Append(&text, "server ", ServerName(row));
  const ConnSide& server = row.server_side;
  if (server.peer.family() != 0) Append(&text, " at ", server.peer.ToString());
  if (server.local.family() != 0 && !server.local.is_unix()) {
    Append(&text, " from ", server.local.ToString());
  }
  if (row.connected_after_us >= 0) {
    const std::string when =
        row.connected_after_us == 0 ? "at once" : Cat("after ", Micros(row.connected_after_us));
    Append(&text, ", connected ", when, " ", Ordinal(row.attempts));
  }
  if (row.first_byte_after_us >= 0) {
    Append(&text, ", first byte after ", Micros(row.first_byte_after_us));
  }
  if (!text.ends_with('\n')) text += '\n';
  Append(&text, ExplainWay(row, false), "\n", ExplainWay(row, true), "\n");
  Append(&text, "moved ", SpokenBytes(row.bytes_up), " to the server, ",
         SpokenBytes(row.bytes_down), " to the client\n");
  return Cat(text, SideText(client, "client"), SideText(server, "server"));
}

}  // namespace parkway::admin
