// Flags: the one table of every flag that parkway knows.
//
// --help, the README's table, the reader of flags files, --dump_config and the defaults all come
// from this table, whose rows are in flag_rows_*.cc. gflags' own parsing is not used: it exits by
// itself, keeps one value of a list, and passes over what it does not know.
//
// The table is constant: any thread.
#ifndef CONFIG_FLAGS_H_
#define CONFIG_FLAGS_H_

#include <string>
#include <string_view>

#include "absl/types/span.h"
#include "config/flag.h"
#include "config/scalars.h"

namespace parkway::config {

// In the order of --help.
absl::Span<const Flag> AllFlags();
// Names of all flags, for suggestions.
absl::Span<const std::string_view> FlagNames();
// Of the list flag `name`: the place that its lines are; kNowhere if it is none.
Places PlaceOf(std::string_view name);
// "--listen", "--upstream and --server", ...
std::string PlacesText(Places places);
// nullptr if there is none.
const Flag* FindFlag(std::string_view name);
const Flag* FindShortFlag(char letter);

// Settings of one line that have no scalar flag, as they would say the same of every line: keys of
// the lines in Flag::places. Their rows in the README are those of grammar.h.
absl::Span<const Flag> LineFlags();
const Flag* FindLineFlag(std::string_view name);

std::string_view GroupName(Group group);

Scalars DefaultScalars();
// The text of --help: flags by group with defaults and units.
std::string HelpText();

}  // namespace parkway::config

#endif  // CONFIG_FLAGS_H_
