#include "proxy/observe/json_line.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace parkway {

namespace {

bool IsPlain(char c) { return c != '"' && c != '\\' && c >= ' ' && c <= '~'; }

// What a client says of itself (ALPN) may be no UTF-8, which no reader of JSON takes.
void AppendJsonText(std::string_view text, std::string& line) {
  if (std::all_of(text.begin(), text.end(), IsPlain)) {
    line += '"';
    line += text;
    line += '"';
  } else {
    line += nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
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
