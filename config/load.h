// Load: from the command line to a snapshot, or to all that is wrong with it.
//
//   LoadResult loaded = Load(argc, argv, facts, files);
//   for (const std::string& line : loaded.warnings) log(line);
//   for (const std::string& line : loaded.errors) log(line);
//   fputs(loaded.text.c_str(), stdout);
//   if (loaded.action != Action::kRun) return loaded.exit_code;
//   Serve(*loaded.snapshot);
//
// Never exits, prints or throws for what the operator wrote. Files are read through `files`, and
// nothing is bound, connected or resolved. At start and at a reload, on one thread at a time.
#ifndef CONFIG_LOAD_H_
#define CONFIG_LOAD_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "config/file_reader.h"
#include "config/servers_file.h"
#include "config/snapshot.h"

namespace parkway::config {

enum class Action : uint8_t {
  kRun,
  kCheck,    // the configuration is right: exit 0
  kDump,     // `text` is the configuration
  kHelp,     // `text` is the help
  kVersion,  // the caller knows it
  kRefused,  // `errors` says why
};

inline constexpr int kExitCheckFailed = 1;
inline constexpr int kExitConfig = 78;  // EX_CONFIG: systemd does not start it again

struct LoadResult {
  Action action = Action::kRefused;
  int exit_code = kExitConfig;       // where action is not kRun
  std::optional<Snapshot> snapshot;  // kRun, kCheck, kDump
  std::vector<std::string> errors;   // one line each, without a line feed
  std::vector<std::string> warnings;
  std::string text;  // for the standard output, with line feeds
};

// `arguments` without the program's name. `known`: of servers_files that cannot be read.
LoadResult Load(absl::Span<const std::string> arguments, const SystemFacts& facts,
                FileReader& files, const FileTexts& known = {});
LoadResult Load(int argc, const char* const* argv, const SystemFacts& facts, FileReader& files);

}  // namespace parkway::config

#endif  // CONFIG_LOAD_H_
