// The words of haproxy.cfg, and what addresses, bytes and criteria are in our form.
//
// Pure functions: any thread.
#ifndef CONFIG_CONVERT_HAPROXY_WORDS_H_
#define CONFIG_CONVERT_HAPROXY_WORDS_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace parkway::config::convert {

using Tokens = std::vector<std::string>;

// Words of a line, without quotes and comments. Escapes of \r, \n and \x are kept, for what is
// sent to a server. Nothing if a quote is not closed.
std::optional<Tokens> HaproxyWords(std::string_view text);

// The address of a bind or a server in our form. `bind`: without a host it is any of IPv4.
std::optional<std::string> HaproxyAddress(std::string_view text, bool bind);

// "2b504f4e47" as what health_send wants; nothing if it is no hexadecimal text.
std::optional<std::string> EscapedHex(std::string_view text);

// A condition's criterion: a named acl, or one in braces.
struct Acl {
  enum class Kind { kSource, kSni, kAlpn, kHello, kTrue, kOther };
  Kind kind = Kind::kOther;
  std::vector<std::string> values;
};

// The criterion in words[at..]: "src 10.0.0.0/8", "req.ssl_sni -m end .example.org".
Acl AclOf(const Tokens& words, size_t at);

}  // namespace parkway::config::convert

#endif  // CONFIG_CONVERT_HAPROXY_WORDS_H_
