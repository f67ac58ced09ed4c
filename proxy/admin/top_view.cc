#include "proxy/admin/top_view.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <string_view>

#include "absl/strings/str_format.h"
#include "config/text.h"
#include "proxy/admin/format.h"

namespace parkway::admin {

using config::Append;
using config::Cat;
using nlohmann::json;

namespace {

constexpr std::string_view kReverse = "\x1b[7m";
constexpr std::string_view kBold = "\x1b[1m";
constexpr std::string_view kRed = "\x1b[31m";
constexpr std::string_view kPlain = "\x1b[0m";
// The lines of a section beside its rows: a blank one and the headings.
constexpr int kSectionLines = 2;

// What was not said is none.
double Number(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : 0;
}
uint64_t Count(const json& object, const char* key) {
  return static_cast<uint64_t>(std::max(0.0, Number(object, key)));
}
std::string Text(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}
const json& Part(const json& object, const char* key) {
  static const json kNone = json::object();
  const auto found = object.find(key);
  return found != object.end() ? *found : kNone;
}

// How fast what only grows has grown.
class Rates {
 public:
  Rates(const TopSample& now, const TopSample* before)
      : seconds_(before == nullptr ? 0 : absl::ToDoubleSeconds(now.taken - before->taken)) {}

  bool known() const { return seconds_ > 0; }
  double Of(const json& now, const json* before, const char* key) const {
    if (!known() || before == nullptr) return 0;
    return std::max(0.0, Number(now, key) - Number(*before, key)) / seconds_;
  }
  std::string PerSecond(const json& now, const json* before, const char* key) const {
    return known() ? ShortNumber(Of(now, before, key)) : "-";
  }
  std::string BytesPerSecond(const json& now, const json* before, const char* key) const {
    return known() ? ShortBytes(static_cast<uint64_t>(Of(now, before, key))) : "-";
  }

 private:
  const double seconds_;
};

// The object of `list` that has this name; null: none.
const json* Named(const json& list, const std::string& name) {
  for (const json& one : list) {
    if (Text(one, "name") == name) return &one;
  }
  return nullptr;
}

std::string Micros(const json& object, const char* key) {
  const double us = Number(object, key);
  return us == 0 ? "-" : ShortTime(absl::Nanoseconds(static_cast<int64_t>(us * 1000)));
}
std::string Seconds(const json& object, const char* key) {
  return ShortTime(absl::Seconds(Number(object, key)));
}

struct Section {
  std::string heading;
  std::vector<std::string> rows;
  std::vector<bool> alarming;
};

// The first line of a table is its heading.
Section SectionOf(const Columns& columns, std::vector<bool> alarming) {
  Section section;
  section.alarming = std::move(alarming);
  const std::string text = columns.ToString();
  for (const std::string_view line : config::Split(text, '\n')) {
    if (line.empty()) continue;
    if (section.heading.empty()) {
      section.heading = std::string(line);
    } else {
      section.rows.emplace_back(line);
    }
  }
  return section;
}

Section Listeners(const TopSample& now, const TopSample* before, const Rates& rates) {
  Columns columns(
      {"LISTENER", "STATE", ">CONNS", ">NEW/S", ">IN/S", ">OUT/S", ">TOTAL", "UPSTREAM"});
  std::vector<bool> alarming;
  for (const json& listener : now.listeners) {
    const json* old =
        before == nullptr ? nullptr : Named(before->listeners, Text(listener, "name"));
    columns.Add({Text(listener, "name"), Text(listener, "state"), Cat(Count(listener, "active")),
                 rates.PerSecond(listener, old, "total"),
                 rates.BytesPerSecond(listener, old, "received_bytes"),
                 rates.BytesPerSecond(listener, old, "sent_bytes"), Cat(Count(listener, "total")),
                 Text(listener, "upstream")});
    alarming.push_back(Text(listener, "state") != "accepting");
  }
  return SectionOf(columns, std::move(alarming));
}

Section Servers(const TopSample& now, const TopSample* before, const Rates& rates) {
  struct Server {
    std::string upstream;
    const json* now;
    const json* before;
  };
  std::vector<Server> servers;
  for (const json& upstream : now.upstreams) {
    const std::string name = Text(upstream, "name");
    const json* old = before == nullptr ? nullptr : Named(before->upstreams, name);
    for (const json& server : Part(upstream, "servers")) {
      servers.push_back(
          {name, &server,
           old == nullptr ? nullptr : Named(Part(*old, "servers"), Text(server, "name"))});
    }
  }
  // If not all fit: those in trouble, then the busiest.
  std::stable_sort(servers.begin(), servers.end(), [](const Server& one, const Server& other) {
    const bool one_up = Text(*one.now, "state") == "up";
    const bool other_up = Text(*other.now, "state") == "up";
    if (one_up != other_up) return !one_up;
    return Count(*one.now, "active") > Count(*other.now, "active");
  });
  Columns columns({"SERVER", "STATE", ">CONNS", ">NEW/S", ">FAIL/S", ">CONNECT", ">IN/S", ">OUT/S",
                   ">WEIGHT", "ADDRESS"});
  std::vector<bool> alarming;
  for (const Server& server : servers) {
    const json& of = *server.now;
    columns.Add({Cat(server.upstream, "/", Text(of, "name")), Text(of, "state"),
                 Cat(Count(of, "active")), rates.PerSecond(of, server.before, "total"),
                 rates.PerSecond(of, server.before, "connect_failures"),
                 Micros(Part(of, "connect_time"), "p50_us"),
                 rates.BytesPerSecond(of, server.before, "received_bytes"),
                 rates.BytesPerSecond(of, server.before, "sent_bytes"), Cat(Count(of, "weight")),
                 Text(of, "address")});
    alarming.push_back(Text(of, "state") != "up");
  }
  return SectionOf(columns, std::move(alarming));
}

Section Slowest(const TopSample& now) {
  Columns columns(
      {"SLOWEST", "CLIENT", ">AGE", ">IDLE", ">PENDING", ">RTT.C", ">RTT.S", "LISTENER", "SERVER"});
  for (const json& conn : now.slowest) {
    const std::string server = Text(conn, "server");
    columns.Add({Cat(Count(conn, "id")), Text(conn, "client"), Seconds(conn, "age_s"),
                 Seconds(conn, "idle_s"), ShortBytes(Count(conn, "pending_bytes")),
                 Micros(conn, "client_rtt_us"), Micros(conn, "server_rtt_us"),
                 Text(conn, "listener"), Cat(Text(conn, "upstream"), "/", server)});
  }
  return SectionOf(columns, std::vector<bool>(now.slowest.size()));
}

std::vector<std::string> Summary(const TopSample& now, const TopSample* before,
                                 const Rates& rates) {
  const json& info = now.info;
  const json* old = before == nullptr ? nullptr : &before->info;
  const json& config = Part(info, "config");
  const bool reload_ok = config.value("last_reload_successful", true);
  std::vector<std::string> lines;
  lines.push_back(Cat("parkway ", Text(info, "version"), "  pid ", Count(info, "pid"), "  up ",
                      Seconds(info, "uptime_s"), "  generation ", Count(config, "generation"),
                      reload_ok ? "" : "  LAST RELOAD REFUSED",
                      info.value("draining", false) ? "  DRAINING" : "", "  ",
                      absl::FormatTime("%H:%M:%S", now.taken, absl::LocalTimeZone())));
  const double cpu = rates.Of(info, old, "cpu_user_s") + rates.Of(info, old, "cpu_system_s");
  lines.push_back(Cat("connections ", Count(info, "connections"), "/",
                      Count(info, "connection_limit"), "  new ",
                      rates.PerSecond(info, old, "accepted"), "/s  in ",
                      rates.BytesPerSecond(info, old, "from_clients_bytes"), "/s  out ",
                      rates.BytesPerSecond(info, old, "from_servers_bytes"), "/s  cpu ",
                      rates.known() ? ShortNumber(cpu * 100) : "-", "%  memory ",
                      ShortBytes(Count(info, "memory_resident_bytes")), "  fds ",
                      Count(info, "fds_open"), "/", Count(info, "fds_max")));
  std::string threads = "threads";
  for (const json& thread : now.threads) {
    Append(&threads, "  ", Count(thread, "index"), ": ",
           ShortNumber(Number(thread, "busy_ratio") * 100), "% ", Count(thread, "connections"));
  }
  lines.push_back(std::move(threads));
  return lines;
}

std::string Fitted(std::string line, int columns) {
  line.resize(std::min(line.size(), static_cast<size_t>(std::max(columns, 1))));
  return line;
}

// How many rows each section gets of `room`: what it needs, or its share of what is there.
std::vector<int> Divide(const std::vector<Section>& sections, int room) {
  std::vector<int> given(sections.size(), 0);
  bool more = true;
  while (room > 0 && more) {
    more = false;
    for (size_t i = 0; i < sections.size() && room > 0; ++i) {
      if (given[i] == static_cast<int>(sections[i].rows.size())) continue;
      ++given[i];
      --room;
      more = true;
    }
  }
  return given;
}

}  // namespace

std::vector<std::string> TopScreen(const TopSample& now, const TopSample* before,
                                   const TopSize& size) {
  const Rates rates(now, before);
  std::vector<std::string> lines;
  for (std::string& line : Summary(now, before, rates)) {
    line = Fitted(std::move(line), size.columns);
    lines.push_back(size.colors ? Cat(kBold, line, kPlain) : line);
  }
  const std::vector<Section> sections = {Listeners(now, before, rates), Servers(now, before, rates),
                                         Slowest(now)};
  const int room = size.rows == 0 ? INT32_MAX
                                  : size.rows - static_cast<int>(lines.size()) -
                                        kSectionLines * static_cast<int>(sections.size());
  const std::vector<int> given = Divide(sections, room);
  for (size_t i = 0; i < sections.size(); ++i) {
    if (given[i] == 0) continue;
    lines.emplace_back();
    std::string heading = sections[i].heading;
    if (static_cast<size_t>(given[i]) < sections[i].rows.size()) {
      Append(&heading, "  (", given[i], " of ", sections[i].rows.size(), ")");
    }
    heading = Fitted(std::move(heading), size.columns);
    lines.push_back(size.colors ? Cat(kReverse, heading, kPlain) : heading);
    for (int row = 0; row < given[i]; ++row) {
      const auto at = static_cast<size_t>(row);
      const std::string line = Fitted(sections[i].rows[at], size.columns);
      lines.push_back(size.colors && sections[i].alarming[at] ? Cat(kRed, line, kPlain) : line);
    }
  }
  return lines;
}

}  // namespace parkway::admin
