#include "config/value.h"

#include <algorithm>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "config/text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace parkway::config {
namespace {

template <typename T>
std::string ErrorOf(const absl::StatusOr<T>& result) {
  EXPECT_FALSE(result.ok());
  return Message(result.status());
}

std::string Listen(std::string_view text) {
  const absl::StatusOr<Address> address = ParseAddress(text, AddressUse::kListens);
  return address.ok() ? address->ToString() : Message(address.status());
}

std::string Connect(std::string_view text) {
  const absl::StatusOr<Address> address = ParseAddress(text, AddressUse::kConnects);
  return address.ok() ? address->ToString() : Message(address.status());
}

std::string Duration(std::string_view text) {
  const absl::StatusOr<absl::Duration> duration = ParseDuration(text, {.off = true});
  return duration.ok() ? PrintDuration(*duration) : Message(duration.status());
}

// --- Addresses

TEST(AddressTextTest, EachFormIsReadAndPrintedCanonically) {
  EXPECT_EQ(Listen("127.0.0.1:80"), "127.0.0.1:80");
  EXPECT_EQ(Listen("0.0.0.0:00080"), "0.0.0.0:80");
  EXPECT_EQ(Listen(":65535"), ":65535");
  EXPECT_EQ(Listen("[::]:1"), "[::]:1");
  EXPECT_EQ(Listen("[2001:DB8:0:0::5]:443"), "[2001:db8::5]:443");
  EXPECT_EQ(Listen("[::ffff:1.2.3.4]:443"), "[::ffff:1.2.3.4]:443");
  EXPECT_EQ(Listen("unix:/run/x.sock"), "unix:/run/x.sock");
  EXPECT_EQ(Listen("unix:x=1:2"), "unix:x=1:2");
  EXPECT_EQ(Listen("unix:@name"), "unix:@name");
}

TEST(AddressTextTest, PartsAreWhereTheyBelong) {
  const Address v4 = *ParseAddress("1.2.3.4:80", AddressUse::kConnects);
  EXPECT_EQ(v4.kind, Address::Kind::kIpv4);
  EXPECT_EQ(v4.ip[0], 1);
  EXPECT_EQ(v4.ip[3], 4);
  EXPECT_EQ(v4.port, 80);
  const Address v6 = *ParseAddress("[::1]:8080", AddressUse::kConnects);
  EXPECT_EQ(v6.kind, Address::Kind::kIpv6);
  EXPECT_EQ(v6.ip[15], 1);
  EXPECT_EQ(v6.port, 8080);
  const Address path = *ParseAddress("unix:/a", AddressUse::kConnects);
  EXPECT_EQ(path.kind, Address::Kind::kUnixPath);
  EXPECT_EQ(path.path, "/a");
  const Address name = *ParseAddress("unix:@a", AddressUse::kConnects);
  EXPECT_EQ(name.kind, Address::Kind::kUnixAbstract);
  EXPECT_EQ(name.path, "a");
  EXPECT_TRUE(name.is_unix());
}

TEST(AddressTextTest, WildcardsAndLoopbackAreKnownInEveryForm) {
  for (const char* text : {":80", "0.0.0.0:80", "[::]:80", "[::ffff:0.0.0.0]:80"}) {
    EXPECT_TRUE(ParseAddress(text, AddressUse::kListens)->is_any()) << text;
  }
  for (const char* text : {"127.0.0.1:80", "127.9.9.9:80", "[::1]:80", "[::ffff:127.0.0.1]:80"}) {
    EXPECT_TRUE(ParseAddress(text, AddressUse::kListens)->is_loopback()) << text;
    EXPECT_FALSE(ParseAddress(text, AddressUse::kListens)->is_any()) << text;
  }
  for (const char* text : {"128.0.0.1:80", "[::2]:80", "unix:/x", ":80"}) {
    EXPECT_FALSE(ParseAddress(text, AddressUse::kListens)->is_loopback()) << text;
  }
}

TEST(AddressTextTest, AWrongAddressIsToldWhatWouldBeRight) {
  EXPECT_EQ(Listen(""),
            "an address is missing; write :PORT, IP:PORT, [IPv6]:PORT, unix:PATH or unix:@NAME");
  EXPECT_EQ(Connect(""),
            "an address is missing; write NAME:PORT, IP:PORT, [IPv6]:PORT, unix:PATH or "
            "unix:@NAME");
  EXPECT_EQ(Listen(":0"), "\"0\" is not a port; a port is 1 to 65535");
  EXPECT_EQ(Listen(":65536"), "\"65536\" is not a port; a port is 1 to 65535");
  EXPECT_EQ(Listen(":99999999999999999999"),
            "\"99999999999999999999\" is not a port; a port is 1 to 65535");
  EXPECT_EQ(Listen(":"), "\"\" is not a port; a port is 1 to 65535");
  EXPECT_EQ(Listen("1.2.3.4:http"), "\"http\" is not a port; a port is 1 to 65535");
  EXPECT_EQ(Listen("8080"), "\"8080\" is not an address; write :8080 to listen on all addresses");
  EXPECT_EQ(Connect("8080"),
            "\"8080\" is not an address; write NAME:PORT, IP:PORT, [IPv6]:PORT, unix:PATH or "
            "unix:@NAME");
  EXPECT_EQ(Listen("*:80"), "\"*\" is not an address; write :80 to listen on all addresses");
  EXPECT_EQ(Connect(":80"),
            "\":80\" does not say which server; write its address, such as 127.0.0.1:80");
  EXPECT_EQ(Listen("1.2.3.4"),
            "\"1.2.3.4\" has no port; write it behind a colon, such as 1.2.3.4:80");
  EXPECT_EQ(Listen("1.2.3:80"),
            "\"1.2.3\" is not an IPv4 address; write four numbers of 0 to 255, such as 127.0.0.1");
  EXPECT_EQ(Listen("http://1.2.3.4:80"),
            "\"http://1.2.3.4:80\" begins with a scheme; leave out http://");
  EXPECT_EQ(Listen("/run/x"), "\"/run/x\" is not an address; write unix:/run/x");
  EXPECT_EQ(Listen("@x"), "\"@x\" is not an address; write unix:@x");
}

TEST(AddressTextTest, AServerMayTakeTheListenersPort) {
  for (const char* text : {"1.2.3.4", "[::1]", "1.2.3.4:+5", "[::1]:+65535"}) {
    const absl::StatusOr<Address> address = ParseAddress(text, AddressUse::kConnects);
    ASSERT_TRUE(address.ok()) << text;
    EXPECT_TRUE(address->relative);
    EXPECT_EQ(address->ToString(), text);
  }
  EXPECT_EQ(ParseAddress("1.2.3.4:+0", AddressUse::kConnects)->ToString(), "1.2.3.4");
  EXPECT_EQ(ParseAddress("1.2.3.4:+5", AddressUse::kConnects)->port, 5);
  EXPECT_FALSE(ParseAddress("1.2.3.4:5", AddressUse::kConnects)->relative);
  EXPECT_EQ(
      Connect("1.2.3.4:+65536"),
      "\"+65536\" cannot be added to the listener's port; write + and a number of 0 to 65535");
  EXPECT_EQ(Connect("1.2.3.4:+"),
            "\"+\" cannot be added to the listener's port; write + and a number of 0 to 65535");
  EXPECT_EQ(Listen("1.2.3.4:+5"), "\"+5\" is not a port; a port is 1 to 65535");
}

std::string Ranges(const std::vector<std::string>& texts) {
  std::vector<Address> all;
  for (const std::string& text : texts) {
    const absl::StatusOr<std::vector<Address>> addresses = ParseListenAddresses(text);
    if (!addresses.ok()) return Message(addresses.status());
    all.insert(all.end(), addresses->begin(), addresses->end());
  }
  return Cat(all.size(), " ", Join(PrintListenAddresses(all), ","));
}

TEST(AddressTextTest, AListenerMayHaveARangeOfPorts) {
  EXPECT_EQ(Ranges({":10000-10100"}), "101 :10000-10100");
  EXPECT_EQ(Ranges({"1.2.3.4:1-65535"}), "65535 1.2.3.4:1-65535");
  EXPECT_EQ(Ranges({"[::1]:7-7", ":65533-65535"}), "4 [::1]:7,:65533-65535");
  EXPECT_EQ(Ranges({":80-81"}), "2 :80,:81");
  EXPECT_EQ(Ranges({":80", ":81", ":82", "1.2.3.4:83", ":84", "unix:/a:1-3", "unix:/a"}),
            "7 :80-82,1.2.3.4:83,:84,unix:/a:1-3,unix:/a");
  EXPECT_EQ(Ranges({":90-80"}),
            "\"90-80\" is not a range of ports; write the lower one first: 80-90");
  EXPECT_EQ(Ranges({":0-80"}), "\"0\" is not a port; a port is 1 to 65535");
  EXPECT_EQ(Ranges({":80-65536"}), "\"65536\" is not a port; a port is 1 to 65535");
  EXPECT_EQ(Ranges({"::1:80-81"}), "\"::1:80\" is IPv6 without brackets; write [::1]:80");
}

TEST(ModeTest, AModeIsOctal) {
  EXPECT_EQ(*ParseMode("0660"), 0660u);
  EXPECT_EQ(*ParseMode("660"), 0660u);
  EXPECT_EQ(PrintMode(0604), "0604");
  for (const char* text : {"", "66", "0668", "01777", "rw-", "0x1ff", "-660", "00660"}) {
    EXPECT_FALSE(ParseMode(text).ok()) << text;
  }
}

TEST(OwnerTest, AnOwnerIsAUserAndPerhapsAGroup) {
  for (const char* text : {"root", "0", "www-data:adm", "1000:1000"}) {
    EXPECT_TRUE(CheckOwner(text).ok()) << text;
  }
  for (const char* text : {"", ":", "a:", ":b", "a:b:c", "a b"}) {
    EXPECT_FALSE(CheckOwner(text).ok()) << text;
  }
}

TEST(AddressTextTest, Ipv6NeedsItsBrackets) {
  EXPECT_EQ(Listen("::1"), "\"::1\" is IPv6 without brackets; write [::1]:80");
  EXPECT_EQ(Listen("fe80::1:8080"),
            "\"fe80::1:8080\" is IPv6 without brackets; write [fe80::1]:8080");
  EXPECT_EQ(Listen("::"), "\"::\" is IPv6 without brackets; write [::]:80");
  EXPECT_EQ(Listen("[::1]"),
            "\"[::1]\" has no port; write it behind the bracket, such as [::1]:80");
  EXPECT_EQ(Listen("[::1"), "\"[::1\" lacks the closing bracket; write [IPv6]:PORT");
  EXPECT_EQ(Listen("[1.2.3.4]:80"),
            "\"1.2.3.4\" is not an IPv6 address; write an IPv4 address without brackets");
  EXPECT_EQ(Listen("[fe80::1%eth0]:80"),
            "\"fe80::1%eth0\" is not an IPv6 address; an address with a zone is not supported");
  EXPECT_EQ(Listen("[::1]80"),
            "\"[::1]80\" has no port; write it behind the bracket, such as "
            "[::1]:80");
}

TEST(AddressTextTest, AServerMayHaveAName) {
  for (const char* text :
       {"db.example.net:5432", "localhost:80", "a:+5", "db-1_x", "example.net.:1"}) {
    const absl::StatusOr<Address> address = ParseAddress(text, AddressUse::kConnects);
    ASSERT_TRUE(address.ok()) << text;
    EXPECT_EQ(address->kind, Address::Kind::kHost);
    EXPECT_TRUE(address->is_name());
    EXPECT_FALSE(address->is_unix() || address->is_any() || address->is_loopback());
    EXPECT_EQ(address->ToString(), text);
  }
  const Address upper = *ParseAddress("DB.Example.NET", AddressUse::kConnects);
  EXPECT_EQ(upper.path, "db.example.net");
  EXPECT_TRUE(upper.relative);
  EXPECT_EQ(upper.port, 0);
  for (const char* text : {"a..b:1", "-a:1", "a-:1", "a b:1", "ex\xc3\xa4mple:1", "a%b:1"}) {
    EXPECT_THAT(Connect(text), testing::HasSubstr("is neither an address nor a name")) << text;
  }
  EXPECT_FALSE(ParseAddress(std::string(64, 'a') + ":1", AddressUse::kConnects).ok());
  EXPECT_EQ(Connect("a:0"), "\"0\" is not a port; a port is 1 to 65535");
}

TEST(AddressTextTest, AListenerMayNotHaveAName) {
  EXPECT_EQ(Listen("db.example.net:5432"),
            "\"db.example.net\" is a name, and a listener needs an address; write the address");
  EXPECT_EQ(Listen("localhost:80"),
            "\"localhost\" is a name, and a listener needs an address; write 127.0.0.1:80 or "
            "[::1]:80");
}

TEST(AddressTextTest, AServerMayBeAService) {
  const Address service = *ParseAddress("srv:_PG._tcp.example.net", AddressUse::kConnects);
  EXPECT_EQ(service.kind, Address::Kind::kService);
  EXPECT_EQ(service.path, "_pg._tcp.example.net");
  EXPECT_EQ(service.ToString(), "srv:_pg._tcp.example.net");
  EXPECT_FALSE(service.relative);
  for (const char* text :
       {"srv:", "srv:pg._tcp.example.net", "srv:_pg.tcp.example.net", "srv:_pg._tcp"}) {
    EXPECT_THAT(Connect(text), testing::HasSubstr("is not the name of a service")) << text;
  }
  EXPECT_FALSE(ParseAddress("srv:_pg._tcp.example.net", AddressUse::kListens).ok());
}

TEST(NameserversTest, APortIsShownWhereItIsAnother) {
  EXPECT_EQ(*CanonicalNameservers("10.0.0.1,10.0.0.2:53,10.0.0.3:5353,::1,[::2]:53,[::3]:54"),
            "10.0.0.1,10.0.0.2,10.0.0.3:5353,::1,::2,[::3]:54");
  for (const char* text :
       {"", "ns.example.net", "10.0.0.1,", ":53", "unix:/x", "10.0.0.1,10.0.0.1:53"}) {
    EXPECT_FALSE(CanonicalNameservers(text).ok()) << text;
  }
}

TEST(BandwidthTest, BytesAndBitsInASecond) {
  EXPECT_EQ(*ParseBandwidth("10MiB/s"), 10u << 20);
  EXPECT_EQ(*ParseBandwidth("80Mbit/s"), 10'000'000u);
  EXPECT_EQ(*ParseBandwidth("1Gbit/s"), 125'000'000u);
  EXPECT_EQ(*ParseBandwidth("9kbit/s"), 1125u);
  EXPECT_EQ(*ParseBandwidth("2000B/s"), 2000u);
  EXPECT_EQ(PrintBandwidth(10u << 20), "10MiB/s");
  EXPECT_EQ(PrintBandwidth(*ParseBandwidth("80Mbit/s")), "10000000B/s");
  for (const char* text :
       {"", "10MiB", "10/s", "MiB/s", "-1MiB/s", "10MB/s", "1023B/s", "1B/s", "1025GiB/s",
        "99999999999999999999B/s", "18446744073709551615GiB/s", "1.5MiB/s"}) {
    EXPECT_FALSE(ParseBandwidth(text).ok()) << text;
  }
  EXPECT_EQ(Message(ParseBandwidth("10").status()),
            "\"10\" is not a bandwidth; write one such as 10MiB/s or 80Mbit/s");
}

TEST(KeepaliveTest, ThreeNumbersOrOff) {
  const Keepalive usual = *ParseKeepalive("1m:10s:3");
  EXPECT_EQ(usual.idle, absl::Minutes(1));
  EXPECT_EQ(usual.interval, absl::Seconds(10));
  EXPECT_EQ(usual.count, 3u);
  EXPECT_EQ(PrintKeepalive(usual), "60s:10s:3");
  EXPECT_FALSE(ParseKeepalive("off")->on());
  EXPECT_EQ(PrintKeepalive(Keepalive()), "off");
  for (const char* text : {"", "on", "60s", "60s:10s", "60s:10s:3:4", "60:10:3", "0:10s:3",
                           "60s:0:3", "60s:10s:0", "60s:10s:128", "1500ms:10s:3", "32768s:10s:3"}) {
    EXPECT_FALSE(ParseKeepalive(text).ok()) << text;
  }
}

TEST(HexTest, BitsAreShownAsBits) {
  EXPECT_EQ(*ParseHex("0x1F", 1, 0xffffffff), 0x1fu);
  EXPECT_EQ(PrintHex(0xffffffff), "0xffffffff");
  for (const char* text : {"0x", "0x0", "0x100000000", "0xg", "0x1 "}) {
    EXPECT_FALSE(ParseHex(text, 1, 0xffffffff).ok()) << text;
  }
}

TEST(PathTest, DevicesSocketsAndFilesHaveNames) {
  for (const char* text : {"eth0", "eth0.100", "br-lan", "wg0", "a:b"}) {
    EXPECT_EQ(*CanonicalDevice(text), text);
  }
  for (const char* text : {"", "a/b", "a b", "..", "sixteen-letters-", "a,b"}) {
    EXPECT_FALSE(CanonicalDevice(text).ok()) << text;
  }
  EXPECT_EQ(*CanonicalPath("a b"), "a b");
  EXPECT_FALSE(CanonicalPath("").ok());
  EXPECT_FALSE(CanonicalPath("a\nb").ok());
  EXPECT_EQ(*CanonicalSocketPath("auto"), "auto");
  EXPECT_FALSE(CanonicalSocketPath(std::string(kMostUnixPathBytes + 1, 'p')).ok());
}

TEST(AddressTextTest, UnixPathsFitASocket) {
  const std::string longest(kMostUnixPathBytes, 'p');
  EXPECT_EQ(Listen("unix:" + longest), "unix:" + longest);
  EXPECT_EQ(Listen("unix:@" + longest), "unix:@" + longest);
  EXPECT_NE(Listen("unix:" + longest + "p").find("is 108 bytes long; the kernel takes at most 107"),
            std::string::npos);
  EXPECT_EQ(Listen("unix:"), "unix: without a path; write unix:/run/NAME.sock or unix:@NAME");
  EXPECT_EQ(Listen("unix:@"), "unix: without a path; write unix:/run/NAME.sock or unix:@NAME");
  EXPECT_EQ(Listen("unix:/a\nb"), "\"/a\\x0ab\" has a control character; choose another path");
}

TEST(AddressTextTest, AnythingPrintedIsReadBackAsTheSame) {
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    Address address;
    address.kind = static_cast<Address::Kind>(random() % 5);
    if (address.is_unix()) {
      const size_t size = 1 + random() % kMostUnixPathBytes;
      // The letter first: a path that begins with @ is a name.
      address.path = "p";
      while (address.path.size() < size) {
        const char c = static_cast<char>(0x20 + random() % 0x5f);
        address.path += c;
      }
    } else {
      address.port = static_cast<uint16_t>(1 + random() % 65535);
      const size_t bytes = address.kind == Address::Kind::kIpv4   ? 4
                           : address.kind == Address::Kind::kIpv6 ? 16
                                                                  : 0;
      for (size_t b = 0; b < bytes; ++b) {
        address.ip[b] = random() % 3 == 0 ? static_cast<uint8_t>(random()) : 0;
      }
    }
    const std::string text = address.ToString();
    const absl::StatusOr<Address> back = ParseAddress(text, AddressUse::kListens);
    ASSERT_TRUE(back.ok()) << text << ": " << back.status();
    ASSERT_EQ(*back, address) << text;
  }
}

// --- Durations

TEST(DurationTextTest, DurationsAreReadAndPrintedCanonically) {
  EXPECT_EQ(Duration("5s"), "5s");
  EXPECT_EQ(Duration("90s"), "1m30s");
  EXPECT_EQ(Duration("1h30m"), "1h30m");
  EXPECT_EQ(Duration("24h"), "1d");
  EXPECT_EQ(Duration("1500ms"), "1s500ms");
  EXPECT_EQ(Duration("1d1h1m1s1ms1us"), "1d1h1m1s1ms1us");
  EXPECT_EQ(Duration("0h5m"), "5m");
  EXPECT_EQ(*ParseDuration("250us", {}), absl::Microseconds(250));
}

TEST(DurationTextTest, OffHasThreeForms) {
  for (const char* text : {"off", "0", "0s", "0ms", "0m0s"}) EXPECT_EQ(Duration(text), "off");
  EXPECT_EQ(ErrorOf(ParseDuration("off", {.least = absl::Milliseconds(1)})),
            "\"off\" is not allowed, it cannot be off; the least is 1ms");
  EXPECT_EQ(ErrorOf(ParseDuration("0ms", {.least = absl::Milliseconds(1)})),
            "\"0ms\" is too short; the least is 1ms");
}

TEST(DurationTextTest, AWrongDurationIsToldWhatWouldBeRight) {
  constexpr char kUnits[] = "; the units are us ms s m h d, as in 1h30m";
  EXPECT_EQ(Duration(""), "a duration is missing; write one with its unit, such as 5s");
  EXPECT_EQ(Duration("5"), "\"5\" has no unit; a duration needs a unit, such as 5s");
  EXPECT_EQ(Duration("00"), "\"00\" has no unit; a duration needs a unit, such as 5s");
  EXPECT_EQ(Duration("-1s"), "\"-1s\" is negative; write a duration such as 5s, or off");
  EXPECT_EQ(ErrorOf(ParseDuration("-1s", {})), "\"-1s\" is negative; write a duration such as 5s");
  EXPECT_EQ(Duration("5S"), std::string("\"S\" is not a unit of time") + kUnits);
  EXPECT_EQ(Duration("5sec"), std::string("\"sec\" is not a unit of time") + kUnits);
  EXPECT_EQ(Duration("1h30"), std::string("\"1h30\" is not a duration") + kUnits);
  EXPECT_EQ(Duration("5 s"), std::string("\"5 s\" is not a duration") + kUnits);
  EXPECT_EQ(Duration("s"), "\"s\" is not a duration; write a number and a unit, such as 5s");
  EXPECT_EQ(Duration("never"),
            "\"never\" is not a duration; write a number and a unit, such as 5s");
  EXPECT_EQ(Duration("1.5s"), "\"1.5s\" is not a duration; write whole numbers, such as 1s500ms");
  EXPECT_EQ(Duration(".5s"), "\".5s\" is not a duration; write whole numbers, such as 1s500ms");
  EXPECT_EQ(Duration("1s1s"),
            "\"1s1s\" has its units out of order; write each once, the largest first, as in 1h30m");
  EXPECT_EQ(Duration("10001d"), "\"10001d\" is too long; the most is 10000d");
  EXPECT_EQ(Duration("99999999999999999999s"),
            "\"99999999999999999999s\" is too long; the most is 10000d");
  EXPECT_EQ(Duration("18446744073709551615d18446744073709551615h"),
            "\"18446744073709551615d18446744073709551615h\" is too long; the most is 10000d");
}

TEST(DurationTextTest, AnythingPrintedIsReadBackAsTheSame) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 5000; ++i) {
    const int bits = static_cast<int>(random() % 50);
    const absl::Duration duration = absl::Microseconds(static_cast<int64_t>(
        std::min<uint64_t>(random() & ((uint64_t{2} << bits) - 1),
                           static_cast<uint64_t>(absl::ToInt64Microseconds(kMostDuration)))));
    const std::string text = PrintDuration(duration);
    const absl::StatusOr<absl::Duration> back = ParseDuration(text, {.off = true});
    ASSERT_TRUE(back.ok()) << text << ": " << back.status();
    ASSERT_EQ(*back, duration) << text;
    ASSERT_EQ(PrintDuration(*back), text);
  }
}

// --- The others

TEST(SizeTextTest, SizesCarryUnits) {
  EXPECT_EQ(*ParseSize("64KiB", 0, ~0ull), 65536u);
  EXPECT_EQ(*ParseSize("0", 0, ~0ull), 0u);
  EXPECT_EQ(*ParseSize("17B", 0, ~0ull), 17u);
  EXPECT_EQ(PrintSize(65536), "64KiB");
  EXPECT_EQ(PrintSize(3 << 20), "3MiB");
  EXPECT_EQ(PrintSize(uint64_t{5} << 30), "5GiB");
  EXPECT_EQ(PrintSize(1025), "1025B");
  EXPECT_EQ(PrintSize(0), "0B");
  EXPECT_EQ(ErrorOf(ParseSize("64", 0, ~0ull)),
            "\"64\" has no unit; a size needs a unit, such as 64KiB");
  EXPECT_EQ(ErrorOf(ParseSize("64K", 0, ~0ull)),
            "\"K\" is not a unit of size; the units are B KiB MiB GiB, as in 64KiB");
  EXPECT_EQ(ErrorOf(ParseSize("64kb", 0, ~0ull)),
            "\"kb\" is not a unit of size; the units are B KiB MiB GiB, as in 64KiB");
  EXPECT_EQ(ErrorOf(ParseSize("-1B", 0, ~0ull)), "\"-1B\" is negative; write a size such as 64KiB");
  EXPECT_EQ(ErrorOf(ParseSize("", 0, ~0ull)),
            "a size is missing; write one with its unit, such as 64KiB");
  EXPECT_EQ(ErrorOf(ParseSize("99999999999999GiB", 0, ~0ull)).substr(0, 33),
            "\"99999999999999GiB\" is too large;");
  EXPECT_EQ(ErrorOf(ParseSize("2KiB", 0, 1024)), "\"2KiB\" is too large; the most is 1KiB");
  EXPECT_EQ(ErrorOf(ParseSize("2KiB", 4096, 8192)), "\"2KiB\" is too small; the least is 4KiB");
}

TEST(CountTextTest, CountsAreWholeAndInRange) {
  EXPECT_EQ(*ParseCount("7", 1, 9), 7u);
  for (const char* text :
       {"", "-1", "1.5", "x", "10", "0", "+3", " 3", "0x3", "99999999999999999999"}) {
    EXPECT_NE(ErrorOf(ParseCount(text, 1, 9)).find("; write a whole number of 1 to 9"),
              std::string::npos)
        << text;
  }
}

TEST(BoolTextTest, BooleansHaveSixWords) {
  for (const char* text : {"on", "true", "1"}) EXPECT_TRUE(*ParseBool(text));
  for (const char* text : {"off", "false", "0"}) EXPECT_FALSE(*ParseBool(text));
  EXPECT_EQ(ErrorOf(ParseBool("yes")), "\"yes\" is neither on nor off; write on or off");
  EXPECT_EQ(PrintBool(true), "on");
  EXPECT_EQ(PrintBool(false), "off");
}

TEST(BytesTextTest, EscapesStandForBytesAndPrintedBytesAreReadBack) {
  EXPECT_EQ(*ParseBytes(R"(PING\r\n)", 99), "PING\r\n");
  EXPECT_EQ(*ParseBytes(R"(\x00\0\t\\\xfF)", 99), std::string("\0\0\t\\\xff", 5));
  for (const char* wrong : {"\\", "a\\q", "\\x1", "\\xg0", "\\x"}) {
    EXPECT_NE(ErrorOf(ParseBytes(wrong, 99)).find("is no escape; write"), std::string::npos);
  }
  EXPECT_EQ(ErrorOf(ParseBytes("abc", 2)), "3 bytes are too many; write at most 2");
  std::string all(" ");
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  all += ' ';
  const std::string printed = PrintBytes(all);
  EXPECT_EQ(*ParseBytes(printed, 999), all);
  EXPECT_EQ(PrintBytes(*ParseBytes(printed, 999)), printed);
  EXPECT_EQ(PrintBytes(" a b "), R"(\x20a b\x20)");
}

TEST(BytesTextTest, ATildeMeansAnywhere) {
  EXPECT_EQ(*ParseExpectation("+OK", 9), (Expectation{"+OK", false}));
  EXPECT_EQ(*ParseExpectation("~role", 9), (Expectation{"role", true}));
  EXPECT_EQ(*ParseExpectation(R"(\x7erole)", 9), (Expectation{"~role", false}));
  for (const char* text : {"", "+OK", "~role:master", R"(\x7erole)"}) {
    EXPECT_EQ(PrintExpectation(*ParseExpectation(text, 99)), text);
  }
}

TEST(PartingTextTest, ConnectionsAreKeptClosedOrGivenTime) {
  for (const char* text : {"keep", "close", "drain:30s"}) {
    EXPECT_EQ(PrintParting(*ParseParting(text)), text);
  }
  EXPECT_EQ(ParseParting("drain:1m")->after, absl::Minutes(1));
  EXPECT_FALSE(ParseParting("drain:").ok());
  EXPECT_FALSE(ParseParting("drain:0").ok());
  EXPECT_EQ(ErrorOf(ParseParting("kill")),
            "\"kill\" is not known here; write keep, close, or drain and a time such as drain:30s");
}

TEST(IpTextTest, AnAddressWithoutAPort) {
  EXPECT_EQ(PrintIp(*ParseIp("10.0.0.1")), "10.0.0.1");
  EXPECT_EQ(PrintIp(*ParseIp("2001:db8::1")), "2001:db8::1");
  for (const char* wrong : {"", "10.0.0.1:80", "[::1]:80", "[::1]", "unix:/x", "host"}) {
    EXPECT_FALSE(ParseIp(wrong).ok()) << wrong;
  }
}

TEST(WordTextTest, AWordIsOneOfThose) {
  const std::string_view words[] = {"auto", "on", "off"};
  EXPECT_EQ(*ParseWord("off", words), 2u);
  EXPECT_EQ(ErrorOf(ParseWord("atuo", words)),
            "\"atuo\" is not known here; write auto or on or off (did you mean auto?)");
  EXPECT_EQ(ErrorOf(ParseWord("", words)), "a word is missing; write auto or on or off");
}

TEST(CpuListTest, NumbersAndRangesEachOnce) {
  EXPECT_EQ(*ParseCpuList("0"), (std::vector<uint32_t>{0}));
  EXPECT_EQ(*ParseCpuList("8,0-3"), (std::vector<uint32_t>{8, 0, 1, 2, 3}));
  EXPECT_EQ(PrintCpuList(*ParseCpuList("0,1,2,5,7,8")), "0-2,5,7-8");
  for (const char* wrong : {"", ",", "1,", "a", "3-1", "1,1", "0-3,2", "1024", "1-", "-1"}) {
    EXPECT_FALSE(ParseCpuList(wrong).ok()) << wrong;
  }
}

TEST(KernelNameTest, PlainNamesOfALength) {
  EXPECT_EQ(*ParseKernelName("bbr", 15), "bbr");
  EXPECT_EQ(*ParseKernelName("default", 15), "");
  for (const char* wrong : {"", "a b", "sixteen_letters_", "reno;"}) {
    EXPECT_FALSE(ParseKernelName(wrong, 15).ok()) << wrong;
  }
}

TEST(NameTextTest, NamesAreShortAndPlain) {
  EXPECT_TRUE(CheckName("web-1.example_X").ok());
  EXPECT_TRUE(CheckName(std::string(64, 'a')).ok());
  EXPECT_EQ(Message(CheckName("")), "a name is missing; a name is 1 to 64 of A-Z a-z 0-9 _ . -");
  for (const std::string& name : {std::string("a b"), std::string(65, 'a'), std::string("ü")}) {
    EXPECT_NE(Message(CheckName(name)).find(" is not a name; a name is 1 to 64 of"),
              std::string::npos);
  }
}

TEST(QuotedTest, WhatIsShownIsOneReadableLine) {
  EXPECT_EQ(Quoted("a b"), "\"a b\"");
  EXPECT_EQ(Quoted(std::string_view("a\n\0\x7f", 4)), "\"a\\x0a\\x00\\x7f\"");
  EXPECT_EQ(Quoted("grün"), "\"grün\"");
  EXPECT_EQ(Quoted("\xff"), "\"\\xff\"");
  EXPECT_EQ(Quoted(std::string(100, 'x')), "\"" + std::string(80, 'x') + "...\"");
  // Cut between characters.
  const std::string cut = Quoted(std::string(79, 'x') + "üüü");
  EXPECT_EQ(cut, "\"" + std::string(79, 'x') + "ü...\"");
}

TEST(NearestTest, SuggestsWhatWasMeantAndNothingFar) {
  const std::string_view names[] = {"listen", "threads", "idle_timeout", "max_connections"};
  EXPECT_EQ(Nearest("thread", names), "threads");
  EXPECT_EQ(Nearest("litsen", names), "listen");
  EXPECT_EQ(Nearest("idle-timeout", names), "idle_timeout");
  EXPECT_EQ(Nearest("IDLE_TIMEOUT", names), "idle_timeout");
  EXPECT_EQ(Nearest("maxconn", names), "max_connections");
  EXPECT_EQ(Nearest("idle", names), "idle_timeout");
  EXPECT_EQ(Nearest("color", names), "");
  EXPECT_EQ(Nearest("", names), "");
  EXPECT_EQ(Nearest(std::string(100000, 'x'), names), "");
  EXPECT_EQ(DidYouMean("thread", names, "--"), " (did you mean --threads?)");
  EXPECT_EQ(DidYouMean("color", names, "--"), "");
}

TEST(Utf8Test, FindsTheFirstByteThatIsNone) {
  const size_t none = std::string_view::npos;
  EXPECT_EQ(FindInvalidUtf8(""), none);
  EXPECT_EQ(FindInvalidUtf8("a\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80z"), none);
  EXPECT_EQ(FindInvalidUtf8(std::string_view("\0", 1)), none);
  EXPECT_EQ(FindInvalidUtf8("a\x80"), 1u);
  EXPECT_EQ(FindInvalidUtf8("ab\xc3"), 2u);            // cut
  EXPECT_EQ(FindInvalidUtf8("\xc0\xaf"), 0u);          // too long a form
  EXPECT_EQ(FindInvalidUtf8("\xe0\x80\xaf"), 0u);      // too long a form
  EXPECT_EQ(FindInvalidUtf8("\xf0\x80\x80\xaf"), 0u);  // too long a form
  EXPECT_EQ(FindInvalidUtf8("\xed\xa0\x80"), 0u);      // half of a pair
  EXPECT_EQ(FindInvalidUtf8("\xf4\x90\x80\x80"), 0u);  // above the last
  EXPECT_EQ(FindInvalidUtf8("x\xe2\x82z"), 1u);
}

}  // namespace
}  // namespace parkway::config
