#include "config/load.h"

#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
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
using ::testing::SizeIs;
using ::testing::StartsWith;

using Arguments = std::vector<std::string>;

SystemFacts Facts() {
  SystemFacts facts;
  facts.cpus = 2;
  facts.nofile_hard = 4096;
  return facts;
}

LoadResult LoadWith(const Arguments& arguments, std::map<std::string, std::string> files = {},
                    const SystemFacts& facts = Facts()) {
  FakeFiles reader(std::move(files));
  return Load(arguments, facts, reader);
}

// `arguments` behind a listener and an upstream that are right.
LoadResult LoadMore(Arguments arguments, std::map<std::string, std::string> files = {}) {
  arguments.insert(arguments.begin(), {"--listen=:8080", "--upstream=127.0.0.1:9000"});
  return LoadWith(arguments, std::move(files));
}

// A file of these bytes, named a.flags; the command line says the rest.
LoadResult LoadFile(const std::string& bytes) {
  return LoadMore({"-c", "a.flags"}, {{"a.flags", bytes}});
}

std::vector<std::string> ErrorsOf(const LoadResult& result) {
  EXPECT_EQ(result.action, Action::kRefused);
  EXPECT_FALSE(result.snapshot.has_value());
  EXPECT_EQ(result.exit_code, kExitConfig);
  for (const std::string& line : result.errors) {
    EXPECT_EQ(line.find('\n'), std::string::npos) << line;
  }
  return result.errors;
}

// --- What is right

TEST(LoadTest, TheSimpleCaseNeedsTwoFlags) {
  const LoadResult result =
      LoadWith({"--listen=:8080", "--upstream=127.0.0.1:9000,127.0.0.1:9001"});
  ASSERT_THAT(result.errors, IsEmpty());
  EXPECT_THAT(result.warnings, IsEmpty());
  EXPECT_EQ(result.action, Action::kRun);
  ASSERT_TRUE(result.snapshot.has_value());
  const Snapshot& snapshot = *result.snapshot;
  ASSERT_EQ(snapshot.listeners.size(), 1u);
  EXPECT_EQ(snapshot.listeners[0].name, ":8080");
  EXPECT_EQ(snapshot.listeners[0].upstream, 0u);
  ASSERT_EQ(snapshot.upstreams.size(), 1u);
  EXPECT_EQ(snapshot.upstreams[0].name, "default");
  ASSERT_EQ(snapshot.upstreams[0].servers.size(), 2u);
  EXPECT_EQ(snapshot.upstreams[0].servers[1].name, "127.0.0.1:9001");
  EXPECT_EQ(snapshot.scalars, DefaultScalars());
  EXPECT_EQ(snapshot.threads, 2u);
  EXPECT_EQ(snapshot.reserved_descriptors, 16u + 2 * (1 + 3 + 2 * 32));
  EXPECT_EQ(snapshot.max_connections, (4096u - 152) / 2);
}

TEST(LoadTest, AFlagsFileSaysTheSameAsTheCommandLine) {
  const LoadResult result =
      LoadWith({"-f", "a.flags"}, {{"a.flags",
                                    "# a comment\r\n"
                                    "\r\n"
                                    "--listen=name=web addr=[::]:443,:80 \\\r\n"
                                    "    upstream=app\r\n"
                                    "  --upstream=name=app servers=\"unix:/a b\"\n"
                                    "--idle_timeout=\"90s\"\n"
                                    "--threads = 3"}});
  EXPECT_THAT(ErrorsOf(result),
              ElementsAre("a.flags:7:10: --threads: a blank before the =; write --threads=auto|N"));
  const LoadResult good =
      LoadWith({"-f", "a.flags"}, {{"a.flags",
                                    "\xef\xbb\xbf--listen=name=web addr=[::]:443,:80 \\\n"
                                    "    upstream=app\n"
                                    "  --upstream=name=app servers=\"unix:/a b\"\n"
                                    "--idle_timeout=\"90s\"\n"
                                    "--threads=3"}});
  ASSERT_THAT(good.errors, IsEmpty());
  EXPECT_EQ(good.snapshot->listeners[0].name, "web");
  EXPECT_EQ(good.snapshot->listeners[0].addresses.size(), 2u);
  EXPECT_EQ(good.snapshot->upstreams[0].servers[0].address.path, "/a b");
  EXPECT_EQ(good.snapshot->scalars.idle_timeout, absl::Seconds(90));
  EXPECT_EQ(good.snapshot->threads, 3u);
}

TEST(LoadTest, TheCommandLineIsReadAsPeopleWriteIt) {
  const LoadResult result = LoadWith(
      {"--listen", ":8080", "-upstream=127.0.0.1:9000", "-threads", "7", "--access_log=off"});
  ASSERT_THAT(result.errors, IsEmpty());
  EXPECT_EQ(result.snapshot->threads, 7u);
  EXPECT_EQ(result.snapshot->scalars.access_log.kind, LogSink::Kind::kOff);
}

TEST(LoadTest, TheLastOfAScalarOnTheCommandLineCounts) {
  EXPECT_EQ(LoadMore({"--threads=2", "--threads=5"}).snapshot->threads, 5u);
}

TEST(LoadTest, ActionsAreKnownByTheirShortForms) {
  EXPECT_EQ(LoadMore({"-t"}).action, Action::kCheck);
  EXPECT_EQ(LoadMore({"--check"}).action, Action::kCheck);
  EXPECT_EQ(LoadMore({"--check=off"}).action, Action::kRun);
  EXPECT_EQ(LoadMore({"-T"}).action, Action::kDump);
  EXPECT_EQ(LoadMore({"-V"}).action, Action::kVersion);
  EXPECT_EQ(LoadMore({"-h"}).action, Action::kHelp);
  EXPECT_EQ(LoadMore({"-t"}).exit_code, 0);
  EXPECT_EQ(LoadMore({"-t"}).text, "the configuration is valid\n");
}

TEST(LoadTest, HelpAndVersionNeedNothingAndReadNothing) {
  FakeFiles files;
  const LoadResult help = Load(Arguments{"--help", "-c", "missing", "--thread"}, Facts(), files);
  EXPECT_EQ(help.action, Action::kHelp);
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.errors, IsEmpty());
  EXPECT_EQ(help.text, HelpText());
  EXPECT_EQ(Load(Arguments{"--version"}, Facts(), files).action, Action::kVersion);
  EXPECT_THAT(files.reads, IsEmpty());
}

TEST(LoadTest, CheckExitsWithOneWhereAStartExitsWith78) {
  EXPECT_EQ(LoadMore({"--threads=x"}).exit_code, 78);
  EXPECT_EQ(LoadMore({"--threads=x", "--check"}).exit_code, 1);
  EXPECT_EQ(LoadMore({"--threads=x", "-T"}).exit_code, 1);
}

// --- Bad flags, one clear line each

TEST(LoadTest, APortAbove65535IsNone) {
  EXPECT_THAT(ErrorsOf(LoadWith({"--listen=:99999", "--upstream=127.0.0.1:9000"})),
              ElementsAre("command line: --listen: \"99999\" is not a port; a port is 1 to 65535"));
}

TEST(LoadTest, NonsenseIsNoAddress) {
  EXPECT_THAT(ErrorsOf(LoadWith({"--listen=nonsense", "--upstream=127.0.0.1:9000"})),
              ElementsAre("command line: --listen: \"nonsense\" is not an address; write :PORT, "
                          "IP:PORT, [IPv6]:PORT, unix:PATH or unix:@NAME"));
}

TEST(LoadTest, ADurationNeedsAUnit) {
  EXPECT_THAT(ErrorsOf(LoadMore({"--idle_timeout=5"})),
              ElementsAre("command line: --idle_timeout: \"5\" has no unit; a duration needs a "
                          "unit, such as 5s"));
}

TEST(LoadTest, ADurationIsNotNegative) {
  const char* line =
      "command line: --idle_timeout: \"-1s\" is negative; write a duration such as 5s, or off";
  EXPECT_THAT(ErrorsOf(LoadMore({"--idle_timeout=-1s"})), ElementsAre(line));
  EXPECT_THAT(ErrorsOf(LoadMore({"--idle_timeout", "-1s"})), ElementsAre(line));
}

TEST(LoadTest, AnUnknownFlagIsToldWithTheNearest) {
  EXPECT_THAT(ErrorsOf(LoadMore({"--thread=4"})),
              ElementsAre("command line: --thread: there is no such flag; see --help (did you mean "
                          "--threads?)"));
  EXPECT_THAT(ErrorsOf(LoadFile("--thread=4\n")),
              ElementsAre("a.flags:1:1: --thread: there is no such flag; see --help (did you mean "
                          "--threads?)"));
  EXPECT_THAT(ErrorsOf(LoadMore({"--zzz"})),
              ElementsAre("command line: --zzz: there is no such flag; see --help"));
  EXPECT_THAT(
      ErrorsOf(LoadMore({"-v"})),
      ElementsAre("command line: -v: there is no such flag; see --help (did you mean -V?)"));
}

TEST(LoadTest, ADirectoryIsNoFlagsFile) {
  EXPECT_THAT(ErrorsOf(LoadMore({"--flagfile=conf"}, {{"conf/", ""}})),
              ElementsAre("command line: --flagfile: \"conf\" cannot be read: it is a directory; "
                          "name a flags file that can be read"));
}

TEST(LoadTest, AMissingFileIsAnError) {
  EXPECT_THAT(ErrorsOf(LoadMore({"-c", "gone"})),
              ElementsAre("command line: --flagfile: \"gone\" cannot be read: No such file or "
                          "directory; name a flags file that can be read"));
}

TEST(LoadTest, AFileThatIsNotUtf8HasOneError) {
  EXPECT_THAT(ErrorsOf(LoadFile("# gr\xc3\xbc\xc3\x9f\n--threads=\xff\xfe\n")),
              ElementsAre("a.flags:2:11: the byte \"\\xff\" is not UTF-8; save the file as UTF-8"));
  EXPECT_THAT(ErrorsOf(LoadFile(std::string("--threads=\0 \n", 13))),
              ElementsAre("a.flags:1:11: a zero byte; a flags file is text"));
}

TEST(LoadTest, AFileThatIncludesItselfIsAnError) {
  EXPECT_THAT(ErrorsOf(LoadFile("# one\n--flagfile=./a.flags\n")),
              ElementsAre("a.flags:2:12: --flagfile: \"./a.flags\" includes itself; remove this "
                          "line"));
  EXPECT_THAT(ErrorsOf(LoadMore({"-c", "conf/a"},
                                {{"conf/a", "--flagfile=b\n"}, {"conf/b", "\n --flagfile=a\n"}})),
              ElementsAre("conf/b:2:13: --flagfile: \"conf/a\" includes itself, by way of "
                          "\"conf/b\"; remove this line"));
}

TEST(LoadTest, ALineWithoutDashesIsNone) {
  EXPECT_THAT(ErrorsOf(LoadFile("listen=:80\n")),
              ElementsAre("a.flags:1:1: \"listen=:80\" does not begin with --; write --NAME=VALUE "
                          "(did you mean --listen?)"));
}

TEST(LoadTest, TheSameScalarTwiceNamesBothPlaces) {
  EXPECT_THAT(ErrorsOf(LoadFile("--threads=2\n\n  --threads=3\n")),
              ElementsAre("a.flags:3:3: --threads: it was set already at a.flags:1:1; keep one of "
                          "the two"));
}

TEST(LoadTest, AnUpstreamThatIsOurListenerIsALoop) {
  const char* wildcard =
      "command line: --upstream: 127.0.0.1:8080 is our own listener :8080, so connections would go "
      "in a circle; name another address or port";
  EXPECT_THAT(ErrorsOf(LoadWith({"--listen=:8080", "--upstream=127.0.0.1:8080"})),
              ElementsAre(wildcard));
  EXPECT_THAT(ErrorsOf(LoadWith({"-c", "a.flags"}, {{"a.flags",
                                                     "--upstream=10.0.0.1:80,unix:/run/../run/x\n"
                                                     "--listen=unix:/run/x\n"}})),
              ElementsAre("a.flags:1:24: --upstream: unix:/run/../run/x is our own listener "
                          "unix:/run/x (a.flags:2:10), so connections would go in a circle; name "
                          "another address or port"));
}

TEST(LoadTest, WithoutAListenerOrAnUpstreamThereIsNothingToDo) {
  EXPECT_THAT(ErrorsOf(LoadWith({})),
              ElementsAre("nothing to do: neither --listen nor --upstream is given; for example "
                          "--listen=:8080 --upstream=127.0.0.1:9000 (see --help)"));
  EXPECT_THAT(ErrorsOf(LoadWith({"--listen=:80"})),
              ElementsAre(StartsWith("--upstream: it is missing")));
  EXPECT_THAT(ErrorsOf(LoadWith({"--upstream=1.2.3.4:80"})),
              ElementsAre(StartsWith("--listen: it is missing")));
}

TEST(LoadTest, ManyListenersAndUpstreamsInAnyOrder) {
  const LoadResult result =
      LoadWith({"-c", "a", "--listen=:82 upstream=db"},
               {{"a",
                 "--server=upstream=app name=b addr=10.0.0.2:80 connect_timeout=1s\n"
                 "--listen=name=web addr=:80 upstream=app idle_timeout=8h rcvbuf=64KiB\n"
                 "--listen=:81,unix:/x upstream=db\n"
                 "--upstream=name=app servers=10.0.0.1:80 connect_timeout=2s sndbuf=8KiB\n"
                 "--server=10.0.0.3:80 upstream=db sndbuf=off\n"
                 "--upstream=name=db sndbuf=32KiB\n"
                 "--server=10.0.0.3:80 upstream=app\n"
                 "--sndbuf=16KiB\n--idle_timeout=5m\n"}});
  ASSERT_THAT(result.errors, IsEmpty());
  const Snapshot& snapshot = *result.snapshot;
  ASSERT_EQ(snapshot.listeners.size(), 3u);
  const Listener& web = snapshot.listeners[0];
  EXPECT_EQ(web.name, "web");
  EXPECT_EQ(web.upstream, 0u);
  EXPECT_EQ(web.settings.idle_timeout, absl::Hours(8));
  EXPECT_EQ(web.settings.rcvbuf, 64u * 1024);
  EXPECT_EQ(web.settings.sndbuf, 16u * 1024);
  EXPECT_EQ(snapshot.listeners[1].name, ":81");
  EXPECT_EQ(snapshot.listeners[1].upstream, 1u);
  EXPECT_EQ(snapshot.listeners[1].settings.idle_timeout, absl::Minutes(5));
  EXPECT_EQ(snapshot.listeners[2].name, ":82");
  ASSERT_EQ(snapshot.upstreams.size(), 2u);
  const std::vector<Server>& app = snapshot.upstreams[0].servers;
  ASSERT_EQ(app.size(), 3u);
  EXPECT_EQ(app[0].name, "10.0.0.1:80");
  EXPECT_EQ(app[0].settings.connect_timeout, absl::Seconds(2));
  EXPECT_EQ(app[0].settings.sndbuf, 8u * 1024);
  EXPECT_EQ(app[1].name, "b");
  EXPECT_EQ(app[1].settings.connect_timeout, absl::Seconds(1));
  EXPECT_EQ(app[1].settings.sndbuf, 8u * 1024);
  EXPECT_EQ(app[2].settings.connect_timeout, absl::Seconds(2));
  const std::vector<Server>& db = snapshot.upstreams[1].servers;
  ASSERT_EQ(db.size(), 1u);
  EXPECT_EQ(db[0].settings.sndbuf, 0u);
  EXPECT_EQ(snapshot.upstreams[1].settings.sndbuf, 32u * 1024);
  EXPECT_EQ(snapshot.reserved_descriptors, 16u + 2 * (4 + 3 + 2 * 32));
}

TEST(LoadTest, TenThousandServersInAThousandUpstreamsLoadAtOnce) {
  std::string file;
  for (int i = 0; i < 1000; ++i) {
    file += Cat("--listen=:", 1000 + i, " upstream=u", i, " idle_timeout=8h\n");
    file += Cat("--upstream=name=u", i, " connect_timeout=2s servers=10.1.", i / 250, ".", i % 250,
                ":80\n");
    for (int j = 1; j < 10; ++j) {
      file += Cat("--server=upstream=u", i, " name=s", j, " addr=10.", j + 1, ".", i / 250, ".",
                  i % 250, ":80 sndbuf=64KiB\n");
    }
  }
  SystemFacts facts = Facts();
  facts.nofile_hard = 1 << 20;
  const absl::Time start = absl::Now();
  const LoadResult result = LoadWith({"-c", "a"}, {{"a", file}}, facts);
  const absl::Duration loaded = absl::Now() - start;
  const LoadResult dumped = LoadWith({"-c", "a", "-T"}, {{"a", file}}, facts);
  printf("loaded in %.3f s, printed in %.3f s\n", absl::ToDoubleSeconds(loaded),
         absl::ToDoubleSeconds(absl::Now() - start - loaded));
  ASSERT_THAT(result.errors, IsEmpty());
  EXPECT_EQ(result.snapshot->upstreams[999].servers.size(), 10u);
  EXPECT_EQ(dumped.action, Action::kDump);
  EXPECT_LT(loaded, absl::Seconds(10));
}

TEST(LoadTest, NamesAreUniqueWithinTheirKind) {
  EXPECT_THAT(
      ErrorsOf(LoadFile("--upstream=1.2.3.4:5\n"
                        "--listen=name=web addr=:81 upstream=app\n"
                        "--listen=name=web addr=:82 upstream=app\n"
                        "--upstream=name=app servers=1.2.3.4:5\n"
                        "--upstream=1.2.3.4:6 name=app\n"
                        "--server=1.2.3.4:7 upstream=app name=a\n"
                        "--server=1.2.3.4:8 upstream=app name=a\n"
                        "--server=1.2.3.4:8 upstream=default name=a\n")),
      ElementsAre(
          "a.flags:5:27: --upstream: a second upstream is called app, the first is at "
          "a.flags:4:17; "
          "give it another name=",
          "command line: --upstream: a second upstream is called default, the first is at "
          "a.flags:1:1; give it another name=",
          "a.flags:3:15: --listen: a second listener is called web, the first is at a.flags:2:15; "
          "give it another name=",
          "command line: --listen: upstream= is missing and there are 4 upstreams; the names are "
          "default app app default",
          "a.flags:7:38: --server: a second server of app is called a, the first is at "
          "a.flags:6:38; give it another name="));
}

TEST(LoadTest, AServerOfAnUpstreamIsThereOnce) {
  EXPECT_THAT(ErrorsOf(LoadFile("--server=127.0.0.1:9000\n--server=unix:/x\n"
                                "--server=unix:/y/../x name=b\n")),
              ElementsAre("a.flags:1:10: --server: 127.0.0.1:9000 is here twice, first at command "
                          "line; keep one",
                          "a.flags:3:10: --server: unix:/y/../x is here twice, first at "
                          "a.flags:2:10; keep one"));
}

TEST(LoadTest, AnUpstreamNeedsServersAndAServerAnUpstream) {
  EXPECT_THAT(ErrorsOf(LoadWith({"--listen=:80", "--upstream=name=app"})),
              ElementsAre("command line: --upstream: upstream app has no servers; write "
                          "servers=HOST:PORT, or --server=upstream=app addr=HOST:PORT"));
  EXPECT_THAT(ErrorsOf(LoadWith({"--listen=:80", "--server=1.2.3.4:5"})),
              ElementsAre(StartsWith("--upstream: it is missing")));
  EXPECT_THAT(ErrorsOf(LoadFile("--server=1.2.3.4:5 upstream=defalt\n")),
              ElementsAre("a.flags:1:29: --server: there is no upstream \"defalt\"; the names are "
                          "default (did you mean default?)"));
  EXPECT_THAT(
      ErrorsOf(LoadWith({"--listen=:80 upstream=b", "--upstream=name=a servers=1.2.3.4:5",
                         "--upstream=name=b servers=1.2.3.4:5", "--server=1.2.3.4:6"})),
      ElementsAre("command line: --server: upstream= is missing and there are 2 upstreams; the "
                  "names are a b"));
}

TEST(LoadTest, EveryListenerIsLookedAtForLoops) {
  EXPECT_THAT(ErrorsOf(LoadFile("--listen=:81\n--server=127.0.0.1:81\n")),
              ElementsAre("a.flags:2:10: --server: 127.0.0.1:81 is our own listener :81 "
                          "(a.flags:1:10), so connections would go in a circle; name another "
                          "address or port"));
}

TEST(LoadTest, HttpBeyondLoopbackNeedsToKnowWhomItServes) {
  const std::string simple = "--listen=:80\n--upstream=1.2.3.4:5\n";
  EXPECT_THAT(LoadWith({"-c", "a"}, {{"a", simple + "--http=127.0.0.1:9180\n"}}).errors, IsEmpty());
  EXPECT_THAT(ErrorsOf(LoadWith({"-c", "a"}, {{"a", simple + "--http=:9180\n"}})),
              ElementsAre("a:3:1: --http: :9180 can be reached from other machines; write "
                          "--http_allow=PREFIX for those that may ask, or listen on 127.0.0.1"));
  EXPECT_THAT(
      LoadWith({"-c", "a"}, {{"a", simple + "--http=:9180\n--http_allow=10.0.0.0/8\n"}}).errors,
      IsEmpty());
  EXPECT_THAT(ErrorsOf(LoadWith({"-c", "a"}, {{"a", simple + "--http=0.0.0.0:80\n"
                                                             "--http_allow=10.0.0.0/8\n"}})),
              ElementsAre("a:3:1: --http: 0.0.0.0:80 overlaps :80, where a listener is, at a:1:10; "
                          "choose another port"));
}

TEST(LoadTest, HttpHasItsPortForItself) {
  const auto errors = [](const std::string& listen, const std::string& http) {
    return LoadWith({"-c", "a"}, {{"a", Cat("--listen=", listen, "\n--upstream=1.2.3.4:5\n--http=",
                                            http, "\n--http_allow=10.0.0.0/8\n")}})
        .errors;
  };
  EXPECT_THAT(errors(":80", "127.0.0.1:80"),
              ElementsAre("a:3:1: --http: 127.0.0.1:80 overlaps :80, where a listener is, at "
                          "a:1:10; choose another port"));
  EXPECT_THAT(errors("127.0.0.1:80", "0.0.0.0:80"), SizeIs(1));
  EXPECT_THAT(errors("0.0.0.0:80", "127.0.0.1:80"), SizeIs(1));
  EXPECT_THAT(errors("[::]:80", "127.0.0.1:80"), SizeIs(1));
  EXPECT_THAT(errors("[::1]:80", ":80"), SizeIs(1));
  EXPECT_THAT(errors("10.0.0.1:81,127.0.0.1:80", ":80"), SizeIs(1));
  EXPECT_THAT(errors("[::]:80 v6only", "127.0.0.1:80"), IsEmpty());
  EXPECT_THAT(errors("0.0.0.0:80", "[::1]:80"), IsEmpty());
  EXPECT_THAT(errors("127.0.0.2:80", "127.0.0.1:80"), IsEmpty());
  EXPECT_THAT(errors(":81", "127.0.0.1:80"), IsEmpty());
}

TEST(LoadTest, TheAdminSocketHasItsPathForItself) {
  const std::map<std::string, std::string> files = {
      {"a", "--listen=:80,unix:/run/parkway//admin.sock\n--upstream=1.2.3.4:5\n"}};
  EXPECT_THAT(LoadWith({"-c", "a"}, files).errors, IsEmpty());
  EXPECT_THAT(LoadWith({"-c", "a", "--admin_socket=off"}, files).errors, IsEmpty());
  EXPECT_THAT(LoadWith({"-c", "a", "--admin_socket=/run/other.sock"}, files).errors, IsEmpty());
  EXPECT_THAT(
      LoadWith({"-c", "a", "--admin_socket=/run/parkway/admin.sock", "--check"}, files).errors,
      ElementsAre("command line: --admin_socket: unix:/run/parkway/admin.sock is that of a "
                  "listener, at a:1:14; choose another path"));
  // Where systemd has made a folder it is there.
  SystemFacts facts = Facts();
  facts.environment = [](const std::string& name) -> std::optional<std::string> {
    if (name != "RUNTIME_DIRECTORY") return std::nullopt;
    return "/run/parkway:/run/more";
  };
  EXPECT_THAT(LoadWith({"-c", "a"}, files, facts).errors,
              ElementsAre("--admin_socket: unix:/run/parkway/admin.sock is that of a listener, at "
                          "a:1:14; choose another path"));
  EXPECT_THAT(LoadWith({"-c", "a", "--admin_socket=off"}, files, facts).errors, IsEmpty());
}

TEST(LoadTest, TheLeastTimeToLiveIsNotAboveTheMost) {
  const std::string simple = "--listen=:80\n--upstream=1.2.3.4:5\n";
  EXPECT_THAT(ErrorsOf(LoadWith({"-c", "a"}, {{"a", simple + "--dns_min_ttl=10m\n"}})),
              ElementsAre("a:3:1: --dns_min_ttl: dns_min_ttl of 10m is more than dns_max_ttl of "
                          "5m; make it less"));
  EXPECT_THAT(ErrorsOf(LoadWith({"-c", "a"}, {{"a", simple + "--server=a:1 dns_min_ttl=10m\n"}})),
              ElementsAre(StartsWith("a:3:14: --server: dns_min_ttl of 10m")));
}

TEST(LoadTest, ANameOfAServerIsThereOnceInWhateverCase) {
  EXPECT_THAT(ErrorsOf(LoadWith({"-c", "a"}, {{"a", "--listen=:80\n--upstream=b:5,B:5\n"}})),
              ElementsAre(StartsWith("a:2:16: --upstream: b:5 is here twice")));
}

TEST(LoadTest, AllErrorsAreToldAtOnceInOrder) {
  EXPECT_THAT(
      ErrorsOf(LoadMore({"-c", "a.flags", "--threads=0", "stray"}, {{"a.flags",
                                                                     "--idle_timeout=5\n"
                                                                     "--listn=:80\n"
                                                                     "--access_log=syslog\n"}})),
      ElementsAre(StartsWith("command line: \"stray\" is not a flag"),
                  StartsWith("a.flags:1:16: --idle_timeout: \"5\" has no unit"),
                  StartsWith("a.flags:2:1: --listn: there is no such flag"),
                  "a.flags:3:14: --access_log: \"syslog\" is not known here; write off, stderr, "
                  "stdout, file:PATH, unix:PATH or syslog:HOST[:514]",
                  "command line: --threads: \"0\" is too small; write a whole number of 1 "
                  "to 1024, or auto"));
}

TEST(LoadTest, AFileFullOfErrorsIsToldInPart) {
  std::string bytes;
  for (int i = 0; i < 1000; ++i) bytes += "x\n";
  const std::vector<std::string> errors = ErrorsOf(LoadFile(bytes));
  EXPECT_EQ(errors.size(), Problems::kMost + 1);
  EXPECT_EQ(errors.back(), "and 800 more");
}

// --- The command line

TEST(LoadTest, AFlagWithoutItsValueIsToldWhatItTakes) {
  EXPECT_THAT(ErrorsOf(LoadMore({"--threads"})),
              ElementsAre("command line: --threads: it has no value; write --threads=auto|N"));
  EXPECT_THAT(ErrorsOf(LoadMore({"--threads", "--check=off"})),
              ElementsAre("command line: --threads: it has no value; write --threads=auto|N"));
}

TEST(LoadTest, AnotherProxysCheckIsTakenForWhatItIs) {
  const std::vector<std::string> errors =
      ErrorsOf(LoadMore({"-c", "-f", "a.flags"}, {{"a.flags", ""}}));
  EXPECT_THAT(errors, ElementsAre("command line: --flagfile: -c needs a file and \"-f\" follows; "
                                  "write -c FILE, and -t to check"));
}

TEST(LoadTest, WhatIsNoFlagIsRefused) {
  EXPECT_THAT(
      ErrorsOf(LoadMore({"my.flags"})),
      ElementsAre("command line: \"my.flags\" is not a flag; write --NAME=VALUE, or -c FILE "
                  "to read a file"));
  EXPECT_THAT(ErrorsOf(LoadMore({"threads=4"})),
              ElementsAre("command line: \"threads=4\" does not begin with --; write --threads=4"));
  EXPECT_THAT(ErrorsOf(LoadMore({"--", "--threads=4"})), ElementsAre(HasSubstr("is not a flag")));
  EXPECT_THAT(ErrorsOf(LoadMore({"--listen=\xff"})),
              ElementsAre("command line: \"--listen=\\xff\" has bytes that are not text; remove "
                          "them or write UTF-8"));
}

// --- Files, the command line and the environment

TEST(LoadTest, TheCommandLineBeatsTheFileAndTheFileIsTold) {
  const LoadResult result =
      LoadMore({"--threads=4", "-c", "a.flags", "--threads=5"}, {{"a.flags", "--threads=2\n"}});
  ASSERT_THAT(result.errors, IsEmpty());
  EXPECT_EQ(result.snapshot->threads, 5u);
  EXPECT_THAT(result.warnings, ElementsAre("a.flags:1:1: --threads: it has no effect: the command "
                                           "line sets it to 5"));
}

TEST(LoadTest, IncludesAreReadInPlaceRelativeToTheirFile) {
  const LoadResult result =
      LoadWith({"-c", "/etc/p/main.flags,/etc/last"},
               {{"/etc/p/main.flags", "--flagfile=conf.d/*.flags,/etc/absolute\n"},
                {"/etc/p/conf.d/1.flags", "--listen=:80\n"},
                {"/etc/p/conf.d/2.flags", "--flagfile=../up\n"},
                {"/etc/p/conf.d/../up", "--upstream=1.2.3.4:5\n"},
                {"/etc/absolute", "--threads=3\n"},
                {"/etc/last", "--flagfile=none/*.flags\n--backlog=7\n"}});
  ASSERT_THAT(result.errors, IsEmpty());
  EXPECT_EQ(result.snapshot->threads, 3u);
  EXPECT_EQ(result.snapshot->scalars.backlog, 7u);
}

TEST(LoadTest, AFileReadTwiceIsAnError) {
  EXPECT_THAT(ErrorsOf(LoadMore({"-c", "a", "-c", "./a"}, {{"a", "--threads=3\n"}})),
              ElementsAre("command line: --flagfile: \"./a\" was read already, named at command "
                          "line; name it once"));
  EXPECT_THAT(ErrorsOf(LoadMore({"-c", "a"}, {{"a", "--flagfile=b\n--flagfile=b,\n"}, {"b", ""}})),
              ElementsAre("a:2:12: --flagfile: \"b\" was read already, named at a:1:12; name it "
                          "once",
                          "a:2:14: --flagfile: the name of a file is missing; write "
                          "--flagfile=FILE[,FILE...]"));
}

TEST(LoadTest, AScalarInTwoFilesNamesBoth) {
  EXPECT_THAT(
      ErrorsOf(LoadMore({"-c", "a,b"}, {{"a", "--threads=3\n"}, {"b", "#\n--threads=3\n"}})),
      ElementsAre("b:2:1: --threads: it was set already at a:1:1; keep one of the two"));
}

TEST(LoadTest, AFolderThatCannotBeSearchedIsAnError) {
  EXPECT_THAT(ErrorsOf(LoadMore({"-c", "locked/*"})),
              ElementsAre("command line: --flagfile: \"locked/*\" cannot be looked up: its folder "
                          "cannot be read; name files that can be read"));
}

TEST(LoadTest, SomeFlagsAreNotForFiles) {
  for (const char* name : {"check", "help", "version", "dump_config", "fromenv", "tryfromenv"}) {
    const std::string flag = std::string("--") + name;
    EXPECT_THAT(
        ErrorsOf(LoadFile(flag + "\n" + flag + "=on\n")),
        ElementsAre("a.flags:1:1: " + flag + ": it is for the command line only; remove the line",
                    "a.flags:2:1: " + flag + ": it is for the command line only; remove the line"));
  }
}

TEST(LoadTest, TheEnvironmentIsReadWhereItIsAskedFor) {
  SystemFacts facts = Facts();
  facts.environment = [](const std::string& name) -> std::optional<std::string> {
    if (name == "FLAGS_threads") return "6";
    if (name == "FLAGS_listen") return ":80";
    if (name == "FLAGS_flagfile") return "a";
    if (name == "FLAGS_backlog") return "many";
    if (name == "FLAGS_fromenv") return "x";
    return std::nullopt;
  };
  const LoadResult good =
      LoadWith({"--fromenv=threads,listen,flagfile", "--tryfromenv=drain_timeout"},
               {{"a", "--upstream=1.2.3.4:5\n"}}, facts);
  ASSERT_THAT(good.errors, IsEmpty());
  EXPECT_EQ(good.snapshot->threads, 6u);
  EXPECT_THAT(
      ErrorsOf(LoadWith(
          {"--listen=:80", "--upstream=1.2.3.4:5", "--fromenv=drain_timeout,backlog,fromenv,"}, {},
          facts)),
      ElementsAre(
          "command line: --fromenv: FLAGS_drain_timeout is not set in the environment; set "
          "it, or use --tryfromenv",
          "FLAGS_fromenv: --fromenv: it cannot come from the environment; write it as a flag",
          "command line: --fromenv: a name is missing; write --fromenv=NAME[,NAME...]",
          "FLAGS_backlog: --backlog: \"many\" is not a number; write a whole number of 1 to "
          "65535"));
}

TEST(LoadTest, UndefokPassesOverWhatIsNotKnown) {
  const LoadResult result = LoadMore({"--new_thing=5", "-c", "a", "--undefok=new_thing,newer"},
                                     {{"a", "--newer=1\n--undefok=newest\n--newest=2\n"}});
  EXPECT_THAT(result.errors, IsEmpty());
  EXPECT_EQ(result.action, Action::kRun);
  // A flag that is known is judged all the same.
  EXPECT_EQ(LoadMore({"--undefok=threads", "--threads=x"}).errors.size(), 1u);
}

// --- Against the machine

TEST(LoadTest, AutomaticLimitsFollowTheMachineAndAreNeverZero) {
  SystemFacts facts = Facts();
  facts.nofile_hard = 64;
  facts.cpus = 0;
  const LoadResult small = LoadWith({"--listen=:80", "--upstream=1.2.3.4:5"}, {}, facts);
  ASSERT_THAT(small.errors, IsEmpty());
  EXPECT_EQ(small.snapshot->pipes_per_worker, 4u);
  EXPECT_EQ(small.snapshot->max_connections, 18u);
  EXPECT_EQ(small.snapshot->threads, 1u);
  facts.nofile_hard = 10;
  const LoadResult tiny = LoadWith({"--listen=:80", "--upstream=1.2.3.4:5"}, {}, facts);
  EXPECT_EQ(tiny.snapshot->pipes_per_worker, 0u);
  EXPECT_EQ(tiny.snapshot->max_connections, 1u);
  facts.nofile_hard = ~uint64_t{0};
  facts.cpus = 5000;
  const LoadResult large = LoadWith({"--listen=:80", "--upstream=1.2.3.4:5"}, {}, facts);
  EXPECT_EQ(large.snapshot->max_connections, kMostConnections);
  EXPECT_EQ(large.snapshot->threads, kMostThreads);
}

TEST(LoadTest, TooManyConnectionsNameTheNumberThatWouldDo) {
  const char* line =
      "command line: --max_connections: 20000 connections need 40152 descriptors with all others, "
      "and the hard limit is 4096; 1972 would fit, or raise the limit of open files (nofile) to "
      "40152";
  EXPECT_THAT(ErrorsOf(LoadMore({"--max_connections=20000"})), ElementsAre(line));
  const LoadResult check = LoadMore({"--max_connections=20000", "--check"});
  EXPECT_EQ(check.action, Action::kCheck);
  EXPECT_EQ(check.exit_code, 0);
  EXPECT_THAT(check.warnings, ElementsAre(line));
  EXPECT_THAT(LoadMore({"--max_connections=1972"}).errors, IsEmpty());
}

TEST(LoadTest, TheLimitOfAnotherMachineMayBeGiven) {
  const LoadResult refused = LoadMore({"--max_connections=20000", "-t", "--nofile=8192"});
  EXPECT_EQ(refused.exit_code, kExitCheckFailed);
  EXPECT_THAT(refused.errors,
              ElementsAre(HasSubstr("20000 connections need 40152 descriptors with all others, and "
                                    "the hard limit is 8192; 4020 would fit")));
  EXPECT_EQ(LoadMore({"--max_connections=20000", "-t", "--nofile=40152"}).action, Action::kCheck);
  EXPECT_THAT(ErrorsOf(LoadMore({"--nofile=8192"})),
              ElementsAre("command line: --nofile: it is for --check only; raise the limit of open "
                          "files itself, as with ulimit -n or LimitNOFILE="));
  EXPECT_THAT(LoadMore({"-t", "--nofile=many"}).errors,
              ElementsAre(HasSubstr("--nofile: \"many\" is not a number")));
  EXPECT_THAT(ErrorsOf(LoadFile("--nofile=7\n--explain\n")), SizeIs(2));
}

TEST(LoadTest, ExplainSaysWhatFollows) {
  SystemFacts facts = Facts();
  const Arguments arguments = {"--listen=:8080,:8081 name=web backlog=5000",
                               "--upstream=127.0.0.1:9000,127.0.0.1:9001,unix:/x", "--explain"};
  EXPECT_EQ(
      LoadWith(arguments, {}, facts).text,
      "workers: 2 (auto), for 2 CPUs\n"
      "connections: at most 1971 (auto)\n"
      "descriptors: 4096 allowed; 3942 for connections, 154 reserved, with 2 listening "
      "addresses and 32 pipes for each worker\n"
      "memory: 1MiB for as many idle connections, at 512 bytes each, and what the kernel takes "
      "for their sockets\n"
      "backlog of web: 5000\n"
      "the configuration is valid\n");
  facts.first_local_port = 32768;
  facts.last_local_port = 60999;
  facts.somaxconn = 128;
  facts.memory_bytes = 1 << 30;
  facts.most_tracked_connections = 65536;
  facts.cpu_percent = 150;
  facts.tcp_pressure_bytes = 64 << 20;
  facts.tcp_most_bytes = 96 << 20;
  facts.strict_interfaces = {"a", "b", "c", "d", "e"};
  Arguments more = arguments;
  more.insert(more.end(), {"--nofile=100000", "--max_connections=40000", "--threads=1", "-t"});
  const LoadResult result = LoadWith(more, {}, facts);
  EXPECT_EQ(result.action, Action::kCheck);
  EXPECT_EQ(result.text,
            "workers: 1, for 2 CPUs; the cgroup allows 150% of one CPU\n"
            "connections: at most 40000\n"
            "descriptors: 100000 allowed; 80000 for connections, 85 reserved, with 2 listening "
            "addresses and 32 pipes for each worker\n"
            "memory: 20MiB for as many idle connections, at 512 bytes each, and what the kernel "
            "takes for their sockets; the cgroup allows 1024MiB\n"
            "memory limit: 1024MiB (auto); at 90% nobody is accepted\n"
            "memory of TCP: 96MiB for all sockets of the machine, sparingly from 64MiB "
            "(net.ipv4.tcp_mem)\n"
            "local ports: 32768-60999 (net.ipv4.ip_local_port_range), 28232 connections to each "
            "server from each address\n"
            "  upstream default: 56464\n"
            "backlog of web: 128, not 5000 (net.core.somaxconn)\n"
            "conntrack: 65536 connections; each through the proxy is two\n"
            "reverse path: what comes in by another way than an answer would go is dropped on "
            "a, b, c, d and 1 more (rp_filter)\n"
            "the configuration is valid\n");
  EXPECT_THAT(result.warnings,
              ElementsAre("command line: --listen: a backlog of 5000 is more than the kernel's "
                          "limit; it will be 128, or raise net.core.somaxconn"));
}

TEST(LoadTest, EachLocalAddressHasPortsOfItsOwn) {
  SystemFacts facts = Facts();
  facts.first_local_port = 10000;
  facts.last_local_port = 10099;
  const LoadResult result =
      LoadWith({"--listen=:1", "--route=sni=x upstream=b",
                "--upstream=name=a servers=10.0.0.1:1,[2001:db8::1]:1 source=10.0.0.7,10.0.0.8",
                "--upstream=name=b servers=unix:/x,host:1 source=10.0.0.7,10.0.0.8,2001:db8::2",
                "--explain", "-t"},
               {}, facts);
  // Of the family of the server, and the kernel's choice where there is none of it.
  EXPECT_THAT(result.text, HasSubstr("  upstream a: 300\n"));
  EXPECT_THAT(result.text, HasSubstr("  upstream b: 300\n"));
}

TEST(LoadTest, FastOpenThatTheKernelDoesNotAllowIsAWarning) {
  SystemFacts facts = Facts();
  const std::map<std::string, std::string> files = {
      {"lines",
       "--listen=:1 upstream=a tfo=64\n--listen=:2 upstream=b\n--upstream=1.2.3.4:5 name=a tfo=1\n"
       "--upstream=name=b\n--server=upstream=b addr=1.2.3.4:6 tfo=1\n"},
      {"all", "--tfo=64\n--listen=:1\n--upstream=1.2.3.4:5\n"}};
  const auto warnings = [&](const std::string& file, uint32_t sysctl) {
    facts.fast_open = sysctl;
    return LoadWith({"-c", file, "-t"}, files, facts).warnings;
  };
  EXPECT_THAT(warnings("lines", 3), IsEmpty());
  EXPECT_THAT(warnings("lines", 1),
              ElementsAre("lines:1:1: --listen: tfo: the kernel takes nothing that comes with a "
                          "SYN; first bytes will go after the handshake, or set "
                          "net.ipv4.tcp_fastopen to 3"));
  EXPECT_THAT(
      warnings("lines", 2),
      ElementsAre(HasSubstr("lines:3:1: --upstream: tfo: the kernel sends nothing with a SYN"),
                  HasSubstr("lines:5:1: --server: tfo: the kernel sends nothing")));
  EXPECT_THAT(warnings("all", 3), IsEmpty());
  EXPECT_THAT(warnings("all", 1), ElementsAre(HasSubstr("all:1:1: --tfo: tfo: the kernel takes")));
  EXPECT_THAT(warnings("all", 0), ElementsAre(HasSubstr("all:1:1: --tfo: tfo: the kernel sends")));
  facts.fast_open.reset();
  EXPECT_THAT(LoadWith({"-c", "all", "-t"}, files, facts).warnings, IsEmpty());
}

TEST(LoadTest, WhatThisMachineLacksIsAWarningOfACheck) {
  SystemFacts facts = Facts();
  facts.cpu_list = {0, 1};
  facts.somaxconn = 128;
  facts.owner_exists = [](const std::string& owner) { return owner == "root"; };
  const std::map<std::string, std::string> files = {
      {"a",
       "--listen=unix:/a owner=root\n--listen=unix:/b owner=www\n--upstream=1.2.3.4:5\n"
       "--cpu_affinity=1-2\n"}};
  EXPECT_THAT(LoadWith({"-c", "a", "-t"}, files, facts).warnings,
              ElementsAre("a:2:1: --listen: owner=www: there is no such user or group on this "
                          "machine",
                          "a:4:1: --cpu_affinity: CPU 2 is none that may be used on this machine; "
                          "those are 0-1"));
  EXPECT_THAT(LoadWith({"-c", "a"}, files, facts).warnings, IsEmpty());
  EXPECT_THAT(LoadMore({"--backlog=129", "--backlog=127"}).warnings, IsEmpty());
}

TEST(LoadTest, ALoopByAnAddressOfThisMachineIsAnErrorAtStartOnly) {
  SystemFacts facts = Facts();
  Address own;
  own.kind = Address::Kind::kIpv4;
  own.ip = {10, 0, 0, 7};
  facts.own_addresses = {own};
  const Arguments arguments = {"--listen=:80", "--upstream=10.0.0.7:80"};
  EXPECT_THAT(ErrorsOf(LoadWith(arguments, {}, facts)),
              ElementsAre(HasSubstr("10.0.0.7:80 is our own listener :80")));
  const LoadResult check = LoadWith({arguments[0], arguments[1], "-t"}, {}, facts);
  EXPECT_EQ(check.exit_code, 0);
  EXPECT_THAT(check.warnings, ElementsAre(HasSubstr("10.0.0.7:80 is our own listener :80")));
  EXPECT_THAT(LoadWith({"--listen=10.0.0.7:80", "--upstream=10.0.0.7:80", "-t"}, {}, facts).errors,
              ElementsAre(HasSubstr("our own listener")));
  EXPECT_THAT(LoadWith({"--listen=127.0.0.1:80", "--upstream=10.0.0.7:80"}, {}, facts).errors,
              IsEmpty());
}

TEST(LoadTest, AnAddressOfAMissingFamilyIsAWarning) {
  SystemFacts facts = Facts();
  facts.ipv6 = false;
  const LoadResult result = LoadWith({"--listen=[::1]:80", "--upstream=1.2.3.4:5"}, {}, facts);
  EXPECT_EQ(result.action, Action::kRun);
  EXPECT_THAT(result.warnings, ElementsAre(HasSubstr("[::1]:80 is IPv6, which this machine does")));
  EXPECT_THAT(LoadWith({"--listen=:80", "--upstream=1.2.3.4:5"}, {}, facts).warnings, IsEmpty());
}

TEST(LoadTest, RoutesLeadFromListenersToUpstreams) {
  const LoadResult result = LoadWith({"-f", "a"}, {{"a",
                                                    "--route=sni=*.Example.org,a.b alpn=h2 "
                                                    "listen=web upstream=two\n"
                                                    "--route=listen=web protocol=ssh upstream=one\n"
                                                    "--listen=:443 name=web\n"
                                                    "--listen=:80 upstream=one max_connections=7\n"
                                                    "--upstream=1.2.3.4:5 name=one\n"
                                                    "--upstream=1.2.3.4:6 name=two\n"}});
  ASSERT_THAT(result.errors, IsEmpty());
  const Snapshot& snapshot = *result.snapshot;
  EXPECT_EQ(snapshot.listeners[0].upstream, kNoUpstream);
  EXPECT_EQ(snapshot.listeners[1].upstream, 0u);
  EXPECT_EQ(snapshot.listeners[1].max_connections, 7u);
  ASSERT_EQ(snapshot.routes.size(), 2u);
  EXPECT_THAT(snapshot.routes[0].sni, ElementsAre("*.example.org", "a.b"));
  EXPECT_THAT(snapshot.routes[0].alpn, ElementsAre("h2"));
  EXPECT_EQ(snapshot.routes[0].upstream, 1u);
  EXPECT_EQ(snapshot.routes[1].protocol, RouteProtocol::kSsh);
  const std::string dump =
      "--listen=:443 name=web\n"
      "--listen=:80 upstream=one max_connections=7\n"
      "--upstream=1.2.3.4:5 name=one\n"
      "--upstream=1.2.3.4:6 name=two\n"
      "--route=listen=web sni=*.example.org,a.b alpn=h2 upstream=two\n"
      "--route=listen=web protocol=ssh upstream=one\n";
  const LoadResult dumped = LoadWith({"-T", "-f", "a"}, {{"a", dump}});
  EXPECT_THAT(dumped.errors, IsEmpty());
  EXPECT_EQ(dumped.text, dump);
}

TEST(LoadTest, ARouteThatLeadsNowhereIsRefused) {
  const auto errors = [](const std::string& route) {
    return ErrorsOf(LoadWith({"--listen=:443 name=web upstream=one", "--listen=:80 upstream=one",
                              "--upstream=1.2.3.4:5 name=one", "--upstream=1.2.3.4:6 name=two",
                              "--route=" + route}));
  };
  EXPECT_THAT(errors("sni=a upstream=two"), ElementsAre(HasSubstr("listen= is missing")));
  EXPECT_THAT(errors("listen=wbe sni=a upstream=two"),
              ElementsAre(HasSubstr("there is no listener \"wbe\"; write name=wbe on its --listen "
                                    "line (did you mean web?)")));
  EXPECT_THAT(errors("listen=web sni=a"), ElementsAre(HasSubstr("upstream= is missing")));
  EXPECT_THAT(errors("listen=web sni=a upstream=three"),
              ElementsAre(HasSubstr("there is no upstream \"three\"")));
  EXPECT_THAT(errors("listen=web upstream=two"), ElementsAre(HasSubstr("it is for every client")));
  EXPECT_THAT(errors("listen=web protocol=ssh sni=a upstream=two"),
              ElementsAre(HasSubstr("keep one of them")));
  EXPECT_THAT(errors("listen=web sni=a..b/c upstream=two"),
              ElementsAre(HasSubstr("no name of a host")));
  EXPECT_THAT(errors("web sni=a upstream=two"), ElementsAre(HasSubstr("is not KEY=VALUE")));
  EXPECT_THAT(errors("listen=web protocol=smtp upstream=two"), ElementsAre(HasSubstr("smtp")));
  EXPECT_THAT(errors("listen=web idle_timeout=1s sni=a upstream=two"),
              ElementsAre(HasSubstr("it belongs on --listen")));
}

TEST(LoadTest, AListenerWithoutAnUpstreamNeedsRoutesThatAreItsOwn) {
  EXPECT_THAT(ErrorsOf(LoadWith({"--listen=:443 name=web", "--upstream=1.2.3.4:5 name=one",
                                 "--upstream=1.2.3.4:6 name=two"})),
              ElementsAre(HasSubstr("upstream= is missing")));
  const LoadResult one =
      LoadWith({"--listen=:443", "--upstream=1.2.3.4:5", "--route=protocol=ssh"});
  ASSERT_THAT(one.errors, IsEmpty());
  EXPECT_EQ(one.snapshot->listeners[0].upstream, 0u) << "the only upstream";
}

TEST(LoadTest, FilesOfPrefixesAreReadAtOnce) {
  const Arguments arguments = {"--listen=:80 allow=10.0.0.0/8,@good", "--upstream=1.2.3.4:5"};
  const LoadResult result = LoadWith(arguments, {{"good", "192.0.2.0/24\n::1\n"}});
  ASSERT_THAT(result.errors, IsEmpty());
  EXPECT_EQ(result.snapshot->prefix_files.at("good").size(), 2u);
  EXPECT_THAT(ErrorsOf(LoadWith(arguments)), ElementsAre(HasSubstr("good: --allow: it cannot be")));
  EXPECT_THAT(ErrorsOf(LoadWith(arguments, {{"good", "::1\nno\n"}})),
              ElementsAre(HasSubstr("good: --allow: line 2: \"no\" is no prefix")));
}

TEST(LoadTest, WhoAcceptsProxyHeadersSaysFromWhom) {
  EXPECT_THAT(ErrorsOf(LoadMore({"--accept_proxy=on"})),
              ElementsAre(HasSubstr("accept_proxy= needs proxy_trusted=")));
  EXPECT_THAT(LoadMore({"--accept_proxy=on", "--proxy_trusted=0.0.0.0/0,::/0"}).errors, IsEmpty());
}

}  // namespace
}  // namespace parkway::config
