#include "config/convert/nginx.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "config/convert/nginx_config.h"
#include "config/convert/nginx_upstreams.h"
#include "config/text.h"
#include "config/value.h"

namespace parkway::config::convert {
namespace {

using Tokens = std::vector<std::string>;

class Writer {
 public:
  explicit Writer(Model* model) : model_(model), upstreams_(model) {}

  void Write(const NginxBlock& main) {
    bool is_part = true;
    for (const NginxDirective& d : main) {
      if (d.words[0] == "stream" || d.words[0] == "events" || d.words[0] == "http") is_part = false;
    }
    if (is_part) return WriteStream(main);
    for (const NginxDirective& d : main) {
      const std::string& name = d.words[0];
      const std::string value = d.words.size() > 1 ? d.words[1] : "";
      if (name == "stream") {
        WriteStream(d.inside);
      } else if (name == "worker_processes" && !value.empty()) {
        model_->AddScalar("threads", value, d.origin);
      } else if (name == "worker_shutdown_timeout") {
        const auto time = ReadTime(value, absl::Seconds(1));
        if (!time) {
          Note(d);
          continue;
        }
        model_->AddScalar("drain_timeout", PrintDuration(*time), d.origin);
      } else if (name == "user" && !value.empty()) {
        model_->AddScalar("user", d.words.size() > 2 ? Cat(value, ":", d.words[2]) : value,
                          d.origin);
      } else if (name == "pid" && !value.empty()) {
        model_->AddScalar("pidfile", value, d.origin);
      } else if (name == "events" && d.is_block) {
        // How a worker waits for events is the engine's.
        for (const NginxDirective& event : d.inside) {
          if (event.words[0] == "worker_connections") Note(event);
        }
      } else if (name == "error_log" && value == "stderr") {
        // Where ours is.
      } else if (!IsOneOf(name, {"daemon", "master_process", "load_module", "pcre_jit"})) {
        Note(d);
      }
    }
  }

 private:
  struct Map {
    std::string source;
    const NginxDirective* directive;
  };

  void Note(const NginxDirective& d) {
    model_->Note(d.origin, Cat(Words(d.words), d.is_block ? " {...}" : ""));
  }

  // False if it is none that a stream or server block sets.
  bool ReadSetting(const NginxDirective& d, NginxSettings* settings) {
    const std::string& name = d.words[0];
    if (d.is_block || d.words.size() < 2) return false;
    if (name == "access_log" && ReadLog(d)) return true;
    if (name == "limit_conn_dry_run") {
      settings->single[name] = d;
      return true;
    }
    if (name == "allow" || name == "deny") {
      settings->access.push_back(d);
    } else if (name == "limit_conn") {
      settings->limits.push_back(d);
    } else if (name == "set_real_ip_from") {
      settings->trusted.push_back(d);
    } else if (IsOneOf(name,
                       {"proxy_connect_timeout", "proxy_timeout", "proxy_upload_rate",
                        "proxy_download_rate", "proxy_next_upstream", "proxy_next_upstream_tries",
                        "proxy_protocol", "proxy_bind", "ssl_preread", "preread_timeout",
                        "preread_buffer_size", "proxy_protocol_timeout", "proxy_ssl", "resolver",
                        "resolver_timeout"})) {
      settings->single[name] = d;
    } else {
      // The others change nothing that is seen here, or are what the daemon does anyway.
      return IsOneOf(name, {"proxy_buffer_size", "tcp_nodelay", "variables_hash_max_size",
                            "variables_hash_bucket_size", "map_hash_max_size", "log_format",
                            "map_hash_bucket_size", "proxy_half_close", "open_log_file_cache",
                            "limit_conn_log_level", "proxy_socket_keepalive"});
    }
    return true;
  }

  // There is one access log; its lines are ours. False if it cannot be carried over.
  bool ReadLog(const NginxDirective& d) {
    const std::string& to = d.words[1];
    if (logged_to_.has_value() && *logged_to_ != to) return false;
    if (logged_to_.has_value()) return true;
    std::string sink = to;
    std::string_view rest = to;
    if (ConsumePrefix(&rest, "syslog:server=")) {
      sink = Cat("syslog:", rest.substr(0, rest.find(',')));
      if (rest.starts_with("unix:")) sink = std::string(rest.substr(0, rest.find(',')));
    } else if (to != "off") {
      sink = Cat("file:", to);
    }
    logged_to_ = to;
    model_->AddScalar("access_log", sink, d.origin);
    if (to == "off") return true;
    model_->Note(d.origin, Cat("access_log ", to, ": the lines of it look otherwise"));
    return true;
  }

  void WriteStream(const NginxBlock& stream) {
    NginxSettings outer;
    std::vector<const NginxDirective*> servers;
    for (const NginxDirective& d : stream) {
      const std::string& name = d.words[0];
      if (name == "server" && d.is_block) {
        servers.push_back(&d);
      } else if (name == "upstream" && d.is_block && d.words.size() == 2) {
        upstreams_.Add(d);
      } else if (name == "map" && d.is_block && d.words.size() == 3) {
        maps_[d.words[2]] = {d.words[1], &d};
      } else if (name == "limit_conn_zone" && d.words.size() == 3) {
        std::string_view zone = d.words[2];
        ConsumePrefix(&zone, "zone=");
        zones_[std::string(zone.substr(0, zone.find(':')))] = d.words[1];
      } else if (!ReadSetting(d, &outer)) {
        Note(d);
      }
    }
    for (const NginxDirective* server : servers) WriteServer(*server, outer);
    upstreams_.NoteUnused();
  }

  void WriteServer(const NginxDirective& block, const NginxSettings& outer) {
    NginxSettings settings;
    std::vector<const NginxDirective*> listens;
    const NginxDirective* pass = nullptr;
    for (const NginxDirective& d : block.inside) {
      if (d.words[0] == "listen" && d.words.size() > 1) {
        listens.push_back(&d);
      } else if (d.words[0] == "proxy_pass" && d.words.size() == 2) {
        pass = &d;
      } else if (!ReadSetting(d, &settings)) {
        Note(d);
      }
    }
    settings.single.insert(outer.single.begin(), outer.single.end());
    if (settings.access.empty()) settings.access = outer.access;
    if (settings.limits.empty()) settings.limits = outer.limits;
    if (settings.trusted.empty()) settings.trusted = outer.trusted;
    const auto refuse = [&](std::string_view what) {
      model_->Note(block.origin, Cat("a server: ", what));
    };
    if (pass == nullptr) return refuse("it has no proxy_pass");
    if (ValueOf(settings, "proxy_ssl") == "on") return refuse("it begins TLS (proxy_ssl)");
    AccessRules access;
    for (const NginxDirective& d : settings.access) {
      if (d.words[1] == "unix:") continue;
      if (!access.Add(d.words[0] == "allow", d.words[1])) {
        Note(d);
        return refuse("who may come in could not be carried over");
      }
    }
    std::vector<const NginxDirective*> rest;
    for (const NginxDirective* listen : listens) {
      const Tokens& w = listen->words;
      if (std::find(w.begin(), w.end(), "udp") != w.end()) {
        model_->Note(listen->origin, Cat(Words(w), ": UDP"));
      } else if (std::find(w.begin(), w.end(), "ssl") != w.end()) {
        model_->Note(listen->origin, Cat(Words(w), ": it ends TLS"));
      } else {
        rest.push_back(listen);
      }
    }
    // Listens with the same options are one listener.
    std::vector<std::pair<Tokens, std::vector<const NginxDirective*>>> groups;
    for (const NginxDirective* listen : rest) {
      Tokens options(listen->words.begin() + 2, listen->words.end());
      // nginx listens on IPv6 alone unless it is told otherwise.
      const bool v6 = listen->words[1].starts_with("[");
      const bool dual = std::find(options.begin(), options.end(), "ipv6only=off") != options.end();
      std::erase_if(options, [](const std::string& o) { return o.starts_with("ipv6only="); });
      if (v6 && !dual) options.push_back("ipv6only=on");
      const auto same = std::find_if(groups.begin(), groups.end(),
                                     [&](const auto& group) { return group.first == options; });
      if (same == groups.end()) {
        groups.push_back({options, {listen}});
      } else {
        same->second.push_back(listen);
      }
    }
    for (const auto& [options, binds] : groups)
      WriteListen(settings, access, *pass, options, binds);
  }

  // nginx's size or rate as ours: k, m and g are of 1024.
  static std::optional<std::string> SizeOf(std::string_view text) {
    std::string_view unit = "B";
    if (text.ends_with("k") || text.ends_with("K")) unit = "KiB";
    if (text.ends_with("m") || text.ends_with("M")) unit = "MiB";
    if (text.ends_with("g") || text.ends_with("G")) unit = "GiB";
    if (unit != "B") text.remove_suffix(1);
    uint64_t number = 0;
    if (!ParseNumber(text, &number)) return std::nullopt;
    return Cat(number, unit);
  }

  void WriteListen(const NginxSettings& settings, const AccessRules& access,
                   const NginxDirective& pass, const Tokens& options,
                   const std::vector<const NginxDirective*>& binds) {
    const Origin& origin = binds[0]->origin;
    std::vector<std::string> addresses;
    for (const NginxDirective* bind : binds) {
      std::string address = bind->words[1];
      if (address.starts_with("*:")) address = Cat("0.0.0.0", address.substr(1));
      if (address.find(':') == std::string::npos) address = Cat("0.0.0.0:", address);
      addresses.push_back(address);
    }
    struct Route {
      Origin origin;
      std::string name;
      std::string upstream;
    };
    std::vector<Route> routes;
    std::string upstream;
    std::string_view key = "sni";
    const std::string& target = pass.words[1];
    if (target.starts_with("$")) {
      const auto map = maps_.find(target);
      if (map == maps_.end()) return Note(pass);
      if (map->second.source == "$ssl_preread_alpn_protocols") {
        key = "alpn";
      } else if (map->second.source != "$ssl_preread_server_name" &&
                 map->second.source != "${ssl_preread_server_name}") {
        return Note(*map->second.directive);
      }
      for (const NginxDirective& d : map->second.directive->inside) {
        if (d.words.size() == 1 && IsOneOf(d.words[0], {"hostnames", "volatile"})) continue;
        std::string name = d.words[0];
        if (d.words.size() != 2 || name.starts_with("~") || name.ends_with(".*") ||
            d.words[1].find('$') != std::string::npos || d.words[1].empty()) {
          Note(d);
          continue;
        }
        const std::string to = upstreams_.NameOf(d.words[1], settings, d.origin);
        if (name == "default") {
          upstream = to;
          continue;
        }
        if (name.starts_with("\\")) name.erase(0, 1);
        if (name.empty()) {
          // Those that ask for no name; they have no route, and the default may be another.
          Note(d);
          continue;
        }
        if (name.starts_with(".")) {
          routes.push_back({d.origin, name.substr(1), to});
          name = Cat("*", name);
        }
        routes.push_back({d.origin, name, to});
      }
    } else if (target.find('$') != std::string::npos) {
      return Note(pass);
    } else {
      upstream = upstreams_.NameOf(target, settings, pass.origin);
    }
    Line* listen = model_->Add("listen", origin);
    const std::string name = listen_names_.Add(addresses[0]);
    if (!routes.empty()) listen->Set("name", name);
    listen->SetList("addr", addresses);
    if (!upstream.empty()) listen->Set("upstream", upstream);
    WriteListenOptions(settings, options, origin, listen);
    access.SetOn(listen);
    const auto time = [&](const std::string& from, std::string_view to, std::string standard) {
      const std::string value = ValueOf(settings, from);
      if (!value.empty()) standard = value;
      if (standard.empty()) return;
      const auto read = ReadTime(standard, absl::Seconds(1));
      if (!read) return Note(settings.single.at(from));
      listen->Set(to, PrintDuration(*read));
    };
    time("proxy_timeout", "idle_timeout", "10m");
    time("preread_timeout", "preread_timeout", routes.empty() ? "" : "30s");
    time("proxy_protocol_timeout", "proxy_protocol_timeout", "");
    for (const auto& [from, to] :
         {std::pair("proxy_upload_rate", "rate_up"), std::pair("proxy_download_rate", "rate_down"),
          std::pair("preread_buffer_size", "preread_bytes")}) {
      const std::string value = ValueOf(settings, from);
      if (value.empty()) continue;
      const auto size = SizeOf(value);
      if (!size) {
        Note(settings.single.at(from));
      } else {
        const bool rate = std::string_view(to).starts_with("rate");
        listen->Set(to, *size == "0B" ? "off" : rate ? Cat(*size, "/s") : *size);
      }
    }
    if (ValueOf(settings, "limit_conn_dry_run") == "on") listen->Set("dry_run", "on");
    for (const NginxDirective& d : settings.limits) {
      const auto zone = zones_.find(d.words[1]);
      const std::string by = zone == zones_.end() ? "" : zone->second;
      if (d.words.size() == 3 && IsOneOf(by, {"$binary_remote_addr", "$remote_addr"})) {
        listen->Set("max_connections_per_source", d.words[2]);
      } else if (d.words.size() == 3 && IsOneOf(by, {"$server_addr", "$server_port"})) {
        listen->Set("max_connections", d.words[2]);
      } else {
        Note(d);
      }
    }
    for (const Route& route : routes) {
      Line* line = model_->Add("route", route.origin);
      line->Set("listen", name);
      line->Set(key, route.name);
      line->Set("upstream", route.upstream);
    }
  }

  // "on" and "off", or "30m::10": the kernel's own where nothing is.
  void SetKeepalive(std::string_view value, const Origin& origin, Line* listen) {
    if (value == "on") return;
    if (value == "off") return listen->Set("keepalive", "off");
    std::map<std::string, std::string> said;
    const std::vector<std::string_view> parts = Split(value, ':');
    constexpr const char* kNames[] = {"idle", "intvl", "cnt"};
    for (size_t i = 0; i < parts.size() && i < std::size(kNames); ++i) {
      if (!parts[i].empty()) said[kNames[i]] = parts[i];
    }
    const auto keepalive = KeepaliveOf(said);
    if (keepalive && parts.size() == std::size(kNames)) {
      listen->Set("keepalive", *keepalive);
    } else {
      model_->Note(origin, Cat("listen option so_keepalive=", value));
    }
  }

  void WriteListenOptions(const NginxSettings& settings, const Tokens& options,
                          const Origin& origin, Line* listen) {
    for (const std::string& option : options) {
      std::string_view value = option;
      if (ConsumePrefix(&value, "backlog=")) {
        listen->Set("backlog", value);
      } else if (ConsumePrefix(&value, "rcvbuf=") || ConsumePrefix(&value, "sndbuf=")) {
        const auto size = SizeOf(value);
        if (size) {
          listen->Set(option.substr(0, 6), *size);
        } else {
          model_->Note(origin, Cat("listen option ", option));
        }
      } else if (option.starts_with("fastopen=")) {
        const std::string queue = option.substr(option.find('=') + 1);
        listen->Set("tfo", queue == "0" ? "off" : queue);
      } else if (option == "ipv6only=on") {
        listen->Set("v6only", "on");
      } else if (option == "deferred") {
        listen->Set("defer_accept", "1s");
      } else if (option == "multipath") {
        listen->Set("mptcp", "on");
      } else if (ConsumePrefix(&value, "so_keepalive=")) {
        SetKeepalive(value, origin, listen);
      } else if (option == "proxy_protocol") {
        // Whom it believes is another question, and nginx lets everybody send one.
        listen->Set("accept_proxy", "on");
        std::vector<std::string> trusted = {"0.0.0.0/0", "::/0"};
        if (!settings.trusted.empty()) {
          trusted.clear();
          for (const NginxDirective& d : settings.trusted) trusted.push_back(d.words[1]);
        }
        listen->SetList("proxy_trusted", trusted);
      } else if (option != "reuseport" && option != "bind") {
        model_->Note(origin, Cat("listen option ", option));
      }
    }
  }

  Model* const model_;
  NginxUpstreams upstreams_;
  std::map<std::string, Map> maps_;
  std::map<std::string, std::string> zones_;
  std::optional<std::string> logged_to_;
  Names listen_names_;
};

}  // namespace

void ReadNginx(const std::string& path, std::string_view bytes, FileReader& files, Model* model) {
  Writer(model).Write(ParseNginx(path, bytes, files, model));
}

}  // namespace parkway::config::convert
