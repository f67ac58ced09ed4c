// SecondText: a moment of the wall clock as text, down to its second. Lines of a log come many to a
// second, and formatting a time costs more than all else in a line, so the last answer is kept.
//
// One thread at a time.
#ifndef PROXY_OBSERVE_SECOND_TEXT_H_
#define PROXY_OBSERVE_SECOND_TEXT_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace parkway {

class SecondText {
 public:
  // `format` is absl::FormatTime's and outlives this. It asks for nothing below the second.
  SecondText(const char* format, absl::TimeZone zone) : format_(format), zone_(zone) {}

  const std::string& Of(absl::Time when) {
    const int64_t second = absl::ToUnixSeconds(when);
    if (second != second_) {
      second_ = second;
      text_ = absl::FormatTime(format_, when, zone_);
    }
    return text_;
  }

 private:
  const char* const format_;
  const absl::TimeZone zone_;
  int64_t second_ = INT64_MIN;
  std::string text_;
};

}  // namespace parkway

#endif  // PROXY_OBSERVE_SECOND_TEXT_H_
