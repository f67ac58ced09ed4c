// Servers that stand in a file of their own.
#include "config/servers_file.h"

#include <string>
#include <vector>

#include "config/flags.h"
#include "config/load.h"
#include "config/source.h"
#include "config/text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/config/fake_files.h"

namespace parkway::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Upstream App() {
  Upstream upstream = {.name = "app", .servers = {}, .settings = DefaultScalars()};
  upstream.servers_file = "s";
  upstream.settings.connect_timeout = absl::Seconds(7);
  upstream.servers.push_back(
      {"one", *ParseAddress("10.0.0.1:80", AddressUse::kConnects), upstream.settings});
  return upstream;
}

std::vector<std::string> ErrorsOf(std::string_view bytes) {
  Problems problems;
  EXPECT_FALSE(ReadServersFile(App(), bytes, &problems).has_value());
  return problems.Lines();
}

TEST(ServersFileTest, ItsLinesInheritFromTheUpstream) {
  Problems problems;
  const auto servers = ReadServersFile(App(),
                                       "# written by a program\n\n--server=10.0.0.2:80 "
                                       "weight=3\n--server=name=c addr=b:81 connect_timeout=1s\n",
                                       &problems);
  ASSERT_TRUE(servers.has_value());
  EXPECT_THAT(problems.Lines(), IsEmpty());
  ASSERT_EQ(servers->size(), 2u);
  EXPECT_EQ((*servers)[0].name, "10.0.0.2:80");
  EXPECT_EQ((*servers)[0].settings.weight, 3u);
  EXPECT_EQ((*servers)[0].settings.connect_timeout, absl::Seconds(7));
  EXPECT_EQ((*servers)[1].name, "c");
  EXPECT_EQ((*servers)[1].settings.connect_timeout, absl::Seconds(1));
}

TEST(ServersFileTest, NobodyIsRightToo) {
  Problems problems;
  EXPECT_THAT(*ReadServersFile(App(), "", &problems), IsEmpty());
}

TEST(ServersFileTest, AnythingWrongRefusesAll) {
  EXPECT_THAT(
      ErrorsOf("--server=10.0.0.2:80\n--threads=1\n"),
      ElementsAre("s:2:1: --threads: a file of servers has --server lines alone; remove it"));
  EXPECT_THAT(ErrorsOf("--server=10.0.0.2:80 upstream=app\n"),
              ElementsAre(HasSubstr("s:1:31: --server: upstream= has no meaning here")));
  EXPECT_THAT(ErrorsOf("--server=10.0.0.1:80\n"),
              ElementsAre("s:1:10: --server: 10.0.0.1:80 is in upstream app twice; keep one"));
  EXPECT_THAT(ErrorsOf("--server=10.0.0.2:80\n--server=10.0.0.2:80 name=x\n"),
              ElementsAre(HasSubstr("s:2:10: --server: 10.0.0.2:80 is in upstream app twice")));
  EXPECT_THAT(ErrorsOf("--server=10.0.0.2:80 name=one\n"),
              ElementsAre(HasSubstr("a second server of app is called one")));
  EXPECT_THAT(ErrorsOf("10.0.0.2:80\n--server=b\n"),
              ElementsAre(HasSubstr("s:1:1: \"10.0.0.2:80\" does not begin with --")));
  EXPECT_THAT(
      ErrorsOf("--server=:80\n--server=b:1 weigt=3\n"),
      ElementsAre(HasSubstr("does not say which server"), HasSubstr("did you mean weight?")));
}

LoadResult LoadOf(const std::string& more) {
  FakeFiles files({{"a", "--listen=:80\n--upstream=name=app servers_file=s\n"}, {"s", more}});
  return Load(std::vector<std::string>{"-c", "a"}, SystemFacts(), files);
}

TEST(ServersFileTest, ALoadReadsIt) {
  const LoadResult result = LoadOf("--server=10.0.0.2:80\n");
  ASSERT_THAT(result.errors, IsEmpty());
  EXPECT_THAT(result.snapshot->upstreams[0].servers, IsEmpty());
  EXPECT_EQ(result.snapshot->upstreams[0].servers_file, "s");
  ASSERT_EQ(result.snapshot->upstreams[0].file_servers.size(), 1u);
}

TEST(ServersFileTest, ALoadIsRefusedIfItIsWrong) {
  EXPECT_THAT(LoadOf("--server=:80\n").errors, ElementsAre(HasSubstr("s:1:10: --server: \":80\"")));
}

TEST(ServersFileTest, OneThatIsNotThereYetIsAWarningAndHasNoServers) {
  FakeFiles files;
  files.Put("a", "--listen=:80\n--upstream=name=app servers_file=s\n");
  const LoadResult result = Load(std::vector<std::string>{"-c", "a"}, SystemFacts(), files);
  EXPECT_THAT(result.errors, IsEmpty());
  ASSERT_TRUE(result.snapshot.has_value());
  EXPECT_THAT(result.snapshot->upstreams[0].file_servers, IsEmpty());
  EXPECT_THAT(
      result.warnings,
      ElementsAre(HasSubstr("s: --upstream: servers_file= of upstream app cannot be read: ")));
}

// As LoadOf, of a file that is not there and of which `known` is known.
LoadResult LoadWithout(const std::string& upstream, const FileTexts& known) {
  FakeFiles files({{"a", Cat("--listen=:80\n--upstream=", upstream, "\n")}});
  return Load(std::vector<std::string>{"-c", "a"}, SystemFacts(), files, known);
}

std::shared_ptr<const std::string> Text(const char* text) {
  return std::make_shared<const std::string>(text);
}

TEST(ServersFileTest, OneThatCannotBeReadAnyMoreSaysWhatItSaidLast) {
  const FileTexts known = {{{"s", "app"}, Text("--server=10.0.0.2:80\n--server=b.test:80\n")},
                           {{"s", "a"}, Text("--server=10.0.0.9:80\n")}};
  const LoadResult result = LoadWithout("name=app servers_file=s connect_timeout=7s", known);
  ASSERT_THAT(result.errors, IsEmpty());
  const Upstream& upstream = result.snapshot->upstreams[0];
  ASSERT_EQ(upstream.file_servers.size(), 2u);
  EXPECT_EQ(upstream.file_servers[1].name, "b.test:80");
  EXPECT_EQ(upstream.file_servers[0].settings.connect_timeout, absl::Seconds(7))
      << "as the upstream says now";
  EXPECT_EQ(upstream.file_text, known.at({"s", "app"})) << "for the next time";
  EXPECT_THAT(result.warnings,
              ElementsAre("s: --upstream: servers_file= of upstream app cannot be read: No such "
                          "file or directory; the 2 servers that it had last are kept"));
}

TEST(ServersFileTest, AnUpstreamOfAnotherNameHasWhatTheFileSaid) {
  const FileTexts known = {{{"s", "old"}, Text("--server=10.0.0.2:80\n")}};
  const LoadResult result = LoadWithout("name=app servers_file=s", known);
  ASSERT_TRUE(result.snapshot.has_value());
  EXPECT_EQ(result.snapshot->upstreams[0].file_servers.size(), 1u);
  EXPECT_THAT(result.warnings, ElementsAre(HasSubstr("the 1 server that it had last is kept")));
}

TEST(ServersFileTest, NothingIsKnownOfAnotherFile) {
  const FileTexts known = {{{"r", "app"}, Text("--server=10.0.0.2:80\n")},
                           {{"t", "app"}, Text("--server=10.0.0.2:80\n")}};
  const LoadResult result = LoadWithout("name=app servers_file=s", known);
  ASSERT_TRUE(result.snapshot.has_value());
  EXPECT_THAT(result.snapshot->upstreams[0].file_servers, IsEmpty());
  EXPECT_EQ(result.snapshot->upstreams[0].file_text, nullptr);
  EXPECT_THAT(result.warnings, ElementsAre(HasSubstr("it has no servers until the file is there")));
}

TEST(ServersFileTest, WhatItSaidLastMayBeWrongBesideOtherLines) {
  const FileTexts known = {{{"s", "app"}, Text("--server=10.0.0.2:80\n")}};
  const LoadResult result = LoadWithout("name=app servers_file=s servers=10.0.0.2:80", known);
  EXPECT_THAT(result.errors, ElementsAre("s:1:10: --server: 10.0.0.2:80 is in upstream app twice; "
                                         "keep one"));
  EXPECT_THAT(result.warnings,
              ElementsAre(HasSubstr("cannot be read: No such file or directory; what was in it "
                                    "last is no longer right")));
}

}  // namespace
}  // namespace parkway::config
