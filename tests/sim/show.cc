#include "tests/sim/show.h"

#include <errno.h>

#include <algorithm>
#include <memory>

#include "poller/address.h"
#include "proxy/core/session_times.h"
#include "proxy/inbound/listener_limits.h"
#include "tests/proxy/edit.h"
#include "tests/sim/terms.h"

namespace parkway::sim {

Show::Show(uint64_t seed, const Profile& profile)
    : profile_(profile),
      dice_(seed ^ 0x5eed),
      world_(seed, Faults()),
      cast_(world_),
      stage_(world_) {
  Build();
  // A process that cannot start is not what this is about.
  world_.faults() = MakeFaults();
}

void Show::Play() {
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
    faults.splice_refused = often(500);
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

}  // namespace parkway::sim
