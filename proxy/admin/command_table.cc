#include "proxy/admin/command_table.h"

#include <algorithm>
#include <array>

#include "config/quote.h"
#include "config/text.h"

namespace parkway::admin {

using config::Append;
using config::Cat;
using config::Join;

namespace {

constexpr std::array kCommands = {
    Command{"show info", "", "the process: version, uptime, connections, limits, configuration"},
    Command{"show stat", "", "numbers of listeners, upstreams and servers, as HAProxy's CSV",
            "The columns are those of HAProxy's show stat, in its order, so that what reads them "
            "reads these: a FRONTEND row for each listener, and for each upstream a row for each "
            "server and a BACKEND row."},
    Command{"show conns",
            "[listener=NAME] [upstream=NAME] [server=UPSTREAM/SERVER] [src=CIDR] [state=WORD] "
            "[idle>TIME] [age>TIME] [bytes>SIZE] [limit=N]",
            "open connections, with what TCP says of both sides",
            "All conditions must hold. The list is made while the connections go on, so one that "
            "begins or ends meanwhile may be in it or not. A reader that is slow slows only its "
            "own list."},
    Command{"show conn", "ID", "one connection, explained"},
    Command{"show slowest", "", "the connections that make somebody wait longest"},
    Command{"show servers", "[UPSTREAM]", "servers: state, connections, checks, connect times"},
    Command{"show listeners", "", "listeners: state, addresses, connections, bytes"},
    Command{"show threads", "", "worker threads: connections, load, what they hold"},
    Command{"show dns", "", "names that are resolved: answers, age, errors"},
    Command{"show config", "[--runtime]",
            "the configuration in use; with --runtime what was changed since by commands"},
    Command{"show limits", "", "limits, what is used of them, and what set them"},
    Command{"show drains", "", "paced drains under way, and those that ended lately"},
    Command{"show version", "", "the version"},
    Command{"server ready", "UPSTREAM/SERVER", "it takes connections again", "", true},
    Command{"server drain", "UPSTREAM/SERVER [--over TIME]",
            "it takes no new connections; those it has go on, or end within TIME",
            "With --over its connections are closed evenly over that time, those that were idle "
            "longest first.",
            true},
    Command{"server down", "UPSTREAM/SERVER",
            "it takes no new connections and is not checked; those it has go on", "", true},
    Command{"server weight", "UPSTREAM/SERVER N",
            "its share of new connections: 0 to 256, 0 for none", "", true},
    Command{"server max_conns", "UPSTREAM/SERVER N",
            "connections that it may have at once; 0 for no limit", "", true},
    Command{"server add", "UPSTREAM/SERVER addr=ADDRESS [KEY=VALUE]...",
            "a new server, with the keys of --server", "", true},
    Command{"server del", "UPSTREAM/SERVER",
            "it is removed; its connections follow on_remove of the upstream", "", true},
    Command{"listener pause", "NAME", "it accepts nobody; who connects waits in the kernel's queue",
            "", true},
    Command{"listener resume", "NAME", "it accepts again", "", true},
    Command{"conn kill", "ID | src=CIDR | server=UPSTREAM/SERVER | listener=NAME | upstream=NAME",
            "connections are reset",
            "Several conditions must all hold. What was counted as killed is logged with the cause "
            "admin_kill.",
            true},
    Command{"set log_level", "info|warning|error", "which lines about the process are written", "",
            true},
    Command{"drain", "[--percent N] [--over TIME] [--wait]",
            "a part of all connections is closed evenly, those that were idle longest first",
            "New connections are accepted meanwhile, so that connections come to be spread anew "
            "over several machines. Without --percent all that are open now, without --over at "
            "once. --wait shows how far it is until it has ended.",
            true},
    Command{"reload", "[--wait] [--dry_run] [--reset_runtime]",
            "the configuration is read again and what differs is applied",
            "--wait waits for the verdict and ends with 1 if the configuration was refused, in "
            "which case nothing has changed. --dry_run only says what would change. "
            "--reset_runtime forgets what commands have changed.",
            true},
    Command{.words = "top",
            .arguments = "[--interval=TIME] [--count=N]",
            .summary = "a live view: rates, connections, servers, slowest connections",
            .details = "Of parkwayctl alone. q ends it. Where the output is no terminal, one view "
                       "after the other is written as lines.",
            .local = true},
    Command{"help", "[COMMAND]", "this list"},
};

size_t CountWords(std::string_view words) {
  return 1 + static_cast<size_t>(std::count(words.begin(), words.end(), ' '));
}

// What groff would take for its own.
std::string Escaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\\') {
      escaped += "\\e";
    } else if (c == '-') {
      escaped += "\\-";
    } else if (c == '\'') {
      escaped += "\\(aq";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

}  // namespace

std::span<const Command> CommandTable() { return kCommands; }

std::vector<std::string_view> SplitWords(std::string_view line) {
  constexpr std::string_view kBlanks = " \t\r\n";
  std::vector<std::string_view> words;
  for (;;) {
    const size_t begin = line.find_first_not_of(kBlanks);
    if (begin == std::string_view::npos) return words;
    line.remove_prefix(begin);
    const size_t end = std::min(line.find_first_of(kBlanks), line.size());
    words.push_back(line.substr(0, end));
    line.remove_prefix(end);
  }
}

const Command* FindCommand(std::span<const std::string_view> words, size_t* used) {
  const Command* found = nullptr;
  for (const Command& command : kCommands) {
    const size_t count = CountWords(command.words);
    if (words.size() < count || Join(words.first(count), " ") != command.words) continue;
    found = &command;
    *used = count;
  }
  return found;
}

std::string ExplainUnknown(std::span<const std::string_view> words) {
  std::vector<std::string_view> known;    // first words
  std::vector<std::string_view> seconds;  // after the same first word
  for (const Command& command : kCommands) {
    const std::vector<std::string_view> parts = SplitWords(command.words);
    known.push_back(parts[0]);
    if (!words.empty() && parts.size() > 1 && parts[0] == words[0]) seconds.push_back(parts[1]);
  }
  if (words.size() == 1 && !seconds.empty()) {
    return Cat(words[0], " what? One of: ", Join(seconds, ", "));
  }
  if (seconds.empty()) {
    std::string text = Cat("unknown command ", config::Quoted(words.empty() ? "" : words[0]));
    const std::string_view nearest =
        words.empty() ? std::string_view() : config::Nearest(words[0], known);
    Append(&text,
           nearest.empty() ? "; help lists all commands" : Cat("; did you mean ", nearest, "?"));
    return text;
  }
  std::string text = Cat("unknown command ", config::Quoted(Cat(words[0], " ", words[1])));
  const std::string_view nearest = config::Nearest(words[1], seconds);
  if (nearest.empty()) {
    Append(&text, "; after ", words[0], " comes one of: ", Join(seconds, ", "));
  } else {
    Append(&text, "; did you mean ", words[0], " ", nearest, "?");
  }
  return text;
}

std::string HelpText(std::string_view words) {
  std::string text;
  for (const Command& command : kCommands) {
    if (!command.words.starts_with(words)) continue;
    Append(&text, command.words, command.arguments.empty() ? "" : " ", command.arguments, "\n    ",
           command.summary, "\n");
    // Asked for one by its name: all there is to say.
    if (command.words == words && !command.details.empty()) {
      Append(&text, "    ", command.details, "\n");
    }
  }
  return text;
}

std::string CommandsAsMan() {
  std::string text;
  for (const Command& command : kCommands) {
    Append(&text, ".TP\n\\fB", Escaped(command.words), "\\fR");
    if (!command.arguments.empty()) Append(&text, " ", Escaped(command.arguments));
    std::string summary(command.summary);
    summary[0] = static_cast<char>(summary[0] - 'a' + 'A');
    Append(&text, "\n", Escaped(summary), ".\n");
    if (!command.details.empty()) Append(&text, Escaped(command.details), "\n");
  }
  return text;
}

}  // namespace parkway::admin
