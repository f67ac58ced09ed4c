#include "config/flag_rows.h"

namespace parkway::config {
namespace {

constexpr std::string_view kHealthWords[] = {"off", "tcp", "send_expect"};
constexpr std::string_view kHealthInitialWords[] = {"up", "down"};
constexpr std::string_view kHealthCloseWords[] = {"fin", "rst"};

// What a health check says, or wants to hear.
constexpr size_t kMostHealthBytes = 4096;

// In the order of --help.
constexpr Flag kRows[] = {
    {.name = "health",
     .field = Word<&Scalars::health>(kHealthWords),
     .default_text = "off",
     .value = "off|tcp|send_expect",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "whether servers are asked if they are well: tcp: by a connect; send_expect: by "
             "health_send and the answer too; a server that is not gets no new connections"},
    {.name = "health_interval",
     .field = DurationField{&Scalars::health_interval},
     .default_text = "5s",
     .value = "DURATION",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "how often, give or take a tenth; every second while the state is changing; with "
             "health=tcp not at all while clients get through"},
    {.name = "health_timeout",
     .field = DurationField{&Scalars::health_timeout},
     .default_text = "2s",
     .value = "DURATION",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "how long one check may take"},
    {.name = "rise",
     .field = CountField{&Scalars::rise, 1, 1000},
     .default_text = "2",
     .value = "N",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "checks in a row that bring a server up; the very first decides alone"},
    {.name = "fall",
     .field = CountField{&Scalars::fall, 1, 1000},
     .default_text = "3",
     .value = "N",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "checks in a row that bring it down"},
    {.name = "health_port",
     .field = CountField{&Scalars::health_port, 1, 65535, true},
     .default_text = "off",
     .value = "PORT|off",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "ask at this port; off: the server's own"},
    {.name = "health_addr",
     .field = IpField{&Scalars::health_addr},
     .default_text = "server",
     .value = "IP|server",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "ask at this address; server: its own"},
    {.name = "health_initial",
     .field = Word<&Scalars::health_initial>(kHealthInitialWords),
     .default_text = "up",
     .value = "up|down",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "what a server counts as before its first check"},
    {.name = "health_close",
     .field = Word<&Scalars::health_close>(kHealthCloseWords),
     .default_text = "fin",
     .value = "fin|rst",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "how a check ends its connection: with a FIN, or with a reset, which leaves no "
             "TIME_WAIT and annoys servers"},
    {.name = "health_send",
     .field = BytesField{&Scalars::health_send, kMostHealthBytes},
     .value = "BYTES",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "what a check says; \\r \\n \\t \\0 \\\\ \\xNN stand for bytes"},
    {.name = "health_expect",
     .field = ExpectationField{&Scalars::health_expect, kMostHealthBytes},
     .value = "[~]BYTES",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help =
         "how the answer must begin, or after ~ what must be in it; nothing: any answer will do"},
    {.name = "on_down",
     .field = PartingField{&Scalars::on_down},
     .default_text = "keep",
     .value = "keep|drain:DURATION|close",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "what becomes of the connections of a server that checks find down: drain ends those "
             "that are left after a time"},
    {.name = "on_up",
     .field = PartingField{&Scalars::on_up},
     .default_text = "keep",
     .value = "keep|drain:DURATION|close",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "what becomes of connections on backup servers when this one is up again"},
    {.name = "on_remove",
     .field = PartingField{&Scalars::on_remove},
     .default_text = "drain:1h",
     .value = "keep|drain:DURATION|close",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "what becomes of the connections of a server that is removed: by a reload, "
             "from servers_file, or because its name has other addresses now"},
};

}  // namespace

absl::Span<const Flag> HealthRows() { return kRows; }

}  // namespace parkway::config
