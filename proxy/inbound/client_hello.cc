#include "proxy/inbound/client_hello.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace parkway {

namespace {

// Whether bytes are something, cannot be it, or may become it.
enum class Match : uint8_t { kNo, kMaybe, kYes };

constexpr size_t kRecordHead = 5;
constexpr size_t kMostRecord = (1 << 14) + 256;
constexpr size_t kHandshakeHead = 4;
constexpr size_t kRandomBytes = 32;
constexpr size_t kMostSniBytes = 255;

// Takes numbers and stretches off the front; once something was missing, ok() is false.
class Cursor {
 public:
  explicit Cursor(std::string_view bytes) : left_(bytes) {}

  bool ok() const { return ok_; }
  bool empty() const { return left_.empty(); }

  size_t Number(size_t bytes) {
    size_t value = 0;
    for (const char c : Take(bytes)) value = value << 8 | static_cast<uint8_t>(c);
    return value;
  }
  std::string_view Take(size_t bytes) {
    if (left_.size() < bytes) {
      ok_ = false;
      left_ = {};
      return {};
    }
    const std::string_view taken = left_.substr(0, bytes);
    left_.remove_prefix(bytes);
    return taken;
  }
  // A stretch behind its length of `width` bytes.
  std::string_view Vector(size_t width) { return Take(Number(width)); }

 private:
  std::string_view left_;
  bool ok_ = true;
};

// ---------------------------------------------------------------------------------------------
// The other protocols

Match StartsWith(std::string_view bytes, std::string_view start) {
  const size_t both = std::min(bytes.size(), start.size());
  if (bytes.substr(0, both) != start.substr(0, both)) return Match::kNo;
  return bytes.size() < start.size() ? Match::kMaybe : Match::kYes;
}

template <size_t N>
Match StartsWithAny(std::string_view bytes, const std::array<std::string_view, N>& starts) {
  Match best = Match::kNo;
  for (const std::string_view start : starts) best = std::max(best, StartsWith(bytes, start));
  return best;
}

Match IsHttp(std::string_view bytes) {
  constexpr std::array<std::string_view, 10> kStarts = {
      "GET ",     "HEAD ",    "POST ",  "PUT ",   "DELETE ",
      "CONNECT ", "OPTIONS ", "TRACE ", "PATCH ", "PRI * HTTP/2.0\r\n"};
  return StartsWithAny(bytes, kStarts);
}

Match IsSsh(std::string_view bytes) { return StartsWith(bytes, "SSH-"); }

// SSLRequest, GSSENCRequest, CancelRequest, or a StartupMessage of version 3.0.
Match IsPostgres(std::string_view bytes) {
  constexpr std::array<std::string_view, 3> kRequests = {
      std::string_view("\0\0\0\x08\x04\xd2\x16\x2f", 8),
      std::string_view("\0\0\0\x08\x04\xd2\x16\x30", 8),
      std::string_view("\0\0\0\x10\x04\xd2\x16\x2e", 8)};
  const Match request = StartsWithAny(bytes, kRequests);
  if (request == Match::kYes) return request;
  // A length of at most 10,000, and the version.
  constexpr std::string_view kVersion3("\0\x03\0\0", 4);
  const size_t high = std::min<size_t>(bytes.size(), 2);
  if (bytes.substr(0, high) != std::string_view("\0\0", high)) return request;
  if (bytes.size() <= 4) return Match::kMaybe;
  return std::max(request, StartsWith(bytes.substr(4), kVersion3));
}

// ---------------------------------------------------------------------------------------------
// TLS

Match IsTls(std::string_view bytes) {
  if (bytes.empty()) return Match::kMaybe;
  if (bytes[0] != 0x16) return Match::kNo;
  if (bytes.size() > 1 && bytes[1] != 0x03) return Match::kNo;
  if (bytes.size() > 5 && bytes[5] != 0x01) return Match::kNo;
  return bytes.size() > 5 ? Match::kYes : Match::kMaybe;
}

// The handshake message inside the records. kYes: `hello` is a whole ClientHello.
Match CollectHello(std::string_view bytes, std::string& hello) {
  size_t wanted = kHandshakeHead;
  for (;;) {
    if (hello.size() >= kHandshakeHead) {
      wanted = kHandshakeHead + (static_cast<size_t>(static_cast<uint8_t>(hello[1])) << 16 |
                                 static_cast<size_t>(static_cast<uint8_t>(hello[2])) << 8 |
                                 static_cast<uint8_t>(hello[3]));
      if (hello.size() >= wanted) {
        hello.resize(wanted);
        return Match::kYes;
      }
    }
    if (bytes.empty()) return Match::kMaybe;
    if (bytes[0] != 0x16 || (bytes.size() > 1 && bytes[1] != 0x03)) return Match::kNo;
    if (bytes.size() < kRecordHead) return Match::kMaybe;
    const size_t size =
        static_cast<size_t>(static_cast<uint8_t>(bytes[3])) << 8 | static_cast<uint8_t>(bytes[4]);
    if (size == 0 || size > kMostRecord) return Match::kNo;
    bytes.remove_prefix(kRecordHead);
    const size_t there = std::min(size, bytes.size());
    hello.append(bytes.substr(0, there));
    bytes.remove_prefix(there);
  }
}

// Empty for what is no host name.
std::string HostName(std::string_view name) {
  if (!name.empty() && name.back() == '.') name.remove_suffix(1);
  if (name.empty() || name.size() > kMostSniBytes) return {};
  std::string host(name);
  for (char& c : host) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    const bool fine =
        (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    if (!fine) return {};
  }
  return host;
}

bool ReadServerName(std::string_view extension, std::string& sni) {
  Cursor whole(extension);
  Cursor names(whole.Vector(2));
  if (!whole.ok() || !whole.empty()) return false;
  while (!names.empty()) {
    const size_t type = names.Number(1);
    const std::string_view name = names.Vector(2);
    if (!names.ok()) return false;
    if (type == 0 && sni.empty()) sni = HostName(name);
  }
  return true;
}

bool ReadAlpn(std::string_view extension, std::vector<std::string>& alpn) {
  Cursor whole(extension);
  Cursor names(whole.Vector(2));
  if (!whole.ok() || !whole.empty()) return false;
  while (!names.empty()) {
    const std::string_view name = names.Vector(1);
    if (!names.ok() || name.empty()) return false;
    alpn.emplace_back(name);
  }
  return true;
}

bool ReadHello(std::string_view hello, FirstBytes& seen) {
  constexpr size_t kServerName = 0;
  constexpr size_t kAlpn = 16;
  Cursor message(hello.substr(kHandshakeHead));
  const size_t version = message.Number(2);
  message.Take(kRandomBytes);
  message.Vector(1);  // session id
  message.Vector(2);  // cipher suites
  message.Vector(1);  // compression
  if (!message.ok() || version >> 8 != 3) return false;
  if (message.empty()) return true;  // before extensions were invented
  Cursor extensions(message.Vector(2));
  if (!message.ok() || !message.empty()) return false;
  bool had_name = false;
  bool had_alpn = false;
  while (!extensions.empty()) {
    const size_t type = extensions.Number(2);
    const std::string_view extension = extensions.Vector(2);
    if (!extensions.ok()) return false;
    if (type == kServerName) {
      if (had_name || !ReadServerName(extension, seen.sni)) return false;
      had_name = true;
    } else if (type == kAlpn) {
      if (had_alpn || !ReadAlpn(extension, seen.alpn)) return false;
      had_alpn = true;
    }
  }
  return true;
}

FirstBytes ReadTls(std::string_view bytes) {
  FirstBytes seen;
  seen.protocol = ClientProtocol::kTls;
  std::string hello;
  const Match match = CollectHello(bytes, hello);
  if (match == Match::kMaybe) return seen;
  seen.result = FirstBytes::Result::kDone;
  if (match == Match::kNo || !ReadHello(hello, seen)) {
    return {.result = FirstBytes::Result::kDone};
  }
  return seen;
}

}  // namespace

FirstBytes ReadFirstBytes(std::string_view bytes) {
  const Match tls = IsTls(bytes);
  if (tls == Match::kYes) return ReadTls(bytes);
  const std::array<std::pair<Match, ClientProtocol>, 3> others = {
      {{IsSsh(bytes), ClientProtocol::kSsh},
       {IsHttp(bytes), ClientProtocol::kHttp},
       {IsPostgres(bytes), ClientProtocol::kPostgres}}};
  FirstBytes seen;
  bool maybe = tls == Match::kMaybe;
  for (const auto& [match, protocol] : others) {
    if (match == Match::kYes) {
      seen.result = FirstBytes::Result::kDone;
      seen.protocol = protocol;
      return seen;
    }
    maybe = maybe || match == Match::kMaybe;
  }
  if (!maybe) seen.result = FirstBytes::Result::kDone;
  return seen;
}

}  // namespace parkway
