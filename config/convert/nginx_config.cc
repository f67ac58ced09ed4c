#include "config/convert/nginx_config.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "config/text.h"

namespace parkway::config::convert {
namespace {

// Files within files, and blocks within blocks: a mistake beyond it.
constexpr int kMostDepth = 20;
constexpr size_t kMostFiles = 1000;

class Parser {
 public:
  Parser(const std::string& path, FileReader& files, Model* model) : files_(files), model_(model) {
    const size_t slash = path.rfind('/');
    if (slash != std::string::npos) folder_ = path.substr(0, slash + 1);
  }

  NginxBlock Parse(const std::string& path, std::string_view bytes, int depth) {
    Text text = {path, bytes};
    NginxBlock block;
    ParseBlock(&text, &block, depth);
    while (text.at < bytes.size()) {
      model_->Note({path, text.line}, "} without {");
      ParseBlock(&text, &block, depth);
    }
    return block;
  }

 private:
  struct Text {
    std::string path;
    std::string_view bytes;
    size_t at = 0;
    int line = 1;
  };

  // A word, or one of ; { } alone; nothing at the end.
  static std::optional<std::string> Next(Text* text, bool* quoted) {
    const std::string_view bytes = text->bytes;
    *quoted = false;
    for (; text->at < bytes.size(); ++text->at) {
      const char c = bytes[text->at];
      if (c == '\n') ++text->line;
      if (c == '#') {
        text->at = std::min(bytes.find('\n', text->at), bytes.size()) - 1;
      } else if (!IsBlank(c) && c != '\n' && c != '\r') {
        break;
      }
    }
    if (text->at >= bytes.size()) return std::nullopt;
    const char first = bytes[text->at];
    std::string word;
    if (first == ';' || first == '{' || first == '}') {
      ++text->at;
      return std::string(1, first);
    }
    const char quote = first == '"' || first == '\'' ? first : 0;
    if (quote != 0) ++text->at;
    *quoted = quote != 0;
    for (; text->at < bytes.size(); ++text->at) {
      const char c = bytes[text->at];
      if (quote != 0 ? c == quote : IsBlank(c) || c == '\n' || c == '\r' || c == ';' || c == '{') {
        break;
      }
      if (c == '\n') ++text->line;
      if (c == '\\' && text->at + 1 < bytes.size()) {
        const char next = bytes[++text->at];
        if (next == '\n') ++text->line;
        if (next != '"' && next != '\'' && next != '\\' && next != ' ' && next != ';') word += '\\';
        word += next;
      } else {
        word += c;
      }
    }
    if (quote != 0 && text->at < bytes.size()) ++text->at;
    return word;
  }

  // Up to the } that ends it, or the end.
  void ParseBlock(Text* text, NginxBlock* block, int depth) {
    NginxDirective directive;
    bool quoted = false;
    while (const std::optional<std::string> word = Next(text, &quoted)) {
      if (directive.words.empty()) directive.origin = {text->path, text->line};
      const bool ends = !quoted && (*word == ";" || *word == "{" || *word == "}");
      if (!ends) {
        directive.words.push_back(*word);
        continue;
      }
      if (*word == "{") {
        directive.is_block = true;
        if (depth >= kMostDepth) {
          model_->Note(directive.origin, "blocks too deep");
          text->at = text->bytes.size();
          return;
        }
        ParseBlock(text, &directive.inside, depth + 1);
      }
      if (!directive.words.empty()) Add(std::move(directive), block, depth);
      directive = NginxDirective();
      if (*word == "}") return;
    }
    if (!directive.words.empty()) model_->Note(directive.origin, Words(directive.words));
  }

  void Add(NginxDirective directive, NginxBlock* block, int depth) {
    if (directive.words[0] != "include" || directive.words.size() != 2 || directive.is_block) {
      block->push_back(std::move(directive));
      return;
    }
    std::string path = directive.words[1];
    if (!path.starts_with("/")) path = folder_ + path;
    std::vector<std::string> paths = {path};
    if (path.find_first_of("*?[") != std::string::npos) {
      const auto found = files_.Match(path);
      paths = found.ok() ? *found : std::vector<std::string>();
      if (!found.ok()) model_->Note(directive.origin, Words(directive.words));
    }
    for (const std::string& name : paths) {
      const auto file = files_.Read(name);
      if (!file.ok() || depth >= kMostDepth || ++read_ > kMostFiles) {
        model_->Note(directive.origin, Cat("include ", name, ": ",
                                           file.ok() ? "too many files" : Message(file.status())));
        continue;
      }
      for (NginxDirective& one : Parse(name, file->bytes, depth + 1))
        block->push_back(std::move(one));
    }
  }

  FileReader& files_;
  Model* const model_;
  std::string folder_;
  size_t read_ = 0;
};

}  // namespace

std::string ValueOf(const NginxSettings& settings, const std::string& name) {
  const auto found = settings.single.find(name);
  return found == settings.single.end() ? "" : found->second.words[1];
}

NginxBlock ParseNginx(const std::string& path, std::string_view bytes, FileReader& files,
                      Model* model) {
  return Parser(path, files, model).Parse(path, bytes, 0);
}

}  // namespace parkway::config::convert
