// HealthPlan: how one server is checked, and what follows from the outcome, in the terms of
// sockets.
//
// Immutable values: any thread.
#ifndef PROXY_CORE_HEALTH_PLAN_H_
#define PROXY_CORE_HEALTH_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "poller/address.h"
#include "poller/socket_options.h"

namespace parkway {

enum class HealthKind : uint8_t {
  kOff,
  kTcp,         // a connect that succeeds
  kSendExpect,  // and then an answer that fits
};

// What a check says before anything else, so that a server that wants a PROXY header from us does
// not take it for a broken client: LOCAL, "this connection is my own".
enum class ProbeProxyHeader : uint8_t { kNone, kV1, kV2 };

// What becomes of the open connections of a server.
struct SessionsRule {
  enum class Kind : uint8_t { kKeep, kDrain, kClose };

  Kind kind = Kind::kKeep;
  absl::Duration after;  // kDrain: those that are left then are closed

  bool operator==(const SessionsRule&) const = default;
};

// One exchange. Two servers with the same one share it.
struct ProbePlan {
  HealthKind kind = HealthKind::kOff;
  Address address;
  // Several, which are raced as for a client; empty: `address` alone.
  std::vector<Address> candidates = {};
  absl::Duration happy_eyeballs_delay = absl::Milliseconds(250);
  std::string send;              // bytes
  std::string expect;            // bytes; empty: any answer
  bool expect_anywhere = false;  // else at the beginning
  ProbeProxyHeader proxy = ProbeProxyHeader::kNone;
  bool reset = false;  // close with RST, not with FIN
  absl::Duration timeout = absl::Seconds(2);
  SocketOptions sockets = {};  // those by which packets are routed
  Address source = {};         // to connect from; without a family: as the kernel chooses

  bool operator==(const ProbePlan&) const = default;
};

// How a check ended, in HAProxy's words.
enum class HealthWord : uint8_t {
  kUnknown,  // UNK: none was made yet
  kSockErr,  // SOCKERR: there was no socket for it; says nothing about the server
  kL4Ok,
  kL4Tout,
  kL4Con,  // refused, unreachable
  kL7Ok,
  kL7Tout,
  kL7Rsp,  // an answer that does not fit, or none
};

constexpr const char* HealthWordName(HealthWord word) {
  switch (word) {
    case HealthWord::kUnknown:
      break;
    case HealthWord::kSockErr:
      return "SOCKERR";
    case HealthWord::kL4Ok:
      return "L4OK";
    case HealthWord::kL4Tout:
      return "L4TOUT";
    case HealthWord::kL4Con:
      return "L4CON";
    case HealthWord::kL7Ok:
      return "L7OK";
    case HealthWord::kL7Tout:
      return "L7TOUT";
    case HealthWord::kL7Rsp:
      return "L7RSP";
  }
  return "UNK";
}

struct HealthPlan {
  ProbePlan probe;
  absl::Duration interval = absl::Seconds(5);
  absl::Duration fast_interval = absl::Seconds(1);  // while its state is changing
  uint32_t rise = 2;                                // successes that bring it up
  uint32_t fall = 3;                                // failures that bring it down
  bool initially_up = true;                         // before the first check
  // A connection to the same place is as good as a check: none is made for `interval` after one.
  bool traffic_counts = false;
  SessionsRule on_down;
  SessionsRule on_up;  // for those on servers of a lower rank (a higher `priority`)

  bool operator==(const HealthPlan&) const = default;
  bool on() const { return probe.kind != HealthKind::kOff; }
};

}  // namespace parkway

#endif  // PROXY_CORE_HEALTH_PLAN_H_
