// Values that say who is let in, how fast, and what is told about them: prefixes, rates, TLVs.
//
//   ParsePrefix("10.0.0.0/8")       ParseRate("500/s")
//
// Each list has a Canonical...() that reads it and prints it as it is shown; what that returned,
// the parsers here accept. Pure functions: any thread.
#ifndef CONFIG_ADMISSION_H_
#define CONFIG_ADMISSION_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace parkway::config {

struct Prefix {
  std::array<uint8_t, 16> ip = {};  // IPv4: the first four; zero behind `bits`
  bool ipv4 = false;
  uint8_t bits = 0;

  bool operator==(const Prefix&) const = default;
};

// "10.0.0.0/8", "2001:db8::/32", or an address alone. An IPv4-mapped one is IPv4.
absl::StatusOr<Prefix> ParsePrefix(std::string_view text);
std::string PrintPrefix(const Prefix& prefix);

// A list of prefixes and of @FILE, which holds more of them.
struct Prefixes {
  std::vector<Prefix> prefixes;
  std::vector<std::string> files;
};
absl::StatusOr<Prefixes> ParsePrefixes(std::string_view text);
absl::StatusOr<std::string> CanonicalPrefixes(std::string_view text);

// The lines of a file of prefixes: one each, blank, or with a # before a comment. An error's
// message begins with "LINE: ".
absl::StatusOr<std::vector<Prefix>> ParsePrefixFile(std::string_view bytes);

// "500/s", at most a million.
absl::StatusOr<uint32_t> ParseRate(std::string_view text);
absl::StatusOr<std::string> CanonicalRate(std::string_view text);

// What goes into a PROXY header of version 2.
struct Tlv {
  enum class Kind : uint8_t {
    kCrc32c,
    kUniqueId,
    kAuthority,
    kPassAll,  // "pass"
    kPass,     // "pass:0xEA"
    kSet,      // "set:0xE0=text"
  };
  Kind kind;
  uint8_t type = 0;
  std::string text = {};
};
absl::StatusOr<std::vector<Tlv>> ParseTlvs(std::string_view text);
absl::StatusOr<std::string> CanonicalTlvs(std::string_view text);

// What a client's first bytes are.
enum class RouteProtocol : uint8_t { kAny, kTls, kSsh, kHttp, kPostgres };
absl::StatusOr<RouteProtocol> ParseRouteProtocol(std::string_view text);
std::string_view RouteProtocolName(RouteProtocol protocol);

}  // namespace parkway::config

#endif  // CONFIG_ADMISSION_H_
