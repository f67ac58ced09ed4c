#include "config/quote.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "config/text.h"

namespace parkway::config {
namespace {

std::string WithoutUnderscores(std::string_view text) {
  std::string bare(text);
  std::erase(bare, '_');
  return bare;
}

size_t EditDistance(std::string_view a, std::string_view b) {
  // With neighbours swapped as one edit: the last two rows are kept.
  std::vector<size_t> older(b.size() + 1), old(b.size() + 1), now(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) old[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      now[j] = std::min({old[j] + 1, now[j - 1] + 1, old[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        now[j] = std::min(now[j], older[j - 2] + 1);
      }
    }
    older.swap(old);
    old.swap(now);
  }
  return old[b.size()];
}

}  // namespace

absl::Status Wrong(std::string_view what, std::string_view right) {
  return absl::InvalidArgumentError(Cat(what, "; ", right));
}

std::string Shown(std::string_view text) {
  constexpr size_t kMostShown = 80;
  std::string shown;
  // Bytes that are not UTF-8 may come from the command line.
  const size_t valid = std::min(FindInvalidUtf8(text), text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    // Cut before a character, never inside one.
    if (i >= kMostShown && (i >= valid || (byte & 0xc0) != 0x80)) {
      shown += "...";
      break;
    }
    if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && i >= valid)) {
      constexpr char kHex[] = "0123456789abcdef";
      Append(&shown, "\\x", std::string(1, kHex[byte >> 4]), std::string(1, kHex[byte & 15]));
    } else {
      shown += text[i];
    }
  }
  return shown;
}

std::string Quoted(std::string_view text) { return Cat("\"", Shown(text), "\""); }

std::string_view Nearest(std::string_view name, absl::Span<const std::string_view> known) {
  std::string plain = AsciiLower(name.substr(0, 64));
  std::replace(plain.begin(), plain.end(), '-', '_');
  std::string_view best;
  size_t best_distance = std::max<size_t>(1, plain.size() / 3) + 1;
  for (const std::string_view candidate : known) {
    const size_t distance = EditDistance(plain, candidate);
    if (distance < best_distance && distance < candidate.size()) {
      best = candidate;
      best_distance = distance;
    }
  }
  if (!best.empty() || plain.size() < 3) return best;
  // The beginning of exactly one, also without underscores: "maxconn".
  const std::string bare = WithoutUnderscores(plain);
  for (const std::string_view candidate : known) {
    if (!WithoutUnderscores(candidate).starts_with(bare)) continue;
    if (!best.empty()) return "";
    best = candidate;
  }
  return best;
}

std::string DidYouMean(std::string_view name, absl::Span<const std::string_view> known,
                       std::string_view prefix) {
  const std::string_view nearest = Nearest(name, known);
  if (nearest.empty()) return "";
  return Cat(" (did you mean ", prefix, nearest, "?)");
}

size_t FindInvalidUtf8(std::string_view bytes) {
  size_t i = 0;
  while (i < bytes.size()) {
    const auto lead = static_cast<uint8_t>(bytes[i]);
    size_t extra;
    uint32_t point;
    if (lead < 0x80) {
      ++i;
      continue;
    } else if (lead >= 0xc2 && lead <= 0xdf) {
      extra = 1;
      point = lead & 0x1f;
    } else if (lead >= 0xe0 && lead <= 0xef) {
      extra = 2;
      point = lead & 0x0f;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
      extra = 3;
      point = lead & 0x07;
    } else {
      return i;
    }
    if (bytes.size() - i <= extra) return i;
    for (size_t k = 1; k <= extra; ++k) {
      const auto byte = static_cast<uint8_t>(bytes[i + k]);
      if ((byte & 0xc0) != 0x80) return i;
      point = point << 6 | (byte & 0x3f);
    }
    const bool overlong = (extra == 2 && point < 0x800) || (extra == 3 && point < 0x10000);
    const bool surrogate = point >= 0xd800 && point <= 0xdfff;
    if (overlong || surrogate || point > 0x10ffff) return i;
    i += extra + 1;
  }
  return std::string_view::npos;
}

}  // namespace parkway::config
