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
#include "config/convert/model.h"

namespace parkway::config::convert {

using Tokens = std::vector<std::string>;

// The address of a bind or a server in our form. `bind`: without a host it is any of IPv4.
std::optional<std::string> HaproxyAddress(std::string_view text, bool bind);

struct Directive {
  Origin origin;
  Tokens words;
};

// A condition's criterion: a named acl, or one in braces.
struct Acl {
  enum class Kind { kSource, kSni, kAlpn, kHello, kTrue, kOther };
  Kind kind = Kind::kOther;
  std::vector<std::string> values;
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
  Tokens default_server;
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

// The criterion in words[at..]: "src 10.0.0.0/8", "req.ssl_sni -m end .example.org".
Acl AclOf(const Tokens& words, size_t at);

bool IsTcp(const HaproxyProxy& proxy);
std::optional<absl::Duration> TimeoutOf(const HaproxySettings& settings, const std::string& name);

struct HaproxyConfig {
  std::vector<HaproxyProxy> proxies;
  std::map<std::string, std::vector<std::string>> resolvers;  // the addresses of each
};

// What it could not read is noted in `model`, which also gets what the global section says.
HaproxyConfig ReadHaproxyConfig(const std::string& path, std::string_view bytes, Model* model);

}  // namespace parkway::config::convert

#endif  // CONFIG_CONVERT_HAPROXY_CONFIG_H_
