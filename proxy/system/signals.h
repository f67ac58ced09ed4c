// Signals: the signals of the process as a task on the control thread's engine.
//
//   Signals::BlockAll();                         // in main, before any thread starts
//   Signals signals([](int number) { ... });
//   signals.Start(scheduler);                    // 0 or -errno
//   ... signals.Stop(); ... until signals.ended()
//
// All signals are blocked in every thread, and those that are listened for are read from a
// signalfd, one at a time, in the order of the kernel (the lowest number first). The handler runs
// on the scheduler's thread and must not wait.
//
// Owner thread only.
#ifndef PROXY_SYSTEM_SIGNALS_H_
#define PROXY_SYSTEM_SIGNALS_H_

#include <functional>
#include <utility>

#include "poller/scheduler.h"
#include "poller/task.h"

namespace parkway {

class Signals final : public Task {
 public:
  explicit Signals(std::function<void(int number)> handler) : handler_(std::move(handler)) {}
  ~Signals();

  // In the calling thread and all that it starts from now on; but for those that a broken
  // instruction raises, which must end the process wherever they come from. SIGPIPE is ignored.
  static void BlockAll();

  // 0 or -errno.
  int Start(Scheduler& scheduler);
  void Stop();
  bool ended() const { return desc_ == nullptr; }

  Next Run(Scheduler& scheduler, Wake wake) noexcept override;
  const char* name() const override { return "signals"; }

 private:
  const std::function<void(int number)> handler_;
  int fd_ = -1;
  PollDesc* desc_ = nullptr;
  Scheduler* scheduler_ = nullptr;
};

// Whether the process has a controlling terminal: then SIGWINCH, SIGTTIN and SIGTTOU are the
// terminal's and no word of an operator.
bool HasTerminal();

}  // namespace parkway

#endif  // PROXY_SYSTEM_SIGNALS_H_
