#include "config/convert/haproxy.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "config/convert/haproxy_config.h"
#include "config/convert/haproxy_rules.h"
#include "config/convert/haproxy_servers.h"
#include "config/convert/haproxy_words.h"
#include "config/text.h"
#include "config/value.h"

namespace parkway::config::convert {
namespace {

// Connections whose first bytes may be pending, where HAProxy does not say how many.
constexpr std::string_view kUsualFastOpen = "256";

class Writer {
 public:
  Writer(const HaproxyConfig& config, Model* model) : config_(config), model_(model) {}

  void Write() {
    for (const HaproxyProxy& proxy : config_.proxies) {
      if (proxy.backs() && IsTcp(proxy)) {
        upstreams_.emplace(proxy.name, upstream_names_.Add(proxy.name));
      }
    }
    for (const HaproxyProxy& proxy : config_.proxies) {
      if (!IsTcp(proxy)) {
        model_->Note(proxy.origin,
                     Cat(proxy.kind, " ", proxy.name, ": mode ", proxy.settings.mode));
        continue;
      }
      if (proxy.fronts()) WriteFront(proxy);
      const bool empty = proxy.kind == "listen" && proxy.servers.empty();
      if (proxy.backs() && !empty) WriteBackend(config_, proxy, upstreams_[proxy.name], model_);
    }
  }

 private:
  void Note(const Directive& line) { model_->Note(line.origin, Words(line.words)); }

  std::string UpstreamOf(const std::string& backend, const Origin& origin) {
    const auto found = upstreams_.find(backend);
    if (found != upstreams_.end()) return found->second;
    model_->Note(origin, Cat("backend ", backend, ": it was not carried over"));
    return "";
  }

  void WriteFront(const HaproxyProxy& proxy) {
    std::string upstream;
    const HaproxySettings* back = &proxy.settings;
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
    for (const HaproxyProxy& other : config_.proxies) {
      if (other.backs() && other.name == backend) back = &other.settings;
    }
    AccessRules access;
    if (!ReadRules(proxy, &access, model_)) {
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
      bool multipath = false;
      for (const Directive* bind : binds) {
        for (const std::string_view piece : Split(bind->words[1], ',')) {
          std::string_view at = piece;
          for (const std::string_view family : {"mptcp@", "mptcp4@", "mptcp6@"}) {
            multipath = ConsumePrefix(&at, family) || multipath;
          }
          const auto address = HaproxyAddress(at, true);
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
      if (multipath) listen->Set("mptcp", "on");
      if (!proxy.settings.accept_rate.empty() && proxy.settings.accept_rate != "0") {
        listen->Set("accept_rate", Cat(proxy.settings.accept_rate, "/s"));
      }
      if (const auto keepalive = KeepaliveOf(proxy.settings.client_keepalive)) {
        listen->Set("keepalive", *keepalive);
      }
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
    std::string user, group;
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
        listen->Set("tfo", kUsualFastOpen);
      } else if (option == "interface" && has_value) {
        listen->Set("device", options[++i]);
      } else if (option == "backlog" && has_value) {
        listen->Set("backlog", options[++i]);
      } else if (option == "maxconn" && has_value) {
        listen->Set("max_connections", options[++i]);
      } else if (option == "tcp-ut" && has_value) {
        const auto time = ReadTime(options[++i], absl::Milliseconds(1));
        if (time) listen->Set("tcp_user_timeout", PrintDuration(*time));
        if (!time) model_->Note(origin, Cat("bind option tcp-ut ", options[i]));
      } else if (IsOneOf(option, {"user", "uid"}) && has_value) {
        user = options[++i];
      } else if (IsOneOf(option, {"group", "gid"}) && has_value) {
        group = options[++i];
      } else if (option == "mode" && has_value) {
        listen->Set("mode", options[++i]);
      } else if ((option == "name" || option == "id") && has_value) {
        ++i;
      } else if (option != "v4v6" && option != "defer-accept") {
        std::string what = Cat("bind option ", option);
        if (IsOneOf(option, {"process", "thread", "shards", "nice", "level", "mss", "namespace",
                             "proto", "alpn", "severity-output"}) &&
            has_value) {
          Append(&what, " ", options[++i]);
        }
        model_->Note(origin, what);
      } else if (option == "defer-accept") {
        listen->Set("defer_accept", "1s");
      }
    }
    if (!user.empty()) listen->Set("owner", group.empty() ? user : Cat(user, ":", group));
    if (user.empty() && !group.empty()) model_->Note(origin, Cat("bind option group ", group));
  }

  void WriteTimeouts(const HaproxyProxy& proxy, const HaproxySettings& back, Line* listen) {
    const auto tunnel = TimeoutOf(back, "tunnel");
    const auto client = tunnel ? tunnel : TimeoutOf(proxy.settings, "client");
    const auto server = tunnel ? tunnel : TimeoutOf(back, "server");
    SetIdle(client, server, listen);
    const auto client_fin = TimeoutOf(proxy.settings, "client-fin");
    const auto server_fin = TimeoutOf(back, "server-fin");
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

  const HaproxyConfig& config_;
  Model* const model_;
  std::map<std::string, std::string> upstreams_;  // a backend's name: ours
  Names upstream_names_;
  Names listen_names_;
};

}  // namespace

void ReadHaproxy(const std::string& path, std::string_view bytes, Model* model) {
  const HaproxyConfig config = ReadHaproxyConfig(path, bytes, model);
  Writer(config, model).Write();
}

}  // namespace parkway::config::convert
