#include "proxy/process.h"

#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "poller/scheduler.h"
#include "poller/stack_overflow.h"
#include "proxy/admin/desk.h"
#include "proxy/collect_source.h"
#include "proxy/conn_stream.h"
#include "proxy/control.h"
#include "proxy/core/post_call.h"
#include "proxy/crew.h"
#include "proxy/drain_desk.h"
#include "proxy/ending.h"
#include "proxy/front_of.h"
#include "proxy/holds.h"
#include "proxy/idle_exit.h"
#include "proxy/listening.h"
#include "proxy/members.h"
#include "proxy/memory_guard.h"
#include "proxy/obey_signal.h"
#include "proxy/observe/access_log.h"
#include "proxy/observe/collect.h"
#include "proxy/observe/log_sink.h"
#include "proxy/orders.h"
#include "proxy/planner.h"
#include "proxy/reaper_host.h"
#include "proxy/reload.h"
#include "proxy/repeated.h"
#include "proxy/self_report.h"
#include "proxy/server_control.h"
#include "proxy/service_report.h"
#include "proxy/slot_reaper.h"
#include "proxy/stats_line.h"
#include "proxy/system/identity.h"
#include "proxy/system/server_sockets.h"
#include "proxy/system/signals.h"
#include "proxy/system/systemd.h"
#include "proxy/upstream/ejections.h"
#include "proxy/worker.h"

namespace parkway {

namespace {

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
        signals_([this](int number) {
          ObeySignal(number, control_, holds_, ending_,
                     [this](const std::string& line) { Say(line); });
        }),
        life_(*this),
        members_(scheduler_, {.seed = static_cast<uint64_t>(getpid()) * 0x9e3779b97f4a7c15u},
                 *this),
        systemd_([this](const std::string& line) { Say(line); }),
        report_(systemd_, {.look = [this] { return LookForService(Parts()); },
                           .reload_state = [this] { return control_.reload_state(); },
                           .turns = [this] { return crew_.turns(); },
                           .nudge = [this] { crew_.Nudge(); }}),
        crew_(scheduler_, planner_->current(),
              {.threads = options.threads,
               .cpus = options.cpus,
               .pipes_per_worker = options.pipes_per_worker,
               .reserved_descriptors = options.reserved_descriptors,
               .tcp_of_some = options.shown.http.has_value()}),
        numbers_(scheduler_, crew_,
                 {.write = [this](std::string line) { log_->Write(std::move(line)); },
                  .dropped = [this] { return log_->dropped(); }}),
        idle_(scheduler_, crew_, [this] { OnIdle(); }),
        listening_(crew_.workers(), options.inherited),
        holds_(crew_.workers(), [this] { return planner_->current(); }),
        drains_(scheduler_, crew_.workers(), [this](const SlotRef& slot) { reaper_.Use(slot); }),
        reaper_(ReaperHostOf(
            {.scheduler = scheduler_,
             .crew = crew_,
             .planner = *planner_,
             .workers = options.threads,
             .wake = [this](absl::Duration delay) { reaper_wake_.Once(scheduler_, delay); },
             .log_passes = [this] { return log_->passes(); },
             .quiet =
                 [this] {
                   return (collector_ == nullptr || !collector_->busy()) && !conns_.busy();
                 },
             .publish = [this] { Publish(); }})),
        reaper_wake_("slots", [this] { reaper_.Look(); }),
        memory_(scheduler_, crew_, [this](const std::string& line) { Say(line); }),
        ending_(scheduler_, crew_, drains_,
                {.drain_timeout = [this] { return planner_->snapshot()->scalars.drain_timeout; },
                 .say = [this](const std::string& line) { Say(line); },
                 .wake = [this] { scheduler_.Kick(life_); },
                 .begun = [this] { report_.Look(); }}),
        reloader_(
            scheduler_, *planner_, listening_,
            {.load = [this] { return options_.load(members_.Texts()); },
             .prepare =
                 [this](Reloader::Snapshot next, std::function<void()> ready) {
                   // Not on the stack of a task.
                   members_.Prepare(std::move(next), [this, ready = std::move(ready)] {
                     PostCall(scheduler_, ready);
                   });
                 },
             .abandon = [this] { members_.Abandon(); },
             .try_log = [](const LogPlan& log) { return LogSink::Try(log); },
             .publish =
                 [this](const std::shared_ptr<const Plan>&) {
                   members_.Follow(planner_->snapshot());
                   Publish();
                 },
             .after_workers = [this](std::function<void()> done) { crew_.After(std::move(done)); },
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
              crew_.workers()[worker]->PostToWalks(std::move(call));
            },
            [this] { return planner_->current(); }),
        orders_({.planner = *planner_,
                 .reloader = reloader_,
                 .holds = holds_,
                 .drains = drains_,
                 .ending = ending_,
                 .servers = servers_,
                 .conns = conns_,
                 .log = [this] { return log_.get(); },
                 .applied = [this] { OnApplied(); }}),
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
    crew_.shared().drain = [this](const DrainOrder& order) {
      PostCall(scheduler_, [this, order] { drains_.BeginForHealth(plan(), order); });
    };
    orders_.Fill(control_);
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
  // Each: empty, or one line that says what failed and why.
  std::string Bind();
  std::string OpenLog();
  // The last that needs privileges.
  std::string LowerPrivileges();
  std::string StartServing();
  // From the start of life_ to its end.
  void Live();
  // The end of Run after something has failed.
  int Failed(const std::string& why);
  int End(int code);
  const Plan& plan() const { return *planner_->current(); }
  // From now on all go by the planner's plan.
  void Publish();
  // On the stack of life_.
  void Serve();
  void Drain();
  void StopOwnTasks();

  // A reload has been applied.
  void OnApplied();
  void OnIdle();

  void StartCollecting();
  SelfParts Parts();
  void OnMembersChange(const std::vector<size_t>& upstreams) override;
  // Also before there is a log.
  void Say(const std::string& line) override;
  // Any worker.
  void OnServerChange(const ServerChange& change) override { log_->Say(LineOf(change)); }
  void Complain(const std::string& line) { fprintf(stderr, "parkway: %s\n", line.c_str()); }

  const std::unique_ptr<Planner> planner_;
  const ProcessOptions& options_;
  Scheduler scheduler_;
  Control control_;
  Signals signals_;
  Life life_;
  Members members_;
  Systemd systemd_;
  ServiceReport report_;
  Crew crew_;
  std::unique_ptr<AccessLog> log_;
  PidFile pid_file_;
  StatsLine numbers_;
  IdleExit idle_;
  Listening listening_;
  Holds holds_;
  DrainDesk drains_;
  SlotReaper reaper_;
  Repeated reaper_wake_;
  MemoryGuard memory_;
  Ending ending_;
  Reloader reloader_;
  std::unique_ptr<Collector> collector_;
  std::unique_ptr<Observatory> observatory_;
  ServerControl servers_;
  ConnDesk conns_;
  Orders orders_;
  admin::Desk desk_;
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
  planner_->set_file_servers_of(
      [this](const config::Upstream& upstream) { return members_.FileServers(upstream); });
  if (int code = kExitOk; !FindServers(&code)) {
    StopOwnTasks();
    return code;
  }
  std::string refused = Bind();
  if (refused.empty()) refused = LowerPrivileges();
  if (refused.empty()) refused = StartServing();
  if (!refused.empty()) return Failed(refused);

  Live();
  return End(kExitOk);
}

bool Process::FindServers(int* code) {
  bool ready = false;
  members_.Prepare(planner_->snapshot(), [&ready] { ready = true; });
  while (!ready && !ending_.asked()) scheduler_.Turn();
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

std::string Process::Bind() {
  std::string refused = TryServerSockets(plan());
  if (refused.empty()) refused = crew_.Make();
  if (refused.empty()) refused = OpenLog();
  if (refused.empty()) refused = listening_.Open(plan());
  return refused;
}

std::string Process::OpenLog() {
  log_ = std::make_unique<AccessLog>(planner_->current(), crew_.log_rings(), STDERR_FILENO);
  return log_->Open();
}

std::string Process::LowerPrivileges() {
  std::string refused = options_.pidfile.empty() ? "" : pid_file_.Write(options_.pidfile);
  if (refused.empty() && !options_.user.empty()) refused = BecomeUser(options_.user);
  return refused;
}

std::string Process::StartServing() {
  log_->Start();
  crew_.shared().generations.set_watcher(this);
  holds_.Apply();
  if (std::string refused = crew_.Start(); !refused.empty()) return refused;
  StartCollecting();
  observatory_ = std::make_unique<Observatory>(scheduler_, *collector_, options_.shown);
  if (std::string refused = observatory_->Start(); !refused.empty()) return refused;
  if (!options_.admin_socket.empty()) {
    if (std::string refused = desk_.Open(options_.admin_socket); !refused.empty()) return refused;
  }
  log_->Say(StartLine(options_.version, options_.threads, plan()));
  numbers_.Every(planner_->snapshot()->scalars.stats_interval);
  memory_.Keep(planner_->snapshot()->memory_limit);
  idle_.After(options_.exit_idle_time);
  report_.Start(scheduler_);
  if (orders_.TakeEarlyReload()) control_.reload({}, [](const Outcome&) {});
  return "";
}

void Process::Live() {
  scheduler_.Spawn(life_);
  StackOverflowReporter reporter(scheduler_.stacks());
  scheduler_.Run();
}

int Process::Failed(const std::string& why) {
  Complain(why);
  if (crew_.threads().empty()) {
    listening_.RemovePaths();
  } else {
    // Somebody may have been let in, and a worker ends with nobody on it.
    ending_.Ask(Control::StopHow::kNow, why);
    Live();
  }
  return End(kExitOsError);
}

// Neither a connection that does not end nor a reader of stderr that does not read keeps the
// process: what is theirs is left to the kernel then.
int Process::End(int code) {
  const bool ended = crew_.Stop();
  StopOwnTasks();
  if (!ended) Say(absl::StrCat(crew_.sessions(), " connections have not ended in time"));
  if (code == kExitOk) Say("stopped");
  const bool written = log_ == nullptr || log_->Stop();
  if (ended && written) return code;
  pid_file_.Remove();
  _exit(code);
}

void Process::Publish() {
  WorkerShared& shared = crew_.shared();
  const std::shared_ptr<const Plan> before = shared.generations.current()->plan;
  if (before == planner_->current()) return;
  const std::shared_ptr<const Generation> next = shared.generations.Prepare(planner_->current());
  // First who writes names, then who refers to them.
  if (log_ != nullptr) log_->SetPlan(next->plan);
  shared.generations.Commit(next, scheduler_.now(), [&shared, &next] { shared.latest.Set(next); });
  for (const auto& worker : crew_.workers()) worker->PostGeneration();
  drains_.FollowChanges(*before, *next);
  reaper_.Follow(planner_->current());
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

void Process::Serve() {
  while (!ending_.asked()) static_cast<void>(scheduler_.SleepUntil(scheduler_.now() + kLong));
}

void Process::Drain() {
  reloader_.End();
  // A path that is gone is found by nobody; who has connected is accepted all the same.
  listening_.RemovePaths();
  ending_.Run();
}

// The engine ends with no task on it and no descriptor open.
void Process::StopOwnTasks() {
  scheduler_.Stop();
  signals_.Stop();
  numbers_.End();
  idle_.End();
  reaper_wake_.End(scheduler_);
  memory_.End();
  members_.Stop();
  report_.End(scheduler_);
  reloader_.End();
  desk_.Close();
  if (observatory_ != nullptr) observatory_->End();
  if (collector_ != nullptr) collector_->Hurry();
  while (!signals_.ended() || !numbers_.ended() || !idle_.ended() || !reaper_wake_.ended() ||
         !memory_.ended() || !members_.idle() || !report_.ended() || !reloader_.ended() ||
         !desk_.done() || (observatory_ != nullptr && !observatory_->ended()) ||
         (collector_ != nullptr && collector_->busy())) {
    scheduler_.Turn();
  }
}

// ---------------------------------------------------------------------------------------------
// What happens to it

void Process::OnApplied() {
  numbers_.Every(planner_->snapshot()->scalars.stats_interval);
  memory_.Keep(planner_->snapshot()->memory_limit);
  observatory_->Allow(HttpAllowOf(*planner_->snapshot()));
}

void Process::OnIdle() {
  if (ending_.asked()) return;
  ending_.Ask(
      Control::StopHow::kDrain,
      absl::StrCat("nobody was connected for ", absl::FormatDuration(options_.exit_idle_time)));
}

SelfParts Process::Parts() {
  return {.version = options_.version,
          .crew = crew_,
          .log = *log_,
          .holds = holds_,
          .drains = drains_,
          .memory = memory_.watch(),
          .ending = ending_,
          .reloader = reloader_,
          .members = members_};
}

void Process::StartCollecting() {
  CollectSource source = SourceOf(crew_.workers(), crew_.threads());
  source.generation = [this] { return crew_.shared().generations.current(); };
  source.add = [this](Readings& readings) { AddOwn(Parts(), readings); };
  collector_ = std::make_unique<Collector>(scheduler_, std::move(source));
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
