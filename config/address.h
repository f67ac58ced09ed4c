// Address: where to listen or to connect, as text, before any socket.
//
//   ParseAddress("[::1]:80", AddressUse::kListens)      address.ToString()  "[::1]:80"
//
// What is read back from a printed one is the same. Pure functions: any thread.
#ifndef CONFIG_ADDRESS_H_
#define CONFIG_ADDRESS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace parkway::config {

// An address as text, before any socket: a literal, or for a server a name.
struct Address {
  enum class Kind : uint8_t {
    kAnyIp,         // ":80": IPv6 and IPv4 together, IPv4 alone on a machine without IPv6
    kIpv4,          // "10.0.0.1:80"
    kIpv6,          // "[::1]:80"
    kUnixPath,      // "unix:/run/x.sock"
    kUnixAbstract,  // "unix:@x"
    kHost,          // "app.example.net:80": of a server
    kService,       // "srv:_app._tcp.example.net": of a server
  };

  Kind kind = Kind::kAnyIp;
  std::array<uint8_t, 16> ip = {};  // kIpv4: the first four
  uint16_t port = 0;                // 1 to 65535; 0 for unix
  // A server's, written without a port ("10.0.0.1", "app:+5"): `port` is added to that of the
  // listener that the connection came by.
  bool relative = false;
  // Without "unix:"; kUnixAbstract: the name, without the "@"; kHost, kService: the name, in lower
  // case.
  std::string path;

  bool is_unix() const { return kind == Kind::kUnixPath || kind == Kind::kUnixAbstract; }
  // Its addresses are to be asked for.
  bool is_name() const { return kind == Kind::kHost || kind == Kind::kService; }
  // ":80", "0.0.0.0:80", "[::]:80".
  bool is_any() const;
  // 127.0.0.0/8 or ::1, also as ::ffff:127.0.0.1.
  bool is_loopback() const;
  // IPv4 for an IPv4-mapped IPv6 address, else the same.
  Address Unmapped() const;
  std::string ToString() const;
  bool operator==(const Address&) const = default;
};

// A path in the file system or an abstract name has at most this many bytes (sun_path).
inline constexpr size_t kMostUnixPathBytes = 107;

enum class AddressUse : uint8_t { kListens, kConnects };

absl::StatusOr<Address> ParseAddress(std::string_view text, AddressUse use);

// To listen on: also a range of ports, ":10000-10100".
absl::StatusOr<std::vector<Address>> ParseListenAddresses(std::string_view text);
// The same as texts, in order: three and more addresses that differ by one port each are a range.
std::vector<std::string> PrintListenAddresses(absl::Span<const Address> addresses);

// The permissions of a unix socket: three or four octal digits.
absl::StatusOr<uint32_t> ParseMode(std::string_view text);
std::string PrintMode(uint32_t mode);
// USER or USER:GROUP, by name or number.
absl::Status CheckOwner(std::string_view text);

// An IP address without a port, which is 0 then: "10.0.0.1", "2001:db8::1".
absl::StatusOr<Address> ParseIp(std::string_view text);
std::string PrintIp(const Address& address);

// Name servers: "10.0.0.1,[::1]:5353", separated by commas, at port 53 if none is written.
absl::StatusOr<std::string> CanonicalNameservers(std::string_view text);

// Names of listeners, upstreams and servers: 1 to 64 of A-Z a-z 0-9 _ . -
absl::Status CheckName(std::string_view name);

}  // namespace parkway::config

#endif  // CONFIG_ADDRESS_H_
