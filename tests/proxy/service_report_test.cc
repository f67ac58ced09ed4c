#include "proxy/service_report.h"

#include <stdlib.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "poller/scheduler.h"
#include "proxy/control.h"
#include "proxy/system/systemd.h"
#include "tests/proxy/service_manager.h"

namespace parkway {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// A process with two workers, of which the test says how they are.
class ServiceReportTest : public ::testing::Test {
 protected:
  ~ServiceReportTest() override {
    if (report_ == nullptr) return;
    report_->End(scheduler_);
    while (!report_->ended()) scheduler_.Turn();
  }

  void Start() {
    systemd_ = std::make_unique<Systemd>();
    control_.reload = [this](const Control::Reload&, const OnOutcome& done) { done(outcome_); };
    report_ = std::make_unique<ServiceReport>(
        *systemd_, ServiceSources{.look =
                                      [this] {
                                        ++looks_;
                                        return view_;
                                      },
                                  .reload_state = [this] { return reload_; },
                                  .turns = [this] { return turns_; },
                                  .nudge =
                                      [this] {
                                        ++nudges_;
                                        for (size_t i = 0; i < turns_.size(); ++i)
                                          turns_[i] += !stuck_[i];
                                      }});
    report_->Announce(control_);
    report_->Start(scheduler_);
  }

  // What is heard until `count` messages came.
  std::vector<std::string> Hear(size_t count) {
    std::vector<std::string> heard;
    while (heard.size() < count) {
      std::string message = manager_.Heard();
      if (message.empty()) {
        scheduler_.Turn();
      } else {
        heard.push_back(message);
      }
    }
    return heard;
  }

  // Lets so many periods of the report pass.
  void Pass(int turns) {
    for (int i = 0; i < turns; ++i) scheduler_.Turn();
  }

  ServiceManager manager_;
  Scheduler scheduler_{{.max_stacks = 8}, nullptr};
  ServiceView view_{.connections = 1, .servers_up = 2, .servers = 3};
  ReloadState reload_;
  std::vector<uint64_t> turns_{5, 7};
  std::vector<bool> stuck_{false, false};
  int nudges_ = 0;
  int looks_ = 0;
  Outcome outcome_ = Outcome::Done("=3 unchanged");
  Control control_;
  std::unique_ptr<Systemd> systemd_;
  std::unique_ptr<ServiceReport> report_;
};

TEST_F(ServiceReportTest, ReadyComesWhenTheFirstRoundHasEnded) {
  view_.first_round_done = false;
  Start();
  Pass(5);
  EXPECT_EQ("", manager_.Heard());
  view_.first_round_done = true;
  EXPECT_THAT(Hear(1),
              ElementsAre("READY=1\nSTATUS=1 connection, 2 of 3 servers up, generation 1"));
}

TEST_F(ServiceReportTest, AStatusFollowsWhenSomethingHasChanged) {
  Start();
  Hear(1);
  view_.servers_up = 3;
  report_->Look();
  report_->Look();
  EXPECT_EQ("STATUS=1 connection, 3 of 3 servers up, generation 1", manager_.Heard());
  EXPECT_EQ("", manager_.Heard());
}

TEST_F(ServiceReportTest, AWatchdogThatNobodyCouldContentKeepsNobodyBusy) {
  setenv("WATCHDOG_USEC", "1", 1);
  Start();
  while (looks_ < 2) scheduler_.Turn();
  const MonotonicTime began = scheduler_.now();
  while (looks_ < 12) scheduler_.Turn();
  EXPECT_GE(scheduler_.now().ns() - began.ns(), 90'000'000);
}

TEST_F(ServiceReportTest, EachReloadEndsReadyARefusedOneToo) {
  Start();
  Hear(1);
  std::string said;
  reload_.last_ok = false;
  reload_.last_text = "f:1:1: --liste: there is no such flag";
  outcome_ = Outcome::Refused(reload_.last_text);
  control_.reload({}, [&](const Outcome& outcome) {
    // By now the manager has been told.
    EXPECT_THAT(manager_.Heard(), StartsWith("RELOADING=1\nMONOTONIC_USEC="));
    EXPECT_EQ(
        "READY=1\nSTATUS=1 connection, 2 of 3 servers up, generation 1; last reload refused: " +
            reload_.last_text,
        manager_.Heard());
    said = outcome.text;
  });
  EXPECT_EQ(reload_.last_text, said);
  control_.reload({.dry_run = true}, [](const Outcome&) {});
  EXPECT_EQ("", manager_.Heard());
}

TEST_F(ServiceReportTest, AReloadBeforeReadyIsNotAnnounced) {
  view_.first_round_done = false;
  Start();
  control_.reload({}, [](const Outcome&) {});
  EXPECT_EQ("", manager_.Heard());
}

TEST_F(ServiceReportTest, StoppingAsksForTimeWhileItHasSome) {
  Start();
  Hear(1);
  view_.stopping = true;
  view_.connections = 12;
  view_.stop_left = absl::Milliseconds(24'500);
  report_->Look();
  EXPECT_THAT(Hear(2),
              ElementsAre("STOPPING=1\nSTATUS=Stopping: 12 connections left, at most 25s more",
                          "EXTEND_TIMEOUT_USEC=20000000"));
  // Not with each look.
  report_->Look();
  EXPECT_EQ("", manager_.Heard());
  // Past its time it asks for no more.
  view_.stop_left = absl::Seconds(-1);
  report_->Look();
  EXPECT_THAT(Hear(1), ElementsAre("STATUS=Stopping: 12 connections left"));
}

class WatchdogTest : public ServiceReportTest {
 protected:
  WatchdogTest() { setenv("WATCHDOG_USEC", "40000", 1); }
};

TEST_F(WatchdogTest, BeatsComeWhileEveryWorkerTurns) {
  Start();
  EXPECT_THAT(Hear(4),
              ElementsAre("WATCHDOG=1", StartsWith("READY=1"), "WATCHDOG=1", "WATCHDOG=1"));
  EXPECT_GE(nudges_, 3);
}

TEST_F(WatchdogTest, OneWorkerThatIsStuckStopsThemUntilItGoesOn) {
  Start();
  Hear(3);
  stuck_[1] = true;
  // One may still follow on a nudge of before.
  Pass(3);
  while (!manager_.Heard().empty()) {
  }
  const int nudges = nudges_;
  Pass(20);
  EXPECT_EQ("", manager_.Heard());
  EXPECT_EQ(nudges, nudges_) << "the mark is kept";
  stuck_[1] = false;
  ++turns_[1];
  EXPECT_THAT(Hear(2), ElementsAre("WATCHDOG=1", "WATCHDOG=1"));
}

TEST_F(WatchdogTest, TheyGoOnWhileItStops) {
  Start();
  Hear(2);
  view_.stopping = true;
  view_.stop_left = absl::InfiniteDuration();
  report_->Look();
  EXPECT_THAT(Hear(2),
              ElementsAre(HasSubstr("Stopping: 1 connection left"), StartsWith("EXTEND_TIMEOUT")));
  EXPECT_THAT(Hear(2), ElementsAre("WATCHDOG=1", "WATCHDOG=1"));
}

TEST(ServiceReportAloneTest, WithoutAManagerNothingRunsAndReloadIsLeftAlone) {
  unsetenv("NOTIFY_SOCKET");
  Systemd systemd;
  int asked = 0;
  ServiceReport report(systemd, {.look =
                                     [&] {
                                       ++asked;
                                       return ServiceView();
                                     },
                                 .reload_state = [] { return ReloadState(); },
                                 .turns = [] { return std::vector<uint64_t>(); },
                                 .nudge = [&] { ++asked; }});
  Scheduler scheduler({.max_stacks = 8}, nullptr);
  Control control;
  report.Announce(control);
  EXPECT_EQ(nullptr, control.reload);
  report.Start(scheduler);
  report.Look();
  EXPECT_TRUE(report.ended());
  EXPECT_FALSE(scheduler.HasReady());
  EXPECT_EQ(MonotonicTime::InfiniteFuture(), scheduler.NextWake());
  report.End(scheduler);
  EXPECT_EQ(0, asked);
}

TEST_F(ServiceReportTest, TheStatusSaysHowFarDrainsAre) {
  DrainProgress drain;
  drain.what = "25 % of all";
  drain.total = 40;
  drain.left = 12;
  view_.drains = {drain};
  EXPECT_EQ("1 connection, 2 of 3 servers up, generation 1; draining 25 % of all: 12 of 40 left",
            ServiceReport::StatusOf(view_, reload_));
  drain.what = "server app/a";
  drain.total = drain.left = 1;
  view_.drains.resize(5, drain);
  EXPECT_THAT(ServiceReport::StatusOf(view_, reload_),
              EndsWith("; draining server app/a: 1 of 1 left; and 2 more drains"));
  view_.stopping = true;
  view_.stop_left = absl::Seconds(3);
  view_.drains.resize(1);
  EXPECT_EQ("Stopping: 1 connection left, at most 3s more; draining 25 % of all: 12 of 40 left",
            ServiceReport::StatusOf(view_, reload_));
}

}  // namespace
}  // namespace parkway
