// Conversation: what a command that runs has of its client: where the answer goes, who asked, and
// a way to wait that keeps neither the control thread nor a client that has left.
//
// Control thread, in a task that keeps its stack.
#ifndef PROXY_ADMIN_CONVERSATION_H_
#define PROXY_ADMIN_CONVERSATION_H_

#include <functional>
#include <string>

#include "poller/clock.h"
#include "proxy/admin/reply.h"

namespace parkway::admin {

class Conversation {
 public:
  virtual Reply& reply() = 0;
  // For the log: "pid=812 uid=0 gid=0".
  virtual const std::string& who() const = 0;
  virtual MonotonicTime now() const = 0;

  enum class Waited {
    kYes,   // what was waited for has come
    kLate,  // `deadline` has passed
    kGone,  // the client has left, or the daemon stops
  };
  // Until `ready()` is true; it is asked again whenever a bell() rings. No `deadline`: as long as
  // the client stays.
  virtual Waited WaitUntil(const std::function<bool()>& ready,
                           MonotonicTime deadline = MonotonicTime::InfiniteFuture()) = 0;
  // What wakes WaitUntil: may be called on the control thread at any time, also when the
  // conversation is long over.
  virtual std::function<void()> bell() = 0;

 protected:
  ~Conversation() = default;
};

}  // namespace parkway::admin

#endif  // PROXY_ADMIN_CONVERSATION_H_
