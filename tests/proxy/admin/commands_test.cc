#include "proxy/admin/commands.h"

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "proxy/admin/command_table.h"
#include "proxy/admin/conversation.h"
#include "proxy/admin/reply.h"
#include "proxy/admin/stat_csv.h"
#include "proxy/control.h"
#include "proxy/observe/conn_row.h"
#include "proxy/observe/readings.h"

namespace parkway::admin {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

// A client that takes everything, and whose waiting is over when `arrive` says so.
class Listener final : public Conversation, private Reply::Sink {
 public:
  explicit Listener(bool json)
      : reply_(Reply::Form::kFramed, json, static_cast<Reply::Sink&>(*this)) {}

  Reply& reply() override { return reply_; }
  const std::string& who() const override { return who_; }
  MonotonicTime now() const override { return MonotonicTime(1); }
  Waited WaitUntil(const std::function<bool()>& ready, MonotonicTime deadline) override {
    if (arrive) arrive();
    if (ready()) return Waited::kYes;
    return deadline == MonotonicTime::InfiniteFuture() ? Waited::kGone : Waited::kLate;
  }
  std::function<void()> bell() override {
    return [] {};
  }

  std::function<void()> arrive;
  std::string text;

 private:
  bool Send(std::string_view bytes) override {
    text += bytes;
    return true;
  }

  Reply reply_;
  std::string who_ = "pid=1 uid=2 gid=3";
};

// Rows that are there already.
class Batches final : public ConnStream {
 public:
  explicit Batches(std::vector<std::vector<ConnRow>> batches) : batches_(std::move(batches)) {}
  std::vector<ConnRow> Take() override {
    std::vector<ConnRow> first = batches_.front();
    batches_.erase(batches_.begin());
    return first;
  }
  bool has_rows() const override { return !batches_.empty(); }
  bool done() const override { return batches_.empty(); }

 private:
  std::vector<std::vector<ConnRow>> batches_;
};

class CommandsTest : public testing::Test {
 protected:
  CommandsTest() {
    const auto note = [this](const std::string& what) {
      asked_.push_back(what);
      return refuse_ ? Outcome::Refused("no") : Outcome::Done("ok: " + what);
    };
    control_.reload = [this](const Control::Reload& reload, OnOutcome done) {
      asked_.push_back("reload" + std::string(reload.dry_run ? " dry" : "") +
                       (reload.reset_runtime ? " reset" : ""));
      reloaded_ = std::move(done);
    };
    control_.reload_state = [] {
      ReloadState state;
      state.generation = 3;
      state.reloads = 2;
      state.refused = 1;
      state.last_ok = false;
      state.last_text = "parkway.flags:3: --idle_timeout=x\nsecond line";
      return state;
    };
    control_.dump_config = [] { return std::string("--threads=2\n"); };
    control_.runtime_changes = [this] { return changes_; };
    control_.drain = [this](const Control::Drain& drain) {
      asked_.push_back("drain " + std::to_string(drain.percent) + " " +
                       absl::FormatDuration(drain.over));
      Outcome outcome = Outcome::Done("drain 7 has begun");
      outcome.drain = 7;
      return outcome;
    };
    control_.drains = [this] { return drains_; };
    control_.set_log_level = [note](const std::string& level) { return note("level " + level); };
    control_.set_server_state = [note](const std::string& upstream, const std::string& server,
                                       Control::ServerWord word,
                                       std::optional<absl::Duration> over) {
      return note("state " + upstream + " " + server + " " +
                  std::to_string(static_cast<int>(word)) +
                  (over.has_value() ? " over " + absl::FormatDuration(*over) : ""));
    };
    control_.set_server_weight = [note](const std::string& upstream, const std::string& server,
                                        uint32_t weight) {
      return note("weight " + upstream + " " + server + " " + std::to_string(weight));
    };
    control_.set_server_max_conns = [note](const std::string& upstream, const std::string& server,
                                           uint32_t most) {
      return note("most " + upstream + " " + server + " " + std::to_string(most));
    };
    control_.add_server = [note](const std::string& upstream, const std::string& words) {
      return note("add " + upstream + " " + words);
    };
    control_.del_server = [note](const std::string& upstream, const std::string& server) {
      return note("del " + upstream + " " + server);
    };
    control_.pause_listener = [note](const std::string& name) { return note("pause " + name); };
    control_.resume_listener = [note](const std::string& name) { return note("resume " + name); };
    control_.kill = [note](const ConnSelector& selector, const OnOutcome& done) {
      done(note("kill id=" + (selector.id.has_value() ? std::to_string(*selector.id) : "-") +
                " src=" + selector.source + " listener=" + selector.listener +
                " upstream=" + selector.upstream + " server=" + selector.server));
    };
    readings_ = std::make_shared<Readings>();
    readings_->taken = absl::FromUnixSeconds(1'800'000'000);
    readings_->process.version = "9.9";
    readings_->process.version_date = "2030/01/31";
    readings_->process.node = "here";
    readings_->process.pipes_max = 64;
    readings_->process.pid = 42;
    readings_->process.uptime = absl::Seconds(90'061);
    readings_->process.max_connections = 1000;
    readings_->process.connections = 5;
    ListenerReading web;
    web.name = "web";
    web.addresses = {"127.0.0.1:80", "[::1]:80"};
    web.upstream = "app";
    web.active = 5;
    web.total = 105;
    web.closed[static_cast<size_t>(CloseCause::kClientFin)] = 97;
    web.closed[static_cast<size_t>(CloseCause::kDenied)] = 3;
    web.bytes_received = 2048;
    web.bytes_sent = 5'000'000;
    readings_->listeners.push_back(web);
    UpstreamReading app;
    app.name = "app";
    app.balance = "least_conn";
    ServerReading a;
    a.name = "a";
    a.address = "10.0.0.1:9000";
    a.weight = 3;
    a.active = 4;
    a.total = 60;
    a.max_conns = 10;
    a.checked = true;
    a.last_check = HealthWord::kL4Ok;
    a.bytes_sent = 100;
    a.bytes_received = 200;
    ServerReading b = a;
    b.name = "b";
    b.state = ServerReading::State::kDrain;
    b.priority = 1;
    b.checked = false;
    app.servers = {a, b};
    readings_->upstreams.push_back(app);
    readings_->workers.resize(2);
    readings_->workers[0].pipes = 3;
    readings_->workers[1].pipes = 4;
    DnsReading dns;
    dns.name = "db.example";
    dns.age = absl::InfiniteDuration();
    readings_->dns.push_back(dns);
  }

  struct Answer {
    std::string text;
    Status status;
  };
  Answer Ask(const std::string& line, bool json = false, std::function<void()> arrive = {}) {
    Listener client(json);
    client.arrive = std::move(arrive);
    commands_.Execute(SplitWords(line), client);
    const Status status = client.reply().status();
    client.reply().Finish();
    return {client.text, status};
  }
  // The text of an answer in frames: its lines without their letters.
  static std::string Plain(const std::string& framed) {
    std::string text;
    size_t at = 0;
    while (at < framed.size()) {
      const size_t end = framed.find('\n', at);
      if (framed[at] == '+') text += framed.substr(at + 1, end - at);
      at = end + 1;
    }
    return text;
  }

  Control control_;
  std::vector<std::string> asked_;
  std::vector<std::string> said_;
  std::vector<std::string> changes_;
  std::vector<DrainProgress> drains_;
  bool refuse_ = false;
  OnOutcome reloaded_;
  std::shared_ptr<Readings> readings_;
  ConnQuestion question_;
  std::vector<std::vector<ConnRow>> rows_ = {{}};  // in batches
  Commands commands_{{.control = control_,
                      .read = [this](bool, Commands::OnReadings done) { done(readings_); },
                      .ask_for_conns = [this](const ConnQuestion& question, std::function<void()>,
                                              std::string* wrong) -> std::unique_ptr<ConnStream> {
                        question_ = question;
                        if (rows_.empty()) *wrong = "there is no such thing";
                        if (rows_.empty()) return nullptr;
                        return std::make_unique<Batches>(rows_);
                      },
                      .say = [this](std::string line) { said_.push_back(std::move(line)); },
                      .version = "9.9"}};
};

TEST_F(CommandsTest, EveryCommandOfTheTableAnswersSomething) {
  for (const Command& command : CommandTable()) {
    if (command.local) continue;
    const Answer answer = Ask(std::string(command.words));
    EXPECT_NE(answer.text, "=0\n") << command.words;
  }
}

TEST_F(CommandsTest, EveryShowIsValidJson) {
  for (const char* line :
       {"show info", "show stat", "show servers", "show servers app", "show listeners",
        "show threads", "show slowest", "show dns", "show config", "show config --runtime",
        "show limits", "show drains", "show version"}) {
    const Answer answer = Ask(line, true);
    EXPECT_EQ(answer.status, Status::kDone) << line;
    EXPECT_TRUE(nlohmann::json::accept(Plain(answer.text))) << line << ": " << answer.text;
    const Answer text = Ask(line);
    EXPECT_EQ(text.status, Status::kDone) << line;
    EXPECT_FALSE(Plain(text.text).empty()) << line;
  }
}

TEST_F(CommandsTest, BytesThatAreNoUtf8AreStillValidJson) {
  readings_->upstreams[0].servers[0].address = "\xff\xfe\x01";
  EXPECT_TRUE(nlohmann::json::accept(Plain(Ask("show servers", true).text)));
}

TEST_F(CommandsTest, InfoHasTheKeysThatToolsForHaproxyRead) {
  const std::string text = Ask("show info").text;
  for (const char* line :
       {"+Name: Parkway\n", "+Version: 9.9\n", "+Pid: 42\n", "+Uptime: 1d 1h1m1s\n",
        "+Uptime_sec: 90061\n", "+Maxconn: 1000\n", "+CurrConns: 5\n", "+Nbthread: 2\n",
        "+Release_date: 2030/01/31\n", "+Maxpipes: 64\n", "+PipesUsed: 7\n", "+node: here\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST_F(CommandsTest, StatHasARowForEachListenerServerAndUpstream) {
  const std::string text = Plain(Ask("show stat").text);
  EXPECT_THAT(text, StartsWith("# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,"));
  EXPECT_THAT(text, HasSubstr("\nweb,FRONTEND,,,5,5,1000,105,2048,5000000,3,0,0,,,,,OPEN,"));
  EXPECT_THAT(text, HasSubstr("\napp,a,0,0,4,4,10,60,100,200,,0,,0,0,0,0,UP,3,1,0,"));
  EXPECT_THAT(text, HasSubstr("\napp,b,0,0,4,4,10,60,100,200,,0,,0,0,0,0,DRAIN,3,0,1,"));
  EXPECT_THAT(text, HasSubstr("\napp,BACKEND,0,0,8,8,1000,120,200,400,0,0,,0,0,0,0,UP,3,1,0,"));
  EXPECT_THAT(text, HasSubstr(",tcp,leastconn,"));
}

TEST_F(CommandsTest, RatesAreOfTheTimeSinceTheLastAnswer) {
  Ask("show stat");
  readings_->taken += absl::Milliseconds(500);
  readings_->listeners[0].total += 50;
  EXPECT_EQ(nlohmann::json::parse(Plain(Ask("show stat", true).text))[0]["rate"], "0")
      << "too soon";
  readings_->taken += absl::Milliseconds(1500);
  readings_->listeners[0].total += 150;
  const auto row = nlohmann::json::parse(Plain(Ask("show stat", true).text))[0];
  EXPECT_EQ(row["rate"], "100");
  EXPECT_EQ(row["rate_max"], "100");
  readings_->taken += absl::Seconds(10);
  EXPECT_EQ(nlohmann::json::parse(Plain(Ask("show stat", true).text))[0]["rate"], "0");
  EXPECT_EQ(nlohmann::json::parse(Plain(Ask("show stat", true).text))[0]["rate_max"], "100");
}

TEST_F(CommandsTest, ConfigSaysWhatBecameOfTheLastReload) {
  EXPECT_THAT(Ask("show config").text,
              testing::AllOf(HasSubstr("+# generation 3, applied"),
                             HasSubstr("was refused:\n+#   parkway.flags:3: --idle_timeout=x\n"),
                             HasSubstr("+--threads=2\n")));
  EXPECT_EQ(Ask("show config --runtime").text, "+# nothing was changed at run time\n=0\n");
  changes_ = {"server app/a weight=0"};
  EXPECT_EQ(Ask("show config --runtime").text, "+server app/a weight=0\n=0\n");
}

TEST_F(CommandsTest, ChangesAreAskedForAndLoggedWithWhoAskedAndWhatCameOfIt) {
  Ask("server ready app/a");
  Ask("server drain app/a --over 5m");
  Ask("server drain --over=2s app/web/10.0.0.1:80");
  Ask("server down app/a");
  Ask("server weight app/a 0");
  Ask("server max_conns app/a 50");
  Ask("server add app/c addr=10.0.0.3:9000 weight=2");
  Ask("server del app/c");
  Ask("listener pause web");
  Ask("listener resume web");
  Ask("conn kill 17");
  Ask("conn kill src=10.0.0.0/8 server=app/a listener=web");
  refuse_ = true;
  const Answer refused = Ask("set log_level warning");
  EXPECT_EQ(refused.text, "-no\n=1\n");
  EXPECT_THAT(
      asked_,
      ElementsAre("state app a 0", "state app a 1 over 5m", "state app web/10.0.0.1:80 1 over 2s",
                  "state app a 2", "weight app a 0", "most app a 50",
                  "add app name=c addr=10.0.0.3:9000 weight=2", "del app c", "pause web",
                  "resume web", "kill id=17 src= listener= upstream= server=",
                  "kill id=- src=10.0.0.0/8 listener=web upstream=app server=a", "level warning"));
  EXPECT_EQ(said_.size(), asked_.size());
  EXPECT_EQ(said_.front(), "admin: pid=1 uid=2 gid=3: server ready app/a: done");
  EXPECT_EQ(said_.back(), "admin: pid=1 uid=2 gid=3: set log_level warning: refused");
}

TEST_F(CommandsTest, WhatIsNotUnderstoodChangesNothing) {
  const std::map<std::string, std::string> wrong = {
      {"server weight app/a", "weight is missing"},
      {"server weight app/a 257", "\"257\" is no weight; it is a number of 0 to 256"},
      {"server weight app/a -1", "\"-1\" is no weight; it is a number of 0 to 256"},
      {"server weight a 1", "\"a\" is no server; write UPSTREAM/SERVER"},
      {"server weight app/a 1 2", "\"2\" is not understood here"},
      {"server drain app/a --over", "--over wants a value"},
      {"server drain app/a --over 5", "--over: "},
      {"server add app/a", "addr=ADDRESS is missing"},
      {"server ready", "UPSTREAM/SERVER is missing"},
      {"listener pause", "the listener's name is missing"},
      {"conn kill", "which ones? ID, src=, server=, listener= or upstream= is missing"},
      {"conn kill x", "\"x\" is no connection's ID"},
      {"conn kill src=", "src= wants a value"},
      {"conn kill server=a", "\"a\" is no server; write UPSTREAM/SERVER"},
      {"drain --percent 0", "--percent: \"0\" is none; 1 to 100 is"},
      {"drain --percent 101%", "--percent: \"101%\" is none; 1 to 100 is"},
      {"drain --slowly", "\"--slowly\" is not understood here"},
      {"reload now", "\"now\" is not understood here"},
      {"show info please", "\"please\" is not understood here"},
  };
  for (const auto& [line, why] : wrong) {
    const Answer answer = Ask(line);
    EXPECT_EQ(answer.status, Status::kUsage) << line;
    EXPECT_THAT(answer.text, StartsWith("-" + why)) << line;
  }
  EXPECT_THAT(asked_, testing::IsEmpty());
}

TEST_F(CommandsTest, ReloadWaitsForTheVerdictIfAsked) {
  EXPECT_EQ(Ask("reload").text, "+reload begun; `show config` says what came of it\n=0\n");
  const Answer good = Ask("reload --wait --reset_runtime", false,
                          [this] { reloaded_(Outcome::Done("+listener web\n=3 unchanged")); });
  EXPECT_EQ(good.text, "++listener web\n+=3 unchanged\n=0\n");
  const Answer bad =
      Ask("reload --wait", false, [this] { reloaded_(Outcome::Refused("x:1: no")); });
  EXPECT_EQ(bad.text, "-x:1: no\n=1\n");
  const Answer dry = Ask("reload --dry_run", true, [this] { reloaded_(Outcome::Done("=all")); });
  EXPECT_EQ(dry.text, "+{\"done\":true,\"text\":\"=all\"}\n=0\n");
  EXPECT_THAT(asked_, ElementsAre("reload", "reload reset", "reload", "reload dry"));
}

TEST_F(CommandsTest, AReloadWhoseClientHasLeftHarmsNobody) {
  Ask("reload --wait");
  reloaded_(Outcome::Done("late"));
}

TEST_F(CommandsTest, DrainIsWatchedUntilItHasEnded) {
  DrainProgress drain;
  drain.id = 7;
  drain.what = "25 % of all";
  drain.total = 4;
  drain.left = 4;
  drain.over = absl::Seconds(20);
  drains_ = {drain};
  const Answer answer = Ask("drain --percent 25 --over 20s --wait", false, [this] {
    drains_[0].left -= 2;
    drains_[0].passed += absl::Seconds(10);
    drains_[0].ended = drains_[0].left == 0;
  });
  EXPECT_EQ(answer.text,
            "+drain 7 has begun\n"
            "*0/4 25 % of all: 4 connections left, 0 of 20.0s\n"
            "*2/4 25 % of all: 2 connections left, 10.0s of 20.0s\n"
            "*4/4 25 % of all: 0 connections left, 20.0s of 20.0s\n=0\n");
  EXPECT_THAT(asked_, ElementsAre("drain 25 20s"));
  EXPECT_EQ(Ask("drain --percent=25%").text, "+drain 7 has begun\n=0\n");
}

ConnRow Row(uint64_t id) {
  ConnRow row;
  row.id = id;
  row.listener = "web";
  row.upstream = "app";
  return row;
}

TEST_F(CommandsTest, ConnsAreListedAsTheyComeAndEndAtTheLimit) {
  rows_ = {{}, {Row(1), Row(2)}, {}, {Row(3)}};
  const auto all = nlohmann::json::parse(Plain(Ask("show conns", true).text));
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[2]["id"], 3);
  const auto two = nlohmann::json::parse(Plain(Ask("show conns limit=2", true).text));
  EXPECT_EQ(two.size(), 2u);
  EXPECT_EQ(nlohmann::json::parse(Plain(Ask("show conns limit=0", true).text)).size(), 0u);
  EXPECT_THAT(Ask("show conns").text, StartsWith("+ID "));
}

TEST_F(CommandsTest, ConditionsOfConnsAreUnderstood) {
  Ask("show conns listener=web server=app/a src=10.0.0.0/8 state=queued idle>5s age>1m "
      "bytes>1MiB");
  EXPECT_EQ(question_.selector.listener, "web");
  EXPECT_EQ(question_.selector.upstream, "app");
  EXPECT_EQ(question_.selector.server, "a");
  EXPECT_EQ(question_.selector.source, "10.0.0.0/8");
  EXPECT_EQ(question_.state, "queued");
  EXPECT_EQ(question_.idle, absl::Seconds(5));
  EXPECT_EQ(question_.age, absl::Minutes(1));
  EXPECT_EQ(question_.bytes, 1u << 20);
  EXPECT_FALSE(question_.addresses);
  for (const char* wrong : {"show conns idle>5", "show conns bytes>x", "show conns limit=x",
                            "show conns idle", "show conns src=", "show conns server=a",
                            "show conns upstream=b server=app/a", "show conn", "show conn x"}) {
    EXPECT_EQ(Ask(wrong).status, Status::kUsage) << wrong;
  }
}

TEST_F(CommandsTest, AQuestionThatMakesNoSenseIsRefused) {
  rows_ = {};
  EXPECT_EQ(Ask("show conns listener=x").text, "-there is no such thing\n=1\n");
}

TEST_F(CommandsTest, OneConnIsExplainedOrSaidToBeNone) {
  rows_ = {{}, {Row(17)}};
  EXPECT_THAT(Ask("show conn 17").text, StartsWith("+connection 17 is open"));
  EXPECT_EQ(*question_.selector.id, 17u);
  EXPECT_TRUE(question_.addresses);
  EXPECT_TRUE(nlohmann::json::accept(Plain(Ask("show conn 17", true).text)));
  rows_ = {{}, {}};
  EXPECT_EQ(Ask("show conn 18").text, "-there is no open connection with the ID 18\n=1\n");
}

TEST_F(CommandsTest, AnUpstreamThatIsNotThereIsSaid) {
  EXPECT_EQ(Ask("show servers nope").text, "-there is no upstream \"nope\"\n=1\n");
  EXPECT_THAT(Ask("show servers app").text, HasSubstr("app/a"));
}

}  // namespace
}  // namespace parkway::admin
