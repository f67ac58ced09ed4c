// Attempts: one attempt at one server, from its address to a connected socket that has been told
// what goes before the client's bytes.
//
//   int error = attempts.Connect(session, server, heard);     // waits
//
// An attempt is patient: a full backlog of a unix listener and a want of descriptors, of which no
// event will tell that they are over, are tried again within connect_timeout.
//
// The client's early bytes stay in the kernel, or, where the server is on this machine, they are
// read and sent at once (its connect is done before the call returns, which saves a wait and a
// registration); what could not be sent is held by the relay and goes to whichever server answers.
//
// Owner thread only, on the connector's stack; what is known of an attempt is there, too.
//
// Invariants
//   1. Before the first wait both sockets are registered: a client that resets ends the attempt.
//   2. It returns with session.server() connected, or with an errno and no server, or the session
//      has ended, and closes its descriptors itself.
#ifndef PROXY_INBOUND_ATTEMPTS_H_
#define PROXY_INBOUND_ATTEMPTS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "poller/address.h"
#include "poller/clock.h"
#include "poller/dialer.h"
#include "poller/scheduler.h"
#include "proxy/core/plan.h"
#include "proxy/inbound/limits.h"
#include "proxy/inbound/reception.h"
#include "proxy/session/session.h"
#include "proxy/upstream/views.h"

namespace parkway {

// Whether clients have said something by the time they are accepted, lately: one that is nearby,
// and whose handshake was seen at once, has not yet, and to ask it is a system call for nothing.
class EarlyBytes {
 public:
  bool WorthATry() { return misses_ < kMostMisses || ++skipped_ % kTryEvery == 0; }
  void Tried(bool hit) {
    misses_ = hit ? 0 : static_cast<uint8_t>(std::min(misses_ + 1, kMostMisses));
  }

 private:
  static constexpr int kMostMisses = 4;
  static constexpr uint8_t kTryEvery = 16;

  uint8_t misses_ = 0;
  uint8_t skipped_ = 0;
};

class Attempts {
 public:
  Attempts(Scheduler& scheduler, Views& views, ConnectionLimit& limit, RelayTools& tools)
      : scheduler_(scheduler), views_(views), limit_(limit), tools_(tools) {}

  // 0, or a positive errno. `server` must be pinned: it waits.
  int Connect(Session& session, const ServerPlan& server, const Heard& heard);

 private:
  int Once(Session& session, const ServerPlan& server, const Heard& heard, MonotonicTime deadline);
  int Fast(Session& session, const ServerPlan& server, const Heard& heard, MonotonicTime deadline);
  int AnyOf(Session& session, const ServerPlan& server, const Heard& heard, MonotonicTime deadline);
  // `header_sent`: how much of a PROXY header is on its way already.
  int Conclude(Session& session, const ServerPlan& server, const Heard& heard,
               MonotonicTime deadline, int error, size_t header_sent = 0);
  void MakeRoom();
  Dial DialFrom(Session& session, const ServerPlan& server, const Address& to, void* user,
                SynData* first = nullptr);
  int Establish(Session& session, PollDesc& desc, bool local, MonotonicTime deadline);
  // Sends what the client has already said. 0: the server took some, so it is connected; EAGAIN:
  // that must be waited for; else the errno of either side.
  int SendEarlyBytes(Session& session, PollDesc& server);

  Scheduler& scheduler_;
  Views& views_;
  ConnectionLimit& limit_;
  RelayTools& tools_;
  EarlyBytes early_;
};

}  // namespace parkway

#endif  // PROXY_INBOUND_ATTEMPTS_H_
