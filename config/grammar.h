// The lines of list flags: --listen, --upstream, --server, --route. What comes out is as written,
// with places; whether it fits together is for the snapshot to say. How a line is taken apart is
// in words.h, and which keys there are in keys.h.
//
// Pure functions: any thread.
#ifndef CONFIG_GRAMMAR_H_
#define CONFIG_GRAMMAR_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/admission.h"
#include "config/flags.h"
#include "config/keys.h"
#include "config/source.h"
#include "config/value.h"
#include "config/words.h"

namespace parkway::config {

struct PlacedAddress {
  Address address;
  Place place;
};

// A scalar flag as the line sets it; the value was found right.
struct Setting {
  const Flag* flag;
  std::string text;
  Place place;
};

// Only what was right is in it; the rest was told.
struct ListLineBase {
  Place place;
  std::optional<Piece> name;
  std::vector<Setting> settings;
  bool complete = true;  // nothing was wrong
};

// --listen.
struct ListenLine : ListLineBase {
  std::optional<Piece> upstream;
  uint32_t max_connections = 0;  // of this listener; 0: only that of the process
  std::vector<PlacedAddress> addresses;
  std::optional<uint32_t> mode;
  std::optional<std::string> owner;
};

// --upstream.
struct UpstreamLine : ListLineBase {
  std::vector<PlacedAddress> servers;  // those of servers=
  std::optional<Piece> servers_file;
};

// --server.
struct ServerLine : ListLineBase {
  std::optional<Piece> upstream;
  std::optional<PlacedAddress> address;  // there if the line is complete
};

// --route.
struct RouteLine : ListLineBase {
  std::optional<Piece> listen;
  std::optional<Piece> upstream;
  std::vector<std::string> sni;  // lower case
  std::vector<std::string> alpn;
  RouteProtocol protocol = RouteProtocol::kAny;
};

ListenLine ParseListen(const Place& place, const SourceText& text, Problems* problems);
UpstreamLine ParseUpstream(const Place& place, const SourceText& text, Problems* problems);
ServerLine ParseServer(const Place& place, const SourceText& text, Problems* problems);
RouteLine ParseRoute(const Place& place, const SourceText& text, Problems* problems);

// `scalars` with the line's own on top.
Scalars WithSettings(Scalars scalars, const std::vector<Setting>& settings);

}  // namespace parkway::config

#endif  // CONFIG_GRAMMAR_H_
