// Every library that deploy/bazel wraps can be included, linked and used in every configuration.
#include <benchmark/benchmark.h>
#include <gflags/gflags.h>
#include <glog/logging.h>

#include <boost/context/detail/fcontext.hpp>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

DEFINE_int32(libraries_test_answer, 42, "a flag of this test");

namespace parkway {
namespace {

TEST(LibrariesTest, AbseilContainersHash) {
  absl::flat_hash_map<std::string, int> map;
  for (int i = 0; i < 100; ++i) map[absl::StrCat("key", i)] = i;
  EXPECT_EQ(map.at("key77"), 77);
}

TEST(LibrariesTest, AbseilRandomRepeatsFromASeed) {
  absl::BitGen any;
  EXPECT_THAT(absl::Uniform(any, 1, 7), testing::AllOf(testing::Ge(1), testing::Le(6)));
}

TEST(LibrariesTest, AbseilStatusCarriesItsMessage) {
  absl::StatusOr<int> nothing = absl::NotFoundError("no such upstream");
  EXPECT_EQ(nothing.status().ToString(), "NOT_FOUND: no such upstream");
  EXPECT_EQ(absl::StatusOr<int>(3).value(), 3);
}

TEST(LibrariesTest, AbseilStringsAndSpansWork) {
  int number = 0;
  EXPECT_TRUE(absl::SimpleAtoi("8080", &number));
  EXPECT_EQ(absl::StrFormat("%04d|%s", 7, "x"), "0007|x");
  std::vector<int> values = {1, 2, 3};
  EXPECT_THAT(absl::MakeConstSpan(values).subspan(1), testing::ElementsAre(2, 3));
}

TEST(LibrariesTest, AbseilTimeFormats) {
  EXPECT_EQ(absl::FormatDuration(absl::Milliseconds(1500)), "1.5s");
  EXPECT_EQ(absl::FormatTime("%Y", absl::UnixEpoch(), absl::UTCTimeZone()), "1970");
}

TEST(LibrariesTest, GflagsKnowsAFlagOfThisProgram) {
  EXPECT_EQ(FLAGS_libraries_test_answer, 42);
  gflags::CommandLineFlagInfo info;
  EXPECT_TRUE(gflags::GetCommandLineFlagInfo("libraries_test_answer", &info));
}

TEST(LibrariesTest, GlogChecks) { EXPECT_DEATH(CHECK_EQ(1, 2) << "apart", "apart"); }

TEST(LibrariesTest, BenchmarkTells) {
  int kept = 1;
  benchmark::DoNotOptimize(kept);
  EXPECT_FALSE(benchmark::ReportUnrecognizedArguments(1, nullptr));
}

int entered = 0;

void Enter(boost::context::detail::transfer_t from) {
  ++entered;
  boost::context::detail::jump_fcontext(from.fctx, nullptr);
}

TEST(LibrariesTest, BoostContextSwitchesStacks) {
  alignas(16) static char stack[64 << 10];
  auto context =
      boost::context::detail::make_fcontext(stack + sizeof(stack), sizeof(stack), &Enter);
  boost::context::detail::jump_fcontext(context, nullptr);
  EXPECT_EQ(entered, 1);
}

}  // namespace
}  // namespace parkway
