#include "proxy/reload.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "proxy/core/post_call.h"

namespace parkway {

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
  difference_ = config::Diff(*planner_.snapshot(), *next_);
  for (const std::string& line : difference_.not_reloadable) {
    host_.say(absl::StrCat("reload: WARNING: ", line, ": not changed by a reload; restart for it"));
  }
  if (next_->scalars.reload_strict && !difference_.not_reloadable.empty()) {
    return Refuse(absl::StrCat("reload_strict: only a restart can change ",
                               absl::StrJoin(difference_.not_reloadable, ", ")));
  }
  if (how_.dry_run) return Finish(Outcome::Done(difference_.Text()));
  host_.prepare(next_, [this] { Continue(); });
}

void Reloader::Continue() {
  const Planner::Draft draft = planner_.Configure(next_, how_.reset_runtime);
  if (draft.plan == nullptr) {
    host_.abandon();
    return Refuse(draft.error);
  }
  Listening::Changes changes = listening_.Prepare(*draft.plan);
  if (!changes.error.empty()) {
    host_.abandon();
    return Refuse(changes.error);
  }
  Apply(draft, changes);
}

void Reloader::Apply(const Planner::Draft& draft, Listening::Changes& changes) {
  const std::shared_ptr<const Plan> before = planner_.current();
  planner_.Accept(draft);
  // All know the slots before anybody accepts for them.
  host_.publish(before);
  const auto trouble = [this](std::string line) {
    PostCall(scheduler_, [this, line = std::move(line)] { host_.say("reload: " + line); });
  };
  listening_.Apply(*before, *draft.plan, changes, trouble);
  ++state_.generation;
  state_.loaded_at = absl::Now();
  host_.after_workers([this] { Finish(Outcome::Done(difference_.Text())); });
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
  }
  next_.reset();
  running_ = false;
  // Who is answered may ask again.
  for (const Request& request : std::exchange(round_, {})) request.done(outcome);
  if (!waiting_.empty()) PostBegin();
}

}  // namespace parkway
