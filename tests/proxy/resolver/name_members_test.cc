#include "proxy/name_members.h"

#include <array>
#include <string>
#include <vector>

#include "config/address.h"
#include "config/flags.h"
#include "gtest/gtest.h"

namespace parkway {
namespace {

config::Server Line(const std::string& name, const std::string& address) {
  config::Server server;
  server.name = name;
  server.address = *config::ParseAddress(address, config::AddressUse::kConnects);
  server.settings = config::DefaultScalars();
  return server;
}

ResolvedAddress V4(uint8_t last, uint16_t port = 0, uint16_t priority = 0, uint16_t weight = 0) {
  return {.address = Address::Ipv4({10, 0, 0, last}, port), .priority = priority, .weight = weight};
}
ResolvedAddress V6(uint8_t last) {
  std::array<uint8_t, 16> ip = {0x20, 0x01, 0x0d, 0xb8};
  ip[15] = last;
  return {.address = Address::Ipv6(ip, 0)};
}

TEST(NameMembersTest, EachAddressIsAServerWithTheSettingsOfTheLine) {
  config::Server line = Line("app", "app.test:9000");
  line.settings.weight = 7;
  line.settings.max_conns = 100;
  const auto members = MembersOf(line, {.settled = true, .addresses = {V4(1), V6(2)}});
  ASSERT_EQ(2u, members.size());
  EXPECT_EQ("app/10.0.0.1:9000", members[0].name);
  EXPECT_EQ("10.0.0.1:9000", members[0].address.ToString());
  EXPECT_EQ("app/[2001:db8::2]:9000", members[1].name);
  for (const config::Server& member : members) {
    EXPECT_EQ("app", member.group);
    EXPECT_EQ(7u, member.settings.weight);
    EXPECT_EQ(100u, member.settings.max_conns);
    EXPECT_TRUE(member.candidates.empty());
  }
}

TEST(NameMembersTest, ANameThatIsNotKnownHasNoServers) {
  EXPECT_TRUE(MembersOf(Line("app", "app.test:9000"), {}).empty());
}

TEST(NameMembersTest, APortThatIsTheListenersStaysSo) {
  const auto members = MembersOf(Line("app", "app.test:+3"), {.addresses = {V4(1)}});
  ASSERT_EQ(1u, members.size());
  EXPECT_EQ("app/10.0.0.1:+3", members[0].name);
  EXPECT_TRUE(members[0].address.relative);
  EXPECT_EQ(3, members[0].address.port);
}

TEST(NameMembersTest, OneServerTriesItsAddressesInTurnOfTheFamiliesIpv6First) {
  config::Server line = Line("app", "app.test:9000");
  line.settings.resolve = config::Resolve::kOne;
  const auto members = MembersOf(line, {.addresses = {V4(1), V4(2), V4(3), V6(1)}});
  ASSERT_EQ(1u, members.size());
  EXPECT_EQ("app", members[0].name);
  EXPECT_EQ("", members[0].group);
  EXPECT_EQ("[2001:db8::1]:9000", members[0].address.ToString());
  std::string tried;
  for (const config::Address& address : members[0].candidates) tried += address.ToString() + " ";
  EXPECT_EQ("[2001:db8::1]:9000 10.0.0.1:9000 10.0.0.2:9000 10.0.0.3:9000 ", tried);
}

TEST(NameMembersTest, OneServerOfOneAddressHasNoOthersToTry) {
  config::Server line = Line("app", "app.test:9000");
  line.settings.resolve = config::Resolve::kOne;
  const auto members = MembersOf(line, {.addresses = {V4(1)}});
  ASSERT_EQ(1u, members.size());
  EXPECT_EQ("10.0.0.1:9000", members[0].address.ToString());
  EXPECT_TRUE(members[0].candidates.empty());
}

TEST(NameMembersTest, AServiceSaysPortPriorityAndWeight) {
  const auto members = MembersOf(Line("db", "srv:_db._tcp.test"),
                                 {.addresses = {V4(1, 5432, 10, 30), V4(2, 5433, 20, 0)}});
  ASSERT_EQ(2u, members.size());
  EXPECT_EQ("db/10.0.0.1:5432", members[0].name);
  EXPECT_EQ(10u, members[0].settings.priority);
  EXPECT_EQ(30u, members[0].settings.weight);
  EXPECT_EQ("db/10.0.0.2:5433", members[1].name);
  EXPECT_EQ(20u, members[1].settings.priority);
  EXPECT_EQ(1u, members[1].settings.weight) << "seldom, not never";
}

TEST(NameMembersTest, WeightsOfAServiceAreScaledToOursAndABackupComesBehind) {
  config::Server line = Line("db", "srv:_db._tcp.test");
  line.settings.backup = true;
  const auto members = MembersOf(line, {.addresses = {V4(1, 1, 5, 65535), V4(2, 1, 5, 32768)}});
  ASSERT_EQ(2u, members.size());
  EXPECT_EQ(256u, members[0].settings.weight);
  EXPECT_EQ(128u, members[1].settings.weight);
  EXPECT_EQ(6u, members[0].settings.priority);
  EXPECT_FALSE(members[0].settings.backup);
}

TEST(NameMembersTest, AWeightOfZeroOnTheLineStands) {
  config::Server line = Line("db", "srv:_db._tcp.test");
  line.settings.weight = 0;
  EXPECT_EQ(0u, MembersOf(line, {.addresses = {V4(1, 1, 5, 9)}})[0].settings.weight);
}

TEST(NameMembersTest, TheQuestionIsWhatTheLineSays) {
  config::Server line = Line("db", "srv:_DB._tcp.test");
  line.settings.dns_servers = "10.0.0.53";
  line.settings.dns_family = config::DnsFamily::kV6;
  line.settings.dns_attempts = 5;
  const NameQuery query = QueryOf(line);
  EXPECT_EQ("_db._tcp.test", query.name);
  EXPECT_TRUE(query.service);
  EXPECT_EQ("10.0.0.53", query.settings.servers);
  EXPECT_EQ(DnsFamily::kV6, query.settings.family);
  EXPECT_EQ(5, query.settings.attempts);
  EXPECT_EQ(absl::Seconds(2), query.settings.timeout);
  EXPECT_EQ(absl::Seconds(1), query.settings.min_ttl);
  EXPECT_EQ(absl::Minutes(5), query.settings.max_ttl);
}

}  // namespace
}  // namespace parkway
