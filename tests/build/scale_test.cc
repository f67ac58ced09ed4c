// The table of counts knows which build it is in, and never grows under a sanitizer.
#include "tests/scale.h"

#include <cstdlib>
#include <string>

#include "gtest/gtest.h"

namespace parkway {
namespace {

// .bazelrc names the build in the test's environment.
TEST(ScaleTest, TheBuildIsTheOneThatBazelWasAskedFor) {
  const char* asked = std::getenv("PARKWAY_FLAVOUR");
  const std::string flavour = asked == nullptr ? "opt" : asked;
  EXPECT_EQ(scale::kBuild, flavour == "asan"   ? scale::Build::kAsan
                           : flavour == "tsan" ? scale::Build::kTsan
                                               : scale::Build::kOptimised);
}

TEST(ScaleTest, ASanitizerNeverDoesMore) {
#define PARKWAY_SCALE(name, optimised, asan, tsan) \
  EXPECT_LE(asan, optimised) << #name;             \
  EXPECT_LE(tsan, asan) << #name;                  \
  EXPECT_GT(tsan, 0) << #name;                     \
  EXPECT_TRUE(scale::name == optimised || scale::name == asan || scale::name == tsan) << #name;
#include "tests/scale.def"
#undef PARKWAY_SCALE
}

TEST(ScaleTest, ParkedStacksStayBelowWhatTsanBears) {
  if (scale::kBuild == scale::Build::kTsan) {
    EXPECT_LE(scale::parked_stacks, 1000);
  } else {
    EXPECT_GT(scale::parked_stacks, 1000);
  }
}

}  // namespace
}  // namespace parkway
