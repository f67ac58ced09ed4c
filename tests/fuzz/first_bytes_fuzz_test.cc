// The fuzz target over headers and hellos with random changes, in every build.
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

std::vector<std::string> Seeds() {
  const std::string v2(
      "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x14\x0a\0\0\x01\x0a\0\0\x02\x12\x67\x01\xbb"
      "\xe0\0\x05value",
      36);
  const std::string hello = std::string("\x01\0\0\x3d\x03\x03", 6) + std::string(32, 'r') +
                            std::string(
                                "\0\0\x02\x13\x01\x01\0\0\x12\0\0\0\x0e\0\x0c\0\0\x09"
                                "a.example",
                                27);
  const std::string record =
      std::string("\x16\x03\x01\0", 4) + static_cast<char>(hello.size()) + hello;
  return {"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nhello",
          "PROXY UNKNOWN\r\n",
          v2,
          record,
          "SSH-2.0-x\r\n",
          "GET / HTTP/1.1\r\n",
          std::string("\0\0\0\x08\x04\xd2\x16\x2f", 8)};
}

TEST(FirstBytesFuzzTest, SeedsAndWhatBecomesOfThemHold) {
  std::mt19937 random(3);
  const auto draw = [&random](size_t below) { return below == 0 ? 0 : random() % below; };
  const auto feed = [](const std::string& bytes) {
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  };
  for (const std::string& seed : Seeds()) {
    for (size_t size = 0; size <= seed.size(); ++size) feed(seed.substr(0, size));
    for (int round = 0; round < 3000; ++round) {
      std::string bytes = seed;
      for (size_t changes = 1 + draw(4); changes > 0 && !bytes.empty(); --changes) {
        const size_t at = draw(bytes.size());
        switch (draw(3)) {
          case 0:
            bytes[at] = static_cast<char>(draw(256));
            break;
          case 1:
            bytes.insert(at, 1, static_cast<char>(draw(256)));
            break;
          default:
            bytes.erase(at, draw(5));
        }
      }
      feed(bytes);
    }
  }
}

}  // namespace
