// Servers that stand in a file of their own: servers_file= of an --upstream line.
//
// It is a flags file that has --server lines alone, without upstream=: programs that know the
// members of a service write it. Whoever watches it reads it with this.
//
// Pure function: any thread.
#ifndef CONFIG_SERVERS_FILE_H_
#define CONFIG_SERVERS_FILE_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/snapshot.h"
#include "config/source.h"

namespace parkway::config {

// The servers of `bytes`, which were in upstream.servers_file, with what they inherit from
// `upstream`. Nothing if something is wrong, which was told: a part of a list of servers is worse
// than the one before. No servers at all are right.
std::optional<std::vector<Server>> ReadServersFile(const Upstream& upstream, std::string_view bytes,
                                                   Problems* problems);

// What was in files when they were read last and were right: by the path, and the upstream whose
// servers they are. What an upstream inherits may be another by now: so the bytes are kept.
using FileTexts = std::map<std::pair<std::string, std::string>, std::shared_ptr<const std::string>>;

// That of upstream.servers_file: as it was read for an upstream of this name, else for any. Null:
// none.
std::shared_ptr<const std::string> KnownText(const FileTexts& texts, const Upstream& upstream);

}  // namespace parkway::config

#endif  // CONFIG_SERVERS_FILE_H_
