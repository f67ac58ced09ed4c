// Flags: the one table of every flag that parkway knows, and the typed values of the scalar ones.
//
// --help, the README's table, the reader of flags files, --dump_config and the defaults all come
// from this table. gflags' own parsing is not used: it exits by itself, keeps one value of a list,
// and passes over what it does not know.
//
// The table is constant: any thread.
#ifndef CONFIG_FLAGS_H_
#define CONFIG_FLAGS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "config/value.h"

namespace parkway::config {

enum class AccessLog : uint8_t { kOff, kStderr };
enum class Splice : uint8_t { kAuto, kOn, kOff };
enum class AcceptProxy : uint8_t { kOff, kOn, kOptional };
enum class SendProxy : uint8_t { kOff, kV1, kV2 };
enum class Policy : uint8_t { kQueue, kReject };
enum class AcceptBalance : uint8_t { kAuto, kOff };
enum class Balance : uint8_t {
  kP2c,
  kLeastConn,
  kRoundRobin,
  kRandom,
  kSourceHash,
  kFirst,
  kLeastTime,
};
enum class AllDown : uint8_t { kAuto, kClose, kTryAll, kHold };
enum class ServerState : uint8_t { kReady, kDrain, kDown };
enum class Health : uint8_t { kOff, kTcp, kSendExpect };
enum class HealthInitial : uint8_t { kUp, kDown };
enum class HealthClose : uint8_t { kFin, kRst };

// Which CPUs the workers run on.
struct CpuAffinity {
  enum class Kind : uint8_t {
    kOff,   // where the kernel likes
    kAuto,  // each on one of those that the process may use
    kList,  // each on one of `cpus`
  };

  Kind kind = Kind::kOff;
  std::vector<uint32_t> cpus;  // kList: in order, as written

  bool operator==(const CpuAffinity&) const = default;
};

// The scalar flags, typed. A duration that is off is zero. Their defaults are in the table. A line
// that sets some of them for itself has a copy of its own (Flag::places).
struct Scalars {
  std::optional<uint32_t> threads;          // nullopt: automatic
  std::optional<uint32_t> max_connections;  // nullopt: automatic
  uint32_t backlog = 0;
  bool v6only = false;
  absl::Duration connect_timeout;
  absl::Duration idle_timeout;
  absl::Duration half_close_timeout;
  absl::Duration delayed_close;
  absl::Duration drain_timeout;
  absl::Duration stats_interval;
  AccessLog access_log = AccessLog::kStderr;
  Splice splice = Splice::kAuto;
  AcceptBalance accept_balance = AcceptBalance::kAuto;
  CpuAffinity cpu_affinity;
  // Active checks of servers.
  Health health = Health::kOff;
  absl::Duration health_interval;
  absl::Duration health_timeout;
  uint32_t rise = 0;
  uint32_t fall = 0;
  uint32_t health_port = 0;            // 0: the server's
  std::optional<Address> health_addr;  // without a port; nullopt: the server's
  HealthInitial health_initial = HealthInitial::kUp;
  HealthClose health_close = HealthClose::kFin;
  std::string health_send;  // bytes
  Expectation health_expect;
  Parting on_down;
  Parting on_up;
  // Options of sockets, of both sides; zero and empty: the kernel's own.
  uint64_t rcvbuf = 0;
  uint64_t sndbuf = 0;
  uint64_t notsent_lowat = 0;
  absl::Duration busy_poll;
  std::string congestion;
  // Who is let in, and how. Of the texts, which are canonical (admission.h), empty is off.
  AcceptProxy accept_proxy = AcceptProxy::kOff;
  std::string proxy_trusted;
  absl::Duration proxy_protocol_timeout;
  std::string allow;
  std::string deny;
  bool dry_run = false;
  Policy policy = Policy::kQueue;
  std::string accept_rate;
  std::string accept_rate_per_source;
  uint32_t max_connections_per_source = 0;
  absl::Duration preread_timeout;
  uint64_t preread_bytes = 0;
  SendProxy send_proxy = SendProxy::kOff;
  std::string proxy_tlv;

  // Which server, and how it is reached. Zero is off.
  Balance balance = Balance::kP2c;
  uint32_t hash_balance_factor = 0;  // percent
  uint32_t connect_attempts = 0;
  std::vector<Address> source;  // without ports
  uint32_t max_conns = 0;
  uint32_t queue_max = 0;
  absl::Duration queue_timeout;
  absl::Duration slow_start;
  uint32_t panic_threshold = 0;  // percent
  AllDown all_down = AllDown::kAuto;
  uint32_t passive_fails = 0;
  absl::Duration ejection_time;
  uint32_t max_ejection_percent = 0;
  // Of one server: keys of its line alone (LineFlags).
  uint32_t weight = 0;
  uint32_t priority = 0;
  bool backup = false;
  ServerState state = ServerState::kReady;

  bool operator==(const Scalars&) const = default;
};

// The kinds of lines on which a scalar flag may stand as a key, for that line alone: a set.
using Places = uint8_t;
inline constexpr Places kNowhere = 0;
inline constexpr Places kOnListen = 1;
inline constexpr Places kOnUpstream = 2;
inline constexpr Places kOnServer = 4;
// A --route has keys of its own, and no settings.
inline constexpr Places kOnRoute = 8;
inline constexpr Places kOnServers = kOnUpstream | kOnServer;
// Options of sockets: of the client's on --listen, of the server's on the others, else of both.
inline constexpr Places kOnAll = kOnListen | kOnServers;

enum class Group : uint8_t {
  kListening,
  kUpstream,
  kAdmission,
  kHealth,
  kTimeouts,
  kLimits,
  kSockets,
  kLogging,
  kProcess,
};

// How a flag's values are stored, which is also how they are read and printed.
struct DurationField {
  absl::Duration Scalars::*member;
  bool off = false;
  absl::Duration least = absl::Milliseconds(1);
  absl::Duration most = kMostDuration;
};
// Zero is off.
struct SizeField {
  uint64_t Scalars::*member;
  uint64_t least;
  uint64_t most;
};
struct CountField {
  uint32_t Scalars::*member;
  uint32_t least;
  uint32_t most;
  bool off = false;  // zero is off
};
struct PercentField {
  uint32_t Scalars::*member;
  uint32_t least;
  uint32_t most;
  bool off = false;  // zero is off
};
// IP addresses with commas between them; "off": none.
struct IpsField {
  std::vector<Address> Scalars::*member;
};
// "auto" or a count.
struct AutoCountField {
  std::optional<uint32_t> Scalars::*member;
  uint32_t least;
  uint32_t most;
};
// A name that the kernel knows; "default": none.
struct KernelNameField {
  std::string Scalars::*member;
  size_t most_bytes;
};
// "off", or text that `canonical` reads and prints; empty is off.
struct TextField {
  std::string Scalars::*member;
  absl::StatusOr<std::string> (*canonical)(std::string_view text);
  std::string_view example;
};
struct CpuField {
  CpuAffinity Scalars::*member;
};
struct BoolField {
  bool Scalars::*member;
};
// Bytes as text, with escapes.
struct BytesField {
  std::string Scalars::*member;
  size_t most_bytes;
};
struct ExpectationField {
  Expectation Scalars::*member;
  size_t most_bytes;
};
struct PartingField {
  Parting Scalars::*member;
};
// An IP address, or "server": that of the server.
struct IpField {
  std::optional<Address> Scalars::*member;
};
struct WordField {
  absl::Span<const std::string_view> words;
  void (*set)(Scalars& scalars, size_t index);
  size_t (*get)(const Scalars& scalars);
};
// --listen, --upstream, --server, --route: each line adds one; see grammar.h.
struct ListField {};
// Directs the loading itself (--flagfile=FILES, --undefok=NAMES, --nofile=N): no value of the
// configuration.
struct LoaderField {};
// --check, --help: what to do instead of running. A boolean.
struct ActionField {};

using Field =
    std::variant<DurationField, SizeField, CountField, PercentField, IpsField, AutoCountField,
                 KernelNameField, CpuField, TextField, BoolField, BytesField, ExpectationField,
                 PartingField, IpField, WordField, ListField, LoaderField, ActionField>;

// The flags that are no scalar are known to the loader by their names.
inline constexpr std::string_view kListen = "listen";
inline constexpr std::string_view kUpstream = "upstream";
inline constexpr std::string_view kServer = "server";
inline constexpr std::string_view kRoute = "route";
inline constexpr std::string_view kFlagfile = "flagfile";
inline constexpr std::string_view kFromenv = "fromenv";
inline constexpr std::string_view kTryfromenv = "tryfromenv";
inline constexpr std::string_view kUndefok = "undefok";
inline constexpr std::string_view kCheck = "check";
inline constexpr std::string_view kExplain = "explain";
inline constexpr std::string_view kNofile = "nofile";
inline constexpr std::string_view kDumpConfig = "dump_config";
inline constexpr std::string_view kHelp = "help";
inline constexpr std::string_view kVersion = "version";

struct Flag {
  std::string_view name;
  std::string_view short_forms;  // "cf": -c and -f
  Field field;
  std::string_view default_text;  // as a value would be written; empty: none
  std::string_view value;         // what --help shows behind "=": "DURATION", "off|stderr"
  Group group = Group::kProcess;
  Places places = kNowhere;  // a scalar: the lines that may set it for themselves
  bool list = false;         // a scalar: commas separate its values
  bool in_file = true;       // else only on the command line
  bool reloadable = false;   // a reload applies it
  std::string_view help;

  bool is_scalar() const;
  bool is_list() const { return std::holds_alternative<ListField>(field); }
  // A boolean: as a key it may stand without a value.
  bool is_switch() const { return std::holds_alternative<BoolField>(field); }
  bool is_action() const { return std::holds_alternative<ActionField>(field); }
};

// In the order of --help.
absl::Span<const Flag> AllFlags();
// Names of all flags, for suggestions.
absl::Span<const std::string_view> FlagNames();
// Of the list flag `name`: the place that its lines are; kNowhere if it is none.
Places PlaceOf(std::string_view name);
// "--listen", "--upstream and --server", ...
std::string PlacesText(Places places);
// nullptr if there is none.
const Flag* FindFlag(std::string_view name);
const Flag* FindShortFlag(char letter);

// Settings of one line that have no scalar flag, as they would say the same of every line: keys of
// the lines in Flag::places. Their rows in the README are those of grammar.h.
absl::Span<const Flag> LineFlags();
const Flag* FindLineFlag(std::string_view name);

std::string_view GroupName(Group group);

Scalars DefaultScalars();
// Reads `text` into the flag's field. The message of an error is "what is wrong; what would be
// right". `flag` must be a scalar.
absl::Status SetScalar(const Flag& flag, std::string_view text, Scalars& scalars);
// Canonical: what SetScalar reads back as the same.
std::string PrintScalar(const Flag& flag, const Scalars& scalars);

// The text of --help: flags by group with defaults and units.
std::string HelpText();

}  // namespace parkway::config

#endif  // CONFIG_FLAGS_H_
