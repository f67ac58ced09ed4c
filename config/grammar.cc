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
    {kListen, "mode", "OCTAL", false, false, "0666",
     "the permissions of its unix sockets, whatever the umask"},
    {kListen, "owner", "USER[:GROUP]", false, false, "who runs it",
     "whom its unix sockets belong to"},
    {kListen, "max_connections", "N|off", false, false, "off",
     "connections of this listener at a time; policy says what becomes of more"},
    {kUpstream, "servers", "ADDR[,ADDR...]", true, true, "", "the servers"},
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

// "name=" stands where a key may stand.
bool IsKeyCharacter(char c) { return IsLetter(c) || IsDigit(c) || c == '_' || c == '-'; }

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

// The words as keys with values; what is none is told and left out. False if something was.
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

bool ReadSetting(std::string_view flag, const KeyValue& from, std::vector<Setting>* to,
                 Problems* problems) {
  std::vector<std::string> texts;
  for (const Piece& piece : from.values) texts.push_back(piece.text);
  Setting setting = {from.setting, Join(texts, ","), from.place};
  static thread_local Scalars scratch;
  const absl::Status status = SetScalar(*setting.flag, setting.text, scratch);
  if (!status.ok()) {
    problems->Add(from.values[0].place, flag, Cat(setting.flag->name, "=: ", Message(status)));
    return false;
  }
  to->push_back(std::move(setting));
  return true;
}

// False if `status` was an error, which then was told.
bool Told(std::string_view flag, const Piece& at, const absl::Status& status, Problems* problems) {
  if (status.ok()) return true;
  problems->Add(at.place, flag, Message(status));
  return false;
}

bool ReadServerAddresses(std::string_view flag, const KeyValue& from,
                         std::vector<PlacedAddress>* to, Problems* problems) {
  bool good = true;
  for (const Piece& piece : from.values) {
    absl::StatusOr<Address> address = ParseAddress(piece.text, AddressUse::kConnects);
    good = Told(flag, piece, address.status(), problems) && good;
    if (address.ok()) to->push_back({*std::move(address), piece.place});
  }
  return good;
}

bool ReadListenAddresses(const KeyValue& from, std::vector<PlacedAddress>* to, Problems* problems) {
  bool good = true;
  for (const Piece& piece : from.values) {
    absl::StatusOr<std::vector<Address>> addresses = ParseListenAddresses(piece.text);
    good = Told(kListen, piece, addresses.status(), problems) && good;
    if (!addresses.ok()) continue;
    for (Address& address : *addresses) to->push_back({std::move(address), piece.place});
  }
  return good;
}

bool ReadMode(const KeyValue& from, std::optional<uint32_t>* to, Problems* problems) {
  const absl::StatusOr<uint32_t> mode = ParseMode(from.values[0].text);
  if (mode.ok()) *to = *mode;
  return Told(kListen, from.values[0], mode.status(), problems);
}

bool ReadOwner(const KeyValue& from, std::optional<std::string>* to, Problems* problems) {
  const std::string& text = from.values[0].text;
  if (!Told(kListen, from.values[0], CheckOwner(text), problems)) return false;
  *to = text;
  return true;
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

bool ReadLimit(std::string_view flag, const KeyValue& from, uint32_t* to, Problems* problems) {
  constexpr uint64_t kMost = 10'000'000;
  const Piece& piece = from.values[0];
  *to = 0;
  if (piece.text == "off" || piece.text == "0") return true;
  const absl::StatusOr<uint64_t> count = ParseCount(piece.text, 1, kMost);
  if (count.ok()) {
    *to = static_cast<uint32_t>(*count);
  } else {
    problems->Add(piece.place, flag, Cat(Message(count.status()), ", or off"));
  }
  return count.ok();
}

bool IsHostCharacter(char c) {
  return IsLetter(c) || IsDigit(c) || c == '-' || c == '_' || c == '.';
}

bool ReadSni(const KeyValue& from, std::vector<std::string>* to, Problems* problems) {
  constexpr size_t kMostBytes = 255;
  bool good = true;
  for (const Piece& piece : from.values) {
    std::string_view name = piece.text;
    if (name != "*") static_cast<void>(ConsumePrefix(&name, "*."));
    const bool fine = name == "*" || (!name.empty() && name.size() <= kMostBytes &&
                                      name.front() != '.' && name.back() != '.' &&
                                      std::all_of(name.begin(), name.end(), IsHostCharacter));
    if (!fine) {
      problems->Add(
          piece.place, kRoute,
          Cat(Quoted(piece.text), " is no name of a host; write example.org, *.example.org or *"));
      good = false;
      continue;
    }
    std::string lower = piece.text;
    std::transform(lower.begin(), lower.end(), lower.begin(), ToLower);
    to->push_back(std::move(lower));
  }
  return good;
}

bool ReadAlpn(const KeyValue& from, std::vector<std::string>* to, Problems* problems) {
  constexpr size_t kMostBytes = 255;
  bool good = true;
  for (const Piece& piece : from.values) {
    if (piece.text.empty() || piece.text.size() > kMostBytes) {
      problems->Add(piece.place, kRoute,
                    Cat(Quoted(piece.text), " is no protocol; write one such as h2"));
      good = false;
    }
    to->push_back(piece.text);
  }
  return good;
}

bool ReadProtocol(const KeyValue& from, RouteProtocol* to, Problems* problems) {
  const absl::StatusOr<RouteProtocol> protocol = ParseRouteProtocol(from.values[0].text);
  if (protocol.ok()) {
    *to = *protocol;
  } else {
    problems->Add(from.values[0].place, kRoute, Message(protocol.status()));
  }
  return protocol.ok();
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
    if (key.setting != nullptr) {
      good = ReadSetting(kListen, key, &line.settings, problems);
    } else if (key.key->name == "addr") {
      has_addresses = true;
      good = ReadListenAddresses(key, &line.addresses, problems);
    } else if (key.key->name == "mode") {
      good = ReadMode(key, &line.mode, problems);
    } else if (key.key->name == "owner") {
      good = ReadOwner(key, &line.owner, problems);
    } else if (key.key->name == "max_connections") {
      good = ReadLimit(kListen, key, &line.max_connections, problems);
    } else if (key.key->name == "name") {
      good = ReadName(kListen, key, &line.name, problems);
    } else {
      good = ReadName(kListen, key, &line.upstream, problems);
    }
    line.complete = line.complete && good;
  }
  const bool has_path = std::any_of(
      line.addresses.begin(), line.addresses.end(),
      [](const PlacedAddress& at) { return at.address.kind == Address::Kind::kUnixPath; });
  if (line.complete && has_addresses && !has_path && (line.mode || line.owner)) {
    problems->Add(place, kListen,
                  Cat(line.mode ? "mode" : "owner",
                      "= is for unix sockets with a path, and there is none; remove it"));
    line.complete = false;
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
  for (KeyValue& key : keys) {
    bool good = true;
    if (key.setting != nullptr) {
      good = ReadSetting(kUpstream, key, &line.settings, problems);
    } else if (key.key->name == "servers") {
      good = ReadServerAddresses(kUpstream, key, &line.servers, problems);
    } else {
      good = ReadName(kUpstream, key, &line.name, problems);
    }
    line.complete = line.complete && good;
  }
  return line;
}

ServerLine ParseServer(const Place& place, const SourceText& text, Problems* problems) {
  ServerLine line;
  line.place = place;
  std::vector<KeyValue> keys;
  line.complete = MatchKeys(kServer, place, text, &keys, problems);
  bool has_address = false;
  for (KeyValue& key : keys) {
    bool good = true;
    if (key.setting != nullptr) {
      good = ReadSetting(kServer, key, &line.settings, problems);
    } else if (key.key->name == "addr") {
      has_address = true;
      std::vector<PlacedAddress> addresses;
      good = ReadServerAddresses(kServer, key, &addresses, problems);
      if (good) line.address = std::move(addresses[0]);
    } else if (key.key->name == "name") {
      good = ReadName(kServer, key, &line.name, problems);
    } else {
      good = ReadName(kServer, key, &line.upstream, problems);
    }
    line.complete = line.complete && good;
  }
  if (line.complete && !has_address) {
    problems->Add(place, kServer, "addr= is missing; write addr=IP:PORT");
    line.complete = false;
  }
  return line;
}

RouteLine ParseRoute(const Place& place, const SourceText& text, Problems* problems) {
  RouteLine line;
  line.place = place;
  std::vector<KeyValue> keys;
  line.complete = MatchKeys(kRoute, place, text, &keys, problems);
  for (KeyValue& key : keys) {
    bool good = true;
    if (key.key->name == "listen") {
      good = ReadName(kRoute, key, &line.listen, problems);
    } else if (key.key->name == "upstream") {
      good = ReadName(kRoute, key, &line.upstream, problems);
    } else if (key.key->name == "sni") {
      good = ReadSni(key, &line.sni, problems);
    } else if (key.key->name == "alpn") {
      good = ReadAlpn(key, &line.alpn, problems);
    } else {
      good = ReadProtocol(key, &line.protocol, problems);
    }
    line.complete = line.complete && good;
  }
  const bool any = line.sni.empty() && line.alpn.empty() && line.protocol == RouteProtocol::kAny;
  if (line.complete && any) {
    problems->Add(place, kRoute,
                  "it is for every client; write sni=, alpn= or protocol=, or upstream= on "
                  "--listen");
    line.complete = false;
  }
  const bool tls = line.protocol == RouteProtocol::kAny || line.protocol == RouteProtocol::kTls;
  if (line.complete && !tls && (!line.sni.empty() || !line.alpn.empty())) {
    problems->Add(place, kRoute,
                  Cat("sni= and alpn= are of TLS, and protocol=", RouteProtocolName(line.protocol),
                      " is another; keep one of them"));
    line.complete = false;
  }
  return line;
}

Scalars WithSettings(Scalars scalars, const std::vector<Setting>& settings) {
  for (const Setting& setting : settings) {
    // The line's reader has seen that it is right.
    SetScalar(*setting.flag, setting.text, scalars).IgnoreError();
  }
  return scalars;
}

}  // namespace parkway::config
