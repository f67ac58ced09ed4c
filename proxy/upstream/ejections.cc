#include "proxy/upstream/ejections.h"

#include <errno.h>

#include <algorithm>

#include "poller/test_point.h"

namespace parkway {

namespace {

// What is our own trouble says nothing about the server.
bool IsOurOwn(int error) {
  switch (error) {
    case EADDRNOTAVAIL:
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case ECANCELED:
      return true;
    default:
      return false;
  }
}

bool OthersUp(const Roster& roster, size_t server) {
  for (const auto& level : roster.levels()) {
    for (const uint16_t other : level->servers) {
      if (other != server && roster.server(other).flags() == 0) return true;
    }
  }
  return false;
}

}  // namespace

bool Ejections::Failed(const Roster& roster, size_t server, int error, MonotonicTime now) {
  if (IsOurOwn(error)) return false;
  Server& failed = roster.server(server);
  const ServerPlan& plan = roster.plan_of(server);
  const uint32_t failures = failed.CountFailure();
  // Each so many, one of those who count them has the say.
  if (plan.passive_fails == 0 || failures % plan.passive_fails != 0) return false;
  if ((failed.flags() & (Server::kEjected | Server::kGone)) != 0 || plan.gone) return false;
  // A place among those who may be away at once.
  const size_t count = roster.present();
  const auto most =
      static_cast<uint32_t>(std::min(count * roster.plan().max_ejection_percent / 100, count - 1));
  uint32_t ejected = ejected_.load(std::memory_order_relaxed);
  do {
    if (ejected >= most) return false;
  } while (!ejected_.compare_exchange_weak(ejected, ejected + 1, std::memory_order_relaxed));
  // First until when: who sees the flag looks there.
  const int64_t before = failed.ejected_until();
  const int64_t time = failed.NextEjection(now, absl::ToInt64Nanoseconds(plan.ejection_time));
  failed.set_ejected_until(now.PlusNs(time).ns());
  failed.set_ejected_since(now);
  PARKWAY_TEST_POINT("Ejections::Failed:placed");
  if (!failed.Raise(Server::kEjected)) {
    ejected_.fetch_sub(1, std::memory_order_relaxed);  // another worker was first
    return false;
  }
  // Whoever dismisses it raises the one flag, and then lowers the other: one of us sees both.
  if ((failed.flags() & Server::kGone) != 0) {
    End(failed);
    return false;
  }
  // Asked afterwards, so that two who are the last but one see each other go.
  if (!OthersUp(roster, server)) {
    failed.TakeBackEjection(before);
    End(failed);
    return false;
  }
  failed.ForgetFailures();
  Tell({ServerChange::What::kEjected, upstream_, server, roster.plan(), failures, error,
        absl::Nanoseconds(time)});
  return true;
}

bool Ejections::ReturnIfOver(const Roster& roster, size_t server, MonotonicTime now) {
  Server& back = roster.server(server);
  if (now.ns() < back.ejected_until()) return false;
  if (!back.Lower(Server::kEjected)) return true;  // another worker was first
  ejected_.fetch_sub(1, std::memory_order_relaxed);
  back.ForgetFailures();
  if (roster.plan_of(server).slow_start > absl::ZeroDuration()) back.set_back_since(now);
  Tell({ServerChange::What::kReturned, upstream_, server, roster.plan(), 0, 0,
        absl::Nanoseconds(now.ns() - back.ejected_since())});
  return true;
}

MonotonicTime Ejections::NextReturn(const Roster& roster, MonotonicTime now) const {
  if (ejected_.load(std::memory_order_relaxed) == 0) return MonotonicTime::InfiniteFuture();
  int64_t first = MonotonicTime::InfiniteFuture().ns();
  for (size_t i = 0; i < roster.size(); ++i) {
    const Server& server = roster.server(i);
    if ((server.flags() & (Server::kEjected | Server::kGone)) != Server::kEjected) continue;
    if (server.ejected_until() > now.ns()) first = std::min(first, server.ejected_until());
  }
  return MonotonicTime(first);
}

}  // namespace parkway
