#include "config/reach.h"

#include <algorithm>
#include <filesystem>

#include "config/text.h"

namespace parkway::config {
namespace {

Address Ipv4(uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint16_t port) {
  Address address;
  address.kind = Address::Kind::kIpv4;
  address.ip = {a, b, c, d};
  address.port = port;
  return address;
}

// Where a connection to `server` goes: to the wildcard means to this machine.
Address Effective(const Address& server) {
  Address plain = server.Unmapped();
  if (plain.is_any()) {
    if (plain.kind == Address::Kind::kIpv4) return Ipv4(127, 0, 0, 1, plain.port);
    plain.ip[15] = 1;
  }
  return plain;
}

std::string NormalPath(const Address& address) {
  return std::filesystem::path(address.path).lexically_normal().string();
}

bool SameUnix(const Address& a, const Address& b) {
  if (a.kind != b.kind) return false;
  return a.path == b.path || (a.kind == Address::Kind::kUnixPath && NormalPath(a) == NormalPath(b));
}

}  // namespace

bool Covers(const Address& any, const Address& address, bool v6only) {
  if (any.Unmapped().kind == Address::Kind::kIpv4) return address.kind == Address::Kind::kIpv4;
  // "[::]:80" takes IPv4 too, as ":80" does.
  return !v6only || address.kind == Address::Kind::kIpv6;
}

std::string AddressKey(const Address& address) {
  if (address.kind == Address::Kind::kUnixPath) return Cat("path:", NormalPath(address));
  return address.Unmapped().ToString();
}

std::vector<std::string> BindKeys(const Address& address, bool v6only) {
  if (!address.is_any()) return {AddressKey(address)};
  const std::string v4 = Cat("0.0.0.0:", address.port);
  const std::string v6 = Cat("[::]:", address.port);
  if (address.Unmapped().kind == Address::Kind::kIpv4) return {v4};
  if (v6only) return {v6};
  return {v4, v6};
}

bool Collide(const Address& one, bool one_v6only, const Address& other, bool other_v6only) {
  if (one.is_unix() || other.is_unix()) return SameUnix(one, other);
  if (one.port != other.port) return false;
  const std::vector<std::string> keys = BindKeys(one, one_v6only);
  for (const std::string& key : BindKeys(other, other_v6only)) {
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) return true;
  }
  return (one.is_any() && Covers(one, other.Unmapped(), one_v6only)) ||
         (other.is_any() && Covers(other, one.Unmapped(), other_v6only));
}

std::string IpKey(Address address) {
  if (address.is_unix()) return "";
  address.port = 0;
  address.relative = false;
  return AddressKey(address);
}

bool IsLoop(const Address& listener, const Address& server, bool v6only) {
  if (listener.is_unix() || server.is_unix()) return SameUnix(listener, server);
  if (listener.port != server.port) return false;
  const Address to = Effective(server);
  if (listener.is_any()) return to.is_loopback() && Covers(listener, to, v6only);
  return listener.Unmapped() == to;
}

}  // namespace parkway::config
