#include "proxy/admin/progress.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_format.h"
#include "config/text.h"

namespace parkway::admin {

using config::Cat;

namespace {

// To the start of the line, and what was there is gone.
constexpr std::string_view kClearLine = "\r\x1b[K";

}  // namespace

std::string ProgressBar::Draw(std::string_view text) {
  uint64_t done = 0, total = 0;
  const size_t slash = text.find('/');
  const size_t blank = text.find(' ');
  const bool numbers = slash != std::string_view::npos && blank != std::string_view::npos &&
                       slash < blank && config::ParseNumber(text.substr(0, slash), &done) &&
                       config::ParseNumber(text.substr(slash + 1, blank - slash - 1), &total);
  if (!numbers) return Cat(text, "\n");
  const double part =
      total == 0 ? 1.0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  const std::string percent = absl::StrFormat("%3d%%", static_cast<int>(part * 100));
  const std::string_view rest = text.substr(blank + 1);
  if (columns_ == 0) return Cat(percent, "  ", rest, "\n");
  drawn_ = true;
  const int full = static_cast<int>(part * kWidth);
  std::string line =
      Cat("[", std::string(static_cast<size_t>(full), '#'),
          std::string(static_cast<size_t>(kWidth - full), '.'), "] ", percent, "  ", rest);
  // One that is wrapped cannot be taken back.
  line.resize(std::min(line.size(), static_cast<size_t>(columns_ - 1)));
  return Cat(kClearLine, line);
}

std::string ProgressBar::End() {
  if (!drawn_) return "";
  drawn_ = false;
  return "\n";
}

}  // namespace parkway::admin
