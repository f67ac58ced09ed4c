#include "tests/sim/seeds.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "tests/scale.h"
#include "tests/sim/world.h"

namespace parkway::sim {
namespace {

std::optional<uint64_t> only_seed;
int64_t more_worlds = 1;
// For the handler of SIGABRT, so no std::string.
char replay_text[256];

void SayReplay(int signal) {
  static_cast<void>(!write(STDERR_FILENO, replay_text, strlen(replay_text)));
  ::signal(signal, SIG_DFL);
  raise(signal);
}

}  // namespace

const char* const replay = replay_text;

void TakeArguments(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (strncmp(argv[i], "--seed=", 7) == 0) only_seed = strtoull(argv[i] + 7, nullptr, 10);
    if (strncmp(argv[i], "--times=", 8) == 0) more_worlds = atoll(argv[i] + 8);
    if (strcmp(argv[i], "--trace") == 0) World::set_trace(true);
  }
  signal(SIGABRT, SayReplay);
  signal(SIGSEGV, SayReplay);
}

bool OneSeedOnly() { return only_seed.has_value(); }

std::vector<uint64_t> Seeds(int64_t count) {
  if (only_seed.has_value()) return {*only_seed};
  std::vector<uint64_t> seeds;
  for (int64_t i = 1; i <= count * more_worlds; ++i) seeds.push_back(static_cast<uint64_t>(i));
  return seeds;
}

std::vector<uint64_t> FewSeeds(int64_t count) {
  return Seeds(std::max<int64_t>(scale::Choose(count, count / 4, count / 8), 1));
}

void NoteSeed(uint64_t seed) {
  const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
  snprintf(replay_text, sizeof(replay_text),
           "play it again: bazel run --config=checked //tests/proxy:simulation_test -- --seed=%llu "
           "--gtest_filter=%s.%s\n",
           static_cast<unsigned long long>(seed), test->test_suite_name(), test->name());
}

}  // namespace parkway::sim
