#include "config/explain.h"

#include <algorithm>
#include <map>
#include <vector>

#include "config/flags.h"
#include "config/grammar.h"
#include "config/text.h"

namespace parkway::config {
namespace {

// The settings of a line where they differ from those it inherits.
std::string Settings(std::string_view flag, const Scalars& own, const Scalars& inherited) {
  std::string text;
  for (const absl::Span<const Flag> table : {LineFlags(), AllFlags()}) {
    for (const Flag& scalar : table) {
      if ((scalar.places & PlaceOf(flag)) == 0) continue;
      const std::string value = PrintScalar(scalar, own);
      if (value == PrintScalar(scalar, inherited)) continue;
      Append(&text, " ", scalar.name, "=", scalar.list ? value : QuotedIfNeeded(value));
    }
  }
  return text;
}

}  // namespace

std::string Dump(const Snapshot& snapshot) {
  std::vector<std::string> scalars;
  for (const Flag& flag : AllFlags()) {
    if (!flag.is_scalar()) continue;
    const std::string value = PrintScalar(flag, snapshot.scalars);
    if (value != PrintScalar(flag, DefaultScalars())) {
      scalars.push_back(Cat("--", flag.name, "=", value, "\n"));
    }
  }
  std::sort(scalars.begin(), scalars.end());

  std::string text = Join(scalars, "");
  const bool one = snapshot.upstreams.size() == 1;
  for (const Listener& listener : snapshot.listeners) {
    std::vector<std::string> addresses = PrintListenAddresses(listener.addresses);
    for (std::string& address : addresses) address = QuotedIfNeeded(address);
    Append(&text, "--", kListen, "=", Join(addresses, ","));
    if (listener.name != listener.addresses[0].ToString()) Append(&text, " name=", listener.name);
    if (!one) Append(&text, " upstream=", snapshot.upstreams[listener.upstream].name);
    if (listener.mode != Listener().mode) Append(&text, " mode=", PrintMode(listener.mode));
    if (!listener.owner.empty()) Append(&text, " owner=", listener.owner);
    Append(&text, Settings(kListen, listener.settings, snapshot.scalars), "\n");
  }
  std::map<size_t, std::string> server_lines;
  for (const Upstream& upstream : snapshot.upstreams) {
    std::vector<std::string> unnamed;  // those of servers=
    for (const Server& server : upstream.servers) {
      if (server.line == 0) {
        unnamed.push_back(QuotedIfNeeded(server.address.ToString()));
        continue;
      }
      std::string& line = server_lines[server.line];
      const std::string address = server.address.ToString();
      Append(&line, "--", kServer, "=", QuotedIfNeeded(address));
      if (!one) Append(&line, " upstream=", upstream.name);
      if (server.name != address) Append(&line, " name=", server.name);
      Append(&line, Settings(kServer, server.settings, upstream.settings), "\n");
    }
    Append(&text, "--", kUpstream, "=", Join(unnamed, ","));
    if (unnamed.empty()) {
      Append(&text, "name=", upstream.name);
    } else if (upstream.name != "default") {
      Append(&text, " name=", upstream.name);
    }
    Append(&text, Settings(kUpstream, upstream.settings, snapshot.scalars), "\n");
  }
  for (const auto& [number, line] : server_lines) text += line;
  return text;
}

}  // namespace parkway::config
