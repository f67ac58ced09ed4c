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

TEST(HaproxyTest, OptionsOfSocketsNamesAndLogsAreCarriedOver) {
  const Result result = Converted(
      "haproxy",
      "global\n user haproxy\n group proxy\n pidfile /run/h.pid\n log 10.0.0.9:1514 local3 info\n"
      "defaults\n option tcplog\n option dontlognull\n clitcpka-idle 90s\n clitcpka-cnt 4\n"
      " timeout client 1m\n timeout server 2m\n"
      "resolvers r\n nameserver a 10.0.0.53:53\n nameserver b udp@10.0.0.54:5353\n"
      " resolve_retries 5\n timeout retry 700ms\n hold valid 10s\n hold nx 30s\n"
      "frontend f\n bind mptcp@10.0.0.1:80 tfo defer-accept interface eth0 tcp-ut 5s\n"
      " rate-limit sessions 50\n default_backend b\n"
      "backend b\n source 10.0.0.5 \n"
      " server s1 app.example.net:90 check resolvers r init-addr last,none tcp-ut 7000 tfo\n"
      " server s2 10.0.0.2:90 send-proxy-v2 proxy-v2-options unique-id,crc32c observe layer4\n"
      " server-template t 3 _db._tcp.example.net resolvers r\n");
  EXPECT_EQ(result.exit_code, 0) << result.text;
  for (const char* line :
       {"--user=haproxy:proxy\n", "--pidfile=/run/h.pid\n", "--access_log=syslog:10.0.0.9:1514\n",
        "--log_facility=local3\n", "--log_format=tcplog\n", "--log_skip=null\n",
        "--listen=name=f addr=10.0.0.1:80 upstream=b mptcp=on accept_rate=50/s "
        "keepalive=90s:75s:4 tfo=256 defer_accept=1s device=eth0 tcp_user_timeout=5s "
        "half_close_timeout=2m idle_timeout=off client_idle_timeout=1m server_idle_timeout=2m\n",
        " source=10.0.0.5\n",
        "--server=upstream=b name=s1 addr=app.example.net:90 resolve=one health=tcp "
        "health_interval=2s dns_servers=10.0.0.53:53,10.0.0.54:5353 dns_timeout=700ms "
        "dns_attempts=5 dns_max_ttl=10s dns_init=lazy tcp_user_timeout=7s tfo=1\n",
        "--server=upstream=b name=s2 addr=10.0.0.2:90 send_proxy=v2 "
        "proxy_tlv=unique_id,crc32c passive_fails=10\n",
        "--server=upstream=b name=t addr=srv:_db._tcp.example.net dns_servers="}) {
    EXPECT_TRUE(Has(result, line)) << line << "\n" << result.text;
  }
}

TEST(HaproxyTest, WhatTheDaemonDoesAnywayNeedsNoNote) {
  const std::string before = "listen l\n bind :80\n server s app.example.net:90 check ";
  for (const char* option : {"resolve-prefer ipv6", "fastinter 1s"}) {
    const Result result = Converted("haproxy", before + option + "\n");
    EXPECT_EQ(result.exit_code, 0) << result.text;
  }
  for (const std::string option : {"resolve-prefer ipv4", "fastinter 500ms", "downinter 10s"}) {
    const Result result = Converted("haproxy", before + option + "\n");
    EXPECT_EQ(result.exit_code, 1) << result.text;
    EXPECT_TRUE(Has(result, ("server option " + option).c_str())) << result.text;
  }
}

TEST(HaproxyTest, AScriptOfChecksIsOneQuestionAndOneAnswer) {
  const Result one =
      Converted("haproxy",
                "listen l\n bind :80\n option tcp-check\n tcp-check connect port 91\n"
                " tcp-check send-binary 50494e470d0a\n tcp-check expect binary 2b504f4e47\n"
                " server s 127.0.0.1:90 check\n");
  EXPECT_EQ(one.exit_code, 0) << one.text;
  EXPECT_TRUE(Has(one, R"(health=send_expect health_send="\\x50\\x49\\x4e\\x47\\x0d\\x0a" )"
                       R"(health_expect="~\\x2b\\x50\\x4f\\x4e\\x47" health_port=91)"))
      << one.text;
  const Result two = Converted(
      "haproxy",
      "listen l\n bind :80\n option tcp-check\n tcp-check send a\n tcp-check expect string b\n"
      " tcp-check send c\n server s 127.0.0.1:90 check\n");
  EXPECT_EQ(two.exit_code, 1);
  EXPECT_TRUE(Has(two, "# not carried over: in:6: tcp-check send c\n")) << two.text;
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

TEST(NginxTest, OptionsOfSocketsNamesRatesAndLogsAreCarriedOver) {
  const Result result = Converted(
      "nginx",
      "user www;\nerror_log stderr;\nevents {}\nstream { access_log off; resolver 10.0.0.53 "
      "[::1]:5353 valid=30s ipv6=off;\nupstream u { server app.example.net:90 resolve;\n"
      "server db.example.net service=pg resolve; }\n"
      "server { listen 80 fastopen=64 multipath so_keepalive=30m::10; proxy_pass u;\n"
      "proxy_upload_rate 10m; proxy_download_rate 512k; limit_conn_dry_run on; } }\n");
  EXPECT_EQ(result.exit_code, 0) << result.text;
  for (const char* line :
       {"--user=www\n", "--access_log=off\n", " tfo=64 mptcp=on keepalive=1800s:75s:10 ",
        " rate_up=10MiB/s rate_down=512KiB/s ", " dry_run=on\n",
        "dns_min_ttl=30s dns_max_ttl=30s dns_family=v4 dns_servers=10.0.0.53,[::1]:5353",
        " addr=app.example.net:90\n", " addr=srv:_pg._tcp.db.example.net\n"}) {
    EXPECT_TRUE(Has(result, line)) << line << "\n" << result.text;
  }
}

TEST(HaproxyTest, WhenANameIsAskedAgainIsSaidByItsAnswer) {
  const Result result =
      Converted("haproxy",
                "resolvers r\n nameserver a 10.0.0.53:53\n timeout resolve 1s\n hold obsolete 30s\n"
                "frontend f\n bind 10.0.0.1:80\n timeout client 1m\n default_backend b\n"
                "backend b\n server s1 app.example.net:90 resolvers r\n");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(Has(result, "in:3: timeout resolve 1s\n")) << result.text;
  EXPECT_TRUE(Has(result, "in:4: hold obsolete 30s\n")) << result.text;
}

TEST(NginxTest, WhatIsOfTheProcessIsCarriedOverOrNoted) {
  const Result result = Converted(
      "nginx",
      "pid /run/n.pid;\nerror_log /var/log/e.log;\nevents { worker_connections 1024; }\n"
      "worker_rlimit_nofile 8192;\nstream { server { listen 80; proxy_pass 127.0.0.1:1; } }\n");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(Has(result, "--pidfile=/run/n.pid\n")) << result.text;
  for (const char* note : {"in:2: error_log /var/log/e.log\n", "in:3: worker_connections 1024\n",
                           "in:4: worker_rlimit_nofile 8192\n"}) {
    EXPECT_TRUE(Has(result, note)) << note << "\n" << result.text;
  }
}

TEST(NginxTest, TheLinesOfALogAreOurs) {
  const Result result = Converted(
      "nginx",
      "stream { log_format f '$status'; access_log /var/log/s.log f;\n"
      "server { listen 80; proxy_pass 127.0.0.1:1; access_log syslog:server=10.0.0.1 f; } }\n");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(Has(result, "--access_log=file:/var/log/s.log\n")) << result.text;
  EXPECT_TRUE(Has(result, "in:1: access_log /var/log/s.log: the lines of it look otherwise\n"))
      << result.text;
  EXPECT_TRUE(Has(result, "in:2: access_log syslog:server=10.0.0.1 f\n")) << result.text;
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
