// The fuzz target over its seeds and a fixed number of changes to them, in every build.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

void Feed(const std::string& bytes) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

std::vector<std::string> Seeds() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator("tests/fuzz/convert")) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> seeds;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return seeds;
}

TEST(ConvertFuzzTest, EachSeedHolds) {
  const std::vector<std::string> seeds = Seeds();
  EXPECT_GE(seeds.size(), 6u);
  for (const std::string& seed : seeds) Feed(seed);
}

TEST(ConvertFuzzTest, SeedsThatWereChangedHold) {
  constexpr std::string_view kTokens[] = {
      "{",           "}",     ";",       "\"",      "\\",         "#",      "\n",
      " ",           "bind ", "server ", "listen ", "acl x src ", "!",      " if ",
      "[::]:80",     "*",     "ssl",     "udp",     "mode http",  "\xff",   "include in;",
      "map ",        "$x",    "9999999", "unix:@",  "defaults\n", "allow ", "check",
      "10.0.0.0/33", ",",     "ms"};
  const std::vector<std::string> seeds = Seeds();
  std::mt19937 random(7);
  const auto draw = [&random](size_t below) { return below == 0 ? 0 : random() % below; };
  for (int round = 0; round < 1500; ++round) {
    std::string bytes = seeds[draw(seeds.size())];
    for (size_t changes = 1 + draw(4); changes > 0; --changes) {
      const size_t at = draw(bytes.size() + 1);
      switch (draw(5)) {
        case 0:
          bytes.insert(at, kTokens[draw(std::size(kTokens))]);
          break;
        case 1:
          bytes.erase(at, draw(10));
          break;
        case 2:
          bytes.insert(at, 1, static_cast<char>(draw(256)));
          break;
        case 3:
          bytes.insert(at, bytes.substr(draw(bytes.size() + 1), draw(30)));
          break;
        default:
          if (at < bytes.size()) bytes[at] = static_cast<char>(draw(128));
      }
    }
    Feed(bytes);
  }
}

}  // namespace
