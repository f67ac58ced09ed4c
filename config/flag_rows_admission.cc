#include "config/admission.h"
#include "config/flag_rows.h"

namespace parkway::config {
namespace {

constexpr std::string_view kAcceptProxyWords[] = {"off", "on", "optional"};
constexpr std::string_view kPolicyWords[] = {"queue", "reject"};
constexpr std::string_view kRejectWords[] = {"rst", "fin", "drop"};
constexpr std::string_view kConnectOnWords[] = {"accept", "data"};

// In the order of --help.
constexpr Flag kRows[] = {
    {.name = "accept_proxy",
     .field = Word<&Scalars::accept_proxy>(kAcceptProxyWords),
     .default_text = "off",
     .value = "off|on|optional",
     .group = Group::kAdmission,
     .places = kOnListen,
     .reloadable = true,
     .help = "on: each connection begins with a PROXY header, and who is not in proxy_trusted is "
             "turned away; optional: those in proxy_trusted may send one, others cannot"},
    {.name = "proxy_trusted",
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
     .field = DurationField{&Scalars::proxy_protocol_timeout},
     .default_text = "5s",
     .value = "DURATION",
     .group = Group::kAdmission,
     .places = kOnListen,
     .reloadable = true,
     .help = "how long a PROXY header may take to arrive"},
    {.name = "allow",
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
     .field = TextField{&Scalars::deny, CanonicalPrefixes, "192.0.2.7/32"},
     .default_text = "off",
     .value = "PREFIX[,PREFIX...]|off",
     .group = Group::kAdmission,
     .places = kOnListen,
     .list = true,
     .reloadable = true,
     .help = "these clients are turned away with a reset"},
    {.name = "dry_run",
     .field = BoolField{&Scalars::dry_run},
     .default_text = "off",
     .value = "on|off",
     .group = Group::kAdmission,
     .places = kOnListen,
     .reloadable = true,
     .help = "allow, deny and the limits of a source only write a line where they would turn a "
             "client away"},
    {.name = "reject",
     .field = Word<&Scalars::reject>(kRejectWords),
     .default_text = "rst",
     .value = "rst|fin|drop",
     .group = Group::kAdmission,
     .places = kOnListen,
     .reloadable = true,
     .help = "what a client sees that is denied or beyond a limit: a reset, an end in order, or "
             "nothing at all; drop needs CAP_NET_ADMIN"},
    {.name = "connect_on",
     .field = Word<&Scalars::connect_on>(kConnectOnWords),
     .default_text = "accept",
     .value = "accept|data",
     .group = Group::kAdmission,
     .places = kOnListen,
     .reloadable = true,
     .help = "when a server is chosen and connected: at once, or when the client has said "
             "something, within preread_timeout; not for servers that speak first"},
    {.name = "policy",
     .field = Word<&Scalars::policy>(kPolicyWords),
     .default_text = "queue",
     .value = "queue|reject",
     .group = Group::kAdmission,
     .places = kOnListen,
     .reloadable = true,
     .help = "what becomes of clients beyond max_connections of a listener: they wait in the "
             "backlog, or get a reset"},
    {.name = "accept_rate",
     .field = TextField{&Scalars::accept_rate, CanonicalRate, "500/s"},
     .default_text = "off",
     .value = "N/s|off",
     .group = Group::kAdmission,
     .places = kOnListen,
     .reloadable = true,
     .help = "connections that a listener takes in a second, and at most so many at once after a "
             "rest; others wait in the backlog"},
    {.name = "accept_rate_per_source",
     .field = TextField{&Scalars::accept_rate_per_source, CanonicalRate, "20/s"},
     .default_text = "off",
     .value = "N/s|off",
     .group = Group::kAdmission,
     .places = kOnListen,
     .reloadable = true,
     .help = "the same for each peer, an IPv4 address or an IPv6 /64; those beyond it get a reset"},
    {.name = "max_connections_per_source",
     .field = CountField{&Scalars::max_connections_per_source, 1, 10'000'000, true},
     .default_text = "off",
     .value = "N|off",
     .group = Group::kAdmission,
     .places = kOnListen,
     .reloadable = true,
     .help = "connections at a time of each client, an IPv4 address or an IPv6 /64; those beyond "
             "it get a reset"},
    {.name = "preread_timeout",
     .field = DurationField{&Scalars::preread_timeout},
     .default_text = "3s",
     .value = "DURATION",
     .group = Group::kAdmission,
     .places = kOnListen,
     .reloadable = true,
     .help = "on a listener with routes, how long a client may take to say what it wants"},
    {.name = "preread_bytes",
     .field = SizeField{&Scalars::preread_bytes, kKiB, 64 * kKiB},
     .default_text = "16KiB",
     .value = "SIZE",
     .group = Group::kAdmission,
     .places = kOnListen,
     .reloadable = true,
     .help = "and in how many bytes"},
};

}  // namespace

absl::Span<const Flag> AdmissionRows() { return kRows; }

}  // namespace parkway::config
