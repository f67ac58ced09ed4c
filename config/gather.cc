#include "config/gather.h"

#include <algorithm>
#include <utility>

#include "config/flag_file.h"
#include "config/text.h"
#include "config/value.h"

namespace parkway::config {
namespace {

constexpr std::string_view kCommandLine = "command line";

// A flag as the command line or the environment gives it.
struct Item {
  Place place;
  const Flag* flag;
  std::optional<std::string> value;
};

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash + 1);
}

bool IsPattern(std::string_view path) {
  return path.find_first_of("*?[") != std::string_view::npos;
}

class Gatherer {
 public:
  Gatherer(const SystemFacts& facts, FileReader& files) : facts_(facts), files_(files) {}

  Gathered Run(absl::Span<const std::string> arguments) {
    ReadArguments(arguments);
    for (const Item& item : items_) {
      if (item.flag->is_action()) TakeAction(item);
      if (item.flag->name == kUndefok) AddMayBeUnknown(item.value.value_or(""));
      if (item.flag->name == kNofile) TakeNofile(item);
    }
    // What is explained was checked.
    if (result_.wants(kExplain)) result_.actions.insert(kCheck);
    if (result_.wants(kHelp) || result_.wants(kVersion)) return std::move(result_);
    if (result_.nofile.has_value() && !result_.wants(kCheck)) {
      Wrong({std::string(kCommandLine), 0, 0}, kNofile,
            "it is for --check only; raise the limit of open files itself, as with ulimit -n or "
            "LimitNOFILE=");
    }

    for (const Item& item : items_) {
      if (item.flag->name != kFlagfile) continue;
      TakeFiles(item.place, SourceText(*item.value, item.place), "");
    }
    const std::map<std::string_view, Place> in_files = result_.set_at;
    for (const Item& item : items_) {
      if (item.flag->is_list()) {
        result_.lists.push_back({item.flag, item.place, SourceText(*item.value, item.place)});
      } else if (item.flag->is_scalar()) {
        TakeScalar(item);
      }
    }
    for (const auto& [name, in_file] : in_files) {
      const Place& place = result_.set_at[name];
      if (place.line != 0) continue;
      result_.warnings.Add(in_file, name,
                           Cat("it has no effect: the ",
                               place.source == kCommandLine ? "command line" : "environment",
                               " sets it to ", PrintScalar(*FindFlag(name), result_.scalars)));
    }
    return std::move(result_);
  }

 private:
  void Wrong(const Place& place, std::string_view flag, std::string_view message) {
    result_.errors.Add(place, flag, message);
  }

  // --- The command line

  void ReadArguments(absl::Span<const std::string> arguments) {
    const Place place{std::string(kCommandLine), 0, 0};
    bool flags_end = false;
    for (size_t i = 0; i < arguments.size(); ++i) {
      const std::string_view argument = arguments[i];
      if (!IsPrintable(argument)) {
        Wrong(place, "",
              Cat(Quoted(argument), " has bytes that are not text; remove them or write UTF-8"));
        continue;
      }
      if (!flags_end && argument == "--") {
        flags_end = true;
        continue;
      }
      if (flags_end || argument.size() < 2 || argument[0] != '-') {
        NotAFlag(place, argument);
        continue;
      }

      std::string_view name = argument.substr(argument.starts_with("--") ? 2 : 1);
      std::optional<std::string> value;
      if (const size_t equals = name.find('='); equals != std::string_view::npos) {
        value = std::string(name.substr(equals + 1));
        name = name.substr(0, equals);
      }
      const bool is_short = !argument.starts_with("--") && name.size() == 1;
      const Flag* flag = is_short ? FindShortFlag(name[0]) : FindFlag(name);
      if (flag == nullptr) {
        if (is_short) {
          UnknownShort(place, name[0]);
        } else {
          Unknown(place, name);
        }
        continue;
      }
      if (!value.has_value() && !flag->is_action()) {
        // --name VALUE. What looks like a flag is one; "-1s" is a value, if a wrong one.
        const bool has_next = i + 1 < arguments.size();
        const std::string_view next = has_next ? std::string_view(arguments[i + 1]) : "";
        if (!has_next || (next.size() > 1 && next[0] == '-' && !IsDigit(next[1]))) {
          if (is_short && name == "c" && has_next) {
            Wrong(place, flag->name,
                  Cat("-c needs a file and ", Quoted(next),
                      " follows; write -c FILE, and -t to check"));
          } else {
            Wrong(place, flag->name,
                  Cat("it has no value; write --", flag->name, "=", flag->value));
          }
          continue;
        }
        value = std::string(next);
        ++i;
        if (!IsPrintable(next)) {
          Wrong(place, flag->name,
                Cat(Quoted(next), " has bytes that are not text; remove them or write UTF-8"));
          continue;
        }
      }
      TakeArgument({place, flag, std::move(value)}, /*from_environment=*/false);
    }
  }

  static bool IsPrintable(std::string_view text) {
    return FindInvalidUtf8(text) == std::string_view::npos &&
           std::none_of(text.begin(), text.end(), [](char c) { return IsControl(c) && c != '\t'; });
  }

  void NotAFlag(const Place& place, std::string_view argument) {
    const std::string_view bare = argument.substr(0, argument.find('='));
    if (FindFlag(bare) != nullptr) {
      Wrong(place, "", Cat(Quoted(argument), " does not begin with --; write --", Shown(argument)));
      return;
    }
    Wrong(place, "",
          Cat(Quoted(argument), " is not a flag; write --NAME=VALUE, or -c FILE to read a file",
              DidYouMean(bare, FlagNames(), "--")));
  }

  void Unknown(const Place& place, std::string_view name) {
    result_.errors.AddUnknown(
        place, name, Cat("there is no such flag; see --help", DidYouMean(name, FlagNames(), "--")));
  }

  void UnknownShort(const Place& place, char letter) {
    const std::string name(1, letter);
    const std::string other(
        1, ToLower(letter) == letter ? static_cast<char>(letter - 'a' + 'A') : ToLower(letter));
    const bool near = IsLetter(letter) && FindShortFlag(other[0]) != nullptr;
    Wrong(place, "",
          Cat("-", name, ": there is no such flag; see --help",
              near ? Cat(" (did you mean -", other, "?)") : std::string()));
  }

  void TakeArgument(Item item, bool from_environment) {
    const std::string_view name = item.flag->name;
    if (name != kFromenv && name != kTryfromenv) {
      items_.push_back(std::move(item));
      return;
    }
    if (from_environment) {
      Wrong(item.place, name, "it cannot come from the environment; write it as a flag");
      return;
    }
    for (const std::string_view wanted : Split(*item.value, ',')) {
      if (wanted.empty()) {
        Wrong(item.place, name, Cat("a name is missing; write --", name, "=", item.flag->value));
        continue;
      }
      const std::string variable = Cat("FLAGS_", wanted);
      std::optional<std::string> value;
      if (facts_.environment != nullptr) value = facts_.environment(variable);
      if (!value.has_value()) {
        if (name == kFromenv) {
          Wrong(
              item.place, name,
              Cat(Shown(variable), " is not set in the environment; set it, or use --tryfromenv"));
        }
        continue;
      }
      const Place place{variable, 0, 0};
      const Flag* flag = FindFlag(wanted);
      if (flag == nullptr) {
        Unknown(item.place, wanted);
      } else if (!IsPrintable(*value)) {
        Wrong(place, wanted,
              Cat(Quoted(*value), " has bytes that are not text; remove them or write UTF-8"));
      } else {
        TakeArgument({place, flag, std::move(value)}, /*from_environment=*/true);
      }
    }
  }

  void TakeAction(const Item& item) {
    bool on = true;
    if (item.value.has_value()) {
      const absl::StatusOr<bool> value = ParseBool(*item.value);
      if (!value.ok()) {
        Wrong(item.place, item.flag->name, Message(value.status()));
        return;
      }
      on = *value;
    }
    if (on) {
      result_.actions.insert(item.flag->name);
    } else {
      result_.actions.erase(item.flag->name);
    }
  }

  void TakeNofile(const Item& item) {
    const absl::StatusOr<uint64_t> count = ParseCount(*item.value, 1, uint64_t{1} << 30);
    if (count.ok()) {
      result_.nofile = *count;
    } else {
      Wrong(item.place, kNofile, Message(count.status()));
    }
  }

  void AddMayBeUnknown(std::string_view names) {
    for (const std::string_view name : Split(names, ',')) {
      result_.may_be_unknown.emplace_back(name);
    }
  }

  void TakeScalar(const Item& item) {
    const std::string_view name = item.flag->name;
    const absl::Status status = SetScalar(*item.flag, *item.value, result_.scalars);
    if (!status.ok()) {
      Wrong(item.place, name, Message(status));
      return;
    }
    result_.set_at[name] = item.place;
  }

  // --- Files

  // The files of a --flagfile that stands at `place`; names are relative to `folder`.
  void TakeFiles(const Place& place, const SourceText& names, const std::string& folder) {
    size_t offset = 0;
    for (const std::string_view name : Split(names.text(), ',')) {
      const Place at = place.line == 0 ? place : names.At(offset);
      offset += name.size() + 1;
      if (name.empty()) {
        Wrong(at, kFlagfile, "the name of a file is missing; write --flagfile=FILE[,FILE...]");
        continue;
      }
      const std::string path = name[0] == '/' ? std::string(name) : Cat(folder, name);
      if (!IsPattern(name)) {
        TakeFile(at, path);
        continue;
      }
      absl::StatusOr<std::vector<std::string>> matches = files_.Match(path);
      if (!matches.ok()) {
        Wrong(at, kFlagfile,
              Cat(Quoted(path), " cannot be looked up: ", Message(matches.status()),
                  "; name files that can be read"));
        continue;
      }
      for (const std::string& match : *matches) TakeFile(at, match);
    }
  }

  void TakeFile(const Place& place, const std::string& path) {
    absl::StatusOr<FileReader::File> file = files_.Read(path);
    if (!file.ok()) {
      Wrong(place, kFlagfile,
            Cat(Quoted(path), " cannot be read: ", Message(file.status()),
                "; name a flags file that can be read"));
      return;
    }
    const auto [read, is_new] = read_.insert({file->identity, {path, place, true}});
    if (!is_new) {
      const ReadFile& earlier = read->second;
      if (earlier.open && &earlier == open_.back()) {
        Wrong(place, kFlagfile, Cat(Quoted(path), " includes itself; remove this line"));
      } else if (earlier.open) {
        Wrong(place, kFlagfile,
              Cat(Quoted(path), " includes itself, by way of ", Quoted(open_.back()->path),
                  "; remove this line"));
      } else {
        Wrong(place, kFlagfile,
              Cat(Quoted(path), " was read already, named at ", earlier.place.ToString(),
                  "; name it once"));
      }
      return;
    }
    open_.push_back(&read->second);
    for (FlagLine& line : ReadFlagText(path, file->bytes, &result_.errors)) {
      TakeLine(path, std::move(line));
    }
    open_.pop_back();
    read->second.open = false;
  }

  void TakeLine(const std::string& path, FlagLine line) {
    const Flag* flag = FindFlag(line.name);
    if (flag == nullptr) {
      Unknown(line.place, line.name);
    } else if (!flag->in_file) {
      Wrong(line.place, line.name, "it is for the command line only; remove the line");
    } else if (flag->name == kFlagfile) {
      TakeFiles(line.place, line.value, FolderOf(path));
    } else if (flag->name == kUndefok) {
      AddMayBeUnknown(line.value.text());
    } else if (flag->is_list()) {
      result_.lists.push_back({flag, line.place, std::move(line.value)});
    } else {
      const auto [earlier, is_new] = result_.set_at.insert({flag->name, line.place});
      const absl::Status status = SetScalar(*flag, line.value.text(), result_.scalars);
      if (!status.ok()) Wrong(line.value.At(0), flag->name, Message(status));
      if (!is_new) {
        Wrong(line.place, flag->name,
              Cat("it was set already at ", earlier->second.ToString(), "; keep one of the two"));
      }
    }
  }

  struct ReadFile {
    std::string path;
    Place place;  // where it was named
    bool open;    // it is being read
  };

  const SystemFacts& facts_;
  FileReader& files_;
  std::vector<Item> items_;
  std::map<std::string, ReadFile> read_;  // by identity
  std::vector<const ReadFile*> open_;     // the innermost last
  Gathered result_;
};

}  // namespace

Gathered Gather(absl::Span<const std::string> arguments, const SystemFacts& facts,
                FileReader& files) {
  return Gatherer(facts, files).Run(arguments);
}

}  // namespace parkway::config
