// Declarations: all that was said, as it was read, with places.
//
// A value: any thread.
#ifndef CONFIG_DECLARATIONS_H_
#define CONFIG_DECLARATIONS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "config/flags.h"
#include "config/grammar.h"
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

// Where a server was named.
struct ServerPlace {
  std::string_view flag;
  const Place* address;
  const Place* name;
};

}  // namespace parkway::config

#endif  // CONFIG_DECLARATIONS_H_
