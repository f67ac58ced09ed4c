// StatsLine: the numbers of the process as one line in its log, again and again.
//
//   StatsLine numbers(scheduler, workers, log);
//   numbers.Every(absl::Seconds(10));            // zero: not any more
//   ... numbers.End(); ... until numbers.ended()
//
// Control thread only.
#ifndef PROXY_STATS_LINE_H_
#define PROXY_STATS_LINE_H_

#include <functional>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "poller/scheduler.h"
#include "proxy/crew.h"
#include "proxy/repeated.h"

namespace parkway {

class StatsLine {
 public:
  // `write` takes the line. `dropped`: lines of the log that were lost already.
  struct Log {
    std::function<void(std::string line)> write;
    std::function<uint64_t()> dropped;
  };

  // Both outlive this.
  StatsLine(Scheduler& scheduler, const Crew& crew, Log log)
      : scheduler_(scheduler),
        crew_(crew),
        log_(std::move(log)),
        ask_("numbers", [this] { Ask(); }),
        line_("numbers line", [this] { Write(); }) {}

  void Every(absl::Duration interval);
  void End();
  bool ended() const { return ask_.ended() && line_.ended(); }

 private:
  void Ask();
  void Write();

  Scheduler& scheduler_;
  const Crew& crew_;
  const Log log_;
  Repeated ask_;
  Repeated line_;
};

}  // namespace parkway

#endif  // PROXY_STATS_LINE_H_
