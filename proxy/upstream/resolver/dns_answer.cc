#include "proxy/upstream/resolver/dns_answer.h"

#include <arpa/nameser.h>
#include <resolv.h>

#include <algorithm>
#include <array>
#include <map>

namespace parkway {

namespace {

// A longer chain of aliases is a mistake of somebody, as is a ring.
constexpr int kMostAliases = 16;
constexpr size_t kSrvHeaderBytes = 6;

struct Alias {
  std::string target;
  uint32_t ttl;
};

int WireType(DnsType type) {
  switch (type) {
    case DnsType::kA:
      break;
    case DnsType::kAaaa:
      return ns_t_aaaa;
    case DnsType::kSrv:
      return ns_t_srv;
  }
  return ns_t_a;
}

std::optional<std::string> NameAt(const ns_msg& message, const uint8_t* at) {
  std::array<char, NS_MAXDNAME> text;
  if (ns_name_uncompress(ns_msg_base(message), ns_msg_end(message), at, text.data(), text.size()) <
      0) {
    return std::nullopt;
  }
  return CanonicalDnsName(text.data());
}

// False: the record is malformed.
bool AddRecord(const ns_msg& message, const ns_rr& record, DnsType type, DnsAnswer& answer) {
  const uint8_t* data = ns_rr_rdata(record);
  const size_t size = ns_rr_rdlen(record);
  switch (type) {
    case DnsType::kA: {
      std::array<uint8_t, 4> ip;
      if (size != ip.size()) return false;
      std::copy_n(data, ip.size(), ip.begin());
      answer.addresses.push_back(Address::Ipv4(ip, 0));
      return true;
    }
    case DnsType::kAaaa: {
      std::array<uint8_t, 16> ip;
      if (size != ip.size()) return false;
      std::copy_n(data, ip.size(), ip.begin());
      answer.addresses.push_back(Address::Ipv6(ip, 0));
      return true;
    }
    case DnsType::kSrv: {
      if (size <= kSrvHeaderBytes) return false;
      std::optional<std::string> host = NameAt(message, data + kSrvHeaderBytes);
      if (!host.has_value()) return false;
      if (host->empty()) return true;
      answer.targets.push_back({.host = *std::move(host),
                                .port = static_cast<uint16_t>(ns_get16(data + 4)),
                                .priority = static_cast<uint16_t>(ns_get16(data)),
                                .weight = static_cast<uint16_t>(ns_get16(data + 2))});
      return true;
    }
  }
  return false;
}

}  // namespace

std::string CanonicalDnsName(std::string_view name) {
  if (!name.empty() && name.back() == '.') name.remove_suffix(1);
  std::string canonical(name);
  for (char& c : canonical) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return canonical;
}

std::optional<DnsAnswer> ParseDnsAnswer(const uint8_t* bytes, size_t size, DnsType type) {
  ns_msg message;
  if (ns_initparse(bytes, static_cast<int>(size), &message) != 0) return std::nullopt;
  ns_rr record;
  if (ns_msg_count(message, ns_s_qd) != 1 || ns_parserr(&message, ns_s_qd, 0, &record) != 0) {
    return std::nullopt;
  }
  std::string name = CanonicalDnsName(ns_rr_name(record));

  const int count = ns_msg_count(message, ns_s_an);
  std::map<std::string, Alias> aliases;
  for (int i = 0; i < count; ++i) {
    if (ns_parserr(&message, ns_s_an, i, &record) != 0) return std::nullopt;
    if (ns_rr_type(record) != ns_t_cname || ns_rr_class(record) != ns_c_in) continue;
    std::optional<std::string> target = NameAt(message, ns_rr_rdata(record));
    if (!target.has_value()) return std::nullopt;
    aliases.emplace(CanonicalDnsName(ns_rr_name(record)),
                    Alias{*std::move(target), ns_rr_ttl(record)});
  }
  uint32_t ttl = UINT32_MAX;
  for (int followed = 0;; ++followed) {
    const auto alias = aliases.find(name);
    if (alias == aliases.end()) break;
    if (followed == kMostAliases) return std::nullopt;
    ttl = std::min(ttl, alias->second.ttl);
    name = alias->second.target;
  }

  DnsAnswer answer;
  for (int i = 0; i < count; ++i) {
    if (ns_parserr(&message, ns_s_an, i, &record) != 0) return std::nullopt;
    if (ns_rr_type(record) != WireType(type) || ns_rr_class(record) != ns_c_in) continue;
    if (CanonicalDnsName(ns_rr_name(record)) != name) continue;
    if (!AddRecord(message, record, type, answer)) return std::nullopt;
    ttl = std::min(ttl, ns_rr_ttl(record));
  }
  // The highest bit of a time to live means nothing (RFC 2181); no record, no time.
  answer.ttl = ttl > INT32_MAX ? absl::ZeroDuration() : absl::Seconds(ttl);
  return answer;
}

}  // namespace parkway
