#include "config/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

#include "config/quote.h"
#include "config/text.h"

namespace parkway::config {
namespace {

constexpr std::string_view kForms = "IP:PORT, [IPv6]:PORT, unix:PATH or unix:@NAME";

std::string FormsFor(AddressUse use) {
  return use == AddressUse::kListens ? Cat("write :PORT, ", kForms)
                                     : Cat("write NAME:PORT, ", kForms);
}

// The name of a host: labels of letters, digits, - and _, the last of which is no number. A dot at
// the end says that no domain of resolv.conf is to be tried.
bool IsHostName(std::string_view text) {
  constexpr size_t kMostBytes = 253;
  constexpr size_t kMostLabelBytes = 63;
  if (text.ends_with('.')) text.remove_suffix(1);
  if (text.empty() || text.size() > kMostBytes) return false;
  const std::vector<std::string_view> labels = Split(text, '.');
  const bool good = std::all_of(labels.begin(), labels.end(), [](std::string_view label) {
    return !label.empty() && label.size() <= kMostLabelBytes && label.front() != '-' &&
           label.back() != '-' && std::all_of(label.begin(), label.end(), [](char c) {
             return IsLetter(c) || IsDigit(c) || c == '-' || c == '_';
           });
  });
  return good && !AllDigits(labels.back());
}

absl::StatusOr<Address> ParseService(std::string_view name) {
  const std::vector<std::string_view> labels = Split(name, '.');
  if (!IsHostName(name) || labels.size() < 3 || labels[0][0] != '_' || labels[1][0] != '_') {
    return Wrong(Cat(Quoted(name), " is not the name of a service"),
                 "write srv:_NAME._tcp.DOMAIN, such as srv:_postgresql._tcp.example.net");
  }
  Address address;
  address.kind = Address::Kind::kService;
  address.path = AsciiLower(name);
  return address;
}

bool ParseIpv4(std::string_view text, std::array<uint8_t, 16>* ip) {
  return inet_pton(AF_INET, std::string(text).c_str(), ip->data()) == 1;
}

bool ParseIpv6(std::string_view text, std::array<uint8_t, 16>* ip) {
  return inet_pton(AF_INET6, std::string(text).c_str(), ip->data()) == 1;
}

// What a bare IPv6 address was meant to be: "::1:80" and "::1" are [::1]:80.
std::string Bracketed(std::string_view text) {
  std::array<uint8_t, 16> ip;
  const size_t colon = text.rfind(':');
  const std::string_view tail = text.substr(colon + 1);
  if (AllDigits(tail) && ParseIpv6(text.substr(0, colon), &ip)) {
    return Cat("[", text.substr(0, colon), "]:", Shown(tail));
  }
  return Cat("[", text, "]:80");
}

absl::StatusOr<uint16_t> ParsePort(std::string_view text) {
  uint32_t port = 0;
  if (text.size() <= 5 && AllDigits(text)) (void)ParseNumber(text, &port);
  if (port == 0 || port > 65535) {
    return Wrong(Cat(Quoted(text), " is not a port"), "a port is 1 to 65535");
  }
  return static_cast<uint16_t>(port);
}

// A port, or for a server also +N.
absl::Status SetPort(std::string_view text, AddressUse use, Address* address) {
  std::string_view number = text;
  if (use == AddressUse::kConnects && ConsumePrefix(&number, "+")) {
    uint32_t offset = 65536;
    if (number.size() <= 5 && AllDigits(number)) (void)ParseNumber(number, &offset);
    if (offset > 65535) {
      return Wrong(Cat(Quoted(text), " cannot be added to the listener's port"),
                   "write + and a number of 0 to 65535");
    }
    address->relative = true;
    address->port = static_cast<uint16_t>(offset);
    return absl::OkStatus();
  }
  absl::StatusOr<uint16_t> port = ParsePort(text);
  if (port.ok()) address->port = *port;
  return port.status();
}

absl::StatusOr<Address> ParseUnix(std::string_view name) {
  Address address;
  address.kind = Address::Kind::kUnixPath;
  if (ConsumePrefix(&name, "@")) address.kind = Address::Kind::kUnixAbstract;
  if (name.empty()) {
    return Wrong("unix: without a path", "write unix:/run/NAME.sock or unix:@NAME");
  }
  // An abstract name begins with a zero byte, which takes the place of a path's last one.
  if (name.size() > kMostUnixPathBytes) {
    return Wrong(Cat(Quoted(name), " is ", name.size(), " bytes long"),
                 Cat("the kernel takes at most ", kMostUnixPathBytes, ", choose a shorter one"));
  }
  for (const char c : name) {
    if (IsControl(c)) {
      return Wrong(Cat(Quoted(name), " has a control character"), "choose another path");
    }
  }
  address.path = std::string(name);
  return address;
}

// What stands before the port, outside brackets, and is no IPv4 address.
absl::Status NotAnIp(std::string_view host, std::string_view port, AddressUse use) {
  if (host == "*") {
    return Wrong("\"*\" is not an address",
                 use == AddressUse::kListens
                     ? Cat("write :", Shown(port), " to listen on all addresses")
                     : FormsFor(use));
  }
  if (host.find_first_not_of("0123456789.") == std::string_view::npos) {
    return Wrong(Cat(Quoted(host), " is not an IPv4 address"),
                 "write four numbers of 0 to 255, such as 127.0.0.1");
  }
  if ((host.find('/') != std::string_view::npos)) {
    return Wrong(Cat(Quoted(host), " is not an address"), FormsFor(use));
  }
  if (use == AddressUse::kListens && IsHostName(host)) {
    return Wrong(Cat(Quoted(host), " is a name, and a listener needs an address"),
                 AsciiLower(host) == "localhost"
                     ? Cat("write 127.0.0.1:", Shown(port), " or [::1]:", Shown(port))
                     : std::string("write the address"));
  }
  return Wrong(Cat(Quoted(host), " is neither an address nor a name"), FormsFor(use));
}

}  // namespace

bool Address::is_any() const {
  const Address plain = Unmapped();
  if (plain.is_unix() || plain.is_name()) return false;
  return std::all_of(plain.ip.begin(), plain.ip.end(), [](uint8_t byte) { return byte == 0; });
}

bool Address::is_loopback() const {
  const Address plain = Unmapped();
  if (plain.kind == Kind::kIpv4) return plain.ip[0] == 127;
  if (plain.kind != Kind::kIpv6) return false;
  return plain.ip[15] == 1 &&
         std::all_of(plain.ip.begin(), plain.ip.begin() + 15, [](uint8_t b) { return b == 0; });
}

Address Address::Unmapped() const {
  static constexpr uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (kind != Kind::kIpv6 || std::memcmp(ip.data(), kMapped, sizeof(kMapped)) != 0) return *this;
  Address v4;
  v4.kind = Kind::kIpv4;
  std::copy(ip.begin() + 12, ip.end(), v4.ip.begin());
  v4.port = port;
  v4.relative = relative;
  return v4;
}

std::string Address::ToString() const {
  char text[INET6_ADDRSTRLEN] = "";
  const std::string behind = !relative   ? Cat(":", port)
                             : port == 0 ? std::string()
                                         : Cat(":+", port);
  switch (kind) {
    case Kind::kAnyIp:
      return behind;
    case Kind::kIpv4:
      inet_ntop(AF_INET, ip.data(), text, sizeof(text));
      return Cat(text, behind);
    case Kind::kIpv6:
      inet_ntop(AF_INET6, ip.data(), text, sizeof(text));
      return Cat("[", text, "]", behind);
    case Kind::kHost:
      return Cat(path, behind);
    case Kind::kService:
      return Cat("srv:", path);
    case Kind::kUnixPath:
      return Cat("unix:", path);
    case Kind::kUnixAbstract:
      return Cat("unix:@", path);
  }
  return "";
}

absl::StatusOr<Address> ParseAddress(std::string_view text, AddressUse use) {
  if (text.empty()) return Wrong("an address is missing", FormsFor(use));
  if (text.find('\0') != std::string_view::npos) {
    return Wrong(Cat(Quoted(text), " is not an address"), FormsFor(use));
  }
  if (text.starts_with("unix:")) return ParseUnix(text.substr(5));
  if (text.starts_with("srv:") && use == AddressUse::kConnects) return ParseService(text.substr(4));
  if (text[0] == '/' || text[0] == '@') {
    return Wrong(Cat(Quoted(text), " is not an address"), Cat("write unix:", Shown(text)));
  }
  if (const size_t scheme = text.find("://"); scheme != std::string_view::npos) {
    return Wrong(Cat(Quoted(text), " begins with a scheme"),
                 Cat("leave out ", Shown(text.substr(0, scheme + 3))));
  }

  Address address;
  if (text[0] == '[') {
    const size_t close = text.find(']');
    if (close == std::string_view::npos) {
      return Wrong(Cat(Quoted(text), " lacks the closing bracket"), "write [IPv6]:PORT");
    }
    const std::string_view host = text.substr(1, close - 1);
    std::string_view port = text.substr(close + 1);
    address.kind = Address::Kind::kIpv6;
    if (!ParseIpv6(host, &address.ip)) {
      if (ParseIpv4(host, &address.ip)) {
        return Wrong(Cat(Quoted(host), " is not an IPv6 address"),
                     "write an IPv4 address without brackets");
      }
      return Wrong(Cat(Quoted(host), " is not an IPv6 address"),
                   (host.find('%') != std::string_view::npos)
                       ? "an address with a zone is not supported"
                       : "write [IPv6]:PORT, such as [::1]:80");
    }
    if (port.empty() && use == AddressUse::kConnects) {
      address.relative = true;
      return address;
    }
    if (!ConsumePrefix(&port, ":")) {
      return Wrong(Cat(Quoted(text), " has no port"),
                   Cat("write it behind the bracket, such as [", host, "]:80"));
    }
    if (absl::Status status = SetPort(port, use, &address); !status.ok()) return status;
    return address;
  }

  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    if (AllDigits(text) && use == AddressUse::kListens) {
      return Wrong(Cat(Quoted(text), " is not an address"),
                   Cat("write :", Shown(text), " to listen on all addresses"));
    }
    if (ParseIpv4(text, &address.ip)) {
      if (use == AddressUse::kConnects) {
        address.kind = Address::Kind::kIpv4;
        address.relative = true;
        return address;
      }
      return Wrong(Cat(Quoted(text), " has no port"),
                   Cat("write it behind a colon, such as ", text, ":80"));
    }
    if (use == AddressUse::kConnects && IsHostName(text)) {
      address.kind = Address::Kind::kHost;
      address.path = AsciiLower(text);
      address.relative = true;
      return address;
    }
    return Wrong(Cat(Quoted(text), " is not an address"), FormsFor(use));
  }
  if (text.find(':') != colon) {
    if (ParseIpv6(text, &address.ip)) {
      return Wrong(Cat(Quoted(text), " is IPv6 without brackets"), Cat("write ", Bracketed(text)));
    }
    return Wrong(Cat(Quoted(text), " is not an address"), FormsFor(use));
  }

  const std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (host.empty()) {
    if (use == AddressUse::kConnects) {
      return Wrong(Cat(Quoted(text), " does not say which server"),
                   Cat("write its address, such as 127.0.0.1:",
                       AllDigits(port) ? port : std::string_view("80")));
    }
    address.kind = Address::Kind::kAnyIp;
  } else if (ParseIpv4(host, &address.ip)) {
    address.kind = Address::Kind::kIpv4;
  } else if (use == AddressUse::kConnects && IsHostName(host)) {
    address.kind = Address::Kind::kHost;
    address.path = AsciiLower(host);
  } else {
    return NotAnIp(host, port, use);
  }
  if (absl::Status status = SetPort(port, use, &address); !status.ok()) return status;
  return address;
}

absl::StatusOr<std::vector<Address>> ParseListenAddresses(std::string_view text) {
  const size_t colon = text.rfind(':');
  const size_t dash = text.rfind('-');
  const bool range = !text.starts_with("unix:") && colon != std::string_view::npos &&
                     dash != std::string_view::npos && dash > colon + 1;
  absl::StatusOr<Address> first =
      ParseAddress(range ? text.substr(0, dash) : text, AddressUse::kListens);
  if (!first.ok()) return first.status();
  std::vector<Address> addresses = {*first};
  if (!range) return addresses;
  const absl::StatusOr<uint16_t> last = ParsePort(text.substr(dash + 1));
  if (!last.ok()) return last.status();
  if (*last < first->port) {
    return Wrong(Cat(Quoted(text.substr(colon + 1)), " is not a range of ports"),
                 Cat("write the lower one first: ", *last, "-", first->port));
  }
  while (addresses.back().port < *last) {
    addresses.push_back(addresses.back());
    ++addresses.back().port;
  }
  return addresses;
}

std::vector<std::string> PrintListenAddresses(absl::Span<const Address> addresses) {
  constexpr size_t kLeastRange = 3;
  std::vector<std::string> texts;
  for (size_t i = 0; i < addresses.size();) {
    size_t end = i + 1;
    for (Address next = addresses[i]; end < addresses.size() && !next.is_unix(); ++end) {
      if (next.port == 65535) break;
      ++next.port;
      if (!(addresses[end] == next)) break;
    }
    if (end - i < kLeastRange) end = i + 1;
    texts.push_back(addresses[i].ToString());
    if (end - i > 1) Append(&texts.back(), "-", addresses[end - 1].port);
    i = end;
  }
  return texts;
}

absl::StatusOr<uint32_t> ParseMode(std::string_view text) {
  uint32_t mode = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  const bool octal = error == std::errc() && end == text.data() + text.size();
  if (!octal || text.size() < 3 || text.size() > 4 || mode > 0777) {
    return Wrong(Cat(Quoted(text), " is not the mode of a socket"),
                 "write octal digits, such as 0660");
  }
  return mode;
}

std::string PrintMode(uint32_t mode) {
  std::string text = "0";
  for (const int shift : {6, 3, 0}) text += static_cast<char>('0' + ((mode >> shift) & 7));
  return text;
}

absl::Status CheckOwner(std::string_view text) {
  const std::vector<std::string_view> names = Split(text, ':');
  const bool good =
      names.size() <= 2 &&
      std::all_of(names.begin(), names.end(), [](std::string_view n) { return CheckName(n).ok(); });
  if (good) return absl::OkStatus();
  return Wrong(Cat(Quoted(text), " is not an owner"), "write USER or USER:GROUP");
}

absl::StatusOr<Address> ParseIp(std::string_view text) {
  Address address;
  if (ParseIpv4(text, &address.ip)) {
    address.kind = Address::Kind::kIpv4;
    return address;
  }
  if (ParseIpv6(text, &address.ip)) {
    address.kind = Address::Kind::kIpv6;
    return address;
  }
  return Wrong(Cat(Quoted(text), " is not an IP address"),
               "write it without a port, as in 10.0.0.1 or 2001:db8::1");
}

std::string PrintIp(const Address& address) {
  std::string text = address.ToString();
  text.resize(text.rfind(':'));
  if (text.starts_with('[')) return text.substr(1, text.size() - 2);
  return text;
}

absl::StatusOr<std::string> CanonicalNameservers(std::string_view text) {
  constexpr uint16_t kPort = 53;
  constexpr std::string_view kForm = "write IP, IP:PORT or [IPv6]:PORT";
  std::vector<std::string> texts;
  for (const std::string_view piece : Split(text, ',')) {
    absl::StatusOr<Address> address = ParseIp(piece);
    if (!address.ok()) {
      address = ParseAddress(piece, AddressUse::kListens);
      if (!address.ok()) return Wrong(Cat(Quoted(piece), " is no address of a name server"), kForm);
      if (address->is_unix() || address->kind == Address::Kind::kAnyIp) {
        return Wrong(Cat(Quoted(piece), " is no address of a name server"), kForm);
      }
    }
    const bool usual = address->port == 0 || address->port == kPort;
    std::string printed = usual ? PrintIp(*address) : address->ToString();
    if (std::find(texts.begin(), texts.end(), printed) != texts.end()) {
      return Wrong(Cat(Quoted(piece), " is here twice"), "keep one");
    }
    texts.push_back(std::move(printed));
  }
  return Join(texts, ",");
}

absl::Status CheckName(std::string_view name) {
  constexpr std::string_view kRight = "a name is 1 to 64 of A-Z a-z 0-9 _ . -";
  if (name.empty()) return Wrong("a name is missing", kRight);
  const bool known = std::all_of(name.begin(), name.end(), [](char c) {
    return IsLetter(c) || IsDigit(c) || c == '_' || c == '.' || c == '-';
  });
  if (!known || name.size() > 64) return Wrong(Cat(Quoted(name), " is not a name"), kRight);
  return absl::OkStatus();
}

}  // namespace parkway::config
