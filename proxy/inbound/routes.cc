#include "proxy/inbound/routes.h"

#include <algorithm>

namespace parkway {

namespace {

int Demands(const Route& route) {
  return (route.alpn.empty() ? 0 : 2) + (route.protocol == ClientProtocol::kUnknown ? 0 : 1);
}

bool Matches(const Route& route, const FirstBytes& seen) {
  if (route.protocol != ClientProtocol::kUnknown && route.protocol != seen.protocol) return false;
  if (route.alpn.empty()) return true;
  return std::any_of(route.alpn.begin(), route.alpn.end(), [&seen](const std::string& wanted) {
    return std::find(seen.alpn.begin(), seen.alpn.end(), wanted) != seen.alpn.end();
  });
}

}  // namespace

void Routes::Add(const Route& route) {
  ++size_;
  upstreams_.push_back(route.upstream);
  if (!route.sni.empty() || !route.alpn.empty()) look_into_tls_ = true;
  Group* group = &rest_;
  if (route.sni == "*") {
    group = &below_[""];
  } else if (route.sni.substr(0, 2) == "*.") {
    group = &below_[route.sni.substr(2)];
  } else if (!route.sni.empty()) {
    group = &exact_[route.sni];
  }
  const auto place = std::find_if(group->begin(), group->end(), [&route](const Route& other) {
    return Demands(other) < Demands(route);
  });
  group->insert(place, route);
}

const Route* Routes::Best(const Group& group, const FirstBytes& seen) {
  const auto found = std::find_if(group.begin(), group.end(),
                                  [&seen](const Route& route) { return Matches(route, seen); });
  return found == group.end() ? nullptr : &*found;
}

std::optional<size_t> Routes::Find(const FirstBytes& seen) const {
  const auto look = [&seen](const auto& groups, const std::string& name) -> const Route* {
    const auto found = groups.find(name);
    return found == groups.end() ? nullptr : Best(found->second, seen);
  };
  if (!seen.sni.empty()) {
    if (const Route* route = look(exact_, seen.sni)) return route->upstream;
    std::string_view rest = seen.sni;
    while (!rest.empty()) {
      const size_t dot = rest.find('.');
      rest = dot == std::string_view::npos ? std::string_view() : rest.substr(dot + 1);
      if (const Route* route = look(below_, std::string(rest))) return route->upstream;
    }
  }
  if (const Route* route = Best(rest_, seen)) return route->upstream;
  return std::nullopt;
}

}  // namespace parkway
