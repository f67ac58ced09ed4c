// Any bytes as the first of a client: a PROXY header, a ClientHello, or neither.
//
//   bazel build --config=fuzz //tests/fuzz:first_bytes_fuzz
//
// What must hold: nothing is read beyond the bytes; a header that was read is the same whatever
// follows it, and is written again as the same; a name is a host name in lower case.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "proxy/inbound/client_hello.h"
#include "proxy/inbound/proxy_protocol.h"

namespace parkway {
namespace {

void Demand(bool holds) {
  if (!holds) abort();
}

void CheckHeader(const std::string& bytes) {
  const ProxyParsed parsed = ParseProxyHeader(bytes);
  if (parsed.result != ProxyParsed::Result::kDone) return;
  Demand(parsed.size <= bytes.size() && parsed.size <= kMostProxyHeaderBytes);
  const std::string header = bytes.substr(0, parsed.size);
  Demand(ParseProxyHeader(header).result == ProxyParsed::Result::kDone);
  Demand(ParseProxyHeader(std::string_view(header).substr(0, header.size() - 1)).result ==
         ProxyParsed::Result::kNeedMore);
  if (!parsed.has_addresses) return;
  ProxyTlvs tlvs;
  tlvs.pass_all = true;
  tlvs.crc32c = true;
  std::string written;
  WriteProxyHeader(
      ProxyVersion::kV2,
      {.source = parsed.source, .destination = parsed.destination, .tlvs_in = parsed.tlvs}, tlvs,
      written);
  const ProxyParsed again = ParseProxyHeader(written);
  Demand(again.result == ProxyParsed::Result::kDone && again.size == written.size());
  Demand(again.source.ToString() == parsed.source.ToString());
  Demand(again.destination.ToString() == parsed.destination.ToString());
}

void CheckHello(const std::string& bytes) {
  const FirstBytes seen = ReadFirstBytes(bytes);
  for (const char c : seen.sni) {
    Demand((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.');
  }
  Demand(seen.sni.empty() || seen.protocol == ClientProtocol::kTls);
  if (seen.result != FirstBytes::Result::kDone) return;
  const FirstBytes more = ReadFirstBytes(bytes + "x");
  Demand(more.result == FirstBytes::Result::kDone && more.sni == seen.sni);
}

}  // namespace
}  // namespace parkway

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  parkway::CheckHeader(bytes);
  parkway::CheckHello(bytes);
  return 0;
}
