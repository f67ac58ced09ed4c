// Text: the few helpers for std::string_view that Debian's Abseil, whose string_view is another
// type, does not offer. Any thread.
#ifndef CONFIG_TEXT_H_
#define CONFIG_TEXT_H_

#include <charconv>
#include <concepts>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"

namespace parkway::config {

inline void AppendPiece(std::string* out, std::string_view piece) { out->append(piece); }

template <std::integral T>
requires(!std::same_as<T, char> && !std::same_as<T, bool>) void AppendPiece(std::string* out,
                                                                            T number) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof(digits), number).ptr;
  out->append(digits, static_cast<size_t>(end - digits));
}

// Appends strings and integers.
template <typename... Ts>
void Append(std::string* out, const Ts&... pieces) {
  (AppendPiece(out, pieces), ...);
}

template <typename... Ts>
std::string Cat(const Ts&... pieces) {
  std::string text;
  Append(&text, pieces...);
  return text;
}

template <typename Strings>
std::string Join(const Strings& strings, std::string_view separator) {
  std::string text;
  bool first = true;
  for (const auto& string : strings) {
    if (!first) text += separator;
    first = false;
    text += string;
  }
  return text;
}

// "a,b" is a and b; "" is one empty piece.
inline std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> pieces;
  for (;;) {
    const size_t end = text.find(separator);
    pieces.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return pieces;
    text.remove_prefix(end + 1);
  }
}

// Removes `prefix` if `text` begins with it.
inline bool ConsumePrefix(std::string_view* text, std::string_view prefix) {
  if (!text->starts_with(prefix)) return false;
  text->remove_prefix(prefix.size());
  return true;
}

// Of ASCII, whatever the locale.
inline bool IsDigit(char c) { return c >= '0' && c <= '9'; }
inline bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
inline bool IsBlank(char c) { return c == ' ' || c == '\t'; }
inline bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }
inline char ToLower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

inline bool AllDigits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}
inline std::string AsciiLower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = ToLower(c);
  return lower;
}

// False if it is no number or too large.
template <std::unsigned_integral T>
bool ParseNumber(std::string_view text, T* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

inline std::string Message(const absl::Status& status) { return std::string(status.message()); }

}  // namespace parkway::config

#endif  // CONFIG_TEXT_H_
