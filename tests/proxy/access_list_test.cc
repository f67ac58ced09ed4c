// AccessList against a search through all prefixes, one by one.
#include "proxy/inbound/access_list.h"

#include <chrono>
#include <cstdio>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "poller/address.h"

namespace parkway {
namespace {

using Prefix = AccessList::Prefix;
using Verdict = AccessList::Verdict;

Prefix V4(uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint8_t bits) {
  return {.bytes = {a, b, c, d}, .ipv4 = true, .bits = bits};
}

Verdict Find(const AccessList& list, uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
  return list.Find(Address::Ipv4({a, b, c, d}, 1));
}

TEST(AccessListTest, AnEmptyListSaysNothing) {
  const AccessList list = AccessList::Builder().Build();
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(Find(list, 1, 2, 3, 4), AccessList::kNone);
  EXPECT_EQ(list.Find(Address()), AccessList::kNone);
}

TEST(AccessListTest, TheLongestPrefixWins) {
  AccessList::Builder builder;
  builder.Add(V4(10, 0, 0, 0, 8), AccessList::kAllow);
  builder.Add(V4(10, 1, 0, 0, 16), AccessList::kDeny);
  builder.Add(V4(10, 1, 2, 3, 32), AccessList::kAllow);
  const AccessList list = builder.Build();
  EXPECT_EQ(Find(list, 9, 255, 255, 255), AccessList::kNone);
  EXPECT_EQ(Find(list, 10, 0, 0, 0), AccessList::kAllow);
  EXPECT_EQ(Find(list, 10, 1, 2, 2), AccessList::kDeny);
  EXPECT_EQ(Find(list, 10, 1, 2, 3), AccessList::kAllow);
  EXPECT_EQ(Find(list, 10, 1, 2, 4), AccessList::kDeny);
  EXPECT_EQ(Find(list, 10, 2, 0, 0), AccessList::kAllow);
  EXPECT_EQ(Find(list, 10, 255, 255, 255), AccessList::kAllow);
  EXPECT_EQ(Find(list, 11, 0, 0, 0), AccessList::kNone);
}

TEST(AccessListTest, OfTheSamePrefixTwiceDenyCounts) {
  AccessList::Builder builder;
  builder.Add(V4(10, 0, 0, 0, 8), AccessList::kDeny);
  builder.Add(V4(10, 0, 0, 0, 8), AccessList::kAllow);
  EXPECT_EQ(Find(builder.Build(), 10, 0, 0, 1), AccessList::kDeny);
}

TEST(AccessListTest, EverythingAndTheLastAddressAreWithinReach) {
  AccessList::Builder builder;
  builder.Add(V4(0, 0, 0, 0, 0), AccessList::kAllow);
  builder.Add(V4(255, 255, 255, 255, 32), AccessList::kDeny);
  builder.Add({.bits = 0}, AccessList::kAllow);
  const AccessList list = builder.Build();
  EXPECT_EQ(Find(list, 0, 0, 0, 0), AccessList::kAllow);
  EXPECT_EQ(Find(list, 255, 255, 255, 254), AccessList::kAllow);
  EXPECT_EQ(Find(list, 255, 255, 255, 255), AccessList::kDeny);
  EXPECT_EQ(list.Find(Address::Ipv6({}, 1)), AccessList::kAllow);
}

TEST(AccessListTest, MappedAddressesAreIpv4AndUnixPeersAreAskedForApart) {
  AccessList::Builder builder;
  builder.Add(V4(10, 0, 0, 0, 8), AccessList::kDeny);
  builder.SetUnix(AccessList::kAllow);
  const AccessList list = builder.Build();
  EXPECT_EQ(list.Find(Address::Ipv6({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 1, 1}, 1)),
            AccessList::kDeny);
  EXPECT_EQ(list.Find(Address::UnixPath("/x")), AccessList::kAllow);
}

bool Holds(const Prefix& prefix, const uint8_t* bytes) {
  for (int bit = 0; bit < prefix.bits; ++bit) {
    const int mask = 0x80 >> bit % 8;
    if ((prefix.bytes[static_cast<size_t>(bit / 8)] & mask) != (bytes[bit / 8] & mask)) {
      return false;
    }
  }
  return true;
}

TEST(AccessListTest, RandomListsAgreeWithASearchThroughAll) {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    const bool ipv4 = round % 2 == 0;
    const unsigned bytes = ipv4 ? 4 : 16;
    const auto draw = [&random](unsigned below) { return static_cast<uint8_t>(random() % below); };
    // Few values in the bytes that matter, so that prefixes nest.
    const auto draw_bytes = [&] {
      std::array<uint8_t, 16> drawn = {};
      for (unsigned i = 0; i < bytes; ++i) drawn[i] = static_cast<uint8_t>(draw(4) * 85);
      return drawn;
    };
    AccessList::Builder builder;
    std::vector<std::pair<Prefix, Verdict>> all;
    for (int i = draw(40); i > 0; --i) {
      const Prefix prefix = {.bytes = draw_bytes(), .ipv4 = ipv4, .bits = draw(bytes * 8 + 1)};
      const Verdict verdict = draw(2) == 0 ? AccessList::kAllow : AccessList::kDeny;
      all.emplace_back(prefix, verdict);
      builder.Add(prefix, verdict);
    }
    const AccessList list = builder.Build();
    for (int i = 0; i < 200; ++i) {
      const std::array<uint8_t, 16> probe = draw_bytes();
      int longest = -1;
      Verdict expected = AccessList::kNone;
      for (const auto& [prefix, verdict] : all) {
        if (!Holds(prefix, probe.data()) || prefix.bits < longest) continue;
        expected = prefix.bits == longest ? std::max(expected, verdict) : verdict;
        longest = prefix.bits;
      }
      const Address address = ipv4 ? Address::Ipv4({probe[0], probe[1], probe[2], probe[3]}, 1)
                                   : Address::Ipv6(probe, 1);
      ASSERT_EQ(list.Find(address), expected) << address.ToString();
    }
  }
}

TEST(AccessListTest, AHundredThousandPrefixesAreLookedUpInWellUnderAMicrosecond) {
  std::mt19937 random(5);
  AccessList::Builder builder;
  for (int i = 0; i < 100'000; ++i) {
    const uint32_t n = static_cast<uint32_t>(random());
    builder.Add(V4(static_cast<uint8_t>(n >> 24), static_cast<uint8_t>(n >> 16),
                   static_cast<uint8_t>(n >> 8), static_cast<uint8_t>(n),
                   static_cast<uint8_t>(12 + random() % 21)),
                i % 2 == 0 ? AccessList::kAllow : AccessList::kDeny);
  }
  const AccessList list = builder.Build();
  std::vector<Address> probes;
  for (int i = 0; i < 10'000; ++i) {
    const uint32_t n = static_cast<uint32_t>(random());
    probes.push_back(Address::Ipv4({static_cast<uint8_t>(n >> 24), static_cast<uint8_t>(n >> 16),
                                    static_cast<uint8_t>(n >> 8), static_cast<uint8_t>(n)},
                                   1));
  }
  double best_ns = 1e9;
  unsigned sum = 0;
  for (int round = 0; round < 20; ++round) {
    const auto start = std::chrono::steady_clock::now();
    for (const Address& probe : probes) sum += list.Find(probe);
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
    best_ns = std::min(best_ns, took.count() / static_cast<double>(probes.size()));
  }
  printf("a lookup among 100,000 prefixes: %.0f ns (%u)\n", best_ns, sum);
  RecordProperty("lookup_ns", static_cast<int>(best_ns));
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(best_ns, 1000);
#endif
}

}  // namespace
}  // namespace parkway
