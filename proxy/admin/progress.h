// ProgressBar: "45/120 what is going on" as a bar on a terminal, as a line elsewhere.
//
// A value; writes nothing itself.
#ifndef PROXY_ADMIN_PROGRESS_H_
#define PROXY_ADMIN_PROGRESS_H_

#include <string>
#include <string_view>

namespace parkway::admin {

class ProgressBar {
 public:
  // `columns`: how wide the terminal is; 0: it is none.
  explicit ProgressBar(int columns) : columns_(columns) {}

  // What to write for `text`: DONE/TOTAL, a blank, and anything. On a terminal it takes the place
  // of what was drawn before.
  std::string Draw(std::string_view text);
  // What to write before anything else: ends the line of a bar.
  std::string End();

  static constexpr int kWidth = 30;

 private:
  const int columns_;
  bool drawn_ = false;
};

}  // namespace parkway::admin

#endif  // PROXY_ADMIN_PROGRESS_H_
