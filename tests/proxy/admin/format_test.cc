#include "proxy/admin/format.h"

#include "gtest/gtest.h"

namespace parkway::admin {
namespace {

TEST(FormatTest, BytesHaveTwoOrThreeFiguresAndAUnit) {
  EXPECT_EQ(ShortBytes(0), "0");
  EXPECT_EQ(ShortBytes(1023), "1023");
  EXPECT_EQ(ShortBytes(1024), "1.0K");
  EXPECT_EQ(ShortBytes(3'407'872), "3.2M");
  EXPECT_EQ(ShortBytes(12u << 20), "12M");
  EXPECT_EQ(ShortBytes((1024u << 20) - 1), "1.0G") << "never 1024M";
  EXPECT_EQ(ShortBytes(UINT64_MAX), "16E");
}

TEST(FormatTest, TimesHaveOneOrTwoUnits) {
  EXPECT_EQ(ShortTime(absl::ZeroDuration()), "0");
  EXPECT_EQ(ShortTime(absl::Microseconds(24)), "24us");
  EXPECT_EQ(ShortTime(absl::Nanoseconds(99'600)), "0.1ms") << "never 100us";
  EXPECT_EQ(ShortTime(absl::Microseconds(300)), "0.3ms");
  EXPECT_EQ(ShortTime(absl::Milliseconds(12)), "12ms");
  EXPECT_EQ(ShortTime(absl::Milliseconds(3200)), "3.2s");
  EXPECT_EQ(ShortTime(absl::Milliseconds(59'960)), "1m0s") << "never 60.0s";
  EXPECT_EQ(ShortTime(absl::Seconds(125)), "2m5s");
  EXPECT_EQ(ShortTime(absl::Seconds(3725)), "1h2m");
  EXPECT_EQ(ShortTime(absl::Hours(76)), "3d4h");
  EXPECT_EQ(ShortTime(absl::Seconds(-1)), "0");
  EXPECT_EQ(ShortTime(absl::InfiniteDuration()), "-");
}

TEST(FormatTest, AMomentThatIsNoneIsADash) {
  EXPECT_EQ(ShownMoment(absl::FromUnixMillis(1'800'000'000'123)), "2027-01-15T08:00:00.123Z");
  EXPECT_EQ(ShownMoment(absl::InfinitePast()), "-");
  EXPECT_EQ(ShownMoment(absl::Time()), "-");
}

TEST(FormatTest, ColumnsAreAsWideAsTheirWidestAndNumbersStandToTheRight) {
  Columns columns({"NAME", ">N", "REST"});
  columns.Add({"a", "1000", "x"});
  columns.Add({"longer", "5", ""});
  EXPECT_EQ(columns.ToString(),
            "NAME       N  REST\n"
            "a       1000  x\n"
            "longer     5\n");
}

}  // namespace
}  // namespace parkway::admin
