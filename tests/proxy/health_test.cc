// Health checks against real sockets of this machine, and what is concluded from them.
#include "proxy/upstream/health.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "poller/listener.h"
#include "poller/task.h"
#include "tests/proxy/edit.h"

namespace parkway {
namespace {

using std::string_literals::operator""s;

// A server of one answer, on a thread of its own.
class Answerer {
 public:
  struct Manners {
    std::string greeting = {};  // said at once
    std::string answer = {};    // said when something was heard
    bool hang_up = false;       // ends the connection after that
  };

  explicit Answerer(Manners manners) : manners_(std::move(manners)) {
    fd_ = OpenListenSocket(Address::Ipv4({127, 0, 0, 1}, 0), {.backlog = 64}, &address_);
    EXPECT_GE(fd_, 0);
    thread_ = std::thread([this] { Serve(); });
  }
  ~Answerer() {
    stop_ = true;
    shutdown(fd_, SHUT_RDWR);
    thread_.join();
    close(fd_);
  }

  const Address& address() const { return address_; }
  int served() const { return served_; }
  std::string heard() {
    std::lock_guard<std::mutex> lock(mutex_);
    return heard_;
  }
  // "FIN" or "RST": how the last connection ended.
  std::string ending() {
    std::lock_guard<std::mutex> lock(mutex_);
    return ending_;
  }

 private:
  void Serve() {
    while (!stop_) {
      pollfd waiting = {fd_, POLLIN, 0};
      poll(&waiting, 1, 1000);
      const int fd = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      Talk(fd);
      close(fd);
      ++served_;
    }
  }

  void Talk(int fd) {
    send(fd, manners_.greeting.data(), manners_.greeting.size(), MSG_NOSIGNAL);
    std::string heard;
    std::string ending;
    char bytes[512];
    for (;;) {
      // Whoever ends this server may be the one who would have to end the connection first.
      pollfd waiting = {fd, POLLIN, 0};
      if (poll(&waiting, 1, 20) == 0) {
        if (stop_) break;
        continue;
      }
      const ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
      if (n < 0) ending = errno == ECONNRESET ? "RST" : "?";
      if (n == 0) ending = "FIN";
      if (n <= 0) break;
      if (heard.empty()) {
        send(fd, manners_.answer.data(), manners_.answer.size(), MSG_NOSIGNAL);
      }
      heard.append(bytes, static_cast<size_t>(n));
      if (manners_.hang_up) break;
    }
    std::lock_guard<std::mutex> lock(mutex_);
    heard_ = heard;
    ending_ = ending;
  }

  const Manners manners_;
  Address address_;
  int fd_ = -1;
  std::atomic<bool> stop_{false};
  std::atomic<int> served_{0};
  std::mutex mutex_;
  std::string heard_;
  std::string ending_;
  std::thread thread_;
};

// An address where nobody listens.
Address Nowhere() {
  Address address;
  const int fd = OpenListenSocket(Address::Ipv4({127, 0, 0, 1}, 0), {.backlog = 1}, &address);
  close(fd);
  return address;
}

class OneProbe final : public Task {
 public:
  explicit OneProbe(const ProbePlan& plan) : plan_(plan) {}
  Next Run(Scheduler& scheduler, Wake) noexcept override {
    result = RunProbe(scheduler, plan_, &current);
    done = true;
    return Next::Done();
  }

  ProbeResult result;
  PollDesc* current = nullptr;
  bool done = false;

 private:
  const ProbePlan& plan_;
};

class ProbeTest : public testing::Test {
 protected:
  void TearDown() override {
    EXPECT_EQ(scheduler_.parked(), 0u);
    EXPECT_EQ(scheduler_.wheel().count(), 0u);
    EXPECT_EQ(scheduler_.netpoll().cache().in_use(), 0u);
  }

  static ProbePlan Tcp(const Address& to) {
    ProbePlan plan;
    plan.kind = HealthKind::kTcp;
    plan.address = to;
    return plan;
  }
  static ProbePlan Ask(const Address& to, std::string send, std::string expect) {
    ProbePlan plan = Tcp(to);
    plan.kind = HealthKind::kSendExpect;
    plan.send = std::move(send);
    plan.expect = std::move(expect);
    return plan;
  }
  ProbeResult Probe(const ProbePlan& plan) {
    OneProbe probe(plan);
    scheduler_.Spawn(probe);
    while (!probe.done) scheduler_.Turn();
    return probe.result;
  }
  std::string Word(const ProbePlan& plan) { return HealthWordName(Probe(plan).word); }
  // The server's own account of the end comes after ours.
  static std::string Ending(Answerer& server) {
    while (server.served() == 0) std::this_thread::yield();
    return server.ending();
  }

  Scheduler scheduler_{{.max_stacks = 16}, nullptr};
};

TEST_F(ProbeTest, AConnectThatSucceedsIsL4OkAndEndsWithAFin) {
  Answerer server({});
  EXPECT_EQ(Word(Tcp(server.address())), "L4OK");
  EXPECT_EQ(Ending(server), "FIN");
}

TEST_F(ProbeTest, AServerThatGreetsSeesAFinToo) {
  Answerer server({.greeting = "220 hello\r\n"});
  EXPECT_EQ(Word(Tcp(server.address())), "L4OK");
  EXPECT_EQ(Ending(server), "FIN");
}

TEST_F(ProbeTest, WhoAsksForARstGetsOne) {
  Answerer server({});
  ProbePlan plan = Ask(server.address(), "x", "");
  plan.reset = true;
  plan.timeout = absl::Milliseconds(500);  // until it is connected it is another one
  EXPECT_EQ(Word(plan), "L7TOUT");
  EXPECT_EQ(Ending(server), "RST");
}

TEST_F(ProbeTest, ARefusedConnectIsL4ConWithItsCause) {
  const ProbePlan plan = Tcp(Nowhere());
  const ProbeResult result = Probe(plan);
  EXPECT_STREQ(HealthWordName(result.word), "L4CON");
  EXPECT_EQ(result.error, ECONNREFUSED);
}

TEST_F(ProbeTest, AConnectThatHangsIsL4Tout) {
  Address full;
  const int listener = OpenListenSocket(Address::Ipv4({127, 0, 0, 1}, 0), {.backlog = 0}, &full);
  std::vector<int> fillers;
  for (int i = 0; i < 3; ++i) {
    fillers.push_back(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    static_cast<void>(connect(fillers.back(), full.data(), full.size()));
  }
  ProbePlan plan = Tcp(full);
  plan.timeout = absl::Milliseconds(50);
  EXPECT_EQ(Word(plan), "L4TOUT");
  for (const int fd : fillers) close(fd);
  close(listener);
}

TEST_F(ProbeTest, AnAnswerThatFitsIsL7Ok) {
  Answerer server({.answer = "+PONG\r\n"});
  EXPECT_EQ(Word(Ask(server.address(), "PING\r\n", "+PONG")), "L7OK");
  EXPECT_EQ(Ending(server), "FIN");
  EXPECT_EQ(server.heard(), "PING\r\n");
}

TEST_F(ProbeTest, AGreetingAloneMayBeTheAnswer) {
  Answerer server({.greeting = "220 mail ESMTP\r\n"});
  EXPECT_EQ(Word(Ask(server.address(), "", "220 ")), "L7OK");
}

TEST_F(ProbeTest, AnAnswerThatDoesNotFitIsL7RspAndShown) {
  Answerer server({.answer = "-LOADING in memory\r\n"});
  const ProbePlan plan = Ask(server.address(), "PING\r\n", "+PONG");
  const ProbeResult result = Probe(plan);
  EXPECT_STREQ(HealthWordName(result.word), "L7RSP");
  EXPECT_EQ(result.answer, "-LOADING in memory\r\n");
}

TEST_F(ProbeTest, AServerThatHangsUpWithoutAnAnswerIsL7Rsp) {
  Answerer server({.hang_up = true});
  EXPECT_EQ(Word(Ask(server.address(), "PING\r\n", "+PONG")), "L7RSP");
}

TEST_F(ProbeTest, SilenceIsL7Tout) {
  Answerer server({});
  ProbePlan plan = Ask(server.address(), "PING\r\n", "+PONG");
  plan.timeout = absl::Milliseconds(500);  // until it is connected it is another one
  EXPECT_EQ(Word(plan), "L7TOUT");
}

TEST_F(ProbeTest, ThePieceWantedMayBeAnywhere) {
  Answerer server({.answer = "$80\r\n# Replication\r\nrole:master\r\n"});
  ProbePlan plan = Ask(server.address(), "INFO replication\r\n", "role:master");
  EXPECT_EQ(Word(plan), "L7RSP");
  Answerer again({.answer = "$80\r\n# Replication\r\nrole:master\r\n"});
  plan.address = again.address();
  plan.expect_anywhere = true;
  EXPECT_EQ(Word(plan), "L7OK");
}

TEST_F(ProbeTest, TheProxyHeaderComesFirstAndSaysLocal) {
  for (const ProbeProxyHeader header : {ProbeProxyHeader::kV1, ProbeProxyHeader::kV2}) {
    Answerer server({.answer = "+PONG\r\n"});
    ProbePlan plan = Ask(server.address(), "PING\r\n", "+PONG");
    plan.proxy = header;
    EXPECT_EQ(Word(plan), "L7OK");
    EXPECT_EQ(Ending(server), "FIN");
    EXPECT_EQ(server.heard(), header == ProbeProxyHeader::kV1
                                  ? "PROXY UNKNOWN\r\nPING\r\n"s
                                  : "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0PING\r\n"s);
  }
}

TEST_F(ProbeTest, EvictedItEndsAndSaysNothingOfTheServer) {
  Answerer server({});
  const ProbePlan plan = Ask(server.address(), "PING\r\n", "+PONG");
  OneProbe probe(plan);
  scheduler_.Spawn(probe);
  while (scheduler_.parked() == 0) scheduler_.Turn();
  // Connected or about to be: either wait must end.
  scheduler_.Evict(*probe.current);
  while (!probe.done) scheduler_.Turn();
  EXPECT_FALSE(probe.result.tells());
}

TEST(MatchAnswerTest, EveryPrefixIsUndecidedAndTheFirstWrongByteDecides) {
  ProbePlan plan;
  plan.expect = "+PONG";
  EXPECT_EQ(MatchAnswer(plan, "", false), Match::kMore);
  EXPECT_EQ(MatchAnswer(plan, "+PO", false), Match::kMore);
  EXPECT_EQ(MatchAnswer(plan, "+PO", true), Match::kNo);
  EXPECT_EQ(MatchAnswer(plan, "+PX", false), Match::kNo);
  EXPECT_EQ(MatchAnswer(plan, "+PONG\r\n", false), Match::kYes);
  plan.expect_anywhere = true;
  EXPECT_EQ(MatchAnswer(plan, "xx", false), Match::kMore);
  EXPECT_EQ(MatchAnswer(plan, "xx+PONG", false), Match::kYes);
  plan.expect.clear();
  EXPECT_EQ(MatchAnswer(plan, "", false), Match::kMore);
  EXPECT_EQ(MatchAnswer(plan, "", true), Match::kNo);
  EXPECT_EQ(MatchAnswer(plan, "x", false), Match::kYes);
}

// ---------------------------------------------------------------------------------------------

HealthPlan Plan3Of2() {
  HealthPlan plan;
  plan.fall = 3;
  plan.rise = 2;
  return plan;
}

TEST(HealthTallyTest, TheFirstOutcomeDecidesAtOnce) {
  HealthTally assumed_up(true);
  EXPECT_TRUE(assumed_up.changing());
  EXPECT_TRUE(assumed_up.Count(false, Plan3Of2()));
  EXPECT_FALSE(assumed_up.up());
  HealthTally assumed_down(false);
  EXPECT_TRUE(assumed_down.Count(true, Plan3Of2()));
  EXPECT_TRUE(assumed_down.up());
}

TEST(HealthTallyTest, FallFailuresInARowBringItDownAndRiseSuccessesUp) {
  HealthTally tally(true);
  const HealthPlan plan = Plan3Of2();
  EXPECT_FALSE(tally.Count(true, plan));
  EXPECT_FALSE(tally.changing());
  for (const bool ok : {false, false, true, false, false}) EXPECT_FALSE(tally.Count(ok, plan));
  EXPECT_TRUE(tally.changing());
  EXPECT_TRUE(tally.Count(false, plan));
  EXPECT_EQ(tally.needed(), 3u);
  EXPECT_FALSE(tally.changing()) << "down is a state like any other";
  EXPECT_FALSE(tally.Count(true, plan));
  EXPECT_FALSE(tally.Count(false, plan));
  EXPECT_FALSE(tally.Count(true, plan));
  EXPECT_TRUE(tally.Count(true, plan));
  EXPECT_TRUE(tally.up());
}

ServerPlan Checked(const Address& address) {
  ServerPlan server;
  server.address = address;
  server.health.probe.kind = HealthKind::kTcp;
  server.health.probe.address = address;
  server.health.interval = absl::Milliseconds(20);
  server.health.fast_interval = absl::Milliseconds(5);
  return server;
}

TEST(ChecksOfTest, TheSameQuestionToTheSameAddressIsAskedOnce) {
  const Address one = Address::Ipv4({10, 0, 0, 1}, 80);
  const Address two = Address::Ipv4({10, 0, 0, 2}, 80);
  Plan plan;
  plan.upstreams.resize(3);
  Edit(plan.upstreams[0]).servers = {Checked(one), Checked(two)};
  UpstreamPlan& second = Edit(plan.upstreams[1]);
  second.servers = {Checked(one), Checked(one)};
  second.servers[1].health.probe.kind = HealthKind::kOff;
  UpstreamPlan& third = Edit(plan.upstreams[2]);
  third.servers = {Checked(one)};
  third.servers[0].health.probe.send = "PING";
  const std::vector<HealthCheck> checks = ChecksOf(plan);
  ASSERT_EQ(checks.size(), 3u);
  ASSERT_EQ(checks[0].members.size(), 2u);
  EXPECT_EQ(checks[0].members[1].ref.upstream, 1);
  EXPECT_EQ(checks[0].members[1].ref.server, 0);
  EXPECT_EQ(checks[1].members.size(), 1u);
  EXPECT_EQ(checks[2].members[0].ref.upstream, 2);
}

TEST(ChecksOfTest, AServerOfOtherAddressesIsAskedAnewThoughTheFirstIsTheSame) {
  const Address one = Address::Ipv4({10, 0, 0, 1}, 80);
  Plan plan;
  plan.upstreams.resize(1);
  Edit(plan.upstreams[0]).servers = {Checked(one), Checked(one)};
  Edit(plan.upstreams[0]).servers[0].health.probe.candidates = {one,
                                                                Address::Ipv4({10, 0, 0, 2}, 80)};
  Edit(plan.upstreams[0]).servers[1].health.probe.candidates = {one,
                                                                Address::Ipv4({10, 0, 0, 3}, 80)};
  EXPECT_EQ(ChecksOf(plan).size(), 2u);
}

class HealthCheckerTest : public testing::Test, public HealthSink {
 protected:
  void OnHealthChange(const HealthChange& change) override {
    told_.push_back((change.up ? "up "s : "down "s) + std::to_string(change.ref.upstream) + "/" +
                    std::to_string(change.ref.server) + " " + HealthWordName(change.result->word));
  }
  void OnHealthOutcome(ServerRef, const ProbeResult& result, MonotonicTime) override {
    ++(result.ok() ? passed_ : failed_);
  }
  void OnHealthState(ServerRef, bool up, MonotonicTime) override { state_ = up; }
  void OnHealthEnd(ServerRef ref, MonotonicTime) override {
    told_.push_back("end " + std::to_string(ref.upstream) + "/" + std::to_string(ref.server));
  }
  MonotonicTime LastConnect(ServerRef) override { return last_connect_; }
  void OnChecksEnded() override { ended_ = true; }

  void Start(size_t index = 0, size_t workers = 1) {
    checker_ =
        std::make_unique<HealthChecker>(scheduler_, index, workers, *this, std::random_device()());
    checker_->Set(ChecksOf(plan_));
  }
  void Stop() {
    checker_->Stop();
    while (!checker_->idle()) scheduler_.Turn();
    EXPECT_TRUE(ended_);
    EXPECT_EQ(scheduler_.parked(), 0u);
    EXPECT_EQ(scheduler_.wheel().count(), 0u);
    EXPECT_EQ(scheduler_.netpoll().cache().in_use(), 0u);
  }
  void TurnUntil(const std::function<bool()>& done) {
    while (!done()) scheduler_.Turn();
  }

  Plan plan_;
  std::vector<std::string> told_;
  MonotonicTime last_connect_;
  uint64_t passed_ = 0;
  uint64_t failed_ = 0;
  bool ended_ = false;
  bool state_ = false;  // that a server was last said to be in
  Scheduler scheduler_{{.max_stacks = 256}, nullptr};
  std::unique_ptr<HealthChecker> checker_;
};

TEST_F(HealthCheckerTest, AServerThatGoesAndComesIsToldOfOnceEachTimeForEveryPoolThatHasIt) {
  auto server = std::make_unique<Answerer>(Answerer::Manners{});
  const Address address = server->address();
  plan_.upstreams.resize(2);
  Edit(plan_.upstreams[0]).servers = {Checked(address)};
  Edit(plan_.upstreams[1]).servers = {Checked(address)};
  Edit(plan_.upstreams[1]).servers[0].health.fall = 5;
  Start();
  TurnUntil([&] { return checker_->probes() >= 3; });
  EXPECT_TRUE(told_.empty()) << "up as assumed: nothing has changed";
  EXPECT_GE(passed_, 4u) << "each outcome is told for each of the two, changed or not";
  EXPECT_EQ(failed_, 0u);
  server.reset();
  TurnUntil([&] { return told_.size() == 2; });
  EXPECT_EQ(told_[0], "down 0/0 L4CON");
  EXPECT_EQ(told_[1], "down 1/0 L4CON");
  EXPECT_GE(failed_, 10u) << "five in a row, for two";
  const uint64_t seen = checker_->probes();
  TurnUntil([&] { return checker_->probes() >= seen + 3; });
  EXPECT_EQ(told_.size(), 2u);
  // Its port is free again, and nobody else is likely to have taken it.
  Address again;
  const int fd = OpenListenSocket(address, {.backlog = 64}, &again);
  ASSERT_GE(fd, 0);
  TurnUntil([&] { return told_.size() == 4; });
  EXPECT_EQ(told_[2], "up 0/0 L4OK");
  EXPECT_EQ(told_[3], "up 1/0 L4OK");
  Stop();
  close(fd);
}

TEST_F(HealthCheckerTest, WhoJoinsACheckThatSleepsForLongIsToldSoon) {
  Answerer server({});
  plan_.upstreams.resize(1);
  Edit(plan_.upstreams[0]).servers = {Checked(server.address())};
  Edit(plan_.upstreams[0]).servers[0].health.interval = absl::Hours(1);
  Start();
  TurnUntil([&] { return passed_ == 1; });
  plan_.upstreams.resize(2);
  Edit(plan_.upstreams[1]).servers = {Checked(server.address())};
  Edit(plan_.upstreams[1]).servers[0].health.interval = absl::Hours(1);
  Edit(plan_.upstreams[1]).servers[0].health.initially_up = false;
  checker_->Set(ChecksOf(plan_));
  TurnUntil([&] { return !told_.empty(); });
  EXPECT_EQ(told_[0], "up 1/0 L4OK");
  // And what waits for an hour does not when the configuration says otherwise.
  Edit(plan_.upstreams[0]).servers[0].health.interval = absl::Milliseconds(20);
  checker_->Set(ChecksOf(plan_));
  const uint64_t seen = checker_->probes();
  TurnUntil([&] { return checker_->probes() >= seen + 3; });
  Stop();
}

TEST_F(HealthCheckerTest, WorkersShareTheChecksAmongThem) {
  plan_.upstreams.resize(1);
  for (uint8_t i = 1; i <= 5; ++i) {
    Edit(plan_.upstreams[0]).servers.push_back(Checked(Address::Ipv4({127, 0, 0, i}, 9)));
  }
  size_t all = 0;
  for (size_t i = 0; i < 3; ++i) {
    HealthChecker checker(scheduler_, i, 3, *this, 1);
    checker.Set(ChecksOf(plan_));
    all += checker.checks();
    checker.Stop();
    while (!checker.idle()) scheduler_.Turn();
  }
  EXPECT_EQ(all, 5u);
}

TEST_F(HealthCheckerTest, WhileClientsGetThroughNobodyAsks) {
  Answerer server({});
  plan_.upstreams.resize(1);
  Edit(plan_.upstreams[0]).servers = {Checked(server.address()), Checked(Nowhere())};
  Edit(plan_.upstreams[0]).servers[0].health.traffic_counts = true;
  Start();
  // The other server's probes are the clock of this test.
  TurnUntil([&] { return server.served() >= 2; });
  last_connect_ = MonotonicTime::InfiniteFuture().PlusNs(-1'000'000'000'000);
  TurnUntil([&] { return checker_->probes() > 0 && scheduler_.parked() == 0; });
  const int served = server.served();
  const uint64_t probes = checker_->probes();
  TurnUntil([&] { return checker_->probes() >= probes + 20; });
  EXPECT_LE(server.served(), served + 1) << "one may have been under way";
  Stop();
}

TEST_F(HealthCheckerTest, StoppedInTheMiddleOfAnythingItIsIdleAtOnce) {
  Answerer silent({});
  plan_.upstreams.resize(1);
  for (int i = 0; i < 200; ++i) {
    ServerPlan server = Checked(silent.address());
    server.health.probe.kind = HealthKind::kSendExpect;
    server.health.probe.send = std::to_string(i);
    server.health.probe.timeout = absl::Hours(1);
    Edit(plan_.upstreams[0]).servers.push_back(server);
  }
  Start();
  TurnUntil([&] { return scheduler_.parked() == HealthChecker::kMostAtOnce; });
  for (int i = 0; i < 20; ++i) scheduler_.Turn();
  EXPECT_EQ(scheduler_.parked(), HealthChecker::kMostAtOnce);
  EXPECT_EQ(checker_->probes(), HealthChecker::kMostAtOnce);
  Stop();
  EXPECT_TRUE(told_.empty());
}

}  // namespace
}  // namespace parkway
