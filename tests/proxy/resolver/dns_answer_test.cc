#include "proxy/upstream/resolver/dns_answer.h"

#include <optional>
#include <string>

#include "gtest/gtest.h"
#include "tests/proxy/resolver/dns_server.h"

namespace parkway {
namespace {

std::optional<DnsAnswer> Parse(const std::string& message, DnsType type) {
  return ParseDnsAnswer(reinterpret_cast<const uint8_t*>(message.data()), message.size(), type);
}

std::optional<DnsAnswer> ParseRecords(const std::string& name, int wire, DnsType type,
                                      std::vector<DnsRecord> records) {
  return Parse(DnsMessage(DnsQuestion(name, wire), {.records = std::move(records)}, false), type);
}

TEST(DnsAnswerTest, AddressesComeWithTheLeastTimeToLive) {
  const auto answer =
      ParseRecords("app.test", ns_t_a, DnsType::kA,
                   {RecordA("app.test", "10.0.0.1", 60), RecordA("App.Test", "10.0.0.2", 20)});
  ASSERT_TRUE(answer.has_value());
  ASSERT_EQ(2u, answer->addresses.size());
  EXPECT_EQ("10.0.0.1:0", answer->addresses[0].ToString());
  EXPECT_EQ("10.0.0.2:0", answer->addresses[1].ToString());
  EXPECT_EQ(absl::Seconds(20), answer->ttl);
}

TEST(DnsAnswerTest, AliasesAreFollowedInWhateverOrderTheyStandAndTheirTimesCount) {
  const auto answer =
      ParseRecords("www.test", ns_t_aaaa, DnsType::kAaaa,
                   {RecordAaaa("c.test", "2001:db8::1", 300), RecordCname("b.test", "c.test", 7),
                    RecordCname("www.test", "b.test", 30)});
  ASSERT_TRUE(answer.has_value());
  ASSERT_EQ(1u, answer->addresses.size());
  EXPECT_EQ("[2001:db8::1]:0", answer->addresses[0].ToString());
  EXPECT_EQ(absl::Seconds(7), answer->ttl);
}

TEST(DnsAnswerTest, RecordsOfOtherNamesAreLeftOut) {
  const auto answer =
      ParseRecords("app.test", ns_t_a, DnsType::kA,
                   {RecordA("evil.test", "10.6.6.6", 1), RecordA("app.test", "10.0.0.1", 60)});
  ASSERT_TRUE(answer.has_value());
  ASSERT_EQ(1u, answer->addresses.size());
  EXPECT_EQ("10.0.0.1:0", answer->addresses[0].ToString());
  EXPECT_EQ(absl::Seconds(60), answer->ttl);
}

TEST(DnsAnswerTest, ARingOfAliasesIsNoAnswer) {
  EXPECT_FALSE(
      ParseRecords("a.test", ns_t_a, DnsType::kA,
                   {RecordCname("a.test", "b.test", 5), RecordCname("b.test", "a.test", 5)})
          .has_value());
}

TEST(DnsAnswerTest, ServicesSayPortPriorityWeightAndTimeToLive) {
  const auto answer = ParseRecords("_http._tcp.test", ns_t_srv, DnsType::kSrv,
                                   {RecordSrv("_http._tcp.test", 1, 30, 8080, "A.test", 17),
                                    RecordSrv("_http._tcp.test", 2, 0, 65535, "b.test", 99)});
  ASSERT_TRUE(answer.has_value());
  ASSERT_EQ(2u, answer->targets.size());
  EXPECT_EQ((SrvTarget{.host = "a.test", .port = 8080, .priority = 1, .weight = 30}),
            answer->targets[0]);
  EXPECT_EQ((SrvTarget{.host = "b.test", .port = 65535, .priority = 2, .weight = 0}),
            answer->targets[1]);
  EXPECT_EQ(absl::Seconds(17), answer->ttl);
}

TEST(DnsAnswerTest, AServiceThatIsNotThereHasNoServers) {
  const auto answer = ParseRecords("_http._tcp.test", ns_t_srv, DnsType::kSrv,
                                   {RecordSrv("_http._tcp.test", 0, 0, 0, "", 17)});
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(answer->targets.empty());
}

TEST(DnsAnswerTest, ATimeToLiveWithItsHighestBitSetIsZero) {
  const auto answer =
      ParseRecords("app.test", ns_t_a, DnsType::kA, {RecordA("app.test", "10.0.0.1", 0x80000001)});
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(absl::ZeroDuration(), answer->ttl);
}

TEST(DnsAnswerTest, NoPrefixOfAnAnswerHarmsTheReader) {
  const std::string message =
      DnsMessage(DnsQuestion("_http._tcp.test", ns_t_srv),
                 {.records = {RecordCname("_http._tcp.test", "s.test", 5),
                              RecordSrv("s.test", 1, 30, 8080, "a.test", 17)}},
                 false);
  ASSERT_TRUE(Parse(message, DnsType::kSrv).has_value());
  for (size_t size = 0; size < message.size(); ++size) {
    // A copy of its own, so that the sanitizer sees a step too far.
    const std::vector<uint8_t> cut(message.begin(),
                                   message.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_FALSE(ParseDnsAnswer(cut.data(), cut.size(), DnsType::kSrv).has_value()) << size;
  }
}

TEST(DnsAnswerTest, ARecordOfTheWrongSizeMakesTheAnswerMalformed) {
  EXPECT_FALSE(
      ParseRecords("app.test", ns_t_a, DnsType::kA, {DnsRecord{"app.test", ns_t_a, 5, "123"}})
          .has_value());
  EXPECT_FALSE(ParseRecords("app.test", ns_t_srv, DnsType::kSrv,
                            {DnsRecord{"app.test", ns_t_srv, 5, "123456"}})
                   .has_value());
}

}  // namespace
}  // namespace parkway
