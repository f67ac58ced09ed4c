#include "config/convert/haproxy_words.h"

#include <utility>

#include "config/convert/model.h"
#include "config/text.h"

namespace parkway::config::convert {

std::optional<Tokens> HaproxyWords(std::string_view text) {
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
  if (!bind && host.starts_with("_")) return Cat("srv:", host);
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

std::optional<std::string> EscapedHex(std::string_view text) {
  if (text.empty() || text.size() % 2 != 0) return std::nullopt;
  std::string escaped;
  for (size_t i = 0; i < text.size(); i += 2) {
    const std::string_view digits = text.substr(i, 2);
    if (digits.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos) {
      return std::nullopt;
    }
    Append(&escaped, "\\x", digits);
  }
  return escaped;
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

}  // namespace parkway::config::convert
