#include "config/words.h"

#include <utility>

#include "config/text.h"

namespace parkway::config {
namespace {

// "name=" stands where a key may stand.
bool IsKeyCharacter(char c) { return IsLetter(c) || IsDigit(c) || c == '_' || c == '-'; }

}  // namespace

std::optional<std::vector<Word>> SplitWords(std::string_view flag, const SourceText& source,
                                            Problems* problems) {
  const std::string_view text = source.text();
  std::vector<Word> words;
  size_t i = 0;
  for (;;) {
    while (i < text.size() && IsBlank(text[i])) ++i;
    if (i == text.size()) return words;

    Word word;
    word.place = source.At(i);
    size_t key_end = i;
    while (key_end < text.size() && IsKeyCharacter(text[key_end])) ++key_end;
    if (key_end > i && key_end < text.size() && text[key_end] == '=') {
      word.key = std::string(text.substr(i, key_end - i));
      i = key_end + 1;
    }
    word.values.push_back({"", source.At(i)});
    bool quoted = false;
    size_t quote = 0;
    for (; i < text.size() && (quoted || !IsBlank(text[i])); ++i) {
      std::string& value = word.values.back().text;
      if (text[i] == '"') {
        quoted = !quoted;
        quote = i;
      } else if (quoted && text[i] == '\\' && i + 1 < text.size() &&
                 (text[i + 1] == '"' || text[i + 1] == '\\')) {
        value += text[++i];
      } else if (!quoted && text[i] == ',') {
        word.values.push_back({"", source.At(i + 1)});
      } else {
        value += text[i];
      }
    }
    if (quoted) {
      problems->Add(source.At(quote), flag, "the quote is not closed; write another \" behind it");
      return std::nullopt;
    }
    words.push_back(std::move(word));
  }
}

std::string QuotedIfNeeded(std::string_view value) {
  if (!value.empty() && value.find_first_of(" \t\",\\") == std::string_view::npos) {
    return std::string(value);
  }
  std::string quoted = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  quoted += '"';
  return quoted;
}

}  // namespace parkway::config
