#include "config/grammar.h"

#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "config/source.h"
#include "config/text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace parkway::config {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

SourceText At(std::string_view text) { return SourceText(text, {"f", 1, 1}); }

// "column:key=|value|value", or the errors.
std::vector<std::string> Words(std::string_view text) {
  Problems problems;
  std::vector<std::string> shown;
  const std::optional<std::vector<Word>> words = SplitWords("listen", At(text), &problems);
  if (!words.has_value()) return problems.Lines();
  EXPECT_TRUE(problems.empty());
  for (const Word& word : *words) {
    std::string one = Cat(word.place.column, ":");
    if (word.key.has_value()) one += *word.key + "=";
    for (const Piece& piece : word.values) one += "|" + piece.text;
    shown.push_back(one);
  }
  return shown;
}

std::vector<std::string> ListenErrors(std::string_view text) {
  Problems problems;
  const ListenLine line = ParseListen({"f", 1, 1}, At(text), &problems);
  EXPECT_EQ(line.complete, problems.empty());
  return problems.Lines();
}

std::vector<std::string> UpstreamErrors(std::string_view text) {
  Problems problems;
  const UpstreamLine line = ParseUpstream({"f", 1, 1}, At(text), &problems);
  EXPECT_EQ(line.complete, problems.empty());
  return problems.Lines();
}

std::vector<std::string> ServerErrors(std::string_view text) {
  Problems problems;
  const ServerLine line = ParseServer({"f", 1, 1}, At(text), &problems);
  EXPECT_EQ(line.complete, problems.empty());
  return problems.Lines();
}

TEST(GrammarTest, WordsAreSplitAtBlanksAndValuesAtCommas) {
  EXPECT_THAT(Words(""), IsEmpty());
  EXPECT_THAT(Words("  a\t b=c  "), ElementsAre("3:|a", "6:b=|c"));
  EXPECT_THAT(Words("a,b,,c, k=1,2"), ElementsAre("1:|a|b||c|", "9:k=|1|2"));
  EXPECT_THAT(Words("k= k2=a=b"), ElementsAre("1:k=|", "4:k2=|a=b"));
}

TEST(GrammarTest, QuotesOpenAndCloseAnywhere) {
  EXPECT_THAT(Words("\"a b\",c\" \"d \"\""), ElementsAre("1:|a b|c d", "13:|"));
  EXPECT_THAT(Words("k=\"a,b\",c"), ElementsAre("1:k=|a,b|c"));
  EXPECT_THAT(Words("k=\"\\\"\\\\\\r\\n\" \\x"), ElementsAre("1:k=|\"\\\\r\\n", "14:|\\x"));
  EXPECT_THAT(Words("\"k=\"v"), ElementsAre("1:|k=v"));
  EXPECT_THAT(Words("unix:/a=b"), ElementsAre("1:|unix:/a=b"));
  EXPECT_THAT(Words("a b\"c d"), ElementsAre("f:1:4: --listen: the quote is not closed; write "
                                             "another \" behind it"));
}

TEST(GrammarTest, WhatIsQuotedForALineIsReadBackAsTheSame) {
  EXPECT_EQ(QuotedIfNeeded("unix:/a"), "unix:/a");
  EXPECT_EQ(QuotedIfNeeded("unix:/a b"), "\"unix:/a b\"");
  EXPECT_EQ(QuotedIfNeeded(""), "\"\"");
  std::mt19937 random(3);
  constexpr std::string_view kLetters = "ab \t\",\\=#:";
  for (int i = 0; i < 2000; ++i) {
    std::string value;
    for (size_t n = random() % 8; n > 0; --n) value += kLetters[random() % kLetters.size()];
    const std::string text = "k=" + QuotedIfNeeded(value) + ",x";
    EXPECT_THAT(Words(text), ElementsAre("1:k=|" + value + "|x")) << text;
  }
}

TEST(GrammarTest, AListenerHasAddressesFirstOrByName) {
  Problems problems;
  for (const char* text :
       {":80,unix:/x name=web upstream=app", "name=web upstream=app addr=:80,unix:/x",
        "addr=:80,unix:/x upstream=\"app\" name=web"}) {
    const ListenLine line = ParseListen({"f", 1, 1}, At(text), &problems);
    EXPECT_THAT(problems.Lines(), IsEmpty()) << text;
    EXPECT_EQ(line.name->text, "web");
    EXPECT_EQ(line.upstream->text, "app");
    ASSERT_EQ(line.addresses.size(), 2u);
    EXPECT_EQ(line.addresses[1].address.ToString(), "unix:/x");
  }
  EXPECT_EQ(ParseListen({}, At(":80,unix:/x"), &problems).addresses[1].place.column, 5);
}

TEST(GrammarTest, AnUpstreamHasServersFirstOrByName) {
  Problems problems;
  const UpstreamLine line = ParseUpstream({"f", 1, 1}, At("1.2.3.4:5,[::1]:6 name=app"), &problems);
  EXPECT_THAT(problems.Lines(), IsEmpty());
  EXPECT_EQ(line.name->text, "app");
  ASSERT_EQ(line.servers.size(), 2u);
  EXPECT_EQ(line.servers[1].address.ToString(), "[::1]:6");
}

TEST(GrammarTest, AServerHasOneAddress) {
  Problems problems;
  for (const char* text : {"unix:/x upstream=app name=a", "name=a upstream=app addr=unix:/x"}) {
    const ServerLine line = ParseServer({"f", 1, 1}, At(text), &problems);
    EXPECT_THAT(problems.Lines(), IsEmpty());
    EXPECT_EQ(line.name->text, "a");
    EXPECT_EQ(line.upstream->text, "app");
    EXPECT_EQ(line.address->address.ToString(), "unix:/x");
  }
  EXPECT_THAT(ServerErrors("1.2.3.4:5,1.2.3.4:6"),
              ElementsAre("f:1:11: --server: addr= takes one value; remove what follows the "
                          "comma"));
}

TEST(GrammarTest, ASettingIsReadAsItsFlagIs) {
  Problems problems;
  const ListenLine line =
      ParseListen({"f", 1, 1}, At(":80 idle_timeout=\"8h\" splice=off backlog=7"), &problems);
  EXPECT_THAT(problems.Lines(), IsEmpty());
  Scalars scalars = DefaultScalars();
  scalars.rcvbuf = 4096;
  const Scalars set = WithSettings(scalars, line.settings);
  scalars.idle_timeout = absl::Hours(8);
  scalars.splice = Splice::kOff;
  scalars.backlog = 7;
  EXPECT_EQ(set, scalars);
  EXPECT_THAT(
      ListenErrors(":80 backlog=x idle_timeout=5 splice=auto,off"),
      ElementsAre("f:1:42: --listen: splice= takes one value; remove what follows the comma",
                  "f:1:13: --listen: backlog=: \"x\" is not a number; write a whole number "
                  "of 1 to 65535",
                  "f:1:28: --listen: idle_timeout=: \"5\" has no unit; a duration needs a "
                  "unit, such as 5s"));
}

TEST(GrammarTest, ABooleanMayStandWithoutAValue) {
  Problems problems;
  const ListenLine line = ParseListen({"f", 1, 1}, At(":80 v6only name=a"), &problems);
  EXPECT_THAT(problems.Lines(), IsEmpty());
  EXPECT_TRUE(WithSettings(DefaultScalars(), line.settings).v6only);
  EXPECT_THAT(ListenErrors(":80 v6only=on v6only"),
              ElementsAre("f:1:15: --listen: v6only= is on this line twice; keep one"));
  EXPECT_THAT(ListenErrors(":80 v6only,on"), SizeIs(1));
  EXPECT_THAT(
      ListenErrors(":80 v6only="),
      ElementsAre("f:1:12: --listen: v6only=: \"\" is neither on nor off; write on or off"));
}

TEST(GrammarTest, AUnixSocketMayHaveAModeAndAnOwner) {
  Problems problems;
  const ListenLine line =
      ParseListen({"f", 1, 1}, At("unix:/a mode=660 owner=www-data:adm"), &problems);
  EXPECT_THAT(problems.Lines(), IsEmpty());
  EXPECT_EQ(line.mode, 0660u);
  EXPECT_EQ(line.owner, "www-data:adm");
  EXPECT_THAT(ListenErrors("unix:/a mode=888 owner=:x"),
              ElementsAre("f:1:14: --listen: \"888\" is not the mode of a socket; write octal "
                          "digits, such as 0660",
                          "f:1:24: --listen: \":x\" is not an owner; write USER or USER:GROUP"));
  EXPECT_THAT(ListenErrors(":80,unix:@a owner=root"),
              ElementsAre("f:1:1: --listen: owner= is for unix sockets with a path, and there is "
                          "none; remove it"));
}

TEST(GrammarTest, AWrongKeyIsToldWhereItBelongs) {
  EXPECT_THAT(ListenErrors(":80 nmae=web"),
              ElementsAre("f:1:5: --listen: nmae= is no key of --listen; the keys are addr name "
                          "upstream mode owner max_connections, and flags with [L] in --help (did "
                          "you mean name?)"));
  EXPECT_THAT(ListenErrors(":80 servers=1.2.3.4:5"),
              ElementsAre("f:1:5: --listen: servers= is no key of --listen; it belongs on "
                          "--upstream"));
  EXPECT_THAT(UpstreamErrors("addr=1.2.3.4:5"),
              ElementsAre("f:1:1: --upstream: addr= is no key of --upstream; it belongs on "
                          "--listen and --server"));
  EXPECT_THAT(ListenErrors(":80 threads=8"),
              ElementsAre("f:1:5: --listen: threads= is no key of --listen; write "
                          "--threads=auto|N on a line of its own"));
  EXPECT_THAT(ListenErrors(":80 connect_timeout=8s"),
              ElementsAre("f:1:5: --listen: connect_timeout= is no key of --listen; it belongs on "
                          "--upstream and --server; or write --connect_timeout=DURATION on a line "
                          "of its own"));
  EXPECT_THAT(UpstreamErrors("1.2.3.4:5 idle_timout=8s"),
              ElementsAre("f:1:11: --upstream: idle_timout= is no key of --upstream; the keys are "
                          "servers servers_file name, and flags with [U] in --help"));
  EXPECT_THAT(
      ListenErrors(":80 idle_timout=8s"),
      ElementsAre(
          "f:1:5: --listen: idle_timout= is no key of --listen; the keys are addr "
          "name upstream mode owner max_connections, and flags with [L] in --help (did you mean "
          "idle_timeout?)"));
}

TEST(GrammarTest, AKeyIsOnALineOnce) {
  EXPECT_THAT(ListenErrors(":80 name=a name=b"),
              ElementsAre("f:1:12: --listen: name= is on this line twice; keep one"));
  EXPECT_THAT(ListenErrors(":80 addr=:81"),
              ElementsAre("f:1:5: --listen: addr= is on this line twice; write its values once, "
                          "separated by commas"));
  EXPECT_THAT(ListenErrors(":80 name=a,b"),
              ElementsAre("f:1:12: --listen: name= takes one value; remove what follows the "
                          "comma"));
}

TEST(GrammarTest, ABareWordIsNoKey) {
  EXPECT_THAT(ListenErrors(":80 :81"),
              ElementsAre("f:1:5: --listen: \":81\" is not KEY=VALUE; several addresses are "
                          "separated by commas without blanks, and the keys are addr name "
                          "upstream mode owner max_connections, and flags with [L] in --help"));
  EXPECT_THAT(ListenErrors(":80 name web"),
              ElementsAre("f:1:5: --listen: \"name\" is not KEY=VALUE; write name=NAME",
                          "f:1:10: --listen: \"web\" is not KEY=VALUE; several addresses are "
                          "separated by commas without blanks, and the keys are addr name "
                          "upstream mode owner max_connections, and flags with [L] in --help"));
}

TEST(GrammarTest, WhatIsMissingIsTold) {
  EXPECT_THAT(ListenErrors("  "),
              ElementsAre("f:1:1: --listen: it has no value; write --listen=ADDR[,ADDR...]"));
  EXPECT_THAT(ListenErrors("upstream=app"),
              ElementsAre("f:1:1: --listen: addr= is missing; write addr=IP:PORT or addr=:PORT"));
  EXPECT_THAT(ServerErrors("upstream=app"),
              ElementsAre("f:1:1: --server: addr= is missing; write addr=HOST:PORT"));
  EXPECT_THAT(UpstreamErrors("1.2.3.4:5,"),
              ElementsAre("f:1:11: --upstream: an address is missing; write NAME:PORT, IP:PORT, "
                          "[IPv6]:PORT, unix:PATH or unix:@NAME"));
}

TEST(GrammarTest, AllThatIsWrongWithALineIsTold) {
  EXPECT_THAT(ListenErrors("addr=:0,:80,::1 name=a/b color=red"),
              ElementsAre("f:1:26: --listen: color= is no key of --listen; the keys are addr name "
                          "upstream mode owner max_connections, and flags with [L] in --help",
                          "f:1:6: --listen: \"0\" is not a port; a port is 1 to 65535",
                          "f:1:13: --listen: \"::1\" is IPv6 without brackets; write [::1]:80",
                          "f:1:22: --listen: \"a/b\" is not a name; a name is 1 to 64 of A-Z a-z "
                          "0-9 _ . -"));
}

}  // namespace
}  // namespace parkway::config
