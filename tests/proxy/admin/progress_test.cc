#include "proxy/admin/progress.h"

#include "gtest/gtest.h"

namespace parkway::admin {
namespace {

TEST(ProgressBarTest, ATerminalShowsABarThatTakesThePlaceOfTheOneBefore) {
  ProgressBar bar(100);
  EXPECT_EQ(bar.End(), "") << "nothing is drawn";
  EXPECT_EQ(bar.Draw("15/30 stop: 15 left"),
            "\r\x1b[K[###############...............]  50%  stop: 15 left");
  EXPECT_EQ(bar.Draw("30/30 stop"), "\r\x1b[K[##############################] 100%  stop");
  EXPECT_EQ(bar.End(), "\n");
  EXPECT_EQ(bar.End(), "");
}

TEST(ProgressBarTest, ABarIsNeverWiderThanTheTerminal) {
  ProgressBar bar(20);
  EXPECT_EQ(bar.Draw("0/1 x").size(), std::string("\r\x1b[K").size() + 19);
}

TEST(ProgressBarTest, ElsewhereEachIsALine) {
  ProgressBar bar(0);
  EXPECT_EQ(bar.Draw("1/4 a b"), " 25%  a b\n");
  EXPECT_EQ(bar.Draw("0/0 none"), "100%  none\n") << "nothing to do is done";
  EXPECT_EQ(bar.Draw("9/4 more"), "100%  more\n");
  EXPECT_EQ(bar.Draw("no numbers"), "no numbers\n");
  EXPECT_EQ(bar.Draw("1/x y"), "1/x y\n");
  EXPECT_EQ(bar.End(), "");
}

}  // namespace
}  // namespace parkway::admin
