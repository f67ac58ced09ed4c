#include "proxy/admin/socket_server.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "poller/address.h"
#include "poller/check.h"
#include "poller/kernel.h"
#include "poller/listener.h"
#include "proxy/admin/session.h"

namespace parkway::admin {

namespace {

constexpr mode_t kMode = 0660;
constexpr int kBacklog = 128;
constexpr int kMostPerActivation = 16;
// Out of descriptors: somebody must close something first.
constexpr int64_t kResourcePauseNs = 100'000'000;
constexpr uint32_t kMostSaidPerSecond = 20;
constexpr int64_t kSecondNs = 1'000'000'000;
// For another Parkway that is just starting on the same folder.
constexpr int kLockTries = 50;
constexpr useconds_t kLockPauseUs = 20'000;

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// The lock of a folder; the kernel takes it back when the descriptor is closed.
class FolderLock {
 public:
  explicit FolderLock(const std::string& folder)
      : fd_(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (fd_ < 0) {
      error_ = errno;
      return;
    }
    for (int i = 0; i < kLockTries; ++i) {
      if (flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
      error_ = errno;
      if (errno != EWOULDBLOCK) break;
      usleep(kLockPauseUs);
    }
    close(std::exchange(fd_, -1));
  }
  ~FolderLock() {
    if (fd_ >= 0) close(fd_);
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

  bool held() const { return fd_ >= 0; }
  int error() const { return error_; }

 private:
  int fd_;
  int error_ = 0;
};

}  // namespace

// Accepts; the listener is level-triggered, so what is left is reported again.
class SocketServer::Acceptor final : public Task {
 public:
  explicit Acceptor(SocketServer& server) : server_(server) {}

  const char* name() const override { return "admin acceptor"; }

  Next Run(Scheduler& scheduler, Wake) noexcept override {
    PollDesc& desc = *server_.desc_;
    if (server_.stopping_) return Close(scheduler);
    if (std::exchange(paused_, false)) {
      static_cast<void>(scheduler.netpoll().ResumeListener(desc));
    }
    for (int i = 0; i < kMostPerActivation; ++i) {
      const Accepted accepted = AcceptOne(server_.fd_);
      if (accepted.fd >= 0) {
        server_.Adopt(accepted.fd);
      } else if (accepted.error == EAGAIN) {
        break;
      } else if (AcceptMustPause(accepted.error)) {
        paused_ = true;
        static_cast<void>(scheduler.netpoll().PauseListener(desc));
        return Next::SleepUntil(timer_, scheduler.now().PlusNs(kResourcePauseNs));
      }
    }
    return Next::AwaitReadable(desc);
  }

 private:
  Next Close(Scheduler& scheduler) {
    scheduler.Close(*server_.desc_);
    server_.desc_ = nullptr;
    kernel::Close(std::exchange(server_.fd_, -1));
    return Next::Done();
  }

  SocketServer& server_;
  SleepTimer timer_;
  bool paused_ = false;
};

SocketServer::SocketServer(Scheduler& scheduler, Options options, Execute execute, Say say)
    : scheduler_(scheduler),
      options_(std::move(options)),
      execute_(std::move(execute)),
      say_(std::move(say)) {}

SocketServer::~SocketServer() {
  PARKWAY_CHECK(done(), "the admin socket ends while somebody talks to it");
}

// ---------------------------------------------------------------------------------------------
// The file

std::string SocketServer::Start() {
  std::string wrong;
  fd_ = Bind(&wrong);
  if (fd_ < 0) {
    return absl::StrCat("admin socket: cannot listen on ", options_.path, ": ", wrong);
  }
  desc_ = scheduler_.netpoll().Allocate(fd_, nullptr);
  const int error = desc_ == nullptr ? -ENOMEM : scheduler_.netpoll().RegisterListener(*desc_);
  if (error != 0) {
    if (desc_ != nullptr) {
      scheduler_.Evict(*desc_);
      scheduler_.Close(*std::exchange(desc_, nullptr));
    }
    kernel::Close(std::exchange(fd_, -1));
    RemoveOwnFile();
    return absl::StrCat("admin socket: cannot wait for ", options_.path, ": ", strerror(-error));
  }
  acceptor_ = std::make_unique<Acceptor>(*this);
  scheduler_.SpawnAwaiting(*acceptor_, *desc_, Direction::kRead);
  return "";
}

// The fd, or -1 and what is wrong. Between bind and listen nobody can connect, so that nobody does
// before the file has its group and mode.
int SocketServer::Bind(std::string* wrong) {
  if (options_.path.size() > Address::kMostPathBytes) {
    *wrong = absl::StrCat("the path is longer than ", Address::kMostPathBytes, " bytes");
    return -1;
  }
  const FolderLock lock(FolderOf(options_.path));
  if (!lock.held()) {
    *wrong = lock.error() == EWOULDBLOCK
                 ? absl::StrCat("another process has ", FolderOf(options_.path), " locked")
                 : absl::StrCat(FolderOf(options_.path), ": ", strerror(lock.error()));
    return -1;
  }
  if (!RemoveStale(wrong)) return -1;
  const int fd = kernel::Socket(AF_UNIX, SOCK_STREAM);
  if (fd < 0) {
    *wrong = strerror(-fd);
    return -1;
  }
  const Address address = Address::UnixPath(options_.path);
  int error = kernel::Bind(fd, address.data(), address.size());
  struct stat info;
  if (error == 0 && lstat(options_.path.c_str(), &info) == 0) {
    device_ = info.st_dev;
    inode_ = info.st_ino;
    GiveToGroup();
    if (chmod(options_.path.c_str(), kMode) != 0) error = -errno;
  }
  if (error == 0) error = kernel::Listen(fd, kBacklog);
  if (error == 0) return fd;
  *wrong = strerror(-error);
  kernel::Close(fd);
  RemoveOwnFile();
  return -1;
}

// Removes the file of a process that ended without doing so. False: it is somebody's.
bool SocketServer::RemoveStale(std::string* wrong) {
  struct stat info;
  if (lstat(options_.path.c_str(), &info) != 0) {
    if (errno == ENOENT) return true;
    *wrong = strerror(errno);
    return false;
  }
  if (!S_ISSOCK(info.st_mode)) {
    *wrong = "there is a file that is no socket; it is left alone";
    return false;
  }
  const int probe = kernel::Socket(AF_UNIX, SOCK_STREAM);
  if (probe < 0) {
    *wrong = strerror(-probe);
    return false;
  }
  const Address address = Address::UnixPath(options_.path);
  const int result = kernel::Connect(probe, address.data(), address.size());
  kernel::Close(probe);
  if (result != -ECONNREFUSED) {
    *wrong = "another process listens there";
    return false;
  }
  if (unlink(options_.path.c_str()) == 0 || errno == ENOENT) return true;
  *wrong = absl::StrCat("a stale file is there and cannot be removed: ", strerror(errno));
  return false;
}

void SocketServer::GiveToGroup() {
  const struct group* group = getgrnam(options_.group.c_str());
  if (group == nullptr) return;
  if (lchown(options_.path.c_str(), static_cast<uid_t>(-1), group->gr_gid) != 0) {
    say_(absl::StrCat("admin socket: ", options_.path, " cannot be given to the group ",
                      options_.group, ": ", strerror(errno), "; it stays with ours"));
  }
}

void SocketServer::RemoveOwnFile() {
  struct stat info;
  if (inode_ == 0 || lstat(options_.path.c_str(), &info) != 0) return;
  if (info.st_dev == device_ && info.st_ino == inode_) unlink(options_.path.c_str());
}

// ---------------------------------------------------------------------------------------------
// Who talks

// The task is not asked to stop but to look: it may be asleep, or waiting for a client.
void SocketServer::Stop() {
  if (stopping_) return;
  stopping_ = true;
  if (desc_ == nullptr) return;
  RemoveOwnFile();
  scheduler_.Evict(*desc_);
  scheduler_.Kick(*acceptor_);
  for (const auto& session : sessions_) session->End();
}

void SocketServer::Adopt(int fd) {
  if (!MakeRoom() || !scheduler_.StackAvailable()) {
    static constexpr std::string_view kFull = "error: too many clients\n";
    static_cast<void>(kernel::Send(fd, kFull.data(), kFull.size(), 0));
    kernel::Close(fd);
    SayLimited("admin: a client was turned away: too many");
    return;
  }
  const Session::Times times{.idle = options_.idle_patience,
                             .line = options_.line_patience,
                             .write = options_.write_patience};
  auto session = std::make_unique<Session>(scheduler_, fd, times, execute_,
                                           [this](Session& left) { Left(left); });
  if (!session->ok()) return;
  SayLimited(absl::StrCat("admin: connected: ", session->who()));
  sessions_.push_back(std::move(session));
  scheduler_.Spawn(*sessions_.back());
}

bool SocketServer::MakeRoom() {
  size_t staying = 0;
  Session* idlest = nullptr;
  for (const auto& session : sessions_) {
    if (session->ending()) continue;
    ++staying;
    if (session->idle() && (idlest == nullptr || session->since() < idlest->since())) {
      idlest = session.get();
    }
  }
  if (staying < kMostSessions) return true;
  if (idlest == nullptr) return false;
  idlest->End();
  return true;
}

void SocketServer::Left(Session& session) {
  sessions_.remove_if([&session](const auto& one) { return one.get() == &session; });
}

void SocketServer::SayLimited(std::string line) {
  const MonotonicTime now = scheduler_.now();
  if (now >= said_since_.PlusNs(kSecondNs)) {
    if (unsaid_ > 0) say_(absl::StrCat("admin: ", unsaid_, " more lines like these were left out"));
    said_since_ = now;
    said_ = 0;
    unsaid_ = 0;
  }
  if (said_++ < kMostSaidPerSecond) {
    say_(std::move(line));
  } else {
    ++unsaid_;
  }
}

}  // namespace parkway::admin
