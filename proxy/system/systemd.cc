#include "proxy/system/systemd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include <cstdint>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace parkway {

namespace {

// A field is a line.
std::string OneLine(const std::string& text) { return absl::StrReplaceAll(text, {{"\n", " "}}); }

uint64_t MonotonicUsec() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1'000;
}

}  // namespace

Systemd::Systemd() : present_(getenv("NOTIFY_SOCKET") != nullptr) {
  uint64_t usec = 0;
  if (present_ && sd_watchdog_enabled(0, &usec) > 0) watchdog_ = absl::Microseconds(usec);
}

void Systemd::Send(const std::string& text) {
  if (present_) sd_notify(0, text.c_str());
}

void Systemd::Ready(const std::string& status) {
  last_status_ = OneLine(status);
  Send(absl::StrCat("READY=1\nSTATUS=", last_status_));
}

void Systemd::Reloading() { Send(absl::StrCat("RELOADING=1\nMONOTONIC_USEC=", MonotonicUsec())); }

void Systemd::Stopping(const std::string& status) {
  last_status_ = OneLine(status);
  Send(absl::StrCat("STOPPING=1\nSTATUS=", last_status_));
}

void Systemd::Status(const std::string& status) {
  if (!present_) return;
  const std::string line = OneLine(status);
  if (line == last_status_) return;
  last_status_ = line;
  Send(absl::StrCat("STATUS=", line));
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
