// What stands behind the lines of a configuration, with a name server and files of the test's own.
#include "proxy/members.h"

#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "config/address.h"
#include "config/flags.h"
#include "config/servers_file.h"
#include "config/source.h"
#include "gtest/gtest.h"
#include "tests/proxy/resolver/dns_server.h"
#include "tests/proxy/resolver/stage.h"

namespace parkway {
namespace {

class MembersTest : public testing::Test, public Members::Host {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/members.XXXXXX";
    ASSERT_NE(nullptr, mkdtemp(pattern.data()));
    root_ = pattern;
    Write("hosts", "");
    Write("resolv.conf", "");
    members_ = std::make_unique<Members>(
        stage_.scheduler(),
        Members::Options{.hosts = root_ + "/hosts", .resolv_conf = root_ + "/resolv.conf"}, *this);
  }
  void TearDown() override {
    members_->Stop();
    EXPECT_TRUE(stage_.TurnUntil([this] { return members_->idle(); }));
    members_.reset();
    std::filesystem::remove_all(root_);
  }

  void OnMembersChange(const std::vector<size_t>& upstreams) override {
    changes_.push_back(upstreams);
  }
  void Say(const std::string& line) override { said_.push_back(line); }

  std::string Path(const std::string& name) const { return root_ + "/" + name; }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(Path("new")) << text;
    std::filesystem::rename(Path("new"), Path(name));
  }
  config::Upstream Upstream(const std::string& name, const std::vector<std::string>& addresses) {
    config::Upstream upstream;
    upstream.name = name;
    upstream.settings = config::DefaultScalars();
    upstream.settings.dns_servers = server_.address();
    // So long that a server that is kept from the processor has time to answer.
    upstream.settings.dns_timeout = absl::Seconds(5);
    upstream.settings.dns_attempts = 1;
    upstream.settings.dns_min_ttl = absl::Milliseconds(20);
    for (const std::string& address : addresses) {
      config::Server server;
      server.name = address;
      server.address = *config::ParseAddress(address, config::AddressUse::kConnects);
      server.settings = upstream.settings;
      upstream.servers.push_back(server);
    }
    return upstream;
  }
  static Members::Snapshot SnapshotOf(std::vector<config::Upstream> upstreams) {
    auto snapshot = std::make_shared<config::Snapshot>();
    snapshot->upstreams = std::move(upstreams);
    return snapshot;
  }
  bool Use(Members::Snapshot snapshot) {
    bool ready = false;
    members_->Prepare(snapshot, [&] {
      ready = true;
      members_->Follow(snapshot);
    });
    in_use_ = snapshot;
    return stage_.TurnUntil([&] { return ready; });
  }
  std::string NamesOf(size_t upstream) const {
    std::string text;
    for (const config::Server& server : members_->Of(in_use_->upstreams[upstream])) {
      text += (text.empty() ? "" : " ") + server.name;
    }
    return text;
  }
  std::string Becomes(size_t upstream, const std::string& text) {
    stage_.TurnUntil([&] { return NamesOf(upstream) == text; });
    return NamesOf(upstream);
  }

  DnsServer server_;
  ResolverStage stage_;
  std::string root_;
  Members::Snapshot in_use_;
  std::vector<std::vector<size_t>> changes_;
  std::vector<std::string> said_;
  std::unique_ptr<Members> members_;
};

TEST_F(MembersTest, AConfigurationOfAddressesIsReadyAtOnceAndOpensNothing) {
  bool ready = false;
  const auto snapshot = SnapshotOf({Upstream("app", {"10.0.0.1:80", "unix:/run/x.sock"})});
  members_->Prepare(snapshot, [&ready] { ready = true; });
  EXPECT_TRUE(ready);
  members_->Follow(snapshot);
  in_use_ = snapshot;
  EXPECT_EQ("10.0.0.1:80 unix:/run/x.sock", NamesOf(0));
  EXPECT_EQ(0u, stage_.scheduler().netpoll().cache().in_use());
}

TEST_F(MembersTest, NamesAreThereWhenItIsReadyInTheOrderOfTheLines) {
  server_.Set("b.test", ns_t_a,
              {{RecordA("b.test", "10.0.0.3", 60), RecordA("b.test", "10.0.0.2", 60)}});
  EXPECT_TRUE(Use(SnapshotOf({Upstream("app", {"10.0.0.1:80", "b.test:80", "10.0.0.9:80"})})));
  EXPECT_EQ("10.0.0.1:80 b.test:80/10.0.0.2:80 b.test:80/10.0.0.3:80 10.0.0.9:80", NamesOf(0));
  EXPECT_TRUE(members_->MissingOf(*in_use_).empty());
}

TEST_F(MembersTest, ANameThatNobodyKnowsIsWaitedForNoLongerThanItsAnswerTakes) {
  config::Upstream upstream = Upstream("app", {"gone.test:80"});
  upstream.servers[0].settings.dns_init = config::DnsInit::kFail;
  EXPECT_TRUE(Use(SnapshotOf({upstream})));
  EXPECT_EQ("", NamesOf(0));
  const auto missing = members_->MissingOf(*in_use_);
  ASSERT_EQ(1u, missing.size());
  EXPECT_TRUE(missing[0].fatal);
  EXPECT_EQ(
      "upstream app server gone.test:80: gone.test has no address: "
      "A: no such name, AAAA: no such name; it has no address yet",
      missing[0].text);
}

TEST_F(MembersTest, ASilentNameServerIsWaitedForUntilTheTimeoutOfAConnect) {
  server_.Set("app.test", ns_t_a, {.how = DnsSays::How::kSilent});
  server_.Set("app.test", ns_t_aaaa, {.how = DnsSays::How::kSilent});
  config::Upstream upstream = Upstream("app", {"app.test:80"});
  upstream.servers[0].settings.dns_timeout = absl::Minutes(1);
  upstream.servers[0].settings.connect_timeout = absl::Milliseconds(60);
  // Times are counted from the clock of the scheduler's turn.
  const MonotonicTime began = stage_.scheduler().now();
  EXPECT_TRUE(Use(SnapshotOf({upstream})));
  EXPECT_GE(ReadMonotonicClock().ns() - began.ns(), 60'000'000);
  EXPECT_EQ("", NamesOf(0));
}

TEST_F(MembersTest, ALazyNameIsNotWaitedFor) {
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.1", 60)}});
  config::Upstream upstream = Upstream("app", {"app.test:80"});
  upstream.servers[0].settings.dns_init = config::DnsInit::kLazy;
  bool ready = false;
  const auto snapshot = SnapshotOf({upstream});
  members_->Prepare(snapshot, [&ready] { ready = true; });
  EXPECT_TRUE(ready);
  members_->Follow(snapshot);
  in_use_ = snapshot;
  EXPECT_EQ("app.test:80/10.0.0.1:80", Becomes(0, "app.test:80/10.0.0.1:80"));
  EXPECT_TRUE(stage_.TurnUntil([this] { return !changes_.empty(); }));
  EXPECT_EQ(std::vector<size_t>{0}, changes_.back());
}

TEST_F(MembersTest, AChangeIsToldOfTheUpstreamsThatHaveTheName) {
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.1", 0)}});
  EXPECT_TRUE(Use(SnapshotOf({Upstream("a", {"app.test:80"}), Upstream("b", {"10.0.0.9:80"}),
                              Upstream("c", {"App.Test:81"})})));
  EXPECT_EQ("App.Test:81/10.0.0.1:81", NamesOf(2)) << "named as it was written";
  EXPECT_TRUE(stage_.TurnUntil([this] { return server_.Asked("app.test", ns_t_a) > 2; }));
  changes_.clear();
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.2", 0)}});
  EXPECT_TRUE(stage_.TurnUntil([this] { return changes_.size() == 2; }));
  EXPECT_EQ((std::vector<size_t>{0, 2}), changes_[0]);
  EXPECT_EQ("app.test:80/10.0.0.2:80", NamesOf(0));
}

TEST_F(MembersTest, NamesThatStayKeepWhatIsKnownOfThemThroughAReload) {
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.1", 60)}});
  EXPECT_TRUE(Use(SnapshotOf({Upstream("a", {"app.test:80"})})));
  server_.Set("app.test", ns_t_a, {.how = DnsSays::How::kSilent});
  EXPECT_TRUE(Use(SnapshotOf({Upstream("b", {"10.0.0.3:80"}), Upstream("a", {"app.test:80"})})));
  EXPECT_EQ("app.test:80/10.0.0.1:80", NamesOf(1));
  EXPECT_EQ(1, server_.Asked("app.test", ns_t_a));
}

TEST_F(MembersTest, WhatIsAbandonedLeavesWhatIsInUse) {
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.1", 60)}});
  EXPECT_TRUE(Use(SnapshotOf({Upstream("a", {"app.test:80"})})));
  bool ready = false;
  server_.Set("slow.test", ns_t_a, {.how = DnsSays::How::kSilent});
  server_.Set("slow.test", ns_t_aaaa, {.how = DnsSays::How::kSilent});
  config::Upstream slow = Upstream("a", {"slow.test:80"});
  slow.servers[0].settings.dns_timeout = absl::Milliseconds(100);
  members_->Prepare(SnapshotOf({slow}), [&ready] { ready = true; });
  members_->Abandon();
  stage_.TurnFor(absl::Milliseconds(300));
  EXPECT_FALSE(ready);
  EXPECT_EQ("app.test:80/10.0.0.1:80", NamesOf(0));
  ASSERT_EQ(1u, members_->Dns().size());
  EXPECT_EQ("app.test", members_->Dns()[0].name);
  EXPECT_EQ(std::vector<std::string>{"10.0.0.1"}, members_->Dns()[0].answers);
}

TEST_F(MembersTest, AFileOfServersIsReadAgainWhenItIsReplacedAndABadOneChangesNothing) {
  config::Upstream upstream = Upstream("app", {"10.0.0.1:80"});
  upstream.servers_file = Path("servers");
  Write("servers", "--server=name=b addr=10.0.0.2:80\n");
  EXPECT_TRUE(Use(SnapshotOf({upstream})));
  EXPECT_EQ("10.0.0.1:80 b", NamesOf(0));
  EXPECT_TRUE(said_.empty());
  Write("servers", "--server=name=b addr=10.0.0.2:80\n--server=name=c addr=10.0.0.3:80 weight=4\n");
  EXPECT_EQ("10.0.0.1:80 b c", Becomes(0, "10.0.0.1:80 b c"));
  EXPECT_EQ(std::vector<size_t>{0}, changes_.back());
  const size_t changes = changes_.size();
  said_.clear();

  Write("servers", "--server=name=b addr=10.0.0.2:80\n--server=name=d adr=10.0.0.4:80\n");
  EXPECT_TRUE(stage_.TurnUntil([this] { return !said_.empty(); }));
  EXPECT_NE(std::string::npos, said_[0].find(Path("servers") + ":2:")) << said_[0];
  EXPECT_NE(std::string::npos, said_[0].find("its 2 servers are kept")) << said_[0];
  EXPECT_EQ("10.0.0.1:80 b c", NamesOf(0));
  EXPECT_EQ(changes, changes_.size());
  EXPECT_NE("", members_->Files()[0].error);

  said_.clear();
  std::filesystem::remove(Path("servers"));
  EXPECT_TRUE(stage_.TurnUntil([this] { return !said_.empty(); }));
  EXPECT_EQ("10.0.0.1:80 b c", NamesOf(0));
  Write("servers", "# nobody now\n");
  EXPECT_EQ("10.0.0.1:80", Becomes(0, "10.0.0.1:80"));
  EXPECT_EQ("", members_->Files()[0].error);
}

TEST_F(MembersTest, AFileThatIsNotThereYetIsReadOnceItIs) {
  config::Upstream upstream = Upstream("app", {});
  upstream.servers_file = Path("later/servers");
  EXPECT_TRUE(Use(SnapshotOf({upstream})));
  EXPECT_EQ("", NamesOf(0));
  std::filesystem::create_directory(Path("later"));
  Write("later/servers", "--server=name=b addr=10.0.0.2:80\n");
  EXPECT_EQ("b", Becomes(0, "b"));
}

TEST_F(MembersTest, WhatStoodInAFileIsKnownWhenItIsGone) {
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.1", 60)}});
  EXPECT_TRUE(members_->Texts().empty());
  config::Upstream upstream = Upstream("app", {});
  upstream.servers_file = Path("servers");
  Write("servers", "--server=name=a addr=10.0.0.1:80\n");
  EXPECT_TRUE(Use(SnapshotOf({upstream})));
  const std::string text = "--server=name=b addr=app.test:80\n";
  Write("servers", text);
  EXPECT_EQ("b/10.0.0.1:80", Becomes(0, "b/10.0.0.1:80"));
  Write("servers", "nonsense\n");
  EXPECT_TRUE(stage_.TurnUntil([this] { return !members_->Files()[0].error.empty(); }));
  EXPECT_EQ(text, *members_->Texts().at({Path("servers"), "app"}));
  // Two reloads without it: the second knows what the first was given.
  std::filesystem::remove(Path("servers"));
  for (int i = 0; i < 2; ++i) {
    config::Upstream next = Upstream("app", {});
    next.servers_file = Path("servers");
    next.file_text = members_->Texts().at({Path("servers"), "app"});
    config::Problems problems;
    next.file_servers = *config::ReadServersFile(next, *next.file_text, &problems);
    EXPECT_TRUE(Use(SnapshotOf({next})));
    EXPECT_EQ("b/10.0.0.1:80", NamesOf(0));
    EXPECT_EQ(1u, members_->Files()[0].servers);
    EXPECT_NE("", members_->Files()[0].error);
    EXPECT_EQ(1, server_.Asked("app.test", ns_t_a));
  }
  said_.clear();
  Write("servers", "");
  EXPECT_EQ("", Becomes(0, ""));
}

TEST_F(MembersTest, NamesInAFileOfServersAreAskedFor) {
  server_.Set("app.test", ns_t_a, {{RecordA("app.test", "10.0.0.1", 60)}});
  config::Upstream upstream = Upstream("app", {});
  upstream.servers_file = Path("servers");
  Write("servers", "");
  EXPECT_TRUE(Use(SnapshotOf({upstream})));
  Write("servers", "--server=name=b addr=app.test:80\n");
  EXPECT_EQ("b/10.0.0.1:80", Becomes(0, "b/10.0.0.1:80"));
}

}  // namespace
}  // namespace parkway
