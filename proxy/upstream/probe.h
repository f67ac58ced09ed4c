// Probe: one health check: connect, perhaps say something and look at the answer, close.
//
// Runs on the stack of a task and takes at most the plan's timeout, plus kLingerNs for a close
// that the server does not see as a reset: a close while bytes are unread sends RST, which servers
// write into their logs, so the rest of a greeting is read before it.
//
// Owner thread only.
#ifndef PROXY_UPSTREAM_PROBE_H_
#define PROXY_UPSTREAM_PROBE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "poller/poll_desc.h"
#include "poller/scheduler.h"
#include "proxy/core/health_plan.h"

namespace parkway {

struct ProbeResult {
  HealthWord word = HealthWord::kUnknown;
  int error = 0;        // positive errno, where there was one
  std::string answer;   // L7RSP: how it began
  int64_t took_ns = 0;  // not the close

  bool ok() const { return word == HealthWord::kL4Ok || word == HealthWord::kL7Ok; }
  // Says something about the server.
  bool tells() const { return word != HealthWord::kUnknown && word != HealthWord::kSockErr; }
};

inline constexpr int64_t kProbeLingerNs = 500'000'000;
// An answer that is longer and has not fitted yet never will.
inline constexpr size_t kProbeMostBytes = 16 * 1024;

// What the probe says first: the PROXY header.
std::string_view ProbeHeader(ProbeProxyHeader header);

enum class Match : uint8_t { kYes, kNo, kMore };
// Whether what was received so far fits. `ended`: no more will come.
Match MatchAnswer(const ProbePlan& plan, std::string_view received, bool ended);

// `*current` is the probe's descriptor while it waits: evicting it ends the probe (UNK). While that
// is null its task sleeps, and a kick ends it if `ended` says so then (may be null: never).
ProbeResult RunProbe(Scheduler& scheduler, const ProbePlan& plan, PollDesc** current,
                     const std::function<bool()>& ended = nullptr);

}  // namespace parkway

#endif  // PROXY_UPSTREAM_PROBE_H_
