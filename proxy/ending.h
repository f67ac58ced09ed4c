// Ending: how the process stops: nobody is accepted any more, connections have their time, evenly,
// and then they end.
//
//   Outcome outcome = ending.Ask(how, "signal Terminated");    // tells `wake`
//   ... once it was asked, on the stack of a task that may wait:
//   ending.Run();
//
// Asked a second time it ends at once.
//
// Control thread only.
#ifndef PROXY_ENDING_H_
#define PROXY_ENDING_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "poller/clock.h"
#include "poller/scheduler.h"
#include "proxy/control.h"
#include "proxy/crew.h"
#include "proxy/drain_desk.h"

namespace parkway {

class Ending {
 public:
  struct Host {
    std::function<absl::Duration()> drain_timeout;  // zero: as long as they want
    std::function<void(const std::string& line)> say;
    // Run is due.
    std::function<void()> wake;
    // It has begun, and there is news for whoever watches.
    std::function<void()> begun;
  };

  Ending(Scheduler& scheduler, const Crew& crew, DrainDesk& drains, Host host)
      : scheduler_(scheduler), crew_(crew), drains_(drains), host_(std::move(host)) {}
  Ending(const Ending&) = delete;
  Ending& operator=(const Ending&) = delete;

  // `why` begins the line in the log: who asked.
  Outcome Ask(Control::StopHow how, const std::string& why);
  // Until nobody is connected any more, or cannot be ended.
  void Run();

  bool asked() const { return asked_; }
  // Of the time that connections have; infinite: no end.
  absl::Duration left() const;

 private:
  void Wait();

  Scheduler& scheduler_;
  const Crew& crew_;
  DrainDesk& drains_;
  const Host host_;
  bool asked_ = false;
  bool patient_ = false;  // it has no deadline
  bool at_once_ = false;
  MonotonicTime deadline_;
};

}  // namespace parkway

#endif  // PROXY_ENDING_H_
