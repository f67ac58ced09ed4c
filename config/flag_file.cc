#include "config/flag_file.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "config/flags.h"
#include "config/text.h"
#include "config/value.h"

namespace parkway::config {
namespace {

std::string_view TrimRight(std::string_view text) {
  while (!text.empty() && IsBlank(text.back())) text.remove_suffix(1);
  return text;
}

size_t SkipBlanks(std::string_view text, size_t from = 0) {
  while (from < text.size() && IsBlank(text[from])) ++from;
  return from;
}

int Characters(std::string_view text) {
  return static_cast<int>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

bool IsNameCharacter(char c) { return IsLetter(c) || IsDigit(c) || c == '_' || c == '-'; }

class Reader {
 public:
  Reader(const std::string& source, std::string_view bytes, Problems* problems)
      : source_(source), bytes_(bytes), problems_(problems) {}

  std::vector<FlagLine> Read() {
    ConsumePrefix(&bytes_, "\xef\xbb\xbf");  // the mark that some editors put before UTF-8
    if (!IsText()) return {};
    while (NextPhysical()) ReadLogical();
    return std::move(lines_);
  }

 private:
  // Where quotes have a meaning within a value.
  enum class Quotes { kNone, kAround, kAnywhere };

  Place PlaceOf(size_t offset) const {
    return {source_, number_, 1 + Characters(line_.substr(0, offset))};
  }

  void Wrong(size_t offset, std::string_view flag, std::string_view message) {
    problems_->Add(PlaceOf(offset), flag, message);
  }

  // A file that is not text has one error, at the first byte that shows it.
  bool IsText() {
    const size_t invalid = FindInvalidUtf8(bytes_);
    const size_t nul = bytes_.find('\0');
    const size_t bad = std::min(invalid, nul);
    if (bad == std::string_view::npos) return true;
    const std::string_view before = bytes_.substr(0, bad);
    number_ = 1 + static_cast<int>(std::count(before.begin(), before.end(), '\n'));
    line_ = before.substr(before.rfind('\n') + 1);
    Wrong(line_.size(), "",
          nul == bad ? std::string("a zero byte; a flags file is text")
                     : Cat("the byte ", Quoted(bytes_.substr(bad, 1)),
                           " is not UTF-8; save the file as UTF-8"));
    return false;
  }

  bool NextPhysical() {
    if (bytes_.empty()) return false;
    const size_t end = bytes_.find('\n');
    line_ = bytes_.substr(0, end);
    bytes_.remove_prefix(end == std::string_view::npos ? bytes_.size() : end + 1);
    if (line_.ends_with('\r')) line_.remove_suffix(1);
    ++number_;
    return true;
  }

  // True if the physical line is free of control characters.
  bool IsClean(std::string_view flag) {
    const auto control =
        std::find_if(line_.begin(), line_.end(), [](char c) { return IsControl(c) && c != '\t'; });
    if (control == line_.end()) return true;
    Wrong(static_cast<size_t>(control - line_.begin()), flag,
          Cat("the control character ", Quoted(std::string_view(&*control, 1)), "; remove it"));
    return false;
  }

  void ReadLogical() {
    const size_t begin = SkipBlanks(line_);
    if (begin == line_.size()) return;
    if (line_[begin] == '#') {
      if (line_.ends_with('\\')) {
        Wrong(line_.size() - 1, "",
              "a comment cannot be continued; remove the \\, and begin the next line with #");
      }
      return;
    }
    FlagLine line;
    line.place = PlaceOf(begin);
    const std::optional<size_t> value = ReadHead(begin, &line.name);
    const bool good = ReadValue(value.value_or(begin), value.has_value(), &line);
    if (good && value.has_value()) lines_.push_back(std::move(line));
  }

  // The name before the =; returns where the value begins, nothing if the line is wrong.
  std::optional<size_t> ReadHead(size_t begin, std::string* name) {
    const std::string_view rest = line_.substr(begin);
    const std::string_view word = rest.substr(0, std::min(rest.find_first_of(" \t"), rest.size()));
    if (!rest.starts_with("--")) {
      const std::string_view bare = word.substr(0, word.find('='));
      if (rest.starts_with("-")) {
        Wrong(begin, "",
              Cat(Quoted(word), " begins with one -; write --NAME=VALUE",
                  DidYouMean(bare.substr(1), FlagNames(), "--")));
      } else {
        Wrong(begin, "",
              Cat(Quoted(word), " does not begin with --; write --NAME=VALUE",
                  DidYouMean(bare, FlagNames(), "--")));
      }
      return std::nullopt;
    }
    size_t end = 2;
    while (end < rest.size() && IsNameCharacter(rest[end])) ++end;
    *name = std::string(rest.substr(2, end - 2));
    if (name->empty()) {
      Wrong(begin, "", Cat(Quoted(word), " has no name; write --NAME=VALUE"));
      return std::nullopt;
    }
    if (end < rest.size() && rest[end] == '=') return begin + end + 1;

    const size_t next = SkipBlanks(rest, end);
    const Flag* flag = FindFlag(*name);
    const std::string right = Cat("write --", Shown(*name), "=",
                                  flag == nullptr || flag->value.empty() ? "VALUE" : flag->value);
    if (flag != nullptr && !flag->in_file) {
      Wrong(begin, *name, "it is for the command line only; remove the line");
    } else if (next == rest.size() || rest.substr(next) == "\\") {
      Wrong(begin, *name,
            flag == nullptr ? Cat("it has no value; ", right, DidYouMean(*name, FlagNames(), "--"))
                            : Cat("it has no value; ", right));
    } else if (next > end && rest[next] == '=') {
      Wrong(begin + end, *name, Cat("a blank before the =; ", right));
    } else if (next > end) {
      Wrong(begin + end, *name, Cat("a blank instead of the =; ", right));
    } else {
      Wrong(begin + end, "", Cat(Quoted(word), " is not a name; write --NAME=VALUE"));
    }
    return std::nullopt;
  }

  // The value from `from` on, over all lines it is continued on. If `judge` is false the line is
  // wrong already: what continues it is passed over. False if something was wrong.
  bool ReadValue(size_t from, bool judge, FlagLine* line) {
    const std::string_view flag = line->name;
    const Flag* known = judge ? FindFlag(flag) : nullptr;
    from = SkipBlanks(line_, from);
    Quotes quotes = Quotes::kNone;
    if (known != nullptr && known->is_list()) {
      quotes = Quotes::kAnywhere;
    } else if (judge && from < line_.size() && line_[from] == '"') {
      quotes = Quotes::kAround;
    }
    bool good = true;
    const auto wrong = [&](size_t offset, std::string_view message) {
      if (judge && good) Wrong(offset, flag, message);
      good = false;
    };
    if (!judge || !IsClean(flag)) good = false;

    SourceText value;
    for (;;) {
      const std::string_view piece = line_.substr(from);
      // The quotes of a scalar are left out; the words of a list keep theirs.
      size_t open = std::string_view::npos;  // the quote that is open
      size_t closed = std::string_view::npos;
      bool escaped_end = false;
      for (size_t i = 0; i < piece.size() && quotes != Quotes::kNone; ++i) {
        if (open != std::string_view::npos && piece[i] == '\\') {
          if (i + 1 == piece.size()) escaped_end = true;
          ++i;
        } else if (piece[i] == '"') {
          if (open != std::string_view::npos) {
            open = std::string_view::npos;
            closed = i;
            if (quotes == Quotes::kAround) break;
          } else {
            open = i;
          }
        }
      }
      if (open != std::string_view::npos) {
        if (escaped_end) {
          wrong(from + piece.size() - 1,
                "the line is continued inside quotes; close them before the \\");
        } else {
          wrong(from + open, "the quote is not closed on this line; write another \" behind it");
        }
      }

      const std::string_view text = TrimRight(piece);
      const bool continues = piece.ends_with('\\');
      if (!continues && text.ends_with('\\')) {
        wrong(from + text.size() - 1, "blanks follow the \\; remove them, or the \\");
      }
      if (quotes == Quotes::kAround) {
        if (good) value = Unquoted(piece, from, closed, &good, flag);
      } else {
        const std::string_view content =
            continues ? TrimRight(piece.substr(0, piece.size() - 1)) : text;
        if (!value.text().empty() && !content.empty()) {
          value.Append(" ", PlaceOf(from));
        }
        if (!content.empty() || value.text().empty()) value.Append(content, PlaceOf(from));
      }
      if (!continues) break;
      const size_t backslash = line_.size() - 1;
      if (bytes_.empty()) {
        wrong(backslash, "the file ends after the \\; remove it");
        break;
      }
      NextPhysical();
      from = SkipBlanks(line_);
      if (!IsClean(flag)) good = false;
      if (from < line_.size() && line_[from] == '#') {
        wrong(from, "a comment in the middle of a continued line; put it before the line");
        if (!line_.ends_with('\\')) break;
      }
    }
    line->value = std::move(value);
    return good;
  }

  // A scalar in quotes that close at `closed`.
  SourceText Unquoted(std::string_view piece, size_t from, size_t closed, bool* good,
                      std::string_view flag) {
    const size_t behind = SkipBlanks(piece, closed + 1);
    if (behind < piece.size()) {
      Wrong(from + behind, flag,
            Cat(Quoted(piece.substr(behind)),
                " follows the closing quote; put all of the value in quotes, or none"));
      *good = false;
    }
    std::string text;
    for (size_t i = 1; i < closed; ++i) {
      if (piece[i] == '\\' && (piece[i + 1] == '"' || piece[i + 1] == '\\')) ++i;
      text += piece[i];
    }
    return SourceText(text, PlaceOf(from + 1));
  }

  const std::string& source_;
  std::string_view bytes_;  // what is not read yet
  std::string_view line_;   // the physical line, without its end
  int number_ = 0;          // of line_
  Problems* const problems_;
  std::vector<FlagLine> lines_;
};

}  // namespace

std::vector<FlagLine> ReadFlagText(const std::string& source, std::string_view bytes,
                                   Problems* problems) {
  return Reader(source, bytes, problems).Read();
}

}  // namespace parkway::config
