#include "proxy/process.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "poller/kernel.h"
#include "poller/listener.h"
#include "poller/socket_options.h"
#include "proxy/observe/access_log.h"
#include "proxy/system/owner.h"
#include "proxy/upstream/balancer.h"
#include "proxy/worker.h"

namespace parkway {

namespace {

using SteadyClock = std::chrono::steady_clock;

// How often the main thread looks whether a drain is done.
constexpr int kDrainPollMs = 20;
constexpr auto kAbortPatience = std::chrono::seconds(5);

void RaiseDescriptorLimit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// A file left behind by a process that ended without removing it: nobody listens there.
bool IsStaleUnixSocket(const Address& address) {
  struct stat info;
  const std::string path(address.path());
  if (lstat(path.c_str(), &info) != 0 || !S_ISSOCK(info.st_mode)) return false;
  const int fd = kernel::Socket(AF_UNIX, SOCK_STREAM);
  if (fd < 0) return false;
  const int result = kernel::Connect(fd, address.data(), address.size());
  kernel::Close(fd);
  return result == -ECONNREFUSED;
}

class Process : private ServerWatcher {
 public:
  Process(const Plan& plan, const ProcessOptions& options)
      : plan_(plan), options_(options), shared_(plan, options.threads) {
    shared_.limit.set_other_descriptors(static_cast<uint32_t>(options.reserved_descriptors));
  }

  int Run();

 private:
  bool MakeWorkers();
  bool Bind();
  bool BindOne(size_t listener);
  // The owner and mode of a unix socket.
  bool GiveTo(const ListenerPlan& plan, const std::string& path);
  bool Pin(size_t worker);
  void SayStarted();
  void Serve();
  void Drain();
  void StopWorkers();
  // Waits for a signal, at most `ms` (< 0: for ever). 0: none came.
  int WaitForSignal(int ms);
  uint32_t Sessions() const;
  bool Accepting() const;
  void WriteNumbers();
  // Any worker.
  void OnServerChange(const ServerChange& change) override;
  void Complain(const std::string& line) { fprintf(stderr, "parkway: %s\n", line.c_str()); }

  const Plan& plan_;
  const ProcessOptions& options_;
  WorkerShared shared_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::thread> threads_;
  std::unique_ptr<AccessLog> log_;
  std::vector<std::string> unix_paths_;
  int signal_fd_ = -1;
};

int Process::Run() {
  RaiseDescriptorLimit();
  signal(SIGPIPE, SIG_IGN);
  sigset_t all;
  sigfillset(&all);
  // What a broken instruction raises must kill it, wherever it happens.
  for (int fatal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP}) sigdelset(&all, fatal);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  sigset_t taken;
  sigemptyset(&taken);
  sigaddset(&taken, SIGTERM);
  sigaddset(&taken, SIGINT);
  signal_fd_ = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signal_fd_ < 0) {
    Complain(absl::StrCat("signalfd: ", strerror(errno)));
    return kExitOsError;
  }
  if (!MakeWorkers() || !Bind()) {
    for (const std::string& path : unix_paths_) unlink(path.c_str());
    return kExitOsError;
  }

  std::vector<LogRing*> rings;
  for (const auto& worker : workers_) rings.push_back(&worker->log_ring());
  log_ = std::make_unique<AccessLog>(plan_, std::move(rings), STDERR_FILENO);
  log_->Start();
  for (const auto& balancer : shared_.balancers) balancer->set_watcher(this);
  for (const auto& worker : workers_) {
    worker->StartChecks();
    threads_.emplace_back([&worker] { worker->Run(); });
    if (!Pin(threads_.size() - 1)) {
      StopWorkers();
      return kExitOsError;
    }
    pthread_setname_np(threads_.back().native_handle(),
                       absl::StrFormat("worker-%d", threads_.size() - 1).c_str());
  }
  SayStarted();
  Serve();
  Drain();
  StopWorkers();
  log_->Say("stopped");
  // A reader of stderr that does not read must not keep the process.
  if (!log_->Stop()) _exit(kExitOk);
  close(signal_fd_);
  return kExitOk;
}

// Workers beyond the list begin at its start again.
bool Process::Pin(size_t worker) {
  if (options_.cpus.empty()) return true;
  const uint32_t cpu = options_.cpus[worker % options_.cpus.size()];
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  const int error = pthread_setaffinity_np(threads_[worker].native_handle(), sizeof(set), &set);
  if (error == 0) return true;
  Complain(absl::StrCat("cpu_affinity: worker ", worker, " cannot run on CPU ", cpu, ": ",
                        strerror(error)));
  return false;
}

bool Process::MakeWorkers() {
  const uint32_t stacks = std::max<uint32_t>(plan_.max_connections, 64) + 16;
  for (uint32_t i = 0; i < options_.threads; ++i) {
    Worker::Options options;
    options.index = i;
    options.seed = (static_cast<uint64_t>(getpid()) << 16 | i) * 0x9e3779b97f4a7c15u + 1;
    options.max_stacks = stacks;
    options.log_connections = plan_.access_log;
    options.max_pipes = options_.pipes_per_worker;
    workers_.push_back(std::make_unique<Worker>(options, shared_));
    if (workers_.back()->init_error() != 0) {
      Complain(
          absl::StrCat("worker ", i, ": no poller: ", strerror(-workers_.back()->init_error())));
      return false;
    }
  }
  for (const auto& worker : workers_) shared_.workers.push_back(worker.get());
  return true;
}

bool Process::Bind() {
  for (size_t i = 0; i < plan_.listeners.size(); ++i) {
    if (!BindOne(i)) return false;
  }
  return true;
}

bool Process::BindOne(size_t listener) {
  const ListenerPlan& plan = plan_.listeners[listener];
  // A unix socket cannot be shared: one worker accepts, and hands over.
  const size_t sockets = plan.address.is_unix() ? 1 : workers_.size();
  Address address = plan.address;
  for (size_t i = 0; i < sockets; ++i) {
    const ListenOptions options{
        .backlog = plan.backlog, .share = sockets > 1, .join = i > 0, .v6only = plan.v6only};
    int fd = OpenListenSocket(address, options, &address);
    if (fd == -EADDRINUSE && address.is_path() && IsStaleUnixSocket(address)) {
      unlink(std::string(address.path()).c_str());
      fd = OpenListenSocket(address, options, &address);
    }
    if (fd < 0) {
      Complain(absl::StrCat("listener ", plan.name, ": cannot listen on ", plan.address.ToString(),
                            ": ", strerror(-fd),
                            fd == -EADDRINUSE ? "; another process has it" : ""));
      return false;
    }
    const OptionFailure refused = SetSocketOptions(fd, address.is_unix(), plan.sockets);
    if (refused.failed()) {
      Complain(absl::StrCat("listener ", plan.name, ": the kernel refuses ", refused.option, ": ",
                            strerror(-refused.error)));
      kernel::Close(fd);
      return false;
    }
    if (i == 0 && address.is_path()) {
      const std::string path(address.path());
      unix_paths_.push_back(path);
      // The default umask must not decide who may connect.
      if (!GiveTo(plan, path)) {
        kernel::Close(fd);
        return false;
      }
    }
    const int error = workers_[i]->AddListener(listener, fd, false);
    if (error != 0) {
      Complain(absl::StrCat("listener ", plan.name, ": epoll refused it: ", strerror(-error)));
      return false;
    }
  }
  return true;
}

bool Process::GiveTo(const ListenerPlan& plan, const std::string& path) {
  int error = 0;
  if (!plan.owner.empty()) {
    const std::optional<Owner> owner = FindOwner(plan.owner);
    if (!owner.has_value()) {
      Complain(absl::StrCat("listener ", plan.name, ": owner=", plan.owner,
                            ": there is no such user or group here"));
      return false;
    }
    if (chown(path.c_str(), owner->user, owner->group) != 0) error = errno;
  }
  if (error == 0 && chmod(path.c_str(), plan.mode) != 0) error = errno;
  if (error == 0) return true;
  Complain(absl::StrCat("listener ", plan.name, ": cannot set the owner and mode of ", path, ": ",
                        strerror(error), error == EPERM ? "; that needs CAP_CHOWN" : ""));
  return false;
}

void Process::SayStarted() {
  std::string listeners;
  for (const ListenerPlan& listener : plan_.listeners) {
    absl::StrAppend(&listeners, listeners.empty() ? "" : ",", listener.address.ToString());
  }
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  log_->Say(absl::StrCat("parkway ", options_.version, " started: pid=", getpid(),
                         " workers=", workers_.size(), " listeners=", listeners,
                         " max_connections=", plan_.max_connections, " nofile=", limit.rlim_cur));
}

int Process::WaitForSignal(int ms) {
  pollfd waiting = {signal_fd_, POLLIN, 0};
  if (poll(&waiting, 1, ms) <= 0) return 0;
  signalfd_siginfo info;
  if (read(signal_fd_, &info, sizeof(info)) != sizeof(info)) return 0;
  return static_cast<int>(info.ssi_signo);
}

void Process::Serve() {
  const bool numbers = options_.stats_interval > absl::ZeroDuration();
  const int interval_ms = numbers ? static_cast<int>(std::max<int64_t>(
                                        absl::ToInt64Milliseconds(options_.stats_interval), 1))
                                  : -1;
  for (;;) {
    const int signal = WaitForSignal(interval_ms);
    if (signal != 0) {
      log_->Say(absl::StrCat("signal ", strsignal(signal), ": no longer accepting, ", Sessions(),
                             options_.drain_timeout == absl::ZeroDuration()
                                 ? std::string(" connections may finish")
                                 : absl::StrCat(" connections may finish within ",
                                                absl::FormatDuration(options_.drain_timeout))));
      return;
    }
    if (numbers) WriteNumbers();
  }
}

void Process::Drain() {
  // A path that is gone is found by nobody; who has connected is accepted below.
  for (const std::string& path : unix_paths_) unlink(path.c_str());
  for (const auto& worker : workers_) worker->PostStopAccepting();
  const bool patient = options_.drain_timeout == absl::ZeroDuration();  // off: no end
  const auto deadline = SteadyClock::now() +
                        std::chrono::nanoseconds(absl::ToInt64Nanoseconds(options_.drain_timeout));
  while (Accepting() || Sessions() > 0) {
    if (WaitForSignal(kDrainPollMs) != 0) {
      log_->Say(absl::StrCat("second signal: ", Sessions(), " connections end now"));
      break;
    }
    if (!patient && SteadyClock::now() >= deadline) {
      log_->Say(absl::StrCat("drain_timeout: ", Sessions(), " connections end now"));
      break;
    }
  }
  if (Sessions() == 0 && !Accepting()) return;
  const auto patience = SteadyClock::now() + kAbortPatience;
  while (Sessions() > 0 && SteadyClock::now() < patience) {
    for (const auto& worker : workers_) worker->PostAbortAll(CloseCause::kDrain);
    std::this_thread::sleep_for(std::chrono::milliseconds(kDrainPollMs));
  }
}

void Process::StopWorkers() {
  // A worker ends with nobody waiting on its stacks. One that is stuck is not waited for for ever.
  for (size_t i = 0; i < threads_.size(); ++i) workers_[i]->PostStopChecks();
  const auto patience = SteadyClock::now() + kAbortPatience;
  for (size_t i = 0; i < threads_.size(); ++i) {
    while (!workers_[i]->checks_done() && SteadyClock::now() < patience) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  for (const auto& worker : workers_) worker->Stop();
  for (std::thread& thread : threads_) thread.join();
}

void Process::OnServerChange(const ServerChange& change) {
  const UpstreamPlan& upstream = plan_.upstreams[change.upstream];
  std::string what;
  switch (change.what) {
    case ServerChange::What::kEjected:
      what = absl::StrCat("ejected for ", absl::FormatDuration(change.how_long), " after ",
                          change.failures, " failed connects, the last: ", strerror(change.error));
      break;
    case ServerChange::What::kReturned:
      what =
          absl::StrCat("takes connections again, after ",
                       absl::FormatDuration(absl::Trunc(change.how_long, absl::Milliseconds(1))));
      break;
  }
  log_->Say(absl::StrCat("upstream ", upstream.name, " server ",
                         upstream.servers[change.server].name, ": ", what));
}

uint32_t Process::Sessions() const {
  uint32_t sum = 0;
  for (const auto& worker : workers_) sum += worker->sessions();
  return sum;
}

bool Process::Accepting() const {
  return std::any_of(workers_.begin(), workers_.end(),
                     [](const auto& worker) { return worker->accepting(); });
}

void Process::WriteNumbers() {
  uint64_t descriptors = 0, stacks = 0, peak = 0, buffers = 0, bytes = 0, pipes = 0, timers = 0;
  uint64_t accepted = 0, closed = 0, dropped = 0;
  for (const auto& worker : workers_) {
    worker->PostRefreshGauges();
  }
  // The workers answer between two activations; a worker that is stuck shows its last numbers.
  std::this_thread::sleep_for(std::chrono::milliseconds(kDrainPollMs));
  for (const auto& worker : workers_) {
    const WorkerStats& stats = worker->worker_stats();
    descriptors += stats.descriptors.value();
    stacks += stats.stacks.value();
    peak += stats.stacks_peak.value();
    buffers += stats.buffers.value();
    bytes += stats.buffer_bytes.value();
    pipes += stats.pipes.value();
    timers += stats.timers.value();
    accepted += stats.accepted.value();
    closed += stats.sessions_out.value();
    dropped += stats.log_dropped.value();
  }
  log_->Write(absl::StrCat("stats connections=", Sessions(), " descriptors=", descriptors,
                           " stacks=", stacks, " stacks_peak=", peak, " buffers=", buffers,
                           " buffer_bytes=", bytes, " pipes=", pipes, " timers=", timers,
                           " accepted=", accepted, " closed=", closed, " log_dropped=", dropped));
}

}  // namespace

int RunProcess(const Plan& plan, const ProcessOptions& options) {
  return Process(plan, options).Run();
}

}  // namespace parkway
