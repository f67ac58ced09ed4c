// FileWatch: says when a file has changed: written again, replaced by a rename, gone, or there at
// last. Also when one of the symbolic links that lead to it has, or its directory appears later.
//
//   FileWatch watch(scheduler);
//   watch.Add("/etc/hosts", [] { ... });
//   ... watch.Stop(); ... until watch.idle()
//
// inotify on the directories that lead to the file, for a watch on the file itself would go with
// it when it is replaced. A file that is being written is left alone until it is closed. Beside
// that each file is looked at now and then, for what inotify does not tell: mounts over one file,
// file systems of other machines, or no inotify left to be had.
//
// The scheduler's thread only. A callback may add and remove.
//
// Invariants
//   1. A callback is called from a task of the watch, and only if the file is another one than at
//      the last call, or at Add: other file, size, time or mode, or there and not there.
#ifndef PROXY_UPSTREAM_RESOLVER_FILE_WATCH_H_
#define PROXY_UPSTREAM_RESOLVER_FILE_WATCH_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "poller/clock.h"
#include "poller/poll_desc.h"
#include "poller/scheduler.h"
#include "poller/task.h"

namespace parkway {

class FileWatch {
 public:
  explicit FileWatch(Scheduler& scheduler);
  // REQUIRES: idle(), after Stop().
  ~FileWatch();
  FileWatch(const FileWatch&) = delete;
  FileWatch& operator=(const FileWatch&) = delete;

  // 0, or the errno for which there is no inotify; files are then only looked at now and then.
  int init_error() const { return init_error_; }

  // One callback for each path.
  void Add(const std::string& path, std::function<void()> changed);
  void Remove(const std::string& path);

  void Stop();
  bool idle() const { return stopped_ && !task_.live; }

 private:
  // Which file stands at a path: device, number, size, seconds and nanoseconds of its last change.
  using Identity = std::tuple<uint64_t, uint64_t, int64_t, int64_t, int64_t>;

  struct File {
    std::function<void()> changed;
    Identity known;   // as told
    Identity latest;  // as it was looked at now and then; told when it stays so
  };
  // Of one directory: which names in it lead to which files.
  struct Directory {
    std::string path;
    std::set<std::pair<std::string, std::string>> leads;  // name, file
  };

  struct WatchTask final : public Task {
    explicit WatchTask(FileWatch& watch_in) : watch(watch_in) {}
    Next Run(Scheduler& scheduler, Wake wake) noexcept override;
    const char* name() const override { return "file watch"; }
    FileWatch& watch;
    SleepTimer timer;
    bool live = false;
  };

  static Identity Look(const std::string& path);
  // Watches every directory on the way to `path`.
  void Follow(const std::string& path);
  void WatchName(const std::string& directory, const std::string& name, const std::string& path);
  void ReadEvents();
  void Check(const std::string& path);
  void LookAround();
  Next Wait(Scheduler& scheduler);

  Scheduler& scheduler_;
  PollDesc* desc_ = nullptr;  // of inotify
  int init_error_ = 0;
  bool stopped_ = false;
  MonotonicTime next_look_;
  std::map<std::string, File> files_;
  std::map<int, Directory> directories_;  // by watch descriptor
  WatchTask task_;
};

}  // namespace parkway

#endif  // PROXY_UPSTREAM_RESOLVER_FILE_WATCH_H_
