// LogPlan: where lines about connections that have ended go, what they look like, and which are
// left out.
//
// Values: any thread.
#ifndef PROXY_CORE_LOG_PLAN_H_
#define PROXY_CORE_LOG_PLAN_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace parkway {

enum class LogFormat : uint8_t {
  kKeyValue,
  kTcplog,  // the fields of HAProxy's `option tcplog`, then key=value
  kJson,
};

struct LogPlan {
  enum class Target : uint8_t {
    kOff,
    kStderr,
    kStdout,
    kFile,    // `where`: path
    kUnix,    // `where`: path of a datagram socket that takes syslog, such as /dev/log
    kSyslog,  // `where`: host, over UDP
  };

  Target target = Target::kOff;
  std::string where = {};
  uint16_t port = 514;     // kSyslog
  uint32_t facility = 16;  // kUnix, kSyslog: local0
  LogFormat format = LogFormat::kKeyValue;
  bool skip_null = false;    // those over which neither side said anything
  bool skip_normal = false;  // those that both sides ended in order
  uint32_t sample = 1;       // one of so many
  // More than the end of a connection has a line; of JSON alone.
  bool opens = false;
  bool connects = false;
  absl::Duration progress = {};  // so often while it is open; zero: never

  bool on() const { return target != Target::kOff; }
  bool operator==(const LogPlan&) const = default;
};

}  // namespace parkway

#endif  // PROXY_CORE_LOG_PLAN_H_
