// Routes: which upstream a client's first bytes ask for.
//
//   routes.Add({.sni = "*.example.org", .upstream = 1});
//   std::optional<size_t> upstream = routes.Find(seen);
//
// The exact name is looked for first, then ever shorter ends of it ("*.example.org" matches every
// name below example.org, not itself; "*" matches any name), then the routes without a name. In
// each of these one that asks for more (ALPN, protocol) goes before one that asks for less, and
// then the order of the lines decides.
//
// Immutable once filled: any thread.
#ifndef PROXY_INBOUND_ROUTES_H_
#define PROXY_INBOUND_ROUTES_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "proxy/inbound/client_hello.h"

namespace parkway {

struct Route {
  std::string sni = {};                // lower case; empty: any, also none
  std::vector<std::string> alpn = {};  // one of these is offered; empty: any
  // kUnknown: any. A name or an ALPN asks for TLS by itself.
  ClientProtocol protocol = ClientProtocol::kUnknown;
  size_t upstream = 0;

  bool operator==(const Route&) const = default;
};

class Routes {
 public:
  void Add(const Route& route);
  bool empty() const { return size_ == 0; }
  std::optional<size_t> Find(const FirstBytes& seen) const;
  // Where they lead; one may come more than once.
  const std::vector<size_t>& upstreams() const { return upstreams_; }
  // Whether any route looks into a ClientHello: else the protocol alone decides, and earlier.
  bool look_into_tls() const { return look_into_tls_; }

  bool operator==(const Routes&) const = default;

 private:
  using Group = std::vector<Route>;

  static const Route* Best(const Group& group, const FirstBytes& seen);

  std::unordered_map<std::string, Group> exact_;
  std::unordered_map<std::string, Group> below_;  // by what follows the star and its dot
  Group rest_;
  std::vector<size_t> upstreams_;
  size_t size_ = 0;
  bool look_into_tls_ = false;
};

}  // namespace parkway

#endif  // PROXY_INBOUND_ROUTES_H_
