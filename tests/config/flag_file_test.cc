#include "config/flag_file.h"

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

// "NAME=VALUE @ place of the flag / of the value", and then the errors.
std::vector<std::string> Read(std::string_view bytes) {
  Problems problems;
  std::vector<std::string> read;
  for (const FlagLine& line : ReadFlagText("f", bytes, &problems)) {
    read.push_back(Cat(line.name, "=", line.value.text(), " @ ", line.place.ToString(), " / ",
                       line.value.At(0).ToString()));
  }
  for (const std::string& error : problems.Lines()) read.push_back(error);
  return read;
}

TEST(FlagFileTest, BlankLinesAndCommentsAreNothing) {
  EXPECT_THAT(Read(""), IsEmpty());
  EXPECT_THAT(Read("\n\r\n  \t\n# a\n   # --threads=4\n\xef\xbb\xbf"),
              ElementsAre("f:6:1: \"\xef\xbb\xbf\" does not begin with --; write --NAME=VALUE"));
  EXPECT_THAT(Read("\xef\xbb\xbf# a mark before the text"), IsEmpty());
}

TEST(FlagFileTest, AScalarIsTheRestOfTheLine) {
  EXPECT_THAT(Read("--threads=4\n --idle_timeout= 1h \t\r\n--x=a # b=\"c\n--y="),
              ElementsAre("threads=4 @ f:1:1 / f:1:11", "idle_timeout=1h @ f:2:2 / f:2:18",
                          "x=a # b=\"c @ f:3:1 / f:3:5", "y= @ f:4:1 / f:4:5"));
}

TEST(FlagFileTest, AScalarMayBeInQuotes) {
  EXPECT_THAT(Read("--x=\" a \\\"\\\\ \\r \"  \n"), ElementsAre("x= a \"\\ \\r  @ f:1:1 / f:1:6"));
  EXPECT_THAT(Read("--x=\"a\" b\n"),
              ElementsAre("f:1:9: --x: \"b\" follows the closing quote; put all of the value in "
                          "quotes, or none"));
  EXPECT_THAT(Read("--x=\"a\n"),
              ElementsAre("f:1:5: --x: the quote is not closed on this line; write another \" "
                          "behind it"));
}

TEST(FlagFileTest, TheWordsOfAListKeepTheirQuotes) {
  EXPECT_THAT(Read("--listen=\"unix:/a b\" name=x\n"),
              ElementsAre("listen=\"unix:/a b\" name=x @ f:1:1 / f:1:10"));
  EXPECT_THAT(Read("--listen=:80 name=\"x\\\"\n"),
              ElementsAre("f:1:19: --listen: the quote is not closed on this line; write another "
                          "\" behind it"));
}

TEST(FlagFileTest, ABackslashJoinsLinesWithOneBlank) {
  EXPECT_THAT(
      Read("--listen=:80   \\\r\n\t name=a\\\n\\\n  upstream=b  \n--threads=2\n"),
      ElementsAre("listen=:80 name=a upstream=b @ f:1:1 / f:1:10", "threads=2 @ f:5:1 / f:5:11"));
  EXPECT_THAT(Read("--listen=\\\n:80"), ElementsAre("listen=:80 @ f:1:1 / f:2:1"));
}

TEST(FlagFileTest, PlacesAreThoseOfThePhysicalLine) {
  Problems problems;
  const std::vector<FlagLine> lines =
      ReadFlagText("f", "--listen=\xc3\xbc\xc3\xbc a \\\n   bc\n", &problems);
  ASSERT_EQ(lines.size(), 1u);
  const SourceText& value = lines[0].value;
  ASSERT_EQ(value.text(), "\xc3\xbc\xc3\xbc a bc");
  EXPECT_EQ(value.At(4).ToString(), "f:1:12");  // two characters of two bytes
  EXPECT_EQ(value.At(5).ToString(), "f:1:13");
  EXPECT_EQ(value.At(7).ToString(), "f:2:4");
  EXPECT_EQ(value.At(8).ToString(), "f:2:5");
  EXPECT_EQ(value.At(9).ToString(), "f:2:6");   // the end
  EXPECT_EQ(value.At(4).ToString(), "f:1:12");  // back again
  EXPECT_EQ(value.At(0).ToString(), "f:1:10");
}

TEST(FlagFileTest, ABackslashIsRefusedWhereItCannotJoin) {
  EXPECT_THAT(Read("# a \\\n--threads=2\n"),
              ElementsAre("threads=2 @ f:2:1 / f:2:11",
                          "f:1:5: a comment cannot be continued; remove the \\, and begin the next "
                          "line with #"));
  EXPECT_THAT(Read("--listen=:80 \\"),
              ElementsAre("f:1:14: --listen: the file ends after the \\; remove it"));
  EXPECT_THAT(Read("--listen=:80 \\\n"),
              ElementsAre("f:1:14: --listen: the file ends after the \\; remove it"));
  EXPECT_THAT(
      Read("--listen=\"unix:/a \\\n b\"\n--threads=2"),
      ElementsAre("threads=2 @ f:3:1 / f:3:11",
                  "f:1:19: --listen: the line is continued inside quotes; close them before "
                  "the \\"));
  EXPECT_THAT(Read("--listen=:80 \\ \nname=a\n"),
              ElementsAre("f:1:14: --listen: blanks follow the \\; remove them, or the \\",
                          "f:2:1: \"name=a\" does not begin with --; write --NAME=VALUE"));
  EXPECT_THAT(Read("--listen=:80 \\\n  # all\n--threads=2"),
              ElementsAre("threads=2 @ f:3:1 / f:3:11",
                          "f:2:3: --listen: a comment in the middle of a continued line; put it "
                          "before the line"));
}

TEST(FlagFileTest, WhatIsNoFlagIsTold) {
  EXPECT_THAT(Read("listen=:80\n"),
              ElementsAre("f:1:1: \"listen=:80\" does not begin with --; write --NAME=VALUE (did "
                          "you mean --listen?)"));
  EXPECT_THAT(Read("-threads=4\n"),
              ElementsAre("f:1:1: \"-threads=4\" begins with one -; write --NAME=VALUE (did you "
                          "mean --threads?)"));
  EXPECT_THAT(Read("parkway proxy*\n"),
              ElementsAre("f:1:1: \"parkway\" does not begin with --; write --NAME=VALUE"));
  EXPECT_THAT(Read("--\n"), ElementsAre("f:1:1: \"--\" has no name; write --NAME=VALUE"));
  EXPECT_THAT(Read("--=4\n"), ElementsAre("f:1:1: \"--=4\" has no name; write --NAME=VALUE"));
  EXPECT_THAT(Read("--thr+eads=4\n"),
              ElementsAre("f:1:6: \"--thr+eads=4\" is not a name; write --NAME=VALUE"));
}

TEST(FlagFileTest, AFlagWithoutAnEqualsSignIsTold) {
  EXPECT_THAT(Read("--threads 4\n"),
              ElementsAre("f:1:10: --threads: a blank instead of the =; write --threads=auto|N"));
  EXPECT_THAT(Read("--threads =4\n"),
              ElementsAre("f:1:10: --threads: a blank before the =; write --threads=auto|N"));
  EXPECT_THAT(Read("--threads\n"),
              ElementsAre("f:1:1: --threads: it has no value; write --threads=auto|N"));
  EXPECT_THAT(Read("--thread\n"),
              ElementsAre("f:1:1: --thread: it has no value; write --thread=VALUE (did you mean "
                          "--threads?)"));
  // What continues a line that is wrong is no line of its own.
  EXPECT_THAT(Read("--threads\\\n4\\\n5\n--backlog=1"),
              ElementsAre("backlog=1 @ f:4:1 / f:4:11",
                          "f:1:1: --threads: it has no value; write --threads=auto|N"));
}

TEST(FlagFileTest, ControlCharactersAreRefused) {
  EXPECT_THAT(Read("--x=a\x01z\n--y=a\rb\n"),
              ElementsAre("f:1:6: --x: the control character \"\\x01\"; remove it",
                          "f:2:6: --y: the control character \"\\x0d\"; remove it"));
  EXPECT_THAT(Read("--listen=:80 \\\n\x1b\n"),
              ElementsAre("f:2:1: --listen: the control character \"\\x1b\"; remove it"));
}

TEST(FlagFileTest, AFileThatIsNoTextHasOneError) {
  EXPECT_THAT(Read("--x=1\n--y=\xc3\xbc\xff\n--z\n"),
              ElementsAre("f:2:6: the byte \"\\xff\" is not UTF-8; save the file as UTF-8"));
  EXPECT_THAT(Read(std::string_view("--x=1\n\0\xff", 8)),
              ElementsAre("f:2:1: a zero byte; a flags file is text"));
}

}  // namespace
}  // namespace parkway::config
