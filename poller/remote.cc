#include "poller/remote.h"

#include <memory>

#include "poller/inbox.h"
#include "poller/test_point.h"

namespace parkway {

namespace {

class RearmMessage : public Message {
 public:
  explicit RearmMessage(PollHandle handle) : handle_(handle) {}

  void Deliver(Scheduler& scheduler) override {
    PollDesc* desc = scheduler.netpoll().cache().Find(handle_.index);
    // The use may have ended while this was under way.
    if (desc != nullptr && desc->fdseq() == handle_.fdseq) scheduler.Rearm(*desc);
  }

 private:
  const PollHandle handle_;
};

void PostWoken(Scheduler& owner, const WokenTasks& woken) {
  if (woken.reader != nullptr) owner.PostReady(*woken.reader);
  if (woken.writer != nullptr) owner.PostReady(*woken.writer);
}

}  // namespace

bool RemoteSetDeadline(Scheduler& owner, PollHandle handle, Directions directions,
                       MonotonicTime deadline) {
  PollDesc* desc = owner.netpoll().cache().Find(handle.index);
  if (desc == nullptr) return false;
  const PollDesc::Change change =
      desc->SetDeadline(handle.fdseq, directions, deadline, ReadMonotonicClock());
  PARKWAY_TEST_POINT("RemoteSetDeadline:before_post");
  if (change.rearm) owner.Post(std::make_unique<RearmMessage>(handle));
  PostWoken(owner, change.woken);
  return change.applied;
}

bool RemoteEvict(Scheduler& owner, PollHandle handle) {
  PollDesc* desc = owner.netpoll().cache().Find(handle.index);
  if (desc == nullptr) return false;
  const PollDesc::Change change = desc->Evict(handle.fdseq);
  PARKWAY_TEST_POINT("RemoteEvict:before_post");
  PostWoken(owner, change.woken);
  return change.applied;
}

}  // namespace parkway
