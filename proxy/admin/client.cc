#include "proxy/admin/client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "config/text.h"

namespace parkway::admin {

using config::Cat;

namespace {

constexpr int kLongestWaitMs = 1'000'000;
constexpr size_t kPieceBytes = 64 * 1024;

}  // namespace

Client::~Client() {
  if (fd_ >= 0) close(fd_);
}

std::string Client::Connect(const std::string& path, absl::Time deadline) {
  path_ = path;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return Cat("cannot connect to ", path, ": a path of a socket is shorter");
  }
  path.copy(address.sun_path, path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return Cat("no socket: ", strerror(errno));
  // A queue that is full has no event that says when it is not.
  while (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    const int error = errno;
    if (error == EINTR) continue;
    if (error == EAGAIN && absl::Now() < deadline) {
      absl::SleepFor(absl::Milliseconds(20));
      continue;
    }
    close(fd);
    return Cat("cannot connect to ", path, ": ", strerror(error),
               error == ENOENT || error == ECONNREFUSED
                   ? "; is parkway running, with this --admin_socket?"
                   : "");
  }
  fd_ = fd;
  return "";
}

bool Client::WaitFor(short events, absl::Time deadline) const {
  pollfd waiting = {fd_, events, 0};
  for (;;) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return false;
    const int ms =
        static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(left) + 1, kLongestWaitMs));
    if (poll(&waiting, 1, ms) > 0) return true;
  }
}

Client::Answered Client::Break(Status status, std::string why) {
  close(std::exchange(fd_, -1));
  in_.clear();
  return {status, std::move(why)};
}

Client::Answered Client::Ask(std::string_view command, bool json, absl::Time deadline,
                             const OnLine& on_line) {
  const std::string line = Cat("--framed ", json ? "--json " : "", command, "\n");
  for (size_t sent = 0; sent < line.size();) {
    const ssize_t taken = send(fd_, line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
    if (taken > 0) {
      sent += static_cast<size_t>(taken);
    } else if (errno == EAGAIN) {
      if (!WaitFor(POLLOUT, deadline)) return Break(Status::kTimeout, "it takes no command");
    } else if (errno != EINTR) {
      // What it said before it left may say why.
      break;
    }
  }
  std::string piece(kPieceBytes, '\0');
  for (size_t begin = 0;;) {
    for (size_t end = in_.find('\n', begin); end != std::string::npos;
         end = in_.find('\n', begin)) {
      const std::string_view text = std::string_view(in_).substr(begin, end - begin);
      begin = end + 1;
      if (text.starts_with('=')) {
        int status = 0;
        if (!text.empty()) status = text.back() - '0';
        in_.erase(0, begin);
        return {static_cast<Status>(status), ""};
      }
      const char kind = text.empty() ? ' ' : text.front();
      if (kind == '+' || kind == '-' || kind == '*') {
        on_line(static_cast<Kind>(kind), text.substr(1));
      } else {
        on_line(Kind::kError, text);  // said before it knew our manners
      }
    }
    in_.erase(0, std::exchange(begin, 0));
    const ssize_t got = recv(fd_, piece.data(), piece.size(), 0);
    if (got > 0) {
      in_.append(piece, 0, static_cast<size_t>(got));
    } else if (got < 0 && errno == EAGAIN) {
      if (!WaitFor(POLLIN, deadline)) return Break(Status::kTimeout, "no answer in time");
    } else if (got == 0 || errno != EINTR) {
      return Break(Status::kRefused, Cat(path_, ": the daemon closed the connection"));
    }
  }
}

}  // namespace parkway::admin
