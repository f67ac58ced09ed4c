#include "proxy/admin/arguments.h"

#include "absl/status/statusor.h"
#include "config/quote.h"
#include "config/text.h"
#include "config/value.h"

namespace parkway::admin {

using config::Cat;
using config::Quoted;

namespace {

bool IsOption(std::string_view word) { return word.starts_with("--"); }

}  // namespace

void Arguments::SetWrong(std::string why) {
  if (wrong_.empty()) wrong_ = std::move(why);
}

bool Arguments::Switch(std::string_view name) {
  for (auto word = words_.begin(); word != words_.end(); ++word) {
    if (!IsOption(*word) || word->substr(2) != name) continue;
    words_.erase(word);
    return true;
  }
  return false;
}

std::optional<std::string_view> Arguments::Value(std::string_view name) {
  for (auto word = words_.begin(); word != words_.end(); ++word) {
    std::string_view rest = *word;
    if (!config::ConsumePrefix(&rest, "--") || !config::ConsumePrefix(&rest, name)) continue;
    if (config::ConsumePrefix(&rest, "=")) {
      words_.erase(word);
      return rest;
    }
    if (!rest.empty()) continue;
    const auto value = word + 1;
    if (value == words_.end()) {
      SetWrong(Cat("--", name, " wants a value"));
      words_.erase(word);
      return std::nullopt;
    }
    const std::string_view found = *value;
    words_.erase(word, value + 1);
    return found;
  }
  return std::nullopt;
}

std::optional<absl::Duration> Arguments::Time(std::string_view name) {
  const std::optional<std::string_view> text = Value(name);
  if (!text.has_value()) return std::nullopt;
  const absl::StatusOr<absl::Duration> time = config::ParseDuration(*text, {.off = true});
  if (time.ok()) return *time;
  SetWrong(Cat("--", name, ": ", config::Message(time.status())));
  return std::nullopt;
}

std::optional<std::string_view> Arguments::Behind(std::string_view name, std::string_view sign) {
  for (auto word = words_.begin(); word != words_.end(); ++word) {
    std::string_view rest = *word;
    if (!config::ConsumePrefix(&rest, name) || !config::ConsumePrefix(&rest, sign)) continue;
    words_.erase(word);
    return rest;
  }
  return std::nullopt;
}

std::optional<std::string_view> Arguments::OptionalWord() {
  for (auto word = words_.begin(); word != words_.end(); ++word) {
    if (IsOption(*word)) continue;
    const std::string_view found = *word;
    words_.erase(word);
    return found;
  }
  return std::nullopt;
}

std::string_view Arguments::Word(std::string_view what) {
  const std::optional<std::string_view> word = OptionalWord();
  if (!word.has_value()) SetWrong(Cat(what, " is missing"));
  return word.value_or("");
}

uint64_t Arguments::Number(std::string_view what, uint64_t most) {
  const std::optional<std::string_view> word = OptionalWord();
  if (!word.has_value()) {
    SetWrong(Cat(what, " is missing"));
    return 0;
  }
  uint64_t number = 0;
  if (!config::ParseNumber(*word, &number) || number > most) {
    SetWrong(Cat(Quoted(*word), " is no ", what, "; it is a number of 0 to ", most));
  }
  return number;
}

std::optional<Arguments::ServerName> Arguments::SplitServer(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos || slash == 0 || slash + 1 == text.size()) {
    SetWrong(Cat(Quoted(text), " is no server; write UPSTREAM/SERVER"));
    return std::nullopt;
  }
  return ServerName{std::string(text.substr(0, slash)), std::string(text.substr(slash + 1))};
}

Arguments::ServerName Arguments::Server() {
  const std::optional<std::string_view> word = OptionalWord();
  if (!word.has_value()) {
    SetWrong("UPSTREAM/SERVER is missing");
    return {};
  }
  return SplitServer(*word).value_or(ServerName{});
}

std::string Arguments::Rest() {
  std::string rest = config::Join(words_, " ");
  words_.clear();
  return rest;
}

const std::string& Arguments::Wrong() {
  if (!words_.empty()) SetWrong(Cat(Quoted(words_.front()), " is not understood here"));
  return wrong_;
}

}  // namespace parkway::admin
