// Servers that stand in a file of their own: servers_file= of an --upstream line.
//
// It is a flags file that has --server lines alone, without upstream=: programs that know the
// members of a service write it. Whoever watches it reads it with this.
//
// Pure function: any thread.
#ifndef CONFIG_SERVERS_FILE_H_
#define CONFIG_SERVERS_FILE_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/snapshot.h"
#include "config/source.h"

namespace parkway::config {

// The servers of `bytes`, which were in upstream.servers_file, with what they inherit from
// `upstream`. Nothing if something is wrong, which was told: a part of a list of servers is worse
// than the one before. No servers at all are right.
std::optional<std::vector<Server>> ReadServersFile(const Upstream& upstream, std::string_view bytes,
                                                   Problems* problems);

}  // namespace parkway::config

#endif  // CONFIG_SERVERS_FILE_H_
