// The rows of the table of flags, a file for each part; flags.h puts them together.
//
// Constant: any thread.
#ifndef CONFIG_FLAG_ROWS_H_
#define CONFIG_FLAG_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "absl/types/span.h"
#include "config/flag.h"

namespace parkway::config {

absl::Span<const Flag> ListeningRows();  // Listening
absl::Span<const Flag> UpstreamRows();   // Upstream
absl::Span<const Flag> NamesRows();      // Names
absl::Span<const Flag> AdmissionRows();  // Admission
absl::Span<const Flag> HealthRows();     // Health
absl::Span<const Flag> SessionRows();    // Timeouts, Limits
absl::Span<const Flag> SocketRows();     // Sockets
absl::Span<const Flag> ProcessRows();    // Logging, Process
absl::Span<const Flag> AdminRows();      // Admin
// Keys of one line alone.
absl::Span<const Flag> LineRows();

inline constexpr uint64_t kKiB = 1024;
inline constexpr uint64_t kMiB = kKiB * kKiB;
inline constexpr uint64_t kGiB = kMiB * kKiB;

// An enumeration whose values are the indices of its words.
template <auto kMember>
constexpr WordField Word(absl::Span<const std::string_view> words) {
  return {words,
          [](Scalars& scalars, size_t index) {
            using Enum = std::remove_reference_t<decltype(scalars.*kMember)>;
            scalars.*kMember = static_cast<Enum>(index);
          },
          [](const Scalars& scalars) { return static_cast<size_t>(scalars.*kMember); }};
}

}  // namespace parkway::config

#endif  // CONFIG_FLAG_ROWS_H_
