// The version of Parkway, as its programs say it.
#ifndef PROXY_CORE_VERSION_H_
#define PROXY_CORE_VERSION_H_

namespace parkway {

inline constexpr char kVersion[] = "0.1.0";
// The day on which it became that; changes with it.
inline constexpr char kVersionDate[] = "2026/11/24";

}  // namespace parkway

#endif  // PROXY_CORE_VERSION_H_
