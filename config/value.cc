#include "config/value.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstring>
#include <limits>

#include "absl/status/status.h"
#include "config/text.h"

namespace parkway::config {
namespace {

// "what is wrong; what would be right".
absl::Status Wrong(std::string_view what, std::string_view right) {
  return absl::InvalidArgumentError(Cat(what, "; ", right));
}

bool AllDigits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), IsDigit);
}

std::string AsciiLower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), ToLower);
  return lower;
}

std::string WithoutUnderscores(std::string_view text) {
  std::string bare(text);
  std::erase(bare, '_');
  return bare;
}

bool AddOverflows(uint64_t a, uint64_t b, uint64_t* sum) {
  return __builtin_add_overflow(a, b, sum);
}

bool MultiplyOverflows(uint64_t a, uint64_t b, uint64_t* product) {
  return __builtin_mul_overflow(a, b, product);
}

struct Unit {
  std::string_view name;
  uint64_t worth;
};

// The largest first, as compounds are written and printed.
constexpr Unit kDurationUnits[] = {
    {"d", uint64_t{86400} * 1000000},
    {"h", uint64_t{3600} * 1000000},
    {"m", 60 * 1000000},
    {"s", 1000000},
    {"ms", 1000},
    {"us", 1},
};

constexpr Unit kSizeUnits[] = {
    {"GiB", uint64_t{1} << 30},
    {"MiB", uint64_t{1} << 20},
    {"KiB", uint64_t{1} << 10},
    {"B", 1},
};

std::string Compound(uint64_t amount, absl::Span<const Unit> units) {
  std::string text;
  for (const Unit& unit : units) {
    if (amount >= unit.worth) {
      Append(&text, amount / unit.worth, unit.name);
      amount %= unit.worth;
    }
  }
  return text;
}

// --- Addresses

constexpr std::string_view kForms = "IP:PORT, [IPv6]:PORT, unix:PATH or unix:@NAME";

std::string FormsFor(AddressUse use) {
  return use == AddressUse::kListens ? Cat("write :PORT, ", kForms) : Cat("write ", kForms);
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
  if (AsciiLower(host) == "localhost") {
    return Wrong("\"localhost\" is a name, and names are not resolved yet",
                 Cat("write the address, 127.0.0.1:", Shown(port), " or [::1]:", Shown(port)));
  }
  if (host.find_first_not_of("0123456789.") == std::string_view::npos) {
    return Wrong(Cat(Quoted(host), " is not an IPv4 address"),
                 "write four numbers of 0 to 255, such as 127.0.0.1");
  }
  if ((host.find('/') != std::string_view::npos)) {
    return Wrong(Cat(Quoted(host), " is not an address"), FormsFor(use));
  }
  return Wrong(Cat(Quoted(host), " is a name, and names are not resolved yet"),
               "write the address");
}

size_t EditDistance(std::string_view a, std::string_view b) {
  // With neighbours swapped as one edit: the last two rows are kept.
  std::vector<size_t> older(b.size() + 1), old(b.size() + 1), now(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) old[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      now[j] = std::min({old[j] + 1, now[j - 1] + 1, old[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        now[j] = std::min(now[j], older[j - 2] + 1);
      }
    }
    older.swap(old);
    old.swap(now);
  }
  return old[b.size()];
}

}  // namespace

bool Address::is_any() const {
  const Address plain = Unmapped();
  if (plain.is_unix()) return false;
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

// --- Durations

absl::StatusOr<absl::Duration> ParseDuration(std::string_view text, const DurationRange& range) {
  constexpr std::string_view kUnits = "the units are us ms s m h d, as in 1h30m";
  if (text.empty()) return Wrong("a duration is missing", "write one with its unit, such as 5s");
  if (text == "off" || text == "0" || text == "0s") {
    if (range.off) return absl::ZeroDuration();
    return Wrong(Cat(Quoted(text), " is not allowed, it cannot be off"),
                 Cat("the least is ", PrintDuration(range.least)));
  }
  if (text[0] == '-') {
    return Wrong(Cat(Quoted(text), " is negative"),
                 range.off ? "write a duration such as 5s, or off" : "write a duration such as 5s");
  }
  if (AllDigits(text)) {
    return Wrong(Cat(Quoted(text), " has no unit"), "a duration needs a unit, such as 5s");
  }

  uint64_t total_us = 0;
  const Unit* next_unit = std::begin(kDurationUnits);
  bool too_large = false;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
    const std::string_view number = rest.substr(0, digits);
    rest.remove_prefix(digits);
    const size_t letters = std::find_if_not(rest.begin(), rest.end(), IsLetter) - rest.begin();
    const std::string_view name = rest.substr(0, letters);
    rest.remove_prefix(letters);
    if (number.empty()) {
      return Wrong(Cat(Quoted(text), " is not a duration"),
                   (text.find('.') != std::string_view::npos)
                       ? "write whole numbers, such as 1s500ms"
                       : "write a number and a unit, such as 5s");
    }
    if (name.empty()) {
      return Wrong(Cat(Quoted(text), " is not a duration"),
                   rest.starts_with(".") ? "write whole numbers, such as 1s500ms" : kUnits);
    }
    const Unit* unit = std::find_if(std::begin(kDurationUnits), std::end(kDurationUnits),
                                    [name](const Unit& u) { return u.name == name; });
    if (unit == std::end(kDurationUnits)) {
      return Wrong(Cat(Quoted(name), " is not a unit of time"), kUnits);
    }
    if (unit < next_unit) {
      return Wrong(Cat(Quoted(text), " has its units out of order"),
                   "write each once, the largest first, as in 1h30m");
    }
    next_unit = unit + 1;
    uint64_t count = 0, us = 0;
    too_large = too_large || !ParseNumber(number, &count) ||
                MultiplyOverflows(count, unit->worth, &us) || AddOverflows(total_us, us, &total_us);
  }
  if (too_large || total_us > static_cast<uint64_t>(absl::ToInt64Microseconds(range.most))) {
    return Wrong(Cat(Quoted(text), " is too long"), Cat("the most is ", PrintDuration(range.most)));
  }
  const absl::Duration duration = absl::Microseconds(static_cast<int64_t>(total_us));
  if (total_us == 0 && range.off) return duration;
  if (duration < range.least) {
    return Wrong(Cat(Quoted(text), " is too short"),
                 Cat("the least is ", PrintDuration(range.least)));
  }
  return duration;
}

std::string PrintDuration(absl::Duration duration) {
  if (duration <= absl::ZeroDuration()) return "off";
  std::string text =
      Compound(static_cast<uint64_t>(absl::ToInt64Microseconds(duration)), kDurationUnits);
  return text.empty() ? "off" : text;
}

// --- Sizes, counts and words

absl::StatusOr<uint64_t> ParseSize(std::string_view text, uint64_t least, uint64_t most) {
  constexpr std::string_view kUnits = "the units are B KiB MiB GiB, as in 64KiB";
  if (text.empty()) return Wrong("a size is missing", "write one with its unit, such as 64KiB");
  if (text[0] == '-') {
    return Wrong(Cat(Quoted(text), " is negative"), "write a size such as 64KiB");
  }
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const std::string_view name = text.substr(digits);
  if (digits == 0) return Wrong(Cat(Quoted(text), " is not a size"), kUnits);
  if (name.empty() && text != "0") {
    return Wrong(Cat(Quoted(text), " has no unit"), "a size needs a unit, such as 64KiB");
  }
  uint64_t worth = 1;
  if (!name.empty()) {
    const Unit* unit = std::find_if(std::begin(kSizeUnits), std::end(kSizeUnits),
                                    [name](const Unit& u) { return u.name == name; });
    if (unit == std::end(kSizeUnits)) {
      return Wrong(Cat(Quoted(name), " is not a unit of size"), kUnits);
    }
    worth = unit->worth;
  }
  uint64_t count = 0, bytes = 0;
  if (!ParseNumber(text.substr(0, digits), &count) || MultiplyOverflows(count, worth, &bytes) ||
      bytes > most) {
    return Wrong(Cat(Quoted(text), " is too large"), Cat("the most is ", PrintSize(most)));
  }
  if (bytes < least) {
    return Wrong(Cat(Quoted(text), " is too small"), Cat("the least is ", PrintSize(least)));
  }
  return bytes;
}

std::string PrintSize(uint64_t bytes) {
  for (const Unit& unit : kSizeUnits) {
    if (bytes >= unit.worth && bytes % unit.worth == 0) {
      return Cat(bytes / unit.worth, unit.name);
    }
  }
  return "0B";
}

absl::StatusOr<uint64_t> ParseCount(std::string_view text, uint64_t least, uint64_t most) {
  const std::string range = Cat("write a whole number of ", least, " to ", most);
  if (text.empty()) return Wrong("a number is missing", range);
  if (text[0] == '-') return Wrong(Cat(Quoted(text), " is negative"), range);
  if (!AllDigits(text)) return Wrong(Cat(Quoted(text), " is not a number"), range);
  uint64_t count = 0;
  if (!ParseNumber(text, &count) || count > most) {
    return Wrong(Cat(Quoted(text), " is too large"), range);
  }
  if (count < least) return Wrong(Cat(Quoted(text), " is too small"), range);
  return count;
}

absl::StatusOr<uint32_t> ParsePercent(std::string_view text, uint32_t least, uint32_t most) {
  const std::string range = Cat("write ", least, "% to ", most, "%");
  if (!text.ends_with('%')) return Wrong(Cat(Quoted(text), " has no % sign"), range);
  const std::string_view digits = text.substr(0, text.size() - 1);
  uint64_t percent = 0;
  if (digits.empty() || !AllDigits(digits))
    return Wrong(Cat(Quoted(text), " is not a share"), range);
  if (!ParseNumber(digits, &percent) || percent > most) {
    return Wrong(Cat(Quoted(text), " is too large"), range);
  }
  if (percent < least) return Wrong(Cat(Quoted(text), " is too small"), range);
  return static_cast<uint32_t>(percent);
}

std::string PrintPercent(uint32_t percent) { return Cat(percent, "%"); }

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

absl::StatusOr<std::string> ParseKernelName(std::string_view text, size_t most_bytes) {
  if (text == "default") return std::string();
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
  if (text.empty() || !plain || text.size() > most_bytes) {
    return Wrong(Cat(Quoted(text), " is not a name that the kernel could know"),
                 Cat("a name has 1 to ", most_bytes, " letters, digits, _ or -, or write default"));
  }
  return std::string(text);
}

absl::StatusOr<std::vector<uint32_t>> ParseCpuList(std::string_view text) {
  constexpr std::string_view kForm = "write numbers and ranges, such as 0-3,8";
  std::vector<uint32_t> cpus;
  for (const std::string_view part : Split(text, ',')) {
    const size_t dash = part.find('-');
    const absl::StatusOr<uint64_t> first = ParseCount(part.substr(0, dash), 0, kMostCpus - 1);
    const absl::StatusOr<uint64_t> last =
        dash == part.npos ? first : ParseCount(part.substr(dash + 1), 0, kMostCpus - 1);
    if (!first.ok() || !last.ok() || *first > *last) {
      return Wrong(Cat(Quoted(part), " is not a CPU or a range of them"), kForm);
    }
    for (uint64_t cpu = *first; cpu <= *last; ++cpu) {
      if (std::find(cpus.begin(), cpus.end(), cpu) != cpus.end()) {
        return Wrong(Cat("CPU ", cpu, " is named twice"), kForm);
      }
      cpus.push_back(static_cast<uint32_t>(cpu));
    }
  }
  return cpus;
}

std::string PrintCpuList(absl::Span<const uint32_t> cpus) {
  std::string text;
  for (size_t i = 0; i < cpus.size();) {
    size_t end = i + 1;
    while (end < cpus.size() && cpus[end] == cpus[end - 1] + 1) ++end;
    Append(&text, text.empty() ? "" : ",", cpus[i]);
    if (end - i > 1) Append(&text, "-", cpus[end - 1]);
    i = end;
  }
  return text;
}

absl::StatusOr<bool> ParseBool(std::string_view text) {
  if (text == "on" || text == "true" || text == "1") return true;
  if (text == "off" || text == "false" || text == "0") return false;
  return Wrong(Cat(Quoted(text), " is neither on nor off"), "write on or off");
}

std::string_view PrintBool(bool value) { return value ? "on" : "off"; }

namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

absl::StatusOr<std::string> ParseBytes(std::string_view text, size_t most_bytes) {
  std::string bytes;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      bytes += text[i];
      continue;
    }
    constexpr std::string_view kLetters = "rnt0\\";
    constexpr std::string_view kMeanings{"\r\n\t\0\\", 5};
    const char letter = i + 1 < text.size() ? text[i + 1] : '\0';
    const size_t known = kLetters.find(letter);
    if (i + 1 < text.size() && known != std::string_view::npos) {
      bytes += kMeanings[known];
      ++i;
      continue;
    }
    const int high = letter == 'x' && i + 2 < text.size() ? HexDigit(text[i + 2]) : -1;
    const int low = high >= 0 && i + 3 < text.size() ? HexDigit(text[i + 3]) : -1;
    if (low < 0) {
      return Wrong(Cat(Quoted(text.substr(i, 4)), " is no escape"),
                   "write \\r \\n \\t \\0 \\\\ or \\xNN with two hexadecimal digits");
    }
    bytes += static_cast<char>(high << 4 | low);
    i += 3;
  }
  if (bytes.size() > most_bytes) {
    return Wrong(Cat(bytes.size(), " bytes are too many"), Cat("write at most ", most_bytes));
  }
  return bytes;
}

std::string PrintBytes(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const char c = bytes[i];
    const bool at_an_end = i == 0 || i + 1 == bytes.size();
    if (c == '\r') {
      text += "\\r";
    } else if (c == '\n') {
      text += "\\n";
    } else if (c < ' ' || c > '}' || c == '"' || c == '\\' || (c == ' ' && at_an_end)) {
      const auto byte = static_cast<uint8_t>(c);
      Append(&text, "\\x", kDigits.substr(byte >> 4, 1), kDigits.substr(byte & 15, 1));
    } else {
      text += c;
    }
  }
  return text;
}

absl::StatusOr<Expectation> ParseExpectation(std::string_view text, size_t most_bytes) {
  Expectation expectation;
  expectation.anywhere = !text.empty() && text[0] == '~';
  if (expectation.anywhere) text.remove_prefix(1);
  absl::StatusOr<std::string> bytes = ParseBytes(text, most_bytes);
  if (!bytes.ok()) return bytes.status();
  expectation.bytes = *std::move(bytes);
  if (expectation.bytes.empty()) expectation.anywhere = false;
  return expectation;
}

std::string PrintExpectation(const Expectation& expectation) {
  return Cat(expectation.anywhere ? "~" : "", PrintBytes(expectation.bytes));
}

absl::StatusOr<Parting> ParseParting(std::string_view text) {
  constexpr std::string_view kDrain = "drain:";
  Parting parting;
  if (text == "keep") return parting;
  if (text == "close") {
    parting.kind = Parting::Kind::kClose;
    return parting;
  }
  if (text.substr(0, kDrain.size()) == kDrain) {
    const absl::StatusOr<absl::Duration> after =
        ParseDuration(text.substr(kDrain.size()), {.off = false, .least = absl::Milliseconds(1)});
    if (!after.ok()) return after.status();
    parting.kind = Parting::Kind::kDrain;
    parting.after = *after;
    return parting;
  }
  return Wrong(Cat(Quoted(text), " is not known here"),
               "write keep, close, or drain and a time such as drain:30s");
}

std::string PrintParting(const Parting& parting) {
  switch (parting.kind) {
    case Parting::Kind::kKeep:
      break;
    case Parting::Kind::kDrain:
      return Cat("drain:", PrintDuration(parting.after));
    case Parting::Kind::kClose:
      return "close";
  }
  return "keep";
}

absl::StatusOr<size_t> ParseWord(std::string_view text, absl::Span<const std::string_view> words) {
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == text) return i;
  }
  return Wrong(text.empty() ? "a word is missing" : Cat(Quoted(text), " is not known here"),
               Cat("write ", Join(words, " or "), DidYouMean(text, words)));
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

// --- Errors

std::string Shown(std::string_view text) {
  constexpr size_t kMostShown = 80;
  std::string shown;
  // Bytes that are not UTF-8 may come from the command line.
  const size_t valid = std::min(FindInvalidUtf8(text), text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    // Cut before a character, never inside one.
    if (i >= kMostShown && (i >= valid || (byte & 0xc0) != 0x80)) {
      shown += "...";
      break;
    }
    if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && i >= valid)) {
      constexpr char kHex[] = "0123456789abcdef";
      Append(&shown, "\\x", std::string(1, kHex[byte >> 4]), std::string(1, kHex[byte & 15]));
    } else {
      shown += text[i];
    }
  }
  return shown;
}

std::string Quoted(std::string_view text) { return Cat("\"", Shown(text), "\""); }

std::string_view Nearest(std::string_view name, absl::Span<const std::string_view> known) {
  std::string plain = AsciiLower(name.substr(0, 64));
  std::replace(plain.begin(), plain.end(), '-', '_');
  std::string_view best;
  size_t best_distance = std::max<size_t>(1, plain.size() / 3) + 1;
  for (const std::string_view candidate : known) {
    const size_t distance = EditDistance(plain, candidate);
    if (distance < best_distance && distance < candidate.size()) {
      best = candidate;
      best_distance = distance;
    }
  }
  if (!best.empty() || plain.size() < 3) return best;
  // The beginning of exactly one, also without underscores: "maxconn".
  const std::string bare = WithoutUnderscores(plain);
  for (const std::string_view candidate : known) {
    if (!WithoutUnderscores(candidate).starts_with(bare)) continue;
    if (!best.empty()) return "";
    best = candidate;
  }
  return best;
}

std::string DidYouMean(std::string_view name, absl::Span<const std::string_view> known,
                       std::string_view prefix) {
  const std::string_view nearest = Nearest(name, known);
  if (nearest.empty()) return "";
  return Cat(" (did you mean ", prefix, nearest, "?)");
}

size_t FindInvalidUtf8(std::string_view bytes) {
  size_t i = 0;
  while (i < bytes.size()) {
    const auto lead = static_cast<uint8_t>(bytes[i]);
    size_t extra;
    uint32_t point;
    if (lead < 0x80) {
      ++i;
      continue;
    } else if (lead >= 0xc2 && lead <= 0xdf) {
      extra = 1;
      point = lead & 0x1f;
    } else if (lead >= 0xe0 && lead <= 0xef) {
      extra = 2;
      point = lead & 0x0f;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
      extra = 3;
      point = lead & 0x07;
    } else {
      return i;
    }
    if (bytes.size() - i <= extra) return i;
    for (size_t k = 1; k <= extra; ++k) {
      const auto byte = static_cast<uint8_t>(bytes[i + k]);
      if ((byte & 0xc0) != 0x80) return i;
      point = point << 6 | (byte & 0x3f);
    }
    const bool overlong = (extra == 2 && point < 0x800) || (extra == 3 && point < 0x10000);
    const bool surrogate = point >= 0xd800 && point <= 0xdfff;
    if (overlong || surrogate || point > 0x10ffff) return i;
    i += extra + 1;
  }
  return std::string_view::npos;
}

}  // namespace parkway::config
