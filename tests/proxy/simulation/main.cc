// The real engine and the real proxy in a simulated world: whole workers, scripted clients and
// servers, seeded faults, virtual time. tests/sim/world.h says what the world imitates.
//
//   simulation_test --seed=17 --gtest_filter=...    plays that seed again, and no other
//   ... --times=100                                 plays a hundred times as many seeds
//   ... --trace                                     and says every system call
//
// A failing seed is printed with the command that plays it again.
#include <gtest/gtest.h>

#include "tests/sim/seeds.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  parkway::sim::TakeArguments(argc, argv);
  return RUN_ALL_TESTS();
}
