#include "config/source.h"

#include <algorithm>

#include "config/text.h"
#include "config/value.h"

namespace parkway::config {

std::string Place::ToString() const {
  return line == 0 ? source : Cat(source, ":", line, ":", column);
}

void SourceText::Append(std::string_view piece, const Place& place) {
  segments_.push_back({text_.size(), place});
  last_ = {};
  text_ += piece;
}

Place SourceText::At(size_t offset) const {
  if (segments_.empty()) return {};
  const auto after =
      std::upper_bound(segments_.begin() + 1, segments_.end(), offset,
                       [](size_t at, const Segment& segment) { return at < segment.begin; });
  const Segment& segment = *(after - 1);
  Place place = segment.place;
  if (place.line == 0) return place;
  // Mostly asked from left to right: go on from the last answer, or a long line takes for ever.
  size_t from = segment.begin;
  if (last_.column != 0 && last_.offset >= segment.begin && last_.offset <= offset) {
    from = last_.offset;
    place.column = last_.column;
  }
  for (size_t i = from; i < offset && i < text_.size(); ++i) {
    // The bytes of a character after its first do not count.
    if ((static_cast<unsigned char>(text_[i]) & 0xc0) != 0x80) ++place.column;
  }
  last_ = {offset, place.column};
  return place;
}

void Problems::Add(const Place& place, std::string_view flag, std::string_view message) {
  std::string text = place.ToString();
  if (!text.empty()) text += ": ";
  if (!flag.empty()) Append(&text, "--", Shown(flag), ": ");
  text += message;
  // A name or a path may hold anything.
  for (size_t i = 0; i < text.size(); ++i) {
    if (IsControl(text[i])) text.replace(i, 1, Shown(text.substr(i, 1)));
  }
  entries_.push_back({std::move(text), ""});
}

void Problems::AddAll(const Problems& other) {
  entries_.insert(entries_.end(), other.entries_.begin(), other.entries_.end());
}

void Problems::AddUnknown(const Place& place, std::string_view name, std::string_view message) {
  Add(place, name, message);
  entries_.back().unknown = std::string(name);
}

std::vector<std::string> Problems::Lines(const std::vector<std::string>& may_be_unknown) const {
  std::vector<std::string> lines;
  size_t more = 0;
  for (const Entry& entry : entries_) {
    if (!entry.unknown.empty() && std::find(may_be_unknown.begin(), may_be_unknown.end(),
                                            entry.unknown) != may_be_unknown.end()) {
      continue;
    }
    if (lines.size() < kMost) {
      lines.push_back(entry.text);
    } else {
      ++more;
    }
  }
  if (more > 0) lines.push_back(Cat("and ", more, " more"));
  return lines;
}

}  // namespace parkway::config
