// haproxy.cfg as sections and settings, before anything is said in our language.
//
// What a proxy inherits from a defaults section is in its own settings. One conversion, one thread.
#ifndef CONFIG_CONVERT_HAPROXY_CONFIG_H_
#define CONFIG_CONVERT_HAPROXY_CONFIG_H_

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "config/convert/haproxy_words.h"
#include "config/convert/model.h"

namespace parkway::config::convert {

struct Directive {
  Origin origin;
  Tokens words;
};

struct Term {
  bool negated = false;
  Acl acl;
};
using Condition = std::vector<std::vector<Term>>;  // one of: all of

// What a proxy inherits and adds to.
struct HaproxySettings {
  std::string mode = "tcp";
  std::map<std::string, std::string> timeouts;
  std::string balance = "roundrobin";
  Tokens balance_rest;
  std::string retries;
  std::string maxconn;
  std::string backlog;
  std::string default_backend;
  std::string source;
  std::string check;  // "tcp-check", "httpchk", or empty
  std::string check_send;
  std::string check_expect;
  std::string check_port;
  Tokens default_server;
  std::string accept_rate;  // rate-limit sessions
  // clitcpka-..., srvtcpka-...: idle, intvl, cnt
  std::map<std::string, std::string> client_keepalive;
  std::map<std::string, std::string> server_keepalive;
};

struct HaproxyProxy {
  std::string kind;  // frontend, backend, listen
  std::string name;
  Origin origin;
  HaproxySettings settings;
  std::vector<Directive> binds;
  std::vector<Directive> servers;
  std::vector<Directive> use;    // use_backend
  std::vector<Directive> rules;  // tcp-request connection|content accept|reject
  std::map<std::string, std::vector<Acl>> acls;
  std::string inspect_delay;

  bool fronts() const { return kind != "backend"; }
  bool backs() const { return kind != "frontend"; }
};

bool IsTcp(const HaproxyProxy& proxy);
std::optional<absl::Duration> TimeoutOf(const HaproxySettings& settings, const std::string& name);

// A resolvers section.
struct HaproxyResolvers {
  std::vector<std::string> servers;  // empty: those of resolv.conf
  std::string timeout;
  std::string attempts;
  std::string valid;
};

struct HaproxyConfig {
  std::vector<HaproxyProxy> proxies;
  std::map<std::string, HaproxyResolvers> resolvers;
};

// What it could not read is noted in `model`, which also gets what the global section says.
HaproxyConfig ReadHaproxyConfig(const std::string& path, std::string_view bytes, Model* model);

}  // namespace parkway::config::convert

#endif  // CONFIG_CONVERT_HAPROXY_CONFIG_H_
