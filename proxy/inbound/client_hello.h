// What a client's first bytes say: which protocol it speaks, and, for TLS, which name it asks for
// and which protocols it offers. Nothing is changed or answered.
//
//   const FirstBytes seen = ReadFirstBytes(bytes);
//   if (seen.result == FirstBytes::Result::kNeedMore) ...
//
// A ClientHello may be split over segments and over TLS records, and may hold what nobody knows
// (GREASE, new extensions): that is passed over. With ECH the name is that of the outer hello.
// What looks like TLS and is not well-formed is kUnknown.
//
// Pure functions: any thread.
//
// Invariants
//   1. The result does not depend on what follows the bytes that decided it; a proper prefix of
//      those is kNeedMore.
//   2. `sni` is empty or a host name in lower case without a dot at its end.
#ifndef PROXY_INBOUND_CLIENT_HELLO_H_
#define PROXY_INBOUND_CLIENT_HELLO_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace parkway {

enum class ClientProtocol : uint8_t { kUnknown, kTls, kSsh, kHttp, kPostgres };

struct FirstBytes {
  enum class Result : uint8_t { kNeedMore, kDone };

  Result result = Result::kNeedMore;
  // Known before all of a ClientHello is there.
  ClientProtocol protocol = ClientProtocol::kUnknown;
  std::string sni = {};                // of TLS; empty: none
  std::vector<std::string> alpn = {};  // of TLS, as offered
};

FirstBytes ReadFirstBytes(std::string_view bytes);

}  // namespace parkway

#endif  // PROXY_INBOUND_CLIENT_HELLO_H_
