#include "config/flags.h"

#include <optional>
#include <unordered_map>
#include <vector>

#include "config/flag_rows.h"
#include "config/text.h"

namespace parkway::config {
namespace {

// Breaks `text` at blanks into lines of at most `width`, each after `indent` blanks.
void AppendWrapped(std::string* out, std::string_view text, size_t indent, size_t width) {
  size_t column = 0;
  for (const std::string_view word : Split(text, ' ')) {
    if (column == 0 || column + 1 + word.size() > width) {
      if (column != 0) *out += '\n';
      Append(out, std::string(indent, ' '), word);
      column = indent + word.size();
    } else {
      Append(out, " ", word);
      column += 1 + word.size();
    }
  }
  *out += '\n';
}

}  // namespace

absl::Span<const Flag> AllFlags() {
  static const std::vector<Flag> flags = [] {
    std::vector<Flag> all;
    for (const auto rows :
         {ListeningRows(), UpstreamRows(), NamesRows(), AdmissionRows(), HealthRows(),
          SessionRows(), SocketRows(), AdminRows(), ProcessRows()}) {
      all.insert(all.end(), rows.begin(), rows.end());
    }
    return all;
  }();
  return flags;
}

absl::Span<const Flag> LineFlags() { return LineRows(); }

const Flag* FindLineFlag(std::string_view name) {
  for (const Flag& flag : LineFlags()) {
    if (flag.name == name) return &flag;
  }
  return nullptr;
}

absl::Span<const std::string_view> FlagNames() {
  static const std::vector<std::string_view> names = [] {
    std::vector<std::string_view> all;
    for (const Flag& flag : AllFlags()) all.push_back(flag.name);
    return all;
  }();
  return names;
}

Places PlaceOf(std::string_view name) {
  if (name == kListen) return kOnListen;
  if (name == kUpstream) return kOnUpstream;
  if (name == kServer) return kOnServer;
  if (name == kRoute) return kOnRoute;
  return kNowhere;
}

std::string PlacesText(Places places) {
  std::vector<std::string> names;
  for (const std::string_view name : {kListen, kUpstream, kServer, kRoute}) {
    if ((places & PlaceOf(name)) != 0) names.push_back(Cat("--", name));
  }
  if (names.size() < 2) return Join(names, "");
  const std::string last = names.back();
  names.pop_back();
  return Cat(Join(names, ", "), " and ", last);
}

const Flag* FindFlag(std::string_view name) {
  static const std::unordered_map<std::string_view, const Flag*> flags = [] {
    std::unordered_map<std::string_view, const Flag*> all;
    for (const Flag& flag : AllFlags()) all.emplace(flag.name, &flag);
    return all;
  }();
  const auto found = flags.find(name);
  return found == flags.end() ? nullptr : found->second;
}

const Flag* FindShortFlag(char letter) {
  for (const Flag& flag : AllFlags()) {
    if (flag.short_forms.find(letter) != std::string_view::npos) return &flag;
  }
  return nullptr;
}

std::string_view GroupName(Group group) {
  switch (group) {
    case Group::kListening:
      return "Listening";
    case Group::kUpstream:
      return "Upstream";
    case Group::kNames:
      return "Names";
    case Group::kAdmission:
      return "Admission";
    case Group::kHealth:
      return "Health";
    case Group::kTimeouts:
      return "Timeouts";
    case Group::kLimits:
      return "Limits";
    case Group::kSockets:
      return "Sockets";
    case Group::kLogging:
      return "Logging";
    case Group::kAdmin:
      return "Administration";
    case Group::kProcess:
      return "Process";
  }
  return "";
}

Scalars DefaultScalars() {
  static const Scalars defaults = [] {
    Scalars scalars;
    for (const Flag& flag : AllFlags()) {
      // A test reads every default.
      if (flag.is_scalar()) SetScalar(flag, flag.default_text, scalars).IgnoreError();
    }
    for (const Flag& flag : LineFlags()) SetScalar(flag, flag.default_text, scalars).IgnoreError();
    return scalars;
  }();
  return defaults;
}

std::string HelpText() {
  constexpr size_t kIndent = 6;
  constexpr size_t kWidth = 80;
  std::string text =
      "parkway: a TCP proxy\n"
      "\n"
      "  parkway --listen=:8080 --upstream=10.0.0.1:9000,10.0.0.2:9000\n"
      "  parkway -c parkway.flags\n"
      "\n"
      "Units: DURATION us ms s m h d, as in 1h30m. 0, 0s and off are the same.\n"
      "[R]: a reload applies it; a change of the others waits for a restart.\n"
      "[C]: on the command line only, not in a flags file.\n"
      "[L] [U] [S]: also a key of --listen, --upstream, --server, for that line alone.\n";
  std::optional<Group> group;
  for (const Flag& flag : AllFlags()) {
    if (group != flag.group) {
      group = flag.group;
      Append(&text, "\n", GroupName(flag.group), "\n");
    }
    text += "  ";
    for (const char letter : flag.short_forms) Append(&text, "-", std::string(1, letter), ", ");
    Append(&text, "--", flag.name);
    if (!flag.value.empty()) Append(&text, "=", flag.value);
    if (!flag.default_text.empty()) Append(&text, "  (default ", flag.default_text, ")");
    if ((flag.places & kOnListen) != 0) text += "  [L]";
    if ((flag.places & kOnUpstream) != 0) text += "  [U]";
    if ((flag.places & kOnServer) != 0) text += "  [S]";
    if (flag.reloadable) text += "  [R]";
    if (!flag.in_file) text += "  [C]";
    text += '\n';
    AppendWrapped(&text, flag.help, kIndent, kWidth);
  }
  return text;
}

}  // namespace parkway::config
