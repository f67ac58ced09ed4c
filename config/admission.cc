#include "config/admission.h"

#include <arpa/inet.h>

#include <algorithm>

#include "absl/status/status.h"
#include "config/text.h"
#include "config/value.h"

namespace parkway::config {
namespace {

// Without that of kAny, which is first.
constexpr std::string_view kProtocolWords[] = {"tls", "ssh", "http", "postgres"};

constexpr uint32_t kMostRate = 1'000'000;
constexpr size_t kMostTlvBytes = 1024;

void ClearBehind(Prefix& prefix) {
  for (size_t i = 0; i < prefix.ip.size(); ++i) {
    const int left = prefix.bits - static_cast<int>(i * 8);
    if (left >= 8) continue;
    const int mask = left <= 0 ? 0 : 0xff << (8 - left);
    prefix.ip[i] = static_cast<uint8_t>(prefix.ip[i] & mask);
  }
}

bool IsMapped(const Prefix& prefix) {
  constexpr std::array<uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return !prefix.ipv4 && prefix.bits >= 96 &&
         std::equal(kMapped.begin(), kMapped.end(), prefix.ip.begin());
}

std::string Hex(uint8_t byte) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  return Cat("0x", std::string(1, kDigits[byte >> 4]), std::string(1, kDigits[byte & 15]));
}

// "0xEA".
bool ParseType(std::string_view text, uint8_t* type) {
  if (text.size() != 4 || text[0] != '0' || ToLower(text[1]) != 'x') return false;
  uint8_t value = 0;
  for (const char c : text.substr(2)) {
    const char low = ToLower(c);
    if (IsDigit(low)) {
      value = static_cast<uint8_t>(value << 4 | (low - '0'));
    } else if (low >= 'a' && low <= 'f') {
      value = static_cast<uint8_t>(value << 4 | (low - 'a' + 10));
    } else {
      return false;
    }
  }
  *type = value;
  return true;
}

std::string PrintTlv(const Tlv& tlv) {
  switch (tlv.kind) {
    case Tlv::Kind::kCrc32c:
      return "crc32c";
    case Tlv::Kind::kUniqueId:
      return "unique_id";
    case Tlv::Kind::kAuthority:
      return "authority";
    case Tlv::Kind::kPassAll:
      return "pass";
    case Tlv::Kind::kPass:
      return Cat("pass:", Hex(tlv.type));
    case Tlv::Kind::kSet:
      break;
  }
  return Cat("set:", Hex(tlv.type), "=", tlv.text);
}

absl::StatusOr<Tlv> ParseTlv(std::string_view text) {
  constexpr std::string_view kForms =
      "write crc32c, unique_id, authority, pass, pass:0xEA or set:0xE0=TEXT";
  if (text == "crc32c") return Tlv{.kind = Tlv::Kind::kCrc32c};
  if (text == "unique_id") return Tlv{.kind = Tlv::Kind::kUniqueId};
  if (text == "authority") return Tlv{.kind = Tlv::Kind::kAuthority};
  if (text == "pass") return Tlv{.kind = Tlv::Kind::kPassAll};
  Tlv tlv{.kind = Tlv::Kind::kPass};
  std::string_view rest = text;
  if (ConsumePrefix(&rest, "pass:")) {
    if (ParseType(rest, &tlv.type)) return tlv;
    return Wrong(Cat(Quoted(rest), " is not the type of a TLV"), "write one such as 0xEA");
  }
  if (!ConsumePrefix(&rest, "set:")) return Wrong(Cat(Quoted(text), " is no TLV"), kForms);
  tlv.kind = Tlv::Kind::kSet;
  const size_t equals = rest.find('=');
  if (equals == std::string_view::npos || !ParseType(rest.substr(0, equals), &tlv.type)) {
    return Wrong(Cat(Quoted(text), " sets no TLV"), "write a type and a text, such as set:0xE0=a");
  }
  tlv.text = rest.substr(equals + 1);
  if (tlv.text.size() > kMostTlvBytes) {
    return Wrong("the text of a TLV is too long", Cat("the most is ", kMostTlvBytes, " bytes"));
  }
  return tlv;
}

}  // namespace

absl::StatusOr<Prefix> ParsePrefix(std::string_view text) {
  constexpr std::string_view kForms = "write a prefix such as 10.0.0.0/8 or 2001:db8::/32";
  const size_t slash = text.find('/');
  const std::string ip(text.substr(0, slash));
  Prefix prefix;
  if (inet_pton(AF_INET, ip.c_str(), prefix.ip.data()) == 1) {
    prefix.ipv4 = true;
  } else if (inet_pton(AF_INET6, ip.c_str(), prefix.ip.data()) != 1) {
    return Wrong(Cat(Quoted(text), " is no prefix"), kForms);
  }
  const uint8_t most = prefix.ipv4 ? 32 : 128;
  prefix.bits = most;
  if (slash != std::string_view::npos) {
    uint32_t bits = 0;
    if (!ParseNumber(text.substr(slash + 1), &bits) || bits > most) {
      return Wrong(Cat(Quoted(text), " is no prefix"),
                   Cat("what follows the / is a number of 0 to ", most));
    }
    prefix.bits = static_cast<uint8_t>(bits);
  }
  if (IsMapped(prefix)) {
    std::copy_n(prefix.ip.begin() + 12, 4, prefix.ip.begin());
    std::fill(prefix.ip.begin() + 4, prefix.ip.end(), 0);
    prefix.ipv4 = true;
    prefix.bits = static_cast<uint8_t>(prefix.bits - 96);
  }
  ClearBehind(prefix);
  return prefix;
}

std::string PrintPrefix(const Prefix& prefix) {
  char text[INET6_ADDRSTRLEN];
  inet_ntop(prefix.ipv4 ? AF_INET : AF_INET6, prefix.ip.data(), text, sizeof(text));
  return Cat(std::string_view(text), "/", uint32_t{prefix.bits});
}

absl::StatusOr<Prefixes> ParsePrefixes(std::string_view text) {
  Prefixes read;
  for (const std::string_view piece : Split(text, ',')) {
    if (!piece.empty() && piece[0] == '@') {
      if (piece.size() == 1) return Wrong("@ names no file", "write @FILE");
      read.files.emplace_back(piece.substr(1));
      continue;
    }
    const absl::StatusOr<Prefix> prefix = ParsePrefix(piece);
    if (!prefix.ok()) return prefix.status();
    read.prefixes.push_back(*prefix);
  }
  return read;
}

absl::StatusOr<std::string> CanonicalPrefixes(std::string_view text) {
  const absl::StatusOr<Prefixes> read = ParsePrefixes(text);
  if (!read.ok()) return read.status();
  std::vector<std::string> pieces;
  for (const Prefix& prefix : read->prefixes) pieces.push_back(PrintPrefix(prefix));
  for (const std::string& file : read->files) pieces.push_back(Cat("@", file));
  return Join(pieces, ",");
}

absl::StatusOr<std::vector<Prefix>> ParsePrefixFile(std::string_view bytes) {
  std::vector<Prefix> prefixes;
  size_t number = 0;
  for (std::string_view line : Split(bytes, '\n')) {
    ++number;
    line = line.substr(0, line.find('#'));
    while (!line.empty() && (IsBlank(line.back()) || line.back() == '\r')) line.remove_suffix(1);
    while (!line.empty() && IsBlank(line.front())) line.remove_prefix(1);
    if (line.empty()) continue;
    const absl::StatusOr<Prefix> prefix = ParsePrefix(line);
    if (!prefix.ok()) {
      return absl::InvalidArgumentError(Cat("line ", number, ": ", Message(prefix.status())));
    }
    prefixes.push_back(*prefix);
  }
  return prefixes;
}

absl::StatusOr<uint32_t> ParseRate(std::string_view text) {
  const std::string form = Cat("write a rate of 1/s to ", kMostRate, "/s");
  const size_t slash = text.find('/');
  uint32_t rate = 0;
  if (slash == std::string_view::npos || text.substr(slash) != "/s" ||
      !ParseNumber(text.substr(0, slash), &rate) || rate == 0 || rate > kMostRate) {
    return Wrong(Cat(Quoted(text), " is not a rate"), form);
  }
  return rate;
}

absl::StatusOr<std::string> CanonicalRate(std::string_view text) {
  const absl::StatusOr<uint32_t> rate = ParseRate(text);
  if (!rate.ok()) return rate.status();
  return Cat(*rate, "/s");
}

absl::StatusOr<std::vector<Tlv>> ParseTlvs(std::string_view text) {
  std::vector<Tlv> tlvs;
  for (const std::string_view piece : Split(text, ',')) {
    absl::StatusOr<Tlv> tlv = ParseTlv(piece);
    if (!tlv.ok()) return tlv.status();
    tlvs.push_back(*std::move(tlv));
  }
  return tlvs;
}

absl::StatusOr<std::string> CanonicalTlvs(std::string_view text) {
  const absl::StatusOr<std::vector<Tlv>> tlvs = ParseTlvs(text);
  if (!tlvs.ok()) return tlvs.status();
  std::vector<std::string> pieces;
  for (const Tlv& tlv : *tlvs) pieces.push_back(PrintTlv(tlv));
  return Join(pieces, ",");
}

absl::StatusOr<RouteProtocol> ParseRouteProtocol(std::string_view text) {
  const absl::StatusOr<size_t> word = ParseWord(text, kProtocolWords);
  if (!word.ok()) return word.status();
  return static_cast<RouteProtocol>(*word + 1);
}

std::string_view RouteProtocolName(RouteProtocol protocol) {
  if (protocol == RouteProtocol::kAny) return "any";
  return kProtocolWords[static_cast<size_t>(protocol) - 1];
}

}  // namespace parkway::config
