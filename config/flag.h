// Flag: one row of the table of flags, and how its values are stored, read and printed.
//
// Constant data and pure functions: any thread.
#ifndef CONFIG_FLAG_H_
#define CONFIG_FLAG_H_

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
#include "config/scalars.h"
#include "config/value.h"

namespace parkway::config {

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
  kNames,
  kAdmission,
  kHealth,
  kTimeouts,
  kLimits,
  kSockets,
  kLogging,
  kAdmin,
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
  bool hex = false;  // bits rather than an amount: printed as 0x1f, and read so too
};
// Bytes per second; zero is off.
struct BandwidthField {
  uint64_t Scalars::*member;
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
// "auto", "off", which is zero, or a size.
struct AutoSizeField {
  std::optional<uint64_t> Scalars::*member;
  uint64_t least;
  uint64_t most;
};
// A name that the kernel knows; "default": none.
struct KernelNameField {
  std::string Scalars::*member;
  size_t most_bytes;
};
// The word `none`, or text that `canonical` reads and prints; empty is none.
struct TextField {
  std::string Scalars::*member;
  absl::StatusOr<std::string> (*canonical)(std::string_view text);
  std::string_view example;
  std::string_view none = "off";
};
struct KeepaliveField {
  Keepalive Scalars::*member;
};
struct LogSinkField {
  LogSink Scalars::*member;
};
// An address to listen on, or "off".
struct AddressField {
  std::optional<Address> Scalars::*member;
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
                 AutoSizeField, BandwidthField, KernelNameField, CpuField, TextField, BoolField,
                 BytesField, ExpectationField, PartingField, KeepaliveField, LogSinkField,
                 AddressField, IpField, WordField, ListField, LoaderField, ActionField>;

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
  std::string_view short_forms = {};  // "cf": -c and -f
  Field field;
  std::string_view default_text = {};  // as a value would be written; empty: none
  std::string_view value = {};         // what --help shows behind "=": "DURATION", "off|stderr"
  Group group = Group::kProcess;
  Places places = kNowhere;  // a scalar: the lines that may set it for themselves
  bool list = false;         // a scalar: commas separate its values
  bool in_file = true;       // else only on the command line
  bool reloadable = false;   // a reload applies it
  std::string_view help = {};

  bool is_scalar() const;
  bool is_list() const { return std::holds_alternative<ListField>(field); }
  // A boolean: as a key it may stand without a value.
  bool is_switch() const { return std::holds_alternative<BoolField>(field); }
  bool is_action() const { return std::holds_alternative<ActionField>(field); }
};

// Reads `text` into the flag's field. The message of an error is "what is wrong; what would be
// right". `flag` must be a scalar.
absl::Status SetScalar(const Flag& flag, std::string_view text, Scalars& scalars);
// Canonical: what SetScalar reads back as the same.
std::string PrintScalar(const Flag& flag, const Scalars& scalars);

}  // namespace parkway::config

#endif  // CONFIG_FLAG_H_
