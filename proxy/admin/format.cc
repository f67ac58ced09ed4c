#include "proxy/admin/format.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_format.h"

namespace parkway::admin {

std::string ShortBytes(uint64_t bytes) {
  if (bytes < 1024) return absl::StrFormat("%d", bytes);
  constexpr std::array kUnits = {'K', 'M', 'G', 'T', 'P', 'E'};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  for (value /= 1024; value >= 999.5 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return absl::StrFormat("%.*f%c", value < 9.95 ? 1 : 0, value, kUnits[unit]);
}

std::string ShortTime(absl::Duration time) {
  if (time == absl::InfiniteDuration()) return "-";
  if (time < absl::ZeroDuration()) time = absl::ZeroDuration();
  const double ms = absl::ToDoubleMilliseconds(time);
  if (ms == 0) return "0";
  if (ms < 0.0995) return absl::StrFormat("%.0fus", ms * 1000);
  if (ms < 9.95) return absl::StrFormat("%.1fms", ms);
  if (ms < 999.5) return absl::StrFormat("%.0fms", ms);
  if (ms < 59'950) return absl::StrFormat("%.1fs", ms / 1000);
  const int64_t seconds = absl::ToInt64Seconds(time + absl::Milliseconds(500));
  constexpr int64_t kHour = 3600;
  constexpr int64_t kDay = 24 * kHour;
  if (seconds < kHour) return absl::StrFormat("%dm%ds", seconds / 60, seconds % 60);
  if (seconds < kDay) return absl::StrFormat("%dh%dm", seconds / kHour, seconds % kHour / 60);
  return absl::StrFormat("%dd%dh", seconds / kDay, seconds % kDay / kHour);
}

std::string ShownMoment(absl::Time time) {
  if (time == absl::InfinitePast() || time == absl::InfiniteFuture() || time == absl::Time()) {
    return "-";
  }
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone());
}

std::string ShortNumber(double number) {
  return absl::StrFormat("%.*f", number < 99.95 ? 1 : 0, number);
}

Columns::Columns(std::initializer_list<std::string_view> headings) {
  for (std::string_view heading : headings) {
    right_.push_back(heading.starts_with('>'));
    if (right_.back()) heading.remove_prefix(1);
    headings_.emplace_back(heading);
  }
}

void Columns::Add(std::vector<std::string> row) {
  row.resize(headings_.size());
  rows_.push_back(std::move(row));
}

std::string Columns::Line(const std::vector<std::string>& row,
                          const std::vector<size_t>& widths) const {
  std::string line;
  for (size_t i = 0; i < row.size(); ++i) {
    const std::string blanks(widths[i] - std::min(widths[i], row[i].size()), ' ');
    if (i > 0) line += "  ";
    line += right_[i] ? blanks + row[i] : row[i] + blanks;
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

std::string Columns::ToString() const {
  std::vector<size_t> widths;
  for (size_t i = 0; i < headings_.size(); ++i) {
    size_t width = headings_[i].size();
    for (const auto& row : rows_) width = std::max(width, row[i].size());
    widths.push_back(width);
  }
  std::string text = Line(headings_, widths);
  for (const auto& row : rows_) text += Line(row, widths);
  return text;
}

}  // namespace parkway::admin
