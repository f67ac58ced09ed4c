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
     .help = "[::]:PORT and :PORT take no IPv4"},
};

}  // namespace

absl::Span<const Flag> ListeningRows() { return kRows; }

}  // namespace parkway::config
