#include "proxy/process.h"

#include <glog/logging.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "config/explain.h"
#include "poller/scheduler.h"
#include "poller/stack_overflow.h"
#include "proxy/admin/desk.h"
#include "proxy/collect_source.h"
#include "proxy/conn_stream.h"
#include "proxy/control.h"
#include "proxy/core/post_call.h"
#include "proxy/drain_desk.h"
#include "proxy/listening.h"
#include "proxy/members.h"
#include "proxy/observe/access_log.h"
#include "proxy/observe/collect.h"
#include "proxy/planner.h"
#include "proxy/reload.h"
#include "proxy/repeated.h"
#include "proxy/server_control.h"
#include "proxy/service_report.h"
#include "proxy/slot_reaper.h"
#include "proxy/system/identity.h"
#include "proxy/system/listen_sockets.h"
#include "proxy/system/server_sockets.h"
#include "proxy/system/signals.h"
#include "proxy/system/systemd.h"
#include "proxy/upstream/balancer.h"
#include "proxy/worker.h"

namespace parkway {

namespace {

// How often the control thread looks whether a drain is done.
constexpr absl::Duration kDrainLook = absl::Milliseconds(20);
// How long connections that are told to end, and checks, may take for it.
constexpr absl::Duration kAbortPatience = absl::Seconds(5);
constexpr absl::Duration kLong = absl::Hours(1);
// Tasks of the control thread that wait with a stack: clients of the admin socket above all.
constexpr uint32_t kControlStacks = 256;

void RaiseDescriptorLimit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

class Process final : private ServerWatcher, private Members::Host {
 public:
  Process(std::unique_ptr<Planner> planner, const ProcessOptions& options)
      : planner_(std::move(planner)),
        options_(options),
        scheduler_({.max_stacks = kControlStacks, .worker = options.threads}, nullptr),
        signals_([this](int number) { OnSignal(number); }),
        numbers_("numbers", [this] { AskForNumbers(); }),
        numbers_line_("numbers line", [this] { WriteNumbers(); }),
        idle_("idle", [this] { LookForIdle(); }),
        life_(*this),
        members_(scheduler_, {.seed = static_cast<uint64_t>(getpid()) * 0x9e3779b97f4a7c15u},
                 *this),
        report_(systemd_, {.look = [this] { return LookForService(); },
                           .reload_state = [this] { return control_.reload_state(); },
                           .turns = [this] { return Turns(); },
                           .nudge = [this] { Nudge(); }}),
        shared_(planner_->current(), options.threads),
        listening_(workers_, options.inherited),
        drains_(scheduler_, workers_),
        reaper_(ReaperHost()),
        reaper_wake_("slots", [this] { reaper_.Look(); }),
        reloader_(
            scheduler_, *planner_, listening_,
            {.load = options.load,
             .prepare =
                 [this](Reloader::Snapshot next, std::function<void()> ready) {
                   // Not on the stack of a task.
                   members_.Prepare(std::move(next), [this, ready = std::move(ready)] {
                     PostCall(scheduler_, ready);
                   });
                 },
             .abandon = [this] { members_.Abandon(); },
             .publish =
                 [this](const std::shared_ptr<const Plan>&) {
                   members_.Follow(planner_->snapshot());
                   Publish();
                 },
             .after_workers = [this](std::function<void()> done) { AfterWorkers(std::move(done)); },
             .say = [this](std::string line) { log_->Say(std::move(line)); }}),
        servers_(*planner_, {.publish = [this] { Publish(); },
                             .drain =
                                 [this](const ConnSelector& server, absl::Duration over) {
                                   return drains_.BeginServer(plan(), server.upstream,
                                                              server.server, over);
                                 }}),
        conns_(
            scheduler_, options.threads,
            [this](size_t worker, std::function<void(ConnWalks&)> call) {
              workers_[worker]->PostToWalks(std::move(call));
            },
            [this] { return CurrentPlan(); }),
        desk_(scheduler_, {.control = control_,
                           .read =
                               [this](bool slowest, admin::Commands::OnReadings done) {
                                 collector_->Collect({.slowest = slowest}, std::move(done));
                               },
                           .ask_for_conns =
                               [this](const ConnQuestion& question, std::function<void()> bell,
                                      std::string* wrong) {
                                 return conns_.Ask(question, std::move(bell), wrong);
                               },
                           .say = [this](std::string line) { log_->Say(std::move(line)); },
                           .version = options.version}) {
    shared_.limit.set_other_descriptors(static_cast<uint32_t>(options.reserved_descriptors));
    FillControl();
    report_.Announce(control_);
  }

  int Run();

 private:
  // What happens one after the other: serve, drain, end.
  class Life final : public Task {
   public:
    explicit Life(Process& process) : process_(process) {}
    Next Run(Scheduler& scheduler, Wake) noexcept override {
      process_.Serve();
      process_.Drain();
      scheduler.Stop();
      return Next::Done();
    }
    const char* name() const override { return "life"; }

   private:
    Process& process_;
  };

  // Until the names are known that are to be waited for. False: some are not and must be, or it was
  // told to stop; the exit code is in *code then.
  bool FindServers(int* code);
  SlotReaper::Host ReaperHost();
  bool MakeWorkers();
  bool OpenLog();
  bool Bind();
  bool Pin(size_t worker);
  void SayStarted();
  const Plan& plan() const { return *planner_->current(); }
  // From now on all go by the planner's plan.
  void Publish();
  // Calls `done` here when every worker has done what it was posted before.
  void AfterWorkers(std::function<void()> done);
  void SetNumbers();
  absl::Duration DrainTimeout() const { return planner_->snapshot()->scalars.drain_timeout; }
  // On the stack of life_.
  void Serve();
  void Drain();
  void StopWorkers();
  void StopOwnTasks();

  void FillControl();
  void OnSignal(int number);
  // `why` begins the line in the log: who asked.
  Outcome Stop(Control::StopHow how, const std::string& why);
  void Reload(const Control::Reload& how, const OnOutcome& done);
  Outcome HoldListener(const std::string& name, bool hold);
  void HoldAll(bool hold);
  // As they are to be, after listeners have come.
  void HoldAgain();
  std::vector<std::string> RuntimeLines() const;
  Outcome SetLogLevel(const std::string& level);
  Outcome ReopenLogs();

  uint32_t Sessions() const;
  bool Accepting() const;
  ServiceView LookForService() const;
  std::vector<uint64_t> Turns() const;
  void Nudge();
  void LookForIdle();
  void AskForNumbers();
  void WriteNumbers();
  std::shared_ptr<const Plan> CurrentPlan() const;
  void StartCollecting();
  // What the process alone knows.
  void AddOwn(Readings& readings) const;
  void OnMembersChange(const std::vector<size_t>& upstreams) override;
  // Also before there is a log.
  void Say(const std::string& line) override;
  // Any worker.
  void OnServerChange(const ServerChange& change) override;
  void Complain(const std::string& line) { fprintf(stderr, "parkway: %s\n", line.c_str()); }

  const std::unique_ptr<Planner> planner_;
  const ProcessOptions& options_;
  Scheduler scheduler_;
  Control control_;
  Signals signals_;
  Repeated numbers_;
  Repeated numbers_line_;
  Repeated idle_;
  Life life_;
  Members members_;
  Systemd systemd_;
  ServiceReport report_;
  WorkerShared shared_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::thread> threads_;
  std::unique_ptr<AccessLog> log_;
  Listening listening_;
  DrainDesk drains_;
  SlotReaper reaper_;
  Repeated reaper_wake_;
  uint64_t stop_drain_ = 0;  // that of the stop, where it has a deadline
  Reloader reloader_;
  std::unique_ptr<Collector> collector_;
  std::unique_ptr<Observatory> observatory_;
  ServerControl servers_;
  ConnDesk conns_;
  admin::Desk desk_;
  std::set<std::string> held_;   // listeners that an operator has paused
  bool held_by_signal_ = false;  // all of them
  bool stopping_ = false;
  MonotonicTime stop_deadline_;
  MonotonicTime idle_since_;         // nobody was seen connected since
  uint64_t accepted_when_idle_ = 0;  // and so many had been until then
  bool patient_ = false;             // the drain has no end
  bool at_once_ = false;
};

// ---------------------------------------------------------------------------------------------
// The life of the daemon

int Process::Run() {
  RaiseDescriptorLimit();
  Signals::BlockAll();
  if (scheduler_.init_error() != 0) {
    Complain(absl::StrCat("no poller: ", strerror(-scheduler_.init_error())));
    return kExitOsError;
  }
  if (const int error = signals_.Start(scheduler_); error != 0) {
    Complain(absl::StrCat("signals cannot be taken: ", strerror(-error)));
    return kExitOsError;
  }
  planner_->set_servers_of(
      [this](const config::Upstream& upstream) { return members_.Of(upstream); });
  if (int code = kExitOk; !FindServers(&code)) {
    StopOwnTasks();
    return code;
  }
  if (const std::string refused = TryServerSockets(*planner_->current()); !refused.empty()) {
    Complain(refused);
    StopOwnTasks();
    return kExitOsError;
  }
  if (!MakeWorkers() || !OpenLog() || !Bind()) {
    listening_.RemovePaths();
    StopOwnTasks();
    return kExitOsError;
  }

  // What needs privileges is done.
  PidFile pid_file;
  std::string refused = options_.pidfile.empty() ? "" : pid_file.Write(options_.pidfile);
  if (refused.empty() && !options_.user.empty()) refused = BecomeUser(options_.user);
  if (!refused.empty()) {
    Complain(refused);
    listening_.RemovePaths();
    StopOwnTasks();
    return kExitOsError;
  }

  log_->Start();
  shared_.generations.set_watcher(this);
  for (const auto& worker : workers_) {
    worker->StartChecks();
    threads_.emplace_back([&worker] { worker->Run(); });
    if (!Pin(threads_.size() - 1)) {
      StopWorkers();
      StopOwnTasks();
      return kExitOsError;
    }
    pthread_setname_np(threads_.back().native_handle(),
                       absl::StrFormat("worker-%d", threads_.size() - 1).c_str());
  }
  StartCollecting();
  observatory_ = std::make_unique<Observatory>(scheduler_, *collector_, options_.shown);
  if (const std::string wrong = observatory_->Start(); !wrong.empty()) {
    Complain(wrong);
    StopWorkers();
    StopOwnTasks();
    return kExitOsError;
  }
  if (!options_.admin_socket.empty()) {
    if (const std::string wrong = desk_.Open(options_.admin_socket); !wrong.empty()) {
      Complain(wrong);
      StopWorkers();
      StopOwnTasks();
      return kExitOsError;
    }
  }
  SayStarted();
  SetNumbers();
  if (options_.exit_idle_time < absl::InfiniteDuration()) {
    idle_since_ = scheduler_.now();
    idle_.Every(scheduler_,
                std::clamp(options_.exit_idle_time / 4, absl::Milliseconds(1), absl::Seconds(1)));
  }
  report_.Start(scheduler_);
  scheduler_.Spawn(life_);
  {
    StackOverflowReporter reporter(scheduler_.stacks());
    scheduler_.Run();
  }
  StopWorkers();
  StopOwnTasks();
  log_->Say("stopped");
  // A reader of stderr that does not read must not keep the process.
  if (!log_->Stop()) _exit(kExitOk);
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
  const uint32_t stacks = std::max<uint32_t>(plan().max_connections, 64) + 16;
  for (uint32_t i = 0; i < options_.threads; ++i) {
    Worker::Options options;
    options.index = i;
    options.seed = (static_cast<uint64_t>(getpid()) << 16 | i) * 0x9e3779b97f4a7c15u + 1;
    options.max_stacks = stacks;
    options.max_pipes = options_.pipes_per_worker;
    options.tcp_of_some = options_.shown.http.has_value();
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

bool Process::OpenLog() {
  std::vector<LogRing*> rings;
  for (const auto& worker : workers_) rings.push_back(&worker->log_ring());
  log_ = std::make_unique<AccessLog>(planner_->current(), std::move(rings), STDERR_FILENO);
  const std::string failure = log_->Open();
  if (!failure.empty()) Complain(failure);
  return failure.empty();
}

bool Process::Bind() {
  const std::string wrong = listening_.Open(plan());
  if (!wrong.empty()) Complain(wrong);
  return wrong.empty();
}

void Process::SayStarted() {
  std::string listeners;
  for (const auto& listener : plan().listeners) {
    absl::StrAppend(&listeners, listeners.empty() ? "" : ",", listener->address.ToString());
  }
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  log_->Say(absl::StrCat("parkway ", options_.version, " started: pid=", getpid(),
                         " workers=", workers_.size(), " listeners=", listeners,
                         " max_connections=", plan().max_connections, " nofile=", limit.rlim_cur));
}

void Process::Publish() {
  const std::shared_ptr<const Plan> before = shared_.generations.current()->plan;
  if (before == planner_->current()) return;
  const std::shared_ptr<const Generation> next = shared_.generations.Prepare(planner_->current());
  // First who writes names, then who refers to them.
  if (log_ != nullptr) log_->SetPlan(next->plan);
  shared_.generations.Commit(next, scheduler_.now(), [this, &next] { shared_.latest.Set(next); });
  for (const auto& worker : workers_) worker->PostGeneration();
  drains_.FollowRemovals(*before, *shared_.generations.current());
  reaper_.Follow(planner_->current());
}

SlotReaper::Host Process::ReaperHost() {
  return {.workers = options_.threads,
          .on_worker =
              [this](size_t worker, std::function<void(SlotUse&)> call) {
                workers_[worker]->PostToSlots(std::move(call));
              },
          .post = [this](std::function<void()> call) { PostCall(scheduler_, std::move(call)); },
          .wake = [this](absl::Duration delay) { reaper_wake_.Once(scheduler_, delay); },
          .connections =
              [this](ServerRef slot) {
                const Generation& now = *shared_.generations.current();
                return now.roster(slot.upstream).server(slot.server).connections();
              },
          .log_passes = [this] { return log_->passes(); },
          .quiet = [this] { return collector_ == nullptr || !collector_->busy(); },
          .vacate =
              [this](const std::vector<ServerRef>& slots) {
                planner_->Vacate(slots);
                Publish();
              },
          .free = [this](const std::vector<ServerRef>& slots) { planner_->Free(slots); }};
}

bool Process::FindServers(int* code) {
  bool ready = false;
  members_.Prepare(planner_->snapshot(), [&ready] { ready = true; });
  while (!ready && !stopping_) scheduler_.Turn();
  if (!ready) return false;
  members_.Follow(planner_->snapshot());
  bool fatal = false;
  for (const Members::Missing& missing : members_.MissingOf(*planner_->snapshot())) {
    Complain(missing.text);
    fatal = fatal || missing.fatal;
  }
  if (fatal) *code = kExitOsError;
  if (!fatal) OnMembersChange({});
  return !fatal;
}

void Process::OnMembersChange(const std::vector<size_t>&) {
  std::string error;
  planner_->Remake(&error);
  if (!error.empty()) Say(error);
  Publish();
}

void Process::Say(const std::string& line) {
  if (log_ != nullptr) {
    log_->Say(line);
  } else {
    Complain(line);
  }
}

void Process::AfterWorkers(std::function<void()> done) {
  const auto left = std::make_shared<size_t>(workers_.size());
  for (const auto& worker : workers_) {
    PostCall(worker->scheduler_ref(), [this, left, done] {
      PostCall(scheduler_, [left, done] {
        if (--*left == 0) done();
      });
    });
  }
}

void Process::SetNumbers() {
  const absl::Duration interval = planner_->snapshot()->scalars.stats_interval;
  if (interval > absl::ZeroDuration()) {
    numbers_.Every(scheduler_, std::max(interval, absl::Milliseconds(1)));
  } else if (!numbers_.ended()) {
    numbers_.Every(scheduler_, absl::InfiniteDuration());
  }
}

void Process::Serve() {
  while (!stopping_) static_cast<void>(scheduler_.SleepUntil(scheduler_.now() + kLong));
}

void Process::Drain() {
  // A path that is gone is found by nobody; who has connected is accepted below.
  listening_.RemovePaths();
  for (const auto& worker : workers_) worker->PostStopAccepting();
  stop_deadline_ = scheduler_.now() + DrainTimeout();
  if (!patient_ && !at_once_) {
    DrainOrder order;
    order.over = DrainTimeout();
    stop_drain_ = drains_.Begin("stop", order);
  }
  report_.Look();
  while (Accepting() || Sessions() > 0) {
    if (at_once_) {
      log_->Say(absl::StrCat("second signal: ", Sessions(), " connections end now"));
      break;
    }
    if (!patient_ && scheduler_.now() >= stop_deadline_) {
      log_->Say(absl::StrCat("drain_timeout: ", Sessions(), " connections end now"));
      break;
    }
    static_cast<void>(scheduler_.SleepUntil(scheduler_.now() + kDrainLook));
  }
  const MonotonicTime patience = scheduler_.now() + kAbortPatience;
  while ((Accepting() || Sessions() > 0) && scheduler_.now() < patience) {
    for (const auto& worker : workers_) worker->PostAbortAll(CloseCause::kDrain);
    static_cast<void>(scheduler_.SleepUntil(scheduler_.now() + kDrainLook));
  }
}

void Process::StopWorkers() {
  // A worker ends with nobody waiting on its stacks. One that is stuck is not waited for for ever.
  for (size_t i = 0; i < threads_.size(); ++i) workers_[i]->PostStopChecks();
  const auto patience =
      std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(kAbortPatience);
  for (size_t i = 0; i < threads_.size(); ++i) {
    while (!workers_[i]->checks_done() && std::chrono::steady_clock::now() < patience) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  for (const auto& worker : workers_) worker->Stop();
  for (std::thread& thread : threads_) thread.join();
}

// The engine ends with no task on it and no descriptor open.
void Process::StopOwnTasks() {
  scheduler_.Stop();
  signals_.Stop();
  numbers_.End(scheduler_);
  numbers_line_.End(scheduler_);
  idle_.End(scheduler_);
  reaper_wake_.End(scheduler_);
  members_.Stop();
  report_.End(scheduler_);
  desk_.Close();
  if (observatory_ != nullptr) observatory_->End();
  if (collector_ != nullptr) collector_->Hurry();
  while (!signals_.ended() || !numbers_.ended() || !numbers_line_.ended() || !idle_.ended() ||
         !reaper_wake_.ended() || !members_.idle() || !report_.ended() || !desk_.done() ||
         (observatory_ != nullptr && !observatory_->ended()) ||
         (collector_ != nullptr && collector_->busy())) {
    scheduler_.Turn();
  }
}

// ---------------------------------------------------------------------------------------------
// What may be asked of it

void Process::FillControl() {
  control_.reload = [this](const Control::Reload& how, const OnOutcome& done) {
    Reload(how, done);
  };
  control_.reload_state = [this] { return reloader_.state(); };
  control_.dump_config = [this] { return config::Dump(*planner_->snapshot()); };
  control_.runtime_changes = [this] { return RuntimeLines(); };
  control_.stop = [this](Control::StopHow how) { return Stop(how, "stop"); };
  control_.drain = [this](const Control::Drain& wanted) {
    if (stopping_) return Outcome::Refused("drain: the process is stopping; it drains already");
    return drains_.BeginPercent(wanted);
  };
  control_.drains = [this] { return drains_.List(); };
  control_.set_log_level = [this](const std::string& level) { return SetLogLevel(level); };
  control_.reopen_logs = [this] { return ReopenLogs(); };
  servers_.Fill(control_);
  control_.pause_listener = [this](const std::string& name) { return HoldListener(name, true); };
  control_.resume_listener = [this](const std::string& name) { return HoldListener(name, false); };
  control_.kill = [this](const ConnSelector& selector, OnOutcome done) {
    conns_.Kill(selector, std::move(done));
  };
}

void Process::Reload(const Control::Reload& how, const OnOutcome& done) {
  if (stopping_) return done(Outcome::Refused("reload: the process is stopping"));
  reloader_.Ask(how, [this, how, done](const Outcome& outcome) {
    if (!how.dry_run) {
      if (how.reset_runtime && outcome.ok) held_.clear();
      HoldAgain();
      SetNumbers();
      log_->Say(absl::StrCat(outcome.ok ? "reload: " : "ERROR: reload: ",
                             absl::StrReplaceAll(outcome.text, {{"\n", "; "}})));
    }
    done(outcome);
  });
}

std::vector<std::string> Process::RuntimeLines() const {
  std::vector<std::string> lines = planner_->overrides().Lines();
  for (const std::string& name : held_) lines.push_back(absl::StrCat("listener ", name, " paused"));
  return lines;
}

void Process::OnSignal(int number) {
  const std::string who = absl::StrCat("signal ", strsignal(number));
  switch (number) {
    case SIGTERM:
    case SIGINT:
      Stop(Control::StopHow::kDrain, who);
      return;
    case SIGQUIT:
      Stop(Control::StopHow::kWait, who);
      return;
    case SIGHUP:
      held_by_signal_ = false;
      HoldAgain();
      Say(absl::StrCat(who, ": reload"));
      control_.reload({}, [](const Outcome&) {});
      return;
    case SIGUSR1:
      Say(absl::StrCat(who, ": ", control_.reopen_logs().text));
      return;
    case SIGUSR2:
      Say(absl::StrCat(who, ": this is for handing over to a new binary, which this version ",
                       "cannot do; nothing was changed"));
      return;
    case SIGWINCH:
    case SIGTTOU:
    case SIGTTIN:
      // Those of a terminal are about its size and who may write to it.
      if (HasTerminal()) return;
      HoldAll(number != SIGTTIN);
      Say(absl::StrCat(who, number == SIGTTIN ? ": listeners accept again"
                                              : ": listeners pause, clients wait in the backlog"));
      return;
  }
}

Outcome Process::Stop(Control::StopHow how, const std::string& why) {
  if (stopping_ || how == Control::StopHow::kNow) {
    at_once_ = stopping_ ? how != Control::StopHow::kWait : true;
  }
  if (!stopping_) {
    stopping_ = true;
    // drain_timeout=off: as long as they want.
    patient_ = how == Control::StopHow::kWait || DrainTimeout() == absl::ZeroDuration();
    const std::string rest = at_once_   ? " connections end now"
                             : patient_ ? " connections may finish"
                                        : absl::StrCat(" connections may finish within ",
                                                       absl::FormatDuration(DrainTimeout()));
    Say(absl::StrCat(why, ": no longer accepting, ", Sessions(), rest));
  }
  scheduler_.Kick(life_);
  return Outcome::Done(at_once_ ? "stopping now" : "stopping");
}

Outcome Process::HoldListener(const std::string& name, bool hold) {
  const bool found =
      std::any_of(plan().listeners.begin(), plan().listeners.end(),
                  [&](const auto& listener) { return listener->name == name && !listener->gone; });
  if (!found) {
    return Outcome::Refused(absl::StrCat("listener ", hold ? "pause" : "resume", ": there is no ",
                                         "listener ", name, "; nothing was changed"));
  }
  if (hold) {
    held_.insert(name);
  } else {
    held_.erase(name);
  }
  HoldAgain();
  return Outcome::Done(
      absl::StrCat("listener ", name, hold ? " pauses, clients wait in the backlog" : " accepts"));
}

void Process::HoldAll(bool hold) {
  held_by_signal_ = hold;
  // Who resumes all of them means those of the admin's, too.
  if (!hold) held_.clear();
  HoldAgain();
}

void Process::HoldAgain() {
  for (size_t i = 0; i < plan().listeners.size(); ++i) {
    const bool hold = held_by_signal_ || held_.contains(plan().listeners[i]->name);
    for (const auto& worker : workers_) worker->PostHold(i, hold);
  }
}

Outcome Process::SetLogLevel(const std::string& level) {
  static constexpr std::pair<const char*, int> kLevels[] = {{"info", google::GLOG_INFO},
                                                            {"warning", google::GLOG_WARNING},
                                                            {"error", google::GLOG_ERROR}};
  for (const auto& [name, number] : kLevels) {
    if (level != name) continue;
    FLAGS_minloglevel = number;
    return Outcome::Done(absl::StrCat("log_level ", level));
  }
  return Outcome::Refused(absl::StrCat("set log_level: \"", level,
                                       "\" is none; info, warning or error; nothing was changed"));
}

Outcome Process::ReopenLogs() {
  log_->Reopen();
  return Outcome::Done("the access log is opened again");
}

void Process::OnServerChange(const ServerChange& change) {
  const UpstreamPlan& upstream = change.plan;
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

// ---------------------------------------------------------------------------------------------
// Numbers

uint32_t Process::Sessions() const {
  uint32_t sum = 0;
  for (const auto& worker : workers_) sum += worker->sessions();
  return sum;
}

bool Process::Accepting() const {
  return std::any_of(workers_.begin(), workers_.end(),
                     [](const auto& worker) { return worker->accepting(); });
}

ServiceView Process::LookForService() const {
  ServiceView view;
  view.connections = Sessions();
  for (const auto& roster : shared_.generations.current()->rosters) {
    view.servers += static_cast<uint32_t>(roster->present());
    for (size_t i = 0; i < roster->size(); ++i) {
      view.servers_up += !roster->plan_of(i).gone && roster->server(i).flags() == 0;
    }
  }
  view.first_round_done = std::all_of(workers_.begin(), workers_.end(), [](const auto& worker) {
    return worker->first_checks_done();
  });
  view.stopping = stopping_;
  view.stop_left = patient_ ? absl::InfiniteDuration()
                            : absl::Nanoseconds(stop_deadline_.ns() - scheduler_.now().ns());
  return view;
}

std::vector<uint64_t> Process::Turns() const {
  std::vector<uint64_t> turns;
  for (const auto& worker : workers_) turns.push_back(worker->turns());
  return turns;
}

void Process::Nudge() {
  for (const auto& worker : workers_) {
    PostCall(worker->scheduler_ref(), [] {});
  }
}

std::shared_ptr<const Plan> Process::CurrentPlan() const { return planner_->current(); }

void Process::StartCollecting() {
  CollectSource source = SourceOf(workers_, threads_);
  source.generation = [this] { return shared_.generations.current(); };
  source.add = [this](Readings& readings) { AddOwn(readings); };
  collector_ = std::make_unique<Collector>(scheduler_, std::move(source));
}

void Process::AddOwn(Readings& readings) const {
  ProcessReading& process = readings.process;
  process.log_dropped += log_->dropped();
  process.version = options_.version;
  process.ready = !stopping_;
  process.generation = reloader_.state().generation;
  process.connection_limit = shared_.limit.limit();
  process.reload.last_ok = reloader_.state().last_ok;
  if (!reloader_.state().last_ok) process.reload.last_error = reloader_.state().last_text;
  process.reload.last_success = reloader_.state().loaded_at;
  process.reload.reloads = reloader_.state().reloads;
  process.reload.reloads_refused = reloader_.state().refused;
  for (const DrainProgress& drain : control_.drains()) {
    if (drain.ended) continue;
    process.drain.draining = true;
    process.drain.what = drain.what;
    process.drain.began_with += drain.total;
    process.drain.left += drain.left;
    process.drain.time_left = std::max(process.drain.time_left, drain.over - drain.passed);
  }
  for (ListenerReading& listener : readings.listeners) {
    if (held_by_signal_ || held_.contains(listener.name))
      listener.state = ListenerReading::State::kPaused;
  }
  readings.dns = members_.Dns();
  std::map<std::string, ServersFileReading> files;
  for (const ServersFileStatus& file : members_.Files()) {
    files[file.upstream] = {.path = file.path, .servers = file.servers, .error = file.error};
  }
  for (UpstreamReading& upstream : readings.upstreams) {
    if (const auto file = files.find(upstream.name); file != files.end()) {
      upstream.servers_file = file->second;
    }
  }
  if (!stopping_) return;
  process.drain.draining = true;
  process.drain.what = "stop";
  process.drain.left = Sessions();
  process.drain.time_left = patient_
                                ? absl::InfiniteDuration()
                                : absl::Nanoseconds(stop_deadline_.ns() - scheduler_.now().ns());
  for (ListenerReading& listener : readings.listeners) {
    listener.state = ListenerReading::State::kDraining;
  }
}

void Process::LookForIdle() {
  if (stopping_) return;
  uint64_t accepted = 0;
  for (const auto& worker : workers_) accepted += worker->worker_stats().accepted.value();
  if (Sessions() > 0 || accepted != accepted_when_idle_) {
    accepted_when_idle_ = accepted;
    idle_since_ = scheduler_.now();
  } else if (scheduler_.now() >= idle_since_ + options_.exit_idle_time) {
    Stop(Control::StopHow::kDrain,
         absl::StrCat("nobody was connected for ", absl::FormatDuration(options_.exit_idle_time)));
  }
}

// The workers answer between two activations; one that is stuck shows its last numbers.
void Process::AskForNumbers() {
  for (const auto& worker : workers_) worker->PostRefreshGauges();
  numbers_line_.Once(scheduler_, kDrainLook);
}

void Process::WriteNumbers() {
  uint64_t descriptors = 0, stacks = 0, peak = 0, buffers = 0, bytes = 0, pipes = 0, timers = 0;
  uint64_t accepted = 0, closed = 0, dropped = log_->dropped();
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

int RunProcess(std::shared_ptr<const config::Snapshot> snapshot, const config::SystemFacts& facts,
               const ProcessOptions& options) {
  auto planner = std::make_unique<Planner>(facts, EphemeralPorts());
  const Planner::Draft draft = planner->Configure(std::move(snapshot), false);
  if (draft.plan == nullptr) {
    fprintf(stderr, "parkway: %s\n", draft.error.c_str());
    return kExitConfig;
  }
  planner->Accept(draft);
  return std::make_unique<Process>(std::move(planner), options)->Run();
}

}  // namespace parkway
