#include "proxy/observe/json_line.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace parkway {

namespace {

void AppendJsonText(std::string_view text, std::string& line) {
  line += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      line += '\\';
      line += c;
    } else if (c < ' ' || c == '\x7f') {
      absl::StrAppendFormat(&line, "\\u%04x", static_cast<uint8_t>(c));
    } else {
      line += c;
    }
  }
  line += '"';
}

}  // namespace

void JsonLine::Text(std::string_view key, std::string_view value) {
  Key(key);
  AppendJsonText(value, line_);
}

void JsonLine::TextIf(std::string_view key, std::string_view value) {
  if (!value.empty()) Text(key, value);
}

void JsonLine::Number(std::string_view key, uint64_t value) {
  Key(key);
  absl::StrAppend(&line_, value);
}

void JsonLine::Ms(std::string_view key, int64_t us) {
  constexpr int64_t kUsPerMs = 1000;
  Key(key);
  if (us < 0) {
    line_ += "null";
  } else {
    absl::StrAppendFormat(&line_, "%d.%03d", us / kUsPerMs, us % kUsPerMs);
  }
}

void JsonLine::Key(std::string_view key) {
  if (line_.back() != '{') line_ += ',';
  AppendJsonText(key, line_);
  line_ += ':';
}

}  // namespace parkway
