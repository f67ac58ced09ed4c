#include "proxy/admin/command_table.h"

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"

namespace parkway::admin {
namespace {

TEST(CommandTableTest, WordsAreSplitAtBlanksOfAnyKindAndNumber) {
  EXPECT_EQ(SplitWords("  show \t info\r\n"), (std::vector<std::string_view>{"show", "info"}));
  EXPECT_TRUE(SplitWords(" \t ").empty());
  EXPECT_TRUE(SplitWords("").empty());
}

TEST(CommandTableTest, TheLongestNameIsFoundAndTheRestIsItsArguments) {
  const std::vector<std::string_view> words = {"server", "weight", "app/a", "1"};
  size_t used = 0;
  const Command* command = FindCommand(words, &used);
  ASSERT_NE(command, nullptr);
  EXPECT_EQ(command->words, "server weight");
  EXPECT_EQ(used, 2u);
}

TEST(CommandTableTest, NoCommandIsNamedTwiceAndNoneStandsInTheWayOfAnother) {
  std::set<std::string_view> names;
  for (const Command& command : CommandTable()) {
    EXPECT_TRUE(names.insert(command.words).second) << command.words;
    size_t used = 0;
    EXPECT_EQ(FindCommand(SplitWords(command.words), &used), &command) << command.words;
    EXPECT_FALSE(command.summary.empty());
    EXPECT_FALSE(command.summary.ends_with('.')) << command.words;
  }
}

TEST(CommandTableTest, WhatIsNoCommandIsExplainedWithTheNearestThatIs) {
  const auto explain = [](std::string_view line) { return ExplainUnknown(SplitWords(line)); };
  EXPECT_EQ(explain("show inof"), "unknown command \"show inof\"; did you mean show info?");
  EXPECT_EQ(explain("relaod"), "unknown command \"relaod\"; did you mean reload?");
  EXPECT_EQ(explain("listener"), "listener what? One of: pause, resume");
  EXPECT_EQ(explain("listener dance"),
            "unknown command \"listener dance\"; after listener comes one of: pause, resume");
  EXPECT_EQ(explain("xyzzy"), "unknown command \"xyzzy\"; help lists all commands");
  EXPECT_EQ(explain("\x01\xff"), ExplainUnknown(SplitWords("\x01\xff")));
  EXPECT_EQ(explain("\x01").find('\x01'), std::string::npos) << "control characters are escaped";
}

TEST(CommandTableTest, HelpOfOneCommandSaysMoreThanTheList) {
  const std::string all = HelpText("");
  for (const Command& command : CommandTable()) {
    EXPECT_NE(all.find(std::string(command.words)), std::string::npos);
    const std::string one = HelpText(command.words);
    EXPECT_NE(one.find(std::string(command.summary)), std::string::npos);
    EXPECT_NE(one.find(std::string(command.details)), std::string::npos);
  }
  EXPECT_EQ(HelpText("nothing of the kind"), "");
}

TEST(CommandTableTest, TheManPageHasAParagraphForEachCommand) {
  const std::string man = CommandsAsMan();
  size_t paragraphs = 0;
  for (size_t at = man.find(".TP\n"); at != std::string::npos; at = man.find(".TP\n", at + 1)) {
    ++paragraphs;
  }
  EXPECT_EQ(paragraphs, CommandTable().size());
  EXPECT_NE(man.find("\\-\\-dry_run"), std::string::npos) << "hyphens are minus signs";
}

}  // namespace
}  // namespace parkway::admin
