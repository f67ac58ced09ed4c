#include "config/convert/haproxy.h"

#include <algorithm>
#include <initializer_list>
#include <map>
#include <optional>
#include <vector>

#include "config/text.h"
#include "config/value.h"

namespace parkway::config::convert {
namespace {

using Tokens = std::vector<std::string>;

bool IsOneOf(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

// Words of a line, without quotes and comments. `raw`: escapes of \r, \n and \x are kept, for what
// is sent to a server. Nothing if a quote is not closed.
std::optional<Tokens> Tokenize(std::string_view text) {
  Tokens words;
  std::string word;
  bool inside = false;
  char quote = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote == '\'' ? c == '\'' : quote == '"' && c == '"') {
      quote = 0;
    } else if (quote == 0 && (c == '\'' || c == '"')) {
      quote = c;
      inside = true;
    } else if (c == '\\' && quote != '\'' && i + 1 < text.size()) {
      const char next = text[++i];
      if (IsOneOf(std::string_view(&next, 1), {"r", "n", "t", "x"})) word += '\\';
      word += next;
      inside = true;
    } else if (quote == 0 && c == '#') {
      break;
    } else if (quote == 0 && (IsBlank(c) || c == '\r')) {
      if (inside) words.push_back(std::move(word));
      word.clear();
      inside = false;
    } else {
      word += c;
      inside = true;
    }
  }
  if (quote != 0) return std::nullopt;
  if (inside) words.push_back(std::move(word));
  return words;
}

// The address of a bind or a server in our form. `bind`: without a host it is any of IPv4.
std::optional<std::string> AddressOf(std::string_view text, bool bind) {
  ConsumePrefix(&text, "ipv4@");
  ConsumePrefix(&text, "ipv6@");
  if (ConsumePrefix(&text, "unix@") || text.starts_with("/")) return Cat("unix:", text);
  if (ConsumePrefix(&text, "abns@")) return Cat("unix:@", text);
  if (text.find('@') != std::string_view::npos || text.empty()) return std::nullopt;
  const size_t colon = text.rfind(':');
  std::string host(text.substr(0, colon));
  std::string port(colon == std::string_view::npos ? "" : text.substr(colon + 1));
  if (text.ends_with("]")) {
    host = text;
    port = "";
  }
  if (bind && port.empty()) return std::nullopt;
  if (port.starts_with("-")) return std::nullopt;
  if (host.empty() || host == "*") {
    if (!bind) return std::nullopt;
    host = "0.0.0.0";
  }
  if (host.find(':') != std::string::npos && !host.starts_with("[")) host = Cat("[", host, "]");
  // A server without a port, or with one of 0, has the listener's.
  if (port.empty() || (port == "0" && !bind) || port == "+0") return host;
  return Cat(host, ":", port);
}

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
struct Settings {
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

struct Proxy {
  std::string kind;  // frontend, backend, listen
  std::string name;
  Origin origin;
  Settings settings;
  std::vector<Directive> binds;
  std::vector<Directive> servers;
  std::vector<Directive> use;    // use_backend
  std::vector<Directive> rules;  // tcp-request connection|content accept|reject
  std::map<std::string, std::vector<Acl>> acls;
  std::string inspect_delay;

  bool fronts() const { return kind != "backend"; }
  bool backs() const { return kind != "frontend"; }
};

Acl AclOf(const Tokens& words, size_t at) {
  Acl acl;
  if (at >= words.size()) return acl;
  std::string_view name = words[at];
  if (name == "TRUE" || name == "always_true") acl.kind = Acl::Kind::kTrue;
  if (name == "src") acl.kind = Acl::Kind::kSource;
  bool suffix = name.ends_with("_end");
  if (suffix) name.remove_suffix(4);
  if (name.ends_with(",lower")) name.remove_suffix(6);
  if (name == "req.ssl_sni" || name == "req_ssl_sni") acl.kind = Acl::Kind::kSni;
  if (name == "req.ssl_alpn" || name == "req_ssl_alpn") acl.kind = Acl::Kind::kAlpn;
  if (IsOneOf(name, {"req.ssl_hello_type", "req_ssl_hello_type"})) acl.kind = Acl::Kind::kHello;
  bool flags = true;
  for (size_t i = at + 1; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (flags && word == "-i") continue;
    if (flags && word == "-n") continue;
    if (flags && word == "--") {
      flags = false;
      continue;
    }
    if (flags && word == "-m" && i + 1 < words.size()) {
      const std::string& method = words[++i];
      suffix = method == "end";
      if (!suffix && method != "str" && method != "ip") acl.kind = Acl::Kind::kOther;
      continue;
    }
    if (flags && word.starts_with("-")) {
      acl.kind = Acl::Kind::kOther;
      continue;
    }
    flags = false;
    acl.values.push_back(word);
  }
  if (suffix) {
    if (acl.kind != Acl::Kind::kSni) acl.kind = Acl::Kind::kOther;
    for (std::string& value : acl.values) {
      // "example.org" would hold "badexample.org" too.
      if (!value.starts_with(".")) acl.kind = Acl::Kind::kOther;
      value = Cat("*", value);
    }
  }
  if (acl.values.empty() && acl.kind != Acl::Kind::kTrue) acl.kind = Acl::Kind::kOther;
  return acl;
}

class Reader {
 public:
  Reader(const std::string& path, Model* model) : path_(path), model_(model) {}

  void Read(std::string_view bytes) {
    int number = 0;
    for (const std::string_view text : Split(bytes, '\n')) {
      const Origin origin = {path_, ++number};
      const std::optional<Tokens> words = Tokenize(text);
      if (!words) {
        model_->Note(origin, "a quote that is not closed");
      } else if (!words->empty()) {
        ReadLine({origin, *words});
      }
    }
    for (const Proxy& proxy : proxies_) {
      if (proxy.backs() && IsTcp(proxy)) {
        upstreams_.emplace(proxy.name, upstream_names_.Add(proxy.name));
      }
    }
    for (const Proxy& proxy : proxies_) {
      if (!IsTcp(proxy)) {
        model_->Note(proxy.origin,
                     Cat(proxy.kind, " ", proxy.name, ": mode ", proxy.settings.mode));
        continue;
      }
      if (proxy.fronts()) WriteFront(proxy);
      if (proxy.backs()) WriteBack(proxy);
    }
  }

 private:
  static bool IsTcp(const Proxy& proxy) { return proxy.settings.mode == "tcp"; }

  void Note(const Directive& line) { model_->Note(line.origin, Words(line.words)); }

  void ReadLine(const Directive& line) {
    const Tokens& words = line.words;
    if (IsOneOf(words[0], {"global", "defaults", "frontend", "backend", "listen", "resolvers",
                           "peers", "userlist", "mailers", "program", "cache", "http-errors",
                           "ring", "log-forward", "fcgi-app", "crt-store", "traces"})) {
      section_ = words[0];
      skipped_ = false;
      if (section_ == "defaults") {
        StartDefaults(line);
      } else if (IsOneOf(section_, {"frontend", "backend", "listen"})) {
        StartProxy(line);
      } else if (section_ == "resolvers") {
        resolvers_name_ = words.size() > 1 ? words[1] : "";
      } else if (section_ != "global") {
        Note(line);
        skipped_ = true;
      }
      return;
    }
    if (skipped_) return;
    if (section_ == "global") {
      ReadGlobal(line);
    } else if (section_ == "resolvers") {
      ReadResolvers(line);
    } else if (section_ == "defaults") {
      if (!ReadSetting(line, &defaults_.back().second)) Note(line);
    } else if (!section_.empty()) {
      ReadProxy(line, &proxies_.back());
    } else {
      Note(line);
    }
  }

  // Those of `from NAME`, else those before.
  Settings Inherited(const Tokens& words, bool is_defaults) const {
    for (size_t i = 1; i + 1 < words.size(); ++i) {
      if (words[i] != "from") continue;
      for (const auto& [name, settings] : defaults_) {
        if (name == words[i + 1]) return settings;
      }
    }
    return is_defaults || defaults_.empty() ? Settings() : defaults_.back().second;
  }

  void StartDefaults(const Directive& line) {
    const std::string name =
        line.words.size() > 1 && line.words[1] != "from" ? line.words[1] : std::string();
    Settings settings = Inherited(line.words, true);
    defaults_.emplace_back(name, std::move(settings));
  }

  void StartProxy(const Directive& line) {
    Proxy proxy;
    proxy.kind = section_;
    proxy.name = line.words.size() > 1 ? line.words[1] : "";
    proxy.origin = line.origin;
    proxy.settings = Inherited(line.words, false);
    if (section_ == "backend") proxy.settings.default_backend.clear();
    proxies_.push_back(std::move(proxy));
    if (line.words.size() > 2 && line.words[2] != "from") Note(line);
  }

  void ReadGlobal(const Directive& line) {
    const Tokens& words = line.words;
    const std::string value = words.size() > 1 ? words[1] : "";
    if (words[0] == "maxconn" && !value.empty()) {
      model_->AddScalar("max_connections", value, line.origin);
    } else if (words[0] == "nbthread" && !value.empty()) {
      model_->AddScalar("threads", value, line.origin);
    } else if (words[0] == "hard-stop-after") {
      const auto time = ReadTime(value, absl::Milliseconds(1));
      if (!time) return Note(line);
      model_->AddScalar("drain_timeout", PrintDuration(*time), line.origin);
    } else if (!IsOneOf(words[0], {"daemon", "master-worker", "pidfile", "quiet", "nbproc",
                                   "ulimit-n", "description"}) &&
               !words[0].starts_with("ssl-")) {
      // ssl-default-...: nothing here speaks TLS.
      Note(line);
    }
  }

  void ReadResolvers(const Directive& line) {
    const Tokens& words = line.words;
    const std::string value = words.size() > 2 ? words[2] : "";
    if (words[0] == "nameserver" && !value.empty()) {
      const auto address = AddressOf(value, false);
      if (!address || address->starts_with("unix:")) return Note(line);
      resolvers_[resolvers_name_].push_back(*address);
    } else if (!IsOneOf(words[0], {"parse-resolv-conf", "accepted_payload_size"})) {
      Note(line);
    }
  }

  // True if it is one of those that a defaults section may hold, and was carried over.
  bool ReadSetting(const Directive& line, Settings* settings) {
    const Tokens& words = line.words;
    const std::string value = words.size() > 1 ? words[1] : "";
    const std::string& name = words[0];
    if (IsOneOf(name, {"log", "description", "id", "log-tag", "fullconn", "hash-type"})) {
      // Lines go to stderr whatever it is; there is one consistent hash.
      return name != "log" || value == "global" || words.size() > 2;
    }
    if (name == "option" || name == "no" || name == "http-check" || name == "tcp-check") {
      return ReadOption(line, settings);
    }
    if (value.empty()) return false;
    if (name == "mode") {
      settings->mode = value;
    } else if (name == "timeout" && words.size() > 2) {
      const auto time = ReadTime(words[2], absl::Milliseconds(1));
      if (!time) return false;
      if (IsOneOf(value, {"connect", "client", "server", "tunnel", "client-fin", "server-fin",
                          "queue", "check"})) {
        settings->timeouts[value] = words[2];
      } else if (!value.starts_with("http-")) {
        return false;
      }
    } else if (name == "balance") {
      settings->balance = value;
      settings->balance_rest = Tokens(words.begin() + 2, words.end());
    } else if (name == "retries") {
      settings->retries = value;
    } else if (name == "maxconn") {
      settings->maxconn = value;
    } else if (name == "backlog") {
      settings->backlog = value;
    } else if (name == "default_backend") {
      settings->default_backend = value;
    } else if (name == "source" && words.size() == 2) {
      settings->source = value;
    } else if (name == "default-server") {
      settings->default_server.insert(settings->default_server.end(), words.begin() + 1,
                                      words.end());
    } else {
      return false;
    }
    return true;
  }

  bool ReadOption(const Directive& line, Settings* settings) {
    const Tokens& words = line.words;
    const std::string value = words.size() > 1 ? words[1] : "";
    if (words[0] == "no") return words.size() > 2 && words[1] == "option";
    if (words[0] == "tcp-check" || words[0] == "http-check") {
      if (value == "connect" && words.size() == 2) return true;
      if (value == "send" && words.size() == 3 && settings->check_send.empty()) {
        settings->check_send = words[2];
        return true;
      }
      if (value == "expect" && words.size() == 4 && settings->check_expect.empty()) {
        if (words[2] == "string") {
          settings->check_expect = Cat("~", words[3]);
          return true;
        }
        if (words[2] == "status" && settings->check == "httpchk") {
          settings->check_expect = Cat("~ ", words[3], " ");
          return true;
        }
      }
      return false;
    }
    if (IsOneOf(value, {"tcplog", "dontlognull", "redispatch", "dontlog-normal", "logasap",
                        "log-health-checks", "splice-auto", "splice-request", "splice-response",
                        "log-separate-errors", "tcp-smart-accept", "tcp-smart-connect"})) {
      return true;
    }
    if (value == "tcp-check" && words.size() == 2) {
      settings->check = value;
      return true;
    }
    if (value == "httpchk" && words.size() <= 5) {
      // Host: is what HTTP/1.1 would want; the answer's first line is the same.
      const std::string method = words.size() > 3 ? words[2] : "OPTIONS";
      const std::string path = words.size() > 3 ? words[3] : words.size() > 2 ? words[2] : "/";
      settings->check = value;
      settings->check_send = Cat(method, " ", path, " HTTP/1.0\\r\\n\\r\\n");
      return true;
    }
    return IsOneOf(value, {"httplog", "http-server-close", "forwardfor", "http-keep-alive"}) &&
           settings->mode == "http";
  }

  void ReadProxy(const Directive& line, Proxy* proxy) {
    const Tokens& words = line.words;
    const std::string& name = words[0];
    if (name == "bind" && words.size() > 1) {
      proxy->binds.push_back(line);
    } else if ((name == "server" || name == "server-template") && words.size() > 2) {
      proxy->servers.push_back(line);
    } else if (name == "use_backend" && words.size() > 1) {
      proxy->use.push_back(line);
    } else if (name == "acl" && words.size() > 2) {
      proxy->acls[words[1]].push_back(AclOf(words, 2));
    } else if (name == "tcp-request" && words.size() > 2 &&
               IsOneOf(words[1], {"connection", "content"}) &&
               IsOneOf(words[2], {"accept", "reject"})) {
      proxy->rules.push_back(line);
    } else if (name == "tcp-request" && words.size() == 3 && words[1] == "inspect-delay") {
      proxy->inspect_delay = words[2];
    } else if (!ReadSetting(line, &proxy->settings) && IsTcp(*proxy)) {
      Note(line);
    }
  }

  // The condition behind `if` or `unless` from `at` on; nothing there is always true.
  std::optional<Condition> ConditionOf(const Proxy& proxy, const Tokens& words, size_t at) const {
    Condition any;
    any.emplace_back();
    if (at >= words.size()) return any;
    const bool unless = words[at] == "unless";
    if (!unless && words[at] != "if") return std::nullopt;
    bool negated = false;
    for (size_t i = at + 1; i < words.size(); ++i) {
      std::string word = words[i];
      if (word == "or" || word == "||") {
        any.emplace_back();
        continue;
      }
      while (word.starts_with("!")) {
        negated = !negated;
        word.erase(0, 1);
      }
      if (word.empty()) continue;
      Term term;
      term.negated = negated;
      negated = false;
      if (word == "{") {
        Tokens inside;
        while (++i < words.size() && words[i] != "}") inside.push_back(words[i]);
        if (i >= words.size()) return std::nullopt;
        term.acl = AclOf(inside, 0);
      } else {
        const auto named = proxy.acls.find(word);
        if (named == proxy.acls.end()) {
          term.acl = AclOf({word}, 0);
        } else {
          term.acl = named->second[0];
          for (size_t k = 1; k < named->second.size(); ++k) {
            const Acl& more = named->second[k];
            if (more.kind != term.acl.kind) term.acl.kind = Acl::Kind::kOther;
            term.acl.values.insert(term.acl.values.end(), more.values.begin(), more.values.end());
          }
        }
      }
      if (term.acl.kind == Acl::Kind::kOther) return std::nullopt;
      any.back().push_back(std::move(term));
    }
    if (unless) {
      if (any.size() != 1 || any[0].size() != 1) return std::nullopt;
      any[0][0].negated = !any[0][0].negated;
    }
    return any;
  }

  // False if who may come in cannot be said.
  bool ReadRules(const Proxy& proxy, AccessRules* access) {
    bool hello = false;
    bool content = false;
    bool connection = false;
    for (const Directive& line : proxy.rules) {
      const bool accept = line.words[2] == "accept";
      const auto condition = ConditionOf(proxy, line.words, 3);
      if (!condition) {
        Note(line);
        return false;
      }
      for (const std::vector<Term>& all : *condition) {
        if (all.empty()) {
          if (accept && line.words[1] == "content") continue;
          if (hello) {
            // Who is not known by a hello has no route.
            if (!proxy.settings.default_backend.empty()) Note(line);
            continue;
          }
          access->Add(accept, "all");
          continue;
        }
        const Term& term = all[0];
        if (all.size() == 1 && term.acl.kind == Acl::Kind::kHello && accept) {
          hello = true;
          continue;
        }
        // An accept of the first kind does not spare the rules of the second.
        (line.words[1] == "content" ? content : connection) = true;
        bool right =
            !(content && connection) && all.size() == 1 && term.acl.kind == Acl::Kind::kSource;
        for (const std::string& value : term.acl.values) {
          right = right && access->Add(accept != term.negated, value);
        }
        if (right && term.negated) right = access->Add(accept, "all");
        if (term.negated && accept) right = false;
        // "reject if !good" goes on with the good; the next rule would ask them again.
        if (right && term.negated && &line != &proxy.rules.back()) right = OnlyHello(proxy, line);
        if (!right) {
          Note(line);
          return false;
        }
      }
    }
    return true;
  }

  // All but `first` only wait for the client's hello.
  bool OnlyHello(const Proxy& proxy, const Directive& first) const {
    for (const Directive& line : proxy.rules) {
      if (&line == &first) continue;
      const auto condition = ConditionOf(proxy, line.words, 3);
      if (!condition || line.words[2] != "accept") return false;
      for (const std::vector<Term>& all : *condition) {
        if (all.size() != 1 || all[0].acl.kind != Acl::Kind::kHello) return false;
      }
    }
    return true;
  }

  std::string UpstreamOf(const std::string& backend, const Origin& origin) {
    const auto found = upstreams_.find(backend);
    if (found != upstreams_.end()) return found->second;
    model_->Note(origin, Cat("backend ", backend, ": it was not carried over"));
    return "";
  }

  std::optional<absl::Duration> Timeout(const Settings& settings, const std::string& name) const {
    const auto found = settings.timeouts.find(name);
    if (found == settings.timeouts.end()) return std::nullopt;
    return ReadTime(found->second, absl::Milliseconds(1));
  }

  void WriteFront(const Proxy& proxy) {
    std::string upstream;
    const Settings* back = &proxy.settings;
    std::string backend = proxy.settings.default_backend;
    if (!backend.empty()) {
      upstream = UpstreamOf(backend, proxy.origin);
    } else if (proxy.kind == "listen" && !proxy.servers.empty()) {
      upstream = UpstreamOf(proxy.name, proxy.origin);
    }
    struct Route {
      Origin origin;
      std::vector<std::string> sni;
      std::vector<std::string> alpn;
      std::string upstream;
    };
    std::vector<Route> routes;
    for (const Directive& line : proxy.use) {
      const auto condition = line.words[1].find('%') == std::string::npos
                                 ? ConditionOf(proxy, line.words, 2)
                                 : std::nullopt;
      bool right = condition.has_value();
      std::vector<Route> some;
      for (const std::vector<Term>& all : condition.value_or(Condition())) {
        Route route;
        for (const Term& term : all) {
          if (term.acl.kind == Acl::Kind::kSni && !term.negated && route.sni.empty()) {
            route.sni = term.acl.values;
          } else if (term.acl.kind == Acl::Kind::kAlpn && !term.negated && route.alpn.empty()) {
            route.alpn = term.acl.values;
          } else if (term.negated || term.acl.kind != Acl::Kind::kHello) {
            right = false;
          }
        }
        route.origin = line.origin;
        some.push_back(std::move(route));
      }
      if (!right) {
        Note(line);
        continue;
      }
      const std::string to = UpstreamOf(line.words[1], line.origin);
      if (to.empty()) continue;
      if (backend.empty()) backend = line.words[1];
      for (Route& route : some) {
        route.upstream = to;
        if (route.sni.empty() && route.alpn.empty()) {
          if (routes.empty() || upstream.empty()) upstream = to;
        } else {
          routes.push_back(std::move(route));
        }
      }
    }
    for (const Proxy& other : proxies_) {
      if (other.backs() && other.name == backend) back = &other.settings;
    }
    AccessRules access;
    if (!ReadRules(proxy, &access)) {
      model_->Note(proxy.origin,
                   Cat(proxy.kind, " ", proxy.name, ": who may come in could not be carried over"));
      return;
    }
    // Binds with the same options are one listener.
    std::vector<std::pair<Tokens, std::vector<const Directive*>>> groups;
    for (const Directive& bind : proxy.binds) {
      const Tokens options(bind.words.begin() + 2, bind.words.end());
      const auto same = std::find_if(groups.begin(), groups.end(),
                                     [&](const auto& group) { return group.first == options; });
      if (same == groups.end()) {
        groups.push_back({options, {&bind}});
      } else {
        same->second.push_back(&bind);
      }
    }
    for (const auto& [options, binds] : groups) {
      const Origin& origin = binds[0]->origin;
      std::vector<std::string> addresses;
      for (const Directive* bind : binds) {
        for (const std::string_view piece : Split(bind->words[1], ',')) {
          const auto address = AddressOf(piece, true);
          if (address) {
            addresses.push_back(*address);
          } else {
            model_->Note(bind->origin, Cat("bind ", piece));
          }
        }
      }
      if (std::find(options.begin(), options.end(), "ssl") != options.end()) {
        model_->Note(origin, Cat(Words(binds[0]->words), ": it ends TLS"));
        continue;
      }
      if (addresses.empty()) continue;
      Line* listen = model_->Add("listen", origin);
      const std::string name = listen_names_.Add(proxy.name);
      listen->Set("name", name);
      listen->SetList("addr", addresses);
      if (!upstream.empty()) listen->Set("upstream", upstream);
      if (!proxy.settings.maxconn.empty()) listen->Set("max_connections", proxy.settings.maxconn);
      if (!proxy.settings.backlog.empty()) listen->Set("backlog", proxy.settings.backlog);
      WriteBindOptions(options, origin, listen);
      access.SetOn(listen);
      if (!proxy.inspect_delay.empty()) {
        const auto time = ReadTime(proxy.inspect_delay, absl::Milliseconds(1));
        if (time && !routes.empty()) listen->Set("preread_timeout", PrintDuration(*time));
      }
      WriteTimeouts(proxy, *back, listen);
      for (const Route& route : routes) {
        Line* line = model_->Add("route", route.origin);
        line->Set("listen", name);
        line->SetList("sni", route.sni);
        line->SetList("alpn", route.alpn);
        line->Set("upstream", route.upstream);
      }
    }
  }

  void WriteBindOptions(const Tokens& options, const Origin& origin, Line* listen) {
    for (size_t i = 0; i < options.size(); ++i) {
      const std::string& option = options[i];
      const bool has_value = i + 1 < options.size();
      if (option == "accept-proxy") {
        listen->Set("accept_proxy", "on");
        listen->SetList("proxy_trusted", {"0.0.0.0/0", "::/0"});
      } else if (option == "v6only") {
        listen->Set("v6only", "on");
      } else if (option == "transparent") {
        listen->Set("transparent", "on");
      } else if (option == "tfo") {
        listen->Set("tfo", "on");
      } else if (option == "interface" && has_value) {
        listen->Set("device", options[++i]);
      } else if (option == "backlog" && has_value) {
        listen->Set("backlog", options[++i]);
      } else if (option == "maxconn" && has_value) {
        listen->Set("max_connections", options[++i]);
      } else if (option == "mode" && has_value) {
        listen->Set("mode", options[++i]);
      } else if ((option == "name" || option == "id") && has_value) {
        ++i;
      } else if (option != "v4v6" && option != "defer-accept") {
        std::string what = Cat("bind option ", option);
        if (IsOneOf(option,
                    {"process", "thread", "shards", "nice", "level", "user", "group", "uid", "gid",
                     "mss", "tcp-ut", "namespace", "proto", "alpn", "severity-output"}) &&
            has_value) {
          Append(&what, " ", options[++i]);
        }
        model_->Note(origin, what);
      } else if (option == "defer-accept") {
        listen->Set("defer_accept", "on");
      }
    }
  }

  void WriteTimeouts(const Proxy& proxy, const Settings& back, Line* listen) {
    const auto tunnel = Timeout(back, "tunnel");
    const auto client = tunnel ? tunnel : Timeout(proxy.settings, "client");
    const auto server = tunnel ? tunnel : Timeout(back, "server");
    SetIdle(client, server, proxy.origin, listen, model_);
    const auto client_fin = Timeout(proxy.settings, "client-fin");
    const auto server_fin = Timeout(back, "server-fin");
    const auto fin = client_fin && server_fin
                         ? std::max(*client_fin, *server_fin)
                         : client_fin.value_or(server_fin.value_or(absl::ZeroDuration()));
    if (client_fin || server_fin) listen->Set("half_close_timeout", PrintDuration(fin));
    if (client_fin && server_fin && *client_fin != *server_fin) {
      model_->Note(proxy.origin,
                   "timeouts client-fin and server-fin that differ: "
                   "half_close_timeout is the longer");
    }
  }

  void WriteBack(const Proxy& proxy) {
    if (proxy.kind == "listen" && proxy.servers.empty()) return;
    const Settings& settings = proxy.settings;
    const std::string name = upstreams_[proxy.name];
    Line* line = model_->Add("upstream", proxy.origin);
    line->Set("name", name);
    const std::map<std::string, std::string> balances = {
        {"roundrobin", "round_robin"}, {"static-rr", "round_robin"},
        {"leastconn", "least_conn"},   {"first", "first"},
        {"source", "source_hash"},     {"random", "p2c"},
        {"random(2)", "p2c"},          {"random(1)", "random"}};
    const auto balance = balances.find(settings.balance);
    if (settings.balance == "hash" && settings.balance_rest == Tokens{"src"}) {
      line->Set("balance", "source_hash");
    } else if (balance == balances.end()) {
      model_->Note(proxy.origin,
                   Cat("balance ", settings.balance, " ", Words(settings.balance_rest)));
    } else {
      line->Set("balance", balance->second);
    }
    if (const auto time = Timeout(settings, "connect")) {
      line->Set("connect_timeout", PrintDuration(*time));
    }
    unsigned retries = 3;
    if (settings.retries.empty() || ParseNumber(settings.retries, &retries)) {
      line->Set("connect_attempts", Cat(uint64_t{retries} + 1));
    }
    const auto queue =
        Timeout(settings, "queue") ? Timeout(settings, "queue") : Timeout(settings, "connect");
    if (queue) line->Set("queue_timeout", PrintDuration(*queue));
    if (!settings.source.empty()) line->Set("source", SourceOf(settings.source));
    std::set<std::string> noted;
    for (const Directive& server : proxy.servers) WriteServer(proxy, name, server, line, &noted);
  }

  // HAProxy may say a port of 0.
  static std::string SourceOf(std::string_view text) {
    if (text.ends_with(":0")) text.remove_suffix(2);
    if (text.ends_with(":") && text.find(':') == text.size() - 1) text.remove_suffix(1);
    return std::string(text);
  }

  // "0.0.0.0:+1" and the like are for servers; this is for how a check reaches one.
  void WriteServer(const Proxy& proxy, const std::string& upstream, const Directive& directive,
                   Line* upstream_line, std::set<std::string>* noted) {
    const Tokens& words = directive.words;
    const bool is_template = words[0] == "server-template";
    if (is_template && words.size() < 4) return Note(directive);
    const std::string& target = words[is_template ? 3 : 2];
    const auto address = AddressOf(target, false);
    if (!address) return Note(directive);
    if (is_template) model_->Note(directive.origin, Cat(Words(words), ": all that its name has"));
    Tokens options = proxy.settings.default_server;
    options.insert(options.end(), words.begin() + (is_template ? 4 : 3), words.end());
    if (std::find(options.begin(), options.end(), "ssl") != options.end()) {
      return model_->Note(directive.origin, Cat(Words(words), ": it begins TLS"));
    }
    Line* line = model_->Add("server", directive.origin);
    line->Set("upstream", upstream);
    line->Set("name", server_names_[upstream].Add(words[1]));
    line->Set("addr", *address);
    bool checked = false;
    for (const std::string& option : options) {
      if (option == "check") checked = true;
      if (option == "no-check") checked = false;
    }
    if (checked) {
      const Settings& settings = proxy.settings;
      const bool speaks = !settings.check_send.empty() || !settings.check_expect.empty();
      line->Set("health", speaks ? "send_expect" : "tcp");
      if (!settings.check_send.empty()) line->Set("health_send", settings.check_send);
      if (!settings.check_expect.empty()) {
        line->Set("health_expect", settings.check_expect);
      } else if (settings.check == "httpchk") {
        line->Set("health_expect", "~ 200 ");
      }
      line->Set("health_interval", "2s");
      if (const auto time = Timeout(settings, "check")) {
        line->Set("health_timeout", PrintDuration(*time));
      }
    }
    for (size_t i = 0; i < options.size(); ++i) {
      const std::string& option = options[i];
      const std::string value = i + 1 < options.size() ? options[i + 1] : "";
      const auto note = [&](const std::string& what) {
        if (noted->insert(what).second) model_->Note(directive.origin, Cat("server option ", what));
      };
      if (IsOneOf(option, {"check", "no-check", "enabled", "no-backup", "no-ssl", "stick",
                           "no-disabled", "check-send-proxy"})) {
        continue;
      }
      if (option == "backup") {
        line->Set("backup", "on");
      } else if (option == "disabled") {
        line->Set("state", "down");
      } else if (option == "send-proxy") {
        line->Set("send_proxy", "v1");
      } else if (option == "send-proxy-v2") {
        line->Set("send_proxy", "v2");
      } else if (option == "weight") {
        line->Set("weight", value);
        ++i;
      } else if (option == "maxconn") {
        line->Set("max_conns", value == "0" ? "off" : value);
        ++i;
      } else if (IsOneOf(option, {"rise", "fall"})) {
        if (checked) line->Set(option, value);
        ++i;
      } else if (IsOneOf(option, {"port", "addr"})) {
        if (checked) line->Set(option == "port" ? "health_port" : "health_addr", value);
        ++i;
      } else if (IsOneOf(option, {"inter", "slowstart"})) {
        const auto time = ReadTime(value, absl::Milliseconds(1));
        ++i;
        if (!time) {
          note(Cat(option, " ", value));
        } else if (option == "slowstart") {
          line->Set("slow_start", PrintDuration(*time));
        } else if (checked) {
          line->Set("health_interval", PrintDuration(*time));
        }
      } else if (option == "fastinter") {
        const auto time = ReadTime(value, absl::Milliseconds(1));
        // Ours, while a server's state is changing.
        if (time != absl::Seconds(1)) note(Cat(option, " ", value, ": it is 1s"));
        ++i;
      } else if (option == "on-marked-down" && value == "shutdown-sessions") {
        line->Set("on_down", "close");
        ++i;
      } else if (option == "on-marked-up" && value == "shutdown-backup-sessions") {
        line->Set("on_up", "close");
        ++i;
      } else if (option == "source") {
        line->Set("source", SourceOf(value));
        ++i;
        if (i + 1 < options.size() && options[i + 1] == "usesrc") {
          note(Cat("usesrc ", i + 2 < options.size() ? options[i + 2] : ""));
          i += 2;
        }
      } else if (option == "resolvers") {
        const auto found = resolvers_.find(value);
        if (found != resolvers_.end()) upstream_line->SetList("dns_servers", found->second);
        ++i;
      } else if (option == "resolve-prefer") {
        note(Cat(option, " ", value));
        ++i;
      } else if (option == "init-addr") {
        note(Cat(option, " ", value));
        ++i;
      } else {
        const bool has_value = IsOneOf(option, {"cookie",
                                                "downinter",
                                                "error-limit",
                                                "observe",
                                                "on-error",
                                                "track",
                                                "id",
                                                "agent-port",
                                                "agent-inter",
                                                "agent-addr",
                                                "minconn",
                                                "maxqueue",
                                                "namespace",
                                                "crt",
                                                "ca-file",
                                                "verify",
                                                "sni",
                                                "tcp-ut",
                                                "max-reuse",
                                                "pool-max-conn",
                                                "proto",
                                                "check-sni",
                                                "redir",
                                                "resolve-net",
                                                "resolve-opts",
                                                "usesrc",
                                                "interface",
                                                "on-marked-up",
                                                "on-marked-down",
                                                "log-proto",
                                                "ws",
                                                "proxy-v2-options",
                                                "set-proxy-v2-tlv-fmt"});
        note(has_value ? Cat(option, " ", value) : option);
        if (has_value) ++i;
      }
    }
  }

  const std::string path_;
  Model* const model_;
  std::string section_;
  bool skipped_ = false;
  std::vector<std::pair<std::string, Settings>> defaults_;
  std::vector<Proxy> proxies_;
  std::string resolvers_name_;
  std::map<std::string, std::vector<std::string>> resolvers_;
  std::map<std::string, std::string> upstreams_;  // a backend's name: ours
  Names upstream_names_;
  Names listen_names_;
  std::map<std::string, Names> server_names_;
};

}  // namespace

void ReadHaproxy(const std::string& path, std::string_view bytes, Model* model) {
  Reader(path, model).Read(bytes);
}

}  // namespace parkway::config::convert
