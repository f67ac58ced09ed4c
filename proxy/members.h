// Members: the servers that stand behind a configuration's lines now: the addresses of names, and
// what is in servers_files.
//
//   Members members(scheduler, options, host);
//   members.Prepare(snapshot, ready);   // asks for its names, beside those that are in use
//   ... members.Of(snapshot->upstreams[i]) ...
//   members.Follow(snapshot);           // from now on it is the one in use
//   ... members.Stop(); ... until members.idle()
//
// The host is told when the members of an upstream in use have changed; it makes a new generation
// of it, as of any change. A file that is wrong changes nothing and is told.
//
// Nothing is asked, watched or opened for a configuration without names and files.
//
// Control thread only.
//
// Invariants
//   1. Of() of an upstream in use changes only before a call of OnMembersChange.
//   2. Of two snapshots the names that are in both keep what is known of them.
#ifndef PROXY_MEMBERS_H_
#define PROXY_MEMBERS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config/servers_file.h"
#include "config/snapshot.h"
#include "poller/scheduler.h"
#include "poller/task.h"
#include "proxy/observe/readings.h"
#include "proxy/upstream/resolver/file_watch.h"
#include "proxy/upstream/resolver/resolver.h"

namespace parkway {

// How a servers_file is doing.
struct ServersFileStatus {
  std::string upstream;
  std::string path;
  size_t servers = 0;  // that count now
  std::string error;   // why the file is not what counts; empty: it is
};

class Members {
 public:
  class Host {
   public:
    // Of the snapshot in use: indices of its upstreams.
    virtual void OnMembersChange(const std::vector<size_t>& upstreams) = 0;
    // One line for the log.
    virtual void Say(const std::string& line) = 0;

   protected:
    ~Host() = default;
  };

  using Snapshot = std::shared_ptr<const config::Snapshot>;

  struct Options {
    uint64_t seed = 1;
    std::string hosts = "/etc/hosts";
    std::string resolv_conf = "/etc/resolv.conf";
  };

  Members(Scheduler& scheduler, Options options, Host& host);
  // REQUIRES: idle(), after Stop().
  ~Members();
  Members(const Members&) = delete;
  Members& operator=(const Members&) = delete;

  // Asks for the names of `next`, and calls `ready` once all of them that are to be waited for
  // (dns_init) have been answered or have failed, at the latest after the longest connect_timeout
  // of theirs; perhaps before this returns. A second call forgets the first and its `ready`.
  void Prepare(Snapshot next, std::function<void()> ready);
  // `next`, which was prepared, is in use from now on.
  void Follow(Snapshot next);
  // What was prepared will not be used.
  void Abandon();

  // The servers of an upstream of either snapshot, each with an address. Those of names that are
  // not known are not there.
  std::vector<config::Server> Of(const config::Upstream& upstream) const;

  // The lines of its servers_file, as they were when it was right last.
  const std::vector<config::Server>& FileServers(const config::Upstream& upstream) const;
  // What was in the files of the snapshot in use then: what a reload goes by if it cannot read one.
  config::FileTexts Texts() const;

  // A name that has no address.
  struct Missing {
    std::string text;    // "upstream app server a: app.example.net has no address"
    bool fatal = false;  // dns_init=fail
  };
  std::vector<Missing> MissingOf(const config::Snapshot& snapshot) const;

  // Both families of a name are one reading.
  std::vector<DnsReading> Dns() const;
  std::vector<ServersFileStatus> Files() const;

  void Stop();
  bool idle() const;

 private:
  // Calls `ready` of a Prepare.
  struct Waiter final : public Task {
    explicit Waiter(Members& members_in) : members(members_in) {}
    Next Run(Scheduler& scheduler, Wake wake) noexcept override;
    const char* name() const override { return "names"; }
    Members& members;
    SleepTimer timer;
    bool live = false;
  };
  // What a watched file held when it was read last.
  struct FileState {
    std::optional<std::vector<config::Server>> servers;  // nothing: those that were loaded
    std::shared_ptr<const std::string> text;             // of `servers`
    std::string error;
  };

  void WantNames();
  void WatchFiles();
  // All lines of an upstream whose address is a name.
  template <typename Visit>
  void EachName(const config::Upstream& upstream, Visit visit) const;
  bool Settled() const;
  void TellIfReady();
  void OnNames(const std::vector<NameQuery>& changed);
  void OnFile(const std::string& path);
  // True: its servers have been read.
  bool ReadFile(const config::Upstream& upstream);
  FileWatch& Watch();
  // Both snapshots, as far as there are any.
  std::vector<const config::Snapshot*> Snapshots() const;

  Scheduler& scheduler_;
  const Options options_;
  Host& host_;
  std::unique_ptr<FileWatch> watch_;
  std::unique_ptr<Resolver> resolver_;
  Snapshot in_use_;
  Snapshot next_;
  std::function<void()> ready_;
  MonotonicTime deadline_;                              // of ready_
  std::map<const config::Upstream*, FileState> files_;  // of both snapshots
  std::set<std::string> watched_;
  Waiter waiter_;
  bool stopped_ = false;
};

}  // namespace parkway

#endif  // PROXY_MEMBERS_H_
