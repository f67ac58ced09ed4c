#include "config/flag_rows.h"

namespace parkway::config {
namespace {

// In the order of --help.
constexpr Flag kRows[] = {
    {.name = kListen,
     .field = ListField{},
     .value = "ADDR[,ADDR...]",
     .group = Group::kListening,
     .reloadable = true,
     .help =
         "where to listen: IP:PORT, [IPv6]:PORT, :PORT (all addresses), with PORT-PORT for a "
         "range, unix:PATH, unix:@NAME; keys may follow: name=NAME upstream=NAME idle_timeout=8h"},
    {.name = "backlog",
     .field = CountField{&Scalars::backlog, 1, 65535},
     .default_text = "4096",
     .value = "N",
     .group = Group::kListening,
     .places = kOnListen,
     .reloadable = true,
     .help = "connections that the kernel queues for each listening socket; net.core.somaxconn "
             "limits it"},
    {.name = "v6only",
     .field = BoolField{&Scalars::v6only},
     .default_text = "off",
     .value = "on|off",
     .group = Group::kListening,
     .places = kOnListen,
     .reloadable = true,
     .help = "[::]:PORT and :PORT take no IPv4; of an address that is listened on, a restart "
             "changes it"},
    {.name = "defer_accept",
     .field = DurationField{&Scalars::defer_accept, true, absl::Seconds(1), absl::Hours(1)},
     .default_text = "off",
     .value = "DURATION|off",
     .group = Group::kListening,
     .places = kOnListen,
     .reloadable = true,
     .help = "a connection is accepted when its first bytes are there, and at the "
             "latest after so long, in whole seconds (TCP_DEFER_ACCEPT); not for "
             "servers that speak first"},
    {.name = "reuseport",
     .field = BoolField{&Scalars::reuseport},
     .default_text = "on",
     .value = "on|off",
     .group = Group::kListening,
     .places = kOnListen,
     .reloadable = true,
     .help =
         "each worker has a listening socket of its own (SO_REUSEPORT); off: one worker accepts "
         "and gives to the others; a reload changes it for addresses that are new"},
    {.name = "max_accepts_per_wakeup",
     .field = CountField{&Scalars::max_accepts_per_wakeup, 1, 1024},
     .default_text = "16",
     .value = "N",
     .group = Group::kListening,
     .reloadable = true,
     .help = "connections that a worker takes from a listener before it looks what else there is "
             "to do"},
    {.name = "freebind",
     .field = BoolField{&Scalars::freebind},
     .default_text = "off",
     .value = "on|off",
     .group = Group::kListening,
     .places = kOnListen,
     .reloadable = true,
     .help = "listen on addresses that this machine does not have yet (IP_FREEBIND); of one that "
             "is listened on, a restart changes it"},
    {.name = "transparent",
     .field = BoolField{&Scalars::transparent},
     .default_text = "off",
     .value = "on|off",
     .group = Group::kListening,
     .places = kOnListen,
     .reloadable = true,
     .help = "listen for connections to addresses of others that are routed here "
             "(IP_TRANSPARENT); needs CAP_NET_ADMIN or CAP_NET_RAW; of an address that is listened "
             "on, a restart changes it"},
    {.name = "on_listener_remove",
     .field = PartingField{&Scalars::on_listener_remove},
     .default_text = "keep",
     .value = "keep|drain:DURATION|close",
     .group = Group::kListening,
     .places = kOnListen,
     .reloadable = true,
     .help = "what becomes of the connections of a listener that a reload removes"},
};

}  // namespace

absl::Span<const Flag> ListeningRows() { return kRows; }

}  // namespace parkway::config
