#include "deploy/man/pages.h"

#include <algorithm>

#include "config/flags.h"
#include "config/grammar.h"
#include "config/text.h"
#include "proxy/admin/command_table.h"

namespace parkway {

namespace {

using config::Append;
using config::Cat;
using config::Flag;

constexpr std::string_view kMarker = ".\\\" @";

// "--name=VALUE" with the name in bold and the value as it is written.
std::string Tag(std::string_view dashes, std::string_view name, std::string_view value) {
  std::string tag = Cat("\\fB", RoffText(Cat(dashes, name)), "\\fR");
  if (!value.empty()) Append(&tag, "=", RoffText(value));
  return tag;
}

void AppendFlag(std::string* page, const Flag& flag) {
  Append(page, ".TP\n");
  for (const char letter : flag.short_forms) {
    Append(page, Tag("-", std::string(1, letter), ""), ", ");
  }
  Append(page, Tag("--", flag.name, flag.value), "\n", RoffText(flag.help), ".\n");
  if (!flag.default_text.empty()) {
    Append(page, "Default: ", RoffText(flag.default_text), ".\n");
  }
  std::string lines;
  for (const std::string_view line : {config::kListen, config::kUpstream, config::kServer}) {
    if ((flag.places & config::PlaceOf(line)) == 0) continue;
    Append(&lines, lines.empty() ? "" : ", ", Tag("--", line, ""));
  }
  if (!lines.empty()) Append(page, "Also a key of ", lines, ".\n");
  if (flag.in_file && (flag.is_scalar() || flag.is_list()) && !flag.reloadable) {
    Append(page, "Takes effect at the next start.\n");
  }
}

std::string Actions() {
  std::string page;
  for (const Flag& flag : config::AllFlags()) {
    if (!flag.in_file || flag.name == config::kFlagfile) AppendFlag(&page, flag);
  }
  return page;
}

std::string Flags() {
  std::string page;
  std::optional<config::Group> group;
  for (const Flag& flag : config::AllFlags()) {
    if (!flag.in_file) continue;
    if (group != flag.group) {
      group = flag.group;
      Append(&page, ".SS ", RoffText(config::GroupName(flag.group)), "\n");
    }
    AppendFlag(&page, flag);
  }
  return page;
}

std::string Keys() {
  std::string page;
  std::string_view line;
  for (const config::KeySpec& key : config::AllKeys()) {
    if (key.flag != line) {
      line = key.flag;
      Append(&page, ".SS ", RoffText(Cat("--", line)), "\n");
    }
    Append(&page, ".TP\n", Tag("", key.name, key.value), "\n", RoffText(key.help), ".\n");
    if (!key.default_text.empty()) {
      Append(&page, "Default: ", RoffText(key.default_text), ".\n");
    }
    if (key.first) {
      Append(&page, "Its name may be left out where it comes first.\n");
    }
  }
  return page;
}

}  // namespace

std::string RoffText(std::string_view text) {
  std::string roff;
  for (const char c : text) {
    switch (c) {
      case '\\':
        roff += "\\e";
        break;
      case '-':
        roff += "\\-";
        break;
      case '~':
        roff += "\\(ti";
        break;
      case '^':
        roff += "\\(ha";
        break;
      case '`':
        roff += "\\(ga";
        break;
      case '\'':
        roff += "\\(aq";
        break;
      default:
        roff += c;
    }
  }
  // An order begins with a dot; what shows nothing keeps it from being one.
  if (roff.starts_with('.')) roff.insert(0, "\\&");
  return roff;
}

std::optional<std::string> Fill(std::string_view page_template) {
  std::string page;
  while (!page_template.empty()) {
    const size_t end = std::min(page_template.find('\n'), page_template.size() - 1) + 1;
    const std::string_view line = page_template.substr(0, end);
    page_template.remove_prefix(end);
    if (!line.starts_with(kMarker)) {
      page += line;
      continue;
    }
    const std::string_view name = line.substr(kMarker.size(), line.rfind('@') - kMarker.size());
    if (name == "ACTIONS") {
      page += Actions();
    } else if (name == "FLAGS") {
      page += Flags();
    } else if (name == "KEYS") {
      page += Keys();
    } else if (name == "COMMANDS") {
      page += admin::CommandsAsMan();
    } else {
      return std::nullopt;
    }
  }
  return page;
}

}  // namespace parkway
