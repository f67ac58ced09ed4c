#include "tests/config/tables.h"

#include <optional>

#include "config/flags.h"
#include "config/grammar.h"
#include "config/text.h"

namespace parkway::config {
namespace {

std::string InCode(std::string_view text) { return text.empty() ? "" : Cat("`", text, "`"); }

// A | separates the columns of a table in Markdown, in code too.
std::string Escaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '|') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

// As comments of at most 98 columns.
void AppendComment(std::string* out, std::string_view text) {
  constexpr size_t kWidth = 98;
  size_t column = 0;
  for (const std::string_view word : Split(text, ' ')) {
    if (column == 0 || column + 1 + word.size() > kWidth) {
      *out += column == 0 ? "# " : "\n# ";
      column = 2;
    } else {
      *out += ' ';
      ++column;
    }
    *out += word;
    column += word.size();
  }
  *out += '\n';
}

std::string_view ExampleOf(const Flag& flag) {
  if (flag.name == kListen) return ":8080";
  if (flag.name == kUpstream) return "127.0.0.1:9000,127.0.0.1:9001";
  if (flag.name == kServer) return "127.0.0.1:9002 name=third connect_timeout=1s";
  if (flag.name == kRoute) return "protocol=ssh";
  return flag.default_text;
}

}  // namespace

std::vector<std::string> FlagRows() {
  std::vector<std::string> rows;
  for (const Flag& flag : AllFlags()) {
    std::string name = Cat("`--", flag.name, "`");
    for (const char letter : flag.short_forms) Append(&name, " `-", std::string(1, letter), "`");
    std::string where = flag.in_file ? "file, argv" : "argv";
    for (const std::string_view line : {kListen, kUpstream, kServer}) {
      if ((flag.places & PlaceOf(line)) != 0) Append(&where, ", ", line);
    }
    rows.push_back(Cat("| ", name, " | ", InCode(Escaped(flag.value)), " | ",
                       InCode(flag.default_text), " | ", where, " | ",
                       flag.reloadable ? "yes" : "no", " | ", flag.help, " |"));
  }
  return rows;
}

std::vector<std::string> KeyRows() {
  std::vector<std::string> rows;
  for (const KeySpec& key : AllKeys()) {
    rows.push_back(Cat("| `", key.name, "=` | `--", key.flag, "` | ", InCode(Escaped(key.value)),
                       " | ", key.first ? "yes" : "no", " | ", key.default_text, " | ", key.help,
                       " |"));
  }
  return rows;
}

bool IsFlagRow(std::string_view line) { return line.starts_with("| `--"); }

bool IsKeyRow(std::string_view line) {
  return line.starts_with("| `") && line.find("=` | `--") != std::string_view::npos;
}

std::string Sample() {
  std::string text =
      "# A flags file of parkway: one --NAME=VALUE a line. Below is every flag, with its default,\n"
      "# or an example. config/README.md says how it is read.\n"
      "#\n"
      "#   parkway -c parkway.flags -t     says what is wrong with it\n"
      "#   parkway -c parkway.flags        runs\n"
      "#\n"
      "# [listen], [upstream], [server]: also a key of such a line, for that line alone, as in\n"
      "# --listen=:8080 idle_timeout=8h. [start]: a reload does not apply it.\n";
  std::optional<Group> group;
  for (const Flag& flag : AllFlags()) {
    if (!flag.in_file || (!flag.is_scalar() && !flag.is_list())) continue;
    if (group != flag.group) {
      group = flag.group;
      Append(&text, "\n# --- ", GroupName(flag.group), "\n");
    }
    std::string where;
    for (const std::string_view line : {kListen, kUpstream, kServer}) {
      if ((flag.places & PlaceOf(line)) != 0) Append(&where, " [", line, "]");
    }
    if (!flag.reloadable) where += " [start]";
    text += '\n';
    AppendComment(&text, Cat(flag.value, where, ": ", flag.help));
    Append(&text, "#--", flag.name, "=", ExampleOf(flag), "\n");
  }
  return text;
}

}  // namespace parkway::config
