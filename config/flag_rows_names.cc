#include "config/address.h"
#include "config/flag_rows.h"

namespace parkway::config {
namespace {

constexpr std::string_view kResolveWords[] = {"all", "one"};
constexpr std::string_view kFamilyWords[] = {"any", "v4", "v6"};
constexpr std::string_view kInitWords[] = {"wait", "lazy", "fail"};

// In the order of --help.
constexpr Flag kRows[] = {
    {.name = "resolve",
     .field = Word<&Scalars::resolve>(kResolveWords),
     .default_text = "all",
     .value = "all|one",
     .group = Group::kNames,
     .places = kOnServers,
     .reloadable = true,
     .help = "all: each address of a server's name is a server, with the weight, "
             "max_conns and health of its line; one: they are one server, and its "
             "addresses are tried in turn"},
    {.name = "dns_servers",
     .field =
         TextField{&Scalars::dns_servers, CanonicalNameservers, "10.0.0.53,[::1]:5353", "system"},
     .default_text = "system",
     .value = "IP[:PORT][,IP[:PORT]...]|system",
     .group = Group::kNames,
     .places = kOnServers,
     .list = true,
     .reloadable = true,
     .help = "name servers to ask; system: those of /etc/resolv.conf"},
    {.name = "dns_timeout",
     .field = DurationField{&Scalars::dns_timeout, false, absl::Milliseconds(10), absl::Minutes(1)},
     .default_text = "2s",
     .value = "DURATION",
     .group = Group::kNames,
     .places = kOnServers,
     .reloadable = true,
     .help = "how long one question may take before it is asked again"},
    {.name = "dns_attempts",
     .field = CountField{&Scalars::dns_attempts, 1, 100},
     .default_text = "3",
     .value = "N",
     .group = Group::kNames,
     .places = kOnServers,
     .reloadable = true,
     .help = "how often it is asked"},
    {.name = "dns_family",
     .field = Word<&Scalars::dns_family>(kFamilyWords),
     .default_text = "any",
     .value = "any|v4|v6",
     .group = Group::kNames,
     .places = kOnServers,
     .reloadable = true,
     .help = "which addresses of a name are wanted"},
    {.name = "dns_min_ttl",
     .field = DurationField{&Scalars::dns_min_ttl, false, absl::Milliseconds(100)},
     .default_text = "1s",
     .value = "DURATION",
     .group = Group::kNames,
     .places = kOnServers,
     .reloadable = true,
     .help = "how long an answer holds at least, whatever it says itself"},
    {.name = "dns_max_ttl",
     .field = DurationField{&Scalars::dns_max_ttl, false, absl::Milliseconds(100)},
     .default_text = "5m",
     .value = "DURATION",
     .group = Group::kNames,
     .places = kOnServers,
     .reloadable = true,
     .help = "and at most"},
    {.name = "dns_init",
     .field = Word<&Scalars::dns_init>(kInitWords),
     .default_text = "wait",
     .value = "wait|lazy|fail",
     .group = Group::kNames,
     .places = kOnServers,
     .reloadable = true,
     .help = "what a start does about a name that has no address yet: wait: for a "
             "while, then it goes on without; lazy: it goes on at once; fail: it waits, "
             "then it fails"},
    {.name = "happy_eyeballs_delay",
     .field = DurationField{&Scalars::happy_eyeballs_delay, true, absl::Milliseconds(10),
                            absl::Minutes(1)},
     .default_text = "250ms",
     .value = "DURATION|off",
     .group = Group::kNames,
     .places = kOnServers,
     .reloadable = true,
     .help = "with resolve=one, how long an address may take to connect before the next "
             "one is tried beside it; off: only when it has failed"},
};

}  // namespace

absl::Span<const Flag> NamesRows() { return kRows; }

}  // namespace parkway::config
