#include "proxy/observe/log_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace parkway {

namespace {

constexpr size_t kBatchBytes = 64 * 1024;
constexpr auto kConnectPause = std::chrono::seconds(1);
// For a reader of a socket that does not keep up.
constexpr timeval kPatience = {.tv_sec = 0, .tv_usec = 200'000};
// A name server that answers does so by then; one that does not must keep nobody from the log.
constexpr auto kLookupPatience = std::chrono::milliseconds(200);
constexpr int kFileMode = 0640;
// RFC 3164: <facility * 8 + severity>; info.
constexpr uint32_t kSeverities = 8;
constexpr uint32_t kInfo = 6;

// -1: *why says what was attempted and why it failed.
int OpenToAppend(const std::string& path, std::string* why) {
  // Whoever opens a pipe that nobody reads waits for a reader, and here that may be the control
  // thread.
  const int fd =
      open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, kFileMode);
  if (fd < 0) {
    *why = absl::StrCat("access_log: cannot open ", path, ": ", strerror(errno),
                        errno == ENXIO ? "; nobody reads there" : "");
  } else {
    fcntl(fd, F_SETFL, O_APPEND);
  }
  return fd;
}

}  // namespace

LogSink::~LogSink() { Replace(-1, false); }

void LogSink::Replace(int fd, bool owned) {
  if (owned_ && fd_ >= 0) close(fd_);
  fd_ = fd;
  owned_ = owned;
  torn_ = false;
}

std::string LogSink::Open() {
  switch (plan_.target) {
    case LogPlan::Target::kOff:
      Replace(-1, false);
      return "";
    case LogPlan::Target::kStderr:
      Replace(STDERR_FILENO, false);
      return "";
    case LogPlan::Target::kStdout:
      Replace(STDOUT_FILENO, false);
      return "";
    case LogPlan::Target::kFile:
      return OpenFile();
    case LogPlan::Target::kUnix:
    case LogPlan::Target::kSyslog:
      break;
  }
  // Whoever listens there may begin to later.
  trouble_ = Connect();
  return "";
}

// Whoever takes datagrams may begin to later.
std::string LogSink::Try(const LogPlan& plan) {
  std::string why;
  if (plan.target != LogPlan::Target::kFile) return why;
  if (const int fd = OpenToAppend(plan.where, &why); fd >= 0) close(fd);
  return why;
}

std::string LogSink::Change(const LogPlan& plan) {
  Flush();
  const LogPlan before = std::exchange(plan_, plan);
  if (before.where != plan.where || before.port != plan.port) lookup_.reset();
  // Only what is said there has changed.
  if (before.target == plan.target && before.where == plan.where && before.port == plan.port) {
    return "";
  }
  if (!is_stream()) Replace(-1, false);
  std::string failure = Open();
  if (!failure.empty()) plan_ = before;
  return failure;
}

std::string LogSink::OpenFile() {
  std::string why;
  const int fd = OpenToAppend(plan_.where, &why);
  if (fd < 0) return why;
  Flush();
  Replace(fd, true);
  return "";
}

std::string LogSink::Connect() {
  next_connect_ = std::chrono::steady_clock::now() + kConnectPause;
  if (plan_.target == LogPlan::Target::kUnix) {
    sockaddr_un to = {};
    to.sun_family = AF_UNIX;
    if (plan_.where.size() >= sizeof(to.sun_path)) {
      return absl::StrCat("access_log: the path ", plan_.where, " is too long for a unix socket");
    }
    memcpy(to.sun_path, plan_.where.data(), plan_.where.size());
    return ConnectTo(AF_UNIX, &to, sizeof(to));
  }
  if (!lookup_.has_value()) lookup_.emplace(plan_.where, plan_.port);
  const int answer = lookup_->Wait(kLookupPatience);
  if (answer == EAI_INPROGRESS) {
    return absl::StrCat("access_log: syslog host ", plan_.where, ": no name server answers");
  }
  std::string failure;
  if (answer != 0) {
    failure = absl::StrCat("access_log: syslog host ", plan_.where, ": ", gai_strerror(answer));
  } else {
    for (const addrinfo* one = lookup_->addresses(); one != nullptr; one = one->ai_next) {
      failure = ConnectTo(one->ai_family, one->ai_addr, one->ai_addrlen);
      if (failure.empty()) break;
    }
  }
  lookup_.reset();
  return failure;
}

std::string LogSink::ConnectTo(int family, const void* address, unsigned length) {
  const int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return absl::StrCat("access_log: no socket for ", plan_.where, ": ", strerror(errno));
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof(kPatience));
  if (connect(fd, static_cast<const sockaddr*>(address), length) != 0) {
    const int error = errno;
    close(fd);
    return absl::StrCat("access_log: cannot send to ", plan_.where, ": ", strerror(error));
  }
  Replace(fd, true);
  return "";
}

void LogSink::Line(const std::string& line) {
  if (plan_.target == LogPlan::Target::kOff) return;
  if (!is_stream()) return Send(line);
  absl::StrAppend(&batch_, line, "\n");
  if (batch_.size() >= kBatchBytes) Flush();
}

void LogSink::Flush() {
  if (batch_.empty()) return;
  if (torn_) batch_.insert(0, 1, '\n');
  size_t written = 0;
  int error = fd_ < 0 ? EBADF : 0;
  while (error == 0 && written < batch_.size()) {
    const ssize_t n = write(fd_, batch_.data() + written, batch_.size() - written);
    if (n > 0) {
      written += static_cast<size_t>(n);
    } else if (n == 0 || errno != EINTR) {
      error = n == 0 ? EIO : errno;
    }
  }
  if (error != 0) {
    // Lines that went out whole are not lost.
    const auto rest = static_cast<ptrdiff_t>(written);
    const auto lost = std::count(batch_.begin() + rest, batch_.end(), '\n');
    Drop(static_cast<uint64_t>(lost) - (torn_ && written == 0 ? 1 : 0),
         absl::StrCat("access_log: cannot write to ",
                      plan_.where.empty() ? "the stream" : plan_.where, ": ", strerror(error)));
  }
  if (written > 0) torn_ = batch_[written - 1] != '\n';
  batch_.clear();
}

void LogSink::Send(const std::string& line) {
  if (fd_ < 0 && std::chrono::steady_clock::now() >= next_connect_) {
    const std::string failure = Connect();
    if (!failure.empty()) trouble_ = failure;
  }
  if (fd_ < 0) return Drop(1, "");
  const std::string message = absl::StrCat("<", plan_.facility * kSeverities + kInfo, ">",
                                           when_.Of(absl::Now()), " parkway[", pid_, "]: ", line);
  int error = SendNow(message);
  // Over UDP that is the answer to one before it.
  if (error == ECONNREFUSED && plan_.target == LogPlan::Target::kSyslog) error = SendNow(message);
  // The queue of a unix socket is short: its reader gets a moment, but not each time.
  patient_ = error != EAGAIN;
  if (error == 0) return;
  Drop(1, absl::StrCat("access_log: cannot send to ", plan_.where, ": ", strerror(error)));
  // Full, or an answer to an earlier one over UDP: the socket is good. Else its other side has gone
  // and may come back under the same name.
  if (plan_.target == LogPlan::Target::kUnix && error != EAGAIN && error != ENOBUFS &&
      error != EMSGSIZE) {
    Replace(-1, false);
  }
}

int LogSink::SendNow(const std::string& message) {
  const int flags = MSG_NOSIGNAL | (patient_ ? 0 : MSG_DONTWAIT);
  return send(fd_, message.data(), message.size(), flags) < 0 ? errno : 0;
}

void LogSink::Drop(uint64_t lines, const std::string& why) {
  dropped_.fetch_add(lines, std::memory_order_relaxed);
  if (!why.empty()) trouble_ = why;
}

std::string LogSink::TakeTrouble() {
  std::string trouble;
  trouble.swap(trouble_);
  return trouble;
}

}  // namespace parkway
