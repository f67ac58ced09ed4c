#include "config/convert/haproxy_config.h"

#include <functional>
#include <utility>

#include "config/convert/haproxy_words.h"
#include "config/text.h"
#include "config/value.h"

namespace parkway::config::convert {
namespace {

class Reader {
 public:
  Reader(const std::string& path, Model* model) : path_(path), model_(model) {}

  HaproxyConfig Read(std::string_view bytes) {
    ReadLines(bytes);
    if (!user_.empty()) {
      model_->AddScalar("user", group_.empty() ? user_ : Cat(user_, ":", group_), user_at_);
    }
    if (tcplog_) model_->AddScalar("log_format", "tcplog", *tcplog_);
    if (!log_skip_.empty()) {
      std::vector<std::string> words;
      for (const auto& [word, origin] : log_skip_) words.push_back(word);
      model_->AddScalar("log_skip", Join(words, ","), log_skip_.begin()->second);
    }
    return std::move(config_);
  }

 private:
  void ReadLines(std::string_view bytes) {
    int number = 0;
    for (const std::string_view text : Split(bytes, '\n')) {
      const Origin origin = {path_, ++number};
      const std::optional<Tokens> words = HaproxyWords(text);
      if (!words) {
        model_->Note(origin, "a quote that is not closed");
      } else if (!words->empty()) {
        ReadLine({origin, *words});
      }
    }
  }

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
    } else if (words[0] == "pidfile" && !value.empty()) {
      model_->AddScalar("pidfile", value, line.origin);
    } else if (words[0] == "user" && !value.empty()) {
      user_ = value;
      user_at_ = line.origin;
    } else if (words[0] == "group" && !value.empty()) {
      group_ = value;
    } else if (words[0] == "log" && !value.empty()) {
      ReadLog(line);
    } else if (!IsOneOf(words[0], {"daemon", "master-worker", "quiet", "nbproc", "ulimit-n",
                                   "description", "node", "maxpipes", "noepoll"}) &&
               !words[0].starts_with("ssl-")) {
      // ssl-default-...: nothing here speaks TLS.
      Note(line);
    }
  }

  // "log /dev/log local0", "log 10.0.0.1:514 local0 info", "log stdout format raw local0 info".
  void ReadLog(const Directive& line) {
    const Tokens& words = line.words;
    std::string_view to = words[1];
    if (std::exchange(has_log_, true)) return Note(line);
    ConsumePrefix(&to, "udp@");
    std::string sink;
    if (to == "stdout" || to == "fd@1") {
      sink = "stdout";
    } else if (to == "stderr" || to == "fd@2") {
      sink = "stderr";
    } else if (to.starts_with("/")) {
      sink = Cat("unix:", to);
    } else if (to.find('@') == std::string_view::npos) {
      sink = Cat("syslog:", to);
    } else {
      return Note(line);
    }
    model_->AddScalar("access_log", sink, line.origin);
    for (size_t i = 2; i < words.size(); ++i) {
      if (IsOneOf(words[i], {"len", "format", "sample"})) {
        if (words[i] == "sample") Note(line);
        ++i;
        continue;
      }
      // Behind the facility are levels, which connections do not have.
      model_->AddScalar("log_facility", words[i], line.origin);
      break;
    }
  }

  void ReadResolvers(const Directive& line) {
    const Tokens& words = line.words;
    const std::string value = words.size() > 2 ? words[2] : "";
    HaproxyResolvers& resolvers = config_.resolvers[resolvers_name_];
    const auto time = ReadTime(value, absl::Milliseconds(1));
    if (words[0] == "nameserver" && !value.empty()) {
      std::string_view at = value;
      ConsumePrefix(&at, "udp@");
      const auto address = HaproxyAddress(at, false);
      if (!address || address->starts_with("unix:")) return Note(line);
      resolvers.servers.push_back(*address);
    } else if (words[0] == "resolve_retries" && words.size() == 2) {
      resolvers.attempts = words[1];
    } else if (words[0] == "timeout" && time.has_value()) {
      if (words[1] == "retry") {
        resolvers.timeout = PrintDuration(*time);
      } else {
        Note(line);  // how often a name is asked again: that is its time to live here
      }
    } else if (words[0] == "hold" && time.has_value()) {
      // Whatever comes after a good answer, that holds; but an address that is missing goes, here
      // when it is missing twice.
      if (words[1] == "valid") resolvers.valid = PrintDuration(*time);
      if (words[1] == "obsolete") Note(line);
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
    if (name.starts_with("clitcpka-") || name.starts_with("srvtcpka-")) {
      const bool client = name.starts_with("cli");
      std::string& to = (client ? settings->client_keepalive
                                : settings->server_keepalive)[name.substr(name.find('-') + 1)];
      to = value;
      return true;
    }
    if (name == "rate-limit" && value == "sessions" && words.size() == 3) {
      settings->accept_rate = words[2];
      return true;
    }
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
      if (value == "connect" && words.size() == 4 && words[2] == "port") {
        settings->check_port = words[3];
        return true;
      }
      if (value == "send-binary" && words.size() == 3 && settings->check_send.empty()) {
        const auto bytes = EscapedHex(words[2]);
        if (!bytes) return false;
        settings->check_send = *bytes;
        return true;
      }
      if (value == "comment") return true;
      if (value == "send" && words.size() == 3 && settings->check_send.empty()) {
        settings->check_send = words[2];
        return true;
      }
      if (value == "expect" && words.size() == 4 && settings->check_expect.empty()) {
        if (words[2] == "string") {
          settings->check_expect = Cat("~", words[3]);
          return true;
        }
        if (words[2] == "binary") {
          const auto bytes = EscapedHex(words[3]);
          if (!bytes) return false;
          settings->check_expect = Cat("~", *bytes);
          return true;
        }
        if (words[2] == "status" && settings->check == "httpchk") {
          settings->check_expect = Cat("~ ", words[3], " ");
          return true;
        }
      }
      return false;
    }
    // There is one access log, so what one proxy says of it is said of all.
    if (value == "tcplog" && !tcplog_) tcplog_ = line.origin;
    if (value == "dontlognull") log_skip_.emplace("null", line.origin);
    if (value == "dontlog-normal") log_skip_.emplace("normal", line.origin);
    if (IsOneOf(value, {"tcpka", "clitcpka", "srvtcpka"})) return true;
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
  // Of the process.
  std::string user_;
  std::string group_;
  Origin user_at_;
  bool has_log_ = false;
  std::optional<Origin> tcplog_;
  std::map<std::string, Origin, std::greater<>> log_skip_;  // null before normal
  HaproxyConfig config_;
};

}  // namespace

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
