#include "config/load.h"

#include <memory>
#include <utility>

#include "config/admission.h"
#include "config/explain.h"
#include "config/flags.h"
#include "config/gather.h"
#include "config/grammar.h"
#include "config/passed.h"
#include "config/servers_file.h"
#include "config/text.h"
#include "config/validate.h"

namespace parkway::config {

namespace {

// False if one of them was wrong, which was told.
bool ReadPrefixFiles(FileReader& files, Snapshot* snapshot, Problems* problems) {
  bool good = true;
  const auto read = [&](std::string_view flag, const std::string& list) {
    if (list.empty()) return;
    const absl::StatusOr<Prefixes> prefixes = ParsePrefixes(list);
    if (!prefixes.ok()) return;  // its reader has seen that it is right
    for (const std::string& path : prefixes->files) {
      if (snapshot->prefix_files.count(path) != 0) continue;
      const absl::StatusOr<FileReader::File> file = files.Read(path);
      if (!file.ok()) {
        problems->Add({.source = path}, flag,
                      Cat("it cannot be read: ", Message(file.status()), "; name another file"));
        good = false;
        continue;
      }
      absl::StatusOr<std::vector<Prefix>> lines = ParsePrefixFile(file->bytes);
      if (!lines.ok()) {
        problems->Add({.source = path}, flag, Message(lines.status()));
        good = false;
        continue;
      }
      snapshot->prefix_files.emplace(path, *std::move(lines));
    }
  };
  for (const Listener& listener : snapshot->listeners) {
    read("allow", listener.settings.allow);
    read("deny", listener.settings.deny);
    read("proxy_trusted", listener.settings.proxy_trusted);
  }
  read("http_allow", snapshot->scalars.http_allow);
  return good;
}

// What becomes of an upstream whose servers_file cannot be read.
std::string Instead(const std::optional<std::vector<Server>>& kept, bool known) {
  if (!known) return "it has no servers until the file is there";
  if (!kept.has_value()) return "what was in it last is no longer right";
  return Cat("the ", kept->size(), kept->size() == 1 ? " server" : " servers", " that it had last ",
             kept->size() == 1 ? "is" : "are", " kept");
}

// One that is not there yet is no mistake: who writes it may start later. Of one that was there and
// cannot be read, what it said last holds. One that is wrong is a mistake.
bool ReadServersFiles(FileReader& files, const FileTexts& known, Snapshot* snapshot,
                      Problems* problems, Problems* warnings) {
  bool good = true;
  for (Upstream& upstream : snapshot->upstreams) {
    if (upstream.servers_file.empty()) continue;
    absl::StatusOr<FileReader::File> file = files.Read(upstream.servers_file);
    std::shared_ptr<const std::string> text =
        file.ok() ? std::make_shared<const std::string>(std::move(file->bytes))
                  : KnownText(known, upstream);
    std::optional<std::vector<Server>> servers;
    if (text != nullptr) servers = ReadServersFile(upstream, *text, problems);
    if (!file.ok()) {
      warnings->Add({.source = upstream.servers_file}, kUpstream,
                    Cat("servers_file= of upstream ", upstream.name, " cannot be read: ",
                        Message(file.status()), "; ", Instead(servers, text != nullptr)));
    }
    good = good && (servers.has_value() || text == nullptr);
    if (!servers.has_value()) continue;
    upstream.file_servers = *std::move(servers);
    upstream.file_text = std::move(text);
  }
  return good;
}

}  // namespace

LoadResult Load(absl::Span<const std::string> arguments, const SystemFacts& facts,
                FileReader& files, const FileTexts& known) {
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
    } else if (line.flag->name == kRoute) {
      said.routes.push_back(ParseRoute(line.place, line.value, &gathered.errors));
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
  ClaimPassedSockets(facts, looks, &said.listens, &found);
  std::optional<Snapshot> snapshot = Validate(
      said, facts, looks ? Strictness::kCheck : Strictness::kStart, &found, &gathered.warnings);
  if (snapshot.has_value()) {
    const bool prefixes = ReadPrefixFiles(files, &*snapshot, &found);
    const bool servers = ReadServersFiles(files, known, &*snapshot, &found, &gathered.warnings);
    if (!prefixes || !servers) snapshot.reset();
  }

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
