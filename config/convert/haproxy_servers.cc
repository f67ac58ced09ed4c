#include "config/convert/haproxy_servers.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string_view>
#include <vector>

#include "config/convert/haproxy_words.h"
#include "config/text.h"
#include "config/value.h"

namespace parkway::config::convert {
namespace {

class Writer {
 public:
  Writer(const HaproxyConfig& config, Model* model) : config_(config), model_(model) {}

  void Write(const HaproxyProxy& proxy, const std::string& name) {
    const HaproxySettings& settings = proxy.settings;
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
    if (const auto time = TimeoutOf(settings, "connect")) {
      line->Set("connect_timeout", PrintDuration(*time));
    }
    unsigned retries = 3;
    if (settings.retries.empty() || ParseNumber(settings.retries, &retries)) {
      line->Set("connect_attempts", Cat(uint64_t{retries} + 1));
    }
    const auto queue = TimeoutOf(settings, "queue") ? TimeoutOf(settings, "queue")
                                                    : TimeoutOf(settings, "connect");
    if (queue) line->Set("queue_timeout", PrintDuration(*queue));
    if (!settings.source.empty()) line->Set("source", SourceOf(settings.source));
    if (const auto keepalive = KeepaliveOf(settings.server_keepalive)) {
      line->Set("keepalive", *keepalive);
    }
    std::set<std::string> noted;
    for (const Directive& server : proxy.servers) WriteServer(proxy, name, server, &noted);
  }

 private:
  void Note(const Directive& line) { model_->Note(line.origin, Words(line.words)); }

  // HAProxy may say a port of 0.
  static std::string SourceOf(std::string_view text) {
    if (text.ends_with(":0")) text.remove_suffix(2);
    if (text.ends_with(":") && text.find(':') == text.size() - 1) text.remove_suffix(1);
    return std::string(text);
  }

  // "0.0.0.0:+1" and the like are for servers; this is for how a check reaches one.
  void WriteServer(const HaproxyProxy& proxy, const std::string& upstream,
                   const Directive& directive, std::set<std::string>* noted) {
    const Tokens& words = directive.words;
    const bool is_template = words[0] == "server-template";
    if (is_template && words.size() < 4) return Note(directive);
    const std::string& target = words[is_template ? 3 : 2];
    const auto address = HaproxyAddress(target, false);
    if (!address) return Note(directive);
    Tokens options = proxy.settings.default_server;
    options.insert(options.end(), words.begin() + (is_template ? 4 : 3), words.end());
    if (std::find(options.begin(), options.end(), "ssl") != options.end()) {
      return model_->Note(directive.origin, Cat(Words(words), ": it begins TLS"));
    }
    Line* line = model_->Add("server", directive.origin);
    line->Set("upstream", upstream);
    line->Set("name", server_names_.Add(words[1]));
    line->Set("addr", *address);
    // A server line of HAProxy is one server whatever its name has; of a template, each is one.
    const auto read = ParseAddress(*address, AddressUse::kConnects);
    const bool named = read.ok() && read->is_name();
    if (named && !is_template) line->Set("resolve", "one");
    bool checked = false;
    bool observes = false;
    std::string passive;
    for (const std::string& option : options) {
      if (option == "check") checked = true;
      if (option == "no-check") checked = false;
    }
    if (checked) {
      const HaproxySettings& settings = proxy.settings;
      const bool speaks = !settings.check_send.empty() || !settings.check_expect.empty();
      line->Set("health", speaks ? "send_expect" : "tcp");
      if (!settings.check_send.empty()) line->Set("health_send", settings.check_send);
      if (!settings.check_expect.empty()) {
        line->Set("health_expect", settings.check_expect);
      } else if (settings.check == "httpchk") {
        line->Set("health_expect", "~ 200 ");
      }
      if (!settings.check_port.empty()) line->Set("health_port", settings.check_port);
      line->Set("health_interval", "2s");
      if (const auto time = TimeoutOf(settings, "check")) {
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
        if (i + 2 < options.size() && options[i + 1] == "interface") {
          line->Set("device", options[i + 2]);
          i += 2;
        }
        if (i + 1 < options.size() && options[i + 1] == "usesrc") {
          note(Cat("usesrc ", i + 2 < options.size() ? options[i + 2] : ""));
          i += 2;
        }
      } else if (option == "resolvers") {
        if (named) SetResolvers(value, line);
        ++i;
      } else if (option == "init-addr") {
        if (named) SetInitial(value, line, note);
        ++i;
      } else if (option == "tcp-ut") {
        const auto time = ReadTime(value, absl::Milliseconds(1));
        if (time) line->Set("tcp_user_timeout", PrintDuration(*time));
        if (!time) note(Cat(option, " ", value));
        ++i;
      } else if (option == "tfo") {
        line->Set("tfo", "1");
      } else if (option == "interface") {
        line->Set("device", value);
        ++i;
      } else if (option == "observe" && value == "layer4") {
        passive = passive.empty() ? "10" : passive;
        observes = true;
        ++i;
      } else if (option == "error-limit") {
        passive = value;
        ++i;
      } else if (option == "on-error" && value == "mark-down") {
        ++i;
      } else if (option == "proxy-v2-options" && !SetTlvs(value, line)) {
        note(Cat(option, " ", value));
        ++i;
      } else if (option == "proxy-v2-options") {
        ++i;
      } else if (option == "resolve-prefer") {
        // Ours too begins with IPv6, and goes on with the other family where there is no answer.
        if (value != "ipv6") note(Cat(option, " ", value));
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
    if (observes) line->Set("passive_fails", passive);
  }

  void SetResolvers(const std::string& name, Line* line) const {
    const auto found = config_.resolvers.find(name);
    if (found == config_.resolvers.end()) return;
    const HaproxyResolvers& resolvers = found->second;
    line->SetList("dns_servers", resolvers.servers);
    if (!resolvers.timeout.empty()) line->Set("dns_timeout", resolvers.timeout);
    if (!resolvers.attempts.empty()) line->Set("dns_attempts", resolvers.attempts);
    if (!resolvers.valid.empty()) line->Set("dns_max_ttl", resolvers.valid);
  }

  // "last,libc,none": what is tried for its first address.
  template <typename Noter>
  void SetInitial(const std::string& value, Line* line, const Noter& note) const {
    for (const std::string_view way : Split(value, ',')) {
      if (way == "none") {
        line->Set("dns_init", "lazy");
        return;
      }
      if (!IsOneOf(way, {"last", "libc"})) {
        note(Cat("init-addr ", value));
        return;
      }
    }
    line->Set("dns_init", "fail");
  }

  // False if one of them has no word here.
  static bool SetTlvs(const std::string& value, Line* line) {
    std::vector<std::string> tlvs;
    for (const std::string_view option : Split(value, ',')) {
      if (option == "crc32c" || option == "authority") {
        tlvs.emplace_back(option);
      } else if (option == "unique-id") {
        tlvs.emplace_back("unique_id");
      } else {
        return false;
      }
    }
    line->SetList("proxy_tlv", tlvs);
    return true;
  }

  const HaproxyConfig& config_;
  Model* const model_;
  Names server_names_;
};

}  // namespace

void WriteBackend(const HaproxyConfig& config, const HaproxyProxy& proxy, const std::string& name,
                  Model* model) {
  Writer(config, model).Write(proxy, name);
}

}  // namespace parkway::config::convert
