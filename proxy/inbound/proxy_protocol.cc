#include "proxy/inbound/proxy_protocol.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace parkway {

namespace {

using Result = ProxyParsed::Result;

constexpr std::string_view kV1Start = "PROXY ";
constexpr std::string_view kV2Start("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr size_t kMostV1Bytes = 107;  // with its CRLF
constexpr size_t kV2FixedBytes = 16;
constexpr size_t kIpv4Bytes = 12;  // two addresses, two ports
constexpr size_t kIpv6Bytes = 36;
constexpr size_t kUnixBytes = 216;
constexpr size_t kMostUniqueIdBytes = 128;

constexpr std::array<uint32_t, 256> MakeCrcTable() {
  std::array<uint32_t, 256> table = {};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
    table[i] = crc;
  }
  return table;
}

constexpr std::array<uint32_t, 256> kCrcTable = MakeCrcTable();

uint8_t ByteAt(std::string_view bytes, size_t at) { return static_cast<uint8_t>(bytes[at]); }

uint16_t Word(std::string_view bytes, size_t at) {
  return static_cast<uint16_t>(ByteAt(bytes, at) << 8 | ByteAt(bytes, at + 1));
}

void PutWord(std::string& out, size_t value) {
  out.push_back(static_cast<char>(value >> 8 & 0xff));
  out.push_back(static_cast<char>(value & 0xff));
}

ProxyParsed Only(Result result) { return {.result = result}; }

bool StartsLike(std::string_view bytes, std::string_view start) {
  const size_t both = std::min(bytes.size(), start.size());
  return bytes.substr(0, both) == start.substr(0, both);
}

// ---------------------------------------------------------------------------------------------
// Version 1

bool ParsePort(std::string_view word, uint16_t* port) {
  if (word.empty() || word.size() > 5 || (word.size() > 1 && word[0] == '0')) return false;
  uint32_t value = 0;
  for (const char c : word) {
    if (c < '0' || c > '9') return false;
    value = value * 10 + static_cast<uint32_t>(c - '0');
  }
  *port = static_cast<uint16_t>(value);
  return value <= 0xffff;
}

bool ParseIp(bool v6, std::string_view word, uint16_t port, Address* address) {
  char text[INET6_ADDRSTRLEN];
  if (word.size() >= sizeof(text)) return false;
  std::copy(word.begin(), word.end(), text);
  text[word.size()] = '\0';
  if (v6) {
    std::array<uint8_t, 16> bytes;
    if (inet_pton(AF_INET6, text, bytes.data()) != 1) return false;
    *address = Address::Ipv6(bytes, port);
  } else {
    std::array<uint8_t, 4> bytes;
    if (inet_pton(AF_INET, text, bytes.data()) != 1) return false;
    *address = Address::Ipv4(bytes, port);
  }
  return true;
}

// Exactly N words with one blank between two.
template <size_t N>
bool SplitWords(std::string_view line, std::array<std::string_view, N>& words) {
  for (size_t i = 0; i < N; ++i) {
    const size_t end = i + 1 < N ? line.find(' ') : line.size();
    if (end == std::string_view::npos) return false;
    words[i] = line.substr(0, end);
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return true;
}

ProxyParsed ParseV1(std::string_view bytes) {
  const std::string_view seen = bytes.substr(0, kMostV1Bytes);
  const size_t end = seen.find('\r');
  if (seen.substr(0, end).find('\n') != std::string_view::npos) return Only(Result::kBad);
  if (end == std::string_view::npos) {
    return Only(bytes.size() >= kMostV1Bytes ? Result::kBad : Result::kNeedMore);
  }
  if (end + 2 > kMostV1Bytes) return Only(Result::kBad);
  if (end + 1 == bytes.size()) return Only(Result::kNeedMore);
  if (bytes[end + 1] != '\n') return Only(Result::kBad);
  const std::string_view line = bytes.substr(kV1Start.size(), end - kV1Start.size());
  ProxyParsed parsed{.result = Result::kDone, .size = end + 2};
  if (line == "UNKNOWN" || line.substr(0, 8) == "UNKNOWN ") return parsed;
  std::array<std::string_view, 5> words;
  if (!SplitWords(line, words)) return Only(Result::kBad);
  if (words[0] != "TCP4" && words[0] != "TCP6") return Only(Result::kBad);
  const bool v6 = words[0] == "TCP6";
  uint16_t ports[2];
  if (!ParsePort(words[3], &ports[0]) || !ParsePort(words[4], &ports[1]) ||
      !ParseIp(v6, words[1], ports[0], &parsed.source) ||
      !ParseIp(v6, words[2], ports[1], &parsed.destination)) {
    return Only(Result::kBad);
  }
  parsed.has_addresses = true;
  return parsed;
}

// ---------------------------------------------------------------------------------------------
// Version 2

// Calls visit(type, place of the value, its size) for each; false if they do not fit.
template <typename Visitor>
bool VisitTlvs(std::string_view tlvs, Visitor visit) {
  for (size_t at = 0; at < tlvs.size();) {
    if (tlvs.size() - at < 3) return false;
    const size_t size = Word(tlvs, at + 1);
    if (tlvs.size() - at - 3 < size) return false;
    visit(ByteAt(tlvs, at), at + 3, size);
    at += 3 + size;
  }
  return true;
}

// `at`: where the four bytes stand in `header`; they count as zero.
bool CrcHolds(std::string_view header, size_t at) {
  const std::string_view zero("\0\0\0\0", 4);
  uint32_t crc = Crc32c(header.substr(0, at));
  crc = Crc32c(zero, crc);
  crc = Crc32c(header.substr(at + 4), crc);
  return crc == (static_cast<uint32_t>(Word(header, at)) << 16 | Word(header, at + 2));
}

bool TlvsHold(std::string_view header, size_t tlvs_at) {
  bool crcs_hold = true;
  const bool whole = VisitTlvs(header.substr(tlvs_at), [&](uint8_t type, size_t at, size_t size) {
    if (type != kTlvCrc32c) return;
    if (size != 4 || !CrcHolds(header, tlvs_at + at)) crcs_hold = false;
  });
  return whole && crcs_hold;
}

Address Ipv4At(std::string_view bytes, size_t address, size_t port) {
  std::array<uint8_t, 4> ip;
  std::memcpy(ip.data(), bytes.data() + address, ip.size());
  return Address::Ipv4(ip, Word(bytes, port));
}

Address Ipv6At(std::string_view bytes, size_t address, size_t port) {
  std::array<uint8_t, 16> ip;
  std::memcpy(ip.data(), bytes.data() + address, ip.size());
  return Address::Ipv6(ip, Word(bytes, port));
}

// How many bytes of addresses a family has.
size_t AddressBytes(uint8_t family) {
  switch (family >> 4) {
    case 1:
      return kIpv4Bytes;
    case 2:
      return kIpv6Bytes;
    case 3:
      return kUnixBytes;
    default:
      return 0;
  }
}

ProxyParsed ParseV2(std::string_view bytes) {
  if (bytes.size() > 12) {
    const uint8_t command = ByteAt(bytes, 12);
    if (command != 0x20 && command != 0x21) return Only(Result::kBad);
  }
  if (bytes.size() > 13) {
    const uint8_t family = ByteAt(bytes, 13);
    if ((family >> 4) > 3 || (family & 0xf) > 2) return Only(Result::kBad);
  }
  if (bytes.size() < kV2FixedBytes) return Only(Result::kNeedMore);
  const size_t size = kV2FixedBytes + Word(bytes, 14);
  const bool local = ByteAt(bytes, 12) == 0x20;
  const uint8_t family = ByteAt(bytes, 13);
  const size_t addresses = AddressBytes(family);
  if (size > kMostProxyHeaderBytes) return Only(Result::kBad);
  if (!local && size < kV2FixedBytes + addresses) return Only(Result::kBad);
  if (bytes.size() < size) return Only(Result::kNeedMore);
  const std::string_view header = bytes.substr(0, size);
  ProxyParsed parsed{.result = Result::kDone, .size = size};
  // The sender speaks for itself: what else it says is to be skipped.
  if (local) return parsed;
  const size_t tlvs_at = kV2FixedBytes + addresses;
  // Behind an unspecified family there is nothing that a receiver could know.
  if (family >> 4 != 0) {
    if (!TlvsHold(header, tlvs_at)) return Only(Result::kBad);
    parsed.tlvs = header.substr(tlvs_at);
  }
  if (family == 0x11) {
    parsed.source = Ipv4At(header, 16, 24);
    parsed.destination = Ipv4At(header, 20, 26);
    parsed.has_addresses = true;
  } else if (family == 0x21) {
    parsed.source = Ipv6At(header, 16, 48);
    parsed.destination = Ipv6At(header, 32, 50);
    parsed.has_addresses = true;
  }
  return parsed;
}

// ---------------------------------------------------------------------------------------------
// Writing

enum class Family : uint8_t { kNone, kIpv4, kIpv6 };

Family FamilyOf(const Address& source, const Address& destination) {
  const auto ip = [](const Address& a) { return a.family() == AF_INET || a.family() == AF_INET6; };
  if (!ip(source) || !ip(destination)) return Family::kNone;
  if (source.family() == AF_INET && destination.family() == AF_INET) return Family::kIpv4;
  return Family::kIpv6;
}

std::string_view Ipv4BytesOf(const Address& address) {
  return {reinterpret_cast<const char*>(
              &reinterpret_cast<const sockaddr_in*>(address.data())->sin_addr),
          4};
}

// An IPv4 address beside an IPv6 one is written as a mapped one.
std::array<uint8_t, 16> Ipv6BytesOf(const Address& address) {
  std::array<uint8_t, 16> bytes = {};
  if (address.family() == AF_INET) {
    bytes[10] = bytes[11] = 0xff;
    std::memcpy(&bytes[12], Ipv4BytesOf(address).data(), 4);
  } else {
    std::memcpy(bytes.data(), &reinterpret_cast<const sockaddr_in6*>(address.data())->sin6_addr,
                bytes.size());
  }
  return bytes;
}

void PutIp(const Address& address, Family family, std::string& out) {
  if (family == Family::kIpv4) {
    out.append(Ipv4BytesOf(address));
  } else {
    const std::array<uint8_t, 16> bytes = Ipv6BytesOf(address);
    out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
}

void PutIpText(const Address& address, Family family, std::string& out) {
  char text[INET6_ADDRSTRLEN];
  if (family == Family::kIpv4) {
    inet_ntop(AF_INET, Ipv4BytesOf(address).data(), text, sizeof(text));
  } else {
    inet_ntop(AF_INET6, Ipv6BytesOf(address).data(), text, sizeof(text));
  }
  out.append(text);
}

void WriteV1(const Address& source, const Address& destination, std::string& out) {
  const Family family = FamilyOf(source, destination);
  if (family == Family::kNone) {
    out.append("PROXY UNKNOWN\r\n");
    return;
  }
  out.append(family == Family::kIpv4 ? "PROXY TCP4 " : "PROXY TCP6 ");
  PutIpText(source, family, out);
  out.push_back(' ');
  PutIpText(destination, family, out);
  out.push_back(' ');
  out.append(std::to_string(source.port())).push_back(' ');
  out.append(std::to_string(destination.port())).append("\r\n");
}

class TlvWriter {
 public:
  TlvWriter(std::string& out, size_t start) : out_(out), start_(start) {}

  void Put(uint8_t type, std::string_view value) {
    // The checksum, which comes last, always fits.
    if (out_.size() - start_ + 3 + value.size() + 7 > kMostProxyHeaderBytes) return;
    out_.push_back(static_cast<char>(type));
    PutWord(out_, value.size());
    out_.append(value);
  }

 private:
  std::string& out_;
  const size_t start_;
};

bool Passes(const ProxyTlvs& tlvs, uint8_t type) {
  if (type == kTlvCrc32c || type == kTlvNoop) return false;
  const bool replaced = std::any_of(tlvs.set.begin(), tlvs.set.end(),
                                    [type](const auto& set) { return set.first == type; });
  if (replaced) return false;
  return tlvs.pass_all || std::find(tlvs.pass.begin(), tlvs.pass.end(), type) != tlvs.pass.end();
}

}  // namespace

uint32_t Crc32c(std::string_view bytes, uint32_t crc) {
  crc = ~crc;
  for (const char c : bytes) crc = kCrcTable[(crc ^ static_cast<uint8_t>(c)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

bool FindTlv(std::string_view tlvs, uint8_t type, std::string_view* value) {
  bool found = false;
  static_cast<void>(VisitTlvs(tlvs, [&](uint8_t seen, size_t at, size_t size) {
    if (seen != type || found) return;
    found = true;
    *value = tlvs.substr(at, size);
  }));
  return found;
}

ProxyParsed ParseProxyHeader(std::string_view bytes) {
  if (bytes.empty()) return Only(Result::kNeedMore);
  if (StartsLike(bytes, kV1Start)) {
    return bytes.size() < kV1Start.size() ? Only(Result::kNeedMore) : ParseV1(bytes);
  }
  if (StartsLike(bytes, kV2Start)) {
    return bytes.size() < kV2Start.size() ? Only(Result::kNeedMore) : ParseV2(bytes);
  }
  return Only(Result::kNotHeader);
}

void WriteProxyHeader(ProxyVersion version, const ProxyHeader& header, const ProxyTlvs& tlvs,
                      std::string& out) {
  if (version == ProxyVersion::kNone) return;
  const Address source = header.source.Unmapped();
  const Address destination = header.destination.Unmapped();
  if (version == ProxyVersion::kV1) return WriteV1(source, destination, out);

  const size_t start = out.size();
  const Family family = FamilyOf(source, destination);
  out.append(kV2Start);
  out.push_back(0x21);
  // TCP over the family; unspecified has no protocol either.
  constexpr std::array<char, 3> kFamilies = {0x00, 0x11, 0x21};
  out.push_back(kFamilies[static_cast<size_t>(family)]);
  PutWord(out, 0);
  if (family != Family::kNone) {
    PutIp(source, family, out);
    PutIp(destination, family, out);
    PutWord(out, source.port());
    PutWord(out, destination.port());
    TlvWriter writer(out, start);
    const bool own_id = tlvs.unique_id && !header.unique_id.empty();
    const bool own_authority = tlvs.authority && !header.authority.empty();
    static_cast<void>(VisitTlvs(header.tlvs_in, [&](uint8_t type, size_t at, size_t size) {
      if (!Passes(tlvs, type)) return;
      // What was given upstream of us is kept: the same id all the way.
      writer.Put(type, header.tlvs_in.substr(at, size));
    }));
    const auto passed = [&](uint8_t type) {
      std::string_view value;
      return Passes(tlvs, type) && FindTlv(header.tlvs_in, type, &value);
    };
    for (const auto& [type, value] : tlvs.set) writer.Put(type, value);
    if (own_authority && !passed(kTlvAuthority)) writer.Put(kTlvAuthority, header.authority);
    if (own_id && !passed(kTlvUniqueId)) {
      writer.Put(kTlvUniqueId, header.unique_id.substr(0, kMostUniqueIdBytes));
    }
    if (tlvs.crc32c) writer.Put(kTlvCrc32c, std::string_view("\0\0\0\0", 4));
  }
  const size_t length = out.size() - start - kV2FixedBytes;
  out[start + 14] = static_cast<char>(length >> 8);
  out[start + 15] = static_cast<char>(length & 0xff);
  if (tlvs.crc32c && family != Family::kNone) {
    const uint32_t crc = Crc32c(std::string_view(out).substr(start));
    for (size_t i = 0; i < 4; ++i) {
      out[out.size() - 4 + i] = static_cast<char>(crc >> (24 - 8 * i) & 0xff);
    }
  }
}

void WriteLocalProxyHeader(ProxyVersion version, std::string& out) {
  if (version == ProxyVersion::kV1) {
    out.append("PROXY UNKNOWN\r\n");
  } else if (version == ProxyVersion::kV2) {
    out.append(kV2Start);
    out.append(std::string_view("\x20\0\0\0", 4));
  }
}

}  // namespace parkway
