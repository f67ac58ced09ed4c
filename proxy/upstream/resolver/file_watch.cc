#include "proxy/upstream/resolver/file_watch.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "poller/check.h"
#include "poller/netpoll.h"

namespace parkway {

namespace {

// How often files are looked at whatever inotify says, and how soon again if one looks different.
constexpr int64_t kLookIntervalNs = 30'000'000'000;
constexpr int64_t kLookAgainNs = 1'000'000'000;
constexpr int kMostLinks = 16;
constexpr uint32_t kEvents = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE |
                             IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string NameOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

bool IsDirectory(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

// What the symbolic link at `path` leads to; empty: it is none.
std::string LinkOf(const std::string& path) {
  std::array<char, PATH_MAX> target;
  const ssize_t size = readlink(path.c_str(), target.data(), target.size());
  if (size <= 0) return {};
  std::string text(target.data(), static_cast<size_t>(size));
  return text.front() == '/' ? text : DirectoryOf(path) + "/" + text;
}

// Just made, and about to be written.
bool IsBeingMade(const std::string& path) {
  struct stat info;
  return lstat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && info.st_nlink == 1;
}

}  // namespace

FileWatch::FileWatch(Scheduler& scheduler) : scheduler_(scheduler), task_(*this) {
  const int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (fd < 0) {
    init_error_ = errno;
  } else {
    int error = 0;
    desc_ = scheduler_.netpoll().Open(fd, nullptr, &error);
    if (desc_ == nullptr) {
      init_error_ = -error;
      close(fd);
    }
  }
  next_look_ = scheduler_.now().PlusNs(kLookIntervalNs);
  task_.live = true;
  scheduler_.Spawn(task_);
}

FileWatch::~FileWatch() { PARKWAY_CHECK(idle(), "a file watch ends while its task waits"); }

void FileWatch::Add(const std::string& path, std::function<void()> changed) {
  Follow(path);
  const Identity now = Look(path);
  files_[path] = File{.changed = std::move(changed), .known = now, .latest = now};
}

void FileWatch::Remove(const std::string& path) {
  files_.erase(path);
  if (desc_ == nullptr) return;
  for (auto it = directories_.begin(); it != directories_.end();) {
    auto& leads = it->second.leads;
    std::erase_if(leads, [&path](const auto& lead) { return lead.second == path; });
    if (!leads.empty()) {
      ++it;
      continue;
    }
    inotify_rm_watch(desc_->fd(), it->first);
    it = directories_.erase(it);
  }
}

void FileWatch::Stop() {
  if (stopped_) return;
  stopped_ = true;
  if (desc_ != nullptr) {
    scheduler_.Evict(*desc_);
  } else {
    scheduler_.Kick(task_);
  }
}

FileWatch::Identity FileWatch::Look(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return {};
  // Not that of its bytes alone: who was refused may be let in now.
  return {info.st_dev, info.st_ino, info.st_size, info.st_ctim.tv_sec, info.st_ctim.tv_nsec};
}

void FileWatch::Follow(const std::string& path) {
  if (desc_ == nullptr) return;
  std::string at = path;
  for (int links = 0; links < kMostLinks; ++links) {
    // The whole way down: a directory, too, may be a link, or replaced, or not there yet.
    std::string way = at;
    while (!way.empty() && way != "/" && way != ".") {
      WatchName(DirectoryOf(way), NameOf(way), path);
      way = DirectoryOf(way);
    }
    std::string next = LinkOf(at);
    // A link on the way leads elsewhere as well: `..data` of a mounted ConfigMap.
    for (std::string above = DirectoryOf(at); next.empty() && above != "/" && above != ".";
         above = DirectoryOf(above)) {
      const std::string target = LinkOf(above);
      if (!target.empty()) next = target + at.substr(above.size());
    }
    if (next.empty()) return;
    at = next;
  }
}

void FileWatch::WatchName(const std::string& directory, const std::string& name,
                          const std::string& path) {
  if (!IsDirectory(directory)) return;
  const int watch = inotify_add_watch(desc_->fd(), directory.c_str(), kEvents);
  if (watch < 0) return;
  Directory& known = directories_[watch];
  known.path = directory;
  known.leads.emplace(name, path);
}

void FileWatch::ReadEvents() {
  std::set<std::string> changed;
  alignas(inotify_event) std::array<char, 4096> bytes;
  for (;;) {
    const ssize_t size = read(desc_->fd(), bytes.data(), bytes.size());
    if (size <= 0) break;
    for (ssize_t at = 0; at < size;) {
      inotify_event event;
      memcpy(&event, bytes.data() + at, sizeof(event));
      // Of the directory itself there is none, not even an empty one.
      const std::string name = event.len == 0 ? "" : bytes.data() + at + sizeof(event);
      at += static_cast<ssize_t>(sizeof(event) + event.len);
      if ((event.mask & IN_Q_OVERFLOW) != 0) {
        for (const auto& [path, file] : files_) changed.insert(path);
        continue;
      }
      const auto found = directories_.find(event.wd);
      if (found == directories_.end()) continue;
      const bool itself = (event.mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED)) != 0;
      const bool made = (event.mask & IN_CREATE) != 0 && (event.mask & IN_ISDIR) == 0 &&
                        IsBeingMade(found->second.path + "/" + name);
      for (const auto& [lead, path] : found->second.leads) {
        if (itself || (lead == name && !made)) changed.insert(path);
      }
      // The kernel has forgotten it.
      if ((event.mask & IN_IGNORED) != 0) directories_.erase(found);
    }
  }
  for (const std::string& path : changed) {
    Follow(path);
    Check(path);
  }
}

void FileWatch::Check(const std::string& path) {
  const auto found = files_.find(path);
  if (found == files_.end()) return;
  File& file = found->second;
  const Identity now = Look(path);
  file.latest = now;
  if (now == file.known) return;
  file.known = now;
  // It may remove itself.
  const std::function<void()> changed = file.changed;
  changed();
}

void FileWatch::LookAround() {
  int64_t pause = kLookIntervalNs;
  std::set<std::string> changed;
  for (auto& [path, file] : files_) {
    const Identity now = Look(path);
    if (now != file.known && now == file.latest) changed.insert(path);
    // Whoever writes it now will have ended soon.
    if (now != file.latest) pause = kLookAgainNs;
    file.latest = now;
  }
  next_look_ = scheduler_.now().PlusNs(pause);
  for (const std::string& path : changed) {
    Follow(path);
    Check(path);
  }
}

Next FileWatch::Wait(Scheduler& scheduler) {
  if (desc_ == nullptr) return Next::SleepUntil(task_.timer, next_look_);
  scheduler.SetDeadline(*desc_, Directions::kRead, next_look_);
  return Next::AwaitReadable(*desc_);
}

Next FileWatch::WatchTask::Run(Scheduler& scheduler, Wake) noexcept {
  if (watch.stopped_) {
    live = false;
    if (PollDesc* desc = std::exchange(watch.desc_, nullptr)) {
      const int fd = desc->fd();
      scheduler.Close(*desc);
      close(fd);
    }
    return Next::Done();
  }
  if (watch.desc_ != nullptr) watch.ReadEvents();
  if (scheduler.now() >= watch.next_look_) watch.LookAround();
  // A callback may have been the end.
  if (watch.stopped_) return Next::Yield();
  return watch.Wait(scheduler);
}

}  // namespace parkway
