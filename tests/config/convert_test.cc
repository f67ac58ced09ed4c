#include "config/convert/convert.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/config/fake_files.h"

namespace parkway::config::convert {
namespace {

Result Converted(const std::string& kind, const std::string& bytes) {
  FakeFiles files({{"in", bytes}, {"more.conf", "server { listen 81; proxy_pass 127.0.0.1:9; }"}});
  SystemFacts facts;
  facts.nofile_hard = 100000;
  return Convert({kind, "in"}, facts, files);
}

bool Has(const Result& result, const std::string& text) {
  return result.text.find(text) != std::string::npos;
}

TEST(ConvertTest, UseAndFilesThatCannotBeReadAreToldApart) {
  FakeFiles files;
  EXPECT_EQ(Convert({}, {}, files).exit_code, 2);
  EXPECT_EQ(Convert({"envoy", "in"}, {}, files).exit_code, 2);
  const Result missing = Convert({"nginx", "in"}, {}, files);
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_EQ(missing.error, "in: No such file or directory");
}

TEST(ConvertTest, NothingToListenOnIsSaid) {
  for (const char* kind : {"haproxy", "nginx", "rinetd"}) {
    const Result result = Converted(kind, "");
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_TRUE(Has(result, "# not carried over: ")) << result.text;
  }
}

TEST(HaproxyTest, FrontendAndBackendAreCarriedOver) {
  const Result result = Converted("haproxy",
                                  "defaults\n mode tcp\n timeout client 1h\n timeout server 1h\n"
                                  "frontend f\n bind *:80,10.0.0.1:81\n default_backend b\n"
                                  "backend b\n balance leastconn\n timeout connect 700\n"
                                  " server s1 10.0.0.2:90 weight 3 maxconn 7\n"
                                  " server s2 10.0.0.3:90 backup\n");
  EXPECT_EQ(result.exit_code, 0) << result.text;
  EXPECT_TRUE(Has(result, "--listen=name=f addr=0.0.0.0:80,10.0.0.1:81 upstream=b "))
      << result.text;
  EXPECT_TRUE(Has(result, " idle_timeout=1h")) << result.text;
  EXPECT_TRUE(Has(result,
                  "--upstream=name=b balance=least_conn connect_timeout=700ms "
                  "connect_attempts=4"))
      << result.text;
  EXPECT_TRUE(Has(result, "--server=upstream=b name=s1 addr=10.0.0.2:90 weight=3 max_conns=7\n"))
      << result.text;
  EXPECT_TRUE(Has(result, "--server=upstream=b name=s2 addr=10.0.0.3:90 backup=on\n"))
      << result.text;
}

TEST(HaproxyTest, TunnelWinsAndDefaultsAreInherited) {
  const Result result = Converted("haproxy",
                                  "defaults d\n timeout client 1m\n timeout server 2m\n"
                                  " timeout tunnel 3h\ndefaults\n timeout client 9m\n"
                                  "listen l from d\n bind :80\n server s 127.0.0.1:90\n");
  EXPECT_TRUE(Has(result, " idle_timeout=3h")) << result.text;
}

TEST(HaproxyTest, HttpTlsAndUnknownWordsAreNotedAndExitWithOne) {
  const Result result =
      Converted("haproxy",
                "frontend h\n mode http\n bind :80\n"
                "listen t\n bind :443 ssl crt x.pem\n bind :81\n"
                " server s 127.0.0.1:90\n server u 127.0.0.1:91 ssl\n stick on src\n");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(Has(result, "in:1: frontend h: mode http\n")) << result.text;
  EXPECT_TRUE(Has(result, "in:5: bind :443 ssl crt x.pem: it ends TLS\n")) << result.text;
  EXPECT_TRUE(Has(result, "in:8: server u 127.0.0.1:91 ssl: it begins TLS\n")) << result.text;
  EXPECT_TRUE(Has(result, "in:9: stick on src\n")) << result.text;
  EXPECT_TRUE(Has(result, "addr=0.0.0.0:81")) << result.text;
}

TEST(HaproxyTest, AListenerWhoseRulesCannotBeSaidIsLeftOut) {
  for (const char* rule : {"tcp-request connection reject if { src_conn_cur gt 5 }",
                           "tcp-request connection accept if !{ src 10.0.0.0/8 }",
                           "tcp-request connection reject if { src 10.0.0.0/8 } { dst_port 80 }"}) {
    const Result result = Converted(
        "haproxy", std::string("listen l\n bind :80\n ") + rule + "\n server s 127.0.0.1:90\n");
    EXPECT_FALSE(Has(result, "\n--listen")) << result.text;
    EXPECT_EQ(result.exit_code, 1);
  }
}

TEST(NginxTest, ServersAndUpstreamsAreCarriedOver) {
  const Result result = Converted("nginx",
                                  "events {}\nstream { upstream u { least_conn;\n"
                                  "server 10.0.0.1:90 weight=2; server 10.0.0.2:90 down; }\n"
                                  "server { listen [::]:80; proxy_pass u; proxy_timeout 5s; }\n"
                                  "include more.conf; }\n");
  EXPECT_EQ(result.exit_code, 0) << result.text;
  EXPECT_TRUE(Has(result, "balance=least_conn")) << result.text;
  EXPECT_TRUE(Has(result, "addr=10.0.0.1:90 weight=2\n")) << result.text;
  EXPECT_TRUE(Has(result, "addr=10.0.0.2:90 state=down\n")) << result.text;
  EXPECT_TRUE(Has(result, "--listen=addr=[::]:80 upstream=u v6only=on idle_timeout=5s\n"))
      << result.text;
  EXPECT_TRUE(Has(result, "--listen=addr=0.0.0.0:81 ")) << result.text;
}

TEST(NginxTest, UdpTlsAndRegularExpressionsAreNoted) {
  const Result result = Converted("nginx",
                                  "stream { server { listen 53 udp; listen 443 ssl; listen 80;\n"
                                  "proxy_pass 127.0.0.1:1; }\nhttp { }\n");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(Has(result, "in:1: listen 53 udp: UDP\n")) << result.text;
  EXPECT_TRUE(Has(result, "in:1: listen 443 ssl: it ends TLS\n")) << result.text;
  EXPECT_TRUE(Has(result, "addr=0.0.0.0:80")) << result.text;
}

TEST(NginxTest, AnIncludeOfItselfEnds) {
  EXPECT_EQ(Converted("nginx", "include in; include in;").exit_code, 1);
}

TEST(RinetdTest, ForwardsAreCarriedOver) {
  const Result result =
      Converted("rinetd", "0.0.0.0 80 10.0.0.1 8080 # one\n::1 81 10.0.0.1 8080\n");
  EXPECT_EQ(result.exit_code, 0) << result.text;
  EXPECT_TRUE(Has(result, "--idle_timeout=off\n")) << result.text;
  EXPECT_TRUE(Has(result, "--listen=addr=0.0.0.0:80 upstream=10.0.0.1_8080\n")) << result.text;
  EXPECT_TRUE(Has(result, "--listen=addr=[::1]:81 upstream=10.0.0.1_8080\n")) << result.text;
}

TEST(RinetdTest, AForwardWithTwoListsOfAllowIsLeftOut) {
  const Result result = Converted("rinetd", "allow 10.*\n0.0.0.0 80 10.0.0.1 80\nallow 10.1.*\n");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_FALSE(Has(result, "\n--listen")) << result.text;
}

TEST(RinetdTest, UdpAndPatternsWithinAnAddressAreNoted) {
  const Result result = Converted(
      "rinetd", "0.0.0.0 53/udp 10.0.0.1 53/udp\n0.0.0.0 80 10.0.0.1 80\nallow 1?.2.3.4\n");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_FALSE(Has(result, "\n--listen")) << result.text;
}

}  // namespace
}  // namespace parkway::config::convert
