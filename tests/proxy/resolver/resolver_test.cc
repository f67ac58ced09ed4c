// The resolver against a name server that does as it is told, over the real kernel.
#include "proxy/upstream/resolver/resolver.h"

#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/proxy/resolver/dns_server.h"
#include "tests/proxy/resolver/stage.h"

namespace parkway {
namespace {

using How = DnsSays::How;

class ResolverTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/resolver.XXXXXX";
    ASSERT_NE(nullptr, mkdtemp(pattern.data()));
    root_ = pattern;
    Write("hosts", "");
    // Nobody answers there: who asks it by mistake is seen by a timeout.
    Write("resolv.conf", "nameserver 127.255.255.254\n");
    settings_.servers = server_.address();
    // So long that a server that is kept from the processor is not asked again.
    settings_.timeout = absl::Seconds(5);
    settings_.attempts = 2;
    settings_.min_ttl = absl::Milliseconds(20);
    resolver_ = std::make_unique<Resolver>(
        stage_.scheduler(), watch_,
        Resolver::Options{.hosts = root_ + "/hosts",
                          .resolv_conf = root_ + "/resolv.conf",
                          .seed = 5,
                          .first_backoff = absl::Milliseconds(20),
                          .longest_backoff = absl::Milliseconds(100),
                          .say = [this](const std::string& line) { said_.push_back(line); }},
        [this](const std::vector<NameQuery>& changed) {
          for (const NameQuery& query : changed) told_.push_back(query.name);
        });
  }
  void TearDown() override {
    resolver_->Stop();
    EXPECT_TRUE(stage_.TurnUntil([this] { return resolver_->idle(); }));
    watch_.Stop();
    EXPECT_TRUE(stage_.TurnUntil([this] { return watch_.idle(); }));
    EXPECT_EQ(0u, stage_.scheduler().netpoll().cache().in_use());
    resolver_.reset();
    std::filesystem::remove_all(root_);
  }

  // Replaces it, as editors do.
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(root_ + "/new") << text;
    std::filesystem::rename(root_ + "/new", root_ + "/" + name);
  }
  NameQuery Host(const std::string& name) const { return {.name = name, .settings = settings_}; }
  NameQuery Service(const std::string& name) const {
    return {.name = name, .service = true, .settings = settings_};
  }
  std::string Known(const NameQuery& query) const {
    std::vector<std::string> all;
    for (const ResolvedAddress& address : resolver_->Look(query).addresses) {
      std::string text = address.address.ToString();
      if (query.service) {
        text += "/" + std::to_string(address.priority) + "/" + std::to_string(address.weight);
      }
      all.push_back(text);
    }
    std::sort(all.begin(), all.end());
    std::string text;
    for (const std::string& one : all) text += text.empty() ? one : " " + one;
    return text;
  }
  // What is known of it once it is `text`, or after too long a time.
  std::string Becomes(const NameQuery& query, const std::string& text) {
    stage_.TurnUntil([&] { return Known(query) == text; });
    return Known(query);
  }
  bool Settles(const NameQuery& query) {
    return stage_.TurnUntil([&] { return resolver_->Look(query).settled; });
  }
  DnsStatus StatusOf(const std::string& name, const std::string& type) const {
    for (const DnsStatus& status : resolver_->Status()) {
      if (status.name == name && status.type == type) return status;
    }
    return {};
  }
  // Until it has been asked `times` more.
  bool AskedAgain(const std::string& name, int type, int times) {
    const int before = server_.Asked(name, type);
    return stage_.TurnUntil([&] { return server_.Asked(name, type) >= before + times; });
  }

  DnsServer server_;
  ResolverStage stage_;
  FileWatch watch_{stage_.scheduler()};
  std::string root_;
  DnsSettings settings_;
  std::vector<std::string> told_;
  std::vector<std::string> said_;
  std::unique_ptr<Resolver> resolver_;
};

TEST_F(ResolverTest, ANameHasTheAddressesOfBothFamiliesAndIsToldOnce) {
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.1", 60)}});
  server_.Set("app.test", ns_t_aaaa, {{RecordAaaa("app.test", "2001:db8::1", 60)}});
  resolver_->Want({Host("App.Test")});
  EXPECT_TRUE(Settles(Host("app.test")));
  EXPECT_EQ("10.0.0.1:0 [2001:db8::1]:0", Known(Host("app.test")));
  EXPECT_EQ(1, server_.Asked("app.test", ns_t_a));
  EXPECT_EQ(1, server_.Asked("app.test", ns_t_aaaa));
  EXPECT_TRUE(stage_.TurnUntil([&] { return !told_.empty(); }));
  EXPECT_EQ("app.test", told_.back());
}

TEST_F(ResolverTest, OneFamilyIsAskedWhereOneIsWanted) {
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.1", 60)}});
  server_.Set("app.test", ns_t_aaaa, {{RecordAaaa("app.test", "2001:db8::1", 60)}});
  settings_.family = DnsFamily::kV6;
  resolver_->Want({Host("app.test")});
  EXPECT_TRUE(Settles(Host("app.test")));
  EXPECT_EQ("[2001:db8::1]:0", Known(Host("app.test")));
  EXPECT_EQ(0, server_.Asked("app.test", ns_t_a));
}

TEST_F(ResolverTest, AFamilyThatFailsDoesNotLoseTheOther) {
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.1", 60)}});
  server_.Set("app.test", ns_t_aaaa, {.how = How::kSilent});
  settings_.timeout = absl::Milliseconds(500);
  resolver_->Want({Host("app.test")});
  EXPECT_EQ("10.0.0.1:0", Becomes(Host("app.test"), "10.0.0.1:0"));
  EXPECT_FALSE(resolver_->Look(Host("app.test")).settled) << "the other is still waited for";
  EXPECT_TRUE(Settles(Host("app.test")));
  EXPECT_EQ("timeout", StatusOf("app.test", "AAAA").last_error);
  EXPECT_EQ("", StatusOf("app.test", "A").last_error);
  EXPECT_EQ(2, server_.Asked("app.test", ns_t_aaaa)) << "dns_attempts";
}

TEST_F(ResolverTest, AnswersThatChangeAreFollowedAndWhatGoesIsMissedTwice) {
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.1", 0)}});
  resolver_->Want({Host("app.test")});
  EXPECT_EQ("10.0.0.1:0", Becomes(Host("app.test"), "10.0.0.1:0"));
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.2", 0)}});
  EXPECT_EQ("10.0.0.1:0 10.0.0.2:0", Becomes(Host("app.test"), "10.0.0.1:0 10.0.0.2:0"));
  EXPECT_EQ("10.0.0.2:0", Becomes(Host("app.test"), "10.0.0.2:0"));
}

TEST_F(ResolverTest, TheTimeToLiveIsHonoured) {
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.1", 1)}});
  const MonotonicTime began = ReadMonotonicClock();
  resolver_->Want({Host("app.test")});
  EXPECT_EQ("10.0.0.1:0", Becomes(Host("app.test"), "10.0.0.1:0"));
  EXPECT_TRUE(AskedAgain("app.test", ns_t_a, 1));
  const int64_t waited_ms = (ReadMonotonicClock().ns() - began.ns()) / 1'000'000;
  EXPECT_GE(waited_ms, 900);
  settings_.max_ttl = absl::Milliseconds(50);
  server_.Set("b.test", ns_t_a, {{RecordA("b.test", "10.0.0.1", 3600)}});
  resolver_->Want({Host("b.test")});
  EXPECT_TRUE(AskedAgain("b.test", ns_t_a, 4)) << "dns_max_ttl";
}

TEST_F(ResolverTest, TheLastGoodAnswerIsKeptWhateverTheServerSaysLater) {
  settings_.timeout = absl::Milliseconds(100);
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.1", 0)}});
  resolver_->Want({Host("app.test")});
  EXPECT_EQ("10.0.0.1:0", Becomes(Host("app.test"), "10.0.0.1:0"));
  const DnsSays bad[] = {
      {.how = How::kSilent},
      {.rcode = ns_r_servfail},
      {.rcode = ns_r_refused},
      {.rcode = ns_r_nxdomain},
      {},  // no record
      {.how = How::kWrongId},
      {.how = How::kWrongQuestion},
      {.how = How::kGarbage},
      {.how = How::kHangUp},
      {{RecordA("evil.test", "10.6.6.6", 0)}},
      {{RecordCname("app.test", "b.test", 0), RecordCname("b.test", "app.test", 0)}},
  };
  for (const DnsSays& says : bad) {
    server_.Set("app.test", ns_t_a, says);
    EXPECT_TRUE(AskedAgain("app.test", ns_t_a, 5));
    EXPECT_EQ("10.0.0.1:0", Known(Host("app.test")));
    EXPECT_NE("", StatusOf("app.test", "A").last_error);
  }
  const DnsStatus status = StatusOf("app.test", "A");
  EXPECT_TRUE(status.known);
  EXPECT_GT(status.age, absl::Milliseconds(100));
  EXPECT_GT(status.failures, 0u);
  EXPECT_GT(status.nothings, 0u);
  EXPECT_EQ(std::vector<std::string>{"10.0.0.1"}, status.values);
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.9", 60)}});
  EXPECT_EQ("10.0.0.1:0 10.0.0.9:0", Becomes(Host("app.test"), "10.0.0.1:0 10.0.0.9:0"));
}

TEST_F(ResolverTest, TroubleIsSaidOnceAndItsEndToo) {
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.1", 0)}});
  resolver_->Want({Host("app.test"), Host("gone.test")});
  EXPECT_TRUE(stage_.TurnUntil([&] { return StatusOf("app.test", "A").answers > 3; }));
  EXPECT_EQ(std::vector<std::string>(
                {"name gone.test: A: no such name, AAAA: no such name; it has no address yet"}),
            said_);
  said_.clear();
  server_.Set("app.test", ns_t_a, {.rcode = ns_r_servfail});
  EXPECT_TRUE(stage_.TurnUntil([&] { return StatusOf("app.test", "A").failures > 3; }));
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.1", 0)}});
  EXPECT_TRUE(stage_.TurnUntil([&] { return said_.size() > 1; }));
  EXPECT_EQ(std::vector<std::string>(
                {"name app.test: A: no name server could say; the last answer is kept",
                 "name app.test: answered again"}),
            said_);
}

TEST_F(ResolverTest, NameServersAreWrittenAsTheConfigurationPrintsThem) {
  // Without a port, and IPv6 without brackets: the one that is there comes last.
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.1", 60)}});
  settings_.servers = "::1,127.255.255.254,[::1]:9," + server_.address();
  settings_.timeout = absl::Milliseconds(50);
  resolver_->Want({Host("app.test")});
  EXPECT_EQ("10.0.0.1:0", Becomes(Host("app.test"), "10.0.0.1:0"));
}

TEST_F(ResolverTest, AnAnswerToAnotherQuestionIsWaitedOver) {
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.1", 60)}, How::kWrongIdFirst});
  resolver_->Want({Host("app.test")});
  EXPECT_EQ("10.0.0.1:0", Becomes(Host("app.test"), "10.0.0.1:0"));
  EXPECT_EQ(1, server_.Asked("app.test", ns_t_a));
}

TEST_F(ResolverTest, WhatWasCutShortIsAskedAgainOverTcp) {
  DnsSays many{.how = How::kTruncated};
  for (int i = 1; i <= 200; ++i) {
    many.records.push_back(RecordA("app.test", "10.0.1." + std::to_string(i), 60));
  }
  server_.Set("app.test", ns_t_a, many);
  resolver_->Want({Host("app.test")});
  EXPECT_TRUE(Settles(Host("app.test")));
  EXPECT_EQ(200u, resolver_->Look(Host("app.test")).addresses.size());
  EXPECT_EQ(1, server_.tcp_connections());
}

TEST_F(ResolverTest, OneConnectionCarriesOneQuestionAfterTheOther) {
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.1", 0)}, How::kTruncated});
  resolver_->Want({Host("app.test")});
  EXPECT_TRUE(stage_.TurnUntil([&] { return StatusOf("app.test", "A").answers >= 4; }));
  EXPECT_EQ("", StatusOf("app.test", "A").last_error);
}

TEST_F(ResolverTest, AliasesAreFollowed) {
  server_.Set("www.test", ns_t_a,
              {{RecordCname("www.test", "cdn.test", 60), RecordCname("cdn.test", "e.test", 60),
                RecordA("e.test", "10.0.0.4", 60)}});
  resolver_->Want({Host("www.test")});
  EXPECT_EQ("10.0.0.4:0", Becomes(Host("www.test"), "10.0.0.4:0"));
}

TEST_F(ResolverTest, HostsAreBelievedFirstAndReadAgainWhenTheyChange) {
  Write("hosts", "10.9.9.1 app.test\n");
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.1", 60)}});
  resolver_->Want({Host("app.test")});
  EXPECT_EQ("10.9.9.1:0", Becomes(Host("app.test"), "10.9.9.1:0"));
  EXPECT_TRUE(resolver_->Look(Host("app.test")).settled);
  Write("hosts", "10.9.9.2 app.test\n2001:db8::7 app.test\n");
  EXPECT_EQ("10.9.9.2:0 [2001:db8::7]:0", Becomes(Host("app.test"), "10.9.9.2:0 [2001:db8::7]:0"));
  Write("hosts", "");
  EXPECT_EQ("10.0.0.1:0", Becomes(Host("app.test"), "10.0.0.1:0"));
}

TEST_F(ResolverTest, ANameThatLeavesHostsKeepsItsAddressesUntilSomebodyAnswers) {
  Write("hosts", "10.9.9.1 app.test\n");
  resolver_->Want({Host("app.test")});
  EXPECT_EQ("10.9.9.1:0", Becomes(Host("app.test"), "10.9.9.1:0"));
  Write("hosts", "");
  EXPECT_TRUE(AskedAgain("app.test", ns_t_a, 3));
  EXPECT_EQ("10.9.9.1:0", Known(Host("app.test")));
}

TEST_F(ResolverTest, TheResolvConfIsReadAgainWhenItChangesAndItsSearchListCompletesNames) {
  // resolv.conf cannot name a port, so that the list of servers comes from the settings.
  server_.Set("app.one.test", ns_t_a, {{RecordA("app.one.test", "10.0.0.1", 60)}});
  server_.Set("app.two.test", ns_t_a, {{RecordA("app.two.test", "10.0.0.2", 60)}});
  Write("resolv.conf", "nameserver 127.255.255.254\nsearch one.test\n");
  resolver_->Want({Host("app")});
  EXPECT_EQ("10.0.0.1:0", Becomes(Host("app"), "10.0.0.1:0"));
  Write("resolv.conf", "nameserver 127.255.255.254\nsearch two.test\n");
  EXPECT_EQ("10.0.0.1:0 10.0.0.2:0", Becomes(Host("app"), "10.0.0.1:0 10.0.0.2:0"));
}

TEST_F(ResolverTest, ANameWithADotAtItsEndIsWhole) {
  server_.Set("app", ns_t_a, {{RecordA("app", "10.0.0.1", 60)}});
  server_.Set("app.one.test", ns_t_a, {{RecordA("app.one.test", "10.0.0.2", 60)}});
  Write("resolv.conf", "search one.test\n");
  resolver_->Want({Host("app.")});
  EXPECT_EQ("10.0.0.1:0", Becomes(Host("app."), "10.0.0.1:0"));
  EXPECT_EQ(0, server_.Asked("app.one.test", ns_t_a));
}

TEST_F(ResolverTest, TheNextNameServerIsAskedWhenOneIsSilent) {
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.1", 60)}});
  DnsServer silent;
  silent.Set("app.test", ns_t_a, {.how = How::kSilent});
  silent.Set("app.test", ns_t_aaaa, {.how = How::kSilent});
  settings_.servers = silent.address() + "," + server_.address();
  settings_.timeout = absl::Milliseconds(500);
  resolver_->Want({Host("app.test")});
  EXPECT_EQ("10.0.0.1:0", Becomes(Host("app.test"), "10.0.0.1:0"));
  EXPECT_TRUE(stage_.TurnUntil([&] { return silent.Asked("app.test", ns_t_a) > 0; }));
  EXPECT_EQ(1, silent.Asked("app.test", ns_t_a));
}

TEST_F(ResolverTest, ANameServerThatIsNotThereIsAFailureAndAskedLater) {
  uint16_t port = 0;
  {
    const DnsServer gone;
    port = gone.port();
  }
  settings_.servers = "127.0.0.1:" + std::to_string(port);
  resolver_->Want({Host("app.test")});
  EXPECT_TRUE(Settles(Host("app.test")));
  EXPECT_EQ("", Known(Host("app.test")));
  EXPECT_EQ("no name server could say", StatusOf("app.test", "A").last_error);
  EXPECT_TRUE(stage_.TurnUntil([&] { return StatusOf("app.test", "A").failures >= 3; }));
}

TEST_F(ResolverTest, AServiceLeadsToItsServersWithPortPriorityAndWeight) {
  server_.Set("_db._tcp.test", ns_t_srv,
              {{RecordSrv("_db._tcp.test", 1, 30, 5432, "a.test", 60),
                RecordSrv("_db._tcp.test", 2, 10, 5433, "b.test", 60)}});
  server_.Set("a.test", ns_t_a,
              {{RecordA("a.test", "10.0.0.1", 60), RecordA("a.test", "10.0.0.2", 60)}});
  server_.Set("b.test", ns_t_aaaa, {{RecordAaaa("b.test", "2001:db8::1", 60)}});
  resolver_->Want({Service("_db._tcp.test")});
  EXPECT_TRUE(Settles(Service("_db._tcp.test")));
  EXPECT_EQ("10.0.0.1:5432/1/30 10.0.0.2:5432/1/30 [2001:db8::1]:5433/2/10",
            Known(Service("_db._tcp.test")));
}

TEST_F(ResolverTest, AServiceThatChangesBringsNewServersAndAsksNoMoreForOldOnes) {
  server_.Set("_db._tcp.test", ns_t_srv, {{RecordSrv("_db._tcp.test", 1, 30, 5432, "a.test", 0)}});
  server_.Set("a.test", ns_t_a, {{RecordA("a.test", "10.0.0.1", 0)}});
  server_.Set("b.test", ns_t_a, {{RecordA("b.test", "10.0.0.2", 0)}});
  const NameQuery service = Service("_db._tcp.test");
  resolver_->Want({service});
  EXPECT_EQ("10.0.0.1:5432/1/30", Becomes(service, "10.0.0.1:5432/1/30"));
  server_.Set("_db._tcp.test", ns_t_srv, {{RecordSrv("_db._tcp.test", 1, 7, 5432, "b.test", 0)}});
  EXPECT_EQ("10.0.0.2:5432/1/7", Becomes(service, "10.0.0.2:5432/1/7"));
  EXPECT_EQ("", StatusOf("a.test", "A").name) << "forgotten";
  EXPECT_EQ("b.test", StatusOf("b.test", "A").name);
}

TEST_F(ResolverTest, WhatIsStillWantedKeepsWhatIsKnownOfItAndIsNotAskedAnew) {
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.1", 60)}});
  server_.Set("b.test", ns_t_a, {{RecordA("b.test", "10.0.0.2", 60)}});
  resolver_->Want({Host("app.test")});
  EXPECT_TRUE(Settles(Host("app.test")));
  resolver_->Want({Host("app.test"), Host("b.test")});
  EXPECT_EQ("10.0.0.1:0", Known(Host("app.test")));
  EXPECT_TRUE(Settles(Host("b.test")));
  EXPECT_EQ(1, server_.Asked("app.test", ns_t_a));
  resolver_->Want({Host("b.test")});
  EXPECT_EQ("", Known(Host("app.test")));
}

TEST_F(ResolverTest, ANameThatIsNoLongerWantedWhenItsAnswerComesIsForgotten) {
  settings_.timeout = absl::Milliseconds(100);
  server_.Set("slow.test", ns_t_a, {.how = How::kSilent});
  server_.Set("slow.test", ns_t_aaaa, {.how = How::kSilent});
  resolver_->Want({Host("slow.test")});
  EXPECT_TRUE(AskedAgain("slow.test", ns_t_aaaa, 1));
  resolver_->Want({});
  stage_.TurnFor(absl::Milliseconds(300));
  EXPECT_TRUE(resolver_->Status().empty());
}

TEST_F(ResolverTest, NameServersThatNoNameGoesByAreForgotten) {
  settings_.timeout = absl::Milliseconds(100);
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.1", 60)}});
  for (int i = 0; i < 20; ++i) {
    settings_.timeout += absl::Milliseconds(1);
    resolver_->Want({Host("app.test")});
    EXPECT_EQ("10.0.0.1:0", Becomes(Host("app.test"), "10.0.0.1:0"));
    EXPECT_TRUE(Settles(Host("app.test")));
  }
  EXPECT_TRUE(stage_.TurnUntil([&] { return resolver_->channels() == 1; }))
      << resolver_->channels();
  // While one is asked it stays: so many are under way, and no more.
  server_.Set("slow.test", ns_t_a, {.how = How::kSilent});
  server_.Set("slow.test", ns_t_aaaa, {.how = How::kSilent});
  resolver_->Want({Host("slow.test")});
  EXPECT_TRUE(AskedAgain("slow.test", ns_t_a, 1));
  settings_.timeout += absl::Milliseconds(1);
  resolver_->Want({Host("app.test")});
  EXPECT_EQ("10.0.0.1:0", Becomes(Host("app.test"), "10.0.0.1:0"));
  EXPECT_TRUE(stage_.TurnUntil([&] { return resolver_->channels() == 1; }));
  resolver_->Want({});
  EXPECT_TRUE(stage_.TurnUntil([&] { return resolver_->channels() == 0; }));
  // They are asked again when they are wanted again.
  resolver_->Want({Host("app.test")});
  EXPECT_EQ("10.0.0.1:0", Becomes(Host("app.test"), "10.0.0.1:0"));
}

TEST_F(ResolverTest, ThousandsOfNamesAreAskedAFewAtATimeAndAllOfThemAre) {
  settings_.timeout = absl::Milliseconds(100);
  std::set<NameQuery> queries;
  for (int i = 0; i < 2000; ++i) {
    const std::string name = "n" + std::to_string(i) + ".test";
    server_.Set(name, ns_t_a, {{RecordA(name, "10.0.0.1", 60)}});
    queries.insert(Host(name));
  }
  // A busy machine may lose a datagram or two; it must not lose a name.
  resolver_->Want(queries);
  EXPECT_TRUE(stage_.TurnUntil([&] {
    return std::all_of(queries.begin(), queries.end(), [&](const NameQuery& query) {
      return resolver_->Look(query).addresses.size() == 1;
    });
  }));
}

TEST_F(ResolverTest, ItStopsWhileQuestionsAreUnderWay) {
  server_.Set("slow.test", ns_t_a, {.how = How::kSilent});
  resolver_->Want({Host("slow.test")});
  EXPECT_TRUE(AskedAgain("slow.test", ns_t_a, 1));
}

}  // namespace
}  // namespace parkway
