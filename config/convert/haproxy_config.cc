#include "config/convert/haproxy_config.h"

#include <utility>

#include "config/text.h"
#include "config/value.h"

namespace parkway::config::convert {
namespace {

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

class Reader {
 public:
  Reader(const std::string& path, Model* model) : path_(path), model_(model) {}

  HaproxyConfig Read(std::string_view bytes) {
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
    return std::move(config_);
  }

 private:
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
      ReadProxy(line, &config_.proxies.back());
    } else {
      Note(line);
    }
  }

  // Those of `from NAME`, else those before.
  HaproxySettings Inherited(const Tokens& words, bool is_defaults) const {
    for (size_t i = 1; i + 1 < words.size(); ++i) {
      if (words[i] != "from") continue;
      for (const auto& [name, settings] : defaults_) {
        if (name == words[i + 1]) return settings;
      }
    }
    return is_defaults || defaults_.empty() ? HaproxySettings() : defaults_.back().second;
  }

  void StartDefaults(const Directive& line) {
    const std::string name =
        line.words.size() > 1 && line.words[1] != "from" ? line.words[1] : std::string();
    HaproxySettings settings = Inherited(line.words, true);
    defaults_.emplace_back(name, std::move(settings));
  }

  void StartProxy(const Directive& line) {
    HaproxyProxy proxy;
    proxy.kind = section_;
    proxy.name = line.words.size() > 1 ? line.words[1] : "";
    proxy.origin = line.origin;
    proxy.settings = Inherited(line.words, false);
    if (section_ == "backend") proxy.settings.default_backend.clear();
    config_.proxies.push_back(std::move(proxy));
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
      const auto address = HaproxyAddress(value, false);
      if (!address || address->starts_with("unix:")) return Note(line);
      config_.resolvers[resolvers_name_].push_back(*address);
    } else if (!IsOneOf(words[0], {"parse-resolv-conf", "accepted_payload_size"})) {
      Note(line);
    }
  }

  // True if it is one of those that a defaults section may hold, and was carried over.
  bool ReadSetting(const Directive& line, HaproxySettings* settings) {
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

  bool ReadOption(const Directive& line, HaproxySettings* settings) {
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

  void ReadProxy(const Directive& line, HaproxyProxy* proxy) {
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

  const std::string path_;
  Model* const model_;
  std::string section_;
  bool skipped_ = false;
  std::vector<std::pair<std::string, HaproxySettings>> defaults_;
  std::string resolvers_name_;
  HaproxyConfig config_;
};

}  // namespace

std::optional<std::string> HaproxyAddress(std::string_view text, bool bind) {
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

bool IsTcp(const HaproxyProxy& proxy) { return proxy.settings.mode == "tcp"; }

std::optional<absl::Duration> TimeoutOf(const HaproxySettings& settings, const std::string& name) {
  const auto found = settings.timeouts.find(name);
  if (found == settings.timeouts.end()) return std::nullopt;
  return ReadTime(found->second, absl::Milliseconds(1));
}

HaproxyConfig ReadHaproxyConfig(const std::string& path, std::string_view bytes, Model* model) {
  return Reader(path, model).Read(bytes);
}

}  // namespace parkway::config::convert
