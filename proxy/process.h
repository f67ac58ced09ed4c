// Process: the life of the daemon: bind, start the workers, wait for a word from outside, drain,
// stop.
//
// Main thread only. Signals are blocked in every thread and taken here, one at a time: TERM and
// INT drain, a second one ends at once.
#ifndef PROXY_PROCESS_H_
#define PROXY_PROCESS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "config/load.h"
#include "config/servers_file.h"
#include "config/snapshot.h"
#include "proxy/observatory.h"
#include "proxy/system/facts.h"
#include "proxy/system/systemd.h"

namespace parkway {

// Exit codes (sysexits.h).
inline constexpr int kExitOk = 0;
inline constexpr int kExitCheckFailed = 1;
inline constexpr int kExitOsError = 71;  // cannot bind, or no resources
inline constexpr int kExitConfig = 78;   // configuration refused

struct ProcessOptions {
  uint32_t threads = 1;
  std::vector<uint32_t> cpus;          // worker i runs on the i-th, around; empty: on any
  uint32_t pipes_per_worker = 0;       // for splice; 0: never splice
  uint64_t reserved_descriptors = 64;  // for what is no connection
  std::string version;
  // Reads the command line and the files again, for a reload; `known`: of servers_files.
  std::function<config::LoadResult(const config::FileTexts& known)> load;
  Observatory::Options shown;
  std::string admin_socket;  // a path; empty: none
  std::string user;          // to become, once it listens; empty: nobody else
  std::string pidfile;       // empty: none
  // How long nobody may be connected before it ends by itself.
  absl::Duration exit_idle_time = absl::InfiniteDuration();
  std::vector<InheritedSocket> inherited;  // by systemd's socket activation
};

// Runs until told to stop; returns the exit code.
int RunProcess(std::shared_ptr<const config::Snapshot> snapshot, const config::SystemFacts& facts,
               const ProcessOptions& options);

}  // namespace parkway

#endif  // PROXY_PROCESS_H_
