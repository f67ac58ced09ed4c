// Format: numbers and tables for a terminal.
//
//   ShortBytes(3'407'872)            "3.2M"
//   ShortTime(absl::Seconds(3725))   "1h2m"
//
// Pure functions: any thread.
#ifndef PROXY_ADMIN_FORMAT_H_
#define PROXY_ADMIN_FORMAT_H_

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace parkway::admin {

// Powers of 1024, at most five characters: 0 1023 1.0K 12M 340G.
std::string ShortBytes(uint64_t bytes);
// Two units at most: 30us 0.3ms 12ms 3.2s 2m5s 1h2m 3d4h; "-" for an infinite one.
std::string ShortTime(absl::Duration time);
// With milliseconds, in UTC; "-" for none.
std::string ShownMoment(absl::Time time);
// 12.5 -> "12.5"; no decimals from 100 on.
std::string ShortNumber(double number);

// Lines whose columns are aligned: text to the left, numbers to the right.
class Columns {
 public:
  // A heading that begins with '>' is of a column of numbers.
  explicit Columns(std::initializer_list<std::string_view> headings);

  void Add(std::vector<std::string> row);
  size_t rows() const { return rows_.size(); }
  // With the headings first.
  std::string ToString() const;

 private:
  std::string Line(const std::vector<std::string>& row, const std::vector<size_t>& widths) const;

  std::vector<std::string> headings_;
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace parkway::admin

#endif  // PROXY_ADMIN_FORMAT_H_
