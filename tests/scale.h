// How much of a thing a test does in this build: scale::parked_stacks, scale::random_steps, ...
//
// The sanitizers cost a factor of 3 to 20, so counts shrink under them, from one table
// (tests/scale.def) and nowhere else. Which build this is, is known when it is compiled.
#ifndef TESTS_SCALE_H_
#define TESTS_SCALE_H_

#include <cstdint>

namespace parkway::scale {

enum class Build { kOptimised, kAsan, kTsan };

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PARKWAY_BUILD_ASAN 1
#elif __has_feature(thread_sanitizer)
#define PARKWAY_BUILD_TSAN 1
#endif
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(PARKWAY_BUILD_ASAN)
inline constexpr Build kBuild = Build::kAsan;
#elif defined(__SANITIZE_THREAD__) || defined(PARKWAY_BUILD_TSAN)
inline constexpr Build kBuild = Build::kTsan;
#else
inline constexpr Build kBuild = Build::kOptimised;
#endif

constexpr int64_t Choose(int64_t optimised, int64_t asan, int64_t tsan) {
  return kBuild == Build::kAsan ? asan : kBuild == Build::kTsan ? tsan : optimised;
}

#define PARKWAY_SCALE(name, optimised, asan, tsan) \
  inline constexpr int64_t name = Choose(optimised, asan, tsan);
#include "tests/scale.def"
#undef PARKWAY_SCALE

}  // namespace parkway::scale

#endif  // TESTS_SCALE_H_
