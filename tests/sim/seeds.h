// Seeds: which seeds a test of the simulation plays, and what plays one of them again.
//
//   TakeArguments(argc, argv);                       in main, after gtest has taken its own
//   for (const uint64_t seed : Seeds(100)) {
//     NoteSeed(seed);
//     EXPECT_EQ(one, other) << replay;               a failure says how to see it again
//   }
//
// A check of the proxy that fails ends the program: replay is said then, too.
//
// One thread.
#ifndef TESTS_SIM_SEEDS_H_
#define TESTS_SIM_SEEDS_H_

#include <cstdint>
#include <vector>

namespace parkway::sim {

// --seed=N: that seed alone. --times=N: so many times as many. --trace: every system call.
void TakeArguments(int argc, char** argv);
// Whether --seed=N was given: then little happens, and that something did is not to be expected.
bool OneSeedOnly();

// 1..count; see TakeArguments.
std::vector<uint64_t> Seeds(int64_t count);
// Of a test with its own story; fewer under the sanitizers.
std::vector<uint64_t> FewSeeds(int64_t count);

// The present test plays `seed` from now on.
void NoteSeed(uint64_t seed);
// What plays the present seed again, with a newline.
extern const char* const replay;

}  // namespace parkway::sim

#endif  // TESTS_SIM_SEEDS_H_
