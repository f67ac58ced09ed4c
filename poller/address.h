// Address: where a socket listens or connects: IPv4, IPv6, a unix path or an abstract unix name.
//
//   Address a = Address::Ipv4({127, 0, 0, 1}, 8080);
//   kernel::Connect(fd, a.data(), a.size());
//   a.ToString()     1.2.3.4:80   [::1]:80   unix:/run/x.sock   unix:@name
//
// PackedAddress is the same for a peer whose address is only compared and shown, in 20 bytes; a
// unix peer has no name worth keeping.
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
  // A name in the abstract namespace, or a peer without one: nothing in the file system.
  bool is_path() const { return is_unix() && !path().empty(); }
  // The path of a unix socket in the file system; empty if it has none.
  std::string_view path() const;
  // 0.0.0.0 or ::
  bool is_any() const;
  // 127.0.0.0/8, ::1, or unix: reached without leaving this machine.
  bool is_loopback() const;
  // 0 for unix.
  uint16_t port() const;
  void set_port(uint16_t port);

  std::string ToString() const;
  bool operator==(const Address& other) const;

 private:
  friend class PackedAddress;

  union Storage {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
    sockaddr_un un;
  };

  Storage storage_ = {};
  socklen_t size_ = 0;
};

class PackedAddress {
 public:
  PackedAddress() = default;
  explicit PackedAddress(const Address& address);

  bool is_unix() const { return kind_ == Kind::kUnix; }
  uint16_t port() const { return port_; }
  // An IPv4 address that arrived on a dual-stack socket is shown as IPv4; "unix" for unix.
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
