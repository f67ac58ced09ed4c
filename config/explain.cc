#include "config/explain.h"

#include <algorithm>
#include <vector>

#include "config/flags.h"
#include "config/grammar.h"
#include "config/text.h"

namespace parkway::config {
namespace {

template <typename Items, typename AddressOf>
std::string Addresses(const Items& items, AddressOf address_of) {
  std::vector<std::string> texts;
  for (const auto& item : items) texts.push_back(QuotedIfNeeded(address_of(item).ToString()));
  return Join(texts, ",");
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
  for (const Listener& listener : snapshot.listeners) {
    Append(&text, "--", kListen, "=",
           Addresses(listener.addresses, [](const Address& a) { return a; }));
    if (listener.name != listener.addresses[0].ToString()) Append(&text, " name=", listener.name);
    if (snapshot.upstreams.size() > 1) {
      Append(&text, " upstream=", snapshot.upstreams[listener.upstream].name);
    }
    text += '\n';
  }
  for (const Upstream& upstream : snapshot.upstreams) {
    Append(&text, "--", kUpstream, "=",
           Addresses(upstream.servers, [](const Server& server) { return server.address; }));
    if (upstream.name != "default") Append(&text, " name=", upstream.name);
    text += '\n';
  }
  return text;
}

}  // namespace parkway::config
