// Reception: what happens to a connection before a server is chosen for it.
//
//   accept_rate_per_source  by the peer's address
//   PROXY header            read and taken off; from here on the client's address is the header's
//   allow, deny
//   max_connections_per_source
//   first bytes             read and kept: they choose the upstream
//
// What was read stays in the hands of the session's upward relay, so it goes to whichever server
// answers, or is counted as unsent.
//
// Owner thread only. Runs on the stack of the session's task, and keeps it while it waits for the
// client. A listener that asks for none of it never comes here.
//
// Invariants
//   1. It returns true, or the session has a cause.
//   2. Of the client's bytes only a PROXY header is taken away.
#ifndef PROXY_INBOUND_RECEPTION_H_
#define PROXY_INBOUND_RECEPTION_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "poller/address.h"
#include "poller/clock.h"
#include "poller/scheduler.h"
#include "proxy/core/close_cause.h"
#include "proxy/core/plan.h"
#include "proxy/inbound/front.h"
#include "proxy/inbound/listener_limits.h"
#include "proxy/session/relay.h"
#include "proxy/session/session.h"

namespace parkway {

// What a client, or the proxy before us, has said.
struct Heard {
  bool has_addresses = false;  // from a PROXY header
  Address source;
  Address destination;
  std::string tlvs;
  std::string sni;
};

class Reception {
 public:
  // Who is told of what dry_run let pass.
  class Witness {
   public:
    virtual void WouldRefuse(const Session& session, CloseCause cause) = 0;

   protected:
    ~Witness() = default;
  };

  Reception(Scheduler& scheduler, RelayTools& tools, Witness& witness)
      : scheduler_(scheduler), tools_(tools), witness_(witness) {}

  bool Receive(Session& session, const ListenerPlan& listener, Heard& heard);

 private:
  enum class More : uint8_t {
    kBytes,    // more than before are in hand
    kEnd,      // the client sends no more
    kFull,     // as many are in hand as may be
    kTimeout,  // the deadline has passed
    kFailed,   // the session has a cause
  };

  bool ReadProxyHeader(Session& session, const FrontPlan& front, Heard& heard);
  bool PeerIsLetIn(Session& session, const FrontPlan& front, Reject reject);
  bool HasSpoken(Session& session, const FrontPlan& front);
  bool ChooseRoute(Session& session, const ListenerPlan& listener, Heard& heard);
  More ReadMore(Session& session, size_t most, MonotonicTime deadline);
  More WaitForMore(Session& session, MonotonicTime deadline);
  // False, unless it is a dry run.
  bool Refuse(Session& session, CloseCause cause, Reject how, bool dry_run);

  Scheduler& scheduler_;
  RelayTools& tools_;
  Witness& witness_;
};

}  // namespace parkway

#endif  // PROXY_INBOUND_RECEPTION_H_
