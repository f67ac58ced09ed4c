#include "config/passed.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "config/address.h"
#include "config/flags.h"
#include "config/text.h"

namespace parkway::config {

namespace {

// What a socket that listens on `address` says of itself.
std::string BoundText(Address address, bool ipv6) {
  if (address.kind == Address::Kind::kAnyIp) {
    address.kind = ipv6 ? Address::Kind::kIpv6 : Address::Kind::kIpv4;
  }
  return address.Unmapped().ToString();
}

std::vector<std::string> TextsOf(const ListenLine& line) {
  std::vector<std::string> texts;
  for (const PlacedAddress& at : line.addresses) texts.push_back(at.address.ToString());
  return texts;
}

bool IsCalled(const ListenLine& line, std::string_view name) {
  return line.name.has_value() && line.name->text == name;
}

void ClaimOne(const PassedSocket& socket, bool ipv6, bool takes_all, ListenLine* line,
              Problems* problems) {
  if (takes_all) {
    line->addresses.push_back({socket.address, line->place});
    return;
  }
  const std::string bound = BoundText(socket.address, ipv6);
  if (std::any_of(line->addresses.begin(), line->addresses.end(),
                  [&](const PlacedAddress& at) { return BoundText(at.address, ipv6) == bound; })) {
    return;
  }
  problems->Add(line->addresses.empty() ? line->place : line->addresses[0].place, kListen,
                Cat("the socket ", socket.name, " that was passed to us listens on ", bound,
                    ", and the listener ", socket.name, " on ", Join(TextsOf(*line), ", "),
                    "; write the same here and in ListenStream=, or leave addr= out"));
}

}  // namespace

void ClaimPassedSockets(const SystemFacts& facts, bool looks, std::vector<ListenLine>* listens,
                        Problems* problems) {
  std::vector<bool> takes_all;
  for (const ListenLine& line : *listens) takes_all.push_back(line.addresses.empty());
  // A line that is wrong was told, and may be the one that is meant.
  const bool all_read = std::all_of(listens->begin(), listens->end(),
                                    [](const ListenLine& line) { return line.complete; });
  std::vector<std::string_view> names;
  for (const ListenLine& line : *listens) {
    if (line.name.has_value()) names.push_back(line.name->text);
  }
  for (const PassedSocket& socket : facts.passed) {
    const auto line =
        std::find_if(listens->begin(), listens->end(),
                     [&socket](const ListenLine& each) { return IsCalled(each, socket.name); });
    if (line != listens->end()) {
      ClaimOne(socket, facts.ipv6, takes_all[static_cast<size_t>(line - listens->begin())], &*line,
               problems);
    } else if (all_read) {
      problems->Add(
          {}, kListen,
          Cat("a socket called ", socket.name, " was passed to us, which listens on ",
              BoundText(socket.address, facts.ipv6), ", and there is no listener ",
              "name=", socket.name, ", so its clients would wait for ever; the names are ",
              names.empty() ? std::string("none") : Join(names, " ")));
    }
  }
  for (ListenLine& line : *listens) {
    if (!line.complete || !line.addresses.empty() || (looks && facts.passed.empty())) continue;
    problems->Add(line.place, kListen,
                  Cat("addr= is missing, and no socket called ", line.name->text,
                      " was passed to us; write addr=IP:PORT or addr=:PORT, or start the socket "
                      "unit with FileDescriptorName=",
                      line.name->text));
    line.complete = false;
  }
}

}  // namespace parkway::config
