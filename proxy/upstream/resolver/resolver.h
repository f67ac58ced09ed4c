// Resolver: the addresses of names, kept up to date.
//
//   Resolver resolver(scheduler, watch, {}, [](const std::vector<NameQuery>& changed) { ... });
//   resolver.Want({{.name = "app.example.net"}});
//   ... resolver.Look(query).addresses ...
//   ... resolver.Stop(); ... until resolver.idle()
//
// Names that are wanted are asked for, and again when their time to live is over; the callback
// says when what is known of some of them has changed. What is in /etc/hosts is taken from there
// and nobody is asked; hosts and resolv.conf are read again when they change. A and AAAA are two
// questions with answers, failures and times of their own. The name of a service (SRV) leads to
// names of hosts, which are asked for in the same way. What is wanted several times is asked once.
//
// The scheduler's thread only. The callback may call Want, Look and Stop.
//
// Invariants
//   1. A name that had addresses keeps the last ones for as long as it is wanted.
//   2. At most kMostAtOnce questions are under way.
#ifndef PROXY_UPSTREAM_RESOLVER_RESOLVER_H_
#define PROXY_UPSTREAM_RESOLVER_RESOLVER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "poller/address.h"
#include "poller/scheduler.h"
#include "poller/task.h"
#include "proxy/upstream/resolver/dns_channel.h"
#include "proxy/upstream/resolver/dns_memory.h"
#include "proxy/upstream/resolver/file_watch.h"
#include "proxy/upstream/resolver/hosts_file.h"

namespace parkway {

enum class DnsFamily : uint8_t { kAny, kV4, kV6 };

struct DnsSettings {
  std::string servers;  // IP[:PORT],...; empty: those of resolv.conf
  absl::Duration timeout = absl::Seconds(2);
  int attempts = 3;
  DnsFamily family = DnsFamily::kAny;
  absl::Duration min_ttl = absl::Seconds(1);
  absl::Duration max_ttl = absl::Minutes(5);

  auto Key() const { return std::tie(servers, timeout, attempts, family, min_ttl, max_ttl); }
  bool operator==(const DnsSettings& other) const { return Key() == other.Key(); }
  bool operator<(const DnsSettings& other) const { return Key() < other.Key(); }
};

struct NameQuery {
  std::string name;
  bool service = false;  // SRV
  DnsSettings settings;

  auto Key() const { return std::tie(name, service, settings); }
  bool operator==(const NameQuery& other) const { return Key() == other.Key(); }
  bool operator<(const NameQuery& other) const { return Key() < other.Key(); }
};

struct ResolvedAddress {
  Address address;        // of a service with its port, else with port 0
  uint16_t priority = 0;  // of a service: the lowest goes first
  uint16_t weight = 0;    // of a service

  bool operator==(const ResolvedAddress&) const = default;
};

// How one question is doing: for `show dns` and the metrics.
struct DnsStatus {
  std::string name;
  std::string type;                 // "A", "AAAA", "SRV"; "hosts": it is in /etc/hosts
  std::vector<std::string> values;  // addresses, or servers of a service, that count now
  uint64_t answers = 0;
  uint64_t nothings = 0;  // there is no such name, or no such record
  uint64_t failures = 0;
  bool known = false;      // it was answered once
  absl::Duration age;      // since it was last answered
  absl::Duration ttl;      // of the last answer, within min_ttl and max_ttl
  absl::Duration next;     // until it is asked again; zero: now
  std::string last_error;  // why the latest answer was none; empty: it was one
};

class Resolver {
 public:
  static constexpr size_t kMostAtOnce = 64;

  struct Options {
    std::string hosts = "/etc/hosts";
    std::string resolv_conf = "/etc/resolv.conf";
    uint64_t seed = 1;
    absl::Duration first_backoff = absl::Seconds(1);
    absl::Duration longest_backoff = absl::Seconds(30);
    // Is told in one line when a name is no longer answered, and when it is again. May be null.
    std::function<void(const std::string& line)> say = nullptr;
  };
  struct View {
    bool settled = false;  // each of its questions has had an outcome, good or bad
    std::vector<ResolvedAddress> addresses;
    bool operator==(const View&) const = default;
  };
  using Changed = std::function<void(const std::vector<NameQuery>& changed)>;

  // `watch` outlives it until it is stopped.
  Resolver(Scheduler& scheduler, FileWatch& watch, Options options, Changed changed);
  // REQUIRES: idle(), after Stop().
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  // As it is compared: names are the same in whatever case.
  static NameQuery Canonical(const NameQuery& query);
  // These and no others, from now on. What is known of those that were wanted before stays.
  void Want(const std::set<NameQuery>& queries);
  // Nothing of one that is not wanted.
  View Look(const NameQuery& query) const;
  // Why what is known of it is not what it should be; empty: it is.
  std::string Trouble(const NameQuery& query) const;
  // Ask for all of them now.
  void Refresh();
  std::vector<DnsStatus> Status() const;
  // How many channels there are: one for each set of name servers that is asked.
  size_t channels() const { return channels_.size() + ended_.size(); }

  void Stop();
  bool idle() const;

 private:
  struct Entry;
  struct Question {
    Question(Entry& entry_in, DnsType type_in, const DnsPolicy& policy)
        : entry(entry_in), type(type_in), memory(policy) {}
    Entry& entry;
    const DnsType type;
    DnsMemory memory;
    bool asking = false;
    MonotonicTime due;  // where it stands in due_; zero: it does not
  };
  struct Entry {
    NameQuery query;
    bool wanted = false;  // else: by a service
    std::vector<std::unique_ptr<Question>> questions;
    std::vector<Address> from_hosts;  // not empty: nobody is asked
    std::vector<Address> once_there;  // were in the file, until somebody answers
    View shown;
    std::string trouble;  // as it was told; empty: none
  };
  // One set of name servers, and how often they are to be asked.
  using Manner = std::tuple<std::string, absl::Duration, int>;
  struct Channel {
    std::unique_ptr<DnsChannel> asks;
    size_t under_way = 0;  // questions
  };
  struct LoopTask final : public Task {
    explicit LoopTask(Resolver& resolver_in) : resolver(resolver_in) {}
    Next Run(Scheduler& scheduler, Wake wake) noexcept override;
    const char* name() const override { return "resolver"; }
    Resolver& resolver;
    SleepTimer timer;
    bool live = true;
  };

  Entry& EntryOf(const NameQuery& query);
  void Reach();
  void SetDue(Question& question, MonotonicTime when);
  void AskDue();
  void Ask(Question& question);
  void Replied(Question& question, const DnsReply& reply);
  static Manner MannerOf(const DnsSettings& settings);
  Channel& ChannelOf(const DnsSettings& settings);
  void EndUnused();
  View ViewOf(const Entry& entry) const;
  void Tell();
  std::string TroubleOf(const Entry& entry) const;
  void SayTrouble(Entry& entry);
  void ReadHosts();
  void TakeHosts(Entry& entry);
  void ReadResolvConf();
  void Nudge();

  Scheduler& scheduler_;
  FileWatch& watch_;
  const Options options_;
  const Changed changed_;
  std::mt19937_64 random_;
  HostsFile hosts_;
  std::map<Manner, Channel> channels_;
  std::vector<std::unique_ptr<DnsChannel>> ended_;  // until they are idle
  std::map<NameQuery, std::shared_ptr<Entry>> entries_;
  std::set<std::pair<MonotonicTime, Question*>> due_;
  size_t under_way_ = 0;
  bool unclear_ = false;  // views may have changed
  bool forgot_ = false;   // names: perhaps the last ones of a channel
  bool stopped_ = false;
  LoopTask task_;
};

}  // namespace parkway

#endif  // PROXY_UPSTREAM_RESOLVER_RESOLVER_H_
