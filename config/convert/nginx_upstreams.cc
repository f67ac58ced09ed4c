#include "config/convert/nginx_upstreams.h"

#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "config/text.h"
#include "config/value.h"

namespace parkway::config::convert {

void NginxUpstreams::Note(const NginxDirective& d) { model_->Note(d.origin, Words(d.words)); }

std::string NginxUpstreams::NameOf(const std::string& target, const NginxSettings& settings,
                                   const Origin& origin) {
  std::string way;
  for (const char* name :
       {"proxy_connect_timeout", "proxy_next_upstream", "proxy_next_upstream_tries",
        "proxy_protocol", "proxy_bind", "resolver", "resolver_timeout"}) {
    const auto found = settings.single.find(name);
    if (found != settings.single.end()) Append(&way, Words(found->second.words), ";");
  }
  const bool named = upstreams_.count(target) != 0;
  std::string& ours = named ? upstreams_[target].ways[way] : literals_[target][way];
  if (!ours.empty()) return ours;
  ours = names_.Add(target);
  const NginxDirective* block = named ? &upstreams_[target].directive : nullptr;
  Line* line = model_->Add("upstream", block != nullptr ? block->origin : origin);
  line->Set("name", ours);
  if (block == nullptr) line->Set("servers", target);
  if (block != nullptr) line->Set("balance", "round_robin");
  std::string connect = ValueOf(settings, "proxy_connect_timeout");
  const auto time = ReadTime(connect.empty() ? "60s" : connect, absl::Seconds(1));
  if (time) {
    line->Set("connect_timeout", PrintDuration(*time));
  } else {
    Note(settings.single.at("proxy_connect_timeout"));
  }
  const std::string tries = ValueOf(settings, "proxy_next_upstream_tries");
  if (ValueOf(settings, "proxy_next_upstream") == "off") {
    line->Set("connect_attempts", "1");
  } else if (!tries.empty() && tries != "0") {
    line->Set("connect_attempts", tries);
  }
  if (ValueOf(settings, "proxy_protocol") == "on") line->Set("send_proxy", "v1");
  const auto bind = settings.single.find("proxy_bind");
  if (bind != settings.single.end() && bind->second.words[1] != "off") {
    if (bind->second.words.size() > 2 || bind->second.words[1].starts_with("$")) {
      Note(bind->second);
    } else {
      line->Set("source", bind->second.words[1]);
    }
  }
  const auto resolver = settings.single.find("resolver");
  if (resolver != settings.single.end()) {
    std::vector<std::string> servers;
    for (size_t i = 1; i < resolver->second.words.size(); ++i) {
      const std::string& word = resolver->second.words[i];
      std::string_view value = word;
      if (word.find('=') == std::string::npos) {
        servers.push_back(word);
      } else if (ConsumePrefix(&value, "valid=") && ReadTime(value, absl::Seconds(1))) {
        // Whatever the answer says.
        const std::string valid = PrintDuration(*ReadTime(value, absl::Seconds(1)));
        line->Set("dns_min_ttl", valid);
        line->Set("dns_max_ttl", valid);
      } else if (word == "ipv6=off") {
        line->Set("dns_family", "v4");
      } else if (word == "ipv4=off") {
        line->Set("dns_family", "v6");
      } else if (word != "ipv4=on" && word != "ipv6=on") {
        model_->Note(resolver->second.origin, Cat("resolver ", word));
      }
    }
    line->SetList("dns_servers", servers);
    const auto wait = ReadTime(ValueOf(settings, "resolver_timeout"), absl::Seconds(1));
    if (wait) line->Set("dns_timeout", PrintDuration(*wait));
  }
  if (block != nullptr) WriteUpstream(*block, ours, line);
  return ours;
}

void NginxUpstreams::WriteUpstream(const NginxDirective& block, const std::string& ours,
                                   Line* line) {
  for (const NginxDirective& d : block.inside) {
    const std::vector<std::string>& words = d.words;
    const std::string value = words.size() > 1 ? words[1] : "";
    if (words[0] == "server" && words.size() > 1) {
      WriteServer(d, ours);
    } else if (words[0] == "least_conn") {
      line->Set("balance", "least_conn");
    } else if (words[0] == "least_time" && value == "connect") {
      line->Set("balance", "least_time");
    } else if (words[0] == "hash" && IsOneOf(value, {"$remote_addr", "$binary_remote_addr"})) {
      line->Set("balance", "source_hash");
    } else if (words[0] == "random" && words.size() == 1) {
      line->Set("balance", "random");
    } else if (words[0] == "random" && value == "two" &&
               (words.size() == 2 || words[2] == "least_conn")) {
      line->Set("balance", "p2c");
    } else if (words[0] != "zone") {
      Note(d);
    }
  }
}

void NginxUpstreams::WriteServer(const NginxDirective& d, const std::string& ours) {
  Line* line = model_->Add("server", d.origin);
  line->Set("upstream", ours);
  std::string address = d.words[1];
  for (std::string_view word : d.words) {
    if (!ConsumePrefix(&word, "service=")) continue;
    // "http" is _http._tcp; "_http._tcp" is as it is.
    address = Cat("srv:", word.starts_with("_") ? "" : "_", word,
                  word.starts_with("_") ? "." : "._tcp.", d.words[1]);
  }
  line->Set("addr", address);
  for (size_t i = 2; i < d.words.size(); ++i) {
    std::string_view value = d.words[i];
    if (ConsumePrefix(&value, "weight=")) {
      line->Set("weight", value);
    } else if (ConsumePrefix(&value, "max_conns=")) {
      line->Set("max_conns", value == "0" ? "off" : value);
    } else if (ConsumePrefix(&value, "max_fails=")) {
      line->Set("passive_fails", value == "0" ? "off" : value);
    } else if (value.starts_with("fail_timeout=") || value.starts_with("slow_start=")) {
      const bool fails = value.starts_with("fail");
      const auto time = ReadTime(value.substr(value.find('=') + 1), absl::Seconds(1));
      if (time) {
        line->Set(fails ? "ejection_time" : "slow_start", PrintDuration(*time));
      } else {
        model_->Note(d.origin, Words(d.words));
      }
    } else if (value == "backup") {
      line->Set("backup", "on");
    } else if (value == "down") {
      line->Set("state", "down");
    } else if (value != "resolve" && !value.starts_with("service=")) {
      model_->Note(d.origin, Cat("server parameter ", value));
    }
  }
}

void NginxUpstreams::NoteUnused() const {
  for (const auto& [name, upstream] : upstreams_) {
    if (upstream.ways.empty()) {
      model_->Note(upstream.directive.origin, Cat("upstream ", name, ": no server here uses it"));
    }
  }
}

}  // namespace parkway::config::convert
