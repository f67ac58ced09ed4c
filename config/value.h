// Values as an operator writes them: read from text and printed canonically. Those that are
// addresses are in address.h.
//
//   ParseDuration("1h30m", {.off = true})   90 minutes     PrintDuration(...)  "1h30m"
//   ParseSize("64KiB")                      65536          PrintSize(...)      "64KiB"
//
// What is read back from a printed value is the same value, and prints the same. An error's
// message is one line "what is wrong; what would be right", without the place and the flag: those
// are the caller's. Pure functions: any thread.
#ifndef CONFIG_VALUE_H_
#define CONFIG_VALUE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "config/address.h"
#include "config/quote.h"

namespace parkway::config {

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

// Bits: "0x1f".
absl::StatusOr<uint32_t> ParseHex(std::string_view text, uint32_t least, uint32_t most);
std::string PrintHex(uint32_t bits);

// "10MiB/s", "80Mbit/s": in bytes per second.
absl::StatusOr<uint64_t> ParseBandwidth(std::string_view text);
std::string PrintBandwidth(uint64_t bytes_per_second);

// "50%".
absl::StatusOr<uint32_t> ParsePercent(std::string_view text, uint32_t least, uint32_t most);
std::string PrintPercent(uint32_t percent);

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

// When the kernel asks whether a silent peer is still there: "60s:10s:3": after a minute of
// silence, three times, 10 seconds apart. Off: never.
struct Keepalive {
  absl::Duration idle;  // zero: off
  absl::Duration interval;
  uint32_t count = 0;

  bool on() const { return idle > absl::ZeroDuration(); }
  bool operator==(const Keepalive&) const = default;
};
absl::StatusOr<Keepalive> ParseKeepalive(std::string_view text);
std::string PrintKeepalive(const Keepalive& keepalive);

// A path in the file system, to a file or a socket.
absl::StatusOr<std::string> CanonicalPath(std::string_view text);
// The same, no longer than a socket's may be, or "auto".
absl::StatusOr<std::string> CanonicalSocketPath(std::string_view text);
// A network interface.
absl::StatusOr<std::string> CanonicalDevice(std::string_view text);
// USER or USER:GROUP.
absl::StatusOr<std::string> CanonicalOwner(std::string_view text);

// The index of `text` among `words`.
absl::StatusOr<size_t> ParseWord(std::string_view text, absl::Span<const std::string_view> words);

}  // namespace parkway::config

#endif  // CONFIG_VALUE_H_
