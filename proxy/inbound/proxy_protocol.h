// The PROXY protocol (haproxy.org, proxy-protocol.txt): the line or the record in which a proxy
// tells the next one who its client is. Version 1 is a line of text, version 2 is binary and may
// carry TLVs.
//
//   const ProxyParsed got = ParseProxyHeader(bytes);
//   if (got.result == ProxyParsed::Result::kDone) bytes.remove_prefix(got.size);
//
// Strict: what the specification calls invalid is kBad. A header is at most kMostProxyHeaderBytes;
// a longer one is kBad as soon as its length is known.
//
// Pure functions: any thread.
//
// Invariants
//   1. The result for a header does not depend on how many bytes follow it, and every proper
//      prefix of a header is kNeedMore.
//   2. What WriteProxyHeader writes, ParseProxyHeader reads as the same addresses and TLVs.
#ifndef PROXY_INBOUND_PROXY_PROTOCOL_H_
#define PROXY_INBOUND_PROXY_PROTOCOL_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "poller/address.h"
#include "proxy/core/proxy_out.h"

namespace parkway {

inline constexpr size_t kMostProxyHeaderBytes = 8 * 1024;

struct ProxyParsed {
  enum class Result : uint8_t {
    kNeedMore,   // the beginning of a header
    kDone,       // `size` bytes are a header
    kNotHeader,  // no header begins like this
    kBad,        // begins as one and is none
  };

  Result result = Result::kNeedMore;
  size_t size = 0;
  // False for LOCAL, UNKNOWN, UNSPEC and what is not TCP: the connection's own addresses count.
  bool has_addresses = false;
  Address source = {};
  Address destination = {};
  std::string_view tlvs = {};  // as they came, inside the bytes that were parsed
};

ProxyParsed ParseProxyHeader(std::string_view bytes);

// Types of TLVs.
inline constexpr uint8_t kTlvAlpn = 0x01;
inline constexpr uint8_t kTlvAuthority = 0x02;
inline constexpr uint8_t kTlvCrc32c = 0x03;
inline constexpr uint8_t kTlvNoop = 0x04;
inline constexpr uint8_t kTlvUniqueId = 0x05;

struct ProxyHeader {
  Address source = {};  // without IP addresses: UNKNOWN or UNSPEC
  Address destination = {};
  std::string_view tlvs_in = {};    // well-formed, as ParseProxyHeader returns them
  std::string_view unique_id = {};  // at most 128 bytes
  std::string_view authority = {};
};

// Appends the header. TLVs that would make it longer than kMostProxyHeaderBytes are left out.
void WriteProxyHeader(ProxyVersion version, const ProxyHeader& header, const ProxyTlvs& tlvs,
                      std::string& out);
// The header of a connection that a proxy makes for itself, as a health check does.
void WriteLocalProxyHeader(ProxyVersion version, std::string& out);

// The value of the first TLV of `type`; false if there is none. REQUIRES: well-formed.
bool FindTlv(std::string_view tlvs, uint8_t type, std::string_view* value);

uint32_t Crc32c(std::string_view bytes, uint32_t crc = 0);

}  // namespace parkway

#endif  // PROXY_INBOUND_PROXY_PROTOCOL_H_
