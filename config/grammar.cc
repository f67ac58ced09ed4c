#include "config/grammar.h"

#include <algorithm>
#include <utility>

#include "config/flags.h"
#include "config/text.h"

namespace parkway::config {
namespace {

constexpr KeySpec kKeys[] = {
    {kListen, "addr", "ADDR[,ADDR...]", true, true, "",
     "where to listen; each address gets a socket on every worker"},
    {kListen, "name", "NAME", false, false, "the first address", "how logs call the listener"},
    {kListen, "upstream", "NAME", false, false, "the only upstream", "where its connections go"},
    {kUpstream, "servers", "ADDR[,ADDR...]", true, true, "", "the servers, taken in turn"},
    {kUpstream, "name", "NAME", false, false, "default", "how listeners and logs call it"},
};

const KeySpec* FindKey(std::string_view flag, std::string_view name) {
  const KeySpec* key = std::find_if(std::begin(kKeys), std::end(kKeys), [&](const KeySpec& k) {
    return k.flag == flag && k.name == name;
  });
  return key == std::end(kKeys) ? nullptr : key;
}

const KeySpec& FirstKey(std::string_view flag) {
  return *std::find_if(std::begin(kKeys), std::end(kKeys),
                       [&](const KeySpec& k) { return k.flag == flag && k.first; });
}

std::vector<std::string_view> KeyNames(std::string_view flag) {
  std::vector<std::string_view> names;
  for (const KeySpec& key : kKeys) {
    if (key.flag == flag) names.push_back(key.name);
  }
  return names;
}

// "name=" stands where a key may stand.
bool IsKeyCharacter(char c) { return IsLetter(c) || IsDigit(c) || c == '_' || c == '-'; }

// What is wrong with a key that `flag` does not have.
std::string UnknownKey(std::string_view flag, std::string_view name) {
  for (const KeySpec& key : kKeys) {
    if (key.name == name) {
      return Cat(Shown(name), "= is no key of --", flag, "; it belongs on --", key.flag);
    }
  }
  if (const Flag* scalar = FindFlag(name); scalar != nullptr && scalar->is_scalar()) {
    return Cat(Shown(name), "= is no key of --", flag, "; write --", name, "=", scalar->value,
               " on a line of its own");
  }
  std::vector<std::string_view> names = KeyNames(flag);
  std::string right = Cat("the keys are ", Join(names, " "), DidYouMean(name, names));
  return Cat(Shown(name), "= is no key of --", flag, "; ", right);
}

struct KeyValue {
  const KeySpec* key;
  Place place;
  std::vector<Piece> values;
};

// The words as keys with values; what is none is told and left out. False if something was.
bool MatchKeys(std::string_view flag, const Place& place, const SourceText& text,
               std::vector<KeyValue>* matched, Problems* problems) {
  std::optional<std::vector<Word>> words = SplitWords(flag, text, problems);
  if (!words.has_value()) return false;
  if (words->empty()) {
    problems->Add(place, flag, Cat("it has no value; write --", flag, "=", FirstKey(flag).value));
    return false;
  }
  bool good = true;
  for (size_t i = 0; i < words->size(); ++i) {
    Word& word = (*words)[i];
    const KeySpec* key = nullptr;
    if (word.key.has_value()) {
      key = FindKey(flag, *word.key);
      if (key == nullptr) {
        problems->Add(word.place, flag, UnknownKey(flag, *word.key));
        good = false;
        continue;
      }
    } else if (i == 0) {
      key = &FirstKey(flag);
    } else {
      const std::vector<std::string_view> names = KeyNames(flag);
      const std::string& shown = word.values[0].text;
      problems->Add(
          word.place, flag,
          Cat(Quoted(shown), " is not KEY=VALUE; ",
              FindKey(flag, shown) != nullptr
                  ? Cat("write ", shown, "=", FindKey(flag, shown)->value)
                  : Cat("several addresses are separated by commas without blanks, and the keys ",
                        "are ", Join(names, " "))));
      good = false;
      continue;
    }
    const auto earlier = std::find_if(matched->begin(), matched->end(),
                                      [key](const KeyValue& k) { return k.key == key; });
    if (earlier != matched->end()) {
      problems->Add(word.place, flag,
                    Cat(key->name, "= is on this line twice; ",
                        key->list ? "write its values once, separated by commas" : "keep one"));
      good = false;
      continue;
    }
    if (!key->list && word.values.size() > 1) {
      problems->Add(word.values[1].place, flag,
                    Cat(key->name, "= takes one value; remove what follows the comma"));
      good = false;
      continue;
    }
    matched->push_back({key, word.place, std::move(word.values)});
  }
  return good;
}

bool ReadAddresses(std::string_view flag, const KeyValue& from, AddressUse use,
                   std::vector<PlacedAddress>* to, Problems* problems) {
  bool good = true;
  for (const Piece& piece : from.values) {
    absl::StatusOr<Address> address = ParseAddress(piece.text, use);
    if (address.ok()) {
      to->push_back({*std::move(address), piece.place});
    } else {
      problems->Add(piece.place, flag, Message(address.status()));
      good = false;
    }
  }
  return good;
}

bool ReadName(std::string_view flag, KeyValue& from, std::optional<Piece>* to, Problems* problems) {
  const absl::Status status = CheckName(from.values[0].text);
  if (!status.ok()) {
    problems->Add(from.values[0].place, flag, Message(status));
    return false;
  }
  *to = std::move(from.values[0]);
  return true;
}

}  // namespace

absl::Span<const KeySpec> AllKeys() { return kKeys; }

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

ListenLine ParseListen(const Place& place, const SourceText& text, Problems* problems) {
  ListenLine line;
  line.place = place;
  std::vector<KeyValue> keys;
  line.complete = MatchKeys(kListen, place, text, &keys, problems);
  bool has_addresses = false;
  for (KeyValue& key : keys) {
    bool good = true;
    if (key.key->name == "addr") {
      has_addresses = true;
      good = ReadAddresses(kListen, key, AddressUse::kListens, &line.addresses, problems);
    } else if (key.key->name == "name") {
      good = ReadName(kListen, key, &line.name, problems);
    } else {
      good = ReadName(kListen, key, &line.upstream, problems);
    }
    line.complete = line.complete && good;
  }
  if (line.complete && !has_addresses) {
    problems->Add(place, kListen, "addr= is missing; write addr=IP:PORT or addr=:PORT");
    line.complete = false;
  }
  return line;
}

UpstreamLine ParseUpstream(const Place& place, const SourceText& text, Problems* problems) {
  UpstreamLine line;
  line.place = place;
  std::vector<KeyValue> keys;
  line.complete = MatchKeys(kUpstream, place, text, &keys, problems);
  bool has_servers = false;
  for (KeyValue& key : keys) {
    bool good = true;
    if (key.key->name == "servers") {
      has_servers = true;
      good = ReadAddresses(kUpstream, key, AddressUse::kConnects, &line.servers, problems);
    } else {
      good = ReadName(kUpstream, key, &line.name, problems);
    }
    line.complete = line.complete && good;
  }
  if (line.complete && !has_servers) {
    problems->Add(place, kUpstream, "servers= is missing; write servers=IP:PORT");
    line.complete = false;
  }
  return line;
}

}  // namespace parkway::config
