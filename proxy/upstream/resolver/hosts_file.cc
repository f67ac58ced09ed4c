#include "proxy/upstream/resolver/hosts_file.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <optional>

#include "proxy/upstream/resolver/dns_answer.h"

namespace parkway {

namespace {

constexpr std::string_view kBlanks = " \t\r\f\v";

std::optional<Address> AddressIn(const std::string& text) {
  std::array<uint8_t, 4> v4;
  if (inet_pton(AF_INET, text.c_str(), v4.data()) == 1) return Address::Ipv4(v4, 0);
  std::array<uint8_t, 16> v6;
  if (inet_pton(AF_INET6, text.c_str(), v6.data()) == 1) return Address::Ipv6(v6, 0);
  return std::nullopt;
}

// The next word of `line`, which it is taken from; empty: there is none.
std::string_view TakeWord(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
  const std::string_view word = line.substr(0, line.find_first_of(kBlanks));
  line.remove_prefix(word.size());
  return word;
}

}  // namespace

HostsFile::HostsFile(std::string_view text) {
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    line = line.substr(0, line.find('#'));
    const std::optional<Address> address = AddressIn(std::string(TakeWord(line)));
    if (!address.has_value()) continue;
    for (std::string_view name = TakeWord(line); !name.empty(); name = TakeWord(line)) {
      std::vector<Address>& known = hosts_[CanonicalDnsName(name)];
      if (std::find(known.begin(), known.end(), *address) == known.end()) {
        known.push_back(*address);
      }
    }
  }
  std::vector<Address>& here = hosts_["localhost"];
  if (here.empty()) {
    std::array<uint8_t, 16> v6 = {};
    v6[15] = 1;
    here = {Address::Ipv4({127, 0, 0, 1}, 0), Address::Ipv6(v6, 0)};
  }
}

std::vector<Address> HostsFile::Find(std::string_view name) const {
  const auto found = hosts_.find(CanonicalDnsName(name));
  return found == hosts_.end() ? std::vector<Address>() : found->second;
}

}  // namespace parkway
