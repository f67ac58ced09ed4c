#include "config/flag_rows.h"
#include "config/value.h"

namespace parkway::config {
namespace {

// TCP_CA_NAME_MAX without its zero.
constexpr size_t kMostCongestionBytes = 15;

// In the order of --help.
constexpr Flag kRows[] = {
    {.name = "keepalive",
     .field = KeepaliveField{&Scalars::keepalive},
     .default_text = "60s:10s:3",
     .value = "IDLE:INTERVAL:COUNT|off",
     .group = Group::kSockets,
     .places = kOnAll,
     .reloadable = true,
     .help = "when the kernel asks whether a silent peer is still there (SO_KEEPALIVE): "
             "after IDLE, COUNT times, INTERVAL apart; a peer that never answers ends "
             "the connection"},
    {.name = "tcp_user_timeout",
     .field =
         DurationField{&Scalars::tcp_user_timeout, true, absl::Milliseconds(1), absl::Hours(24)},
     .default_text = "off",
     .value = "DURATION|off",
     .group = Group::kSockets,
     .places = kOnAll,
     .reloadable = true,
     .help = "how long sent bytes may stay unacknowledged before the connection is "
             "given up (TCP_USER_TIMEOUT); it takes the place of keepalive's COUNT too; "
             "off: the kernel's retries, some 15 minutes"},
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
    {.name = "tfo",
     .field = CountField{&Scalars::tfo, 1, 65535, true},
     .default_text = "off",
     .value = "N|off",
     .group = Group::kSockets,
     .places = kOnAll,
     .reloadable = true,
     .help = "TCP fast open: of a listener, how many connections may be pending whose "
             "first bytes came with the SYN; of a server, any N sends the first bytes "
             "with the SYN if they are there; net.ipv4.tcp_fastopen must allow it"},
    {.name = "mptcp",
     .field = BoolField{&Scalars::mptcp},
     .default_text = "off",
     .value = "on|off",
     .group = Group::kSockets,
     .places = kOnAll,
     .reloadable = true,
     .help = "multipath TCP, where both ends speak it; needs net.mptcp.enabled, and some options "
             "of sockets do not go with it; of an address that is listened on, a restart changes "
             "it"},
    {.name = "dscp",
     .field = CountField{&Scalars::dscp, 1, 63, true},
     .default_text = "off",
     .value = "N|off",
     .group = Group::kSockets,
     .places = kOnAll,
     .reloadable = true,
     .help = "the differentiated services code point of what is sent (IP_TOS, "
             "IPV6_TCLASS): 46 is EF"},
    {.name = "mark",
     .field = CountField{&Scalars::mark, 1, 0xffffffff, true, true},
     .default_text = "off",
     .value = "N|0xN|off",
     .group = Group::kSockets,
     .places = kOnAll,
     .reloadable = true,
     .help = "the mark of what is sent, for routing and firewall rules (SO_MARK); needs "
             "CAP_NET_ADMIN"},
    {.name = "device",
     .field = TextField{&Scalars::device, CanonicalDevice, "eth0.100"},
     .default_text = "off",
     .value = "NAME|off",
     .group = Group::kSockets,
     .places = kOnAll,
     .reloadable = true,
     .help = "the network interface or VRF that sockets are bound to (SO_BINDTODEVICE)"},
};

}  // namespace

absl::Span<const Flag> SocketRows() { return kRows; }

}  // namespace parkway::config
