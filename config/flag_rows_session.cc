#include "config/flag_rows.h"

namespace parkway::config {
namespace {

// TCP_CA_NAME_MAX without its zero.
constexpr size_t kMostCongestionBytes = 15;

// In the order of --help.
constexpr Flag kRows[] = {
    {.name = "connect_timeout",
     .field = DurationField{&Scalars::connect_timeout},
     .default_text = "5s",
     .value = "DURATION",
     .group = Group::kTimeouts,
     .places = kOnServers,
     .reloadable = true,
     .help = "how long one attempt to reach a server may take"},
    {.name = "idle_timeout",
     .field = DurationField{&Scalars::idle_timeout, true},
     .default_text = "1h",
     .value = "DURATION|off",
     .group = Group::kTimeouts,
     .places = kOnListen,
     .reloadable = true,
     .help = "a connection on which nothing moves for so long is closed"},
    {.name = "half_close_timeout",
     .field = DurationField{&Scalars::half_close_timeout, true},
     .default_text = "5m",
     .value = "DURATION|off",
     .group = Group::kTimeouts,
     .places = kOnListen,
     .reloadable = true,
     .help = "the same once one side has ended its direction; off: only idle_timeout"},
    {.name = "delayed_close",
     .field = DurationField{&Scalars::delayed_close, true},
     .default_text = "1s",
     .value = "DURATION|off",
     .group = Group::kTimeouts,
     .places = kOnListen,
     .reloadable = true,
     .help = "after a reset, how long bytes that were read may take to reach the other side"},
    {.name = "drain_timeout",
     .field = DurationField{&Scalars::drain_timeout, true},
     .default_text = "30s",
     .value = "DURATION|off",
     .group = Group::kTimeouts,
     .reloadable = true,
     .help = "after SIGTERM, how long connections may take to end; off: as long as they want"},
    {.name = "max_connections",
     .field = AutoCountField{&Scalars::max_connections, 1, 10'000'000},
     .default_text = "auto",
     .value = "auto|N",
     .group = Group::kLimits,
     .reloadable = true,
     .help = "connections at a time, beyond which clients queue in the backlog; auto: what the "
             "limit of open files allows"},
    {.name = "rcvbuf",
     .field = SizeField{&Scalars::rcvbuf, 2 * kKiB, kGiB},
     .default_text = "off",
     .value = "SIZE|off",
     .group = Group::kSockets,
     .places = kOnAll,
     .reloadable = true,
     .help = "the receive buffer of every socket (SO_RCVBUF; net.core.rmem_max limits it); off: "
             "the kernel adapts it"},
    {.name = "sndbuf",
     .field = SizeField{&Scalars::sndbuf, 2 * kKiB, kGiB},
     .default_text = "off",
     .value = "SIZE|off",
     .group = Group::kSockets,
     .places = kOnAll,
     .reloadable = true,
     .help = "the send buffer of every socket (SO_SNDBUF; net.core.wmem_max limits it); off: the "
             "kernel adapts it"},
    {.name = "notsent_lowat",
     .field = SizeField{&Scalars::notsent_lowat, kKiB, kGiB},
     .default_text = "off",
     .value = "SIZE|off",
     .group = Group::kSockets,
     .places = kOnAll,
     .reloadable = true,
     .help = "how much that was not sent yet a TCP socket may hold before it takes no more "
             "(TCP_NOTSENT_LOWAT); off: net.ipv4.tcp_notsent_lowat"},
    {.name = "congestion",
     .field = KernelNameField{&Scalars::congestion, kMostCongestionBytes},
     .default_text = "default",
     .value = "NAME|default",
     .group = Group::kSockets,
     .places = kOnAll,
     .reloadable = true,
     .help = "congestion control of every TCP socket, such as cubic or bbr; default: "
             "net.ipv4.tcp_congestion_control"},
    {.name = "busy_poll",
     .field = DurationField{&Scalars::busy_poll, true, absl::Microseconds(1), absl::Seconds(1)},
     .default_text = "off",
     .value = "DURATION|off",
     .group = Group::kSockets,
     .places = kOnAll,
     .reloadable = true,
     .help = "how long a read may poll the network card before it gives up (SO_BUSY_POLL): less "
             "latency for more CPU; off: net.core.busy_read"},
};

}  // namespace

absl::Span<const Flag> SessionRows() { return kRows; }

}  // namespace parkway::config
