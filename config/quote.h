// Quote: how an error line shows what was read, and what was probably meant.
//
// Pure functions: any thread.
#ifndef CONFIG_QUOTE_H_
#define CONFIG_QUOTE_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace parkway::config {

// "what is wrong; what would be right".
absl::Status Wrong(std::string_view what, std::string_view right);

// `text` as an error line shows it: control characters escaped, cut when long.
std::string Shown(std::string_view text);
// The same in quotes.
std::string Quoted(std::string_view text);

// The known name that `name` was probably meant to be; empty if none is near.
std::string_view Nearest(std::string_view name, absl::Span<const std::string_view> known);

// " (did you mean PREFIXname?)", or nothing.
std::string DidYouMean(std::string_view name, absl::Span<const std::string_view> known,
                       std::string_view prefix = "");

// Where the bytes stop being UTF-8; npos if they never do. NUL is UTF-8.
size_t FindInvalidUtf8(std::string_view bytes);

}  // namespace parkway::config

#endif  // CONFIG_QUOTE_H_
