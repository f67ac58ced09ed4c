// What a PROXY header to a server is to hold.
//
// Values: any thread.
#ifndef PROXY_CORE_PROXY_OUT_H_
#define PROXY_CORE_PROXY_OUT_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace parkway {

enum class ProxyVersion : uint8_t { kNone, kV1, kV2 };

// Which TLVs go into a header of version 2.
struct ProxyTlvs {
  bool crc32c = false;
  bool unique_id = false;
  bool authority = false;
  bool pass_all = false;
  std::vector<uint8_t> pass = {};                         // from the header that came in
  std::vector<std::pair<uint8_t, std::string>> set = {};  // these beat those that came in

  bool operator==(const ProxyTlvs&) const = default;
};

struct ProxyOut {
  ProxyVersion version = ProxyVersion::kV2;
  ProxyTlvs tlvs = {};

  bool operator==(const ProxyOut&) const = default;
};

}  // namespace parkway

#endif  // PROXY_CORE_PROXY_OUT_H_
