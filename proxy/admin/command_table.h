// The commands of the admin interface, as one table: what the daemon understands, what `help` and
// `parkwayctl --help` say, what the shell completes and what the man page lists.
//
// Immutable; any thread. Knows no daemon: parkwayctl links it too.
#ifndef PROXY_ADMIN_COMMAND_TABLE_H_
#define PROXY_ADMIN_COMMAND_TABLE_H_

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace parkway::admin {

// How a command ended; also the exit code of parkwayctl.
enum class Status : int {
  kDone = 0,
  kRefused = 1,  // or failed
  kUsage = 2,    // not understood
  kTimeout = 3,  // not done in the time given: it may still be going on
};

struct Command {
  std::string_view words;         // "server drain"
  std::string_view arguments;     // "UPSTREAM/SERVER [--over TIME]"; empty: none
  std::string_view summary;       // one line, without a stop
  std::string_view details = {};  // sentences for the man page; may be empty
  bool changes = false;  // something of the daemon: such a command is logged with who said it
  bool local = false;    // parkwayctl does it; the daemon does not know it
};

// In the order in which help shows them.
std::span<const Command> CommandTable();

// The command that `words` begin with; null: none. `used`: how many words name it.
const Command* FindCommand(std::span<const std::string_view> words, size_t* used);

// Why `words` are no command, with the nearest one that is.
std::string ExplainUnknown(std::span<const std::string_view> words);

// The blank-separated words of a line.
std::vector<std::string_view> SplitWords(std::string_view line);

// A line for each command, or for those that begin with `words`.
std::string HelpText(std::string_view words);

// The table as the section of a man page (groff): for whoever makes man pages.
std::string CommandsAsMan();

}  // namespace parkway::admin

#endif  // PROXY_ADMIN_COMMAND_TABLE_H_
