// Values as an operator writes them: read from text and printed canonically.
//
//   ParseDuration("1h30m", {.off = true})   90 minutes     PrintDuration(...)  "1h30m"
//   ParseSize("64KiB")                      65536          PrintSize(...)      "64KiB"
//   ParseAddress("[::1]:80", kListens)      an Address     address.ToString()  "[::1]:80"
//
// What is read back from a printed value is the same value, and prints the same. An error's
// message is one line "what is wrong; what would be right", without the place and the flag: those
// are the caller's. Pure functions: any thread.
#ifndef CONFIG_VALUE_H_
#define CONFIG_VALUE_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace parkway::config {

// An address as text, before any socket: a literal, never a name.
struct Address {
  enum class Kind : uint8_t {
    kAnyIp,         // ":80": IPv6 and IPv4 together, IPv4 alone on a machine without IPv6
    kIpv4,          // "10.0.0.1:80"
    kIpv6,          // "[::1]:80"
    kUnixPath,      // "unix:/run/x.sock"
    kUnixAbstract,  // "unix:@x"
  };

  Kind kind = Kind::kAnyIp;
  std::array<uint8_t, 16> ip = {};  // kIpv4: the first four
  uint16_t port = 0;                // 1 to 65535; 0 for unix
  // A server's, written without a port ("10.0.0.1", "10.0.0.1:+5"): `port` is added to that of the
  // listener that the connection came by.
  bool relative = false;
  std::string path;  // without "unix:"; kUnixAbstract: the name, without the "@"

  bool is_unix() const { return kind == Kind::kUnixPath || kind == Kind::kUnixAbstract; }
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

// Nobody means a time above it, and sums of two stay far from overflow.
inline constexpr absl::Duration kMostDuration = absl::Hours(24 * 10000);

struct DurationRange {
  bool off = false;  // "0", "0s" and "off" are allowed: zero
  absl::Duration least = absl::Microseconds(1);
  absl::Duration most = kMostDuration;
};

absl::StatusOr<absl::Duration> ParseDuration(std::string_view text, const DurationRange& range);
// Zero is "off".
std::string PrintDuration(absl::Duration duration);

absl::StatusOr<uint64_t> ParseSize(std::string_view text, uint64_t least, uint64_t most);
std::string PrintSize(uint64_t bytes);

absl::StatusOr<uint64_t> ParseCount(std::string_view text, uint64_t least, uint64_t most);

// "50%".
absl::StatusOr<uint32_t> ParsePercent(std::string_view text, uint32_t least, uint32_t most);
std::string PrintPercent(uint32_t percent);

// An IP address without a port, which is 0 then: "10.0.0.1", "2001:db8::1".
absl::StatusOr<Address> ParseIp(std::string_view text);
std::string PrintIp(const Address& address);

// A name that the kernel is given as it is: letters, digits, _ and -. "default" is none.
absl::StatusOr<std::string> ParseKernelName(std::string_view text, size_t most_bytes);

inline constexpr uint32_t kMostCpus = 1024;
// "0-3,8": numbers and ranges, each CPU once, in the order written.
absl::StatusOr<std::vector<uint32_t>> ParseCpuList(std::string_view text);
std::string PrintCpuList(absl::Span<const uint32_t> cpus);

absl::StatusOr<bool> ParseBool(std::string_view text);
std::string_view PrintBool(bool value);

// Bytes as text: \r \n \t \0 \\ and \xNN stand for what cannot be written as it is.
absl::StatusOr<std::string> ParseBytes(std::string_view text, size_t most_bytes);
// Without blanks at either end, quotes and backslashes of its own: it can stand anywhere.
std::string PrintBytes(std::string_view bytes);

// What an answer has to look like: bytes that it begins with, or after a "~" that are in it.
struct Expectation {
  std::string bytes;
  bool anywhere = false;

  bool operator==(const Expectation&) const = default;
};
absl::StatusOr<Expectation> ParseExpectation(std::string_view text, size_t most_bytes);
std::string PrintExpectation(const Expectation& expectation);

// What becomes of open connections: "keep", "close", or "drain:30s": those that are left then.
struct Parting {
  enum class Kind : uint8_t { kKeep, kDrain, kClose };

  Kind kind = Kind::kKeep;
  absl::Duration after;  // kDrain

  bool operator==(const Parting&) const = default;
};
absl::StatusOr<Parting> ParseParting(std::string_view text);
std::string PrintParting(const Parting& parting);

// The index of `text` among `words`.
absl::StatusOr<size_t> ParseWord(std::string_view text, absl::Span<const std::string_view> words);

// Names of listeners, upstreams and servers: 1 to 64 of A-Z a-z 0-9 _ . -
absl::Status CheckName(std::string_view name);

// `text` as an error line shows it: control characters escaped, cut when long.
std::string Shown(std::string_view text);
// The same in quotes.
std::string Quoted(std::string_view text);

// The known name that `name` was probably meant to be; empty if none is near.
std::string_view Nearest(std::string_view name, absl::Span<const std::string_view> known);

// " (did you mean PREFIXname?)", or nothing.
std::string DidYouMean(std::string_view name, absl::Span<const std::string_view> known,
                       std::string_view prefix = "");

// Where the bytes stop being UTF-8; npos if they never do. NUL is UTF-8.
size_t FindInvalidUtf8(std::string_view bytes);

}  // namespace parkway::config

#endif  // CONFIG_VALUE_H_
