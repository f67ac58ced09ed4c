#include "config/value.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "config/text.h"

namespace parkway::config {
namespace {

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

}  // namespace

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

absl::StatusOr<uint32_t> ParseHex(std::string_view text, uint32_t least, uint32_t most) {
  uint32_t bits = 0;
  const std::string_view digits = text.substr(std::min<size_t>(2, text.size()));
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), bits, 16);
  const bool right =
      error == std::errc() && end == digits.data() + digits.size() && bits >= least && bits <= most;
  if (right) return bits;
  return Wrong(Cat(Quoted(text), " is not a number here"),
               Cat("write one of ", PrintHex(least), " to ", PrintHex(most)));
}

std::string PrintHex(uint32_t bits) {
  char digits[8];
  const auto end = std::to_chars(digits, digits + sizeof(digits), bits, 16).ptr;
  return Cat("0x", std::string_view(digits, static_cast<size_t>(end - digits)));
}

absl::StatusOr<uint64_t> ParseBandwidth(std::string_view text) {
  constexpr uint64_t kLeast = 1024;
  constexpr uint64_t kMost = uint64_t{1} << 40;
  constexpr Unit kBits[] = {
      {"Gbit", uint64_t{1000} * 1000 * 1000}, {"Mbit", 1000 * 1000}, {"kbit", 1000}};
  constexpr std::string_view kForms = "write one such as 10MiB/s or 80Mbit/s";
  std::string_view amount = text;
  if (!amount.ends_with("/s")) return Wrong(Cat(Quoted(text), " is not a bandwidth"), kForms);
  amount.remove_suffix(2);
  const size_t digits = std::min(amount.find_first_not_of("0123456789"), amount.size());
  const std::string_view name = amount.substr(digits);
  uint64_t worth = 0;  // of one, in bits
  for (const Unit& unit : kBits) {
    if (unit.name == name) worth = unit.worth;
  }
  for (const Unit& unit : kSizeUnits) {
    if (unit.name == name) worth = unit.worth * 8;
  }
  if (digits == 0 || worth == 0) return Wrong(Cat(Quoted(text), " is not a bandwidth"), kForms);
  uint64_t count = 0, bits = 0;
  if (!ParseNumber(amount.substr(0, digits), &count) || MultiplyOverflows(count, worth, &bits) ||
      bits / 8 > kMost || bits / 8 < kLeast) {
    return Wrong(Cat(Quoted(text), " is out of range"),
                 Cat("write ", PrintBandwidth(kLeast), " to ", PrintBandwidth(kMost)));
  }
  return bits / 8;
}

std::string PrintBandwidth(uint64_t bytes_per_second) {
  return Cat(PrintSize(bytes_per_second), "/s");
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

absl::StatusOr<Keepalive> ParseKeepalive(std::string_view text) {
  constexpr std::string_view kForm =
      "write IDLE:INTERVAL:COUNT in whole seconds, such as 60s:10s:3, or off";
  // MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL and MAX_TCP_KEEPCNT of the kernel.
  constexpr DurationRange kRange = {.least = absl::Seconds(1), .most = absl::Seconds(32767)};
  constexpr uint64_t kMostCount = 127;
  if (text == "off" || text == "0") return Keepalive();
  const std::vector<std::string_view> parts = Split(text, ':');
  if (parts.size() != 3) return Wrong(Cat(Quoted(text), " is not three parts"), kForm);
  Keepalive keepalive;
  for (const auto& [part, to] :
       {std::pair(parts[0], &keepalive.idle), std::pair(parts[1], &keepalive.interval)}) {
    const absl::StatusOr<absl::Duration> duration = ParseDuration(part, kRange);
    if (!duration.ok()) return duration.status();
    if (*duration != absl::Floor(*duration, absl::Seconds(1))) {
      return Wrong(Cat(Quoted(part), " is not whole seconds"), kForm);
    }
    *to = *duration;
  }
  const absl::StatusOr<uint64_t> count = ParseCount(parts[2], 1, kMostCount);
  if (!count.ok()) return count.status();
  keepalive.count = static_cast<uint32_t>(*count);
  return keepalive;
}

std::string PrintKeepalive(const Keepalive& keepalive) {
  if (!keepalive.on()) return "off";
  // One unit, as everybody writes them.
  const auto seconds = [](absl::Duration d) { return Cat(absl::ToInt64Seconds(d), "s"); };
  return Cat(seconds(keepalive.idle), ":", seconds(keepalive.interval), ":", keepalive.count);
}

absl::StatusOr<std::string> CanonicalPath(std::string_view text) {
  constexpr size_t kMostPathBytes = 4095;
  if (text.empty()) return Wrong("a path is missing", "write one such as /run/parkway/NAME");
  if (text.size() > kMostPathBytes || std::any_of(text.begin(), text.end(), IsControl)) {
    return Wrong(Cat(Quoted(text), " is not a path"), "choose another");
  }
  return std::string(text);
}

absl::StatusOr<std::string> CanonicalSocketPath(std::string_view text) {
  if (text == "auto") return std::string(text);
  absl::StatusOr<std::string> path = CanonicalPath(text);
  if (!path.ok() || path->size() <= kMostUnixPathBytes) return path;
  return Wrong(Cat(Quoted(text), " is ", text.size(), " bytes long"),
               Cat("the kernel takes at most ", kMostUnixPathBytes, " for a socket"));
}

absl::StatusOr<std::string> CanonicalDevice(std::string_view text) {
  constexpr size_t kMostBytes = 15;  // IFNAMSIZ without its zero
  const bool right = !text.empty() && text.size() <= kMostBytes && text != "." && text != ".." &&
                     std::none_of(text.begin(), text.end(), [](char c) {
                       return c == '/' || c == ',' || c == ' ' || c == '"' || IsControl(c);
                     });
  if (right) return std::string(text);
  return Wrong(Cat(Quoted(text), " is no name of a network interface"),
               Cat("write one of 1 to ", kMostBytes, " bytes, such as eth0, or off"));
}

absl::StatusOr<std::string> CanonicalOwner(std::string_view text) {
  absl::Status status = CheckOwner(text);
  if (!status.ok()) return status;
  return std::string(text);
}

absl::StatusOr<size_t> ParseWord(std::string_view text, absl::Span<const std::string_view> words) {
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == text) return i;
  }
  return Wrong(text.empty() ? "a word is missing" : Cat(Quoted(text), " is not known here"),
               Cat("write ", Join(words, " or "), DidYouMean(text, words)));
}

}  // namespace parkway::config
