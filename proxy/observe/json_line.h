// JsonLine: one flat object of JSON, appended to a line key by key.
//
//   JsonLine json(line);        // {
//   json.Text("event", "close");
//   json.Ms("queue_ms", 250);   // 0.250
//                               // } at its end
//
// One thread at a time; it allocates nothing but what the line needs.
#ifndef PROXY_OBSERVE_JSON_LINE_H_
#define PROXY_OBSERVE_JSON_LINE_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace parkway {

class JsonLine {
 public:
  explicit JsonLine(std::string& line) : line_(line) { line_ += '{'; }
  ~JsonLine() { line_ += '}'; }
  JsonLine(const JsonLine&) = delete;
  JsonLine& operator=(const JsonLine&) = delete;

  // A key is a name of ours, with nothing in it to escape.
  void Text(std::string_view key, std::string_view value);
  // Left out where there is none.
  void TextIf(std::string_view key, std::string_view value);
  void Number(std::string_view key, uint64_t value);
  // In milliseconds; negative: it never was.
  void Ms(std::string_view key, int64_t us);

 private:
  void Key(std::string_view key);

  std::string& line_;
};

}  // namespace parkway

#endif  // PROXY_OBSERVE_JSON_LINE_H_
