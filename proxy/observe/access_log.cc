#include "proxy/observe/access_log.h"

#include <errno.h>
#include <glog/logging.h>
#include <string.h>
#include <unistd.h>

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "proxy/core/health_plan.h"

namespace parkway {

namespace {

// How long a line may wait before it is written with the others.
constexpr auto kBatchInterval = std::chrono::milliseconds(100);
// Without connections to log there is only trouble to wait for.
constexpr auto kQuietInterval = std::chrono::seconds(1);
constexpr auto kStopPatience = std::chrono::seconds(1);
constexpr size_t kMostLines = 1024;
constexpr size_t kBatchBytes = 64 * 1024;

}  // namespace

AccessLog::AccessLog(const Plan& plan, std::vector<LogRing*> rings, int fd)
    : plan_(plan), rings_(std::move(rings)), fd_(fd) {}

AccessLog::~AccessLog() {
  if (thread_.joinable()) Stop();
}

void AccessLog::Start() {
  thread_ = std::thread([this] { Run(); });
}

void AccessLog::Say(std::string line) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (lines_.size() >= kMostLines) return;
    lines_.push_back({true, std::move(line)});
  }
  wake_.notify_one();
}

void AccessLog::Write(std::string line) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (lines_.size() >= kMostLines) return;
    lines_.push_back({false, std::move(line)});
  }
  wake_.notify_one();
}

bool AccessLog::Stop() {
  if (!thread_.joinable()) return true;
  std::unique_lock<std::mutex> lock(mutex_);
  stopping_ = true;
  wake_.notify_one();
  const bool done = wake_.wait_for(lock, kStopPatience, [this] { return stopped_; });
  lock.unlock();
  if (done) {
    thread_.join();
  } else {
    thread_.detach();
  }
  return done;
}

void AccessLog::WriteAll(const std::string& text) {
  size_t written = 0;
  while (written < text.size()) {
    const ssize_t n = write(fd_, text.data() + written, text.size() - written);
    if (n < 0 && errno == EINTR) continue;
    // Nobody reads any more: there is nothing to be done about a log.
    if (n <= 0) return;
    written += static_cast<size_t>(n);
  }
}

void AccessLog::Run() {
  const std::chrono::milliseconds interval = plan_.access_log ? kBatchInterval : kQuietInterval;
  std::string batch;
  for (;;) {
    std::vector<Line> lines;
    bool last = false;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      if (lines_.empty() && !stopping_) wake_.wait_for(lock, interval);
      lines.swap(lines_);
      last = stopping_;
    }
    for (const Line& line : lines) {
      if (line.through_glog) {
        LOG(INFO) << line.text;
      } else {
        absl::StrAppend(&batch, line.text, "\n");
      }
    }
    LogRecord record;
    for (LogRing* ring : rings_) {
      while (ring->Pop(record)) {
        absl::StrAppend(&batch, Format(plan_, record), "\n");
        if (batch.size() >= kBatchBytes) {
          WriteAll(batch);
          batch.clear();
        }
      }
    }
    if (!batch.empty()) WriteAll(batch);
    batch.clear();
    if (last) break;
  }
  std::lock_guard<std::mutex> lock(mutex_);
  stopped_ = true;
  wake_.notify_all();
}

namespace {

// Control characters would break the line.
std::string Escaped(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\r') {
      escaped += "\\r";
    } else if (c == '\n') {
      escaped += "\\n";
    } else if (c < ' ' || c > '~' || c == '"' || c == '\\') {
      absl::StrAppendFormat(&escaped, "\\x%02x", static_cast<uint8_t>(c));
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::string FormatHealth(const Plan& plan, const LogRecord& record) {
  const bool up = record.kind == LogRecord::Kind::kServerUp;
  const UpstreamPlan& upstream = plan.upstreams[record.upstream];
  const ServerPlan& server = upstream.servers[record.server];
  const std::string address = server.health.probe.address.ToString();
  std::string line = absl::StrCat(up ? "NOTICE" : "WARNING", ": upstream ", upstream.name,
                                  " server ", server.name, " is ", up ? "UP" : "DOWN", ": ",
                                  HealthWordName(static_cast<HealthWord>(record.attempts)));
  if (record.error != 0) absl::StrAppend(&line, " (", strerror(record.error), ")");
  const std::string answer = record.text();
  if (!answer.empty()) absl::StrAppend(&line, " \"", Escaped(answer), "\"");
  if (address != server.name) absl::StrAppend(&line, " from ", address);
  absl::StrAppendFormat(&line, " after %.3fms, %d in a row; was %s ",
                        static_cast<double>(record.bytes_up) / 1e6, record.unsent_bytes,
                        up ? "down" : "up");
  if (record.started.ns() == 0) {
    line += "by assumption";
  } else {
    absl::StrAppendFormat(&line, "for %.3fs",
                          static_cast<double>(record.ended.ns() - record.started.ns()) / 1e9);
  }
  absl::StrAppend(&line, "; ", record.listener, " of ", upstream.servers.size(), " servers up");
  return line;
}

}  // namespace

std::string AccessLog::Format(const Plan& plan, const LogRecord& record) {
  if (record.kind == LogRecord::Kind::kServerUp || record.kind == LogRecord::Kind::kServerDown) {
    return FormatHealth(plan, record);
  }
  const ListenerPlan& listener = plan.listeners[record.listener];
  if (record.kind == LogRecord::Kind::kAcceptTrouble) {
    return absl::StrFormat("listener %s: accept: %s; paused, the backlog queues", listener.name,
                           strerror(record.error));
  }
  if (record.kind == LogRecord::Kind::kWouldRefuse) {
    return absl::StrFormat("listener %s: dry_run: client %s would end with cause=%s", listener.name,
                           record.client.ToString(), CloseCauseName(record.cause));
  }
  // One that no route took has none.
  const UpstreamPlan* upstream =
      record.upstream < plan.upstreams.size() ? &plan.upstreams[record.upstream] : nullptr;
  const double seconds =
      static_cast<double>(record.ended.ns() - record.started.ns()) / 1'000'000'000.0;
  // A client that found no server has none.
  const std::string server =
      record.attempts > 0 ? TargetOf(upstream->servers[record.server], listener).ToString() : "-";
  return absl::StrFormat(
      "client=%s listener=%s upstream=%s server=%s bytes_in=%d bytes_out=%d duration=%.3fs "
      "cause=%s attempts=%d unsent=%d",
      record.client.ToString(), listener.name, upstream == nullptr ? "-" : upstream->name, server,
      record.bytes_up, record.bytes_down, seconds, CloseCauseName(record.cause), record.attempts,
      record.unsent_bytes);
}

}  // namespace parkway
