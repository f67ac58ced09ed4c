// Validate: whether what was said fits together and fits the machine, and the snapshot of it.
//
// What only the text decides is an error. What depends on the machine (descriptors, its addresses)
// is an error at start and a warning when the configuration is only checked: it may be meant for
// another machine.
//
// Pure function: any thread.
#ifndef CONFIG_VALIDATE_H_
#define CONFIG_VALIDATE_H_

#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "config/flags.h"
#include "config/grammar.h"
#include "config/snapshot.h"
#include "config/source.h"

namespace parkway::config {

struct Declarations {
  Scalars scalars;
  std::map<std::string_view, Place> set_at;  // scalars that were set: where
  std::vector<ListenLine> listens;
  std::vector<UpstreamLine> upstreams;
  std::vector<ServerLine> servers;
  std::vector<RouteLine> routes;
  // The limit of open files that was given; what does not fit it is an error even when the
  // configuration is only checked.
  std::optional<uint64_t> nofile;
};

enum class Strictness : bool { kCheck, kStart };

// Nothing if there are errors, then or before.
std::optional<Snapshot> Validate(const Declarations& said, const SystemFacts& facts,
                                 Strictness strictness, Problems* errors, Problems* warnings);

// A connection to `server` arrives at `listener`, for whatever machine.
bool IsLoop(const Address& listener, const Address& server, bool v6only = false);

}  // namespace parkway::config

#endif  // CONFIG_VALIDATE_H_
