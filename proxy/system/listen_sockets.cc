#include "proxy/system/listen_sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "poller/kernel.h"
#include "poller/listener.h"
#include "poller/socket.h"
#include "poller/socket_options.h"
#include "proxy/system/owner.h"

namespace parkway {

namespace {

// A file left behind by a process that ended without removing it: nobody listens there.
bool IsStaleUnixSocket(const Address& address) {
  struct stat info;
  const std::string path(address.path());
  if (lstat(path.c_str(), &info) != 0 || !S_ISSOCK(info.st_mode)) return false;
  const int fd = kernel::Socket(AF_UNIX, SOCK_STREAM);
  if (fd < 0) return false;
  const int result = kernel::Connect(fd, address.data(), address.size());
  kernel::Close(fd);
  return result == -ECONNREFUSED;
}

// The owner and mode of a unix socket. Empty, or why not.
std::string GiveTo(const ListenerPlan& plan, const std::string& path) {
  int error = 0;
  if (!plan.owner.empty()) {
    const std::optional<Owner> owner = FindOwner(plan.owner);
    if (!owner.has_value()) {
      return absl::StrCat("listener ", plan.name, ": owner=", plan.owner,
                          ": there is no such user or group here");
    }
    if (chown(path.c_str(), owner->user, owner->group) != 0) error = errno;
  }
  if (error == 0 && chmod(path.c_str(), plan.mode) != 0) error = errno;
  if (error == 0) return "";
  return absl::StrCat("listener ", plan.name, ": cannot set the owner and mode of ", path, ": ",
                      strerror(error), error == EPERM ? "; that needs CAP_CHOWN" : "");
}

// As it is now.
SocketPath PathOf(std::string path) {
  SocketPath made;
  struct stat info;
  if (lstat(path.c_str(), &info) == 0) {
    made.device = info.st_dev;
    made.file = info.st_ino;
  }
  made.path = std::move(path);
  return made;
}

bool MayVanish() {
  const int fd = kernel::Socket(AF_INET, SOCK_STREAM);
  if (fd < 0) return true;  // the next one that is made will tell
  const bool may = VanishOnClose(fd);
  kernel::Close(fd);
  return may;
}

ListenOptions OptionsOf(const ListenerPlan& plan) {
  return {.backlog = plan.backlog,
          .v6only = plan.v6only,
          .freebind = plan.freebind,
          .transparent = plan.transparent,
          .defer_accept_s = plan.defer_accept_s,
          .sockets = &plan.sockets};
}

// Whether an address that overlaps can be bound by us.
bool CanShare(const Neighbor& neighbor) {
  struct stat info;
  return !neighbor.inherited && std::all_of(neighbor.fds.begin(), neighbor.fds.end(), [&](int fd) {
    return fstat(fd, &info) == 0 && info.st_uid == geteuid();
  });
}

// While this lives, an address that overlaps theirs can be bound.
class SharedNeighbors {
 public:
  explicit SharedNeighbors(const std::vector<Neighbor>& neighbors) {
    for (const Neighbor& neighbor : neighbors) {
      // Those of several workers are shared for good.
      if (neighbor.fds.size() != 1 || !CanShare(neighbor)) continue;
      const int fd = neighbor.fds.front();
      if (ShareListener(fd, true) == 0) shared_.push_back(fd);
    }
  }
  ~SharedNeighbors() {
    for (const int fd : shared_) static_cast<void>(ShareListener(fd, false));
  }
  SharedNeighbors(const SharedNeighbors&) = delete;
  SharedNeighbors& operator=(const SharedNeighbors&) = delete;

 private:
  std::vector<int> shared_;
};

// Who has an address that cannot be bound.
std::string Holder(const std::vector<Neighbor>& neighbors) {
  for (const Neighbor& neighbor : neighbors) {
    if (CanShare(neighbor)) continue;
    return absl::StrCat("our own listener ", neighbor.name, " has ", neighbor.address.ToString(),
                        " by a socket that another user or process has opened; restart for it");
  }
  return neighbors.empty() ? "another process has it" : "another process has it, or a part of it";
}

// One socket more; `address` gets the port that the kernel chose. Empty, or why not.
std::string OpenOne(const ListenerPlan& plan, bool share, const std::vector<Neighbor>& neighbors,
                    Address& address, std::vector<int>& fds) {
  ListenOptions options = OptionsOf(plan);
  options.share = share;
  options.join = !fds.empty() || !neighbors.empty();
  OptionFailure refused;
  int fd = OpenListenSocket(address, options, &address, &refused);
  if (fd == -EADDRINUSE && address.is_path() && IsStaleUnixSocket(address)) {
    unlink(std::string(address.path()).c_str());
    fd = OpenListenSocket(address, options, &address, &refused);
  }
  if (refused.failed()) return absl::StrCat("listener ", plan.name, ": ", refused.ToString());
  if (fd < 0) {
    return absl::StrCat("listener ", plan.name, ": cannot listen on ", plan.address.ToString(),
                        ": ", strerror(-fd),
                        fd == -EADDRINUSE ? absl::StrCat("; ", Holder(neighbors)) : std::string());
  }
  fds.push_back(fd);
  return "";
}

// A copy of an inherited socket.
ListenSockets Join(const ListenerPlan& plan, const InheritedSocket& socket) {
  ListenSockets sockets;
  sockets.inherited = true;
  const int fd = fcntl(socket.fd, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) {
    sockets.error = absl::StrCat("listener ", plan.name, ": the socket ", socket.name,
                                 " that was passed to us: ", strerror(errno));
    return sockets;
  }
  const OptionFailure refused = SetListenerOptions(fd, plan.address.family(), OptionsOf(plan));
  if (!refused.failed()) {
    sockets.fds.push_back(fd);
    return sockets;
  }
  kernel::Close(fd);
  sockets.error = absl::StrCat("listener ", plan.name, ": ", refused.ToString());
  return sockets;
}

}  // namespace

ListenSockets OpenListenSockets(const ListenerPlan& plan, size_t workers,
                                const std::vector<InheritedSocket>& inherited,
                                const std::vector<Neighbor>& neighbors) {
  for (const InheritedSocket& socket : inherited) {
    if (socket.address.Unmapped() == plan.address.Unmapped()) return Join(plan, socket);
  }
  // A unix socket cannot be shared: one worker accepts, and hands over.
  const size_t count = plan.address.is_unix() || !plan.reuseport ? 1 : workers;
  ListenSockets sockets;
  if (plan.reject == Reject::kDrop && !MayVanish()) {
    sockets.error = absl::StrCat("listener ", plan.name, ": reject=drop needs CAP_NET_ADMIN");
    return sockets;
  }
  Address address = plan.address;
  {
    const SharedNeighbors shared(neighbors);
    while (sockets.error.empty() && sockets.fds.size() < count) {
      sockets.error = OpenOne(plan, count > 1, neighbors, address, sockets.fds);
    }
  }
  // The default umask must not decide who may connect.
  if (sockets.error.empty() && address.is_path()) {
    sockets.path = PathOf(std::string(address.path()));
    sockets.error = GiveTo(plan, sockets.path.path);
  }
  if (!sockets.error.empty()) {
    std::string error = sockets.error;
    Discard(plan, sockets);
    sockets.error = std::move(error);
  }
  return sockets;
}

const char* NeedsNewSocket(const ListenerPlan& before, const ListenerPlan& plan) {
  if (before.v6only != plan.v6only) return "v6only";
  if (before.freebind != plan.freebind) return "freebind";
  if (before.transparent != plan.transparent) return "transparent";
  if (before.sockets.multipath != plan.sockets.multipath) return "mptcp";
  return nullptr;
}

std::string Readjust(const ListenerPlan& before, const ListenerPlan& plan,
                     const std::vector<int>& fds, bool inherited) {
  for (const int fd : fds) {
    const OptionFailure option =
        ChangeListenerOptions(fd, plan.address.family(), OptionsOf(before), OptionsOf(plan));
    if (option.failed()) return absl::StrCat("listener ", plan.name, ": ", option.ToString());
    if (inherited) continue;
    if (const int refused = kernel::Listen(fd, plan.backlog); refused != 0) {
      return absl::StrCat("listener ", plan.name, ": cannot change the backlog of ",
                          plan.address.ToString(), ": ", strerror(-refused));
    }
  }
  if (inherited || !plan.address.is_path()) return "";
  return GiveTo(plan, std::string(plan.address.path()));
}

void RemovePath(const SocketPath& path) {
  if (path.path.empty()) return;
  const SocketPath now = PathOf(path.path);
  if (now.device == path.device && now.file == path.file) unlink(path.path.c_str());
}

void Discard(const ListenerPlan& plan, ListenSockets& sockets) {
  // Only a socket that was bound has made the path.
  if (!sockets.fds.empty() && plan.address.is_path() && !sockets.inherited) {
    unlink(std::string(plan.address.path()).c_str());
  }
  for (const int fd : sockets.fds) kernel::Close(fd);
  sockets.fds.clear();
}

}  // namespace parkway
