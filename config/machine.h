// Machine: what a configuration gets of the machine it is for, and what that lacks.
//
// Pure functions: any thread.
#ifndef CONFIG_MACHINE_H_
#define CONFIG_MACHINE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "config/declarations.h"
#include "config/snapshot.h"
#include "config/source.h"

namespace parkway::config {

uint32_t PipesPerWorker(uint32_t threads, uint64_t nofile);
// `addresses`: of all listeners; each worker has a socket for each.
uint64_t ReservedDescriptors(uint32_t threads, size_t addresses, uint32_t pipes_per_worker);

// Where `wanted`, "auto" or a path, is: in the folder that systemd has made for this run, if it
// has. Empty: nowhere.
std::string AdminSocketOf(const std::string& wanted, const SystemFacts& facts);

// Fills in what is computed: workers, connections, descriptors. What does not fit goes to
// `problems`.
void ComputeLimits(const Declarations& said, const SystemFacts& facts, Snapshot* snapshot,
                   Problems* problems);

// What works elsewhere, and here in part or not at all. `only_checked`: it is not about to start,
// which would tell of users and CPUs by itself.
void WarnOfMachine(const Declarations& said, const SystemFacts& facts, const Snapshot& snapshot,
                   bool only_checked, Problems* warnings);

}  // namespace parkway::config

#endif  // CONFIG_MACHINE_H_
