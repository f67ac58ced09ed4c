#include "config/admission.h"
#include "config/flag_rows.h"

namespace parkway::config {
namespace {

constexpr std::string_view kSendProxyWords[] = {"off", "v1", "v2"};
constexpr std::string_view kBalanceWords[] = {"p2c",         "least_conn", "round_robin", "random",
                                              "source_hash", "first",      "least_time"};
constexpr std::string_view kAllDownWords[] = {"auto", "close", "try_all", "hold"};
constexpr std::string_view kServerStateWords[] = {"ready", "drain", "down"};

// In the order of --help.
constexpr Flag kRows[] = {
    {.name = kUpstream,
     .field = ListField{},
     .value = "ADDR[,ADDR...]",
     .group = Group::kUpstream,
     .reloadable = true,
     .help = "the servers: IP:PORT, [IPv6]:PORT, IP (the listener's port), IP:+N "
             "(that and N more), unix:PATH, unix:@NAME; keys may follow: name=NAME balance=first"},
    {.name = kServer,
     .field = ListField{},
     .value = "ADDR",
     .group = Group::kUpstream,
     .reloadable = true,
     .help = "one more server of an upstream, with settings of its own; keys may follow: "
             "upstream=NAME name=NAME weight=2 max_conns=100 backup"},
    {.name = "balance",
     .field = Word<&Scalars::balance>(kBalanceWords),
     .default_text = "p2c",
     .value = "WORD",
     .group = Group::kUpstream,
     .places = kOnUpstream,
     .reloadable = true,
     .help =
         "which server is next, by weight: p2c: the one with fewer connections of two drawn; "
         "least_conn: the one with the fewest of all; round_robin; random; source_hash: always "
         "the same for a client's address; first: the first with room; least_time: the quickest "
         "to connect, for its connections"},
    {.name = "hash_balance_factor",
     .field = PercentField{&Scalars::hash_balance_factor, 101, 10'000, true},
     .default_text = "off",
     .value = "PERCENT|off",
     .group = Group::kUpstream,
     .places = kOnUpstream,
     .reloadable = true,
     .help = "with source_hash, what a server may have of an even share before its clients go to "
             "others, such as 125%"},
    {.name = "connect_attempts",
     .field = CountField{&Scalars::connect_attempts, 1, 16},
     .default_text = "3",
     .value = "N",
     .group = Group::kUpstream,
     .places = kOnUpstream,
     .reloadable = true,
     .help = "how often a server is tried for one client, another one each time while there is "
             "one; the third attempt after about 50ms, and twice as long before each further one"},
    {.name = "source",
     .field = IpsField{&Scalars::source},
     .default_text = "off",
     .value = "IP[,IP...]|off",
     .group = Group::kUpstream,
     .places = kOnServers,
     .list = true,
     .reloadable = true,
     .help = "local addresses to connect from, in turn: each has ports of its own for each server; "
             "off: the kernel chooses"},
    {.name = "max_conns",
     .field = CountField{&Scalars::max_conns, 1, 10'000'000, true},
     .default_text = "off",
     .value = "N|off",
     .group = Group::kUpstream,
     .places = kOnServers,
     .reloadable = true,
     .help = "connections that one server may have; who comes when all are full waits in a queue"},
    {.name = "queue_max",
     .field = CountField{&Scalars::queue_max, 1, 1'000'000, true},
     .default_text = "1024",
     .value = "N|off",
     .group = Group::kUpstream,
     .places = kOnUpstream,
     .reloadable = true,
     .help = "clients that may wait for a server of an upstream, served in the order they came; a "
             "client that leaves is dropped"},
    {.name = "queue_timeout",
     .field = DurationField{&Scalars::queue_timeout, true},
     .default_text = "5s",
     .value = "DURATION|off",
     .group = Group::kUpstream,
     .places = kOnUpstream,
     .reloadable = true,
     .help = "how long a client may wait there; off: as long as it likes"},
    {.name = "slow_start",
     .field = DurationField{&Scalars::slow_start, true},
     .default_text = "off",
     .value = "DURATION|off",
     .group = Group::kUpstream,
     .places = kOnServers,
     .reloadable = true,
     .help = "how long a server that was away takes to grow to its weight"},
    {.name = "panic_threshold",
     .field = PercentField{&Scalars::panic_threshold, 1, 100, true},
     .default_text = "off",
     .value = "PERCENT|off",
     .group = Group::kUpstream,
     .places = kOnUpstream,
     .reloadable = true,
     .help = "if fewer servers of a priority are up, all of them count as up: a few could not bear "
             "the load of all"},
    {.name = "all_down",
     .field = Word<&Scalars::all_down>(kAllDownWords),
     .default_text = "auto",
     .value = "auto|close|try_all|hold",
     .group = Group::kUpstream,
     .places = kOnUpstream,
     .reloadable = true,
     .help = "what becomes of a client when no server is up: close: it is reset; try_all: servers "
             "are tried nevertheless; hold: it waits in the queue; auto: close where servers are "
             "checked, else try_all"},
    {.name = "passive_fails",
     .field = CountField{&Scalars::passive_fails, 1, 1'000'000, true},
     .default_text = "5",
     .value = "N|off",
     .group = Group::kUpstream,
     .places = kOnServers,
     .reloadable = true,
     .help = "so many connects that fail in a row eject a server for a time; never the last one "
             "that is up"},
    {.name = "ejection_time",
     .field = DurationField{&Scalars::ejection_time},
     .default_text = "10s",
     .value = "DURATION",
     .group = Group::kUpstream,
     .places = kOnServers,
     .reloadable = true,
     .help = "how long the first time; the second time twice as long, and so on up to 5m"},
    {.name = "max_ejection_percent",
     .field = PercentField{&Scalars::max_ejection_percent, 0, 100},
     .default_text = "50%",
     .value = "PERCENT",
     .group = Group::kUpstream,
     .places = kOnUpstream,
     .reloadable = true,
     .help = "of an upstream's servers, how many may be ejected at a time"},
    {.name = kRoute,
     .field = ListField{},
     .value = "KEYS",
     .group = Group::kUpstream,
     .reloadable = true,
     .help = "clients of a listener that ask for this go to another upstream: listen=NAME "
             "sni=*.example.org alpn=h2 protocol=tls upstream=NAME"},
    {.name = "send_proxy",
     .field = Word<&Scalars::send_proxy>(kSendProxyWords),
     .default_text = "off",
     .value = "off|v1|v2",
     .group = Group::kUpstream,
     .places = kOnServers,
     .reloadable = true,
     .help = "tell the server who the client is, by a PROXY header before its first byte"},
    {.name = "proxy_tlv",
     .field = TextField{&Scalars::proxy_tlv, CanonicalTlvs, "crc32c,pass:0xEA,set:0xE0=text"},
     .default_text = "off",
     .value = "TLV[,TLV...]|off",
     .group = Group::kUpstream,
     .places = kOnServers,
     .list = true,
     .reloadable = true,
     .help = "what else a header of version 2 tells: crc32c, unique_id, authority (the name that "
             "the client asked for), pass:0xEA or pass (what came in), set:0xE0=TEXT"},
};

constexpr Flag kLineRows[] = {
    {.name = "weight",
     .field = CountField{&Scalars::weight, 0, 256},
     .default_text = "1",
     .value = "N",
     .group = Group::kUpstream,
     .places = kOnServer},
    {.name = "priority",
     .field = CountField{&Scalars::priority, 0, 255},
     .default_text = "0",
     .value = "N",
     .group = Group::kUpstream,
     .places = kOnServer},
    {.name = "backup",
     .field = BoolField{&Scalars::backup},
     .default_text = "off",
     .value = "on|off",
     .group = Group::kUpstream,
     .places = kOnServer},
    {.name = "state",
     .field = Word<&Scalars::state>(kServerStateWords),
     .default_text = "ready",
     .value = "ready|drain|down",
     .group = Group::kUpstream,
     .places = kOnServer},
};

}  // namespace

absl::Span<const Flag> UpstreamRows() { return kRows; }

absl::Span<const Flag> LineRows() { return kLineRows; }

}  // namespace parkway::config
