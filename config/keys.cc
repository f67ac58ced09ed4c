#include "config/keys.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "config/quote.h"
#include "config/text.h"

namespace parkway::config {
namespace {

constexpr KeySpec kKeys[] = {
    {kListen, "addr", "ADDR[,ADDR...]", true, true, "",
     "where to listen; each address gets a socket on every worker; without it: on the sockets "
     "called like the listener that systemd passes"},
    {kListen, "name", "NAME", false, false, "the first address", "how logs call the listener"},
    {kListen, "upstream", "NAME", false, false, "the only upstream", "where its connections go"},
    {kListen, "mode", "OCTAL", false, false, "0666",
     "the permissions of its unix sockets, whatever the umask"},
    {kListen, "owner", "USER[:GROUP]", false, false, "who runs it",
     "whom its unix sockets belong to"},
    {kListen, "max_connections", "N|off", false, false, "off",
     "connections of this listener at a time; policy says what becomes of more"},
    {kUpstream, "servers", "ADDR[,ADDR...]", true, true, "", "the servers"},
    {kUpstream, "servers_file", "PATH", false, false, "",
     "a file of --server lines for more of them, which is read again when it changes"},
    {kUpstream, "name", "NAME", false, false, "default", "how listeners and logs call it"},
    {kServer, "addr", "ADDR", true, false, "", "where to connect"},
    {kServer, "upstream", "NAME", false, false, "the only upstream", "which upstream it is one of"},
    {kServer, "name", "NAME", false, false, "the address", "how logs call it"},
    {kServer, "weight", "N", false, false, "1",
     "its share of the connections, 0 to 256; 0: no new ones"},
    {kServer, "priority", "N", false, false, "0",
     "it gets connections only if no server with a lower number is up; 0 to 255"},
    {kServer, "backup", "on|off", false, false, "off", "the same as priority=1"},
    {kServer, "state", "ready|drain|down", false, false, "ready",
     "drain: no new connections; down: the same, and it is not checked"},
    {kRoute, "listen", "NAME", false, false, "the only listener", "whose clients it is for"},
    {kRoute, "sni", "NAME[,NAME...]", false, true, "",
     "the name that a TLS client asks for; *.example.org is each name below it, * any name"},
    {kRoute, "alpn", "NAME[,NAME...]", false, true, "",
     "one of the protocols that a TLS client offers"},
    {kRoute, "protocol", "tls|ssh|http|postgres", false, false, "any",
     "what the client's first bytes are"},
    {kRoute, "upstream", "NAME", false, false, "the only upstream", "where they go"},
};

const KeySpec* FindKey(std::string_view flag, std::string_view name) {
  const KeySpec* key = std::find_if(std::begin(kKeys), std::end(kKeys), [&](const KeySpec& k) {
    return k.flag == flag && k.name == name;
  });
  return key == std::end(kKeys) ? nullptr : key;
}

// nullptr: the flag has none.
const KeySpec* FirstKey(std::string_view flag) {
  const KeySpec* key = std::find_if(std::begin(kKeys), std::end(kKeys),
                                    [&](const KeySpec& k) { return k.flag == flag && k.first; });
  return key == std::end(kKeys) ? nullptr : key;
}

// Of its own keys, then of the settings.
std::vector<std::string_view> KeyNames(std::string_view flag, bool settings) {
  std::vector<std::string_view> names;
  for (const KeySpec& key : kKeys) {
    if (key.flag == flag) names.push_back(key.name);
  }
  if (!settings) return names;
  for (const Flag& scalar : AllFlags()) {
    if ((scalar.places & PlaceOf(flag)) != 0) names.push_back(scalar.name);
  }
  return names;
}

std::string KeysText(std::string_view flag) {
  const char letter = static_cast<char>(flag[0] - 'a' + 'A');
  const std::string own = Cat("the keys are ", Join(KeyNames(flag, false), " "));
  if (KeyNames(flag, true).size() == KeyNames(flag, false).size()) return own;
  return Cat(own, ", and flags with [", std::string(1, letter), "] in --help");
}

// What is wrong with a key that `flag` does not have.
std::string UnknownKey(std::string_view flag, std::string_view name) {
  const std::string none = Cat(Shown(name), "= is no key of --", flag, "; ");
  Places places = kNowhere;
  for (const KeySpec& key : kKeys) {
    if (key.name == name) places |= PlaceOf(key.flag);
  }
  if (places != kNowhere) return Cat(none, "it belongs on ", PlacesText(places));
  if (const Flag* scalar = FindFlag(name); scalar != nullptr && scalar->is_scalar()) {
    const std::string own = Cat("write --", name, "=", scalar->value, " on a line of its own");
    if (scalar->places == kNowhere) return Cat(none, own);
    return Cat(none, "it belongs on ", PlacesText(scalar->places), "; or ", own);
  }
  return Cat(none, KeysText(flag), DidYouMean(name, KeyNames(flag, true)));
}

bool FindKeyOrSetting(std::string_view flag, std::string_view name, KeyValue* found) {
  found->key = FindKey(flag, name);
  if (found->key != nullptr) {
    found->setting = FindLineFlag(name);
    if (found->setting != nullptr) found->key = nullptr;
    return true;
  }
  const Flag* scalar = FindFlag(name);
  if (scalar == nullptr || (scalar->places & PlaceOf(flag)) == 0) return false;
  found->setting = scalar;
  return true;
}

// What is wrong with a word that is no KEY=VALUE.
std::string BareWord(std::string_view flag, std::string_view word) {
  KeyValue known = {};
  const std::string none = Cat(Quoted(word), " is not KEY=VALUE; ");
  if (FindKeyOrSetting(flag, word, &known)) return Cat(none, "write ", word, "=", known.value());
  return Cat(none,
             FirstKey(flag) != nullptr && FirstKey(flag)->list
                 ? "several addresses are separated by commas without blanks, and "
                 : "",
             KeysText(flag), DidYouMean(word, KeyNames(flag, true)));
}

}  // namespace

absl::Span<const KeySpec> AllKeys() { return kKeys; }

bool MatchKeys(std::string_view flag, const Place& place, const SourceText& text,
               std::vector<KeyValue>* matched, Problems* problems) {
  std::optional<std::vector<Word>> words = SplitWords(flag, text, problems);
  if (!words.has_value()) return false;
  if (words->empty()) {
    problems->Add(place, flag,
                  Cat("it has no value; write --", flag, "=",
                      FirstKey(flag) != nullptr ? FirstKey(flag)->value : "KEY=VALUE"));
    return false;
  }
  bool good = true;
  const auto wrong = [&](const Place& at, std::string_view message) {
    problems->Add(at, flag, message);
    good = false;
  };
  for (size_t i = 0; i < words->size(); ++i) {
    Word& word = (*words)[i];
    KeyValue found = {};
    found.place = word.place;
    if (word.key.has_value()) {
      if (!FindKeyOrSetting(flag, *word.key, &found)) {
        wrong(word.place, UnknownKey(flag, *word.key));
        continue;
      }
    } else if (i == 0 && FirstKey(flag) != nullptr) {
      found.key = FirstKey(flag);
    } else {
      const std::string& bare = word.values[0].text;
      const bool known = word.values.size() == 1 && FindKeyOrSetting(flag, bare, &found);
      if (!known || found.setting == nullptr || !found.setting->is_switch()) {
        wrong(word.place, BareWord(flag, bare));
        continue;
      }
      word.values[0].text = PrintBool(true);
    }
    const auto earlier = std::find_if(
        matched->begin(), matched->end(),
        [&found](const KeyValue& k) { return k.key == found.key && k.setting == found.setting; });
    if (earlier != matched->end()) {
      wrong(word.place,
            Cat(found.name(), "= is on this line twice; ",
                found.list() ? "write its values once, separated by commas" : "keep one"));
      continue;
    }
    if (!found.list() && word.values.size() > 1) {
      wrong(word.values[1].place,
            Cat(found.name(), "= takes one value; remove what follows the comma"));
      continue;
    }
    found.values = std::move(word.values);
    matched->push_back(std::move(found));
  }
  return good;
}

}  // namespace parkway::config
