// First bytes of clients: real hellos and spoiled ones, and which route they take.
#include "proxy/inbound/client_hello.h"

#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "proxy/inbound/routes.h"

namespace parkway {
namespace {

using Result = FirstBytes::Result;

std::string Number(size_t value, int bytes) {
  std::string out;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(value >> shift & 0xff));
  }
  return out;
}
std::string Vector(int width, const std::string& body) { return Number(body.size(), width) + body; }
std::string Extension(size_t type, const std::string& body) {
  return Number(type, 2) + Vector(2, body);
}
std::string Sni(const std::string& name) {
  return Extension(0, Vector(2, Number(0, 1) + Vector(2, name)));
}
std::string Alpn(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += Vector(1, name);
  return Extension(16, Vector(2, list));
}
// GREASE (RFC 8701), an unknown one, supported_versions.
const std::string kOthers = Extension(0x1a1a, "") + Extension(0xfe0d, "encrypted, as ECH is") +
                            Extension(43, Vector(1, Number(0x3a3a0304, 4)));

std::string Hello(const std::string& extensions) {
  const std::string body = Number(0x0303, 2) + std::string(32, 'r') +
                           Vector(1, std::string(32, 's')) +
                           Vector(2, Number(0x2a2a1301, 4) + Number(0x1302, 2)) +
                           Vector(1, std::string(1, '\0')) + Vector(2, extensions);
  return Number(1, 1) + Vector(3, body);
}
std::string Records(const std::string& handshake, size_t record_bytes) {
  std::string out;
  for (size_t at = 0; at < handshake.size(); at += record_bytes) {
    out += Number(0x16, 1) + Number(0x0301, 2) + Vector(2, handshake.substr(at, record_bytes));
  }
  return out;
}

const std::string kHandshake =
    Hello(kOthers + Sni("WWW.Example.org") + Alpn({"h2", "http/1.1"}) + Extension(0x4a4a, "x"));

TEST(ClientHelloTest, NameAndProtocolsAreReadHoweverItIsSplit) {
  for (const size_t record : {kHandshake.size(), size_t{1}, size_t{2}, size_t{7}, size_t{100}}) {
    const std::string bytes = Records(kHandshake, record);
    for (size_t size = 0; size < bytes.size(); ++size) {
      const FirstBytes seen = ReadFirstBytes(std::string_view(bytes).substr(0, size));
      ASSERT_EQ(seen.result, Result::kNeedMore) << record << " " << size;
    }
    const FirstBytes seen = ReadFirstBytes(bytes + "what the client sends next");
    EXPECT_EQ(seen.result, Result::kDone);
    EXPECT_EQ(seen.protocol, ClientProtocol::kTls);
    EXPECT_EQ(seen.sni, "www.example.org");
    EXPECT_EQ(seen.alpn, (std::vector<std::string>{"h2", "http/1.1"}));
  }
}

TEST(ClientHelloTest, AHelloWithoutNameOrExtensionsIsTls) {
  for (const std::string& handshake : {Hello(""), Hello(kOthers)}) {
    const FirstBytes seen = ReadFirstBytes(Records(handshake, 1000));
    EXPECT_EQ(seen.result, Result::kDone);
    EXPECT_EQ(seen.protocol, ClientProtocol::kTls);
    EXPECT_EQ(seen.sni, "");
  }
}

TEST(ClientHelloTest, ANameThatIsNoHostNameIsNoName) {
  for (const std::string& name :
       {std::string("a\0b", 3), std::string("a b"), std::string("a/b"), std::string("\xff"),
        std::string("new\nline"), std::string(256, 'a'), std::string()}) {
    const FirstBytes seen = ReadFirstBytes(Records(Hello(Sni(name)), 1000));
    EXPECT_EQ(seen.protocol, ClientProtocol::kTls);
    EXPECT_EQ(seen.sni, "");
  }
  EXPECT_EQ(ReadFirstBytes(Records(Hello(Sni("example.org.")), 1000)).sni, "example.org");
}

TEST(ClientHelloTest, WhatIsNotWellFormedIsUnknown) {
  const std::vector<std::string> spoiled = {
      Records(Hello(Sni("a") + Sni("b")), 1000),                          // twice
      Records(Hello(Extension(0, Number(9, 2))), 1000),                   // longer than it is
      Records(Hello(Number(0, 2) + Number(900, 2)), 1000),                // the same
      Records(Hello(Alpn({""})), 1000),                                   // an empty protocol
      Number(0x16, 1) + Number(0x0301, 2) + Number(0, 2) + Number(1, 1),  // an empty record
      Number(0x16, 1) + Number(0x0301, 2) + Number(0xffff, 2) + Number(1, 1),
      Number(0x802e010301, 5) + std::string(60, 'x'),         // SSLv2
      Number(0x15, 1) + Number(0x0301, 2) + Vector(2, "ab"),  // an alert
      "\x01\x02garbage",
      "EHLO example.org\r\n",
  };
  for (const std::string& bytes : spoiled) {
    const FirstBytes seen = ReadFirstBytes(bytes);
    EXPECT_EQ(seen.result, Result::kDone);
    EXPECT_EQ(seen.protocol, ClientProtocol::kUnknown);
    EXPECT_EQ(seen.sni, "");
  }
}

TEST(ClientHelloTest, TheOtherProtocolsAreKnownByTheirFirstBytes) {
  const std::vector<std::pair<std::string, ClientProtocol>> samples = {
      {"SSH-2.0-OpenSSH_9.2\r\n", ClientProtocol::kSsh},
      {"GET / HTTP/1.1\r\n", ClientProtocol::kHttp},
      {"OPTIONS * HTTP/1.1\r\n", ClientProtocol::kHttp},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ClientProtocol::kHttp},
      {Number(8, 4) + Number(80877103, 4), ClientProtocol::kPostgres},
      {Number(8, 4) + Number(80877104, 4), ClientProtocol::kPostgres},
      {Number(16, 4) + Number(80877102, 4) + Number(1, 8), ClientProtocol::kPostgres},
      {Number(41, 4) + Number(0x30000, 4) + "user", ClientProtocol::kPostgres},
  };
  for (const auto& [bytes, protocol] : samples) {
    EXPECT_EQ(ReadFirstBytes(bytes).protocol, protocol) << bytes;
    bool done = false;
    for (size_t size = 0; size <= bytes.size(); ++size) {
      const FirstBytes seen = ReadFirstBytes(std::string_view(bytes).substr(0, size));
      if (seen.result == Result::kDone) {
        EXPECT_EQ(seen.protocol, protocol);
        done = true;
      } else {
        EXPECT_FALSE(done) << "once known, it stays so";
      }
    }
    EXPECT_TRUE(done);
  }
}

TEST(RoutesTest, ExactBeforeTheLongestEndBeforeNoName) {
  Routes routes;
  routes.Add({.sni = "*", .upstream = 1});
  routes.Add({.sni = "*.example.org", .upstream = 2});
  routes.Add({.sni = "*.a.example.org", .upstream = 3});
  routes.Add({.sni = "b.a.example.org", .upstream = 4});
  routes.Add({.protocol = ClientProtocol::kSsh, .upstream = 5});
  EXPECT_TRUE(routes.look_into_tls());
  const auto find = [&routes](const std::string& sni) {
    FirstBytes seen;
    seen.protocol = ClientProtocol::kTls;
    seen.sni = sni;
    return routes.Find(seen);
  };
  EXPECT_EQ(find("b.a.example.org"), 4u);
  EXPECT_EQ(find("c.b.a.example.org"), 3u);
  EXPECT_EQ(find("c.a.example.org"), 3u);
  EXPECT_EQ(find("a.example.org"), 2u);
  EXPECT_EQ(find("example.org"), 1u) << "the star stands for at least one label";
  EXPECT_EQ(find("notexample.org"), 1u);
  EXPECT_EQ(find(""), std::nullopt);
  FirstBytes ssh;
  ssh.protocol = ClientProtocol::kSsh;
  EXPECT_EQ(routes.Find(ssh), 5u);
}

TEST(RoutesTest, OfTheSameNameTheOneThatAsksForMoreGoesFirst) {
  Routes routes;
  routes.Add({.sni = "a.org", .upstream = 1});
  routes.Add({.sni = "a.org", .alpn = {"h2", "h3"}, .upstream = 2});
  routes.Add({.alpn = {"acme-tls/1"}, .upstream = 3});
  FirstBytes seen;
  seen.protocol = ClientProtocol::kTls;
  seen.sni = "a.org";
  EXPECT_EQ(routes.Find(seen), 1u);
  seen.alpn = {"http/1.1", "h3"};
  EXPECT_EQ(routes.Find(seen), 2u);
  seen.sni = "b.org";
  EXPECT_EQ(routes.Find(seen), std::nullopt);
  seen.alpn = {"acme-tls/1"};
  EXPECT_EQ(routes.Find(seen), 3u);
}

}  // namespace
}  // namespace parkway
