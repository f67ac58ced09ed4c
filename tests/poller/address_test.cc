#include "poller/address.h"

#include <arpa/inet.h>

#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include "gtest/gtest.h"

namespace parkway {
namespace {

Address V4(const char* text, uint16_t port) {
  std::array<uint8_t, 4> bytes;
  EXPECT_EQ(inet_pton(AF_INET, text, bytes.data()), 1) << text;
  return Address::Ipv4(bytes, port);
}

Address V6(const char* text, uint16_t port) {
  std::array<uint8_t, 16> bytes;
  EXPECT_EQ(inet_pton(AF_INET6, text, bytes.data()), 1) << text;
  return Address::Ipv6(bytes, port);
}

Address RoundTrip(const Address& address) {
  sockaddr_storage storage = {};
  std::memcpy(&storage, address.data(), address.size());
  return Address::FromSockaddr(reinterpret_cast<const sockaddr*>(&storage), address.size());
}

TEST(AddressTest, ShowsWhatAnOperatorWouldWrite) {
  EXPECT_EQ(V4("1.2.3.4", 80).ToString(), "1.2.3.4:80");
  EXPECT_EQ(V4("0.0.0.0", 0).ToString(), "0.0.0.0:0");
  EXPECT_EQ(V6("::1", 80).ToString(), "[::1]:80");
  EXPECT_EQ(V6("2001:db8::0:5", 65535).ToString(), "[2001:db8::5]:65535");
  EXPECT_EQ(Address::UnixPath("/run/x.sock").ToString(), "unix:/run/x.sock");
  EXPECT_EQ(Address::UnixAbstract("name").ToString(), "unix:@name");
  EXPECT_EQ(Address().ToString(), "-");
}

TEST(AddressTest, ShowsIpv4OfADualStackSocketAsIpv4) {
  EXPECT_EQ(V6("::ffff:1.2.3.4", 443).ToString(), "1.2.3.4:443");
  EXPECT_EQ(V6("::fffe:1.2.3.4", 443).ToString(), "[::fffe:102:304]:443");
}

TEST(AddressTest, ShowsTheInterfaceOfALinkLocalPeer) {
  sockaddr_in6 raw = {};
  raw.sin6_family = AF_INET6;
  raw.sin6_port = htons(80);
  raw.sin6_scope_id = 3;
  ASSERT_EQ(inet_pton(AF_INET6, "fe80::1", &raw.sin6_addr), 1);
  const auto* any = reinterpret_cast<const sockaddr*>(&raw);
  const Address third = Address::FromSockaddr(any, sizeof(raw));
  EXPECT_EQ(third.ToString(), "[fe80::1%3]:80");
  raw.sin6_scope_id = 4;
  EXPECT_NE(third, Address::FromSockaddr(any, sizeof(raw)));
}

TEST(AddressTest, ControlCharactersInAUnixNameDoNotReachALog) {
  EXPECT_EQ(Address::UnixPath("/run/a\nb\\c \x7f").ToString(), "unix:/run/a\\x0ab\\x5cc \\x7f");
  EXPECT_EQ(Address::UnixAbstract(std::string_view("a\0b", 3)).ToString(), "unix:@a\\x00b");
  EXPECT_EQ(Address::UnixPath("/run/h\xc3\xb6he").ToString(), "unix:/run/h\xc3\xb6he");
}

TEST(AddressTest, IsWhatTheKernelTakesAndGives) {
  for (const Address& address :
       {V4("127.0.0.1", 8080), V6("2001:db8::1", 1), V6("::ffff:10.0.0.1", 2),
        Address::UnixPath("/run/x.sock"), Address::UnixAbstract("x"),
        Address::UnixAbstract(std::string_view("\0\0", 2)), Address()}) {
    EXPECT_EQ(RoundTrip(address), address) << address.ToString();
    EXPECT_EQ(RoundTrip(address).ToString(), address.ToString());
  }
}

TEST(AddressTest, KeepsItsBytesInNetworkOrder) {
  const Address address = V4("9.8.7.6", 0x1234);
  sockaddr_in raw;
  ASSERT_EQ(address.size(), sizeof(raw));
  std::memcpy(&raw, address.data(), sizeof(raw));
  EXPECT_EQ(raw.sin_family, AF_INET);
  EXPECT_EQ(raw.sin_port, htons(0x1234));
  EXPECT_EQ(ntohl(raw.sin_addr.s_addr), 0x09080706u);
}

TEST(AddressTest, BytesOutsideTheAddressAreZero) {
  // Memory that was used before.
  alignas(Address) unsigned char memory[sizeof(Address)];
  std::memset(memory, 0xee, sizeof(memory));
  auto* address = new (memory) Address(Address::Ipv6({}, 7));
  sockaddr_in6 raw;
  std::memcpy(&raw, address->data(), sizeof(raw));
  EXPECT_EQ(raw.sin6_flowinfo, 0u);
  EXPECT_EQ(raw.sin6_scope_id, 0u);
  const Address path = Address::UnixPath("/a");
  const char* end = reinterpret_cast<const char*>(path.data()) + path.size() - 1;
  EXPECT_EQ(*end, '\0');
  address->~Address();
}

TEST(AddressTest, IsEqualByAddressPortAndFamily) {
  EXPECT_EQ(V4("1.2.3.4", 80), V4("1.2.3.4", 80));
  EXPECT_NE(V4("1.2.3.4", 80), V4("1.2.3.4", 81));
  EXPECT_NE(V4("1.2.3.4", 80), V4("1.2.3.5", 80));
  EXPECT_NE(V6("::1", 80), V6("::2", 80));
  EXPECT_NE(V6("::ffff:1.2.3.4", 80), V4("1.2.3.4", 80)) << "different sockets";
  EXPECT_EQ(V6("::ffff:1.2.3.4", 80).Unmapped(), V4("1.2.3.4", 80));
  EXPECT_EQ(V6("::1", 80).Unmapped(), V6("::1", 80));
  EXPECT_NE(Address::UnixPath("/a"), Address::UnixPath("/ab"));
  EXPECT_NE(Address::UnixPath("a"), Address::UnixAbstract("a"));
  EXPECT_NE(Address::UnixAbstract("a"), Address::UnixAbstract(std::string_view("a\0", 2)));
  EXPECT_NE(Address(), V4("0.0.0.0", 0));
  EXPECT_EQ(Address(), Address());
}

TEST(AddressTest, APathIsEqualWithAndWithoutItsZero) {
  sockaddr_un raw = {};
  raw.sun_family = AF_UNIX;
  std::strcpy(raw.sun_path, "/run/x");
  const auto* any = reinterpret_cast<const sockaddr*>(&raw);
  const socklen_t bare = offsetof(sockaddr_un, sun_path) + 6;
  EXPECT_EQ(Address::FromSockaddr(any, bare), Address::FromSockaddr(any, bare + 1));
  EXPECT_EQ(Address::FromSockaddr(any, sizeof(raw)), Address::UnixPath("/run/x"));
}

TEST(AddressTest, APathThatFillsTheNameIsWhole) {
  sockaddr_un raw = {};
  raw.sun_family = AF_UNIX;
  std::memset(raw.sun_path, 'p', sizeof(raw.sun_path));
  // As getsockname says it: one more than the structure, for a zero that is not there.
  char given[sizeof(raw) + 1] = {};
  std::memcpy(given, &raw, sizeof(raw));
  const Address address =
      Address::FromSockaddr(reinterpret_cast<const sockaddr*>(given), sizeof(raw) + 1);
  EXPECT_EQ(address.path(), std::string(108, 'p'));
  EXPECT_EQ(address.size(), sizeof(raw)) << "more would be refused by connect";
  EXPECT_EQ(Address::UnixPath(std::string(200, 'q')).path().size(), Address::kMostPathBytes);
}

TEST(AddressTest, APeerWithoutANameIsUnixAndNoPath) {
  sockaddr_un raw = {};
  raw.sun_family = AF_UNIX;
  const Address peer =
      Address::FromSockaddr(reinterpret_cast<const sockaddr*>(&raw), sizeof(sa_family_t));
  EXPECT_TRUE(peer.is_unix());
  EXPECT_FALSE(peer.is_path());
  EXPECT_EQ(peer.ToString(), "unix:");
  EXPECT_TRUE(Address::UnixPath("/a").is_path());
  EXPECT_FALSE(Address::UnixAbstract("a").is_path());
}

TEST(AddressTest, WhatIsTooShortOrUnknownIsUnspecified) {
  sockaddr_in6 raw = {};
  raw.sin6_family = AF_INET6;
  const auto* any = reinterpret_cast<const sockaddr*>(&raw);
  EXPECT_EQ(Address::FromSockaddr(any, sizeof(raw) - 1), Address());
  EXPECT_EQ(Address::FromSockaddr(any, 0), Address());
  raw.sin6_family = AF_INET;
  EXPECT_EQ(Address::FromSockaddr(any, sizeof(sockaddr_in) - 1), Address());
  EXPECT_EQ(Address::FromSockaddr(any, sizeof(raw)), V4("0.0.0.0", 0));
  raw.sin6_family = AF_APPLETALK;
  EXPECT_EQ(Address::FromSockaddr(any, sizeof(raw)), Address());
}

TEST(AddressTest, KnowsWildcardsAndLoopback) {
  EXPECT_TRUE(V4("0.0.0.0", 1).is_any());
  EXPECT_TRUE(V6("::", 1).is_any());
  EXPECT_TRUE(V6("::ffff:0.0.0.0", 1).is_any());
  EXPECT_FALSE(V6("::1", 1).is_any());
  EXPECT_FALSE(V4("0.0.0.1", 1).is_any());
  EXPECT_FALSE(Address::UnixPath("/a").is_any());

  EXPECT_TRUE(V4("127.9.9.9", 1).is_loopback());
  EXPECT_TRUE(V6("::1", 1).is_loopback());
  EXPECT_TRUE(V6("::ffff:127.0.0.1", 1).is_loopback());
  EXPECT_TRUE(Address::UnixAbstract("a").is_loopback());
  EXPECT_FALSE(V4("128.0.0.1", 1).is_loopback());
  EXPECT_FALSE(V6("::ffff:10.0.0.1", 1).is_loopback());
}

TEST(AddressTest, PortsAreReadAndWritten) {
  Address v4 = V4("1.1.1.1", 0);
  v4.set_port(8443);
  EXPECT_EQ(v4, V4("1.1.1.1", 8443));
  Address v6 = V6("::1", 7);
  v6.set_port(8);
  EXPECT_EQ(v6.port(), 8);
  Address path = Address::UnixPath("/a");
  path.set_port(9);
  EXPECT_EQ(path.port(), 0);
  EXPECT_EQ(path, Address::UnixPath("/a"));
}

TEST(PackedAddressTest, ShowsWhatTheAddressShows) {
  EXPECT_LE(sizeof(PackedAddress), 20u);
  EXPECT_EQ(PackedAddress(V4("1.2.3.4", 80)).ToString(), "1.2.3.4:80");
  EXPECT_EQ(PackedAddress(V6("2001:db8::1", 80)).ToString(), "[2001:db8::1]:80");
  EXPECT_EQ(PackedAddress(V6("::ffff:1.2.3.4", 80)).ToString(), "1.2.3.4:80");
  EXPECT_EQ(PackedAddress(Address::UnixPath("/a")).ToString(), "unix");
  EXPECT_EQ(PackedAddress().ToString(), "-");
  EXPECT_EQ(PackedAddress(V4("1.2.3.4", 80)).port(), 80);
  EXPECT_TRUE(PackedAddress(Address::UnixAbstract("a")).is_unix());
}

TEST(PackedAddressTest, APeerIsTheSameOverADualStackSocketAndAnIpv4One) {
  EXPECT_EQ(PackedAddress(V6("::ffff:1.2.3.4", 80)), PackedAddress(V4("1.2.3.4", 80)));
  EXPECT_NE(PackedAddress(V4("1.2.3.4", 80)), PackedAddress(V4("1.2.3.4", 81)));
  EXPECT_NE(PackedAddress(V6("::102:304", 80)), PackedAddress(V4("1.2.3.4", 80)));
  EXPECT_NE(PackedAddress(), PackedAddress(V4("0.0.0.0", 0)));
}

}  // namespace
}  // namespace parkway
