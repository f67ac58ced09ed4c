// Any bytes as a configuration: two flags files and a command line, between lines of %%.
//
//   bazel build --config=fuzz //tests/fuzz:flag_file_fuzz
//   bazel-bin/tests/fuzz/flag_file_fuzz -max_total_time=60 tests/fuzz/flag_file
//
// What must hold: nothing crashes; it is refused exactly if there are errors; an error is one line
// of text; what is accepted prints as a file that loads as the same and prints the same.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "config/load.h"
#include "config/source.h"
#include "config/text.h"
#include "config/value.h"
#include "tests/config/fake_files.h"

namespace parkway::config {
namespace {

void Demand(bool holds, std::string_view what, std::string_view shown) {
  if (holds) return;
  fprintf(stderr, "%.*s: %.*s\n", static_cast<int>(what.size()), what.data(),
          static_cast<int>(shown.size()), shown.data());
  abort();
}

// Up to three parts; the last keeps further marks.
std::vector<std::string_view> Parts(std::string_view bytes) {
  constexpr std::string_view kMark = "\n%%\n";
  std::vector<std::string_view> parts;
  while (parts.size() < 2) {
    const size_t at = bytes.find(kMark);
    if (at == std::string_view::npos) break;
    parts.push_back(bytes.substr(0, at));
    bytes.remove_prefix(at + kMark.size());
  }
  parts.push_back(bytes);
  return parts;
}

void CheckLines(const std::vector<std::string>& lines) {
  Demand(lines.size() <= 3 * (Problems::kMost + 1), "too many lines", "");
  for (const std::string& line : lines) {
    Demand(!line.empty(), "an empty line", "");
    Demand(line.size() < 4000, "a line too long", line);
    Demand(FindInvalidUtf8(line) == std::string_view::npos, "a line that is no text", line);
    for (const char c : line) Demand(!IsControl(c), "a control character in a line", line);
  }
}

SystemFacts Facts() {
  SystemFacts facts;
  facts.nofile_hard = 100000;
  facts.environment = [](const std::string& name) -> std::optional<std::string> {
    if (name == "FLAGS_threads") return "3";
    return std::nullopt;
  };
  return facts;
}

void Run(std::string_view bytes) {
  const std::vector<std::string_view> parts = Parts(bytes);
  FakeFiles files;
  files.Put("conf/a.flags", std::string(parts[0]));
  if (parts.size() > 1) files.Put("conf/b.flags", std::string(parts[1]));
  std::vector<std::string> arguments = {"-c", "conf/a.flags"};
  if (parts.size() > 2) {
    for (const std::string_view argument : Split(parts[2], '\n')) arguments.emplace_back(argument);
  }
  const LoadResult started = Load(arguments, Facts(), files);
  CheckLines(started.errors);
  CheckLines(started.warnings);
  Demand((started.action == Action::kRefused) == !started.errors.empty(),
         "refused without an error, or accepted with one", "");
  if (started.action == Action::kHelp || started.action == Action::kVersion) return;

  arguments.insert(arguments.begin(), "--dump_config");
  const LoadResult dumped = Load(arguments, Facts(), files);
  if (dumped.action != Action::kDump) return;
  FakeFiles again_files;
  again_files.Put("a", dumped.text);
  const LoadResult again =
      Load(std::vector<std::string>{"--dump_config", "-c", "a"}, Facts(), again_files);
  Demand(again.action == Action::kDump, "what was printed does not load", dumped.text);
  Demand(again.text == dumped.text, "what was printed prints otherwise", dumped.text);
  Demand(again.snapshot->scalars == dumped.snapshot->scalars, "scalars differ", dumped.text);
}

}  // namespace
}  // namespace parkway::config

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  parkway::config::Run(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
