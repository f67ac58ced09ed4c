// DnsAnswer: what one DNS message says about the name that was asked for.
//
// Of a message counts what belongs to the question: its aliases (CNAME) are followed from name to
// name, in whatever order they stand, and records of any other name are left out. The times to
// live of records and aliases are taken from the raw message, those of SRV too.
//
// Pure: any thread.
#ifndef PROXY_UPSTREAM_RESOLVER_DNS_ANSWER_H_
#define PROXY_UPSTREAM_RESOLVER_DNS_ANSWER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "poller/address.h"

namespace parkway {

enum class DnsType : uint8_t { kA, kAaaa, kSrv };

constexpr const char* DnsTypeName(DnsType type) {
  switch (type) {
    case DnsType::kA:
      break;
    case DnsType::kAaaa:
      return "AAAA";
    case DnsType::kSrv:
      return "SRV";
  }
  return "A";
}

// A server of a service (RFC 2782).
struct SrvTarget {
  std::string host;  // lower case, without a dot at its end
  uint16_t port = 0;
  uint16_t priority = 0;
  uint16_t weight = 0;

  bool operator==(const SrvTarget&) const = default;
};

struct DnsAnswer {
  std::vector<Address> addresses;  // kA, kAaaa; their port is 0
  // kSrv. A service that says of itself that it is not there (a target of ".") has none.
  std::vector<SrvTarget> targets;
  absl::Duration ttl;  // the least of all records that led here
};

// Nothing if the bytes are no answer to a question.
std::optional<DnsAnswer> ParseDnsAnswer(const uint8_t* bytes, size_t size, DnsType type);

// Names are equal whatever their case, and with or without the dot at the end.
std::string CanonicalDnsName(std::string_view name);

}  // namespace parkway

#endif  // PROXY_UPSTREAM_RESOLVER_DNS_ANSWER_H_
