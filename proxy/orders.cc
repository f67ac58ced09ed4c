#include "proxy/orders.h"

#include <glog/logging.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "config/explain.h"

namespace parkway {

namespace {

Outcome SetLogLevel(const std::string& level) {
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

}  // namespace

void Orders::Fill(Control& control) {
  control.reload = [this](const Control::Reload& how, const OnOutcome& done) { Reload(how, done); };
  control.reload_state = [this] { return parts_.reloader.state(); };
  control.dump_config = [this] { return config::Dump(*parts_.planner.snapshot()); };
  control.runtime_changes = [this] { return RuntimeLines(); };
  control.stop = [this](Control::StopHow how) { return parts_.ending.Ask(how, "stop"); };
  control.drain = [this](const Control::Drain& wanted) { return Drain(wanted); };
  control.drains = [this] { return parts_.drains.List(); };
  control.set_log_level = SetLogLevel;
  control.reopen_logs = [this] { return ReopenLogs(); };
  parts_.servers.Fill(control);
  control.pause_listener = [this](const std::string& name) { return parts_.holds.Hold(name); };
  control.resume_listener = [this](const std::string& name) { return parts_.holds.Release(name); };
  control.kill = [this](const ConnSelector& selector, OnOutcome done) {
    parts_.conns.Kill(selector, std::move(done));
  };
}

bool Orders::TakeEarlyReload() { return std::exchange(reload_early_, false); }

void Orders::Reload(const Control::Reload& how, const OnOutcome& done) {
  if (parts_.ending.asked()) return done(Outcome::Refused("reload: the process is stopping"));
  if (parts_.log() == nullptr) {
    reload_early_ = true;
    return done(Outcome::Done("reload: when it has started"));
  }
  parts_.reloader.Ask(how, [this, how, done](const Outcome& outcome) {
    if (!how.dry_run) OnReload(how, outcome);
    done(outcome);
  });
}

void Orders::OnReload(const Control::Reload& how, const Outcome& outcome) {
  if (outcome.ok) {
    if (how.reset_runtime) parts_.holds.Forget();
    parts_.holds.Follow();
    parts_.holds.Apply();
    parts_.applied();
  }
  parts_.log()->Say(
      absl::StrCat(outcome.ok ? "reload: " : "ERROR: reload: ", parts_.reloader.state().last_line));
}

Outcome Orders::Drain(const Control::Drain& wanted) {
  if (parts_.ending.asked()) {
    return Outcome::Refused("drain: the process is stopping; it drains already");
  }
  return parts_.drains.BeginPercent(wanted);
}

Outcome Orders::ReopenLogs() {
  if (parts_.log() == nullptr) return Outcome::Refused("the access log is not open yet");
  parts_.log()->Reopen();
  return Outcome::Done("the access log is opened again");
}

std::vector<std::string> Orders::RuntimeLines() const {
  std::vector<std::string> lines = parts_.planner.overrides().Lines();
  for (const std::string& name : parts_.holds.named()) {
    lines.push_back(absl::StrCat("listener ", name, " paused"));
  }
  return lines;
}

}  // namespace parkway
