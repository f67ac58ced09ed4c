// Address: where a socket listens or connects: IPv4, IPv6, a unix path or an abstract unix name.
//
//   Address a = Address::Ipv4({127, 0, 0, 1}, 8080);
//   kernel::Connect(fd, a.data(), a.size());
//   a.ToString()     1.2.3.4:80   [::1]:80   unix:/run/x.sock   unix:@name
//
// PackedAddress is the same for a peer whose address is only compared and shown, in 20 bytes; a
// unix peer has no name worth keeping, and a link-local IPv6 peer loses its interface.
//
// IPv4 that arrives on a dual-stack socket is an IPv6 address to the kernel (::ffff:1.2.3.4). An
// Address keeps that, because it must fit its socket, and shows it as IPv4; Unmapped() and
// PackedAddress make it IPv4.
//
// Values: any thread may copy and read its own.
#ifndef POLLER_ADDRESS_H_
#define POLLER_ADDRESS_H_

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace parkway {

class Address {
 public:
  // Unspecified: family() is AF_UNSPEC.
  Address() = default;

  static Address Ipv4(const std::array<uint8_t, 4>& bytes, uint16_t port);
  static Address Ipv6(const std::array<uint8_t, 16>& bytes, uint16_t port);
  // At most kMostPathBytes; longer ones are cut (the configuration refuses them).
  static Address UnixPath(std::string_view path);
  static Address UnixAbstract(std::string_view name);
  // As a system call filled it in; AF_UNSPEC for what is none of the above.
  static Address FromSockaddr(const sockaddr* address, socklen_t size);

  static constexpr size_t kMostPathBytes = sizeof(sockaddr_un::sun_path) - 1;

  const sockaddr* data() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const { return size_; }
  int family() const { return storage_.any.sa_family; }
  bool is_unix() const { return family() == AF_UNIX; }
  // In the file system: neither a name in the abstract namespace nor a peer without one.
  bool is_path() const { return is_unix() && !path().empty(); }
  // The path of a unix socket in the file system; empty if it has none.
  std::string_view path() const;
  // 0.0.0.0, ::, or the former as IPv6.
  bool is_any() const;
  // 127.0.0.0/8 (also as IPv6), ::1, or unix: reached without leaving this machine.
  bool is_loopback() const;
  // 0 for unix.
  uint16_t port() const;
  void set_port(uint16_t port);

  // The same, but IPv4 for an IPv4-mapped IPv6 address.
  Address Unmapped() const;

  // Control characters and backslashes in a unix name are shown as \xNN.
  std::string ToString() const;
  // What the kernel would take for the same: an IPv4-mapped address is not equal to the IPv4 one.
  bool operator==(const Address& other) const;

 private:
  friend class PackedAddress;

  // The largest comes first: {} makes all of it zero.
  union Storage {
    sockaddr_un un;
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
  };

  bool is_mapped() const;
  // All bytes of the name of a unix address, with the leading zero of an abstract one.
  std::string_view unix_bytes() const;

  Storage storage_ = {};
  socklen_t size_ = 0;
};

class PackedAddress {
 public:
  PackedAddress() = default;
  explicit PackedAddress(const Address& address);

  bool is_unix() const { return kind_ == Kind::kUnix; }
  uint16_t port() const { return port_; }
  // Of IPv4 the first four; of unix none: zeros.
  const std::array<uint8_t, 16>& ip_bytes() const { return bytes_; }
  // AF_UNSPEC for unix and for none.
  Address ToAddress() const;
  // "unix" for unix.
  std::string ToString() const;
  bool operator==(const PackedAddress&) const = default;

 private:
  enum class Kind : uint8_t { kNone, kIpv4, kIpv6, kUnix };

  std::array<uint8_t, 16> bytes_ = {};
  uint16_t port_ = 0;  // host order
  Kind kind_ = Kind::kNone;
};

static_assert(sizeof(PackedAddress) <= 20, "one lives in every session");

}  // namespace parkway

#endif  // POLLER_ADDRESS_H_
