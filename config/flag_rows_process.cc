#include "config/flag_rows.h"

namespace parkway::config {
namespace {

constexpr std::string_view kAccessLogWords[] = {"off", "stderr"};
constexpr std::string_view kSpliceWords[] = {"auto", "on", "off"};
constexpr std::string_view kAcceptBalanceWords[] = {"auto", "off"};

// In the order of --help.
constexpr Flag kRows[] = {
    {.name = "access_log",
     .field = Word<&Scalars::access_log>(kAccessLogWords),
     .default_text = "stderr",
     .value = "off|stderr",
     .group = Group::kLogging,
     .reloadable = true,
     .help = "one line for each connection that has ended"},
    {.name = "stats_interval",
     .field = DurationField{&Scalars::stats_interval, true},
     .default_text = "off",
     .value = "DURATION|off",
     .group = Group::kLogging,
     .reloadable = true,
     .help = "how often a line to stderr counts connections, descriptors, stacks, buffers, pipes "
             "and timers"},
    {.name = "threads",
     .field = AutoCountField{&Scalars::threads, 1, 1024},
     .default_text = "auto",
     .value = "auto|N",
     .group = Group::kProcess,
     .help = "workers; auto: one for each CPU of the affinity mask, or of the cgroup's quota if "
             "that is less"},
    {.name = "accept_balance",
     .field = Word<&Scalars::accept_balance>(kAcceptBalanceWords),
     .default_text = "auto",
     .value = "auto|off",
     .group = Group::kProcess,
     .reloadable = true,
     .help = "auto: the least loaded worker takes a new connection; off: the one that accepted it"},
    {.name = "cpu_affinity",
     .field = CpuField{&Scalars::cpu_affinity},
     .default_text = "off",
     .value = "auto|off|LIST",
     .group = Group::kProcess,
     .help = "where workers run: auto: each on one CPU of the affinity mask; LIST such as 0-3,8: "
             "each on one of these; off: where the kernel likes"},
    {.name = "splice",
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
     .value = "FILE[,FILE...]",
     .group = Group::kProcess,
     .help = "read flags from files, one --NAME=VALUE a line; patterns such as conf.d/*.flags are "
             "allowed"},
    {.name = kFromenv,
     .field = LoaderField{},
     .value = "NAME[,NAME...]",
     .group = Group::kProcess,
     .in_file = false,
     .help = "take these flags from the environment, each from FLAGS_NAME, which must be set"},
    {.name = kTryfromenv,
     .field = LoaderField{},
     .value = "NAME[,NAME...]",
     .group = Group::kProcess,
     .in_file = false,
     .help = "the same, passing over those that are not set"},
    {.name = kUndefok,
     .field = LoaderField{},
     .value = "NAME[,NAME...]",
     .group = Group::kProcess,
     .help = "flags that are passed over if this version does not know them"},
    {.name = kCheck,
     .short_forms = "t",
     .field = ActionField{},
     .group = Group::kProcess,
     .in_file = false,
     .help = "say what is wrong with the configuration and exit: 0 if nothing is, else 1"},
    {.name = kExplain,
     .field = ActionField{},
     .group = Group::kProcess,
     .in_file = false,
     .help = "with --check: print the limits that follow from the configuration and this machine"},
    {.name = kNofile,
     .field = LoaderField{},
     .value = "N",
     .group = Group::kProcess,
     .in_file = false,
     .help = "with --check: the limit of open files where it is to run, instead of this machine's; "
             "what does not fit is then an error"},
    {.name = kDumpConfig,
     .short_forms = "T",
     .field = ActionField{},
     .group = Group::kProcess,
     .in_file = false,
     .help = "print the configuration as a flags file and exit"},
    {.name = kVersion,
     .short_forms = "V",
     .field = ActionField{},
     .group = Group::kProcess,
     .in_file = false,
     .help = "print the version and exit"},
    {.name = kHelp,
     .short_forms = "h",
     .field = ActionField{},
     .group = Group::kProcess,
     .in_file = false,
     .help = "print this and exit"},
};

}  // namespace

absl::Span<const Flag> ProcessRows() { return kRows; }

}  // namespace parkway::config
