// Keys of the lines of list flags: which there are, and the words of a line as keys with values.
//
// Two kinds: those that say what the line is (name, addr, ...), whose table is in keys.cc, and
// settings: scalar flags that the line overrides for itself (Flag::places). If the first word is
// KEY=..., all are; else it is the value of the flag's first key (`addr`, `servers`). A bare word
// is a boolean that is on.
//
// Pure functions: any thread.
#ifndef CONFIG_KEYS_H_
#define CONFIG_KEYS_H_

#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "config/flags.h"
#include "config/source.h"
#include "config/words.h"

namespace parkway::config {

// A key that says what a line is, and has no scalar flag.
struct KeySpec {
  std::string_view flag;  // "listen"
  std::string_view name;
  std::string_view value;  // as in the README: "ADDR[,ADDR...]"
  bool first = false;      // its name may be left out where it comes first
  bool list = false;       // commas separate values
  std::string_view default_text;
  std::string_view help;
};

absl::Span<const KeySpec> AllKeys();

// A key, which is either of the table here or a setting, with its values.
struct KeyValue {
  const KeySpec* key;   // or null
  const Flag* setting;  // or null
  Place place;
  std::vector<Piece> values;

  std::string_view name() const { return key != nullptr ? key->name : setting->name; }
  std::string_view value() const { return key != nullptr ? key->value : setting->value; }
  bool list() const { return key != nullptr ? key->list : setting->list; }
};

// The words of `text` as keys with values; what is none is told and left out. False if something
// was.
bool MatchKeys(std::string_view flag, const Place& place, const SourceText& text,
               std::vector<KeyValue>* matched, Problems* problems);

}  // namespace parkway::config

#endif  // CONFIG_KEYS_H_
