#include "config/load.h"

#include <utility>

#include "config/explain.h"
#include "config/flags.h"
#include "config/gather.h"
#include "config/grammar.h"
#include "config/validate.h"

namespace parkway::config {

LoadResult Load(absl::Span<const std::string> arguments, const SystemFacts& facts,
                FileReader& files) {
  LoadResult result;
  Gathered gathered = Gather(arguments, facts, files);
  if (gathered.wants(kHelp) || gathered.wants(kVersion)) {
    result.action = gathered.wants(kHelp) ? Action::kHelp : Action::kVersion;
    if (result.action == Action::kHelp) result.text = HelpText();
    result.exit_code = 0;
    return result;
  }

  Declarations said;
  said.scalars = gathered.scalars;
  said.set_at = std::move(gathered.set_at);
  said.nofile = gathered.nofile;
  for (const ListLine& line : gathered.lists) {
    if (line.flag->name == kListen) {
      said.listens.push_back(ParseListen(line.place, line.value, &gathered.errors));
    } else if (line.flag->name == kServer) {
      said.servers.push_back(ParseServer(line.place, line.value, &gathered.errors));
    } else {
      said.upstreams.push_back(ParseUpstream(line.place, line.value, &gathered.errors));
    }
  }

  // To print a configuration is to look at it, not to run it.
  const bool dumps = gathered.wants(kDumpConfig);
  const bool looks = dumps || gathered.wants(kCheck);
  const bool had_errors = !gathered.errors.Lines(gathered.may_be_unknown).empty();
  Problems found;
  std::optional<Snapshot> snapshot = Validate(
      said, facts, looks ? Strictness::kCheck : Strictness::kStart, &found, &gathered.warnings);

  result.errors = gathered.errors.Lines(gathered.may_be_unknown);
  for (std::string& line : found.Lines()) result.errors.push_back(std::move(line));
  result.warnings = gathered.warnings.Lines();
  if (had_errors || !snapshot.has_value()) {
    result.action = Action::kRefused;
    result.exit_code = looks ? kExitCheckFailed : kExitConfig;
    return result;
  }
  result.action = dumps ? Action::kDump : looks ? Action::kCheck : Action::kRun;
  result.exit_code = 0;
  if (dumps) result.text = Dump(*snapshot);
  if (gathered.wants(kExplain)) result.text += ExplainLimits(*snapshot, facts);
  if (result.action == Action::kCheck) result.text += "the configuration is valid\n";
  result.snapshot = std::move(snapshot);
  return result;
}

LoadResult Load(int argc, const char* const* argv, const SystemFacts& facts, FileReader& files) {
  std::vector<std::string> arguments;
  for (int i = 1; i < argc; ++i) arguments.emplace_back(argv[i]);
  return Load(arguments, facts, files);
}

}  // namespace parkway::config
