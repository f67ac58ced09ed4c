#include "proxy/reload.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "proxy/core/post_call.h"

namespace parkway {

namespace {

constexpr absl::Duration kClosingPatience = absl::Seconds(1);
constexpr absl::Duration kClosingLook = absl::Milliseconds(20);
// Of what is wrong with a configuration, in the log.
constexpr size_t kMostErrors = 32;

std::string OneLine(const std::string& text) {
  std::vector<std::string> lines = absl::StrSplit(text, '\n');
  if (lines.size() > kMostErrors) {
    const size_t more = lines.size() - kMostErrors;
    lines.resize(kMostErrors);
    lines.push_back(absl::StrCat("and ", more, " more"));
  }
  return absl::StrJoin(lines, "; ");
}

}  // namespace

void Reloader::Ask(const Control::Reload& how, OnOutcome done) {
  waiting_.push_back({how, std::move(done)});
  if (!running_) PostBegin();
}

void Reloader::PostBegin() {
  if (std::exchange(posted_, true)) return;
  PostCall(scheduler_, [this] {
    posted_ = false;
    if (!running_ && !waiting_.empty()) Begin();
  });
}

// All that wait for the same, beginning with the first.
void Reloader::Begin() {
  running_ = true;
  how_ = waiting_.front().how;
  std::vector<Request> others;
  for (Request& request : std::exchange(waiting_, {})) {
    const bool same =
        request.how.dry_run == how_.dry_run && request.how.reset_runtime == how_.reset_runtime;
    (same ? round_ : others).push_back(std::move(request));
  }
  waiting_ = std::move(others);
  BeginRound();
}

void Reloader::BeginRound() {
  config::LoadResult loaded = host_.load();
  for (const std::string& line : loaded.warnings)
    host_.say(absl::StrCat("reload: warning: ", line));
  if (loaded.action != config::Action::kRun) {
    return Refuse(loaded.errors.empty() ? "the command line does not ask to run"
                                        : absl::StrJoin(loaded.errors, "\n"));
  }
  next_ = std::make_shared<const config::Snapshot>(*std::move(loaded.snapshot));
  difference_ = config::Diff(planner_.SnapshotAsNow(), *next_);
  difference_.not_reloadable = config::NotReloadable(*started_with_, *next_);
  for (const std::string& line : difference_.not_reloadable) {
    host_.say(absl::StrCat("reload: WARNING: ", line, ": not changed by a reload; restart for it"));
  }
  if (next_->scalars.reload_strict && !difference_.not_reloadable.empty()) {
    return Refuse(absl::StrCat("reload_strict: only a restart can change ",
                               absl::StrJoin(difference_.not_reloadable, ", ")));
  }
  if (how_.dry_run) return Finish(Outcome::Done(difference_.Text()));
  patience_ = scheduler_.now() + kClosingPatience;
  host_.prepare(next_, [this] { Continue(); });
}

void Reloader::Continue() {
  tries_again_ = false;
  if (ending_) {
    host_.abandon();
    return Refuse("the process is stopping");
  }
  const Planner::Draft draft = planner_.Configure(next_, how_.reset_runtime);
  if (draft.plan == nullptr) {
    host_.abandon();
    return Refuse(draft.error);
  }
  Listening::Changes changes = listening_.Prepare(*draft.plan);
  if (changes.soon && scheduler_.now() < patience_) {
    tries_again_ = true;
    again_.Once(scheduler_, kClosingLook);
    return;
  }
  std::string wrong = changes.error;
  if (wrong.empty() && !(draft.plan->log == planner_.current()->log)) {
    wrong = host_.try_log(draft.plan->log);
    if (!wrong.empty()) Listening::Discard(*draft.plan, changes);
  }
  if (!wrong.empty()) {
    host_.abandon();
    return Refuse(wrong);
  }
  Apply(draft, changes);
}

// Not on the stack of a task.
void Reloader::PostRetry() {
  PostCall(scheduler_, [this] {
    if (tries_again_) Continue();
  });
}

void Reloader::Apply(const Planner::Draft& draft, Listening::Changes& changes) {
  const std::shared_ptr<const Plan> before = planner_.current();
  planner_.Accept(draft);
  // All know the slots before anybody accepts for them.
  host_.publish(before);
  const auto trouble = [this](std::string line) {
    PostCall(scheduler_, [this, line = std::move(line)] { host_.say("reload: " + line); });
  };
  listening_.Apply(*draft.plan, changes, trouble);
  ++state_.generation;
  state_.loaded_at = absl::Now();
  host_.after_workers([this] { Finish(Outcome::Done(difference_.Text())); });
}

void Reloader::End() {
  ending_ = true;
  again_.End(scheduler_);
  if (tries_again_) Continue();
}

void Reloader::Refuse(const std::string& why) {
  Finish(Outcome::Refused(
      absl::StrCat(how_.dry_run ? "" : "refused, the configuration stays as it is: ", why)));
}

void Reloader::Finish(const Outcome& outcome) {
  if (!how_.dry_run) {
    ++state_.reloads;
    state_.refused += outcome.ok ? 0 : 1;
    state_.last_ok = outcome.ok;
    state_.last_at = absl::Now();
    state_.last_text = outcome.text;
    state_.last_line = outcome.ok ? difference_.Line() : OneLine(outcome.text);
  }
  next_.reset();
  running_ = false;
  // Who is answered may ask again.
  for (const Request& request : std::exchange(round_, {})) request.done(outcome);
  if (!waiting_.empty()) PostBegin();
}

}  // namespace parkway
