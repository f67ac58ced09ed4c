#include "proxy/members.h"

#include <string.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "config/file_reader.h"
#include "config/servers_file.h"
#include "config/source.h"
#include "poller/check.h"
#include "proxy/name_members.h"

namespace parkway {

namespace {

// When nothing is waited for.
constexpr int64_t kLongSleepNs = 3'600'000'000'000;

bool IsWaitedFor(const config::Server& server) {
  return server.settings.dns_init != config::DnsInit::kLazy;
}

}  // namespace

Members::Members(Scheduler& scheduler, Options options, Host& host)
    : scheduler_(scheduler), options_(std::move(options)), host_(host), waiter_(*this) {}

Members::~Members() {
  const bool used = waiter_.live || resolver_ != nullptr || watch_ != nullptr;
  PARKWAY_CHECK(!used || idle(), "members end while their tasks wait");
}

void Members::Stop() {
  if (stopped_) return;
  stopped_ = true;
  ready_ = nullptr;
  scheduler_.Kick(waiter_);
  if (resolver_ != nullptr) resolver_->Stop();
  if (watch_ != nullptr) watch_->Stop();
}

bool Members::idle() const {
  return stopped_ && !waiter_.live && (resolver_ == nullptr || resolver_->idle()) &&
         (watch_ == nullptr || watch_->idle());
}

// ---------------------------------------------------------------------------------------------
// One snapshot after the other

void Members::Prepare(Snapshot next, std::function<void()> ready) {
  next_ = std::move(next);
  ready_ = std::move(ready);
  WatchFiles();
  for (const config::Upstream& upstream : next_->upstreams) {
    if (!upstream.servers_file.empty()) ReadFile(upstream);
  }
  WantNames();
  absl::Duration patience;
  for (const config::Upstream& upstream : next_->upstreams) {
    EachName(upstream, [&patience](const config::Server& server) {
      if (IsWaitedFor(server)) patience = std::max(patience, server.settings.connect_timeout);
    });
  }
  deadline_ = scheduler_.now() + patience;
  TellIfReady();
  if (ready_ == nullptr) return;
  if (waiter_.live) {
    scheduler_.Kick(waiter_);
    return;
  }
  waiter_.live = true;
  scheduler_.Spawn(waiter_);
}

void Members::Follow(Snapshot next) {
  in_use_ = std::move(next);
  Abandon();
}

void Members::Abandon() {
  next_ = nullptr;
  ready_ = nullptr;
  std::erase_if(files_, [this](const auto& file) {
    const auto snapshots = Snapshots();
    return std::none_of(snapshots.begin(), snapshots.end(), [&file](const auto* snapshot) {
      const auto& all = snapshot->upstreams;
      return std::any_of(all.begin(), all.end(),
                         [&file](const auto& upstream) { return &upstream == file.first; });
    });
  });
  WatchFiles();
  WantNames();
}

bool Members::Settled() const {
  bool settled = true;
  for (const config::Upstream& upstream : next_->upstreams) {
    EachName(upstream, [this, &settled](const config::Server& server) {
      if (!settled || !IsWaitedFor(server)) return;
      const Resolver::View view = resolver_->Look(QueryOf(server));
      settled = view.settled || !view.addresses.empty();
    });
  }
  return settled;
}

void Members::TellIfReady() {
  if (ready_ == nullptr || (scheduler_.now() < deadline_ && !Settled())) return;
  // It may call for what it likes.
  const std::function<void()> ready = std::exchange(ready_, nullptr);
  ready();
}

Next Members::Waiter::Run(Scheduler& scheduler, Wake) noexcept {
  members.TellIfReady();
  if (members.stopped_) {
    live = false;
    return Next::Done();
  }
  return Next::SleepUntil(
      timer, members.ready_ != nullptr ? members.deadline_ : scheduler.now().PlusNs(kLongSleepNs));
}

std::vector<const config::Snapshot*> Members::Snapshots() const {
  std::vector<const config::Snapshot*> all;
  if (in_use_ != nullptr) all.push_back(in_use_.get());
  if (next_ != nullptr && next_ != in_use_) all.push_back(next_.get());
  return all;
}

// ---------------------------------------------------------------------------------------------
// Names

template <typename Visit>
void Members::EachName(const config::Upstream& upstream, Visit visit) const {
  for (const config::Server& server : upstream.servers) {
    if (server.address.is_name()) visit(server);
  }
  for (const config::Server& server : FileServers(upstream)) {
    if (server.address.is_name()) visit(server);
  }
}

FileWatch& Members::Watch() {
  if (watch_ == nullptr) {
    watch_ = std::make_unique<FileWatch>(scheduler_);
    if (watch_->init_error() != 0) {
      host_.Say(absl::StrCat("inotify: ", strerror(watch_->init_error()),
                             "; files are looked at every 30 s"));
    }
  }
  return *watch_;
}

void Members::WantNames() {
  std::set<NameQuery> names;
  for (const config::Snapshot* snapshot : Snapshots()) {
    for (const config::Upstream& upstream : snapshot->upstreams) {
      EachName(upstream, [&names](const config::Server& server) { names.insert(QueryOf(server)); });
    }
  }
  if (resolver_ == nullptr) {
    if (names.empty()) return;
    resolver_ = std::make_unique<Resolver>(
        scheduler_, Watch(),
        Resolver::Options{.hosts = options_.hosts,
                          .resolv_conf = options_.resolv_conf,
                          .seed = options_.seed,
                          .say = [this](const std::string& line) { host_.Say(line); }},
        [this](const std::vector<NameQuery>& changed) { OnNames(changed); });
  }
  resolver_->Want(names);
}

void Members::OnNames(const std::vector<NameQuery>& changed) {
  std::vector<size_t> upstreams;
  if (in_use_ != nullptr) {
    const std::set<NameQuery> names(changed.begin(), changed.end());
    for (size_t i = 0; i < in_use_->upstreams.size(); ++i) {
      bool concerned = false;
      EachName(in_use_->upstreams[i], [&](const config::Server& server) {
        concerned = concerned || names.contains(Resolver::Canonical(QueryOf(server)));
      });
      if (concerned) upstreams.push_back(i);
    }
  }
  if (!upstreams.empty()) host_.OnMembersChange(upstreams);
  TellIfReady();
}

std::vector<config::Server> Members::Of(const config::Upstream& upstream) const {
  std::vector<config::Server> all;
  const auto add = [this, &all](const config::Server& server) {
    if (!server.address.is_name()) {
      all.push_back(server);
      return;
    }
    for (config::Server& member : MembersOf(server, resolver_->Look(QueryOf(server)))) {
      all.push_back(std::move(member));
    }
  };
  for (const config::Server& server : upstream.servers) add(server);
  for (const config::Server& server : FileServers(upstream)) add(server);
  return all;
}

std::vector<Members::Missing> Members::MissingOf(const config::Snapshot& snapshot) const {
  std::vector<Missing> all;
  for (const config::Upstream& upstream : snapshot.upstreams) {
    EachName(upstream, [this, &all, &upstream](const config::Server& server) {
      const NameQuery query = QueryOf(server);
      if (!resolver_->Look(query).addresses.empty()) return;
      all.push_back({.text = absl::StrCat("upstream ", upstream.name, " server ", server.name, ": ",
                                          server.address.path,
                                          " has no address: ", resolver_->Trouble(query)),
                     .fatal = server.settings.dns_init == config::DnsInit::kFail});
    });
  }
  return all;
}

std::vector<DnsReading> Members::Dns() const {
  std::vector<DnsReading> readings;
  if (resolver_ == nullptr) return readings;
  for (const DnsStatus& status : resolver_->Status()) {
    if (readings.empty() || readings.back().name != status.name) {
      readings.emplace_back();
      readings.back().name = status.name;
      readings.back().age = absl::InfiniteDuration();
    }
    DnsReading& reading = readings.back();
    if (status.known) reading.age = std::min(reading.age, status.age);
    reading.queries_ok += status.answers + status.nothings;
    reading.queries_failed += status.failures;
    reading.answers.insert(reading.answers.end(), status.values.begin(), status.values.end());
    if (status.last_error.empty()) continue;
    absl::StrAppend(&reading.last_error, reading.last_error.empty() ? "" : ", ", status.type, ": ",
                    status.last_error);
  }
  return readings;
}

// ---------------------------------------------------------------------------------------------
// Files

const std::vector<config::Server>& Members::FileServers(const config::Upstream& upstream) const {
  const auto found = files_.find(&upstream);
  if (found == files_.end() || !found->second.servers.has_value()) return upstream.file_servers;
  return *found->second.servers;
}

config::FileTexts Members::Texts() const {
  config::FileTexts texts;
  if (in_use_ == nullptr) return texts;
  for (const config::Upstream& upstream : in_use_->upstreams) {
    const auto found = files_.find(&upstream);
    const bool read = found != files_.end() && found->second.servers.has_value();
    const std::shared_ptr<const std::string>& text = read ? found->second.text : upstream.file_text;
    if (text != nullptr) texts[{upstream.servers_file, upstream.name}] = text;
  }
  return texts;
}

void Members::WatchFiles() {
  std::set<std::string> wanted;
  for (const config::Snapshot* snapshot : Snapshots()) {
    for (const config::Upstream& upstream : snapshot->upstreams) {
      if (!upstream.servers_file.empty()) wanted.insert(upstream.servers_file);
    }
  }
  for (const std::string& path : watched_) {
    if (!wanted.contains(path)) watch_->Remove(path);
  }
  for (const std::string& path : wanted) {
    if (!watched_.contains(path)) Watch().Add(path, [this, path] { OnFile(path); });
  }
  watched_ = std::move(wanted);
}

void Members::OnFile(const std::string& path) {
  std::vector<size_t> changed;
  for (const config::Snapshot* snapshot : Snapshots()) {
    for (size_t i = 0; i < snapshot->upstreams.size(); ++i) {
      const config::Upstream& upstream = snapshot->upstreams[i];
      if (upstream.servers_file == path && ReadFile(upstream) && snapshot == in_use_.get()) {
        changed.push_back(i);
      }
    }
  }
  WantNames();
  if (!changed.empty()) host_.OnMembersChange(changed);
}

bool Members::ReadFile(const config::Upstream& upstream) {
  FileState& state = files_[&upstream];
  const auto refuse = [&](const std::string& why) {
    const size_t kept = FileServers(upstream).size();
    state.error = why;
    host_.Say(absl::StrCat("upstream ", upstream.name, ": servers_file: ", why, "; its ", kept,
                           kept == 1 ? " server is kept" : " servers are kept"));
    return false;
  };
  absl::StatusOr<config::FileReader::File> file =
      config::DiskFileReader().Read(upstream.servers_file);
  if (!file.ok()) {
    return refuse(
        absl::StrCat(upstream.servers_file, " cannot be read: ", file.status().message()));
  }
  config::Problems problems;
  std::optional<std::vector<config::Server>> servers =
      config::ReadServersFile(upstream, file->bytes, &problems);
  if (!servers.has_value()) {
    const std::vector<std::string> lines = problems.Lines();
    const std::string more =
        lines.size() > 1 ? absl::StrCat(" (and ", lines.size() - 1, " more)") : std::string();
    return refuse(lines.empty() ? std::string("it is wrong") : lines.front() + more);
  }
  const bool known = state.servers.has_value();
  state.servers = std::move(servers);
  state.text = std::make_shared<const std::string>(std::move(file->bytes));
  state.error.clear();
  if (known) {
    host_.Say(absl::StrCat("upstream ", upstream.name, ": servers_file ", upstream.servers_file,
                           ": ", state.servers->size(),
                           state.servers->size() == 1 ? " server" : " servers"));
  }
  return true;
}

std::vector<ServersFileStatus> Members::Files() const {
  std::vector<ServersFileStatus> all;
  if (in_use_ == nullptr) return all;
  for (const config::Upstream& upstream : in_use_->upstreams) {
    if (upstream.servers_file.empty()) continue;
    const auto found = files_.find(&upstream);
    all.push_back({.upstream = upstream.name,
                   .path = upstream.servers_file,
                   .servers = FileServers(upstream).size(),
                   .error = found == files_.end() ? std::string() : found->second.error});
  }
  return all;
}

}  // namespace parkway
