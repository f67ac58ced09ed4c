// Words of a line that has several: --listen=name=web addr=:8080 upstream=app.
//
// Words are split at blanks; a double quote opens and closes anywhere in a word, and inside quotes
// a backslash before a quote or a backslash is the only escape. Commas outside quotes separate the
// values of a key.
//
// Pure functions: any thread.
#ifndef CONFIG_WORDS_H_
#define CONFIG_WORDS_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/source.h"

namespace parkway::config {

// A value between commas, without its quotes.
struct Piece {
  std::string text;
  Place place;
};

struct Word {
  Place place;
  std::optional<std::string> key;
  std::vector<Piece> values;  // at least one, which may be empty
};

// Splits and unquotes; nothing if a quote is not closed.
std::optional<std::vector<Word>> SplitWords(std::string_view flag, const SourceText& text,
                                            Problems* problems);

// As one word's value, in quotes if the reader would take it apart otherwise.
std::string QuotedIfNeeded(std::string_view value);

}  // namespace parkway::config

#endif  // CONFIG_WORDS_H_
