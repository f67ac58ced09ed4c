// Limits of a source, and the token buckets, exact also when several threads draw.
#include "proxy/inbound/source_limits.h"

#include <atomic>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "poller/address.h"
#include "poller/clock.h"

namespace parkway {
namespace {

constexpr int64_t kSecond = TokenBucket::kSecond;

MonotonicTime At(double seconds) {
  return MonotonicTime(static_cast<int64_t>((100 + seconds) * 1e9));
}

PackedAddress V4(uint8_t last, uint16_t port = 1) {
  return PackedAddress(Address::Ipv4({10, 0, 0, last}, port));
}
PackedAddress V6(uint8_t net, uint8_t host) {
  return PackedAddress(Address::Ipv6({0x20, 1, 0, 0, 0, 0, 0, net, 0, 0, 0, 0, 0, 0, 0, host}, 1));
}

TEST(TokenBucketTest, ABurstOfOneSecondAndThenTheRate) {
  TokenBucket bucket(10);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(bucket.Take(At(0)), 0) << i;
  EXPECT_EQ(bucket.Take(At(0)), kSecond / 10);
  EXPECT_EQ(bucket.Take(At(0.05)), kSecond / 20);
  EXPECT_EQ(bucket.Take(At(0.1)), 0);
  EXPECT_GT(bucket.Take(At(0.1)), 0);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(bucket.Take(At(50)), 0) << i;
  EXPECT_GT(bucket.Take(At(50)), 0) << "a long rest saves up one second's worth, not more";
}

TEST(TokenBucketTest, WhatIsGivenBackCanBeTakenAgain) {
  TokenBucket bucket(1);
  EXPECT_EQ(bucket.Take(At(0)), 0);
  EXPECT_EQ(bucket.Take(At(0)), kSecond);
  bucket.GiveBack();
  EXPECT_EQ(bucket.Take(At(0)), 0);
}

TEST(TokenBucketTest, WithoutARateThereIsAlwaysOne) {
  TokenBucket bucket(0);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(bucket.Take(At(0)), 0);
}

TEST(TokenBucketTest, FourThreadsTogetherGetExactlyTheBurst) {
  TokenBucket bucket(1000);
  std::atomic<int> taken{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 2000; ++n) taken += bucket.Take(At(0)) == 0 ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(taken, 1000);
}

TEST(SourceLimitsTest, ASourceIsAnIpv4AddressOrAnIpv6Net) {
  SourceLimits limits(2, 0);
  EXPECT_TRUE(limits.TryAcquire(V4(1, 10)));
  EXPECT_TRUE(limits.TryAcquire(V4(1, 11)));
  EXPECT_FALSE(limits.TryAcquire(V4(1, 12)));
  EXPECT_TRUE(limits.TryAcquire(V4(2)));
  EXPECT_TRUE(limits.TryAcquire(V6(1, 1)));
  EXPECT_TRUE(limits.TryAcquire(V6(1, 2)));
  EXPECT_FALSE(limits.TryAcquire(V6(1, 3)));
  EXPECT_TRUE(limits.TryAcquire(V6(2, 1)));
  limits.Release(V4(1));
  EXPECT_TRUE(limits.TryAcquire(V4(1)));
}

TEST(SourceLimitsTest, UnixPeersAreNoSource) {
  SourceLimits limits(1, 1);
  const PackedAddress unix_peer(Address::UnixPath("/x"));
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(limits.TryAcquire(unix_peer));
    EXPECT_TRUE(limits.TryBegin(unix_peer, At(0)));
  }
  EXPECT_EQ(limits.size(), 0u);
}

TEST(SourceLimitsTest, EachSourceHasItsOwnRate) {
  SourceLimits limits(0, 2);
  EXPECT_TRUE(limits.TryBegin(V4(1), At(0)));
  EXPECT_TRUE(limits.TryBegin(V4(1), At(0)));
  EXPECT_FALSE(limits.TryBegin(V4(1), At(0)));
  EXPECT_TRUE(limits.TryBegin(V4(2), At(0)));
  EXPECT_FALSE(limits.TryBegin(V4(1), At(0.4)));
  EXPECT_TRUE(limits.TryBegin(V4(1), At(0.5)));
}

TEST(SourceLimitsTest, SourcesThatHaveGoneAreForgotten) {
  SourceLimits counts(1, 0);
  for (int i = 0; i < 256; ++i) {
    EXPECT_TRUE(counts.TryAcquire(V4(static_cast<uint8_t>(i))));
    counts.Release(V4(static_cast<uint8_t>(i)));
  }
  EXPECT_EQ(counts.size(), 0u);
  SourceLimits rates(0, 10);
  for (int i = 0; i < 100'000; ++i) {
    const PackedAddress source(Address::Ipv4(
        {10, static_cast<uint8_t>(i >> 16), static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)},
        1));
    EXPECT_TRUE(rates.TryBegin(source, At(i * 0.01)));
  }
  EXPECT_LT(rates.size(), 3000u) << "as many as in a second, and room to double";
}

TEST(SourceLimitsTest, FourThreadsNeverHaveMoreThanTheMost) {
  SourceLimits limits(3, 0);
  std::atomic<int> inside{0};
  std::atomic<bool> too_many{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 5000; ++n) {
        if (!limits.TryAcquire(V4(1))) continue;
        if (inside.fetch_add(1) >= 3) too_many = true;
        inside.fetch_sub(1);
        limits.Release(V4(1));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(too_many);
  EXPECT_EQ(limits.size(), 0u);
}

}  // namespace
}  // namespace parkway
