// Validate: whether what was said fits together and fits the machine, and the snapshot of it.
//
// What only the text decides is an error. What depends on the machine (descriptors, its addresses)
// is an error at start and a warning when the configuration is only checked: it may be meant for
// another machine.
//
// Pure function: any thread.
#ifndef CONFIG_VALIDATE_H_
#define CONFIG_VALIDATE_H_

#include <optional>

#include "config/declarations.h"
#include "config/snapshot.h"
#include "config/source.h"

namespace parkway::config {

enum class Strictness : bool { kCheck, kStart };

// Nothing if there are errors, then or before.
std::optional<Snapshot> Validate(const Declarations& said, const SystemFacts& facts,
                                 Strictness strictness, Problems* errors, Problems* warnings);

}  // namespace parkway::config

#endif  // CONFIG_VALIDATE_H_
