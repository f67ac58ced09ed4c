#include "tests/sim/stage.h"

#include <errno.h>

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <utility>

#include "poller/listener.h"
#include "proxy/core/histogram.h"
#include "proxy/inbound/listener_limits.h"

namespace parkway::sim {

namespace {

constexpr int64_t kDayNs = int64_t{86'400} * 1'000'000'000;
// How long a turn takes, beside its calls.
constexpr int64_t kTurnNs = 20'000;
// Until a busy worker takes up what was posted to it.
constexpr int64_t kLongestPostNs = 20'000'000;

// Every end is told.
std::shared_ptr<const Plan> Logged(const Plan& plan) {
  auto logged = std::make_shared<Plan>(plan);
  logged->log.target = LogPlan::Target::kStderr;
  return logged;
}

}  // namespace

// ---------------------------------------------------------------------------------------------
// SimProxy

SimProxy::SimProxy(World& world, int process, const Plan& plan, const ProxyOptions& options)
    : world_(world), process_(process), shared_(Logged(plan), options.workers) {
  world_.Enter(process_);
  for (uint32_t i = 0; i < options.workers; ++i) {
    Worker::Options of_worker;
    of_worker.index = i;
    of_worker.seed = world_.random().Next();
    of_worker.max_stacks = options.max_stacks;
    of_worker.chunk_cap_bytes = options.chunk_cap_bytes;
    of_worker.max_pipes = options.max_pipes;
    workers_.push_back(std::make_unique<Worker>(of_worker, shared_));
    epolls_.push_back(world_.last_epoll());
  }
  for (const auto& worker : workers_) shared_.workers.push_back(worker.get());
  // As the process does it (process.cc).
  for (size_t i = 0; i < plan.listeners.size(); ++i) {
    const ListenerPlan& listener = *plan.listeners[i];
    const size_t sockets = listener.address.is_unix() ? 1 : workers_.size();
    for (size_t j = 0; j < sockets; ++j) {
      const ListenOptions how{.backlog = listener.backlog, .share = sockets > 1, .join = j > 0};
      const int fd = OpenListenSocket(listener.address, how, nullptr);
      if (fd < 0 || workers_[j]->AddListener(i, fd, false) != 0) {
        world_.Complain("a listener cannot be opened");
      }
    }
  }
}

uint32_t SimProxy::sessions() const {
  uint32_t sum = 0;
  for (const auto& worker : workers_) sum += worker->sessions();
  return sum;
}

bool SimProxy::accepting() const {
  return std::any_of(workers_.begin(), workers_.end(),
                     [](const auto& worker) { return worker->accepting(); });
}

bool SimProxy::all_caught_up() const {
  return std::all_of(workers_.begin(), workers_.end(), [this](const auto& worker) {
    return &worker->views().now() == &generation();
  });
}

uint64_t SimProxy::turns() const {
  uint64_t sum = 0;
  for (const auto& worker : workers_) sum += worker->turns();
  return sum;
}

uint64_t SimProxy::Sum(Counter WorkerStats::*counter) const {
  uint64_t sum = 0;
  for (const auto& worker : workers_) {
    worker->Sweep();
    sum += (worker->worker_stats().*counter).value();
  }
  return sum;
}

std::string SimProxy::WhoRefersTo(const SlotRef& slot, uint64_t since) const {
  const bool of_server = slot.kind == SlotRef::Kind::kServer;
  if (of_server && generation().roster(slot.slot).server(slot.server).connections() > 0) {
    return "connections";
  }
  std::string who;
  for (const auto& worker : workers_) {
    if (worker->views().oldest() < since) who = "a view of before";
    auto& sessions = const_cast<SessionPool&>(worker->sessions_pool());
    sessions.ForEach([&](const Session& session) {
      const bool names = slot.kind == SlotRef::Kind::kListener ? session.listener == slot.slot
                                                               : session.upstream == slot.slot;
      const bool last = !of_server || (session.attempts > 0 && session.server_index == slot.server);
      if (names && last) who = "session " + std::to_string(session.id());
    });
  }
  return who;
}

bool SimProxy::SomebodyWaitsFor(uint16_t upstream) const {
  bool somebody = false;
  for (const auto& worker : workers_) {
    auto& sessions = const_cast<SessionPool&>(worker->sessions_pool());
    sessions.ForEach([&](const Session& session) {
      somebody = somebody ||
                 (session.upstream == upstream && session.phase() != Session::Phase::kRelaying &&
                  session.phase() != Session::Phase::kEnding);
    });
  }
  return somebody;
}

void SimProxy::ServerSums::Add(const ServerStats& server) {
  attempts += server.attempts.value();
  connected += server.connected.value();
  for (const Counter& error : server.errors) failed += error.value();
  to_servers += server.bytes_sent.value();
  from_servers += server.bytes_received.value();
}

void SimProxy::NoteVacated(const SlotRef& slot) {
  for (const auto& worker : workers_) {
    const WorkerStats& stats = worker->worker_stats();
    if (slot.kind == SlotRef::Kind::kListener) {
      const ListenerStats* listener = stats.listeners.Find(slot.slot);
      if (listener == nullptr) continue;
      vacated_received_ += listener->bytes_received.value();
      vacated_sent_ += listener->bytes_sent.value();
    } else if (slot.kind == SlotRef::Kind::kServer) {
      const UpstreamStats* upstream = stats.upstreams.Find(slot.slot);
      const ServerStats* server =
          upstream == nullptr ? nullptr : upstream->servers.Find(slot.server);
      if (server != nullptr) vacated_.Add(*server);
    }
  }
}

bool SimProxy::Due(size_t worker) const {
  const Scheduler& scheduler = workers_[worker]->scheduler_ref();
  return scheduler.HasReady() || scheduler.NextWake().ns() <= world_.now() ||
         World::HasEvents(*epolls_[worker]);
}

void SimProxy::TakeRecords() {
  LogRecord record;
  for (const auto& worker : workers_) {
    while (worker->log_ring().Pop(record)) {
      if (const ClosedRecord* closed = record.closed()) records_.push_back(*closed);
    }
  }
}

std::string SimProxy::Leftovers() const {
  std::string text;
  const auto say = [&](size_t worker, const char* what, uint64_t count) {
    if (count == 0) return;
    text +=
        "worker " + std::to_string(worker) + " has " + std::to_string(count) + " " + what + "; ";
  };
  for (size_t i = 0; i < workers_.size(); ++i) {
    Worker& worker = *workers_[i];
    const Scheduler& scheduler = worker.scheduler_ref();
    say(i, "descriptors in use", scheduler.netpoll().cache().in_use());
    say(i, "chunks in use", worker.chunk_pool().in_use());
    say(i, "pipes in use", worker.pipe_pool().in_use());
    say(i, "tasks parked on a stack", scheduler.parked());
    // One may be kept warm in hand.
    say(i, "stacks in use", scheduler.stacks().in_use() > 1 ? scheduler.stacks().in_use() : 0);
    say(i, "timers armed", scheduler.wheel().count());
    say(i, "sessions", worker.sessions_pool().size());
    say(i, "sessions counted", worker.sessions());
    say(i, "old views", worker.views().size() - 1);
    say(i, "extras in use", worker.extras.in_use());
    say(i, "tasks ready", scheduler.HasReady());
  }
  if (shared_.limit.in_use() != 0) {
    text += "the connection limit counts " + std::to_string(shared_.limit.in_use()) + "; ";
  }
  for (const auto& listener : plan().listeners) {
    if (listener->limits == nullptr || listener->limits->connections.in_use() == 0) continue;
    text += "the limit of listener " + listener->name + " counts " +
            std::to_string(listener->limits->connections.in_use()) + "; ";
  }
  for (const auto& roster : shared_.generations.current()->rosters) {
    if (roster->balancer().waiting() != 0) {
      text += std::to_string(roster->balancer().waiting()) + " are in line for a server; ";
    }
    for (size_t i = 0; i < roster->size(); ++i) {
      if (roster->server(i).connections() == 0) continue;
      text += "server " + std::to_string(i) + " counts " +
              std::to_string(roster->server(i).connections()) + " connections; ";
    }
  }
  text += Miscounts();
  // epoll, eventfd and timerfd, and the idle pipes.
  size_t expected = 0;
  for (const auto& worker : workers_) expected += 3 + 2 * worker->pipe_pool().idle();
  const int open = world_.OpenDescriptors(process_);
  if (static_cast<size_t>(open) != expected) {
    text += std::to_string(open) + " descriptors are open and not " + std::to_string(expected) +
            ": " + world_.DescribeDescriptors(process_);
  }
  return text;
}

// What was counted by slot adds up, now that all is over.
std::string SimProxy::Miscounts() const {
  std::string text;
  const auto equal = [&](const std::string& what, uint64_t one, uint64_t other) {
    if (one == other) return;
    text += what + ": " + std::to_string(one) + " and " + std::to_string(other) + "; ";
  };
  uint64_t received = vacated_received_, sent = vacated_sent_;
  for (size_t i = 0; i < plan().listeners.size(); ++i) {
    uint64_t accepted = 0, begun = 0, ended = 0, closed = 0;
    for (const auto& worker : workers_) {
      const ListenerStats* stats = worker->worker_stats().listeners.Find(i);
      if (stats == nullptr) continue;
      accepted += stats->accepted.value();
      begun += stats->begun.value();
      ended += stats->ended.value();
      received += stats->bytes_received.value();
      sent += stats->bytes_sent.value();
      const ClosedStats::Cell* cell = stats->closed.first();
      for (; cell != nullptr; cell = ClosedStats::After(*cell)) {
        for (const Counter& cause : cell->causes) closed += cause.value();
      }
    }
    equal("accepted and closed by listener " + std::to_string(i), accepted, closed);
    equal("begun and ended by listener " + std::to_string(i), begun, ended);
  }
  ServerSums servers = vacated_;
  for (size_t i = 0; i < plan().upstreams.size(); ++i) {
    for (const auto& worker : workers_) {
      const UpstreamStats* upstream = worker->worker_stats().upstreams.Find(i);
      for (size_t j = 0; upstream != nullptr && j < plan().upstreams[i]->servers.size(); ++j) {
        const ServerStats* server = upstream->servers.Find(j);
        if (server != nullptr) servers.Add(*server);
      }
    }
  }
  equal("attempts in all and by server", Sum(&WorkerStats::connect_attempts), servers.attempts);
  equal("failures in all and by server", Sum(&WorkerStats::connect_failures), servers.failed);
  // A client that leaves in the middle of one leaves it without an outcome.
  if (servers.connected + servers.failed > servers.attempts)
    text += "more connects ended than were begun; ";
  equal("bytes up and by listener", Sum(&WorkerStats::bytes_up), received);
  equal("bytes down and by listener", Sum(&WorkerStats::bytes_down), sent);
  equal("bytes up and to servers", received, servers.to_servers);
  equal("bytes down and from servers", sent, servers.from_servers);
  return text;
}

// ---------------------------------------------------------------------------------------------
// Stage

Stage::~Stage() {
  for (auto& proxy : proxies_) {
    world_.Enter(proxy->process());
    proxy.reset();
  }
}

SimProxy& Stage::AddProxy(const Plan& plan, const ProxyOptions& options) {
  const int process = static_cast<int>(proxies_.size());
  proxies_.push_back(std::make_unique<SimProxy>(world_, process, plan, options));
  return *proxies_.back();
}

namespace {

uint64_t BusyTurns(const Worker& worker) {
  std::array<uint64_t, Histogram<kShortTimes>::kBuckets> counts{};
  uint64_t sum_us = 0;
  worker.worker_stats().turns.AddTo(&counts, &sum_us);
  return std::accumulate(counts.begin(), counts.end(), uint64_t{0});
}

}  // namespace

void Stage::Turn(SimProxy& proxy, size_t index) {
  Worker& worker = *proxy.workers_[index];
  Scheduler& scheduler = worker.scheduler_ref();
  world_.Enter(proxy.process());
  const World::Counts before = world_.counts();
  const uint64_t activations = scheduler.activations();
  const uint64_t busy = BusyTurns(worker);
  scheduler.Turn();
  ++turns_;
  // Once, and once more where the turn was a busy one.
  if (world_.counts().clock_reads > before.clock_reads + 1 + (BusyTurns(worker) - busy)) {
    world_.Complain("the clock was read " +
                    std::to_string(world_.counts().clock_reads - before.clock_reads) +
                    " times in one turn");
  }
  if (scheduler.activations() == activations && world_.counts().calls == before.calls + 1) {
    ++idle_turns_;
  }
  proxy.TakeRecords();
  world_.Advance(world_.now() + world_.random().Between(0, kTurnNs));
}

bool Stage::Run(const std::function<bool()>& done) {
  const int64_t end = world_.now() + kDayNs;
  std::vector<std::pair<SimProxy*, size_t>> due;
  while (!done()) {
    due.clear();
    int64_t wake = world_.NextEvent();
    for (const auto& proxy : proxies_) {
      for (size_t i = 0; i < proxy->workers_.size(); ++i) {
        if (proxy->Due(i)) due.emplace_back(proxy.get(), i);
        wake = std::min(wake, proxy->workers_[i]->scheduler_ref().NextWake().ns());
      }
    }
    if (!due.empty()) {
      const auto [proxy, worker] = due[world_.random().Below(due.size())];
      Turn(*proxy, worker);
    } else if (wake > end) {
      return false;
    } else {
      world_.Advance(wake);
    }
  }
  return true;
}

bool Stage::RunFor(int64_t ns) {
  const int64_t until = world_.now() + ns;
  world_.At(until, [] {});
  return Run([&] { return world_.now() >= until; });
}

void Stage::StopAccepting(SimProxy& proxy) {
  const int before = world_.process();
  world_.Enter(proxy.process());
  for (const auto& worker : proxy.workers_) worker->PostStopAccepting();
  world_.Enter(before);
}

void Stage::AbortAll(SimProxy& proxy, CloseCause cause) {
  const int before = world_.process();
  world_.Enter(proxy.process());
  for (const auto& worker : proxy.workers_) worker->PostAbortAll(cause);
  world_.Enter(before);
}

void Stage::Drain(SimProxy& proxy, const DrainOrder& order) {
  const int before = world_.process();
  world_.Enter(proxy.process());
  for (const auto& worker : proxy.workers_) worker->PostDrain(order);
  world_.Enter(before);
}

void Stage::SetPlan(SimProxy& proxy, const Plan& plan) {
  const int before = world_.process();
  world_.Enter(proxy.process());
  // As the process does it (process.cc).
  const std::shared_ptr<const Generation> next = proxy.shared_.generations.Prepare(Logged(plan));
  proxy.shared_.generations.Commit(next, MonotonicTime(world_.now()),
                                   [&] { proxy.shared_.latest.Set(next); });
  world_.Enter(before);
  for (const auto& worker : proxy.workers_) {
    world_.After(world_.random().Between(0, kLongestPostNs), [this, &proxy, to = worker.get()] {
      const int present = world_.process();
      world_.Enter(proxy.process());
      to->PostGeneration();
      world_.Enter(present);
    });
  }
}

void Stage::Retarget(SimProxy& proxy, size_t from, size_t to) {
  const int before = world_.process();
  world_.Enter(proxy.process());
  for (const auto& worker : proxy.workers_) worker->PostRetarget({{from, to}});
  world_.Enter(before);
}

void Stage::PostToSlots(SimProxy& proxy, size_t worker, std::function<void(SlotUse&)> call) {
  const int before = world_.process();
  world_.Enter(proxy.process());
  proxy.workers_[worker]->PostToSlots(std::move(call));
  world_.Enter(before);
}

void Stage::StopAndCheck() {
  for (const auto& proxy : proxies_) StopAccepting(*proxy);
  const auto idle = [&] {
    return std::none_of(proxies_.begin(), proxies_.end(), [](const auto& proxy) {
      return proxy->accepting() || proxy->sessions() > 0;
    });
  };
  if (!Run(idle)) {
    for (const auto& proxy : proxies_) {
      if (proxy->accepting()) world_.Complain("a listener never closed");
      if (proxy->sessions() > 0) {
        world_.Complain(std::to_string(proxy->sessions()) +
                        " sessions never ended: " + world_.DescribeDescriptors(proxy->process()));
      }
    }
  }
  // The calls that were posted last.
  RunFor(1'000'000);
  for (const auto& proxy : proxies_) {
    const std::string left = proxy->Leftovers();
    if (!left.empty()) {
      world_.Complain("process " + std::to_string(proxy->process()) + " has left: " + left);
    }
  }
  const uint64_t reset = world_.counts().handshakes_reset;
  if (reset > 0) {
    world_.Complain(std::to_string(reset) + " clients with a finished handshake were reset");
  }
}

}  // namespace parkway::sim
