// Gather: everything the operator said, from the command line, the environment and the files with
// their includes, in order, each with its place, before it is known whether it fits together.
//
// Files come first, in the order named; an include is read in place, by a name relative to the
// file that names it. The command line beats the files. On the command line the last of a scalar
// counts; twice in files is an error. Lines of list flags add up.
//
// On one thread at a time.
#ifndef CONFIG_GATHER_H_
#define CONFIG_GATHER_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "config/file_reader.h"
#include "config/flags.h"
#include "config/snapshot.h"
#include "config/source.h"

namespace parkway::config {

struct ListLine {
  const Flag* flag;
  Place place;
  SourceText value;
};

struct Gathered {
  Scalars scalars = DefaultScalars();
  std::map<std::string_view, Place> set_at;  // scalars that were set: where
  std::vector<ListLine> lists;               // in order
  std::set<std::string_view> actions;        // "check", ...
  std::vector<std::string> may_be_unknown;   // --undefok
  std::optional<uint64_t> nofile;            // --nofile
  Problems errors;
  Problems warnings;

  bool wants(std::string_view action) const { return actions.count(action) != 0; }
};

// If --help or --version is given, no file is read.
Gathered Gather(absl::Span<const std::string> arguments, const SystemFacts& facts,
                FileReader& files);

}  // namespace parkway::config

#endif  // CONFIG_GATHER_H_
