// What one more session costs: the CPU of a request and the memory of a session, with a thousand
// sessions open or with a million. Prints JSON; ./tests/bench/run --loads=growth makes the table
// and the picture.
//
//   growth [ROUNDS [SESSIONS...]]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "tests/bench/growth_world.h"

namespace parkway::bench {
namespace {

constexpr size_t kActive = 1000;
// Of one measurement, and not fewer than once round.
constexpr uint64_t kRequests = 500'000;

void Print(const char* name, std::vector<double>& ns) {
  std::sort(ns.begin(), ns.end());
  std::printf(", \"%s\": {\"median\": %.1f, \"low\": %.1f, \"high\": %.1f}", name,
              ns[ns.size() / 2], ns.front(), ns.back());
}

int Run(int rounds, const std::vector<size_t>& counts) {
  struct Point {
    size_t bytes = 0;
    std::vector<double> few, all, bare_few, bare_all;
  };
  std::vector<Point> points(counts.size());
  // Whole rounds, so that what else the machine does is spread over all counts.
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < counts.size(); ++i) {
      Point& point = points[i];
      const size_t count = counts[i];
      const size_t few = std::min(kActive, count);
      const uint64_t most = std::max<uint64_t>(kRequests, count);
      {
        GrowthWorld world(count);
        world.Open(count);
        point.bytes = GrowthWorld::ResidentBytes();
        point.few.push_back(world.RunRequests(few, kRequests));
        point.all.push_back(world.RunRequests(count, most));
        const std::string left = world.CloseAll();
        if (!left.empty()) {
          std::fprintf(stderr, "left with %zu sessions: %s\n", count, left.c_str());
          return 1;
        }
      }
      point.bare_few.push_back(RunBareRequests(count, few, kRequests));
      point.bare_all.push_back(RunBareRequests(count, count, most));
    }
  }
  std::printf("{\"active\": %zu, \"rounds\": %d, \"points\": [", kActive, rounds);
  for (size_t i = 0; i < counts.size(); ++i) {
    Point& point = points[i];
    std::printf("%s\n  {\"sessions\": %zu, \"bytes\": %zu", i == 0 ? "" : ",", counts[i],
                point.bytes);
    Print("few_ns", point.few);
    Print("all_ns", point.all);
    Print("bare_few_ns", point.bare_few);
    Print("bare_all_ns", point.bare_all);
    std::printf("}");
  }
  std::printf("]}\n");
  return 0;
}

}  // namespace
}  // namespace parkway::bench

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 5;
  std::vector<size_t> counts;
  for (int i = 2; i < argc; ++i) counts.push_back(std::strtoul(argv[i], nullptr, 10));
  if (counts.empty()) counts = {1000, 10'000, 100'000, 1'000'000};
  return parkway::bench::Run(rounds, counts);
}
