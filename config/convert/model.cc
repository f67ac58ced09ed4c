#include "config/convert/model.h"

#include <algorithm>
#include <array>
#include <limits>

#include "absl/status/statusor.h"
#include "config/flags.h"
#include "config/grammar.h"
#include "config/load.h"
#include "config/text.h"
#include "config/value.h"

namespace parkway::config::convert {
namespace {

constexpr std::string_view kFile = "converted";

// Without one of these a line would be another thing than what was meant.
constexpr std::string_view kVital[] = {"name",         "addr",  "upstream",     "servers", "listen",
                                       "sni",          "alpn",  "allow",        "deny",    "backup",
                                       "accept_proxy", "state", "proxy_trusted"};

// What was printed, for the loader.
class OneFile : public FileReader {
 public:
  explicit OneFile(std::string bytes) : bytes_(std::move(bytes)) {}

  absl::StatusOr<File> Read(const std::string& path) override {
    if (path != kFile) return absl::NotFoundError("No such file or directory");
    return File{path, bytes_};
  }
  absl::StatusOr<std::vector<std::string>> Match(const std::string&) override {
    return std::vector<std::string>();
  }

 private:
  std::string bytes_;
};

int Characters(std::string_view text) {
  return static_cast<int>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

// A backslash at its end would join the next line to it.
std::string CommentText(std::string text) {
  while (!text.empty() && (text.back() == '\\' || IsBlank(text.back()))) text.pop_back();
  return text;
}

// In full, so that it can be taken from the comment; a byte that is no text is "?".
std::string Whole(std::string_view text) {
  std::string whole(text);
  for (char& c : whole) {
    if (IsControl(c) || static_cast<unsigned char>(c) >= 0x80) c = '?';
  }
  return whole;
}

std::string NoteText(const Origin& origin, std::string_view what) {
  return CommentText(Cat("# not carried over: ", Shown(origin.file), ":", origin.line, ": ", what));
}

// "converted:3:14: MESSAGE".
bool ReadPlace(std::string_view error, size_t* line, int* column, std::string_view* message) {
  if (!ConsumePrefix(&error, kFile) || !ConsumePrefix(&error, ":")) return false;
  unsigned number = 0;
  const size_t end = error.find(':');
  if (end == std::string_view::npos || !ParseNumber(error.substr(0, end), &number)) return false;
  *line = number;
  error.remove_prefix(end + 1);
  const size_t second = error.find(':');
  if (second == std::string_view::npos) return false;
  *column = ParseNumber(error.substr(0, second), &number) ? static_cast<int>(number) : 0;
  error.remove_prefix(second + 1);
  ConsumePrefix(&error, " ");
  *message = error;
  return true;
}

}  // namespace

void Line::Set(std::string_view key, std::string_view value) { SetList(key, {std::string(value)}); }

void Line::SetList(std::string_view key, const std::vector<std::string>& values) {
  if (values.empty()) return;
  std::string text = Cat(key, "=");
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) text += ',';
    text += QuotedIfNeeded(values[i]);
  }
  for (Word& word : words_) {
    if (word.key == key) {
      word.text = std::move(text);
      return;
    }
  }
  words_.push_back({std::string(key), std::move(text)});
}

void Model::Note(const Origin& origin, std::string_view what) {
  items_.push_back({NoteText(origin, Shown(what)), std::nullopt});
  complete_ = false;
}

Line* Model::Add(std::string_view flag, const Origin& origin) {
  items_.push_back({"", Line(flag, origin)});
  return &*items_.back().line;
}

void Model::AddScalar(std::string_view name, std::string_view value, const Origin& origin) {
  items_.push_back({"", Line(name, origin), true});
  items_.back().line->words_.push_back({std::string(name), std::string(value)});
}

std::string Model::LineText(const Item& item) const {
  if (!item.line) return item.note;
  std::string text = Cat("--", item.line->flag_, "=");
  for (size_t i = 0; i < item.line->words_.size(); ++i) {
    if (i > 0) text += ' ';
    text += item.line->words_[i].text;
  }
  return text;
}

bool Model::Refuse(size_t index, int column, std::string_view message) {
  Item& item = items_[index];
  if (!item.line) return false;
  complete_ = false;
  Line& line = *item.line;
  int at = Characters(Cat("--", line.flag_, "=")) + 1;
  for (size_t i = 0; i < line.words_.size() && !item.scalar; ++i) {
    const Line::Word& word = line.words_[i];
    const int end = at + Characters(word.text);
    if (column >= at && column < end &&
        std::find(std::begin(kVital), std::end(kVital), word.key) == std::end(kVital)) {
      const std::string note = NoteText(
          line.origin_, Cat(Whole(word.text), " of a --", line.flag_, " line: ", Shown(message)));
      line.words_.erase(line.words_.begin() + static_cast<std::ptrdiff_t>(i));
      item.note += Cat(item.note.empty() ? "" : "\n", note);
      return true;
    }
    at = end + 1;
  }
  std::string note = NoteText(line.origin_, Cat(Whole(LineText(item)), ": ", Shown(message)));
  if (!item.note.empty()) note = Cat(item.note, "\n", note);
  item = {note, std::nullopt};
  return true;
}

Model::Printed Model::Print(std::string_view title, const SystemFacts& facts) {
  for (;;) {
    std::string text = CommentText(Cat("# ", Shown(title))) + "\n";
    size_t lines = 1;
    std::vector<std::pair<size_t, size_t>> places;  // of a line that is one: its number, its item
    for (size_t i = 0; i < items_.size(); ++i) {
      const Item& item = items_[i];
      if (!item.note.empty()) {
        Append(&text, item.note, "\n");
        lines += 1 + static_cast<size_t>(std::count(item.note.begin(), item.note.end(), '\n'));
      }
      if (!item.line) continue;
      Append(&text, LineText(item), "\n");
      places.emplace_back(++lines, i);
    }
    OneFile file(text);
    const LoadResult loaded =
        Load(std::vector<std::string>{"--check", Cat("--flagfile=", kFile)}, facts, file);
    bool changed = false;
    std::set<size_t> done;  // columns of a line that was changed say nothing any more
    for (const std::string& error : loaded.errors) {
      size_t line = 0;
      int column = 0;
      std::string_view message;
      if (!ReadPlace(error, &line, &column, &message)) continue;
      const auto place = std::lower_bound(places.begin(), places.end(), line,
                                          [](const auto& p, size_t n) { return p.first < n; });
      if (place == places.end() || place->first != line || !done.insert(place->second).second) {
        continue;
      }
      changed = Refuse(place->second, column, message) || changed;
    }
    if (changed) continue;
    if (loaded.errors.empty()) return {std::move(text), complete_};
    // No line is to blame, as where there is no server left. What is there would be of no use.
    const std::string why = Shown(loaded.errors[0]);
    for (size_t i = 0; i < items_.size(); ++i) {
      if (items_[i].line && !items_[i].scalar) changed = Refuse(i, 0, why) || changed;
    }
    if (changed) continue;
    Append(&text, CommentText(Cat("# not carried over: ", why)), "\n");
    return {std::move(text), false};
  }
}

std::string Names::Add(std::string_view wanted) {
  constexpr size_t kMostBytes = 58;
  std::string name;
  for (const char c : wanted.substr(0, kMostBytes)) {
    const bool fine = IsDigit(c) || IsLetter(c) || c == '_' || c == '.' || c == '-';
    name += fine ? c : '_';
  }
  if (name.empty()) name = "unnamed";
  std::string unique = name;
  for (unsigned n = 2; !taken_.insert(unique).second; ++n) unique = Cat(name, "-", n);
  return unique;
}

bool AccessRules::Add(bool allow, std::string_view text) {
  if (text == "all") return Add(allow, "0.0.0.0/0") && Add(allow, "::/0");
  const size_t slash = text.find('/');
  const std::string_view ip = text.substr(0, slash);
  const bool ipv4 = ip.find(':') == std::string_view::npos;
  const auto address =
      ParseAddress(ipv4 ? Cat(ip, ":1") : Cat("[", ip, "]:1"), AddressUse::kConnects);
  const bool any = ip == "0.0.0.0" || ip == "::";
  if (!address.ok() && !any) return false;
  if (address.ok() && address->kind != Address::Kind::kIpv4 &&
      address->kind != Address::Kind::kIpv6) {
    return false;
  }
  const size_t bytes = ipv4 ? 4 : 16;
  unsigned bits = static_cast<unsigned>(bytes) * 8;
  if (slash != std::string_view::npos &&
      (!ParseNumber(text.substr(slash + 1), &bits) || bits > bytes * 8)) {
    return false;
  }
  std::array<uint8_t, 16> raw = {};
  if (!any && address.ok()) raw = address->ip;
  for (unsigned bit = bits; bit < bytes * 8; ++bit) {
    raw[bit / 8] = static_cast<uint8_t>(raw[bit / 8] & ~(0x80u >> (bit % 8)));
  }
  AddRule({allow, ipv4, static_cast<int>(bits),
           std::string(reinterpret_cast<const char*>(raw.data()), bytes), std::string(text)});
  return true;
}

void AccessRules::AddRule(Rule rule) {
  for (const Rule& earlier : rules_) {
    if (earlier.ipv4 != rule.ipv4 || earlier.bits > rule.bits) continue;
    bool holds = true;
    for (int bit = 0; bit < earlier.bits && holds; ++bit) {
      const size_t byte = static_cast<size_t>(bit) / 8;
      holds = ((earlier.ip[byte] ^ rule.ip[byte]) & (0x80 >> (bit % 8))) == 0;
    }
    if (holds) return;  // nobody gets as far as to this one
  }
  rules_.push_back(std::move(rule));
}

void AccessRules::SetOn(Line* listen) const {
  AccessRules all = *this;
  const auto allows = [](const Rule& rule) { return rule.allow; };
  if (std::any_of(rules_.begin(), rules_.end(), allows)) all.Add(true, "all");
  std::vector<std::string> allowed;
  std::vector<std::string> denied;
  for (const Rule& rule : all.rules_) (rule.allow ? allowed : denied).push_back(rule.text);
  if (!allowed.empty()) {
    // Who is not allowed is denied anyway.
    std::erase_if(denied, [](const std::string& text) { return text.ends_with("/0"); });
    if (denied.empty() && allowed == std::vector<std::string>{"0.0.0.0/0", "::/0"}) return;
  }
  listen->SetList("allow", allowed);
  listen->SetList("deny", denied);
}

void SetIdle(std::optional<absl::Duration> client, std::optional<absl::Duration> server,
             Line* listen) {
  const absl::Duration c = client.value_or(absl::ZeroDuration());
  const absl::Duration s = server.value_or(absl::ZeroDuration());
  listen->Set("half_close_timeout", PrintDuration(std::max(c, s)));
  if (c == s) {
    listen->Set("idle_timeout", PrintDuration(c));
    return;
  }
  listen->Set("idle_timeout", "off");
  if (client) listen->Set("client_idle_timeout", PrintDuration(c));
  if (server) listen->Set("server_idle_timeout", PrintDuration(s));
}

std::optional<std::string> KeepaliveOf(const std::map<std::string, std::string>& said) {
  if (said.empty()) return std::nullopt;
  const auto value = [&said](const char* name, std::string_view standard) {
    const auto found = said.find(name);
    return found == said.end() ? std::string(standard) : found->second;
  };
  // net.ipv4.tcp_keepalive_time, _intvl, _probes.
  const auto idle = ReadTime(value("idle", "7200"), absl::Seconds(1));
  const auto interval = ReadTime(value("intvl", "75"), absl::Seconds(1));
  if (!idle || !interval) return std::nullopt;
  const auto seconds = [](absl::Duration d) {
    return Cat(std::max<int64_t>(1, absl::ToInt64Seconds(d)), "s");
  };
  return Cat(seconds(*idle), ":", seconds(*interval), ":", value("cnt", "9"));
}

std::optional<absl::Duration> ReadTime(std::string_view text, absl::Duration unit) {
  constexpr uint64_t kMost = 1'000'000'000'000;
  if (text.empty()) return std::nullopt;
  absl::Duration sum;
  while (!text.empty()) {
    size_t digits = 0;
    while (digits < text.size() && IsDigit(text[digits])) ++digits;
    uint64_t number = 0;
    if (!ParseNumber(text.substr(0, digits), &number) || number > kMost) return std::nullopt;
    text.remove_prefix(digits);
    size_t letters = 0;
    while (letters < text.size() && IsLetter(text[letters])) ++letters;
    const std::string_view name = text.substr(0, letters);
    text.remove_prefix(letters);
    absl::Duration one = unit;
    if (name == "us") {
      one = absl::Microseconds(1);
    } else if (name == "ms") {
      one = absl::Milliseconds(1);
    } else if (name == "s") {
      one = absl::Seconds(1);
    } else if (name == "m") {
      one = absl::Minutes(1);
    } else if (name == "h") {
      one = absl::Hours(1);
    } else if (name == "d") {
      one = absl::Hours(24);
    } else if (name == "w") {
      one = absl::Hours(24 * 7);
    } else if (name == "M") {
      one = absl::Hours(24 * 30);
    } else if (name == "y") {
      one = absl::Hours(24 * 365);
    } else if (!name.empty() || !text.empty()) {
      return std::nullopt;
    }
    sum += one * static_cast<int64_t>(number);
    if (sum > kMostDuration) return std::nullopt;
  }
  return sum;
}

std::string Words(const std::vector<std::string>& words) { return Join(words, " "); }

bool IsOneOf(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

}  // namespace parkway::config::convert
