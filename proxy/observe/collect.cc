#include "proxy/observe/collect.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "proxy/core/post_call.h"
#include "proxy/observe/sum.h"

namespace parkway {

namespace {

// Over so long the processor time of a thread is looked at.
constexpr int64_t kBusyWindowNs = 5'000'000'000;
constexpr int64_t kNsPerSecond = 1'000'000'000;

int64_t CpuNs(clockid_t clock) {
  timespec time = {};
  if (clock_gettime(clock, &time) != 0) return 0;
  return time.tv_sec * kNsPerSecond + time.tv_nsec;
}

uint64_t CountDescriptors() {
  // Linux 6.2 and later say it without counting.
  struct stat info = {};
  if (stat("/proc/self/fd", &info) == 0 && info.st_size > 0) {
    return static_cast<uint64_t>(info.st_size);
  }
  DIR* folder = opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  uint64_t count = 0;
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count > 3 ? count - 3 : 0;  // itself, "." and ".."
}

uint64_t ResidentBytes() {
  FILE* file = fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  unsigned long long whole = 0, resident = 0;
  const int got = fscanf(file, "%llu %llu", &whole, &resident);
  fclose(file);
  return got == 2 ? resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) : 0;
}

}  // namespace

void ReadSystem(ProcessReading& to) {
  to.pid = getpid();
  if (utsname system = {}; uname(&system) == 0) to.node = system.nodename;
  to.fds_open = CountDescriptors();
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) to.fds_max = limit.rlim_cur;
  to.memory_resident_bytes = ResidentBytes();
  rusage usage = {};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return;
  to.cpu_user = absl::DurationFromTimeval(usage.ru_utime);
  to.cpu_system = absl::DurationFromTimeval(usage.ru_stime);
}

// ---------------------------------------------------------------------------------------------
// A round

// Waits until all workers have answered, or for kPatience.
class Collector::Round final : public Task {
 public:
  Round(Collector& collector, size_t workers, bool slowest)
      : answered(workers, false), slowest_wanted(slowest), collector_(collector), left_(workers) {}

  const char* name() const override { return "collect"; }

  Next Run(Scheduler& scheduler, Wake wake) noexcept override {
    if (wake == Wake::kStart && left_ > 0 && !hurry_) {
      return Next::SleepUntil(timer_, scheduler.now().PlusNs(kPatienceNs));
    }
    // This deletes it.
    collector_.Finish();
    return Next::Done();
  }

  void OnAnswer(Scheduler& scheduler, size_t worker, const std::vector<SlowSample>& found) {
    if (answered[worker]) return;
    answered[worker] = true;
    for (const SlowSample& sample : found) AddSlow(sample, slowest);
    if (--left_ == 0) scheduler.Kick(*this);
  }
  void Hurry(Scheduler& scheduler) {
    hurry_ = true;
    scheduler.Kick(*this);
  }

  std::vector<bool> answered;
  std::vector<SlowSample> slowest;
  const bool slowest_wanted;

 private:
  Collector& collector_;
  size_t left_;
  bool hurry_ = false;
  SleepTimer timer_;
};

Collector::Collector(Scheduler& control, CollectSource source)
    : control_(control),
      source_(std::move(source)),
      cpu_marks_(source_.workers.size()),
      silent_since_(std::make_shared<std::vector<int64_t>>(source_.workers.size(), 0)),
      started_(absl::Now()),
      started_ns_(ReadMonotonicClock().ns()) {}

Collector::~Collector() = default;

void Collector::Collect(const Wanted& wanted, Done done) {
  waiting_.push_back({wanted, std::move(done)});
  if (round_ == nullptr) Begin();
}

void Collector::Hurry() {
  if (round_ != nullptr) round_->Hurry(control_);
}

void Collector::Begin() {
  answered_ = std::exchange(waiting_, {});
  const bool slowest =
      std::any_of(answered_.begin(), answered_.end(),
                  [](const Question& question) { return question.wanted.slowest; });
  round_ = std::make_shared<Round>(*this, source_.workers.size(), slowest);
  const MonotonicTime now = ReadMonotonicClock();
  for (size_t i = 0; i < source_.workers.size(); ++i) {
    int64_t& since = (*silent_since_)[i];
    if (since == 0) since = now.ns();
    source_.workers[i].ask(now, slowest,
                           [&control = control_, round = std::weak_ptr<Round>(round_),
                            silent = silent_since_, i](auto found) {
                             PostCall(control,
                                      [&control, round, silent, i, found = std::move(found)] {
                                        (*silent)[i] = 0;
                                        if (const auto here = round.lock())
                                          here->OnAnswer(control, i, found);
                                      });
                           });
  }
  control_.Spawn(*round_);
}

void Collector::Finish() {
  const std::shared_ptr<Round> over = std::move(round_);
  round_.reset();
  const std::shared_ptr<const Readings> readings = Assemble(*over);
  for (const Question& question : std::exchange(answered_, {})) question.done(readings);
  // Who was called may have asked again already.
  if (round_ == nullptr && !waiting_.empty()) Begin();
}

// ---------------------------------------------------------------------------------------------
// Adding up

std::shared_ptr<const Readings> Collector::Assemble(const Round& round) {
  auto readings = std::make_shared<Readings>();
  const std::shared_ptr<const Generation> generation = source_.generation();
  const std::shared_ptr<const Plan>& plan = generation->plan;
  const MonotonicTime now = ReadMonotonicClock();
  readings->taken = absl::Now();

  std::vector<const WorkerStats*> counted;
  for (const CollectSource::OfWorker& worker : source_.workers) counted.push_back(worker.stats);
  SumListeners(*plan, counted, *readings);
  SumUpstreams(*generation, counted, now, *readings);

  ProcessReading& process = readings->process;
  process.started = started_;
  process.uptime = absl::Nanoseconds(now.ns() - started_ns_);
  process.max_connections = plan->max_connections;
  std::vector<uint64_t> errors(WorkerStats::kErrnos);
  for (size_t i = 0; i < source_.workers.size(); ++i) {
    const WorkerReading& worker = readings->workers.emplace_back(ReadWorker(i, round.answered[i]));
    const WorkerStats& stats = *source_.workers[i].stats;
    process.connections += worker.connections;
    process.accepted += stats.accepted.value();
    process.closed += stats.sessions_out.value();
    process.bytes_from_clients += stats.bytes_up.value();
    process.bytes_from_servers += stats.bytes_down.value();
    process.bytes_unsent += stats.bytes_unsent.value();
    process.accept_pauses += stats.accept_pauses.value();
    process.splice_bytes += stats.splice_bytes.value();
    process.log_dropped += stats.log_dropped.value();
    process.memory_buffers_bytes += worker.buffer_bytes;
    for (size_t e = 0; e < errors.size(); ++e) errors[e] += stats.accept_errors_by_errno[e].value();
  }
  for (size_t e = 0; e < errors.size(); ++e) {
    if (errors[e] == 0) continue;
    const char* name = strerrorname_np(static_cast<int>(e));
    process.accept_errors.emplace_back(name == nullptr ? "unknown" : name, errors[e]);
  }
  ReadSystem(process);
  if (round.slowest_wanted) {
    for (const SlowSample& sample : round.slowest) {
      readings->slowest.push_back(Describe(*plan, sample));
    }
  }
  if (source_.add) source_.add(*readings);
  return readings;
}

WorkerReading Collector::ReadWorker(size_t index, bool answered) {
  const CollectSource::OfWorker& worker = source_.workers[index];
  const WorkerStats& stats = *worker.stats;
  WorkerReading reading;
  reading.index = static_cast<uint32_t>(index);
  reading.answered = answered;
  const int64_t since = (*silent_since_)[index];
  if (since != 0) reading.silent_for = absl::Nanoseconds(ReadMonotonicClock().ns() - since);
  reading.connections = worker.connections();
  reading.accepts = stats.accepted.value();
  reading.handed_over = stats.handed_over.value();
  reading.turns = worker.turns();
  reading.busy_ratio = BusyRatio(index);
  stats.loop_lag.AddTo(&reading.loop_lag.counts, &reading.loop_lag.sum_us);
  stats.turns.AddTo(&reading.turn_time.counts, &reading.turn_time.sum_us);
  reading.longest_turn = absl::Nanoseconds(static_cast<int64_t>(stats.turns.longest_ns()));
  reading.descriptors = stats.descriptors.value();
  reading.stacks = stats.stacks.value();
  reading.stacks_peak = stats.stacks_peak.value();
  reading.buffers = stats.buffers.value();
  reading.buffer_bytes = stats.buffer_bytes.value();
  reading.pipes = stats.pipes.value();
  reading.timers = stats.timers.value();
  return reading;
}

double Collector::BusyRatio(size_t index) {
  const CollectSource::OfWorker& worker = source_.workers[index];
  if (!worker.has_cpu_clock) return 0;
  std::deque<CpuMark>& marks = cpu_marks_[index];
  const CpuMark now = {ReadMonotonicClock().ns(), CpuNs(worker.cpu_clock)};
  if (marks.empty()) marks.push_back({started_ns_, 0});
  while (marks.size() > 1 && marks[1].at_ns <= now.at_ns - kBusyWindowNs) marks.pop_front();
  const CpuMark before = marks.front();
  // Those that are asked for again and again need no mark each.
  if (now.at_ns - marks.back().at_ns >= kNsPerSecond) marks.push_back(now);
  if (now.at_ns <= before.at_ns) return 0;
  const double ratio = static_cast<double>(now.cpu_ns - before.cpu_ns) /
                       static_cast<double>(now.at_ns - before.at_ns);
  return std::clamp(ratio, 0.0, 1.0);
}

SlowReading Collector::Describe(const Plan& plan, const SlowSample& sample) const {
  SlowReading reading;
  reading.id = sample.id;
  reading.client = sample.client.ToString();
  if (sample.listener < plan.listeners.size()) {
    reading.listener = plan.listeners[sample.listener]->name;
  }
  if (sample.upstream < plan.upstreams.size()) {
    const UpstreamPlan& upstream = *plan.upstreams[sample.upstream];
    reading.upstream = upstream.name;
    if (sample.has_server && sample.server < upstream.servers.size()) {
      reading.server = upstream.servers[sample.server].name;
    }
  }
  reading.age = absl::Nanoseconds(sample.age_ns);
  reading.idle = absl::Nanoseconds(sample.idle_ns);
  reading.bytes_received = sample.bytes_up;
  reading.bytes_sent = sample.bytes_down;
  reading.rtt_client = absl::Microseconds(sample.rtt_client_us);
  reading.rtt_server = absl::Microseconds(sample.rtt_server_us);
  reading.waiting_bytes = sample.waiting_bytes;
  return reading;
}

}  // namespace parkway
