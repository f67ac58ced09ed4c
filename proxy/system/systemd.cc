#include "proxy/system/systemd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace parkway {

namespace {

// States that could not be told: of a manager that does not hear the latest count.
constexpr size_t kMostUntold = 16;

// A field is a line.
std::string OneLine(const std::string& text) { return absl::StrReplaceAll(text, {{"\n", " "}}); }

uint64_t MonotonicUsec() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1'000;
}

}  // namespace

Systemd::Systemd(std::function<void(const std::string&)> say) : say_(std::move(say)) {
  if (const char* socket = getenv("NOTIFY_SOCKET"); socket != nullptr) socket_ = socket;
  present_ = !socket_.empty();
  uint64_t usec = 0;
  // More than a duration can hold is for ever.
  if (present_ && sd_watchdog_enabled(0, &usec) > 0 && usec <= INT64_MAX) {
    watchdog_ = absl::Microseconds(static_cast<int64_t>(usec));
  }
}

Systemd::~Systemd() {
  if (fd_ >= 0) close(fd_);
}

int Systemd::TryDeliver(const std::string& text) {
  const bool abstract = socket_[0] == '@';
  if ((!abstract && socket_[0] != '/') || socket_.size() > Address::kMostPathBytes) {
    const int sent = sd_notify(0, text.c_str());  // a kind of address that is not ours
    return sent < 0 ? -sent : 0;
  }
  if (fd_ < 0) fd_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return errno;
  const Address to = abstract ? Address::UnixAbstract(std::string_view(socket_).substr(1))
                              : Address::UnixPath(socket_);
  const ssize_t sent =
      sendto(fd_, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL, to.data(), to.size());
  return sent < 0 ? errno : 0;
}

bool Systemd::Deliver(const std::string& text) {
  const int error = TryDeliver(text);
  if (error != 0 && !std::exchange(complained_, true) && say_ != nullptr) {
    say_(absl::StrCat("service manager: cannot tell ", text.substr(0, text.find('\n')), " to ",
                      socket_, ": ", strerror(error), "; it is told when that can be done"));
  }
  if (error == 0) complained_ = false;
  return error == 0;
}

bool Systemd::SendUntold() {
  while (!untold_.empty() && Deliver(untold_.front())) untold_.pop_front();
  return untold_.empty();
}

bool Systemd::Send(const std::string& text) { return !present_ || (SendUntold() && Deliver(text)); }

void Systemd::Tell(const std::string& state) {
  if (Send(state)) return;
  if (untold_.size() == kMostUntold) untold_.pop_front();
  untold_.push_back(state);
}

void Systemd::Ready(const std::string& status) {
  last_status_ = OneLine(status);
  Tell(absl::StrCat("READY=1\nSTATUS=", last_status_));
}

void Systemd::Reloading() { Tell(absl::StrCat("RELOADING=1\nMONOTONIC_USEC=", MonotonicUsec())); }

void Systemd::Stopping(const std::string& status) {
  last_status_ = OneLine(status);
  Tell(absl::StrCat("STOPPING=1\nSTATUS=", last_status_));
}

void Systemd::Status(const std::string& status) {
  if (!present_) return;
  const std::string line = OneLine(status);
  if (line == last_status_) {
    SendUntold();
  } else if (Send(absl::StrCat("STATUS=", line))) {
    last_status_ = line;
  }
}

void Systemd::Beat() { Send("WATCHDOG=1"); }

void Systemd::Extend(absl::Duration more) {
  Send(absl::StrCat("EXTEND_TIMEOUT_USEC=", absl::ToInt64Microseconds(more)));
}

std::vector<InheritedSocket> TakeInheritedSockets(std::string* error) {
  std::vector<InheritedSocket> sockets;
  char** names = nullptr;
  const int count = sd_listen_fds_with_names(1, &names);
  if (count < 0) {
    *error = absl::StrCat("the sockets that were passed to us cannot be taken (LISTEN_FDS): ",
                          strerror(-count));
    return sockets;
  }
  for (int i = 0; i < count; ++i) {
    const int fd = SD_LISTEN_FDS_START + i;
    sockaddr_storage address = {};
    socklen_t size = sizeof(address);
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    sockets.push_back({fd, names == nullptr ? "unknown" : names[i],
                       Address::FromSockaddr(reinterpret_cast<sockaddr*>(&address), size)});
    if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0) {
      *error = absl::StrCat("the socket ", sockets.back().name, " (descriptor ", fd,
                            ") that was passed to us is no listening stream socket; a socket unit ",
                            "needs ListenStream= and Accept=no");
    } else if (const int flags = fcntl(fd, F_GETFL); fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
      *error = absl::StrCat("the socket ", sockets.back().name, " (descriptor ", fd,
                            ") that was passed to us: ", strerror(errno));
    }
  }
  for (int i = 0; i < count && names != nullptr; ++i) free(names[i]);
  free(names);
  return sockets;
}

}  // namespace parkway
