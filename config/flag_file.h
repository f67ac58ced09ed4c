// The strict reader of flags files: from the bytes of one file to its lines.
//
//   # a comment
//   --idle_timeout=1h
//
// A logical line is blank, a comment, or --NAME=VALUE; a trailing backslash joins it with the next
// by one blank. What is not of this form is told with line and column, all of it at once, and the
// lines that are right are returned nevertheless, so that their values are looked at too. Whether a
// name is known is the caller's affair. Includes are lines like others here.
//
// Pure functions: any thread.
#ifndef CONFIG_FLAG_FILE_H_
#define CONFIG_FLAG_FILE_H_

#include <string>
#include <string_view>
#include <vector>

#include "config/source.h"

namespace parkway::config {

struct FlagLine {
  Place place;  // of the --
  std::string name;
  // A scalar's is without its quotes; a list flag's words keep theirs (grammar.h).
  SourceText value;
};

// `source` is the file's name in places.
std::vector<FlagLine> ReadFlagText(const std::string& source, std::string_view bytes,
                                   Problems* problems);

}  // namespace parkway::config

#endif  // CONFIG_FLAG_FILE_H_
