// Control: all that may be asked of the running process, as a struct of functions. The process
// fills it; signals, the admin socket and the HTTP server call it, and know nothing of the process.
//
// Control thread only: other threads post to its scheduler. Nothing here waits: what takes time
// says so by a callback, which is called once, on the control thread, perhaps before the call
// returns, and perhaps after who asked has left (so it owns what it touches). A drain goes on by
// itself; drains() says how far it is.
#ifndef PROXY_CONTROL_H_
#define PROXY_CONTROL_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace parkway {

// What came of a request. `text`: what was done, or one line about what was attempted, why it
// failed and what holds now; of a reload several lines.
struct Outcome {
  bool ok = true;
  std::string text;
  uint64_t drain = 0;  // of a request that began one: its id in drains()

  static Outcome Done(std::string text) { return {.ok = true, .text = std::move(text)}; }
  static Outcome Refused(std::string text) { return {.ok = false, .text = std::move(text)}; }
};
using OnOutcome = std::function<void(const Outcome&)>;

// What became of reloads; part of STATUS, `show config` and the metrics.
struct ReloadState {
  uint64_t generation = 1;  // of the configuration in use; 1 is that of the start
  uint64_t reloads = 0;     // that were asked for and have ended, but for dry runs
  uint64_t refused = 0;     // of these
  bool last_ok = true;      // of the last one
  absl::Time loaded_at;     // when the configuration in use was applied
  absl::Time last_at;       // when the last reload ended; the start, if there was none
  std::string last_text;    // what it changed, or why it was refused
  std::string last_line;    // the same as one line that is not too long for a log
};

// A paced drain, under way or ended not long ago.
struct DrainProgress {
  uint64_t id = 0;
  std::string what;     // "stop", "server app/a, which is down", "listener web", "25 % of all"
  bool counted = true;  // false: it has only begun, and the next two are to come
  uint32_t total = 0;   // connections that it began with
  uint32_t left = 0;    // of them, still open
  absl::Duration passed;
  absl::Duration over;  // the time it may take; infinite: no end
  bool ended = false;
};

// Which connections are to end; those that all given conditions fit.
struct ConnSelector {
  std::optional<uint64_t> id;
  std::string source;    // CIDR or IP of the client
  std::string listener;  // by name, as below
  std::string upstream;
  std::string server;  // with upstream
};

struct Control {
  // --- Configuration ---

  struct Reload {
    bool dry_run = false;        // only say what would change
    bool reset_runtime = false;  // forget what was changed at run time
  };
  std::function<void(const Reload&, OnOutcome)> reload;
  std::function<ReloadState()> reload_state;
  // The configuration in use as a flags file (--dump_config).
  std::function<std::string()> dump_config;
  // What was changed at run time and holds, one line each.
  std::function<std::vector<std::string>()> runtime_changes;

  // --- The process ---

  enum class StopHow : uint8_t {
    kDrain,  // within drain_timeout; if it drains already: now
    kWait,   // no longer accepting, no deadline
    kNow,    // connections end at once
  };
  std::function<Outcome(StopHow)> stop;
  // Ends so many percent of the connections, idle-longest first, evenly over a time, while new
  // ones are accepted.
  struct Drain {
    uint32_t percent = 100;
    absl::Duration over = absl::ZeroDuration();
  };
  std::function<Outcome(const Drain&)> drain;
  std::function<std::vector<DrainProgress>()> drains;
  // One of: info, warning, error.
  std::function<Outcome(const std::string& level)> set_log_level;
  std::function<Outcome()> reopen_logs;

  // --- Servers: by the names of the upstream and of the server in it ---

  enum class ServerWord : uint8_t {
    kReady,
    kDrain,  // no new connections; those that are open end by a paced drain if `over` is given
    kDown,   // the same, and no checks
  };
  std::function<Outcome(const std::string& upstream, const std::string& server, ServerWord word,
                        std::optional<absl::Duration> over)>
      set_server_state;
  std::function<Outcome(const std::string& upstream, const std::string& server, uint32_t weight)>
      set_server_weight;
  // 0: no limit.
  std::function<Outcome(const std::string& upstream, const std::string& server, uint32_t most)>
      set_server_max_conns;
  // `words` as after --server= in a flags file, without upstream=: "name=c addr=10.0.0.3:9000".
  std::function<Outcome(const std::string& upstream, const std::string& words)> add_server;
  // Its connections follow on_remove.
  std::function<Outcome(const std::string& upstream, const std::string& server)> del_server;

  // --- Listeners: by name, all addresses of it ---

  // It accepts nobody; clients wait in the backlog.
  std::function<Outcome(const std::string& listener)> pause_listener;
  std::function<Outcome(const std::string& listener)> resume_listener;

  // --- Connections ---

  // Resets those that fit; the text says how many. At least one condition is to be given.
  std::function<void(const ConnSelector&, OnOutcome)> kill;
};

}  // namespace parkway

#endif  // PROXY_CONTROL_H_
