// Explain: a configuration as a flags file.
//
// Scalars sorted by name where they differ from their defaults, then the list lines in order, keys
// in a fixed order where they differ from what is inherited, in canonical units. What is printed
// is a valid flags file that gives the same configuration and prints the same.
//
// Pure function: any thread.
#ifndef CONFIG_EXPLAIN_H_
#define CONFIG_EXPLAIN_H_

#include <cstdint>
#include <string>

#include "config/snapshot.h"

namespace parkway::config {

std::string Dump(const Snapshot& snapshot);

// What follows from a configuration and a machine, for people, in lines.
std::string ExplainLimits(const Snapshot& snapshot, const SystemFacts& facts);

// What an idle connection costs the process; the kernel's two sockets come on top.
inline constexpr uint64_t kBytesPerIdleConnection = 512;

}  // namespace parkway::config

#endif  // CONFIG_EXPLAIN_H_
