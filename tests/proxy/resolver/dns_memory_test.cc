#include "proxy/upstream/resolver/dns_memory.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace parkway {
namespace {

class DnsMemoryTest : public testing::Test {
 protected:
  static DnsAnswer Of(const std::vector<uint8_t>& last_bytes, int ttl_seconds = 10) {
    DnsAnswer answer;
    for (uint8_t last : last_bytes) answer.addresses.push_back(Address::Ipv4({10, 0, 0, last}, 0));
    answer.ttl = absl::Seconds(ttl_seconds);
    return answer;
  }
  std::string Values() const {
    std::string text;
    for (const Address& address : memory_.addresses()) text += address.ToString() + " ";
    return text;
  }
  double SecondsToNext() const {
    return static_cast<double>(memory_.next().ns() - now_.ns()) / 1e9;
  }

  DnsMemory::Random random_{7};
  MonotonicTime now_{1'000'000'000'000};
  DnsMemory memory_{DnsPolicy{}};
};

TEST_F(DnsMemoryTest, WhatAnAnswerHoldsCountsAtOnce) {
  EXPECT_FALSE(memory_.settled());
  EXPECT_TRUE(memory_.Answered(Of({2, 1}), now_, random_));
  EXPECT_EQ("10.0.0.1:0 10.0.0.2:0 ", Values());
  EXPECT_TRUE(memory_.settled());
  EXPECT_FALSE(memory_.Answered(Of({1, 2}), now_, random_)) << "the order says nothing";
  EXPECT_TRUE(memory_.Answered(Of({1, 2, 3}), now_, random_));
  EXPECT_EQ("10.0.0.1:0 10.0.0.2:0 10.0.0.3:0 ", Values());
}

TEST_F(DnsMemoryTest, AnAddressGoesWhenItIsMissingForTheSecondTimeInARow) {
  memory_.Answered(Of({1, 2}), now_, random_);
  EXPECT_FALSE(memory_.Answered(Of({1}), now_, random_));
  EXPECT_EQ("10.0.0.1:0 10.0.0.2:0 ", Values());
  EXPECT_FALSE(memory_.Answered(Of({1, 2}), now_, random_)) << "it was back in between";
  EXPECT_FALSE(memory_.Answered(Of({1}), now_, random_));
  EXPECT_TRUE(memory_.Answered(Of({1}), now_, random_));
  EXPECT_EQ("10.0.0.1:0 ", Values());
}

TEST_F(DnsMemoryTest, AFailureBetweenTwoAnswersIsNoAnswer) {
  memory_.Answered(Of({1, 2}), now_, random_);
  memory_.Answered(Of({1}), now_, random_);
  memory_.Failed("timeout", now_, random_);
  memory_.Failed("timeout", now_, random_);
  EXPECT_EQ("10.0.0.1:0 10.0.0.2:0 ", Values());
  EXPECT_EQ("timeout", memory_.error());
  EXPECT_TRUE(memory_.Answered(Of({1}), now_, random_));
  EXPECT_EQ("10.0.0.1:0 ", Values());
  EXPECT_EQ("", memory_.error());
}

TEST_F(DnsMemoryTest, TheWordThatThereIsNothingNeverEmptiesAName) {
  memory_.Answered(Of({1}), now_, random_);
  const MonotonicTime good = memory_.good_at();
  for (int i = 0; i < 5; ++i) {
    now_ = memory_.next();
    EXPECT_FALSE(memory_.Nothing("no such name", false, now_, random_));
  }
  EXPECT_EQ("10.0.0.1:0 ", Values());
  EXPECT_EQ("no such name", memory_.error());
  EXPECT_EQ(good, memory_.good_at()) << "the age grows";
}

TEST_F(DnsMemoryTest, TheWordThatThereIsNothingCountsWhileTheOtherFamilyIsThere) {
  memory_.Answered(Of({1}), now_, random_);
  EXPECT_FALSE(memory_.Nothing("no such record", true, now_, random_));
  EXPECT_TRUE(memory_.Nothing("no such record", true, now_, random_));
  EXPECT_TRUE(memory_.empty());
  EXPECT_EQ("", memory_.error());
}

TEST_F(DnsMemoryTest, TheTimeToLiveIsHeldBetweenItsBoundsAndDrawnOutALittle) {
  for (int i = 0; i < 100; ++i) {
    memory_.Answered(Of({1}, 60), now_, random_);
    EXPECT_GE(SecondsToNext(), 60);
    EXPECT_LE(SecondsToNext(), 63.1);
    memory_.Answered(Of({1}, 0), now_, random_);
    EXPECT_GE(SecondsToNext(), 1);
    EXPECT_LE(SecondsToNext(), 1.1);
    memory_.Answered(Of({1}, 86400), now_, random_);
    EXPECT_GE(SecondsToNext(), 300);
    EXPECT_LE(SecondsToNext(), 316);
  }
  EXPECT_EQ(absl::Minutes(5), memory_.ttl());
}

TEST_F(DnsMemoryTest, PausesAfterFailuresDoubleToALimitAndBeginAnewAfterAnAnswer) {
  double most = 1;
  for (int i = 0; i < 12; ++i) {
    memory_.Failed("timeout", now_, random_);
    EXPECT_GE(SecondsToNext(), most / 2);
    EXPECT_LE(SecondsToNext(), most + 0.001);
    most = std::min(most * 2, 30.0);
  }
  memory_.Answered(Of({1}), now_, random_);
  memory_.Failed("timeout", now_, random_);
  EXPECT_LE(SecondsToNext(), 1.001);
}

TEST_F(DnsMemoryTest, AServerOfAServiceWhoseWeightChangesStaysTheSameServer) {
  DnsAnswer answer;
  answer.targets = {{.host = "a.test", .port = 80, .priority = 1, .weight = 5}};
  EXPECT_TRUE(memory_.Answered(answer, now_, random_));
  answer.targets[0].weight = 6;
  EXPECT_TRUE(memory_.Answered(answer, now_, random_));
  ASSERT_EQ(1u, memory_.targets().size());
  EXPECT_EQ(6, memory_.targets()[0].weight);
}

}  // namespace
}  // namespace parkway
