#include "proxy/crew.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "proxy/core/post_call.h"

namespace parkway {

namespace {

// How long checks and drains of a worker may take to end.
constexpr absl::Duration kStopPatience = absl::Seconds(5);
// Stacks for connections that are being connected, and some for all else.
constexpr uint32_t kLeastConnectStacks = 64;
constexpr uint32_t kOtherStacks = 16;

}  // namespace

Crew::Crew(Scheduler& control, std::shared_ptr<const Plan> plan, Options options)
    : control_(control), options_(std::move(options)), shared_(std::move(plan), options_.threads) {
  shared_.limit.set_other_descriptors(static_cast<uint32_t>(options_.reserved_descriptors));
}

std::string Crew::Make() {
  const uint32_t most = shared_.generations.current()->plan->max_connections;
  for (uint32_t i = 0; i < options_.threads; ++i) {
    Worker::Options options;
    options.index = i;
    options.seed = (static_cast<uint64_t>(getpid()) << 16 | i) * 0x9e3779b97f4a7c15u + 1;
    options.max_stacks = std::max(most, kLeastConnectStacks) + kOtherStacks;
    options.max_pipes = options_.pipes_per_worker;
    options.tcp_of_some = options_.tcp_of_some;
    workers_.push_back(std::make_unique<Worker>(options, shared_));
    if (const int error = workers_.back()->init_error(); error != 0) {
      return absl::StrCat("worker ", i, ": no poller: ", strerror(-error));
    }
  }
  for (const auto& worker : workers_) shared_.workers.push_back(worker.get());
  return "";
}

std::string Crew::Start() {
  for (const auto& worker : workers_) {
    worker->StartChecks();
    threads_.emplace_back([&worker] { worker->Run(); });
    if (std::string refused = Pin(threads_.size() - 1); !refused.empty()) return refused;
    pthread_setname_np(threads_.back().native_handle(),
                       absl::StrCat("worker-", threads_.size() - 1).c_str());
  }
  return "";
}

// Workers beyond the list begin at its start again.
std::string Crew::Pin(size_t worker) {
  if (options_.cpus.empty()) return "";
  const uint32_t cpu = options_.cpus[worker % options_.cpus.size()];
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  const int error = pthread_setaffinity_np(threads_[worker].native_handle(), sizeof(set), &set);
  if (error == 0) return "";
  return absl::StrCat("cpu_affinity: worker ", worker, " cannot run on CPU ", cpu, ": ",
                      strerror(error));
}

bool Crew::Stop() {
  // A worker ends with nobody waiting on its stacks. One that is stuck is not waited for for ever.
  for (size_t i = 0; i < threads_.size(); ++i) workers_[i]->PostStopChecks();
  const auto patience =
      std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(kStopPatience);
  for (size_t i = 0; i < threads_.size(); ++i) {
    while (!workers_[i]->checks_done() && std::chrono::steady_clock::now() < patience) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  for (const auto& worker : workers_) worker->Stop();
  for (std::thread& thread : threads_) thread.join();
  return std::none_of(workers_.begin(), workers_.end(), [](const auto& worker) {
    return worker->sessions() > 0 || worker->scheduler_ref().parked() > 0;
  });
}

std::vector<LogRing*> Crew::log_rings() const {
  std::vector<LogRing*> rings;
  for (const auto& worker : workers_) rings.push_back(&worker->log_ring());
  return rings;
}

void Crew::After(std::function<void()> done) {
  const auto left = std::make_shared<size_t>(workers_.size());
  for (const auto& worker : workers_) {
    PostCall(worker->scheduler_ref(), [this, left, done] {
      PostCall(control_, [left, done] {
        if (--*left == 0) done();
      });
    });
  }
}

void Crew::Nudge() {
  for (const auto& worker : workers_) {
    PostCall(worker->scheduler_ref(), [] {});
  }
}

uint32_t Crew::sessions() const {
  uint32_t sum = 0;
  for (const auto& worker : workers_) sum += worker->sessions();
  return sum;
}

bool Crew::accepting() const {
  return std::any_of(workers_.begin(), workers_.end(),
                     [](const auto& worker) { return worker->accepting(); });
}

bool Crew::first_checks_done() const {
  return std::all_of(workers_.begin(), workers_.end(),
                     [](const auto& worker) { return worker->first_checks_done(); });
}

uint64_t Crew::accepted() const {
  uint64_t sum = 0;
  for (const auto& worker : workers_) sum += worker->worker_stats().accepted.value();
  return sum;
}

std::vector<uint64_t> Crew::turns() const {
  std::vector<uint64_t> turns;
  for (const auto& worker : workers_) turns.push_back(worker->turns());
  return turns;
}

}  // namespace parkway
