#include "config/convert/nginx.h"

#include <algorithm>
#include <initializer_list>
#include <map>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "config/text.h"
#include "config/value.h"

namespace parkway::config::convert {
namespace {

using Tokens = std::vector<std::string>;

// Files within files, and blocks within blocks: a mistake beyond it.
constexpr int kMostDepth = 20;
constexpr size_t kMostFiles = 1000;

bool IsOneOf(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

struct Directive {
  Origin origin;
  Tokens words;
  bool is_block = false;
  std::vector<Directive> inside;
};
using Block = std::vector<Directive>;

class Parser {
 public:
  Parser(const std::string& path, FileReader& files, Model* model) : files_(files), model_(model) {
    const size_t slash = path.rfind('/');
    if (slash != std::string::npos) folder_ = path.substr(0, slash + 1);
  }

  Block Parse(const std::string& path, std::string_view bytes, int depth) {
    Text text = {path, bytes};
    Block block;
    ParseBlock(&text, &block, depth);
    while (text.at < bytes.size()) {
      model_->Note({path, text.line}, "} without {");
      ParseBlock(&text, &block, depth);
    }
    return block;
  }

 private:
  struct Text {
    std::string path;
    std::string_view bytes;
    size_t at = 0;
    int line = 1;
  };

  // A word, or one of ; { } alone; nothing at the end.
  static std::optional<std::string> Next(Text* text, bool* quoted) {
    const std::string_view bytes = text->bytes;
    *quoted = false;
    for (; text->at < bytes.size(); ++text->at) {
      const char c = bytes[text->at];
      if (c == '\n') ++text->line;
      if (c == '#') {
        text->at = std::min(bytes.find('\n', text->at), bytes.size()) - 1;
      } else if (!IsBlank(c) && c != '\n' && c != '\r') {
        break;
      }
    }
    if (text->at >= bytes.size()) return std::nullopt;
    const char first = bytes[text->at];
    std::string word;
    if (first == ';' || first == '{' || first == '}') {
      ++text->at;
      return std::string(1, first);
    }
    const char quote = first == '"' || first == '\'' ? first : 0;
    if (quote != 0) ++text->at;
    *quoted = quote != 0;
    for (; text->at < bytes.size(); ++text->at) {
      const char c = bytes[text->at];
      if (quote != 0 ? c == quote : IsBlank(c) || c == '\n' || c == '\r' || c == ';' || c == '{') {
        break;
      }
      if (c == '\n') ++text->line;
      if (c == '\\' && text->at + 1 < bytes.size()) {
        const char next = bytes[++text->at];
        if (next == '\n') ++text->line;
        if (next != '"' && next != '\'' && next != '\\' && next != ' ' && next != ';') word += '\\';
        word += next;
      } else {
        word += c;
      }
    }
    if (quote != 0 && text->at < bytes.size()) ++text->at;
    return word;
  }

  // Up to the } that ends it, or the end.
  void ParseBlock(Text* text, Block* block, int depth) {
    Directive directive;
    bool quoted = false;
    while (const std::optional<std::string> word = Next(text, &quoted)) {
      if (directive.words.empty()) directive.origin = {text->path, text->line};
      const bool ends = !quoted && (*word == ";" || *word == "{" || *word == "}");
      if (!ends) {
        directive.words.push_back(*word);
        continue;
      }
      if (*word == "{") {
        directive.is_block = true;
        if (depth >= kMostDepth) {
          model_->Note(directive.origin, "blocks too deep");
          text->at = text->bytes.size();
          return;
        }
        ParseBlock(text, &directive.inside, depth + 1);
      }
      if (!directive.words.empty()) Add(std::move(directive), block, depth);
      directive = Directive();
      if (*word == "}") return;
    }
    if (!directive.words.empty()) model_->Note(directive.origin, Words(directive.words));
  }

  void Add(Directive directive, Block* block, int depth) {
    if (directive.words[0] != "include" || directive.words.size() != 2 || directive.is_block) {
      block->push_back(std::move(directive));
      return;
    }
    std::string path = directive.words[1];
    if (!path.starts_with("/")) path = folder_ + path;
    std::vector<std::string> paths = {path};
    if (path.find_first_of("*?[") != std::string::npos) {
      const auto found = files_.Match(path);
      paths = found.ok() ? *found : std::vector<std::string>();
      if (!found.ok()) model_->Note(directive.origin, Words(directive.words));
    }
    for (const std::string& name : paths) {
      const auto file = files_.Read(name);
      if (!file.ok() || depth >= kMostDepth || ++read_ > kMostFiles) {
        model_->Note(directive.origin, Cat("include ", name, ": ",
                                           file.ok() ? "too many files" : Message(file.status())));
        continue;
      }
      for (Directive& one : Parse(name, file->bytes, depth + 1)) block->push_back(std::move(one));
    }
  }

  FileReader& files_;
  Model* const model_;
  std::string folder_;
  size_t read_ = 0;
};

// What a server block has, or has from the stream block.
struct Settings {
  std::map<std::string, Directive> single;
  std::vector<Directive> access;
  std::vector<Directive> limits;
  std::vector<Directive> trusted;
};

class Writer {
 public:
  explicit Writer(Model* model) : model_(model) {}

  void Write(const Block& main) {
    bool is_part = true;
    for (const Directive& d : main) {
      if (d.words[0] == "stream" || d.words[0] == "events" || d.words[0] == "http") is_part = false;
    }
    if (is_part) return WriteStream(main);
    for (const Directive& d : main) {
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
      } else if (!IsOneOf(name, {"events", "pid", "daemon", "master_process", "load_module",
                                 "worker_rlimit_nofile", "pcre_jit"})) {
        Note(d);
      }
    }
  }

 private:
  struct Upstream {
    Directive directive;
    // How servers reach it: one line of ours for each way.
    std::map<std::string, std::string> ways;
  };
  struct Map {
    std::string source;
    const Directive* directive;
  };

  void Note(const Directive& d) {
    model_->Note(d.origin, Cat(Words(d.words), d.is_block ? " {...}" : ""));
  }

  // False if it is none that a stream or server block sets.
  bool ReadSetting(const Directive& d, Settings* settings) {
    const std::string& name = d.words[0];
    if (d.is_block || d.words.size() < 2) return false;
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
                            "limit_conn_log_level"});
    }
    return true;
  }

  void WriteStream(const Block& stream) {
    Settings outer;
    std::vector<const Directive*> servers;
    for (const Directive& d : stream) {
      const std::string& name = d.words[0];
      if (name == "server" && d.is_block) {
        servers.push_back(&d);
      } else if (name == "upstream" && d.is_block && d.words.size() == 2) {
        upstreams_[d.words[1]].directive = d;
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
    for (const Directive* server : servers) WriteServer(*server, outer);
    for (const auto& [name, upstream] : upstreams_) {
      if (upstream.ways.empty()) {
        model_->Note(upstream.directive.origin, Cat("upstream ", name, ": no server here uses it"));
      }
    }
  }

  void WriteServer(const Directive& block, const Settings& outer) {
    Settings settings;
    std::vector<const Directive*> listens;
    const Directive* pass = nullptr;
    for (const Directive& d : block.inside) {
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
    if (Value(settings, "proxy_ssl") == "on") return refuse("it begins TLS (proxy_ssl)");
    AccessRules access;
    for (const Directive& d : settings.access) {
      if (d.words[1] == "unix:") continue;
      if (!access.Add(d.words[0] == "allow", d.words[1])) {
        Note(d);
        return refuse("who may come in could not be carried over");
      }
    }
    std::vector<const Directive*> rest;
    for (const Directive* listen : listens) {
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
    std::vector<std::pair<Tokens, std::vector<const Directive*>>> groups;
    for (const Directive* listen : rest) {
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

  static std::string Value(const Settings& settings, const std::string& name) {
    const auto found = settings.single.find(name);
    return found == settings.single.end() ? "" : found->second.words[1];
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

  void WriteListen(const Settings& settings, const AccessRules& access, const Directive& pass,
                   const Tokens& options, const std::vector<const Directive*>& binds) {
    const Origin& origin = binds[0]->origin;
    std::vector<std::string> addresses;
    for (const Directive* bind : binds) {
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
      for (const Directive& d : map->second.directive->inside) {
        if (d.words.size() == 1 && IsOneOf(d.words[0], {"hostnames", "volatile"})) continue;
        std::string name = d.words[0];
        if (d.words.size() != 2 || name.starts_with("~") || name.ends_with(".*") ||
            d.words[1].find('$') != std::string::npos || d.words[1].empty()) {
          Note(d);
          continue;
        }
        const std::string to = UpstreamOf(d.words[1], settings, d.origin);
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
      upstream = UpstreamOf(target, settings, pass.origin);
    }
    Line* listen = model_->Add("listen", origin);
    const std::string name = listen_names_.Add(addresses[0]);
    if (!routes.empty()) listen->Set("name", name);
    listen->SetList("addr", addresses);
    if (!upstream.empty()) listen->Set("upstream", upstream);
    WriteListenOptions(settings, options, origin, listen);
    access.SetOn(listen);
    const auto time = [&](const std::string& from, std::string_view to, std::string standard) {
      const std::string value = Value(settings, from);
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
      const std::string value = Value(settings, from);
      if (value.empty()) continue;
      const auto size = SizeOf(value);
      if (!size) {
        Note(settings.single.at(from));
      } else {
        const bool rate = std::string_view(to).starts_with("rate");
        listen->Set(to, *size == "0B" ? "off" : rate ? Cat(*size, "/s") : *size);
      }
    }
    for (const Directive& d : settings.limits) {
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

  void WriteListenOptions(const Settings& settings, const Tokens& options, const Origin& origin,
                          Line* listen) {
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
        listen->Set("tfo", "on");
      } else if (option == "ipv6only=on") {
        listen->Set("v6only", "on");
      } else if (option == "deferred") {
        listen->Set("defer_accept", "on");
      } else if (option == "proxy_protocol") {
        // Whom it believes is another question, and nginx lets everybody send one.
        listen->Set("accept_proxy", "on");
        std::vector<std::string> trusted = {"0.0.0.0/0", "::/0"};
        if (!settings.trusted.empty()) {
          trusted.clear();
          for (const Directive& d : settings.trusted) trusted.push_back(d.words[1]);
        }
        listen->SetList("proxy_trusted", trusted);
      } else if (option != "reuseport" && option != "bind" && option != "so_keepalive=off") {
        model_->Note(origin, Cat("listen option ", option));
      }
    }
  }

  // Our name of `target` as a server with `settings` reaches it; writes it if it is new.
  std::string UpstreamOf(const std::string& target, const Settings& settings,
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
    ours = upstream_names_.Add(target);
    const Directive* block = named ? &upstreams_[target].directive : nullptr;
    Line* line = model_->Add("upstream", block != nullptr ? block->origin : origin);
    line->Set("name", ours);
    if (block == nullptr) line->Set("servers", target);
    if (block != nullptr) line->Set("balance", "round_robin");
    std::string connect = Value(settings, "proxy_connect_timeout");
    const auto time = ReadTime(connect.empty() ? "60s" : connect, absl::Seconds(1));
    if (time) {
      line->Set("connect_timeout", PrintDuration(*time));
    } else {
      Note(settings.single.at("proxy_connect_timeout"));
    }
    const std::string tries = Value(settings, "proxy_next_upstream_tries");
    if (Value(settings, "proxy_next_upstream") == "off") {
      line->Set("connect_attempts", "1");
    } else if (!tries.empty() && tries != "0") {
      line->Set("connect_attempts", tries);
    }
    if (Value(settings, "proxy_protocol") == "on") line->Set("send_proxy", "v1");
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
      Tokens servers;
      for (size_t i = 1; i < resolver->second.words.size(); ++i) {
        const std::string& word = resolver->second.words[i];
        if (word.find('=') == std::string::npos) {
          servers.push_back(word);
        } else {
          model_->Note(resolver->second.origin, Cat("resolver ", word));
        }
      }
      line->SetList("dns_servers", servers);
      const auto wait = ReadTime(Value(settings, "resolver_timeout"), absl::Seconds(1));
      if (wait) line->Set("dns_timeout", PrintDuration(*wait));
    }
    if (block != nullptr) WriteUpstream(*block, ours, line);
    return ours;
  }

  void WriteUpstream(const Directive& block, const std::string& ours, Line* line) {
    for (const Directive& d : block.inside) {
      const Tokens& words = d.words;
      const std::string value = words.size() > 1 ? words[1] : "";
      if (words[0] == "server" && words.size() > 1) {
        WriteUpstreamServer(d, ours);
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

  void WriteUpstreamServer(const Directive& d, const std::string& ours) {
    Line* line = model_->Add("server", d.origin);
    line->Set("upstream", ours);
    line->Set("addr", d.words[1]);
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
      } else if (value != "resolve") {
        model_->Note(d.origin, Cat("server parameter ", value));
      }
    }
  }

  Model* const model_;
  std::map<std::string, Upstream> upstreams_;
  std::map<std::string, std::map<std::string, std::string>> literals_;  // an address: the ways
  std::map<std::string, Map> maps_;
  std::map<std::string, std::string> zones_;
  Names upstream_names_;
  Names listen_names_;
};

}  // namespace

void ReadNginx(const std::string& path, std::string_view bytes, FileReader& files, Model* model) {
  Parser parser(path, files, model);
  Writer(model).Write(parser.Parse(path, bytes, 0));
}

}  // namespace parkway::config::convert
