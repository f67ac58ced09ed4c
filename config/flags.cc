#include "config/flags.h"

#include <algorithm>
#include <iterator>
#include <unordered_map>

#include "config/admission.h"
#include "config/text.h"
#include "config/value.h"

namespace parkway::config {
namespace {

constexpr std::string_view kAccessLogWords[] = {"off", "stderr"};
constexpr std::string_view kSpliceWords[] = {"auto", "on", "off"};
constexpr std::string_view kAcceptProxyWords[] = {"off", "on", "optional"};
constexpr std::string_view kSendProxyWords[] = {"off", "v1", "v2"};
constexpr std::string_view kPolicyWords[] = {"queue", "reject"};
constexpr std::string_view kHealthWords[] = {"off", "tcp", "send_expect"};
constexpr std::string_view kHealthInitialWords[] = {"up", "down"};
constexpr std::string_view kHealthCloseWords[] = {"fin", "rst"};
constexpr std::string_view kAcceptBalanceWords[] = {"auto", "off"};
constexpr std::string_view kBalanceWords[] = {"p2c",         "least_conn", "round_robin", "random",
                                              "source_hash", "first",      "least_time"};
constexpr std::string_view kAllDownWords[] = {"auto", "close", "try_all", "hold"};
constexpr std::string_view kServerStateWords[] = {"ready", "drain", "down"};

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kGiB = kKiB * kKiB * kKiB;
// What a health check says, or wants to hear.
constexpr size_t kMostHealthBytes = 4096;
// TCP_CA_NAME_MAX without its zero.
constexpr size_t kMostCongestionBytes = 15;

// An enumeration whose values are the indices of its words.
template <auto kMember>
constexpr WordField Word(absl::Span<const std::string_view> words) {
  return {words,
          [](Scalars& scalars, size_t index) {
            using Enum = std::remove_reference_t<decltype(scalars.*kMember)>;
            scalars.*kMember = static_cast<Enum>(index);
          },
          [](const Scalars& scalars) { return static_cast<size_t>(scalars.*kMember); }};
}

// In the order of --help.
const Flag kFlags[] = {
    {.name = kListen,
     .short_forms = "",
     .field = ListField{},
     .default_text = "",
     .value = "ADDR[,ADDR...]",
     .group = Group::kListening,
     .reloadable = true,
     .help =
         "where to listen: IP:PORT, [IPv6]:PORT, :PORT (all addresses), with PORT-PORT for a "
         "range, unix:PATH, unix:@NAME; keys may follow: name=NAME upstream=NAME idle_timeout=8h"},
    {.name = "backlog",
     .short_forms = "",
     .field = CountField{&Scalars::backlog, 1, 65535},
     .default_text = "4096",
     .value = "N",
     .group = Group::kListening,
     .places = kOnListen,
     .reloadable = true,
     .help = "connections that the kernel queues for each listening socket; net.core.somaxconn "
             "limits it"},
    {.name = "v6only",
     .short_forms = "",
     .field = BoolField{&Scalars::v6only},
     .default_text = "off",
     .value = "on|off",
     .group = Group::kListening,
     .places = kOnListen,
     .reloadable = true,
     .help = "[::]:PORT and :PORT take no IPv4"},
    {.name = kUpstream,
     .short_forms = "",
     .field = ListField{},
     .default_text = "",
     .value = "ADDR[,ADDR...]",
     .group = Group::kUpstream,
     .reloadable = true,
     .help = "the servers: IP:PORT, [IPv6]:PORT, IP (the listener's port), IP:+N "
             "(that and N more), unix:PATH, unix:@NAME; keys may follow: name=NAME balance=first"},
    {.name = kServer,
     .short_forms = "",
     .field = ListField{},
     .default_text = "",
     .value = "ADDR",
     .group = Group::kUpstream,
     .reloadable = true,
     .help = "one more server of an upstream, with settings of its own; keys may follow: "
             "upstream=NAME name=NAME weight=2 max_conns=100 backup"},
    {.name = "balance",
     .short_forms = "",
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
     .short_forms = "",
     .field = PercentField{&Scalars::hash_balance_factor, 101, 10'000, true},
     .default_text = "off",
     .value = "PERCENT|off",
     .group = Group::kUpstream,
     .places = kOnUpstream,
     .reloadable = true,
     .help = "with source_hash, what a server may have of an even share before its clients go to "
             "others, such as 125%"},
    {.name = "connect_attempts",
     .short_forms = "",
     .field = CountField{&Scalars::connect_attempts, 1, 16},
     .default_text = "3",
     .value = "N",
     .group = Group::kUpstream,
     .places = kOnUpstream,
     .reloadable = true,
     .help = "how often a server is tried for one client, another one each time while there is "
             "one; the third attempt after about 50ms, and twice as long before each further one"},
    {.name = "source",
     .short_forms = "",
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
     .short_forms = "",
     .field = CountField{&Scalars::max_conns, 1, 10'000'000, true},
     .default_text = "off",
     .value = "N|off",
     .group = Group::kUpstream,
     .places = kOnServers,
     .reloadable = true,
     .help = "connections that one server may have; who comes when all are full waits in a queue"},
    {.name = "queue_max",
     .short_forms = "",
     .field = CountField{&Scalars::queue_max, 1, 1'000'000, true},
     .default_text = "1024",
     .value = "N|off",
     .group = Group::kUpstream,
     .places = kOnUpstream,
     .reloadable = true,
     .help = "clients that may wait for a server of an upstream, served in the order they came; a "
             "client that leaves is dropped"},
    {.name = "queue_timeout",
     .short_forms = "",
     .field = DurationField{&Scalars::queue_timeout, true},
     .default_text = "5s",
     .value = "DURATION|off",
     .group = Group::kUpstream,
     .places = kOnUpstream,
     .reloadable = true,
     .help = "how long a client may wait there; off: as long as it likes"},
    {.name = "slow_start",
     .short_forms = "",
     .field = DurationField{&Scalars::slow_start, true},
     .default_text = "off",
     .value = "DURATION|off",
     .group = Group::kUpstream,
     .places = kOnServers,
     .reloadable = true,
     .help = "how long a server that was away takes to grow to its weight"},
    {.name = "panic_threshold",
     .short_forms = "",
     .field = PercentField{&Scalars::panic_threshold, 1, 100, true},
     .default_text = "off",
     .value = "PERCENT|off",
     .group = Group::kUpstream,
     .places = kOnUpstream,
     .reloadable = true,
     .help = "if fewer servers of a priority are up, all of them count as up: a few could not bear "
             "the load of all"},
    {.name = "all_down",
     .short_forms = "",
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
     .short_forms = "",
     .field = CountField{&Scalars::passive_fails, 1, 1'000'000, true},
     .default_text = "5",
     .value = "N|off",
     .group = Group::kUpstream,
     .places = kOnServers,
     .reloadable = true,
     .help = "so many connects that fail in a row eject a server for a time; never the last one "
             "that is up"},
    {.name = "ejection_time",
     .short_forms = "",
     .field = DurationField{&Scalars::ejection_time},
     .default_text = "10s",
     .value = "DURATION",
     .group = Group::kUpstream,
     .places = kOnServers,
     .reloadable = true,
     .help = "how long the first time; the second time twice as long, and so on up to 5m"},
    {.name = "max_ejection_percent",
     .short_forms = "",
     .field = PercentField{&Scalars::max_ejection_percent, 0, 100},
     .default_text = "50%",
     .value = "PERCENT",
     .group = Group::kUpstream,
     .places = kOnUpstream,
     .reloadable = true,
     .help = "of an upstream's servers, how many may be ejected at a time"},
    {.name = kRoute,
     .short_forms = "",
     .field = ListField{},
     .default_text = "",
     .value = "KEYS",
     .group = Group::kUpstream,
     .reloadable = true,
     .help = "clients of a listener that ask for this go to another upstream: listen=NAME "
             "sni=*.example.org alpn=h2 protocol=tls upstream=NAME"},
    {.name = "send_proxy",
     .short_forms = "",
     .field = Word<&Scalars::send_proxy>(kSendProxyWords),
     .default_text = "off",
     .value = "off|v1|v2",
     .group = Group::kUpstream,
     .places = kOnServers,
     .reloadable = true,
     .help = "tell the server who the client is, by a PROXY header before its first byte"},
    {.name = "proxy_tlv",
     .short_forms = "",
     .field = TextField{&Scalars::proxy_tlv, CanonicalTlvs, "crc32c,pass:0xEA,set:0xE0=text"},
     .default_text = "off",
     .value = "TLV[,TLV...]|off",
     .group = Group::kUpstream,
     .places = kOnServers,
     .list = true,
     .reloadable = true,
     .help = "what else a header of version 2 tells: crc32c, unique_id, authority (the name that "
             "the client asked for), pass:0xEA or pass (what came in), set:0xE0=TEXT"},
    {.name = "accept_proxy",
     .short_forms = "",
     .field = Word<&Scalars::accept_proxy>(kAcceptProxyWords),
     .default_text = "off",
     .value = "off|on|optional",
     .group = Group::kAdmission,
     .places = kOnListen,
     .reloadable = true,
     .help = "on: each connection begins with a PROXY header, and who is not in proxy_trusted is "
             "turned away; optional: those in proxy_trusted may send one, others cannot"},
    {.name = "proxy_trusted",
     .short_forms = "",
     .field = TextField{&Scalars::proxy_trusted, CanonicalPrefixes, "10.0.0.0/8,2001:db8::/32"},
     .default_text = "off",
     .value = "PREFIX[,PREFIX...]|off",
     .group = Group::kAdmission,
     .places = kOnListen,
     .list = true,
     .reloadable = true,
     .help = "whose PROXY headers are believed; 0.0.0.0/0,::/0: everybody's, and those of unix "
             "sockets"},
    {.name = "proxy_protocol_timeout",
     .short_forms = "",
     .field = DurationField{&Scalars::proxy_protocol_timeout},
     .default_text = "5s",
     .value = "DURATION",
     .group = Group::kAdmission,
     .places = kOnListen,
     .reloadable = true,
     .help = "how long a PROXY header may take to arrive"},
    {.name = "allow",
     .short_forms = "",
     .field = TextField{&Scalars::allow, CanonicalPrefixes, "192.0.2.0/24,2001:db8::1/128"},
     .default_text = "off",
     .value = "PREFIX[,PREFIX...]|off",
     .group = Group::kAdmission,
     .places = kOnListen,
     .list = true,
     .reloadable = true,
     .help = "only these clients are let in; of allow and deny the longest prefix that holds the "
             "client counts; @FILE holds one prefix a line"},
    {.name = "deny",
     .short_forms = "",
     .field = TextField{&Scalars::deny, CanonicalPrefixes, "192.0.2.7/32"},
     .default_text = "off",
     .value = "PREFIX[,PREFIX...]|off",
     .group = Group::kAdmission,
     .places = kOnListen,
     .list = true,
     .reloadable = true,
     .help = "these clients are turned away with a reset"},
    {.name = "dry_run",
     .short_forms = "",
     .field = BoolField{&Scalars::dry_run},
     .default_text = "off",
     .value = "on|off",
     .group = Group::kAdmission,
     .places = kOnListen,
     .reloadable = true,
     .help = "allow, deny and the limits of a source only write a line where they would turn a "
             "client away"},
    {.name = "policy",
     .short_forms = "",
     .field = Word<&Scalars::policy>(kPolicyWords),
     .default_text = "queue",
     .value = "queue|reject",
     .group = Group::kAdmission,
     .places = kOnListen,
     .reloadable = true,
     .help = "what becomes of clients beyond max_connections of a listener: they wait in the "
             "backlog, or get a reset"},
    {.name = "accept_rate",
     .short_forms = "",
     .field = TextField{&Scalars::accept_rate, CanonicalRate, "500/s"},
     .default_text = "off",
     .value = "N/s|off",
     .group = Group::kAdmission,
     .places = kOnListen,
     .reloadable = true,
     .help = "connections that a listener takes in a second, and at most so many at once after a "
             "rest; others wait in the backlog"},
    {.name = "accept_rate_per_source",
     .short_forms = "",
     .field = TextField{&Scalars::accept_rate_per_source, CanonicalRate, "20/s"},
     .default_text = "off",
     .value = "N/s|off",
     .group = Group::kAdmission,
     .places = kOnListen,
     .reloadable = true,
     .help = "the same for each peer, an IPv4 address or an IPv6 /64; those beyond it get a reset"},
    {.name = "max_connections_per_source",
     .short_forms = "",
     .field = CountField{&Scalars::max_connections_per_source, 1, 10'000'000, true},
     .default_text = "off",
     .value = "N|off",
     .group = Group::kAdmission,
     .places = kOnListen,
     .reloadable = true,
     .help = "connections at a time of each client, an IPv4 address or an IPv6 /64; those beyond "
             "it get a reset"},
    {.name = "preread_timeout",
     .short_forms = "",
     .field = DurationField{&Scalars::preread_timeout},
     .default_text = "3s",
     .value = "DURATION",
     .group = Group::kAdmission,
     .places = kOnListen,
     .reloadable = true,
     .help = "on a listener with routes, how long a client may take to say what it wants"},
    {.name = "preread_bytes",
     .short_forms = "",
     .field = SizeField{&Scalars::preread_bytes, kKiB, 64 * kKiB},
     .default_text = "16KiB",
     .value = "SIZE",
     .group = Group::kAdmission,
     .places = kOnListen,
     .reloadable = true,
     .help = "and in how many bytes"},
    {.name = "health",
     .short_forms = "",
     .field = Word<&Scalars::health>(kHealthWords),
     .default_text = "off",
     .value = "off|tcp|send_expect",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "whether servers are asked if they are well: tcp: by a connect; send_expect: by "
             "health_send and the answer too; a server that is not gets no new connections"},
    {.name = "health_interval",
     .short_forms = "",
     .field = DurationField{&Scalars::health_interval},
     .default_text = "5s",
     .value = "DURATION",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "how often, give or take a tenth; every second while the state is changing; with "
             "health=tcp not at all while clients get through"},
    {.name = "health_timeout",
     .short_forms = "",
     .field = DurationField{&Scalars::health_timeout},
     .default_text = "2s",
     .value = "DURATION",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "how long one check may take"},
    {.name = "rise",
     .short_forms = "",
     .field = CountField{&Scalars::rise, 1, 1000},
     .default_text = "2",
     .value = "N",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "checks in a row that bring a server up; the very first decides alone"},
    {.name = "fall",
     .short_forms = "",
     .field = CountField{&Scalars::fall, 1, 1000},
     .default_text = "3",
     .value = "N",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "checks in a row that bring it down"},
    {.name = "health_port",
     .short_forms = "",
     .field = CountField{&Scalars::health_port, 1, 65535, true},
     .default_text = "off",
     .value = "PORT|off",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "ask at this port; off: the server's own"},
    {.name = "health_addr",
     .short_forms = "",
     .field = IpField{&Scalars::health_addr},
     .default_text = "server",
     .value = "IP|server",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "ask at this address; server: its own"},
    {.name = "health_initial",
     .short_forms = "",
     .field = Word<&Scalars::health_initial>(kHealthInitialWords),
     .default_text = "up",
     .value = "up|down",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "what a server counts as before its first check"},
    {.name = "health_close",
     .short_forms = "",
     .field = Word<&Scalars::health_close>(kHealthCloseWords),
     .default_text = "fin",
     .value = "fin|rst",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "how a check ends its connection: with a FIN, or with a reset, which leaves no "
             "TIME_WAIT and annoys servers"},
    {.name = "health_send",
     .short_forms = "",
     .field = BytesField{&Scalars::health_send, kMostHealthBytes},
     .default_text = "",
     .value = "BYTES",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "what a check says; \\r \\n \\t \\0 \\\\ \\xNN stand for bytes"},
    {.name = "health_expect",
     .short_forms = "",
     .field = ExpectationField{&Scalars::health_expect, kMostHealthBytes},
     .default_text = "",
     .value = "[~]BYTES",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help =
         "how the answer must begin, or after ~ what must be in it; nothing: any answer will do"},
    {.name = "on_down",
     .short_forms = "",
     .field = PartingField{&Scalars::on_down},
     .default_text = "keep",
     .value = "keep|drain:DURATION|close",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "what becomes of the connections of a server that checks find down: drain ends those "
             "that are left after a time"},
    {.name = "on_up",
     .short_forms = "",
     .field = PartingField{&Scalars::on_up},
     .default_text = "keep",
     .value = "keep|drain:DURATION|close",
     .group = Group::kHealth,
     .places = kOnServers,
     .reloadable = true,
     .help = "what becomes of connections on backup servers when this one is up again"},
    {.name = "connect_timeout",
     .short_forms = "",
     .field = DurationField{&Scalars::connect_timeout},
     .default_text = "5s",
     .value = "DURATION",
     .group = Group::kTimeouts,
     .places = kOnServers,
     .reloadable = true,
     .help = "how long one attempt to reach a server may take"},
    {.name = "idle_timeout",
     .short_forms = "",
     .field = DurationField{&Scalars::idle_timeout, true},
     .default_text = "1h",
     .value = "DURATION|off",
     .group = Group::kTimeouts,
     .places = kOnListen,
     .reloadable = true,
     .help = "a connection on which nothing moves for so long is closed"},
    {.name = "half_close_timeout",
     .short_forms = "",
     .field = DurationField{&Scalars::half_close_timeout, true},
     .default_text = "5m",
     .value = "DURATION|off",
     .group = Group::kTimeouts,
     .places = kOnListen,
     .reloadable = true,
     .help = "the same once one side has ended its direction; off: only idle_timeout"},
    {.name = "delayed_close",
     .short_forms = "",
     .field = DurationField{&Scalars::delayed_close, true},
     .default_text = "1s",
     .value = "DURATION|off",
     .group = Group::kTimeouts,
     .places = kOnListen,
     .reloadable = true,
     .help = "after a reset, how long bytes that were read may take to reach the other side"},
    {.name = "drain_timeout",
     .short_forms = "",
     .field = DurationField{&Scalars::drain_timeout, true},
     .default_text = "30s",
     .value = "DURATION|off",
     .group = Group::kTimeouts,
     .reloadable = true,
     .help = "after SIGTERM, how long connections may take to end; off: as long as they want"},
    {.name = "max_connections",
     .short_forms = "",
     .field = AutoCountField{&Scalars::max_connections, 1, 10'000'000},
     .default_text = "auto",
     .value = "auto|N",
     .group = Group::kLimits,
     .reloadable = true,
     .help = "connections at a time, beyond which clients queue in the backlog; auto: what the "
             "limit of open files allows"},
    {.name = "rcvbuf",
     .short_forms = "",
     .field = SizeField{&Scalars::rcvbuf, 2 * kKiB, kGiB},
     .default_text = "off",
     .value = "SIZE|off",
     .group = Group::kSockets,
     .places = kOnAll,
     .reloadable = true,
     .help = "the receive buffer of every socket (SO_RCVBUF; net.core.rmem_max limits it); off: "
             "the kernel adapts it"},
    {.name = "sndbuf",
     .short_forms = "",
     .field = SizeField{&Scalars::sndbuf, 2 * kKiB, kGiB},
     .default_text = "off",
     .value = "SIZE|off",
     .group = Group::kSockets,
     .places = kOnAll,
     .reloadable = true,
     .help = "the send buffer of every socket (SO_SNDBUF; net.core.wmem_max limits it); off: the "
             "kernel adapts it"},
    {.name = "notsent_lowat",
     .short_forms = "",
     .field = SizeField{&Scalars::notsent_lowat, kKiB, kGiB},
     .default_text = "off",
     .value = "SIZE|off",
     .group = Group::kSockets,
     .places = kOnAll,
     .reloadable = true,
     .help = "how much that was not sent yet a TCP socket may hold before it takes no more "
             "(TCP_NOTSENT_LOWAT); off: net.ipv4.tcp_notsent_lowat"},
    {.name = "congestion",
     .short_forms = "",
     .field = KernelNameField{&Scalars::congestion, kMostCongestionBytes},
     .default_text = "default",
     .value = "NAME|default",
     .group = Group::kSockets,
     .places = kOnAll,
     .reloadable = true,
     .help = "congestion control of every TCP socket, such as cubic or bbr; default: "
             "net.ipv4.tcp_congestion_control"},
    {.name = "busy_poll",
     .short_forms = "",
     .field = DurationField{&Scalars::busy_poll, true, absl::Microseconds(1), absl::Seconds(1)},
     .default_text = "off",
     .value = "DURATION|off",
     .group = Group::kSockets,
     .places = kOnAll,
     .reloadable = true,
     .help = "how long a read may poll the network card before it gives up (SO_BUSY_POLL): less "
             "latency for more CPU; off: net.core.busy_read"},
    {.name = "access_log",
     .short_forms = "",
     .field = Word<&Scalars::access_log>(kAccessLogWords),
     .default_text = "stderr",
     .value = "off|stderr",
     .group = Group::kLogging,
     .reloadable = true,
     .help = "one line for each connection that has ended"},
    {.name = "stats_interval",
     .short_forms = "",
     .field = DurationField{&Scalars::stats_interval, true},
     .default_text = "off",
     .value = "DURATION|off",
     .group = Group::kLogging,
     .reloadable = true,
     .help = "how often a line to stderr counts connections, descriptors, stacks, buffers, pipes "
             "and timers"},
    {.name = "threads",
     .short_forms = "",
     .field = AutoCountField{&Scalars::threads, 1, 1024},
     .default_text = "auto",
     .value = "auto|N",
     .group = Group::kProcess,
     .help = "workers; auto: one for each CPU of the affinity mask, or of the cgroup's quota if "
             "that is less"},
    {.name = "accept_balance",
     .short_forms = "",
     .field = Word<&Scalars::accept_balance>(kAcceptBalanceWords),
     .default_text = "auto",
     .value = "auto|off",
     .group = Group::kProcess,
     .reloadable = true,
     .help = "auto: the least loaded worker takes a new connection; off: the one that accepted it"},
    {.name = "cpu_affinity",
     .short_forms = "",
     .field = CpuField{&Scalars::cpu_affinity},
     .default_text = "off",
     .value = "auto|off|LIST",
     .group = Group::kProcess,
     .help = "where workers run: auto: each on one CPU of the affinity mask; LIST such as 0-3,8: "
             "each on one of these; off: where the kernel likes"},
    {.name = "splice",
     .short_forms = "",
     .field = Word<&Scalars::splice>(kSpliceWords),
     .default_text = "auto",
     .value = "auto|on|off",
     .group = Group::kProcess,
     .places = kOnListen,
     .reloadable = true,
     .help = "move bytes within the kernel: auto where a connection carries much, on always, off "
             "never"},
    {.name = kFlagfile,
     .short_forms = "cf",
     .field = LoaderField{},
     .default_text = "",
     .value = "FILE[,FILE...]",
     .group = Group::kProcess,
     .help = "read flags from files, one --NAME=VALUE a line; patterns such as conf.d/*.flags are "
             "allowed"},
    {.name = kFromenv,
     .short_forms = "",
     .field = LoaderField{},
     .default_text = "",
     .value = "NAME[,NAME...]",
     .group = Group::kProcess,
     .in_file = false,
     .help = "take these flags from the environment, each from FLAGS_NAME, which must be set"},
    {.name = kTryfromenv,
     .short_forms = "",
     .field = LoaderField{},
     .default_text = "",
     .value = "NAME[,NAME...]",
     .group = Group::kProcess,
     .in_file = false,
     .help = "the same, passing over those that are not set"},
    {.name = kUndefok,
     .short_forms = "",
     .field = LoaderField{},
     .default_text = "",
     .value = "NAME[,NAME...]",
     .group = Group::kProcess,
     .help = "flags that are passed over if this version does not know them"},
    {.name = kCheck,
     .short_forms = "t",
     .field = ActionField{},
     .default_text = "",
     .value = "",
     .group = Group::kProcess,
     .in_file = false,
     .help = "say what is wrong with the configuration and exit: 0 if nothing is, else 1"},
    {.name = kExplain,
     .short_forms = "",
     .field = ActionField{},
     .default_text = "",
     .value = "",
     .group = Group::kProcess,
     .in_file = false,
     .help = "with --check: print the limits that follow from the configuration and this machine"},
    {.name = kNofile,
     .short_forms = "",
     .field = LoaderField{},
     .default_text = "",
     .value = "N",
     .group = Group::kProcess,
     .in_file = false,
     .help = "with --check: the limit of open files where it is to run, instead of this machine's; "
             "what does not fit is then an error"},
    {.name = kDumpConfig,
     .short_forms = "T",
     .field = ActionField{},
     .default_text = "",
     .value = "",
     .group = Group::kProcess,
     .in_file = false,
     .help = "print the configuration as a flags file and exit"},
    {.name = kVersion,
     .short_forms = "V",
     .field = ActionField{},
     .default_text = "",
     .value = "",
     .group = Group::kProcess,
     .in_file = false,
     .help = "print the version and exit"},
    {.name = kHelp,
     .short_forms = "h",
     .field = ActionField{},
     .default_text = "",
     .value = "",
     .group = Group::kProcess,
     .in_file = false,
     .help = "print this and exit"},
};

// Keys of one line alone.
const Flag kLineFlags[] = {
    {.name = "weight",
     .short_forms = "",
     .field = CountField{&Scalars::weight, 0, 256},
     .default_text = "1",
     .value = "N",
     .group = Group::kUpstream,
     .places = kOnServer,
     .help = ""},
    {.name = "priority",
     .short_forms = "",
     .field = CountField{&Scalars::priority, 0, 255},
     .default_text = "0",
     .value = "N",
     .group = Group::kUpstream,
     .places = kOnServer,
     .help = ""},
    {.name = "backup",
     .short_forms = "",
     .field = BoolField{&Scalars::backup},
     .default_text = "off",
     .value = "on|off",
     .group = Group::kUpstream,
     .places = kOnServer,
     .help = ""},
    {.name = "state",
     .short_forms = "",
     .field = Word<&Scalars::state>(kServerStateWords),
     .default_text = "ready",
     .value = "ready|drain|down",
     .group = Group::kUpstream,
     .places = kOnServer,
     .help = ""},
};

absl::Status SetIps(std::string_view text, std::vector<Address>& addresses) {
  std::vector<Address> read;
  if (text != "off" && text != "0") {
    for (const std::string_view piece : Split(text, ',')) {
      absl::StatusOr<Address> address = ParseIp(piece);
      if (!address.ok())
        return absl::InvalidArgumentError(Cat(Message(address.status()), ", or off"));
      if (std::find(read.begin(), read.end(), *address) != read.end()) {
        return absl::InvalidArgumentError(Cat(Quoted(piece), " is here twice; keep one"));
      }
      read.push_back(*std::move(address));
    }
  }
  addresses = std::move(read);
  return absl::OkStatus();
}

std::string PrintIps(const std::vector<Address>& addresses) {
  std::vector<std::string> texts;
  for (const Address& address : addresses) texts.push_back(PrintIp(address));
  return texts.empty() ? "off" : Join(texts, ",");
}

absl::Status SetCpus(std::string_view text, CpuAffinity& affinity) {
  CpuAffinity read;
  if (text == "auto") {
    read.kind = CpuAffinity::Kind::kAuto;
  } else if (text != "off" && text != "0") {
    read.kind = CpuAffinity::Kind::kList;
    absl::StatusOr<std::vector<uint32_t>> cpus = ParseCpuList(text);
    if (!cpus.ok()) return absl::InvalidArgumentError(Cat(Message(cpus.status()), ", auto or off"));
    read.cpus = *std::move(cpus);
  }
  affinity = std::move(read);
  return absl::OkStatus();
}

std::string PrintCpus(const CpuAffinity& affinity) {
  switch (affinity.kind) {
    case CpuAffinity::Kind::kOff:
      return "off";
    case CpuAffinity::Kind::kAuto:
      return "auto";
    case CpuAffinity::Kind::kList:
      break;
  }
  return PrintCpuList(affinity.cpus);
}

// Breaks `text` at blanks into lines of at most `width`, each after `indent` blanks.
void AppendWrapped(std::string* out, std::string_view text, size_t indent, size_t width) {
  size_t column = 0;
  for (const std::string_view word : Split(text, ' ')) {
    if (column == 0 || column + 1 + word.size() > width) {
      if (column != 0) *out += '\n';
      Append(out, std::string(indent, ' '), word);
      column = indent + word.size();
    } else {
      Append(out, " ", word);
      column += 1 + word.size();
    }
  }
  *out += '\n';
}

template <typename... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <typename... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

}  // namespace

bool Flag::is_scalar() const {
  return !is_list() && !is_action() && !std::holds_alternative<LoaderField>(field);
}

absl::Span<const Flag> AllFlags() { return kFlags; }

absl::Span<const Flag> LineFlags() { return kLineFlags; }

const Flag* FindLineFlag(std::string_view name) {
  const Flag* flag = std::find_if(std::begin(kLineFlags), std::end(kLineFlags),
                                  [name](const Flag& f) { return f.name == name; });
  return flag == std::end(kLineFlags) ? nullptr : flag;
}

absl::Span<const std::string_view> FlagNames() {
  static const std::vector<std::string_view> names = [] {
    std::vector<std::string_view> all;
    for (const Flag& flag : kFlags) all.push_back(flag.name);
    return all;
  }();
  return names;
}

Places PlaceOf(std::string_view name) {
  if (name == kListen) return kOnListen;
  if (name == kUpstream) return kOnUpstream;
  if (name == kServer) return kOnServer;
  if (name == kRoute) return kOnRoute;
  return kNowhere;
}

std::string PlacesText(Places places) {
  std::vector<std::string> names;
  for (const std::string_view name : {kListen, kUpstream, kServer, kRoute}) {
    if ((places & PlaceOf(name)) != 0) names.push_back(Cat("--", name));
  }
  if (names.size() < 2) return Join(names, "");
  const std::string last = names.back();
  names.pop_back();
  return Cat(Join(names, ", "), " and ", last);
}

const Flag* FindFlag(std::string_view name) {
  static const std::unordered_map<std::string_view, const Flag*> flags = [] {
    std::unordered_map<std::string_view, const Flag*> all;
    for (const Flag& flag : kFlags) all.emplace(flag.name, &flag);
    return all;
  }();
  const auto found = flags.find(name);
  return found == flags.end() ? nullptr : found->second;
}

const Flag* FindShortFlag(char letter) {
  const Flag* flag = std::find_if(std::begin(kFlags), std::end(kFlags), [letter](const Flag& f) {
    return f.short_forms.find(letter) != std::string_view::npos;
  });
  return flag == std::end(kFlags) ? nullptr : flag;
}

std::string_view GroupName(Group group) {
  switch (group) {
    case Group::kListening:
      return "Listening";
    case Group::kUpstream:
      return "Upstream";
    case Group::kAdmission:
      return "Admission";
    case Group::kHealth:
      return "Health";
    case Group::kTimeouts:
      return "Timeouts";
    case Group::kLimits:
      return "Limits";
    case Group::kSockets:
      return "Sockets";
    case Group::kLogging:
      return "Logging";
    case Group::kProcess:
      return "Process";
  }
  return "";
}

Scalars DefaultScalars() {
  static const Scalars defaults = [] {
    Scalars scalars;
    for (const Flag& flag : kFlags) {
      // A test reads every default.
      if (flag.is_scalar()) SetScalar(flag, flag.default_text, scalars).IgnoreError();
    }
    for (const Flag& flag : kLineFlags) SetScalar(flag, flag.default_text, scalars).IgnoreError();
    return scalars;
  }();
  return defaults;
}

absl::Status SetScalar(const Flag& flag, std::string_view text, Scalars& scalars) {
  const auto set_count = [&](auto member, uint64_t least, uint64_t most) {
    const absl::StatusOr<uint64_t> count = ParseCount(text, least, most);
    if (count.ok()) scalars.*member = static_cast<uint32_t>(*count);
    return count.status();
  };
  return std::visit(
      Overloaded{
          [&](const DurationField& field) {
            const absl::StatusOr<absl::Duration> duration =
                ParseDuration(text, {.off = field.off, .least = field.least, .most = field.most});
            if (duration.ok()) scalars.*field.member = *duration;
            return duration.status();
          },
          [&](const SizeField& field) {
            if (text == "off" || text == "0") {
              scalars.*field.member = 0;
              return absl::OkStatus();
            }
            const absl::StatusOr<uint64_t> size = ParseSize(text, field.least, field.most);
            if (size.ok()) scalars.*field.member = *size;
            return size.status();
          },
          [&](const KernelNameField& field) {
            const absl::StatusOr<std::string> name = ParseKernelName(text, field.most_bytes);
            if (name.ok()) scalars.*field.member = *name;
            return name.status();
          },
          [&](const TextField& field) {
            if (text == "off" || text == "0") {
              (scalars.*field.member).clear();
              return absl::OkStatus();
            }
            absl::StatusOr<std::string> read = field.canonical(text);
            if (read.ok()) scalars.*field.member = *std::move(read);
            return read.status();
          },
          [&](const CpuField& field) { return SetCpus(text, scalars.*field.member); },
          [&](const BoolField& field) {
            const absl::StatusOr<bool> on = ParseBool(text);
            if (on.ok()) scalars.*field.member = *on;
            return on.status();
          },
          [&](const CountField& field) {
            if (field.off && (text == "off" || text == "0")) {
              scalars.*field.member = 0;
              return absl::OkStatus();
            }
            absl::Status status = set_count(field.member, field.least, field.most);
            if (status.ok() || !field.off) return status;
            return absl::InvalidArgumentError(Cat(Message(status), ", or off"));
          },
          [&](const PercentField& field) {
            if (field.off && (text == "off" || text == "0")) {
              scalars.*field.member = 0;
              return absl::OkStatus();
            }
            const absl::StatusOr<uint32_t> percent = ParsePercent(text, field.least, field.most);
            if (percent.ok()) scalars.*field.member = *percent;
            if (percent.ok() || !field.off) return percent.status();
            return absl::InvalidArgumentError(Cat(Message(percent.status()), ", or off"));
          },
          [&](const IpsField& field) { return SetIps(text, scalars.*field.member); },
          [&](const BytesField& field) {
            absl::StatusOr<std::string> bytes = ParseBytes(text, field.most_bytes);
            if (bytes.ok()) scalars.*field.member = *bytes;
            return bytes.status();
          },
          [&](const ExpectationField& field) {
            absl::StatusOr<Expectation> wanted = ParseExpectation(text, field.most_bytes);
            if (wanted.ok()) scalars.*field.member = *wanted;
            return wanted.status();
          },
          [&](const PartingField& field) {
            const absl::StatusOr<Parting> parting = ParseParting(text);
            if (parting.ok()) scalars.*field.member = *parting;
            return parting.status();
          },
          [&](const IpField& field) {
            if (text == "server") {
              scalars.*field.member = std::nullopt;
              return absl::OkStatus();
            }
            const absl::StatusOr<Address> address = ParseIp(text);
            if (address.ok()) scalars.*field.member = *address;
            return address.status();
          },
          [&](const AutoCountField& field) {
            if (text != "auto") {
              absl::Status status = set_count(field.member, field.least, field.most);
              if (status.ok()) return status;
              return absl::InvalidArgumentError(Cat(Message(status), ", or auto"));
            }
            scalars.*field.member = std::nullopt;
            return absl::OkStatus();
          },
          [&](const WordField& field) {
            const absl::StatusOr<size_t> index = ParseWord(text, field.words);
            if (index.ok()) field.set(scalars, *index);
            return index.status();
          },
          [&](const auto&) { return absl::InvalidArgumentError("it is no scalar; a bug"); },
      },
      flag.field);
}

std::string PrintScalar(const Flag& flag, const Scalars& scalars) {
  return std::visit(
      Overloaded{
          [&](const DurationField& field) { return PrintDuration(scalars.*field.member); },
          [&](const SizeField& field) {
            const uint64_t size = scalars.*field.member;
            return size == 0 ? std::string("off") : PrintSize(size);
          },
          [&](const KernelNameField& field) {
            const std::string& name = scalars.*field.member;
            return name.empty() ? std::string("default") : name;
          },
          [&](const TextField& field) {
            const std::string& text = scalars.*field.member;
            return text.empty() ? std::string("off") : text;
          },
          [&](const CpuField& field) { return PrintCpus(scalars.*field.member); },
          [&](const BoolField& field) { return std::string(PrintBool(scalars.*field.member)); },
          [&](const CountField& field) {
            const uint32_t count = scalars.*field.member;
            return field.off && count == 0 ? std::string("off") : Cat(count);
          },
          [&](const PercentField& field) {
            const uint32_t percent = scalars.*field.member;
            return field.off && percent == 0 ? std::string("off") : PrintPercent(percent);
          },
          [&](const IpsField& field) { return PrintIps(scalars.*field.member); },
          [&](const BytesField& field) { return PrintBytes(scalars.*field.member); },
          [&](const ExpectationField& field) { return PrintExpectation(scalars.*field.member); },
          [&](const PartingField& field) { return PrintParting(scalars.*field.member); },
          [&](const IpField& field) {
            const std::optional<Address>& address = scalars.*field.member;
            return address.has_value() ? PrintIp(*address) : std::string("server");
          },
          [&](const AutoCountField& field) {
            const std::optional<uint32_t>& count = scalars.*field.member;
            return count.has_value() ? Cat(*count) : std::string("auto");
          },
          [&](const WordField& field) { return std::string(field.words[field.get(scalars)]); },
          [&](const auto&) { return std::string(); },
      },
      flag.field);
}

std::string HelpText() {
  constexpr size_t kIndent = 6;
  constexpr size_t kWidth = 80;
  std::string text =
      "parkway: a TCP proxy\n"
      "\n"
      "  parkway --listen=:8080 --upstream=10.0.0.1:9000,10.0.0.2:9000\n"
      "  parkway -c parkway.flags\n"
      "\n"
      "Units: DURATION us ms s m h d, as in 1h30m. 0, 0s and off are the same.\n"
      "[R]: a reload can apply it (this version does not reload yet).\n"
      "[C]: on the command line only, not in a flags file.\n"
      "[L] [U] [S]: also a key of --listen, --upstream, --server, for that line alone.\n";
  std::optional<Group> group;
  for (const Flag& flag : kFlags) {
    if (group != flag.group) {
      group = flag.group;
      Append(&text, "\n", GroupName(flag.group), "\n");
    }
    text += "  ";
    for (const char letter : flag.short_forms) Append(&text, "-", std::string(1, letter), ", ");
    Append(&text, "--", flag.name);
    if (!flag.value.empty()) Append(&text, "=", flag.value);
    if (!flag.default_text.empty()) Append(&text, "  (default ", flag.default_text, ")");
    if ((flag.places & kOnListen) != 0) text += "  [L]";
    if ((flag.places & kOnUpstream) != 0) text += "  [U]";
    if ((flag.places & kOnServer) != 0) text += "  [S]";
    if (flag.reloadable) text += "  [R]";
    if (!flag.in_file) text += "  [C]";
    text += '\n';
    AppendWrapped(&text, flag.help, kIndent, kWidth);
  }
  return text;
}

}  // namespace parkway::config
