// The real engine and the real proxy in a simulated world: whole workers, scripted clients and
// servers, seeded faults, virtual time. tests/sim/world.h says what the world imitates.
//
//   simulation_test --seed=17 --gtest_filter=...    plays that seed again, and no other
//   ... --times=100                                 plays a hundred times as many seeds
//   ... --trace                                     and says every system call
//
// A failing seed is printed with the command that plays it again.
#include <errno.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "poller/address.h"
#include "proxy/core/close_cause.h"
#include "proxy/core/plan.h"
#include "proxy/core/session_times.h"
#include "proxy/drain.h"
#include "proxy/inbound/listener_limits.h"
#include "proxy/slot_reaper.h"
#include "proxy/upstream/roster.h"
#include "tests/proxy/edit.h"
#include "tests/scale.h"
#include "tests/sim/peer.h"
#include "tests/sim/stage.h"
#include "tests/sim/world.h"

namespace parkway::sim {
namespace {

constexpr int64_t kMicrosecond = 1'000;
constexpr int64_t kMillisecond = 1'000'000;
constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kIdleNs = 600 * kSecond;
constexpr int64_t kHalfCloseNs = 300 * kSecond;

std::optional<uint64_t> only_seed;
int64_t more_worlds = 1;  // --times=N: for a long search
// What plays the present seed again: for the handler of SIGABRT, so no std::string.
char replay[256];

void SayReplay(int signal) {
  static_cast<void>(!write(STDERR_FILENO, replay, strlen(replay)));
  ::signal(signal, SIG_DFL);
  raise(signal);
}

// The seeds of a test; one of them alone if --seed says so.
std::vector<uint64_t> Seeds(int64_t count) {
  if (only_seed.has_value()) return {*only_seed};
  std::vector<uint64_t> seeds;
  for (int64_t i = 1; i <= count * more_worlds; ++i) seeds.push_back(static_cast<uint64_t>(i));
  return seeds;
}

// Of a test with its own story; fewer under the sanitizers.
std::vector<uint64_t> FewSeeds(int64_t count) {
  return Seeds(std::max<int64_t>(scale::Choose(count, count / 4, count / 8), 1));
}

void NoteSeed(uint64_t seed) {
  const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
  snprintf(replay, sizeof(replay),
           "play it again: bazel run --config=checked //tests/proxy:simulation_test -- --seed=%llu "
           "--gtest_filter=%s.%s\n",
           static_cast<unsigned long long>(seed), test->test_suite_name(), test->name());
}

Address Tcp(uint8_t last, uint16_t port) { return Address::Ipv4({192, 0, 2, last}, port); }

// What a world is like.
struct Profile {
  bool faults = false;
  bool resources = false;  // out of descriptors and the like
  bool breaks = false;     // resets, early closes, lost connections
  bool timeouts = false;   // peers that never end
  bool bad_servers = false;
  bool urgent = false;
  bool bulk = false;     // large queues and buffers
  bool stops = false;    // drains, and some time later aborts, in the middle of it
  bool chained = false;  // a second proxy between the first and the servers
  bool queues = false;   // servers with little room, and a line before them without an end
  bool plans = false;    // servers and limits that change in the middle of it
  bool limits = false;   // rates, times of one side, and lives of a length
  size_t sessions = 40;
  uint64_t most_bytes = 200'000;
};

// One world from its seed to its end.
class Show {
 public:
  Show(uint64_t seed, const Profile& profile)
      : profile_(profile),
        dice_(seed ^ 0x5eed),
        world_(seed, Faults()),
        cast_(world_),
        stage_(world_) {
    Build();
    // A process that cannot start is not what this is about.
    world_.faults() = MakeFaults();
  }

  void Play() {
    const auto over = [&] {
      if (profile_.plans) WatchRemoved();
      return cast_.AllOver() && cast_.open_servers() == 0 && NoSessions();
    };
    if (!stage_.Run(over)) {
      Fail("the world came to a stop with sessions in it");
      for (const auto& peer : cast_.peers()) {
        if (!peer->over()) Fail(peer->Describe());
      }
      for (const auto& proxy : stage_.proxies()) {
        Fail(world_.DescribeDescriptors(proxy->process()));
      }
    }
    over_ = true;
    stage_.StopAndCheck();
    Verify();
    for (const std::string& complaint : world_.complaints()) Fail(complaint);
    for (const std::string& complaint : cast_.complaints()) Fail(complaint);
  }

  World& world() { return world_; }
  Cast& cast() { return cast_; }
  Stage& stage() { return stage_; }
  const std::vector<std::string>& failures() const { return failures_; }
  // Of servers, by plans.
  uint64_t removals() const { return removals_; }
  // Servers, upstreams and listeners that got the slot of another.
  const std::array<uint64_t, 3>& reuses() const { return reuses_; }

 private:
  Faults MakeFaults();
  void Build();
  Script RandomScript(bool client);
  Path RandomPath();
  void AddLimits(ListenerPlan& listener);
  Plan MakePlan(const Address& listen, const std::vector<ServerPlan>& servers);
  bool NoSessions() const;
  void ChangePlan();
  void ChangeServers(UpstreamPlan& upstream, uint16_t slot);
  void MoveToAnotherUpstream(Plan& plan);
  void RemoveIdleUpstreams(Plan& plan);
  void RenameListener(Plan& plan);
  void ChangeNumbers(ListenerPlan& listener);
  std::optional<SlotRef> TakeFree(SlotRef::Kind kind, uint16_t upstream = 0);
  void Publish(const Plan& plan);
  void NoteGone(const SlotRef& slot, bool gone);
  SlotReaper::Host ReaperHost();
  void Vacate(const std::vector<SlotRef>& slots);
  void WatchRemoved();
  void Verify();
  Peer* ServerOf(Peer& client);
  void FindUnixLives();
  const ClosedRecord* RecordOf(const Peer& client) const;
  void VerifyStory(const Story& story);
  void VerifyIdle(const Peer& client, const Peer* server, std::optional<CloseCause> cause,
                  const std::string& both);
  static std::string When(const ClosedRecord& record);
  void VerifyEnd(Peer& seen_by, Peer& of, std::optional<CloseCause> cause);
  void Fail(const std::string& what) {
    if (failures_.size() < 20) failures_.push_back(what);
  }

  const Profile profile_;
  Random dice_;
  World world_;
  Cast cast_;
  Stage stage_;
  std::map<ServerRef, uint32_t> removed_;  // and the connections each had when last seen
  uint64_t removals_ = 0;
  std::map<SlotRef, uint64_t> gone_since_;  // generations
  std::vector<SlotRef> free_;
  uint16_t listener_ = 0;  // the slot of the one that is there
  std::optional<SlotReaper> reaper_;
  bool over_ = false;
  uint64_t log_passes_ = 0;
  uint64_t new_names_ = 0;
  std::array<uint64_t, 3> reuses_{};
  bool some_server_bad_ = false;
  bool unix_front_ = false;
  std::map<std::string, ClosedRecord> records_;
  std::map<const Peer*, ClosedRecord> unix_lives_;  // of clients without a name, see FindUnixLives
  std::vector<std::string> failures_;
};

Faults Show::MakeFaults() {
  Faults faults;
  // From none to frequent, each of its own.
  const auto often = [&](uint32_t most) {
    return dice_.Chance(4000) ? 0 : static_cast<uint32_t>(dice_.Below(most));
  };
  if (profile_.faults) {
    faults.short_read = often(3000);
    faults.short_write = often(3000);
    faults.false_eagain = often(2000);
    faults.interrupted = often(2000);
    faults.early_timeout = often(2000);
    faults.repeated_event = often(3000);
    faults.false_event = often(2000);
    faults.stale_event = often(3000);
    faults.few_events = often(4000);
    faults.accept_aborted = often(1000);
    faults.splice_einval = often(500);
    faults.small_pipe = often(5000);
    faults.syn_lost = often(500);
  }
  if (profile_.resources) {
    faults.accept_resources = often(1000);
    faults.socket_resources = often(500);
    faults.epoll_add = often(300);
    faults.send_enobufs = often(30);
    faults.no_local_port = often(300);
    faults.pipe_resources = often(5000);
    faults.no_memory = often(7000);
  }
  return faults;
}

Path Show::RandomPath() {
  Path path;
  switch (dice_.Below(4)) {
    case 0:
    case 1:
      break;  // on this machine
    case 2:
      path.least_ns = 10 * kMicrosecond;
      path.most_ns = 400 * kMicrosecond;
      break;
    case 3:
      path.least_ns = 1 * kMillisecond;
      path.most_ns = 60 * kMillisecond;
      break;
  }
  path.segment_bytes = dice_.Chance(3000) ? 1448 : 64 * 1024;
  return path;
}

void Show::AddLimits(ListenerPlan& listener) {
  SessionTimes& times = listener.times;
  const auto rate = [&] { return dice_.Chance(5000) ? 0 : 20'000 + dice_.Size(20'000'000); };
  times.rate_up = rate();
  times.rate_down = rate();
  if (dice_.Chance(3000)) times.client_idle_ns = dice_.Between(120, 600) * kSecond;
  if (dice_.Chance(3000)) times.server_idle_ns = dice_.Between(120, 600) * kSecond;
  if (dice_.Chance(3000)) {
    times.lifetime_ns = dice_.Between(1, 40) * kSecond;
    times.lifetime_jitter_percent = static_cast<uint32_t>(dice_.Below(101));
  }
  listener.splice = static_cast<SpliceUse>(dice_.Below(3));
}

Plan Show::MakePlan(const Address& listen, const std::vector<ServerPlan>& servers) {
  Plan plan;
  ListenerPlan listener;
  listener.name = "front";
  listener.address = listen;
  listener.backlog = static_cast<int>(1 + dice_.Size(256));
  listener.times.idle_ns = kIdleNs;
  listener.times.half_close_ns = kHalfCloseNs;
  listener.times.delayed_close_ns = 1 * kSecond;
  if (profile_.limits) AddLimits(listener);
  // As the planner has it: from the start, so that a worker that hears late knows them too.
  if (profile_.plans) listener.limits = std::make_shared<ListenerLimits>(listener.numbers);
  plan.Add(listener);
  UpstreamPlan upstream;
  upstream.name = "back";
  upstream.servers = servers;
  if (profile_.queues) {
    for (ServerPlan& server : upstream.servers) {
      server.max_conns = static_cast<uint32_t>(1 + dice_.Below(4));
    }
    upstream.queue_timeout = absl::ZeroDuration();
    upstream.balance = static_cast<Balance>(dice_.Below(7));
  }
  plan.Add(upstream);
  // A small limit makes the backlog queue.
  if (dice_.Chance(3000)) plan.max_connections = static_cast<uint32_t>(1 + dice_.Below(8));
  return plan;
}

Script Show::RandomScript(bool client) {
  Script script;
  script.send_bytes = Script::kHeaderBytes + (dice_.Chance(5000) || profile_.bulk
                                                  ? dice_.Below(profile_.most_bytes)
                                                  : dice_.Size(profile_.most_bytes));
  script.read_bytes = 1 + dice_.Size(128 * 1024);
  script.write_bytes = 1 + dice_.Size(128 * 1024);
  // Few steps for many bytes.
  script.read_bytes = std::max<size_t>(script.read_bytes, profile_.most_bytes / 64);
  script.write_bytes = std::max<size_t>(script.write_bytes, script.send_bytes / 64);
  if (dice_.Chance(5000)) script.pace_ns = static_cast<int64_t>(dice_.Size(20 * kMillisecond));
  if (dice_.Chance(1000)) script.rest_ns = dice_.Between(0, 50 * kSecond);
  if (profile_.urgent && dice_.Chance(5000)) script.urgent = 1 + dice_.Below(5000);
  const uint64_t roll = dice_.Below(100);
  script.end = roll < 60 ? Script::End::kFin : Script::End::kFinLast;
  if (profile_.breaks && roll < 25) {
    script.end = roll < 18 ? Script::End::kReset : Script::End::kClose;
    script.end_after_sent = client ? std::max<uint64_t>(dice_.Below(script.send_bytes), 1)
                                   : dice_.Below(script.send_bytes);
    script.end_after_received = dice_.Chance(5000) ? 0 : dice_.Size(profile_.most_bytes);
    if (dice_.Chance(5000)) script.end_delay_ns = dice_.Between(0, 100 * kMillisecond);
  }
  if (profile_.timeouts && roll >= 90) {
    script.end = Script::End::kNever;
    if (dice_.Chance(3000)) script.reads = false;
  }
  return script;
}

void Show::Build() {
  const size_t least = profile_.bulk ? 128 * 1024 : 2048 + dice_.Size(32 * 1024);
  world_.set_capacity(least, least + dice_.Size(512 * 1024));
  // Servers.
  const size_t count = 1 + dice_.Below(3);
  std::vector<ServerPlan> servers;
  for (size_t i = 0; i < count; ++i) {
    ServerPlan server;
    server.name = "s" + std::to_string(i);
    server.address = dice_.Chance(2000)
                         ? (dice_.Chance(5000) ? Address::UnixAbstract("s" + std::to_string(i))
                                               : Address::UnixPath("/run/s" + std::to_string(i)))
                         : Tcp(static_cast<uint8_t>(10 + i), 80);
    const Path path = RandomPath();
    world_.SetPath(server.address, path);
    server.local = server.address.is_unix() || (path.local() && dice_.Chance(7000));
    const uint64_t kind = profile_.bad_servers ? dice_.Below(6) : 5;
    if (kind == 0) {
      some_server_bad_ = true;  // nobody is there
    } else if (kind == 1 && !server.address.is_unix()) {
      some_server_bad_ = true;
      world_.BlackHole(server.address);
    } else {
      cast_.AddServer(server.address, static_cast<uint32_t>(dice_.Below(10000)), 128);
    }
    servers.push_back(server);
  }
  // Proxies, the one in front last.
  ProxyOptions options;
  const auto vary = [&] {
    options.workers = static_cast<uint32_t>(1 + dice_.Below(3));
    options.chunk_cap_bytes = dice_.Chance(2000) ? dice_.Size(256 * 1024) : size_t{1} << 30;
    options.max_pipes = dice_.Chance(2000) ? static_cast<uint32_t>(dice_.Below(3)) : 32;
    options.max_stacks = dice_.Chance(1000) ? static_cast<uint32_t>(1 + dice_.Below(4)) : 1024;
  };
  if (profile_.chained) {
    const Address middle = Tcp(2, 8081);
    const Path path = RandomPath();
    world_.SetPath(middle, path);
    vary();
    Plan plan = MakePlan(middle, servers);
    // Who finds no room here gives up after a while.
    plan.max_connections = 1024;
    Edit(plan.listeners[0]).backlog = 1024;
    stage_.AddProxy(plan, options);
    ServerPlan server;
    server.name = "middle";
    server.address = middle;
    server.local = path.local() && dice_.Chance(7000);
    servers = {server};
  }
  unix_front_ = dice_.Chance(1000);
  const Address front = unix_front_          ? Address::UnixAbstract("front")
                        : dice_.Chance(1000) ? Address::Ipv6({0x20, 1, 0xd, 0xb8}, 8080)
                                             : Tcp(1, 8080);
  world_.SetPath(front, RandomPath());
  vary();
  stage_.AddProxy(MakePlan(front, servers), options);
  if (profile_.stops) {
    SimProxy* proxy = stage_.proxies()[dice_.Below(stage_.proxies().size())].get();
    const int64_t drain = dice_.Between(0, 3 * kSecond);
    world_.After(drain, [this, proxy] { stage_.StopAccepting(*proxy); });
    if (dice_.Chance(5000)) {
      // As the main thread: again and again until nobody is left.
      const int64_t first = drain + static_cast<int64_t>(dice_.Size(2 * kSecond));
      for (int i = 0; i < 10; ++i) {
        world_.After(first + i * 20 * kMillisecond,
                     [this, proxy] { stage_.AbortAll(*proxy, CloseCause::kDrain); });
      }
    }
  }
  if (profile_.plans) {
    reaper_.emplace(ReaperHost());
    for (int i = 0; i < 30; ++i) {
      world_.After(dice_.Between(0, 3 * kSecond), [this] { ChangePlan(); });
    }
  }
  // Clients.
  const int64_t spread_ns = static_cast<int64_t>(dice_.Size(2 * kSecond));
  for (size_t i = 0; i < profile_.sessions; ++i) {
    Story story;
    story.to = front;
    story.start_ns = dice_.Between(0, spread_ns);
    story.client = RandomScript(true);
    story.server = RandomScript(false);
    // Seldom does each wait for the other.
    if (story.client.end == Script::End::kFinLast && story.server.end == Script::End::kFinLast &&
        dice_.Chance(9000)) {
      (dice_.Chance(5000) ? story.client : story.server).end = Script::End::kFin;
    }
    // It must come to that.
    story.client.end_after_received =
        std::min(story.client.end_after_received, story.server.send_bytes);
    story.server.end_after_received =
        std::min(story.server.end_after_received, story.client.send_bytes);
    if (profile_.breaks && !unix_front_ && dice_.Chance(500)) {
      story.lost_after = 1 + dice_.Size(10'000);
      story.lost_error = dice_.Chance(5000) ? ETIMEDOUT : EHOSTUNREACH;
    }
    cast_.AddStory(story);
  }
}

bool Show::NoSessions() const {
  for (const auto& proxy : const_cast<Stage&>(stage_).proxies()) {
    if (proxy->sessions() > 0) return false;
  }
  return true;
}

// Another weight, room or limit; servers leave and return, but for the first; all servers are those
// of another upstream; the listener has another name.
void Show::ChangePlan() {
  Plan plan = stage_.proxies().back()->plan();
  const uint16_t before = listener_;
  RemoveIdleUpstreams(plan);
  if (dice_.Chance(2000)) MoveToAnotherUpstream(plan);
  if (dice_.Chance(7000)) {
    const auto slot = static_cast<uint16_t>(plan.listeners[listener_]->upstream);
    ChangeServers(Edit(plan.upstreams[slot]), slot);
  }
  if (dice_.Chance(3000)) {
    plan.max_connections = static_cast<uint32_t>(1 + dice_.Below(32));
  }
  if (dice_.Chance(3000)) ChangeNumbers(Edit(plan.listeners[listener_]));
  if (dice_.Chance(2000)) RenameListener(plan);
  Publish(plan);
  if (listener_ != before) stage_.Retarget(*stage_.proxies().back(), before, listener_);
}

void Show::ChangeServers(UpstreamPlan& upstream, uint16_t slot) {
  for (size_t i = 0; i < upstream.servers.size(); ++i) {
    ServerPlan& server = upstream.servers[i];
    if (server.vacant()) continue;
    server.weight = static_cast<uint32_t>(1 + dice_.Below(256));
    if (server.max_conns > 0) server.max_conns = static_cast<uint32_t>(1 + dice_.Below(4));
    if (i > 0 && dice_.Chance(5000)) {
      server.gone = !server.gone;
      removals_ += server.gone;
    }
  }
  if (!dice_.Chance(4000)) return;
  // One that was never there before, where another was or in a slot of its own.
  ServerPlan server = upstream.servers[0];
  server.name = "new" + std::to_string(++new_names_);
  if (const auto free = TakeFree(SlotRef::Kind::kServer, slot)) {
    upstream.servers[free->server] = server;
  } else if (upstream.servers.size() < 8) {
    upstream.servers.push_back(server);
  }
}

// One that was there before, or another in its slot, or one in a slot of its own, gets the servers
// of the present one, which goes when nobody waits for it any more.
void Show::MoveToAnotherUpstream(Plan& plan) {
  const size_t from = plan.listeners[listener_]->upstream;
  const UpstreamPlan old = *plan.upstreams[from];
  std::optional<size_t> to;
  for (size_t i = 0; i < plan.upstreams.size(); ++i) {
    const UpstreamPlan& other = *plan.upstreams[i];
    const bool there = other.gone && !other.vacant() && !other.servers[0].vacant();
    if (there && dice_.Chance(3000)) to = i;
  }
  UpstreamPlan next = to ? *plan.upstreams[*to] : old;
  if (!to) {
    next.name = "back" + std::to_string(++new_names_);
    next.servers.clear();
    if (const auto free = TakeFree(SlotRef::Kind::kUpstream)) {
      to = free->slot;
      next.servers = plan.upstreams[*to]->servers;
    } else if (plan.upstreams.size() < 6) {
      to = plan.upstreams.size();
      plan.Add(UpstreamPlan());
    } else {
      return;
    }
  }
  next.gone = false;
  for (size_t i = 0; i < old.servers.size(); ++i) {
    if (old.servers[i].vacant()) continue;
    // The first stays the first, so that somebody is always there.
    if (i >= next.servers.size()) {
      next.servers.push_back(old.servers[i]);
    } else if (next.servers[i].vacant()) {
      const SlotRef slot = {.slot = static_cast<uint16_t>(*to), .server = static_cast<uint16_t>(i)};
      if (std::erase(free_, slot) > 0) next.servers[i] = old.servers[i];
    } else {
      next.servers[i].gone = old.servers[i].gone;
    }
  }
  Edit(plan.upstreams[*to]) = next;
  Edit(plan.listeners[listener_]).upstream = *to;
}

// Who is in line for one that is removed is turned away: only those for which nobody is.
void Show::RemoveIdleUpstreams(Plan& plan) {
  SimProxy& front = *stage_.proxies().back();
  if (!front.all_caught_up()) return;
  for (size_t i = 0; i < plan.upstreams.size(); ++i) {
    if (plan.listeners[listener_]->upstream == i || plan.upstreams[i]->gone) continue;
    if (front.SomebodyWaitsFor(static_cast<uint16_t>(i))) continue;
    UpstreamPlan& upstream = Edit(plan.upstreams[i]);
    upstream.gone = true;
    for (ServerPlan& server : upstream.servers) server.gone = true;
  }
}

void Show::RenameListener(Plan& plan) {
  ListenerPlan next = *plan.listeners[listener_];
  size_t to = plan.listeners.size();
  if (const auto free = TakeFree(SlotRef::Kind::kListener)) {
    to = free->slot;
  } else if (to < 6) {
    plan.Add(ListenerPlan());
  } else {
    return;
  }
  Edit(plan.listeners[listener_]).gone = true;
  next.name = "front" + std::to_string(++new_names_);
  // As the planner has it: by the name.
  next.limits = std::make_shared<ListenerLimits>(next.numbers);
  Edit(plan.listeners[to]) = next;
  listener_ = static_cast<uint16_t>(to);
}

// Who is one too many waits in the backlog.
void Show::ChangeNumbers(ListenerPlan& listener) {
  listener.numbers.max_connections =
      dice_.Chance(3000) ? 0 : static_cast<uint32_t>(1 + dice_.Below(16));
}

std::optional<SlotRef> Show::TakeFree(SlotRef::Kind kind, uint16_t upstream) {
  const auto found = std::find_if(free_.begin(), free_.end(), [&](const SlotRef& slot) {
    return slot.kind == kind && (kind != SlotRef::Kind::kServer || slot.slot == upstream);
  });
  if (found == free_.end()) return std::nullopt;
  const SlotRef slot = *found;
  free_.erase(found);
  ++reuses_[static_cast<size_t>(kind)];
  return slot;
}

void Show::NoteGone(const SlotRef& slot, bool gone) {
  if (gone) {
    gone_since_.try_emplace(slot, stage_.proxies().back()->generation().number);
  } else {
    gone_since_.erase(slot);
  }
}

void Show::Publish(const Plan& plan) {
  SimProxy& front = *stage_.proxies().back();
  stage_.SetPlan(front, plan);
  removed_.clear();
  for (size_t l = 0; l < plan.listeners.size(); ++l) {
    NoteGone({.kind = SlotRef::Kind::kListener, .slot = static_cast<uint16_t>(l)},
             plan.listeners[l]->gone);
  }
  for (size_t u = 0; u < plan.upstreams.size(); ++u) {
    NoteGone({.kind = SlotRef::Kind::kUpstream, .slot = static_cast<uint16_t>(u)},
             plan.upstreams[u]->gone);
    const Roster& roster = front.generation().roster(u);
    for (size_t i = 0; i < roster.size(); ++i) {
      const ServerRef server = {static_cast<uint16_t>(u), static_cast<uint16_t>(i)};
      NoteGone({.slot = server.upstream, .server = server.server}, roster.plan_of(i).gone);
      if (roster.plan_of(i).gone) removed_[server] = roster.server(i).connections();
    }
  }
  reaper_->Follow(front.generation().plan);
}

// As the process does it (process.cc), but for what it takes for a message to come.
SlotReaper::Host Show::ReaperHost() {
  return {.workers = stage_.proxies().back()->workers().size(),
          .on_worker =
              [this](size_t worker, std::function<void(SlotUse&)> call) {
                stage_.PostToSlots(*stage_.proxies().back(), worker, std::move(call));
              },
          .post =
              [this](std::function<void()> call) {
                world_.After(dice_.Between(0, kMillisecond), [this, call = std::move(call)] {
                  if (!over_) call();
                });
              },
          // Sooner than in the process: a world is over soon.
          .wake =
              [this](absl::Duration delay) {
                world_.After(absl::ToInt64Nanoseconds(delay) / 50, [this] {
                  if (!over_) reaper_->Look();
                });
              },
          .connections =
              [this](ServerRef of) {
                const Generation& now = stage_.proxies().back()->generation();
                return now.roster(of.upstream).server(of.server).connections();
              },
          .log_passes = [this] { return ++log_passes_; },
          .quiet = [] { return true; },
          .vacate = [this](const std::vector<SlotRef>& slots) { Vacate(slots); },
          .free =
              [this](const std::vector<SlotRef>& slots) {
                free_.insert(free_.end(), slots.begin(), slots.end());
              }};
}

void Show::Vacate(const std::vector<SlotRef>& slots) {
  Plan plan = stage_.proxies().back()->plan();
  for (const SlotRef& slot : slots) {
    const std::string who = stage_.proxies().back()->WhoRefersTo(slot, gone_since_.at(slot));
    if (!who.empty()) {
      Fail("slot " + std::to_string(slot.slot) + " of kind " +
           std::to_string(static_cast<int>(slot.kind)) + " is given away, and there is " + who);
    }
    stage_.proxies().back()->NoteVacated(slot);
    switch (slot.kind) {
      case SlotRef::Kind::kServer: {
        UpstreamPlan& upstream = Edit(plan.upstreams[slot.slot]);
        upstream.servers[slot.server] = {};
        upstream.servers[slot.server].gone = true;
        break;
      }
      case SlotRef::Kind::kUpstream:
        Edit(plan.upstreams[slot.slot]).name.clear();
        break;
      case SlotRef::Kind::kListener: {
        ListenerPlan& listener = Edit(plan.listeners[slot.slot]);
        listener = ListenerPlan();
        listener.gone = true;
        listener.upstream = kNoUpstream;
        break;
      }
    }
  }
  Publish(plan);
}

// Their connections become fewer, never more.
void Show::WatchRemoved() {
  const Generation& now = stage_.proxies().back()->generation();
  for (auto& [server, before] : removed_) {
    const uint32_t connections = now.roster(server.upstream).server(server.server).connections();
    if (connections > before) {
      Fail("server " + std::to_string(server.server) + " was chosen though removed");
    }
    before = connections;
  }
}

void Show::Verify() {
  if (profile_.plans && !stage_.proxies().back()->all_caught_up()) {
    Fail("a worker has not heard of the latest plan");
  }
  const SimProxy& front = *stage_.proxies().back();
  for (const ClosedRecord& record : front.records()) {
    records_[record.client.ToString()] = record;
  }
  uint64_t dropped = 0;
  for (const auto& proxy : stage_.proxies()) dropped += proxy->Sum(&WorkerStats::log_dropped);
  if (dropped > 0) Fail("records of the log were dropped");
  if (unix_front_) FindUnixLives();
  for (const auto& story : cast_.stories()) VerifyStory(*story);
  if (failures_.empty()) return;
  for (const auto& proxy : stage_.proxies()) {
    for (const ClosedRecord& record : proxy->records()) {
      if (record.cause != CloseCause::kClientFin && record.cause != CloseCause::kServerFin) {
        Fail("process " + std::to_string(proxy->process()) + ": " + record.client.ToString() + " " +
             CloseCauseName(record.cause) + When(record));
      }
    }
  }
  Fail("faults of resources: " + std::to_string(world_.counts().resource_faults));
}

bool IsTimeout(CloseCause cause) {
  return cause == CloseCause::kIdle || cause == CloseCause::kHalfCloseTimeout ||
         cause == CloseCause::kClientTimeout || cause == CloseCause::kServerTimeout ||
         cause == CloseCause::kLifetime;
}

// What `seen_by` saw of the stream that `of` has sent.
void Show::VerifyEnd(Peer& seen_by, Peer& of, std::optional<CloseCause> cause) {
  const std::string both = seen_by.Describe() + " of " + of.Describe() + ", cause " +
                           (cause.has_value() ? CloseCauseName(*cause) : "unknown");
  const bool timeout = (cause.has_value() && IsTimeout(*cause)) || profile_.limits ||
                       (!cause.has_value() && profile_.timeouts) ||
                       (profile_.chained && profile_.timeouts) || profile_.stops;
  if (!seen_by.saw_fin()) return;
  if (!timeout && !of.fin_sent() && !of.broke_off() && of.saw_error() == 0) {
    Fail("saw a FIN that nobody sent: " + both);
  }
  // A unix socket knows no reset.
  const bool tcp = !of.socket().is_unix && !seen_by.socket().is_unix;
  if (tcp && !timeout && of.script().end == Script::End::kReset && of.broke_off() &&
      !of.fin_sent()) {
    Fail("saw a FIN where there was a reset: " + both);
  }
  const bool exact = tcp || (!profile_.breaks && !profile_.resources && !profile_.stops);
  // After an abort it may have gone on sending for a while.
  if (exact && !profile_.stops && cause != CloseCause::kLifetime && of.fin_sent() &&
      of.saw_error() == 0 && seen_by.received() != of.sent()) {
    Fail("a FIN said that this was all, and it was not: " + both);
  }
}

std::string Show::When(const ClosedRecord& record) {
  return " from " + std::to_string(record.started.ns() / kMicrosecond) + " us to " +
         std::to_string(record.ended.ns() / kMicrosecond) + " us, up " +
         std::to_string(record.bytes_up) + ", down " + std::to_string(record.bytes_down) +
         ", unsent " + std::to_string(record.unsent_bytes);
}

// Who has ended is not idle: an end that nobody heard of looks like this.
void Show::VerifyIdle(const Peer& client, const Peer* server, std::optional<CloseCause> cause,
                      const std::string& both) {
  if (cause != CloseCause::kIdle && cause != CloseCause::kClientTimeout &&
      cause != CloseCause::kServerTimeout) {
    return;
  }
  const int64_t closed = records_[PackedAddress(client.local()).ToString()].ended.ns();
  for (const Peer* peer : {&client, server}) {
    if (peer != nullptr && peer->ended_at() != 0 && peer->ended_at() < closed - 60 * kSecond) {
      Fail("an end was not heard of: " + both);
    }
  }
}

Peer* Show::ServerOf(Peer& client) {
  if (client.other() != nullptr) return client.other();
  for (const auto& peer : cast_.peers()) {
    if (peer->other() == &client) return peer.get();
  }
  return nullptr;
}

// Clients over unix sockets have no names that a record could say. Who was cut short although
// nobody broke off must be one whose life was over: each has a record of its own, with as many
// bytes as it can have had. The closest pairs first.
void Show::FindUnixLives() {
  struct Pair {
    uint64_t distance;  // bytes that were sent on and not read any more
    const Peer* client;
    const ClosedRecord* record;
  };
  std::vector<Pair> pairs;
  for (const auto& story : cast_.stories()) {
    Peer& client = *cast_.client(*story);
    const Peer* server = ServerOf(client);
    if (client.broke_off() || (server != nullptr && server->broke_off())) continue;
    if (client.socket().turned_away) continue;
    const uint64_t up = server == nullptr ? 0 : server->received();
    const uint64_t server_sent = server == nullptr ? 0 : server->sent();
    if (client.saw_error() == 0 && client.received() == server_sent && up == client.sent()) {
      continue;
    }
    for (const ClosedRecord& record : stage_.proxies().back()->records()) {
      if (record.cause != CloseCause::kLifetime) continue;
      if (record.bytes_up < up || record.bytes_up > client.sent()) continue;
      if (record.bytes_down < client.received()) continue;
      if (server != nullptr && record.bytes_down > server_sent) continue;
      pairs.push_back(
          {record.bytes_up - up + record.bytes_down - client.received(), &client, &record});
    }
  }
  std::stable_sort(pairs.begin(), pairs.end(), [](const Pair& one, const Pair& other) {
    return one.distance < other.distance;
  });
  std::set<const ClosedRecord*> taken;
  for (const Pair& pair : pairs) {
    if (unix_lives_.contains(pair.client) || !taken.insert(pair.record).second) continue;
    unix_lives_[pair.client] = *pair.record;
  }
}

// Null: none, or it cannot be told.
const ClosedRecord* Show::RecordOf(const Peer& client) const {
  if (unix_front_) {
    const auto found = unix_lives_.find(&client);
    return found == unix_lives_.end() ? nullptr : &found->second;
  }
  const auto found = records_.find(PackedAddress(client.local()).ToString());
  return found == records_.end() ? nullptr : &found->second;
}

void Show::VerifyStory(const Story& story) {
  Peer& client = *cast_.client(story);
  Peer* server = ServerOf(client);
  const ClosedRecord* record = RecordOf(client);
  std::optional<CloseCause> cause;
  if (record != nullptr) cause = record->cause;
  const std::string both = client.Describe() + " and " +
                           (server == nullptr ? "no server" : server->Describe()) + ", cause " +
                           (cause.has_value() ? CloseCauseName(*cause) : "unknown") +
                           (record != nullptr ? When(*record) : "");
  const bool resources = world_.counts().resource_faults > 0 || profile_.stops;

  if (server != nullptr) {
    VerifyEnd(client, *server, cause);
    VerifyEnd(*server, client, cause);
  }
  if (client.socket().turned_away) {
    if (cause.has_value()) Fail("a connection that accept failed for has a record: " + both);
    return;
  }
  if (!unix_front_ && !cause.has_value() && client.connected() && !client.broke_off() &&
      !profile_.stops) {
    Fail("a connection left no record: " + both);
  }
  if (cause == CloseCause::kInternal || cause == CloseCause::kNone)
    Fail("a mistake of ours: " + both);
  // Errors that no script, no fault and no bad server explains.
  const bool client_odd = client.broke_off() || client.lost();
  const bool server_odd = server != nullptr && server->broke_off();
  const bool timeouts = cause == CloseCause::kLifetime ||
                        client.script().end == Script::End::kNever || !client.script().reads ||
                        (server != nullptr &&
                         (server->script().end == Script::End::kNever || !server->script().reads));
  const bool no_server_yet = server == nullptr;
  if (client_odd || server_odd || resources) {
    if (resources || unix_front_ || profile_.chained) return;
    if (!timeouts) VerifyIdle(client, server, cause, both);
    // A reset in the middle of an open connection is its cause, whoever else ends later.
    const bool client_reset = client.broke_off() && client.script().end == Script::End::kReset;
    const bool server_reset =
        server_odd && server->script().end == Script::End::kReset && !server->socket().is_unix;
    const bool seen_by_server = server != nullptr && !server->socket().is_unix;
    if (client_reset && !client.lost() && !server_odd && !client.fin_sent() && server != nullptr &&
        !timeouts) {
      if (cause != CloseCause::kClientRst) Fail("not client_rst: " + both);
      if (seen_by_server && (server->saw_fin() || server->saw_error() == 0)) {
        Fail("the server saw no reset: " + both);
      }
    }
    if (server_reset && !client_odd && !server->fin_sent() && !timeouts) {
      if (cause != CloseCause::kServerRst) Fail("not server_rst: " + both);
      if (client.saw_fin() || client.saw_error() == 0) Fail("the client saw no reset: " + both);
    }
    if (client.lost() && !client_reset && !server_odd && !timeouts && server != nullptr &&
        !(client.fin_sent() && server->fin_sent()) && cause != CloseCause::kClientNetError &&
        cause != CloseCause::kClientRst) {
      Fail("not client_net_error: " + both);
    }
    return;
  }
  if (timeouts) return;
  VerifyIdle(client, server, cause, both);
  if (profile_.limits && profile_.chained) return;
  if (no_server_yet || client.saw_error() != 0) {
    if (some_server_bad_) {
      if (client.saw_fin() && !unix_front_) Fail("saw a FIN where there was no server: " + both);
      if (!unix_front_ && !profile_.chained && cause != CloseCause::kConnectRefused &&
          cause != CloseCause::kConnectTimeout && cause.has_value()) {
        Fail("not a failed connect: " + both);
      }
      return;
    }
    // Between two proxies it happens too.
    if (profile_.chained && world_.counts().turned_away > 0) return;
    // Three SYNs were lost one after the other.
    if (world_.faults().syn_lost > 0 && cause == CloseCause::kConnectTimeout) return;
    Fail("an error that nothing explains: " + both);
    return;
  }
  if (client.received() != server->sent() || server->received() != client.sent()) {
    Fail("not all arrived: " + both);
  }
  const bool both_last =
      client.script().end == Script::End::kFinLast && server->script().end == Script::End::kFinLast;
  if (!client.saw_fin() || !server->saw_fin()) Fail("saw no FIN: " + both);
  if (unix_front_ || profile_.chained || both_last) return;
  if (client.script().end == Script::End::kFin && server->script().end == Script::End::kFinLast &&
      cause != CloseCause::kClientFin) {
    Fail("not client_fin: " + both);
  }
  if (client.script().end == Script::End::kFinLast && server->script().end == Script::End::kFin &&
      cause != CloseCause::kServerFin) {
    Fail("not server_fin: " + both);
  }
  if (cause != CloseCause::kClientFin && cause != CloseCause::kServerFin) {
    Fail("not an orderly end: " + both);
  }
}

// What happened in all worlds of a test: one that never splices proves nothing of splicing.
struct Totals {
  uint64_t removals = 0;
  std::array<uint64_t, 3> reuses{};
  uint64_t queued = 0;
  uint64_t splices = 0;
  uint64_t false_ends = 0;
  uint64_t false_eagains = 0;
  uint64_t resets = 0;
  uint64_t stale_events = 0;
  uint64_t resource_faults = 0;
  uint64_t turns = 0;
  std::array<uint64_t, static_cast<size_t>(CloseCause::kCount)> causes = {};
};

// Plays `profile` with as many seeds as make `sessions` of them.
Totals PlayAll(const Profile& profile, int64_t sessions) {
  Totals totals;
  const int64_t worlds = std::max<int64_t>(sessions / static_cast<int64_t>(profile.sessions), 1);
  for (const uint64_t seed : Seeds(worlds)) {
    NoteSeed(seed);
    Show show(seed, profile);
    show.Play();
    const World::Counts& counts = show.world().counts();
    totals.splices += counts.splices;
    totals.false_ends += counts.false_ends;
    totals.false_eagains += counts.false_eagains;
    totals.resets += counts.resets;
    totals.stale_events += counts.stale_events;
    totals.resource_faults += counts.resource_faults;
    totals.turns += show.stage().turns();
    totals.removals += show.removals();
    for (size_t i = 0; i < 3; ++i) totals.reuses[i] += show.reuses()[i];
    totals.queued += show.stage().proxies().back()->Sum(&WorkerStats::queued);
    for (const ClosedRecord& record : show.stage().proxies().back()->records()) {
      ++totals.causes[static_cast<size_t>(record.cause)];
    }
    if (show.failures().empty()) continue;
    std::string text;
    for (const std::string& failure : show.failures()) text += "  " + failure + "\n";
    ADD_FAILURE() << "seed " << seed << ":\n" << text << replay;
    return totals;
  }
  std::printf(
      "turns %llu, splices %llu (false ends %llu, false EAGAIN %llu), resets %llu, stale "
      "events %llu, resource faults %llu;",
      static_cast<unsigned long long>(totals.turns),
      static_cast<unsigned long long>(totals.splices),
      static_cast<unsigned long long>(totals.false_ends),
      static_cast<unsigned long long>(totals.false_eagains),
      static_cast<unsigned long long>(totals.resets),
      static_cast<unsigned long long>(totals.stale_events),
      static_cast<unsigned long long>(totals.resource_faults));
  for (size_t i = 0; i < totals.causes.size(); ++i) {
    if (totals.causes[i] == 0) continue;
    std::printf(" %s %llu", CloseCauseName(static_cast<CloseCause>(i)),
                static_cast<unsigned long long>(totals.causes[i]));
  }
  std::printf("\n");
  return totals;
}

TEST(SimulationTest, OrderlySessionsArriveWholeAndLeaveNothing) {
  PlayAll({}, scale::simulated_sessions / 4);
}

TEST(SimulationTest, FaultsOfTheKernelChangeNothing) {
  PlayAll({.faults = true, .urgent = true}, scale::simulated_sessions / 4);
}

TEST(SimulationTest, BulkIsSplicedAndUrgentMarksEndNothing) {
  const Totals totals = PlayAll(
      {.faults = true, .urgent = true, .bulk = true, .sessions = 8, .most_bytes = 6'000'000},
      scale::simulated_sessions / 40);
  if (only_seed.has_value() || scale::kBuild != scale::Build::kOptimised) return;
  // It proves nothing if it never happened.
  EXPECT_GT(totals.splices, 100u);
  EXPECT_GT(totals.false_ends + totals.false_eagains, 0u);
}

TEST(SimulationTest, TwoProxiesInOneWorldPassOnWhatTheyGet) {
  PlayAll({.faults = true, .urgent = true, .chained = true}, scale::simulated_sessions / 8);
}

TEST(SimulationTest, ResetsArriveAsResets) {
  PlayAll({.faults = true, .breaks = true}, scale::simulated_sessions / 4);
}

TEST(SimulationTest, BadServersAreGoneAroundOrSaid) {
  PlayAll({.faults = true, .bad_servers = true}, scale::simulated_sessions / 8);
}

TEST(SimulationTest, DrainsAndAbortsLeaveNothingAndResetNobodyWhoWasAccepted) {
  PlayAll({.faults = true, .breaks = true, .stops = true, .chained = true},
          scale::simulated_sessions / 4);
}

TEST(SimulationTest, WhoWaitsForAServerGetsOne) {
  const int64_t sessions = std::max<int64_t>(scale::simulated_sessions / 8, 300);
  const Totals totals = PlayAll({.faults = true, .queues = true}, sessions);
  if (only_seed.has_value()) return;
  // It proves nothing if it never happened.
  EXPECT_GT(totals.queued, 10u);
}

TEST(SimulationTest, ALineBeforeServersLosesNobodyThoughManyLeave) {
  PlayAll({.faults = true,
           .breaks = true,
           .bad_servers = true,
           .stops = true,
           .chained = true,
           .queues = true},
          scale::simulated_sessions / 8);
}

TEST(SimulationTest, PlansThatChangeLoseNobodyAndNobodyGoesToARemovedServer) {
  const int64_t sessions = std::max<int64_t>(scale::simulated_sessions / 8, 600);
  const Totals totals = PlayAll({.faults = true, .queues = true, .plans = true}, sessions);
  if (only_seed.has_value()) return;
  // It proves nothing if it never happened.
  EXPECT_GT(totals.removals, 10u);
  for (const uint64_t reuses : totals.reuses) EXPECT_GT(reuses, 10u);
  EXPECT_GT(totals.queued, 10u);
}

// One listener, one server, one worker, and no dice but the world's.
class SmallWorld {
 public:
  explicit SmallWorld(uint64_t seed, const ProxyOptions& options = {},
                      const Faults& faults = Faults(), const SessionTimes& times = kTimes,
                      uint32_t max_connections = 1024, const Address& server = kServer,
                      SpliceUse splice = SpliceUse::kBulk,
                      const std::vector<Address>& candidates = {})
      : world_(seed, Faults()), cast_(world_), stage_(world_) {
    NoteSeed(seed);
    if (server == kServer) cast_.AddServer(kServer, 0, 1024);
    Plan plan;
    ListenerPlan listener;
    listener.name = "front";
    listener.address = kFront;
    listener.times = times;
    listener.splice = splice;
    plan.Add(listener);
    UpstreamPlan upstream;
    upstream.name = "back";
    upstream.servers.push_back({.name = "server", .address = server, .local = true});
    upstream.servers.back().candidates = candidates;
    plan.Add(upstream);
    plan.max_connections = max_connections;
    stage_.AddProxy(plan, options);
    world_.faults() = faults;
  }

  // Plays until every client is done, and fails the test for each complaint.
  void Play() {
    EXPECT_TRUE(stage_.Run([&] { return cast_.AllOver() && cast_.open_servers() == 0; }));
    Finish();
  }
  void Finish() {
    stage_.StopAndCheck();
    for (const std::string& complaint : world_.complaints()) ADD_FAILURE() << complaint << replay;
    for (const std::string& complaint : cast_.complaints()) ADD_FAILURE() << complaint << replay;
  }
  Story& Add(const Script& client, const Script& server, int64_t start_ns = 0) {
    Story story;
    story.client = client;
    story.server = server;
    story.start_ns = start_ns;
    story.to = kFront;
    return cast_.AddStory(story);
  }
  Peer& client(const Story& story) { return *cast_.client(story); }
  // The one that has read the client's header.
  Peer& server(const Story& story) {
    for (const auto& peer : cast_.peers()) {
      if (peer->other() == &client(story)) return *peer;
    }
    return *client(story).other();
  }
  SimProxy& proxy() { return *stage_.proxies().front(); }
  CloseCause cause(size_t record) { return proxy().records()[record].cause; }
  World& world() { return world_; }
  Cast& cast() { return cast_; }
  Stage& stage() { return stage_; }

  static inline const Address kFront = Tcp(1, 8080);
  static inline const Address kServer = Tcp(10, 80);
  static constexpr SessionTimes kTimes = {
      .idle_ns = kIdleNs, .half_close_ns = kHalfCloseNs, .delayed_close_ns = kSecond};

 private:
  World world_;
  Cast cast_;
  Stage stage_;
};

// A peer's server that has said its header, so that who reads it is known to the test.
Script Says(uint64_t bytes, Script::End end) {
  Script script;
  script.send_bytes = bytes;
  script.end = end;
  return script;
}

TEST(SimulationTest, AnIdleTimeoutThatDropsBytesIsAReset) {
  size_t dropped = 0;
  size_t whole = 0;
  for (const uint64_t seed : FewSeeds(100)) {
    for (const bool peeking : {false, true}) {
      for (const bool up : {false, true}) {
        SmallWorld small(seed, {.chunk_cap_bytes = peeking ? 0 : size_t{1} << 30});
        Script stuck = Says(8, Script::End::kNever);
        stuck.reads_after_ns = 2 * kIdleNs;
        // Sometimes all of it fits into the queues, sometimes the last of it is in our hands.
        const uint64_t most = peeking ? 500'000 : 60'000;
        Script sends = Says(8 + small.world().random().Below(most), Script::End::kNever);
        const Story& story = small.Add(up ? sends : stuck, up ? stuck : sends);
        small.Play();
        Peer& reader = up ? small.server(story) : small.client(story);
        EXPECT_EQ(small.cause(0), CloseCause::kIdle) << replay;
        if (reader.received() < sends.send_bytes) {
          ++dropped;
          EXPECT_FALSE(reader.saw_fin()) << replay;
          EXPECT_NE(reader.saw_error(), 0) << replay;
        } else {
          ++whole;
          EXPECT_TRUE(reader.saw_fin()) << replay;
        }
      }
    }
  }
  if (only_seed.has_value()) return;
  EXPECT_GT(dropped, 0u);
  EXPECT_GT(whole, 0u);
}

TEST(SimulationTest, AnAbortOfAHalfClosedConnectionIsItsCause) {
  for (const uint64_t seed : FewSeeds(10)) {
    SmallWorld small(seed);
    Script client = Says(8, Script::End::kFin);
    Script slow = Says(100, Script::End::kFin);
    slow.write_bytes = 10;
    slow.rest_ns = 100 * kSecond;
    small.Add(client, Says(8, Script::End::kFinLast));
    small.Add(client, slow);
    small.world().After(10 * kSecond,
                        [&] { small.stage().AbortAll(small.proxy(), CloseCause::kDrain); });
    small.Play();
    EXPECT_EQ(small.cause(0), CloseCause::kClientFin) << replay;
    EXPECT_EQ(small.cause(1), CloseCause::kDrain) << replay;
  }
}

TEST(SimulationTest, AResetComesAfterAllThatHadArrivedBeforeIt) {
  for (const uint64_t seed : FewSeeds(50)) {
    for (const bool up : {true, false}) {
      for (const bool slow_way : {true, false}) {
        SmallWorld small(seed);
        // All of it is in the proxy's kernel when the reset comes. Then it waits in the queue of a
        // slow way, or for a slow reader.
        small.world().set_capacity(300'000, 400'000);
        const Path slow = {
            .least_ns = kMillisecond, .most_ns = 5 * kMillisecond, .segment_bytes = 4 * 1448};
        if (slow_way) small.world().SetPath(up ? small.kServer : small.kFront, slow);
        Script breaks = Says(250'000, Script::End::kReset);
        breaks.end_after_sent = breaks.send_bytes;
        breaks.end_when_delivered = true;
        breaks.end_delay_ns = 20 * kMillisecond;  // not while the proxy still connects
        Script reads = Says(8, Script::End::kFinLast);
        reads.read_bytes = 4096;
        if (!slow_way) reads.pace_ns = 5 * kMillisecond;
        const Story& story = small.Add(up ? breaks : reads, up ? reads : breaks);
        small.Play();
        Peer& reader = up ? small.server(story) : small.client(story);
        EXPECT_EQ(reader.received(), breaks.send_bytes) << replay;
        EXPECT_EQ(reader.saw_error(), ECONNRESET) << replay;
        EXPECT_EQ(small.cause(0), up ? CloseCause::kClientRst : CloseCause::kServerRst) << replay;
      }
    }
  }
}

TEST(SimulationTest, ADrainResetsNobodyWhoseHandshakeIsDone) {
  for (const uint64_t seed : FewSeeds(20)) {
    SmallWorld small(seed, {.workers = 2});
    small.world().SetPath(small.kFront,
                          {.least_ns = 5 * kMillisecond, .most_ns = 60 * kMillisecond});
    for (int i = 0; i < 200; ++i) {
      small.Add(Says(1000, Script::End::kFin), Says(1000, Script::End::kFinLast),
                i * 2 * kMillisecond);
    }
    small.world().After(200 * kMillisecond, [&] { small.stage().StopAccepting(small.proxy()); });
    small.Play();
    size_t served = 0;
    for (const auto& story : small.cast().stories()) {
      Peer& client = small.client(*story);
      EXPECT_NE(client.connected(), client.saw_error() != 0) << client.Describe() << replay;
      served += client.saw_fin();
    }
    EXPECT_GT(served, 50u) << replay;
    EXPECT_LT(served, 150u) << replay;
  }
}

TEST(SimulationTest, AStopAtOnceLeavesNobodyUnsaidWhoseHandshakeIsDone) {
  for (const uint64_t seed : FewSeeds(20)) {
    SmallWorld small(seed, {.workers = 2});
    small.world().SetPath(small.kFront,
                          {.least_ns = 5 * kMillisecond, .most_ns = 60 * kMillisecond});
    for (int i = 0; i < 200; ++i) {
      small.Add(Says(1000, Script::End::kFin), Says(1000, Script::End::kFinLast),
                i * 2 * kMillisecond);
    }
    // As the process does it: it stops to accept and ends everybody, again until nobody is left,
    // while the last packets of handshakes are still under way.
    small.world().After(200 * kMillisecond, [&] { small.stage().StopAccepting(small.proxy()); });
    for (int i = 1; i <= 20; ++i) {
      small.world().After((200 + 20 * i) * kMillisecond,
                          [&] { small.stage().AbortAll(small.proxy(), CloseCause::kDrain); });
    }
    small.Play();
    size_t connected = 0;
    for (const auto& story : small.cast().stories()) {
      connected += small.client(*story).connected();
    }
    EXPECT_GT(connected, 50u) << replay;
    EXPECT_EQ(small.proxy().records().size(), connected) << replay;
  }
}

TEST(SimulationTest, ASilentAddressOfAServerIsOvertakenByItsOtherOne) {
  for (const uint64_t seed : FewSeeds(20)) {
    const Address silent = Tcp(11, 80);
    SmallWorld small(seed, {}, {}, SmallWorld::kTimes, 1024, SmallWorld::kServer, SpliceUse::kBulk,
                     {silent, SmallWorld::kServer});
    small.world().BlackHole(silent);
    small.Add(Says(100'000, Script::End::kFin), Says(100'000, Script::End::kFin));
    // The peers look at every byte: none is missing and none comes twice.
    small.Play();
    const ClosedRecord& record = small.proxy().records()[0];
    EXPECT_TRUE(record.cause == CloseCause::kClientFin || record.cause == CloseCause::kServerFin)
        << replay;
    EXPECT_EQ(record.attempts, 1) << replay;
    // The delay of the race, and not the timeout of a connect, which is five seconds.
    const int64_t took = record.ended.ns() - record.started.ns();
    EXPECT_GE(took, 250 * kMillisecond) << replay;
    EXPECT_LT(took, 4 * kSecond) << replay;
  }
}

TEST(SimulationTest, AClientThatLeavesDuringTheRaceOfAServersAddressesLeavesNothingBehind) {
  for (const uint64_t seed : FewSeeds(20)) {
    const Address first = Tcp(11, 80);
    const Address second = Tcp(12, 80);
    SmallWorld small(seed, {}, {}, SmallWorld::kTimes, 1024, SmallWorld::kServer, SpliceUse::kBulk,
                     {first, second});
    small.world().BlackHole(first);
    small.world().BlackHole(second);
    Script leaves = Says(100, Script::End::kReset);
    leaves.end_after_sent = 100;
    leaves.end_delay_ns = 400 * kMillisecond;
    small.Add(leaves, {});
    EXPECT_TRUE(
        small.stage().Run([&] { return small.cast().AllOver() && small.proxy().sessions() == 0; }));
    small.Finish();
    EXPECT_EQ(small.cause(0), CloseCause::kClientRst) << replay;
  }
}

TEST(SimulationTest, AClientThatLeavesEndsTheWaitForAUnixBacklog) {
  for (const uint64_t seed : FewSeeds(10)) {
    const Address address = Address::UnixAbstract("full");
    SmallWorld small(seed, {}, {}, SmallWorld::kTimes, 1024, address);
    Socket* listener = small.world().NewSocket(true, -1);
    small.world().Bind(*listener, address);
    small.world().Listen(*listener, 0);
    Socket* other = small.world().NewSocket(true, -1);
    EXPECT_EQ(small.world().Connect(*other, address), 0);
    Script leaves = Says(100, Script::End::kReset);
    leaves.end_after_sent = 100;
    leaves.end_delay_ns = 100 * kMillisecond;
    small.Add(leaves, {});
    EXPECT_TRUE(
        small.stage().Run([&] { return small.cast().AllOver() && small.proxy().sessions() == 0; }));
    small.Finish();
    const ClosedRecord& record = small.proxy().records()[0];
    EXPECT_EQ(record.cause, CloseCause::kClientRst) << replay;
    EXPECT_LT(record.ended.ns() - record.started.ns(), 200 * kMillisecond) << replay;
  }
}

TEST(SimulationTest, AResetIsHeardOfThoughNobodyWaitsForIt) {
  for (const uint64_t seed : FewSeeds(20)) {
    for (const bool up : {true, false}) {
      SmallWorld small(seed);
      // More than all queues hold, to somebody who does not read: no task waits on the sender.
      Script breaks = Says(4'000'000, Script::End::kReset);
      breaks.end_after_sent = 3'000'000;
      Script stuck = Says(8, Script::End::kNever);
      stuck.reads_after_ns = kIdleNs / 2;
      breaks.breaks_off_after_ns = 10 * kSecond;
      const Story& story = small.Add(up ? breaks : stuck, up ? stuck : breaks);
      small.Play();
      Peer& reader = up ? small.server(story) : small.client(story);
      EXPECT_EQ(reader.saw_error(), ECONNRESET) << replay;
      EXPECT_FALSE(reader.saw_fin()) << replay;
      const ClosedRecord& record = small.proxy().records()[0];
      EXPECT_EQ(record.cause, up ? CloseCause::kClientRst : CloseCause::kServerRst) << replay;
      // The reset, and delayed_close for what could still have been delivered.
      EXPECT_LT(record.ended.ns() - record.started.ns(), 13 * kSecond) << replay;
      EXPECT_GT(record.unsent_bytes, 0u) << replay;
    }
  }
}

TEST(SimulationTest, NoSessionStarvesBesideBulk) {
  // There and back: in turns of the one worker, and in what the others move meanwhile. Each way may
  // wait for one turn's budget of bulk and for what came before it; the peers have their own pace.
  constexpr uint64_t kMostTurns = 10;
  constexpr uint64_t kMostBytes = 4'000'000;  // 50 million if bulk is not background
  constexpr size_t kMessage = 200;
  for (const uint64_t seed : FewSeeds(10)) {
    const bool count_turns = seed % 2 == 0;
    SmallWorld small(seed);
    small.world().set_capacity(256 * 1024, 256 * 1024);
    small.cast().set_clock([&] {
      return count_turns ? small.stage().turns() : small.proxy().Sum(&WorkerStats::bytes_up);
    });
    std::vector<const Story*> bulk;
    std::vector<const Story*> talk;
    for (int i = 0; i < 6; ++i) {
      bulk.push_back(
          &small.Add(Says(12'000'000, Script::End::kFin), Says(8, Script::End::kFinLast)));
    }
    Script ping = Says(kMessage * 50, Script::End::kFin);
    ping.write_bytes = kMessage;
    ping.waits_for_answer = true;
    Script pong = ping;
    pong.end = Script::End::kFinLast;
    for (int i = 0; i < 30; ++i) talk.push_back(&small.Add(ping, pong, 100 * kMicrosecond));
    // While the slowest of the talks goes on, no bulk transfer is left behind either.
    EXPECT_TRUE(small.stage().Run([&] {
      return std::any_of(bulk.begin(), bulk.end(), [&](const Story* story) {
        return small.cast().client(*story) != nullptr && small.client(*story).fin_sent();
      });
    }));
    for (const Story* story : bulk) {
      EXPECT_GT(small.client(*story).sent(), 12'000'000u / 3) << replay;
    }
    small.Play();
    uint64_t longest = 0;
    for (const Story* story : talk)
      longest = std::max(longest, small.client(*story).longest_wait());
    EXPECT_GT(longest, 0u) << replay;
    EXPECT_LE(longest, count_turns ? kMostTurns : kMostBytes) << replay;
  }
}

TEST(SimulationTest, IdleConnectionsCostNoTurns) {
  for (const uint64_t seed : FewSeeds(3)) {
    SmallWorld small(seed, {}, {}, {.idle_ns = 0, .half_close_ns = 0, .delayed_close_ns = kSecond});
    for (int i = 0; i < 50; ++i) {
      small.Add(Says(100, Script::End::kNever), Says(100, Script::End::kNever));
    }
    small.stage().RunFor(60 * kSecond);
    EXPECT_EQ(small.proxy().sessions(), 50u);
    const uint64_t turns = small.stage().turns();
    small.stage().RunFor(3600 * kSecond);
    EXPECT_LE(small.stage().turns() - turns, 4u) << replay;
    small.stage().AbortAll(small.proxy(), CloseCause::kDrain);
    small.Play();
  }
}

TEST(SimulationTest, WithoutDescriptorsItWaitsWithoutSpinningAndRecovers) {
  for (const uint64_t seed : FewSeeds(10)) {
    SmallWorld small(seed);
    // epoll, eventfd, listener, and nine connections with half of the tenth.
    small.world().SetDescriptorLimit(0, 3 + 2 * 9 + 1);
    Script holds = Says(100, Script::End::kFin);
    holds.write_bytes = 10;
    holds.rest_ns = 20 * kSecond;
    for (int i = 0; i < 60; ++i) small.Add(holds, Says(100, Script::End::kFinLast));
    small.stage().RunFor(2 * kSecond);
    const uint64_t turns = small.stage().turns();
    small.stage().RunFor(10 * kSecond);
    // Ten looks of the listener a second at most, and four of the one that waits to connect.
    EXPECT_LE(small.stage().turns() - turns, 150u) << replay;
    EXPECT_GT(small.proxy().Sum(&WorkerStats::accept_pauses), 0u) << replay;
    EXPECT_LE(small.proxy().sessions(), 10u) << replay;
    small.stage().RunFor(60 * kSecond);
    small.world().SetDescriptorLimit(0, 1024);
    small.Play();
    // Who was accepted with the last descriptor may have been turned away; the others were served.
    size_t served = 0;
    for (const auto& story : small.cast().stories()) served += small.client(*story).saw_fin();
    EXPECT_GE(served, 40u) << replay;
  }
}

TEST(SimulationTest, TheLimitOfConnectionsIsKeptAndTheBacklogQueues) {
  for (const uint64_t seed : FewSeeds(10)) {
    SmallWorld small(seed, {.workers = 3}, {}, SmallWorld::kTimes, 5);
    Script holds = Says(100, Script::End::kFin);
    holds.write_bytes = 10;
    holds.rest_ns = kSecond;
    for (int i = 0; i < 40; ++i) small.Add(holds, Says(100, Script::End::kFinLast));
    uint32_t most = 0;
    EXPECT_TRUE(small.stage().Run([&] {
      most = std::max(most, small.proxy().sessions());
      return small.cast().AllOver();
    }));
    EXPECT_EQ(most, 5u) << replay;
    small.Play();
    for (const auto& story : small.cast().stories()) {
      EXPECT_TRUE(small.client(*story).saw_fin()) << replay;
    }
  }
}

TEST(SimulationTest, RatesAndTimesLoseNothingAndLeaveNothing) {
  const int64_t sessions = std::max<int64_t>(scale::simulated_sessions / 4, 1500);
  const Totals totals = PlayAll({.faults = true, .limits = true}, sessions);
  PlayAll({.faults = true, .breaks = true, .timeouts = true, .urgent = true, .limits = true},
          scale::simulated_sessions / 4);
  if (only_seed.has_value()) return;
  // It proves nothing if it never happened.
  EXPECT_GT(totals.causes[static_cast<size_t>(CloseCause::kLifetime)], 0u);
}

TEST(SimulationTest, ARateIsKeptBothWaysCopyingAndSplicingAndCostsFewTurns) {
  for (const uint64_t seed : FewSeeds(4)) {
    for (const SpliceUse splice : {SpliceUse::kNever, SpliceUse::kAlways}) {
      SessionTimes times = SmallWorld::kTimes;
      times.rate_up = 50'000;
      times.rate_down = 500'000;
      SmallWorld small(seed, {}, {}, times, 1024, SmallWorld::kServer, splice);
      small.Add(Says(1'000'000, Script::End::kFin), Says(10'000'000, Script::End::kFinLast));
      const Story& up_only =
          small.Add(Says(500'000, Script::End::kFin), Says(8, Script::End::kFinLast));
      small.Play();
      for (const ClosedRecord& record : small.proxy().records()) {
        const auto bytes_up = static_cast<double>(record.bytes_up);
        EXPECT_NEAR(static_cast<double>(record.ended.ns() - record.started.ns()) / kSecond,
                    bytes_up / 50'000, bytes_up / 50'000 * 0.03)
            << replay;
      }
      EXPECT_EQ(small.server(up_only).received(), 500'000u) << replay;
      EXPECT_EQ(small.world().counts().splices > 0, splice == SpliceUse::kAlways) << replay;
    }
  }
}

TEST(SimulationTest, ADirectionOutOfTokensCostsNoTurns) {
  for (const uint64_t seed : FewSeeds(3)) {
    SessionTimes times = SmallWorld::kTimes;
    times.rate_up = 1'000;
    SmallWorld small(seed, {}, {}, times);
    for (int i = 0; i < 10; ++i) {
      small.Add(Says(4'000'000, Script::End::kNever), Says(8, Script::End::kNever));
    }
    // The queues fill.
    small.stage().RunFor(5 * kSecond);
    const uint64_t turns = small.stage().turns();
    small.stage().RunFor(100 * kSecond);
    // One for each portion, and one for each that the client has sent because there was room.
    EXPECT_LE(small.stage().turns() - turns, 100u * 10 * 40 * 2 + 100) << replay;
    small.stage().AbortAll(small.proxy(), CloseCause::kDrain);
    const int64_t asked = small.world().now();
    EXPECT_TRUE(small.stage().Run([&] { return small.proxy().sessions() == 0; }));
    EXPECT_LT(small.world().now() - asked, 10 * kMillisecond) << "who sleeps is woken" << replay;
    small.Play();
  }
}

TEST(SimulationTest, AResetReachesADirectionThatSleepsForTokens) {
  for (const uint64_t seed : FewSeeds(20)) {
    for (const bool up : {true, false}) {
      SessionTimes times = SmallWorld::kTimes;
      // The next portion would come after ten seconds.
      times.rate_up = times.rate_down = 1;
      SmallWorld small(seed, {}, {}, times);
      Script breaks = Says(3'000, Script::End::kReset);
      breaks.end_after_sent = 3'000;
      breaks.end_when_delivered = true;
      breaks.end_delay_ns = 7 * kSecond;
      Script other = Says(2'000, Script::End::kNever);
      small.Add(up ? breaks : other, up ? other : breaks);
      EXPECT_TRUE(small.stage().Run([&] { return small.cast().AllOver(); }));
      const int64_t over = small.world().now();
      small.Play();
      const ClosedRecord& record = small.proxy().records()[0];
      EXPECT_EQ(record.cause, up ? CloseCause::kClientRst : CloseCause::kServerRst) << replay;
      // What it left behind is delivered at once, not at the rate.
      EXPECT_LT(record.ended.ns(), over + kSecond) << replay;
      EXPECT_EQ(up ? record.bytes_up : record.bytes_down, 3'000u) << replay;
    }
  }
}

TEST(SimulationTest, ASideThatIsSilentEndsItUnlessTheOtherMakesItBusy) {
  for (const uint64_t seed : FewSeeds(10)) {
    for (const bool client_side : {true, false}) {
      SessionTimes times = SmallWorld::kTimes;
      (client_side ? times.client_idle_ns : times.server_idle_ns) = 5 * kSecond;
      SmallWorld small(seed, {}, {}, times);
      // One way only, for half a minute: either side is busy with it.
      Script sends = Says(30'000, Script::End::kFin);
      sends.write_bytes = 1'000;
      sends.pace_ns = 2 * kSecond;
      small.Add(Says(8, Script::End::kFinLast), sends);
      small.Add(Says(100, Script::End::kNever), Says(100, Script::End::kNever));
      small.Play();
      for (const ClosedRecord& record : small.proxy().records()) {
        const int64_t lived = record.ended.ns() - record.started.ns();
        if (record.bytes_down == 30'000) {
          EXPECT_EQ(record.cause, CloseCause::kServerFin) << replay;
          EXPECT_GT(lived, 6 * kSecond) << replay;
        } else {
          EXPECT_EQ(record.cause,
                    client_side ? CloseCause::kClientTimeout : CloseCause::kServerTimeout)
              << replay;
          EXPECT_NEAR(static_cast<double>(lived), 5e9, 1e9) << replay;
        }
      }
    }
  }
}

TEST(SimulationTest, HalfClosedOnlyTheHalfCloseTimeoutCounts) {
  for (const uint64_t seed : FewSeeds(5)) {
    SessionTimes times = SmallWorld::kTimes;
    times.client_idle_ns = times.server_idle_ns = 5 * kSecond;
    times.half_close_ns = 40 * kSecond;
    SmallWorld small(seed, {}, {}, times);
    Script slow = Says(100, Script::End::kFin);
    slow.write_bytes = 10;
    slow.rest_ns = 100 * kSecond;
    small.Add(Says(100, Script::End::kFin), slow);
    small.Play();
    const ClosedRecord& record = small.proxy().records()[0];
    EXPECT_EQ(record.cause, CloseCause::kHalfCloseTimeout) << replay;
    EXPECT_GT(record.ended.ns() - record.started.ns(), 39 * kSecond) << replay;
  }
}

TEST(SimulationTest, ALifeEndsWithinItsJitterAndNotAllAtOnce) {
  for (const uint64_t seed : FewSeeds(5)) {
    SessionTimes times = SmallWorld::kTimes;
    times.lifetime_ns = 100 * kSecond;
    times.lifetime_jitter_percent = 20;
    SmallWorld small(seed, {}, {}, times);
    Script talks = Says(100'000, Script::End::kNever);
    talks.write_bytes = 100;
    talks.pace_ns = kSecond;
    for (int i = 0; i < 40; ++i) small.Add(talks, Says(8, Script::End::kNever));
    small.Play();
    double least = 1e9;
    double most = 0;
    for (const ClosedRecord& record : small.proxy().records()) {
      EXPECT_EQ(record.cause, CloseCause::kLifetime) << replay;
      const double lived = static_cast<double>(record.ended.ns() - record.started.ns()) / kSecond;
      least = std::min(least, lived);
      most = std::max(most, lived);
    }
    EXPECT_GE(least, 80) << replay;
    EXPECT_LE(most, 100.1) << replay;
    EXPECT_GT(most - least, 12) << "spread over the jitter" << replay;
  }
}

TEST(SimulationTest, APacedDrainEndsTheIdleLongestFirstEvenlyAndTheBusyLast) {
  constexpr int kIdle = 60;
  constexpr int kBusy = 4;
  for (const uint64_t seed : FewSeeds(5)) {
    SmallWorld small(seed);
    Script talks = Says(100'000, Script::End::kNever);
    talks.write_bytes = 100;
    talks.pace_ns = 100 * kMillisecond;
    std::vector<Story*> idle;
    std::vector<Story*> busy;
    for (int i = 0; i < kIdle; ++i) {
      idle.push_back(&small.Add(Says(8, Script::End::kNever), Says(8, Script::End::kNever),
                                i * 10 * kMillisecond));
    }
    for (int i = 0; i < kBusy; ++i) busy.push_back(&small.Add(talks, Says(8, Script::End::kNever)));
    small.stage().RunFor(5 * kSecond);
    const int64_t begin = small.world().now();
    DrainOrder order;
    order.over = absl::Seconds(40);
    small.stage().Drain(small.proxy(), order);
    small.Play();

    std::map<std::string, int64_t> ended;  // by client, since the drain began
    for (const ClosedRecord& record : small.proxy().records()) {
      EXPECT_EQ(record.cause, CloseCause::kDrain) << replay;
      ended[record.client.ToString()] = record.ended.ns() - begin;
    }
    const auto end_of = [&](const Story* story) {
      const auto found = ended.find(PackedAddress(small.client(*story).local()).ToString());
      EXPECT_NE(found, ended.end()) << replay;
      return found == ended.end() ? 0 : static_cast<double>(found->second) / kSecond;
    };
    ASSERT_EQ(ended.size(), size_t{kIdle + kBusy}) << replay;
    double before = 0;
    const double step = 40.0 / (kIdle + kBusy);
    for (int i = 0; i < kIdle; ++i) {
      const double end = end_of(idle[i]);
      EXPECT_GT(end, before) << "idle for less time, and ended before: " << i << " " << replay;
      // By the rule in drain.h, and a tick of the timers: from one to the next the time that is
      // left over those that are left, give or take a quarter.
      const double next = (40 - before) / (kIdle + kBusy - i);
      EXPECT_NEAR(end - before, next, next / 4 + 0.003) << i << " " << replay;
      // What the quarters add up to. In the middle, where it is most, 0.58 steps are the standard
      // deviation: that of a step, 0.144, by half the root of 64 of them.
      EXPECT_NEAR(end, step * (i + 1), 4 * step) << i << " " << replay;
      before = end;
    }
    for (const Story* story : busy) {
      EXPECT_GT(end_of(story), before) << replay;
      EXPECT_LE(end_of(story), 40.1) << replay;
    }
    EXPECT_EQ(order.tally->total.load(), uint32_t{kIdle + kBusy}) << replay;
    EXPECT_EQ(order.tally->left.load(), 0u) << replay;
    EXPECT_EQ(order.tally->ended.load(), 1u) << replay;
  }
}

TEST(SimulationTest, EverythingAtOnceLeavesNothingBehind) {
  PlayAll({.faults = true,
           .resources = true,
           .breaks = true,
           .timeouts = true,
           .bad_servers = true,
           .urgent = true,
           .chained = true},
          scale::simulated_sessions / 4);
}

}  // namespace
}  // namespace parkway::sim

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    if (strncmp(argv[i], "--seed=", 7) == 0) {
      parkway::sim::only_seed = strtoull(argv[i] + 7, nullptr, 10);
    }
    if (strncmp(argv[i], "--times=", 8) == 0) parkway::sim::more_worlds = atoll(argv[i] + 8);
    if (strcmp(argv[i], "--trace") == 0) parkway::sim::World::set_trace(true);
  }
  signal(SIGABRT, parkway::sim::SayReplay);
  signal(SIGSEGV, parkway::sim::SayReplay);
  return RUN_ALL_TESTS();
}
