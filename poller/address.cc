#include "poller/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <iterator>

namespace parkway {

namespace {

constexpr size_t kPathOffset = offsetof(sockaddr_un, sun_path);
constexpr uint8_t kMappedPrefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

std::string Ipv4Text(const uint8_t* bytes, uint16_t port) {
  // inet_ntop takes sprintf for this; a log writes two of them per line.
  char text[sizeof("255.255.255.255:65535")];
  char* end = text;
  for (int i = 0; i < 4; ++i) {
    end = std::to_chars(end, std::end(text), bytes[i]).ptr;
    *end++ = i < 3 ? '.' : ':';
  }
  end = std::to_chars(end, std::end(text), port).ptr;
  return std::string(text, end);
}

// `scope` is the interface of a link-local address; 0 for others.
std::string Ipv6Text(const uint8_t* bytes, uint32_t scope, uint16_t port) {
  char address[INET6_ADDRSTRLEN];
  inet_ntop(AF_INET6, bytes, address, sizeof(address));
  std::string text = "[";
  text += address;
  if (scope != 0) text += "%" + std::to_string(scope);
  return text + "]:" + std::to_string(port);
}

// A name may hold any byte but a line of a log may not.
std::string Printable(std::string_view name) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (const char c : name) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte >= 0x20 && byte != 0x7f && c != '\\') {
      text += c;
      continue;
    }
    text += "\\x";
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  return text;
}

}  // namespace

Address Address::Ipv4(const std::array<uint8_t, 4>& bytes, uint16_t port) {
  Address address;
  address.storage_.v4.sin_family = AF_INET;
  address.storage_.v4.sin_port = htons(port);
  std::memcpy(&address.storage_.v4.sin_addr, bytes.data(), bytes.size());
  address.size_ = sizeof(sockaddr_in);
  return address;
}

Address Address::Ipv6(const std::array<uint8_t, 16>& bytes, uint16_t port) {
  Address address;
  address.storage_.v6.sin6_family = AF_INET6;
  address.storage_.v6.sin6_port = htons(port);
  std::memcpy(&address.storage_.v6.sin6_addr, bytes.data(), bytes.size());
  address.size_ = sizeof(sockaddr_in6);
  return address;
}

Address Address::UnixPath(std::string_view path) {
  Address address;
  address.storage_.un.sun_family = AF_UNIX;
  const size_t length = std::min(path.size(), kMostPathBytes);
  std::memcpy(address.storage_.un.sun_path, path.data(), length);
  address.size_ = static_cast<socklen_t>(kPathOffset + length + 1);
  return address;
}

Address Address::UnixAbstract(std::string_view name) {
  Address address;
  address.storage_.un.sun_family = AF_UNIX;
  const size_t length = std::min(name.size(), kMostPathBytes);
  // A leading zero byte, and no trailing one: the length says where the name ends.
  std::memcpy(address.storage_.un.sun_path + 1, name.data(), length);
  address.size_ = static_cast<socklen_t>(kPathOffset + 1 + length);
  return address;
}

Address Address::FromSockaddr(const sockaddr* address, socklen_t size) {
  Address result;
  if (size < sizeof(sa_family_t)) return result;
  socklen_t most = 0;
  switch (address->sa_family) {
    case AF_INET:
      most = sizeof(sockaddr_in);
      if (size < most) return result;
      break;
    case AF_INET6:
      most = sizeof(sockaddr_in6);
      if (size < most) return result;
      break;
    case AF_UNIX:
      // The kernel counts a zero behind a path that fills all of sun_path.
      most = sizeof(sockaddr_un);
      break;
    default:
      return result;
  }
  size = std::min(size, most);
  std::memcpy(&result.storage_, address, size);
  result.size_ = size;
  return result;
}

std::string_view Address::path() const {
  if (!is_unix() || size_ <= kPathOffset || storage_.un.sun_path[0] == '\0') return {};
  const size_t most = size_ - kPathOffset;
  return {storage_.un.sun_path, strnlen(storage_.un.sun_path, most)};
}

std::string_view Address::unix_bytes() const {
  if (size_ <= kPathOffset) return {};
  if (storage_.un.sun_path[0] != '\0') return path();  // the zero at its end may be missing
  return {storage_.un.sun_path, size_ - kPathOffset};
}

bool Address::is_mapped() const {
  return family() == AF_INET6 && std::equal(kMappedPrefix, kMappedPrefix + sizeof(kMappedPrefix),
                                            storage_.v6.sin6_addr.s6_addr);
}

Address Address::Unmapped() const {
  if (!is_mapped()) return *this;
  const uint8_t* v4 = storage_.v6.sin6_addr.s6_addr + sizeof(kMappedPrefix);
  return Ipv4({v4[0], v4[1], v4[2], v4[3]}, port());
}

bool Address::is_any() const {
  if (is_mapped()) return Unmapped().is_any();
  if (family() == AF_INET) return storage_.v4.sin_addr.s_addr == 0;
  return family() == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&storage_.v6.sin6_addr);
}

bool Address::is_loopback() const {
  if (is_mapped()) return Unmapped().is_loopback();
  if (family() == AF_INET) return (ntohl(storage_.v4.sin_addr.s_addr) >> 24) == 127;
  if (family() == AF_INET6) return IN6_IS_ADDR_LOOPBACK(&storage_.v6.sin6_addr);
  return is_unix();
}

uint16_t Address::port() const {
  if (family() == AF_INET) return ntohs(storage_.v4.sin_port);
  if (family() == AF_INET6) return ntohs(storage_.v6.sin6_port);
  return 0;
}

void Address::set_port(uint16_t port) {
  if (family() == AF_INET) storage_.v4.sin_port = htons(port);
  if (family() == AF_INET6) storage_.v6.sin6_port = htons(port);
}

std::string Address::ToString() const {
  switch (family()) {
    case AF_INET:
      return Ipv4Text(reinterpret_cast<const uint8_t*>(&storage_.v4.sin_addr), port());
    case AF_INET6:
      if (is_mapped()) return Unmapped().ToString();
      return Ipv6Text(storage_.v6.sin6_addr.s6_addr, storage_.v6.sin6_scope_id, port());
    case AF_UNIX:
      if (!path().empty()) return "unix:" + Printable(path());
      if (size_ <= kPathOffset + 1) return "unix:";
      return "unix:@" + Printable(unix_bytes().substr(1));
    default:
      return "-";
  }
}

bool Address::operator==(const Address& other) const {
  if (family() != other.family()) return false;
  switch (family()) {
    case AF_INET:
      return port() == other.port() &&
             storage_.v4.sin_addr.s_addr == other.storage_.v4.sin_addr.s_addr;
    case AF_INET6:
      return port() == other.port() &&
             storage_.v6.sin6_scope_id == other.storage_.v6.sin6_scope_id &&
             std::memcmp(&storage_.v6.sin6_addr, &other.storage_.v6.sin6_addr, sizeof(in6_addr)) ==
                 0;
    case AF_UNIX:
      return unix_bytes() == other.unix_bytes();
    default:
      return true;
  }
}

PackedAddress::PackedAddress(const Address& address) : port_(address.port()) {
  const Address plain = address.Unmapped();
  switch (plain.family()) {
    case AF_INET:
      kind_ = Kind::kIpv4;
      std::memcpy(bytes_.data(), &plain.storage_.v4.sin_addr, sizeof(in_addr));
      break;
    case AF_INET6:
      kind_ = Kind::kIpv6;
      std::memcpy(bytes_.data(), &plain.storage_.v6.sin6_addr, sizeof(in6_addr));
      break;
    case AF_UNIX:
      kind_ = Kind::kUnix;
      break;
    default:
      break;
  }
}

Address PackedAddress::ToAddress() const {
  if (kind_ == Kind::kIpv6) return Address::Ipv6(bytes_, port_);
  if (kind_ != Kind::kIpv4) return Address();
  std::array<uint8_t, 4> bytes;
  std::copy_n(bytes_.begin(), bytes.size(), bytes.begin());
  return Address::Ipv4(bytes, port_);
}

std::string PackedAddress::ToString() const {
  switch (kind_) {
    case Kind::kIpv4:
      return Ipv4Text(bytes_.data(), port_);
    case Kind::kIpv6:
      return Ipv6Text(bytes_.data(), /*scope=*/0, port_);
    case Kind::kUnix:
      return "unix";
    case Kind::kNone:
      break;
  }
  return "-";
}

}  // namespace parkway
