// parkway: flags in, exit code out.
#include <arpa/inet.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "poller/address.h"
#include "proxy/process.h"

namespace {
int64_t Ns(const std::string& text) {
  absl::Duration d;
  if (text == "off" || text == "0" || !absl::ParseDuration(text, &d)) return 0;
  return absl::ToInt64Nanoseconds(d);
}
std::optional<parkway::Address> Parse(std::string text) {
  using parkway::Address;
  if (text.rfind("unix:@", 0) == 0) return Address::UnixAbstract(text.substr(6));
  if (text.rfind("unix:", 0) == 0) return Address::UnixPath(text.substr(5));
  const size_t colon = text.rfind(':');
  int port = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(text.substr(colon + 1), &port)) return {};
  std::string host = text.substr(0, colon);
  if (host.empty()) host = "[::]";
  std::array<uint8_t, 4> v4;
  std::array<uint8_t, 16> v6;
  if (host.front() == '[') {
    if (inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), v6.data()) != 1) return {};
    return Address::Ipv6(v6, static_cast<uint16_t>(port));
  }
  if (inet_pton(AF_INET, host.c_str(), v4.data()) != 1) return {};
  return Address::Ipv4(v4, static_cast<uint16_t>(port));
}
}  // namespace

// Temporary: config/ takes this place.
int main(int argc, char** argv) {
  std::map<std::string, std::string> flags = {
      {"threads", "1"},
      {"connect_timeout", "5s"},
      {"idle_timeout", "1h"},
      {"half_close_timeout", "5m"},
      {"delayed_close", "1s"},
      {"drain_timeout", "30s"},
      {"max_connections", "9000"},
      {"backlog", "4096"},
      {"access_log", "stderr"},
      {"stats_interval", "0"},
  };
  for (int i = 1; i < argc; ++i) {
    const char* equals = strchr(argv[i], '=');
    if (strncmp(argv[i], "--", 2) != 0 || equals == nullptr) return 78;
    flags[std::string(argv[i] + 2, static_cast<size_t>(equals - argv[i] - 2))] = equals + 1;
  }
  parkway::Plan plan;
  parkway::UpstreamPlan upstream;
  upstream.name = "default";
  for (const auto part : absl::StrSplit(flags["upstream"], ',')) {
    const auto address = Parse(std::string(part));
    if (!address) return 78;
    upstream.servers.push_back({std::string(part), *address, address->is_loopback(),
                                address->is_loopback() && !address->is_unix()});
  }
  upstream.connect_timeout = absl::Nanoseconds(Ns(flags["connect_timeout"]));
  plan.upstreams.push_back(upstream);
  const auto listen = Parse(flags["listen"]);
  if (!listen) return 78;
  parkway::ListenerPlan listener;
  listener.name = flags["listen"];
  listener.address = *listen;
  listener.times = {Ns(flags["idle_timeout"]), Ns(flags["half_close_timeout"]),
                    Ns(flags["delayed_close"])};
  plan.listeners.push_back(listener);
  plan.access_log = flags["access_log"] != "off";
  int n = 1;
  if (absl::SimpleAtoi(flags["max_connections"], &n)) plan.max_connections = n;
  parkway::ProcessOptions options;
  options.version = "0.1";
  if (absl::SimpleAtoi(flags["threads"], &n)) options.threads = n;
  options.drain_timeout = absl::Nanoseconds(Ns(flags["drain_timeout"]));
  options.stats_interval = absl::Nanoseconds(Ns(flags["stats_interval"]));
  return parkway::RunProcess(plan, options);
}
