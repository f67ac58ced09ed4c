#include "proxy/socket_proxyd.h"

#include <getopt.h>

#include <cctype>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace parkway {

namespace {

constexpr char kName[] = "systemd-socket-proxyd";
constexpr char kWord[] = "socket-proxyd";
// That program's own.
constexpr uint32_t kMostConnections = 256;
constexpr char kDefaultPort[] = "80";

constexpr char kHelp[] =
    "parkway socket-proxyd [OPTION...] HOST:PORT|PATH\n"
    "\n"
    "Carries connections from the sockets that systemd passes to a server, with the options of\n"
    "systemd-socket-proxyd.\n"
    "\n"
    "  -c --connections-max=N     connections at a time; more are refused (256)\n"
    "     --exit-idle-time=TIME   end when nobody was connected for so long, such as 5min (never)\n"
    "  -h --help                  print this\n"
    "     --version               print the version\n";

// A time as systemd writes it: "90", "5min 20s", "infinity". Nothing if it is none.
std::optional<absl::Duration> ParseTimeSpan(std::string_view text) {
  if (text == "infinity") return absl::InfiniteDuration();
  static const std::pair<std::string_view, absl::Duration> kUnits[] = {
      {"", absl::Seconds(1)},          {"s", absl::Seconds(1)},
      {"sec", absl::Seconds(1)},       {"second", absl::Seconds(1)},
      {"seconds", absl::Seconds(1)},   {"us", absl::Microseconds(1)},
      {"usec", absl::Microseconds(1)}, {"ms", absl::Milliseconds(1)},
      {"msec", absl::Milliseconds(1)}, {"m", absl::Minutes(1)},
      {"min", absl::Minutes(1)},       {"minute", absl::Minutes(1)},
      {"minutes", absl::Minutes(1)},   {"h", absl::Hours(1)},
      {"hr", absl::Hours(1)},          {"hour", absl::Hours(1)},
      {"hours", absl::Hours(1)},       {"d", absl::Hours(24)},
      {"day", absl::Hours(24)},        {"days", absl::Hours(24)},
      {"w", absl::Hours(24 * 7)},      {"week", absl::Hours(24 * 7)},
      {"weeks", absl::Hours(24 * 7)},
  };
  absl::Duration sum;
  bool any = false;
  const auto skip = [&text](auto is) {
    size_t end = 0;
    while (end < text.size() && is(static_cast<unsigned char>(text[end]))) ++end;
    const std::string_view skipped = text.substr(0, end);
    text.remove_prefix(end);
    return skipped;
  };
  const auto blank = [](unsigned char c) { return c == ' '; };
  for (skip(blank); !text.empty(); skip(blank)) {
    const std::string number(skip([](unsigned char c) { return isdigit(c) || c == '.'; }));
    skip(blank);
    const std::string_view unit = skip([](unsigned char c) { return isalpha(c); });
    double value = 0;
    if (!absl::SimpleAtod(number, &value)) return std::nullopt;
    const absl::Duration* known = nullptr;
    for (const auto& [name, length] : kUnits) {
      if (name == unit) known = &length;
    }
    if (known == nullptr) return std::nullopt;
    sum += value * *known;
    any = true;
  }
  return any ? std::optional(sum) : std::nullopt;
}

// An address of that program as one of ours.
std::string ServerOf(const std::string& text) {
  if (text[0] == '/' || text[0] == '@') return absl::StrCat("unix:", text);
  const size_t colon = text.rfind(':');
  const size_t bracket = text.rfind(']');
  const bool has_port =
      colon != std::string::npos && (bracket == std::string::npos || colon > bracket);
  return has_port ? text : absl::StrCat(text, ":", kDefaultPort);
}

}  // namespace

bool IsSocketProxyd(int argc, char** argv) {
  const std::string_view called = argc > 0 ? argv[0] : "";
  const size_t slash = called.rfind('/');
  return called.substr(slash == std::string_view::npos ? 0 : slash + 1) == kName ||
         (argc > 1 && std::string_view(argv[1]) == kWord);
}

SocketProxyd ParseSocketProxyd(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == kWord) {
    --argc;
    ++argv;
  }
  SocketProxyd parsed;
  uint32_t most = kMostConnections;
  const option options[] = {{"connections-max", required_argument, nullptr, 'c'},
                            {"exit-idle-time", required_argument, nullptr, 'e'},
                            {"help", no_argument, nullptr, 'h'},
                            {"version", no_argument, nullptr, 'v'},
                            {nullptr, 0, nullptr, 0}};
  optind = 0;  // another call begins anew
  opterr = 0;
  for (int found; (found = getopt_long(argc, argv, ":c:h", options, nullptr)) != -1;) {
    switch (found) {
      case 'c':
        if (!absl::SimpleAtoi(optarg, &most) || most == 0) {
          parsed.error = absl::StrCat("--connections-max=", optarg, ": it is no number above 0");
          return parsed;
        }
        break;
      case 'e': {
        const std::optional<absl::Duration> time = ParseTimeSpan(optarg);
        if (!time.has_value()) {
          parsed.error = absl::StrCat("--exit-idle-time=", optarg,
                                      ": it is no time; write seconds, or such as 5min 20s");
          return parsed;
        }
        parsed.exit_idle_time = *time;
        break;
      }
      case 'h':
        parsed.text = kHelp;
        return parsed;
      case 'v':
        parsed.arguments = {"--version"};
        return parsed;
      default:
        parsed.error = absl::StrCat(
            argv[optind - 1], found == ':' ? ": its value is missing" : ": there is no such option",
            "; see --help");
        return parsed;
    }
  }
  if (argc - optind != 1 || argv[optind][0] == '\0') {
    parsed.error = "exactly one server is to be given: HOST:PORT, or the path of a socket";
    return parsed;
  }
  parsed.arguments = {absl::StrCat("--listen=name=", SocketProxyd::kListener,
                                   " policy=reject max_connections=", most),
                      absl::StrCat("--upstream=", ServerOf(argv[optind])),
                      // That program says nothing of connections.
                      "--access_log=off"};
  return parsed;
}

}  // namespace parkway
