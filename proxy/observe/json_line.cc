#include "proxy/observe/json_line.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace parkway {

namespace {

bool IsPlain(char c) { return c != '"' && c != '\\' && c >= ' ' && c != '\x7f'; }

void AppendJsonText(std::string_view text, std::string& line) {
  line += '"';
  while (!text.empty()) {
    const auto plain = std::find_if_not(text.begin(), text.end(), IsPlain);
    line.append(text.begin(), plain);
    text.remove_prefix(static_cast<size_t>(plain - text.begin()));
    if (text.empty()) break;
    const char c = text.front();
    if (c == '"' || c == '\\') {
      line += '\\';
      line += c;
    } else {
      absl::StrAppendFormat(&line, "\\u%04x", static_cast<uint8_t>(c));
    }
    text.remove_prefix(1);
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
    absl::StrAppend(&line_, us / kUsPerMs, ".", absl::Dec(us % kUsPerMs, absl::kZeroPad3));
  }
}

void JsonLine::Key(std::string_view key) {
  if (line_.back() != '{') line_ += ',';
  line_ += '"';
  line_ += key;
  line_ += "\":";
}

}  // namespace parkway
