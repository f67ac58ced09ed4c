// Tables: what config/README.md and deploy/parkway.flags must say of the flags, made from the table
// in the code. flags_test compares; `bazel run //tests/config:write_tables` writes them.
#ifndef TESTS_CONFIG_TABLES_H_
#define TESTS_CONFIG_TABLES_H_

#include <string>
#include <string_view>
#include <vector>

namespace parkway::config {

inline constexpr char kReadme[] = "config/README.md";
inline constexpr char kSample[] = "deploy/parkway.flags";

// Rows of the two tables of the README.
std::vector<std::string> FlagRows();
std::vector<std::string> KeyRows();
bool IsFlagRow(std::string_view line);
bool IsKeyRow(std::string_view line);

// The sample of a flags file: every flag with what it means, commented out.
std::string Sample();

}  // namespace parkway::config

#endif  // TESTS_CONFIG_TABLES_H_
