// The words of a list flag's line: --listen=name=web addr=:8080 upstream=app.
//
// Words are split at blanks; a double quote opens and closes anywhere in a word, and inside quotes
// a backslash before a quote or a backslash is the only escape. Commas outside quotes separate the
// values of a key. If the first word is KEY=..., all are; else it is the value of the flag's first
// key (`addr`, `servers`). A bare word is a boolean that is on.
//
// Two kinds of keys: those that say what the line is (name, addr, ...), whose table is in
// grammar.cc, and settings: scalar flags that the line overrides for itself (Flag::places). What
// comes out is as written, with places; whether it fits together is for the snapshot to say.
//
// Pure functions: any thread.
#ifndef CONFIG_GRAMMAR_H_
#define CONFIG_GRAMMAR_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "config/admission.h"
#include "config/flags.h"
#include "config/source.h"
#include "config/value.h"

namespace parkway::config {

// A value between commas, without its quotes.
struct Piece {
  std::string text;
  Place place;
};

struct Word {
  Place place;
  std::optional<std::string> key;
  std::vector<Piece> values;  // at least one, which may be empty
};

// Splits and unquotes; nothing if a quote is not closed.
std::optional<std::vector<Word>> SplitWords(std::string_view flag, const SourceText& text,
                                            Problems* problems);

// As one word's value, in quotes if the reader would take it apart otherwise.
std::string QuotedIfNeeded(std::string_view value);

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

// A key that says what a line is, and has no scalar flag.
struct KeySpec {
  std::string_view flag;  // "listen"
  std::string_view name;
  std::string_view value;  // as in the README: "ADDR[,ADDR...]"
  bool first = false;      // its name may be left out where it comes first
  bool list = false;       // commas separate values
  std::string_view default_text;
  std::string_view help;
};

absl::Span<const KeySpec> AllKeys();

}  // namespace parkway::config

#endif  // CONFIG_GRAMMAR_H_
