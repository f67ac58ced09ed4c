#include "tests/bench/growth_world.h"

#include <malloc.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <utility>
#include <vector>

#include "poller/address.h"
#include "poller/kernel.h"
#include "proxy/core/close_cause.h"
#include "tests/bench/bare_memory.h"
#include "tests/bench/script_kernel.h"

namespace parkway::bench {

namespace {

constexpr int64_t kSecondNs = 1'000'000'000;
constexpr int64_t kIdleNs = 3600 * kSecondNs;
// About what a turn of 256 activations takes.
constexpr int64_t kTurnNs = 50'000;
constexpr size_t kRequestBytes = 64;

[[noreturn]] void Die(const char* why) {
  std::fprintf(stderr, "growth: %s\n", why);
  std::abort();
}

int64_t CpuNs() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * kSecondNs + now.tv_nsec;
}

Plan MakePlan(size_t most) {
  Plan plan;
  ListenerPlan listener;
  listener.name = "in";
  listener.address = Address::Ipv4({127, 0, 0, 1}, 7000);
  listener.times = {
      .idle_ns = kIdleNs, .half_close_ns = 30 * kSecondNs, .delayed_close_ns = kSecondNs};
  plan.Add(std::move(listener));
  ServerPlan server;
  server.name = "server";
  server.address = Address::Ipv4({127, 0, 0, 1}, 8000);
  UpstreamPlan upstream;
  upstream.name = "out";
  upstream.servers.push_back(std::move(server));
  plan.Add(std::move(upstream));
  // Never reached: a listener that waits for a slot looks again and again.
  plan.max_connections = static_cast<uint32_t>(most) + 1;
  return plan;
}

// Whole rounds of all active ones, in whole batches.
uint64_t TurnsFor(uint64_t requests) { return (2 * requests + kBatch - 1) / kBatch; }

// The number of the client's socket: the first is the listener's neighbour.
int ClientOf(uint32_t session) { return 4 + 2 * static_cast<int>(session); }

}  // namespace

GrowthWorld::GrowthWorld(size_t most) : shared_(std::make_shared<const Plan>(MakePlan(most)), 1) {
  ScriptKernel& kernel = ScriptKernel::Get();
  kernel.Restart();
  kernel.SetClock(kSecondNs);
  kernel.SetClockStep(kTurnNs);
  Worker::Options options;
  options.max_pipes = 0;
  worker_ = std::make_unique<Worker>(options, shared_);
  shared_.workers.push_back(worker_.get());
  // Number 2; no session has 3.
  const int fd = kernel::Socket(AF_INET, SOCK_STREAM);
  if (worker_->init_error() != 0 || worker_->AddListener(0, fd, false) != 0) Die("no worker");
}

GrowthWorld::~GrowthWorld() { ScriptKernel::Get().SetClock(0); }

void GrowthWorld::TurnAll() {
  do {
    Turn();
  } while (worker_->scheduler_ref().HasReady());
}

// As a worker sees it that sleeps until its next timer.
void GrowthWorld::LetPass(int64_t ns) {
  ScriptKernel& kernel = ScriptKernel::Get();
  const int64_t until = kernel.clock() + ns;
  TurnAll();
  while (kernel.clock() < until) {
    const int64_t next = worker_->scheduler_ref().NextWake().ns();
    if (next > kernel.clock()) kernel.SetClock(std::min(next, until));
    TurnAll();
  }
}

void GrowthWorld::Open(size_t sessions) {
  ScriptKernel& kernel = ScriptKernel::Get();
  if (sessions > this->sessions()) {
    kernel.Arrive(static_cast<uint32_t>(sessions - this->sessions()));
  }
  while (kernel.arriving() > 0) TurnAll();
  TurnAll();
  if (this->sessions() != sessions) Die("not all were accepted");
  LetPass(20 * kSecondNs);
  if (kernel.open_sockets() != 1 + 2 * static_cast<int>(sessions)) Die("not all are connected");
}

double GrowthWorld::RunRequests(size_t active, uint64_t requests) {
  ScriptKernel& kernel = ScriptKernel::Get();
  const std::vector<uint32_t> order = RandomOrder(sessions(), active);
  std::vector<epoll_event> script;
  script.reserve(2 * active);
  for (uint32_t i : order) script.push_back(kernel.Readable(ClientOf(i)));
  for (uint32_t i : order) script.push_back(kernel.Readable(ClientOf(i) + 1));
  kernel.SetScript(std::move(script));
  kernel.readable_bytes = kRequestBytes;
  // Twice round: what the first bytes of a session cost is not asked.
  for (uint64_t i = 0; i < TurnsFor(2 * active); ++i) Turn();
  const uint64_t turns = TurnsFor(requests);
  const uint64_t receives = kernel.receives;
  const uint64_t sends = kernel.sends;
  const int64_t began = CpuNs();
  for (uint64_t i = 0; i < turns; ++i) Turn();
  const int64_t spent = CpuNs() - began;
  const uint64_t activations = turns * kBatch;
  kernel.SetScript({});
  kernel.readable_bytes = 0;
  if (kernel.receives - receives != activations || kernel.sends - sends != activations) {
    Die("events and reads differ");
  }
  if (kernel.astray != 0) Die("bytes went to somebody else");
  return static_cast<double>(spent) / static_cast<double>(activations) * 2;
}

std::string GrowthWorld::CloseAll() {
  ScriptKernel& kernel = ScriptKernel::Get();
  LetPass(2 * kIdleNs);
  std::string left;
  const auto say = [&](uint64_t count, const char* what) {
    if (count != 0) left += std::to_string(count) + " " + what + "; ";
  };
  say(sessions(), "sessions after twice the idle timeout");
  worker_->StopAccepting();
  LetPass(10 * kSecondNs);
  const Scheduler& scheduler = worker_->scheduler_ref();
  say(worker_->accepting(), "listeners that accept");
  say(worker_->sessions_pool().size(), "sessions in the pool");
  say(scheduler.netpoll().cache().in_use(), "descriptors");
  say(worker_->chunk_pool().in_use(), "chunks");
  say(scheduler.parked(), "tasks parked on a stack");
  say(scheduler.wheel().count(), "timers");
  say(scheduler.HasReady(), "queues with something ready");
  say(shared_.limit.in_use(), "connections counted");
  say(static_cast<uint64_t>(kernel.open_sockets()), "sockets");
  const uint64_t idle =
      worker_->worker_stats().closed[static_cast<size_t>(CloseCause::kIdle)].value();
  const uint64_t all = worker_->worker_stats().sessions_in.value();
  say(all - idle, "sessions that ended otherwise than idle");
  return left;
}

size_t GrowthWorld::ResidentBytes() {
  const struct mallinfo2 heap = mallinfo2();
  return ScriptKernel::Get().ResidentBytes() + heap.uordblks + heap.hblkhd;
}

double RunBareRequests(size_t open, size_t active, uint64_t requests) {
  BareSessions memory(open);
  const std::vector<uint32_t> order = RandomOrder(open, active);
  std::vector<epoll_event> events;
  events.reserve(2 * active);
  for (uint32_t side = 0; side < 2; ++side) {
    for (uint32_t i : order) {
      epoll_event event{};
      event.data.u64 = 2 * i + side;
      events.push_back(event);
    }
  }
  size_t at = 0;
  for (uint64_t i = 0; i < TurnsFor(2 * active); ++i) memory.Turn(events, at);
  const uint64_t turns = TurnsFor(requests);
  const int64_t began = CpuNs();
  for (uint64_t i = 0; i < turns; ++i) memory.Turn(events, at);
  return static_cast<double>(CpuNs() - began) / static_cast<double>(turns * kBatch) * 2;
}

}  // namespace parkway::bench
