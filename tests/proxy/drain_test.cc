#include "proxy/drain.h"

#include <random>

#include "gtest/gtest.h"

namespace parkway {
namespace {

TEST(DrainTallyTest, TheSharesOfAllWorkersAreExactlyThePartThatWasAskedForRoundedUp) {
  std::mt19937_64 random(6);
  for (uint32_t percent = 1; percent <= 100; ++percent) {
    for (size_t workers = 1; workers <= 9; ++workers) {
      DrainTally tally;
      uint64_t found = 0, ended = 0;
      for (size_t i = 0; i < workers; ++i) {
        // Few, where rounding counts most; none at all on some.
        const auto here = static_cast<uint32_t>(random() % 7);
        const uint32_t share = tally.ShareOf(here, percent);
        ASSERT_LE(share, here);
        found += here;
        ended += share;
      }
      ASSERT_EQ(ended, (found * percent + 99) / 100)
          << percent << " % of " << found << " on " << workers << " workers";
    }
  }
}

}  // namespace
}  // namespace parkway
