// LogSink: where lines of the access log go: a stream (stderr, stdout, a file), or datagrams to
// whoever takes syslog (a unix socket, or UDP).
//
//   LogSink sink(plan);
//   if (std::string error = sink.Open(); !error.empty()) ...
//   sink.Line("...");   sink.Line("...");
//   sink.Flush();
//
// Streams are written in batches; they may wait for a reader. Each line of a datagram is a message
// of its own, <PRIORITY>TIME parkway[PID]: LINE, as RFC 3164 has it; a reader that does not keep up
// gets a moment. What cannot be written is counted. A socket whose other side has gone is connected
// again, at most once a second.
//
// The writer thread, but for dropped().
#ifndef PROXY_OBSERVE_LOG_SINK_H_
#define PROXY_OBSERVE_LOG_SINK_H_

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "proxy/core/log_plan.h"
#include "proxy/observe/host_lookup.h"
#include "proxy/observe/second_text.h"

namespace parkway {

class LogSink {
 public:
  explicit LogSink(const LogPlan& plan) : plan_(plan) {}
  ~LogSink();
  LogSink(const LogSink&) = delete;
  LogSink& operator=(const LogSink&) = delete;

  // Opens it anew: a file that was renamed stays as it is and another is begun. On failure what was
  // open stays open; returns what was attempted and why it failed, or nothing.
  std::string Open();

  // Why it could not go where `plan` says, before it is to; empty: it can. Any thread.
  static std::string Try(const LogPlan& plan);
  // Goes where `plan` says from now on. On failure nothing has changed; returns why.
  std::string Change(const LogPlan& plan);

  void Line(const std::string& line);
  void Flush();

  // The last thing that went wrong since the last call; empty: nothing did.
  std::string TakeTrouble();
  // Any thread. Lines that could not be written.
  uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  bool is_stream() const {
    return plan_.target != LogPlan::Target::kUnix && plan_.target != LogPlan::Target::kSyslog;
  }
  std::string OpenFile();
  std::string Connect();
  std::string ConnectTo(int family, const void* address, unsigned length);
  void Replace(int fd, bool owned);
  void Send(const std::string& line);
  int SendNow(const std::string& message);  // 0 or errno
  void Drop(uint64_t lines, const std::string& why);

  LogPlan plan_;
  SecondText when_{"%b %e %H:%M:%S", absl::LocalTimeZone()};
  const pid_t pid_ = getpid();
  int fd_ = -1;
  bool owned_ = false;                // to be closed
  bool patient_ = true;               // the last message found room
  bool torn_ = false;                 // the stream ends within a line: the next begins with an end
  std::optional<HostLookup> lookup_;  // of a syslog host; under way
  std::string batch_;
  std::string trouble_;
  std::chrono::steady_clock::time_point next_connect_;
  std::atomic<uint64_t> dropped_{0};
};

}  // namespace parkway

#endif  // PROXY_OBSERVE_LOG_SINK_H_
