// The PROXY protocol: headers as the specification has them, split and spoiled in every place.
#include "proxy/inbound/proxy_protocol.h"

#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "poller/address.h"

namespace parkway {
namespace {

using Result = ProxyParsed::Result;

constexpr std::string_view kV2Start("\r\n\r\n\0\r\nQUIT\n", 12);

std::string Bytes(std::initializer_list<int> values) {
  std::string bytes;
  for (const int value : values) bytes.push_back(static_cast<char>(value));
  return bytes;
}

std::string V2(int command, int family, const std::string& rest) {
  return std::string(kV2Start) +
         Bytes({command, family, static_cast<int>(rest.size() >> 8),
                static_cast<int>(rest.size() & 0xff)}) +
         rest;
}

std::string Tlv(int type, std::string_view value) {
  return Bytes({type, static_cast<int>(value.size() >> 8), static_cast<int>(value.size() & 0xff)}) +
         std::string(value);
}

// 192.0.2.1:4711 to 198.51.100.2:443.
const std::string kIpv4 = Bytes({192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x67, 0x01, 0xbb});

Address V4(uint8_t last, uint16_t port) { return Address::Ipv4({10, 0, 0, last}, port); }
Address V6(uint8_t last, uint16_t port) {
  return Address::Ipv6({0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last}, port);
}

Result ResultOf(std::string_view bytes) { return ParseProxyHeader(bytes).result; }

// Done with these addresses, whatever follows, and no prefix of it is anything.
void ExpectHeader(const std::string& header, std::string_view source,
                  std::string_view destination) {
  for (size_t size = 0; size < header.size(); ++size) {
    EXPECT_EQ(ResultOf(std::string_view(header).substr(0, size)), Result::kNeedMore) << size;
  }
  for (const std::string& more : {std::string(), std::string("\r\nGET / HTTP/1.1"), header}) {
    const std::string bytes = header + more;
    const ProxyParsed parsed = ParseProxyHeader(bytes);
    ASSERT_EQ(parsed.result, Result::kDone);
    EXPECT_EQ(parsed.size, header.size());
    EXPECT_EQ(parsed.has_addresses, !source.empty());
    if (source.empty()) continue;
    EXPECT_EQ(parsed.source.ToString(), source);
    EXPECT_EQ(parsed.destination.ToString(), destination);
  }
}

TEST(ProxyProtocolTest, Version1IsReadWhereverItIsSplit) {
  ExpectHeader("PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n", "192.0.2.1:4711",
               "198.51.100.2:443");
  ExpectHeader("PROXY TCP6 2001:db8::1 ::1 65535 0\r\n", "[2001:db8::1]:65535", "[::1]:0");
  ExpectHeader("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
               "255.255.255.255:65535", "255.255.255.255:65535");
}

TEST(ProxyProtocolTest, Version1UnknownHasNoAddressesWhateverItSays) {
  ExpectHeader("PROXY UNKNOWN\r\n", "", "");
  ExpectHeader("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "", "");
  const std::string longest = "PROXY UNKNOWN " + std::string(107 - 16, 'x') + "\r\n";
  ASSERT_EQ(longest.size(), 107u);
  ExpectHeader(longest, "", "");
}

TEST(ProxyProtocolTest, Version1RefusesWhatIsNotExactlyTheLine) {
  for (const char* line : {
           "PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\n",
           "PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\rX",
           "PROXY TCP4 192.0.2.1 198.51.100.2 4711 443 \r\n",
           "PROXY  TCP4 192.0.2.1 198.51.100.2 4711 443\r\n",
           "PROXY TCP4 192.0.2.1  198.51.100.2 4711 443\r\n",
           "PROXY TCP4 192.0.2.1 198.51.100.2 4711\r\n",
           "PROXY TCP4 192.0.2.1 198.51.100.2 4711 65536\r\n",
           "PROXY TCP4 192.0.2.1 198.51.100.2 4711 -1\r\n",
           "PROXY TCP4 192.0.2.1 198.51.100.2 04711 443\r\n",
           "PROXY TCP4 192.0.2.01 198.51.100.2 4711 443\r\n",
           "PROXY TCP4 192.0.2 198.51.100.2 4711 443\r\n",
           "PROXY TCP4 ::1 ::1 4711 443\r\n",
           "PROXY TCP6 192.0.2.1 198.51.100.2 4711 443\r\n",
           "PROXY TCP5 192.0.2.1 198.51.100.2 4711 443\r\n",
           "PROXY UNKNOWNX\r\n",
           "PROXY \r\n",
       }) {
    EXPECT_EQ(ResultOf(line), Result::kBad) << line;
  }
}

TEST(ProxyProtocolTest, Version1LongerThanItMayBeIsRefusedBeforeItsEnd) {
  EXPECT_EQ(ResultOf("PROXY UNKNOWN " + std::string(107 - 14, 'x')), Result::kBad);
  EXPECT_EQ(ResultOf("PROXY UNKNOWN " + std::string(107 - 15, 'x')), Result::kNeedMore);
}

TEST(ProxyProtocolTest, WhatIsNoHeaderIsSeenAtItsFirstByteThatDiffers) {
  EXPECT_EQ(ResultOf("G"), Result::kNotHeader);
  EXPECT_EQ(ResultOf("PROXx"), Result::kNotHeader);
  EXPECT_EQ(ResultOf("\r\n\r\r"), Result::kNotHeader);
  EXPECT_EQ(ResultOf(std::string("\0", 1)), Result::kNotHeader);
}

TEST(ProxyProtocolTest, Version2IsReadWhereverItIsSplit) {
  ExpectHeader(V2(0x21, 0x11, kIpv4), "192.0.2.1:4711", "198.51.100.2:443");
  const std::string ipv6 = Bytes({0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,  //
                                  0,    0, 0,   0,    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,  //
                                  0,    7, 0,   9});
  ExpectHeader(V2(0x21, 0x21, ipv6), "[2001:db8::1]:7", "[::1]:9");
}

TEST(ProxyProtocolTest, Version2WithoutUsableAddressesKeepsThoseOfTheConnection) {
  ExpectHeader(V2(0x20, 0x00, ""), "", "");                      // LOCAL
  ExpectHeader(V2(0x20, 0x11, "not looked at at all"), "", "");  // LOCAL with anything
  ExpectHeader(V2(0x21, 0x00, "whatever"), "", "");              // UNSPEC
  ExpectHeader(V2(0x21, 0x12, kIpv4), "", "");                   // UDP
  ExpectHeader(V2(0x21, 0x31, std::string(216, '/')), "", "");   // unix
}

TEST(ProxyProtocolTest, Version2RefusesWhatTheSpecificationForbids) {
  EXPECT_EQ(ResultOf(V2(0x11, 0x11, kIpv4)), Result::kBad) << "version 1 in binary";
  EXPECT_EQ(ResultOf(V2(0x22, 0x11, kIpv4)), Result::kBad) << "no such command";
  EXPECT_EQ(ResultOf(V2(0x21, 0x41, kIpv4)), Result::kBad) << "no such family";
  EXPECT_EQ(ResultOf(V2(0x21, 0x13, kIpv4)), Result::kBad) << "no such transport";
  EXPECT_EQ(ResultOf(V2(0x21, 0x11, kIpv4.substr(1))), Result::kBad) << "too short for IPv4";
  EXPECT_EQ(ResultOf(V2(0x21, 0x21, kIpv4)), Result::kBad) << "too short for IPv6";
  EXPECT_EQ(ResultOf(V2(0x21, 0x11, kIpv4 + "x")), Result::kBad) << "half a TLV";
  EXPECT_EQ(ResultOf(V2(0x21, 0x11, kIpv4 + Bytes({1, 0, 5}) + "four")), Result::kBad);
}

TEST(ProxyProtocolTest, Version2LongerThanTheMostIsRefusedAsSoonAsItSaysSo) {
  const std::string most(kMostProxyHeaderBytes - 16 - 12 - 3, 'x');
  EXPECT_EQ(ResultOf(V2(0x21, 0x11, kIpv4 + Tlv(0xe0, most))), Result::kDone);
  EXPECT_EQ(ResultOf(V2(0x21, 0x11, kIpv4 + Tlv(0xe0, most + "x")).substr(0, 16)), Result::kBad);
  EXPECT_EQ(ResultOf(std::string(kV2Start) + Bytes({0x20, 0, 0xff, 0xff})), Result::kBad);
}

TEST(ProxyProtocolTest, TlvsThatNobodyKnowsArePassedOverAndKept) {
  const std::string tlvs = Tlv(0xee, "one") + Tlv(kTlvNoop, "") + Tlv(0x02, "example.org");
  const std::string header = V2(0x21, 0x11, kIpv4 + tlvs);
  ExpectHeader(header, "192.0.2.1:4711", "198.51.100.2:443");
  const ProxyParsed parsed = ParseProxyHeader(header);
  EXPECT_EQ(parsed.tlvs, tlvs);
  std::string_view value;
  ASSERT_TRUE(FindTlv(parsed.tlvs, kTlvAuthority, &value));
  EXPECT_EQ(value, "example.org");
  EXPECT_FALSE(FindTlv(parsed.tlvs, kTlvAlpn, &value));
}

TEST(ProxyProtocolTest, Crc32cIsCastagnolis) {
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(Crc32c("6789", Crc32c("12345")), 0xe3069283u);
}

TEST(ProxyProtocolTest, AWrongChecksumIsRefusedWhicheverBitIsWrong) {
  std::string header;
  ProxyTlvs tlvs;
  tlvs.crc32c = true;
  tlvs.set = {{0xe0, "some"}};
  WriteProxyHeader(ProxyVersion::kV2, {.source = V4(1, 5), .destination = V4(2, 6)}, tlvs, header);
  ASSERT_EQ(ResultOf(header), Result::kDone);
  // What follows the header is not part of the sum.
  ASSERT_EQ(ResultOf(header + "more"), Result::kDone);
  for (size_t at = 16; at < header.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string spoiled = header;
      spoiled[at] = static_cast<char>(spoiled[at] ^ 1 << bit);
      // Where a type or a length changes it may be another header without a checksum.
      const ProxyParsed parsed = ParseProxyHeader(spoiled);
      std::string_view crc;
      if (parsed.result == Result::kDone && !FindTlv(parsed.tlvs, kTlvCrc32c, &crc)) continue;
      EXPECT_EQ(parsed.result, Result::kBad) << at;
    }
  }
}

TEST(ProxyProtocolTest, WhatIsWrittenIsReadAsTheSame) {
  const std::vector<std::pair<Address, Address>> pairs = {
      {V4(1, 5), V4(2, 65535)},
      {V6(1, 5), V6(2, 6)},
      {Address::Ipv6({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1}, 5), V4(2, 6)},
  };
  for (const ProxyVersion version : {ProxyVersion::kV1, ProxyVersion::kV2}) {
    for (const auto& [source, destination] : pairs) {
      std::string header;
      WriteProxyHeader(version, {.source = source, .destination = destination}, {}, header);
      ExpectHeader(header, source.ToString(), destination.ToString());
    }
    std::string mixed;
    WriteProxyHeader(version, {.source = V4(1, 5), .destination = V6(2, 6)}, {}, mixed);
    const ProxyParsed parsed = ParseProxyHeader(mixed);
    EXPECT_EQ(parsed.source.Unmapped().ToString(), "10.0.0.1:5");
    EXPECT_EQ(parsed.destination.ToString(), "[2001:db8::2]:6");

    std::string none;
    WriteProxyHeader(version, {.source = Address::UnixPath("/x"), .destination = V4(1, 2)}, {},
                     none);
    ExpectHeader(none, "", "");
    std::string local;
    WriteLocalProxyHeader(version, local);
    ExpectHeader(local, "", "");
  }
}

TEST(ProxyProtocolTest, Version1IsWrittenAsEverybodyReadsIt) {
  std::string header;
  WriteProxyHeader(ProxyVersion::kV1, {.source = V4(1, 5), .destination = V4(2, 6)}, {}, header);
  EXPECT_EQ(header, "PROXY TCP4 10.0.0.1 10.0.0.2 5 6\r\n");
}

TEST(ProxyProtocolTest, TlvsArePassedSetAndAddedAsAsked) {
  const std::string in = Tlv(0xea, "vpce-1") + Tlv(kTlvAuthority, "old.example") +
                         Tlv(kTlvCrc32c, "\0\0\0\0") + Tlv(0xe1, "drop");
  ProxyHeader header{.source = V4(1, 5),
                     .destination = V4(2, 6),
                     .tlvs_in = in,
                     .unique_id = "id-7",
                     .authority = "new.example"};
  const auto written = [&](const ProxyTlvs& tlvs) {
    std::string out;
    WriteProxyHeader(ProxyVersion::kV2, header, tlvs, out);
    const ProxyParsed parsed = ParseProxyHeader(out);
    EXPECT_EQ(parsed.result, Result::kDone);
    return std::string(parsed.tlvs);
  };
  EXPECT_EQ(written({}), "");
  EXPECT_EQ(written({.pass = {0xea}}), Tlv(0xea, "vpce-1"));
  EXPECT_EQ(written({.authority = true}), Tlv(kTlvAuthority, "new.example"));
  EXPECT_EQ(written({.authority = true, .pass = {kTlvAuthority}}),
            Tlv(kTlvAuthority, "old.example"));
  EXPECT_EQ(written({.pass_all = true, .set = {{0xe1, "new"}}}),
            Tlv(0xea, "vpce-1") + Tlv(kTlvAuthority, "old.example") + Tlv(0xe1, "new"));
  EXPECT_EQ(written({.unique_id = true}), Tlv(kTlvUniqueId, "id-7"));
}

TEST(ProxyProtocolTest, TlvsThatWouldMakeTheHeaderTooLongAreLeftOut) {
  ProxyTlvs tlvs;
  tlvs.crc32c = true;
  tlvs.set = {{0xe0, std::string(kMostProxyHeaderBytes - 100, 'x')},
              {0xe1, std::string(200, 'y')},
              {0xe2, "fits"}};
  std::string out = "before";
  WriteProxyHeader(ProxyVersion::kV2, {.source = V4(1, 5), .destination = V4(2, 6)}, tlvs, out);
  const std::string header = out.substr(6);
  const ProxyParsed parsed = ParseProxyHeader(header);
  ASSERT_EQ(parsed.result, Result::kDone);
  std::string_view value;
  EXPECT_FALSE(FindTlv(parsed.tlvs, 0xe1, &value));
  EXPECT_TRUE(FindTlv(parsed.tlvs, 0xe2, &value));
  EXPECT_TRUE(FindTlv(parsed.tlvs, kTlvCrc32c, &value));
}

}  // namespace
}  // namespace parkway
