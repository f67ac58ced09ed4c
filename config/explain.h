// Explain: a configuration as a flags file.
//
// Scalars sorted by name where they differ from their defaults, then the list lines in order, keys
// in a fixed order where they differ from what is inherited, in canonical units. What is printed
// is a valid flags file that gives the same configuration and prints the same.
//
// Pure function: any thread.
#ifndef CONFIG_EXPLAIN_H_
#define CONFIG_EXPLAIN_H_

#include <string>

#include "config/snapshot.h"

namespace parkway::config {

std::string Dump(const Snapshot& snapshot);

}  // namespace parkway::config

#endif  // CONFIG_EXPLAIN_H_
