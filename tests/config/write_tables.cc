// Writes what the table of flags says into config/README.md and deploy/parkway.flags:
//
//   bazel run //tests/config:write_tables
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "tests/config/tables.h"

namespace parkway::config {
namespace {

bool WriteReadme(const std::string& path) {
  std::ifstream file(path);
  if (!file.good()) return false;
  std::string text;
  bool flags = false, keys = false;
  const auto append = [&text](const std::vector<std::string>& rows) {
    for (const std::string& row : rows) text += row + "\n";
  };
  for (std::string line; std::getline(file, line);) {
    if (IsFlagRow(line)) {
      if (!flags) append(FlagRows());
      flags = true;
    } else if (IsKeyRow(line)) {
      if (!keys) append(KeyRows());
      keys = true;
    } else {
      text += line + "\n";
    }
  }
  file.close();
  return static_cast<bool>(std::ofstream(path) << text);
}

int Main() {
  const char* root = getenv("BUILD_WORKSPACE_DIRECTORY");
  const std::string folder = root == nullptr ? "" : std::string(root) + "/";
  const bool good = WriteReadme(folder + kReadme) &&
                    static_cast<bool>(std::ofstream(folder + kSample) << Sample());
  if (!good) fprintf(stderr, "write_tables: cannot write in %s\n", folder.c_str());
  return good ? 0 : 1;
}

}  // namespace
}  // namespace parkway::config

int main() { return parkway::config::Main(); }
