#include "config/grammar.h"

#include <algorithm>
#include <utility>

#include "config/flags.h"
#include "config/keys.h"
#include "config/quote.h"
#include "config/text.h"

namespace parkway::config {
namespace {

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

bool ReadPath(std::string_view flag, KeyValue& from, std::optional<Piece>* to, Problems* problems) {
  const absl::Status status = CanonicalPath(from.values[0].text).status();
  if (!Told(flag, from.values[0], status, problems)) return false;
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
  // A listener with a name may get its sockets from systemd: see passed.h.
  if (line.complete && !has_addresses && !line.name.has_value()) {
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
    } else if (key.key->name == "servers_file") {
      good = ReadPath(kUpstream, key, &line.servers_file, problems);
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
    problems->Add(place, kServer, "addr= is missing; write addr=HOST:PORT");
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
