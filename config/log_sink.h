// LogSink: where lines of the access log go, and which are left out.
//
//   ParseLogSink("syslog:192.0.2.1:1514")      PrintLogSink(sink)
//
// What is read back from a printed one is the same. Pure functions: any thread.
#ifndef CONFIG_LOG_SINK_H_
#define CONFIG_LOG_SINK_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace parkway::config {

struct LogSink {
  enum class Kind : uint8_t {
    kOff,
    kStderr,
    kStdout,
    kFile,    // target: its path
    kUnix,    // target: the path of a datagram socket, such as /dev/log
    kSyslog,  // target: an IP address or a name, asked over UDP at `port`
  };

  Kind kind = Kind::kStderr;
  std::string target = {};
  uint16_t port = 0;

  bool operator==(const LogSink&) const = default;
};
inline constexpr uint16_t kSyslogPort = 514;

absl::StatusOr<LogSink> ParseLogSink(std::string_view text);
std::string PrintLogSink(const LogSink& sink);

// Connections of which no line is written.
struct LogSkip {
  bool null = false;    // those that moved no byte
  bool normal = false;  // those that both sides ended in order
};
absl::StatusOr<LogSkip> ParseLogSkip(std::string_view text);
absl::StatusOr<std::string> CanonicalLogSkip(std::string_view text);

// What else than its end has a line.
struct LogEvents {
  bool open = false;     // it was accepted
  bool connect = false;  // it has reached its server
};
absl::StatusOr<LogEvents> ParseLogEvents(std::string_view text);
absl::StatusOr<std::string> CanonicalLogEvents(std::string_view text);

}  // namespace parkway::config

#endif  // CONFIG_LOG_SINK_H_
