#include "config/passed.h"

#include <string>
#include <vector>

#include "config/address.h"
#include "config/load.h"
#include "config/snapshot.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/config/fake_files.h"

namespace parkway::config {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

PassedSocket Passed(const std::string& name, const std::string& address) {
  return {name, *ParseAddress(address, AddressUse::kListens)};
}

LoadResult LoadWith(std::vector<std::string> arguments, std::vector<PassedSocket> passed) {
  SystemFacts facts;
  facts.passed = std::move(passed);
  arguments.push_back("--upstream=127.0.0.1:9000");
  FakeFiles files;
  return Load(arguments, facts, files);
}

std::vector<std::string> AddressesOf(const LoadResult& result) {
  std::vector<std::string> texts;
  EXPECT_THAT(result.errors, IsEmpty());
  if (!result.snapshot.has_value()) return texts;
  for (const Address& address : result.snapshot->listeners[0].addresses) {
    texts.push_back(address.ToString());
  }
  return texts;
}

TEST(PassedTest, AListenerWithoutAddressesHasThoseOfItsName) {
  const LoadResult result =
      LoadWith({"--listen=name=web", "--listen=:1 name=sql"},
               {Passed("web", "[::]:443"), Passed("web", "unix:/run/web.sock")});
  EXPECT_THAT(AddressesOf(result), ElementsAre("[::]:443", "unix:/run/web.sock"));
}

TEST(PassedTest, ASocketMustListenWhereItsListenerSaysItDoes) {
  EXPECT_THAT(AddressesOf(LoadWith({"--listen=:443,127.0.0.1:80 name=web"},
                                   {Passed("web", "[::]:443"), Passed("web", "127.0.0.1:80")})),
              ElementsAre(":443", "127.0.0.1:80"));
  const LoadResult result =
      LoadWith({"--listen=:443,127.0.0.1:80 name=web"}, {Passed("web", "[::]:8443")});
  EXPECT_EQ(kExitConfig, result.exit_code);
  EXPECT_THAT(result.errors,
              ElementsAre("command line: --listen: the socket web that was passed to us listens on "
                          "[::]:8443, and the listener web on :443, 127.0.0.1:80; write the same "
                          "here and in ListenStream=, or leave addr= out"));
}

TEST(PassedTest, ASocketThatNobodyClaimsIsAnError) {
  const LoadResult result =
      LoadWith({"--listen=:443 name=web"}, {Passed("parkway.socket", "[::]:443")});
  EXPECT_EQ(kExitConfig, result.exit_code);
  EXPECT_THAT(
      result.errors,
      ElementsAre("--listen: a socket called parkway.socket was passed to us, which listens "
                  "on [::]:443, and there is no listener name=parkway.socket, so its "
                  "clients would wait for ever; the names are web"));
}

TEST(PassedTest, AListenerWithoutAddressesNeedsASocket) {
  const LoadResult result = LoadWith({"--listen=name=web"}, {});
  EXPECT_EQ(kExitConfig, result.exit_code);
  EXPECT_THAT(
      result.errors,
      ElementsAre("command line: --listen: addr= is missing, and no socket called web was "
                  "passed to us; write addr=IP:PORT or addr=:PORT, or start the socket unit "
                  "with FileDescriptorName=web"));
}

TEST(PassedTest, WhoOnlyLooksNeedsNone) {
  EXPECT_EQ(Action::kCheck, LoadWith({"--listen=name=web", "--check"}, {}).action);
  const LoadResult dumped = LoadWith({"--listen=name=web", "--dump_config"}, {});
  EXPECT_EQ("--listen=name=web\n--upstream=127.0.0.1:9000\n", dumped.text);
}

}  // namespace
}  // namespace parkway::config
