// Where text came from: places in files, values that remember theirs, and the list of what is
// wrong, each with its place.
//
// Columns count characters, from 1, as an editor does. One thread at a time.
#ifndef CONFIG_SOURCE_H_
#define CONFIG_SOURCE_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace parkway::config {

struct Place {
  std::string source;  // a file as it was named, "command line", or "FLAGS_name"
  int line = 0;        // from 1; 0: the source has no lines
  int column = 0;

  // "a.flags:3:14", or the source alone.
  std::string ToString() const;
};

// A value, joined from the lines it was continued over, that knows where each byte was read.
class SourceText {
 public:
  SourceText() = default;
  SourceText(std::string_view text, const Place& place) { Append(text, place); }

  // `place`: of the first byte of `piece`, all of which is on one line.
  void Append(std::string_view piece, const Place& place);

  const std::string& text() const { return text_; }
  // `offset` may be the end.
  Place At(size_t offset) const;

 private:
  struct Segment {
    size_t begin;
    Place place;
  };
  // What At() answered last; a column of 0 is none.
  struct Answer {
    size_t offset = 0;
    int column = 0;
  };
  std::string text_;
  std::vector<Segment> segments_;
  mutable Answer last_;
};

// Errors and warnings in the order they were found. Beyond kMost only the number grows: a file
// that is no flags file is wrong in every line.
class Problems {
 public:
  static constexpr size_t kMost = 200;

  // One line, "PLACE: --FLAG: MESSAGE"; a `flag` that is empty is left out, and so is an empty
  // place.
  void Add(const Place& place, std::string_view flag, std::string_view message);
  // The same, unless `name` turns out to be one of those that may be unknown.
  void AddUnknown(const Place& place, std::string_view name, std::string_view message);

  // All of `other`.
  void AddAll(const Problems& other);

  bool empty() const { return entries_.empty(); }
  // Without those of AddUnknown() whose name is in `may_be_unknown`.
  std::vector<std::string> Lines(const std::vector<std::string>& may_be_unknown) const;
  std::vector<std::string> Lines() const { return Lines({}); }

 private:
  struct Entry {
    std::string text;
    std::string unknown;  // the flag's name, or empty
  };
  std::vector<Entry> entries_;
};

}  // namespace parkway::config

#endif  // CONFIG_SOURCE_H_
