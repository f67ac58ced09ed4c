#include "proxy/upstream/resolver/resolver.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "poller/check.h"

namespace parkway {

namespace {

// When nothing is to be done.
constexpr int64_t kLongSleepNs = 3'600'000'000'000;
// Until a channel that was stopped is idle.
constexpr int64_t kShortSleepNs = 20'000'000;

// Empty if it cannot be read.
std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

bool Fits(const Address& address, DnsFamily family) {
  switch (family) {
    case DnsFamily::kAny:
      break;
    case DnsFamily::kV4:
      return address.family() == AF_INET;
    case DnsFamily::kV6:
      return address.family() == AF_INET6;
  }
  return true;
}

// Whole, so that it is not completed.
NameQuery HostOf(const NameQuery& service, const std::string& host) {
  return {.name = host + ".", .service = false, .settings = service.settings};
}

// As it is shown.
std::string PlainName(const NameQuery& query) { return CanonicalDnsName(query.name); }

// Without the port.
std::string IpOf(const Address& address) {
  std::string text = address.ToString();
  text.resize(text.rfind(':'));
  if (!text.empty() && text.front() == '[') text = text.substr(1, text.size() - 2);
  return text;
}

absl::Duration Between(MonotonicTime from, MonotonicTime to) {
  return absl::Nanoseconds(std::max<int64_t>(to.ns() - from.ns(), 0));
}

}  // namespace

Resolver::Resolver(Scheduler& scheduler, FileWatch& watch, Options options, Changed changed)
    : scheduler_(scheduler),
      watch_(watch),
      options_(std::move(options)),
      changed_(std::move(changed)),
      random_(options_.seed),
      hosts_(Contents(options_.hosts)),
      task_(*this) {
  watch_.Add(options_.hosts, [this] { ReadHosts(); });
  watch_.Add(options_.resolv_conf, [this] { ReadResolvConf(); });
  scheduler_.Spawn(task_);
}

Resolver::~Resolver() { PARKWAY_CHECK(idle(), "a resolver ends while its tasks wait"); }

void Resolver::Stop() {
  if (stopped_) return;
  stopped_ = true;
  watch_.Remove(options_.hosts);
  watch_.Remove(options_.resolv_conf);
  Nudge();
}

bool Resolver::idle() const {
  return stopped_ && !task_.live &&
         std::all_of(channels_.begin(), channels_.end(),
                     [](const auto& channel) { return channel.second.asks->idle(); }) &&
         std::all_of(ended_.begin(), ended_.end(),
                     [](const auto& channel) { return channel->idle(); });
}

void Resolver::Nudge() { scheduler_.Kick(task_); }

// ---------------------------------------------------------------------------------------------
// What is wanted

// A dot at the end stays: it says that no domain of resolv.conf is to be tried.
NameQuery Resolver::Canonical(const NameQuery& query) {
  NameQuery canonical = query;
  canonical.name = CanonicalDnsName(query.name);
  if (query.name.ends_with('.')) canonical.name += '.';
  return canonical;
}

void Resolver::Want(const std::set<NameQuery>& queries) {
  for (auto& [query, entry] : entries_) entry->wanted = false;
  for (const NameQuery& query : queries) EntryOf(Canonical(query)).wanted = true;
  Reach();
  unclear_ = true;
  Nudge();
}

Resolver::Entry& Resolver::EntryOf(const NameQuery& query) {
  std::shared_ptr<Entry>& entry = entries_[query];
  if (entry != nullptr) return *entry;
  entry = std::make_shared<Entry>();
  entry->query = query;
  const DnsPolicy policy{.min_ttl = query.settings.min_ttl,
                         .max_ttl = query.settings.max_ttl,
                         .first_backoff = options_.first_backoff,
                         .longest_backoff = options_.longest_backoff};
  const auto add = [&entry, &policy](DnsType type) {
    entry->questions.push_back(std::make_unique<Question>(*entry, type, policy));
  };
  if (query.service) {
    add(DnsType::kSrv);
  } else {
    if (query.settings.family != DnsFamily::kV6) add(DnsType::kA);
    if (query.settings.family != DnsFamily::kV4) add(DnsType::kAaaa);
  }
  TakeHosts(*entry);
  return *entry;
}

// What is wanted leads to what is needed; the rest goes.
void Resolver::Reach() {
  std::set<NameQuery> needed;
  for (const auto& [query, entry] : entries_) {
    if (!entry->wanted) continue;
    needed.insert(query);
    if (!query.service) continue;
    for (const SrvTarget& target : entry->questions.front()->memory.targets()) {
      needed.insert(HostOf(query, target.host));
    }
  }
  for (const NameQuery& query : needed) EntryOf(query);
  for (auto it = entries_.begin(); it != entries_.end();) {
    if (needed.contains(it->first)) {
      ++it;
      continue;
    }
    for (const auto& question : it->second->questions) SetDue(*question, MonotonicTime());
    it = entries_.erase(it);
    forgot_ = true;
  }
}

Resolver::View Resolver::Look(const NameQuery& query) const {
  const auto found = entries_.find(Canonical(query));
  return found == entries_.end() ? View() : ViewOf(*found->second);
}

Resolver::View Resolver::ViewOf(const Entry& entry) const {
  View view;
  view.settled = true;
  if (entry.query.service) {
    const DnsMemory& memory = entry.questions.front()->memory;
    view.settled = memory.settled();
    for (const SrvTarget& target : memory.targets()) {
      const auto host = entries_.find(HostOf(entry.query, target.host));
      if (host == entries_.end()) {
        view.settled = false;
        continue;
      }
      const View found = ViewOf(*host->second);
      view.settled &= found.settled;
      for (ResolvedAddress address : found.addresses) {
        address.address.set_port(target.port);
        address.priority = target.priority;
        address.weight = target.weight;
        // Two names of one server are one server.
        const bool known =
            std::any_of(view.addresses.begin(), view.addresses.end(),
                        [&address](const auto& other) { return other.address == address.address; });
        if (!known) view.addresses.push_back(address);
      }
    }
    return view;
  }
  for (const Address& address : entry.from_hosts) view.addresses.push_back({.address = address});
  if (!entry.from_hosts.empty()) return view;
  for (const auto& question : entry.questions) {
    view.settled &= question->memory.settled();
    for (const Address& address : question->memory.addresses()) {
      view.addresses.push_back({.address = address});
    }
  }
  if (view.addresses.empty()) {
    for (const Address& address : entry.once_there) view.addresses.push_back({.address = address});
  }
  return view;
}

// ---------------------------------------------------------------------------------------------
// Asking

void Resolver::SetDue(Question& question, MonotonicTime when) {
  if (question.due != MonotonicTime()) due_.erase({question.due, &question});
  question.due = when;
  if (when != MonotonicTime()) due_.emplace(when, &question);
}

void Resolver::AskDue() {
  while (!due_.empty() && under_way_ < kMostAtOnce) {
    Question& question = *due_.begin()->second;
    if (question.due > scheduler_.now()) return;
    SetDue(question, MonotonicTime());
    Ask(question);
  }
}

void Resolver::Ask(Question& question) {
  question.asking = true;
  ++under_way_;
  // The name may no longer be wanted when the reply comes.
  std::weak_ptr<Entry> entry = entries_.at(question.entry.query);
  Channel& channel = ChannelOf(question.entry.query.settings);
  ++channel.under_way;
  const auto replied = [this, entry, &question, &channel](const DnsReply& reply) {
    --under_way_;
    --channel.under_way;
    if (!entry.expired()) Replied(question, reply);
    Nudge();
  };
  channel.asks->Ask(question.entry.query.name, question.type, replied);
}

void Resolver::Replied(Question& question, const DnsReply& reply) {
  question.asking = false;
  const MonotonicTime now = scheduler_.now();
  DnsMemory& memory = question.memory;
  switch (reply.kind) {
    case DnsReply::Kind::kAnswer:
      memory.Answered(reply.answer, now, random_);
      break;
    case DnsReply::Kind::kNothing: {
      const auto& all = question.entry.questions;
      const bool others_left = std::any_of(all.begin(), all.end(), [&question](const auto& other) {
        return other.get() != &question && !other->memory.empty();
      });
      memory.Nothing(reply.why, others_left, now, random_);
      break;
    }
    case DnsReply::Kind::kFailure:
      memory.Failed(reply.why, now, random_);
      break;
  }
  unclear_ = true;
  if (question.entry.from_hosts.empty()) SetDue(question, memory.next());
}

Resolver::Manner Resolver::MannerOf(const DnsSettings& settings) {
  return {settings.servers, settings.timeout, settings.attempts};
}

Resolver::Channel& Resolver::ChannelOf(const DnsSettings& settings) {
  Channel& channel = channels_[MannerOf(settings)];
  if (channel.asks == nullptr) {
    channel.asks = std::make_unique<DnsChannel>(
        scheduler_, DnsChannel::Options{.servers = settings.servers,
                                        .timeout = settings.timeout,
                                        .attempts = settings.attempts,
                                        .resolv_conf = options_.resolv_conf});
  }
  return channel;
}

// Not from a reply. One with questions under way waits for their replies.
void Resolver::EndUnused() {
  std::erase_if(ended_, [](const auto& channel) { return channel->idle(); });
  if (!std::exchange(forgot_, false)) return;
  std::set<Manner> used;
  for (const auto& [query, entry] : entries_) used.insert(MannerOf(query.settings));
  for (auto it = channels_.begin(); it != channels_.end();) {
    Channel& channel = it->second;
    if (used.contains(it->first) || channel.under_way > 0) {
      forgot_ = forgot_ || !used.contains(it->first);
      ++it;
      continue;
    }
    channel.asks->Stop();
    ended_.push_back(std::move(channel.asks));
    it = channels_.erase(it);
  }
}

void Resolver::Refresh() {
  for (const auto& [query, entry] : entries_) {
    if (!entry->from_hosts.empty()) continue;
    for (const auto& question : entry->questions) {
      if (!question->asking) SetDue(*question, scheduler_.now());
    }
  }
  Nudge();
}

// ---------------------------------------------------------------------------------------------
// Files

void Resolver::ReadHosts() {
  hosts_ = HostsFile(Contents(options_.hosts));
  for (const auto& [query, entry] : entries_) TakeHosts(*entry);
  unclear_ = true;
  Nudge();
}

void Resolver::TakeHosts(Entry& entry) {
  if (!entry.from_hosts.empty()) entry.once_there = std::move(entry.from_hosts);
  entry.from_hosts.clear();
  if (!entry.query.service) {
    for (const Address& address : hosts_.Find(entry.query.name)) {
      if (Fits(address, entry.query.settings.family)) entry.from_hosts.push_back(address);
    }
  }
  for (const auto& question : entry.questions) {
    if (!entry.from_hosts.empty()) {
      SetDue(*question, MonotonicTime());
    } else if (!question->asking && question->due == MonotonicTime()) {
      SetDue(*question, scheduler_.now());
    }
  }
}

void Resolver::ReadResolvConf() {
  for (const auto& [key, channel] : channels_) channel.asks->Reload();
  Refresh();
}

// ---------------------------------------------------------------------------------------------
// Telling

void Resolver::Tell() {
  if (!std::exchange(unclear_, false)) return;
  Reach();
  std::vector<NameQuery> changed;
  for (const auto& [query, entry] : entries_) {
    View view = ViewOf(*entry);
    if (view != entry->shown) {
      entry->shown = std::move(view);
      if (entry->wanted) changed.push_back(query);
    }
    SayTrouble(*entry);
  }
  if (!changed.empty()) changed_(changed);
}

// Why its addresses, or servers, are not what they should be; empty: they are.
std::string Resolver::TroubleOf(const Entry& entry) const {
  if (!entry.from_hosts.empty()) return {};
  const bool settled = std::all_of(entry.questions.begin(), entry.questions.end(),
                                   [](const auto& one) { return one->memory.settled(); });
  const bool none = std::all_of(entry.questions.begin(), entry.questions.end(),
                                [](const auto& one) { return one->memory.empty(); });
  if (!settled) return {};
  std::string text;
  for (const auto& question : entry.questions) {
    const DnsMemory& memory = question->memory;
    if (memory.error().empty() || !(none || memory.failing())) continue;
    absl::StrAppend(&text, text.empty() ? "" : ", ", DnsTypeName(question->type), ": ",
                    memory.error());
  }
  if (text.empty()) return {};
  return absl::StrCat(text, none && entry.once_there.empty() ? "; it has no address yet"
                                                             : "; the last answer is kept");
}

std::string Resolver::Trouble(const NameQuery& query) const {
  const auto found = entries_.find(Canonical(query));
  if (found == entries_.end()) return {};
  const std::string trouble = TroubleOf(*found->second);
  if (!trouble.empty() || !ViewOf(*found->second).addresses.empty()) return trouble;
  return "nobody has answered yet";
}

void Resolver::SayTrouble(Entry& entry) {
  std::string trouble = TroubleOf(entry);
  if (trouble == entry.trouble) return;
  if (options_.say != nullptr) {
    options_.say(absl::StrCat("name ", PlainName(entry.query), ": ",
                              trouble.empty() ? std::string("answered again") : trouble));
  }
  entry.trouble = std::move(trouble);
}

Next Resolver::LoopTask::Run(Scheduler& scheduler, Wake) noexcept {
  Resolver& all = resolver;
  do {
    if (!all.stopped_) all.AskDue();
    if (!all.stopped_) all.Tell();
  } while (all.unclear_ && !all.stopped_);
  if (all.stopped_) {
    for (const auto& [key, channel] : all.channels_) channel.asks->Stop();
    live = false;
    return Next::Done();
  }
  all.EndUnused();
  const bool room = !all.due_.empty() && all.under_way_ < kMostAtOnce;
  const MonotonicTime latest =
      scheduler.now().PlusNs(all.ended_.empty() ? kLongSleepNs : kShortSleepNs);
  return Next::SleepUntil(timer, room ? std::min(all.due_.begin()->first, latest) : latest);
}

std::vector<DnsStatus> Resolver::Status() const {
  const MonotonicTime now = scheduler_.now();
  std::vector<DnsStatus> all;
  for (const auto& [query, entry] : entries_) {
    if (!entry->from_hosts.empty()) {
      DnsStatus& status = all.emplace_back();
      status.name = PlainName(query);
      status.type = "hosts";
      for (const Address& address : entry->from_hosts) status.values.push_back(IpOf(address));
      status.known = true;
      continue;
    }
    for (const auto& question : entry->questions) {
      const DnsMemory& memory = question->memory;
      DnsStatus& status = all.emplace_back();
      status.name = PlainName(query);
      status.type = DnsTypeName(question->type);
      if (query.service) {
        for (const SrvTarget& target : memory.targets()) {
          status.values.push_back(absl::StrCat(target.host, ":", target.port));
        }
      } else {
        for (const Address& address : memory.addresses()) status.values.push_back(IpOf(address));
      }
      status.answers = memory.answers();
      status.nothings = memory.nothings();
      status.failures = memory.failures();
      status.known = memory.good_at() != MonotonicTime();
      if (status.known) status.age = Between(memory.good_at(), now);
      status.ttl = memory.ttl();
      if (question->due != MonotonicTime()) status.next = Between(now, question->due);
      status.last_error = memory.error();
    }
  }
  return all;
}

}  // namespace parkway
