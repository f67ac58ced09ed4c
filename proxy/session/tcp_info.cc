#include "proxy/session/tcp_info.h"

#include <linux/tcp.h>
#include <netinet/in.h>

#include <algorithm>
#include <iterator>

#include "poller/kernel.h"

namespace parkway {

namespace {

// One of so many segments out of order: the network loses some.
constexpr uint32_t kLossyPart = 200;

int64_t NotNegative(int64_t value) { return std::max<int64_t>(value, 0); }

// Sent and not acknowledged, though nobody held it up.
int64_t UnderWay(const TcpFacts& side) {
  return NotNegative(static_cast<int64_t>(side.busy_us) -
                     static_cast<int64_t>(side.rwnd_limited_us) -
                     static_cast<int64_t>(side.sndbuf_limited_us));
}

bool LosesWhatComes(const TcpFacts& side) {
  return side.out_of_order > 0 && side.out_of_order >= side.segments_in / kLossyPart;
}

}  // namespace

TcpFacts ReadTcpFacts(int fd) {
  tcp_info info = {};
  socklen_t length = sizeof(info);
  TcpFacts facts;
  if (kernel::GetSockOpt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return facts;
  facts.known = true;
  facts.rtt_us = info.tcpi_rtt;
  facts.min_rtt_us = info.tcpi_min_rtt;
  facts.retransmits = info.tcpi_total_retrans;
  facts.busy_us = info.tcpi_busy_time;
  facts.rwnd_limited_us = info.tcpi_rwnd_limited;
  facts.sndbuf_limited_us = info.tcpi_sndbuf_limited;
  facts.segments_in = info.tcpi_data_segs_in;
  facts.out_of_order = info.tcpi_rcv_ooopack;
  facts.since_sent_ms = info.tcpi_last_data_sent;
  facts.since_received_ms = info.tcpi_last_data_recv;
  return facts;
}

LimitedBy Verdict(const TcpFacts& client, const TcpFacts& server, const Waits& waits) {
  if (waits.lived_us <= 0) return LimitedBy::kUnknown;
  const auto client_window = static_cast<int64_t>(client.rwnd_limited_us);
  const auto server_window = static_cast<int64_t>(server.rwnd_limited_us);
  int64_t network = UnderWay(client) + UnderWay(server);
  const int64_t proxy =
      waits.paced_us + static_cast<int64_t>(client.sndbuf_limited_us + server.sndbuf_limited_us);
  int64_t server_app = waits.server_us;
  // The last silence belongs to the server if it had been asked and had not answered.
  if (server.known && server.since_sent_ms < server.since_received_ms) server_app += waits.last_us;
  int64_t client_app =
      NotNegative(waits.lived_us - client_window - server_window - network - proxy - server_app);
  if (LosesWhatComes(server)) {
    network += server_app;
    server_app = 0;
  }
  if (LosesWhatComes(client)) {
    network += client_app;
    client_app = 0;
  }
  const struct {
    int64_t us;
    LimitedBy by;
  } parts[] = {
      {client_window, LimitedBy::kClientWindow},
      {server_window, LimitedBy::kServerWindow},
      {network, LimitedBy::kNetwork},
      {proxy, LimitedBy::kProxy},
      {server_app, LimitedBy::kServerApp},
      {client_app, LimitedBy::kClientApp},
  };
  return std::max_element(std::begin(parts), std::end(parts),
                          [](const auto& a, const auto& b) { return a.us < b.us; })
      ->by;
}

}  // namespace parkway
