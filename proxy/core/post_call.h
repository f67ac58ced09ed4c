// PostCall: runs a function on another scheduler's thread, between two activations.
//
//   PostCall(worker.scheduler_ref(), [&worker] { worker.StopAccepting(); });
//
// Any thread. Never waits. If the scheduler ends before it comes to it, the function is destroyed
// without having been called: what it holds must clean up after itself.
#ifndef PROXY_CORE_POST_CALL_H_
#define PROXY_CORE_POST_CALL_H_

#include <memory>
#include <utility>

#include "poller/inbox.h"
#include "poller/scheduler.h"

namespace parkway {

template <typename Call>
class CallMessage final : public Message {
 public:
  explicit CallMessage(Call call) : call_(std::move(call)) {}
  void Deliver(Scheduler&) override { call_(); }

 private:
  Call call_;
};

template <typename Call>
void PostCall(Scheduler& scheduler, Call call) {
  scheduler.Post(std::make_unique<CallMessage<Call>>(std::move(call)));
}

}  // namespace parkway

#endif  // PROXY_CORE_POST_CALL_H_
