#include "proxy/inbound/connector.h"

#include <errno.h>

#include <algorithm>
#include <utility>

#include "poller/check.h"
#include "poller/socket.h"
#include "proxy/inbound/front.h"
#include "proxy/inbound/listener_limits.h"

namespace parkway {

namespace {

// Before the third attempt and those after it.
constexpr int64_t kFirstBackoffNs = 50'000'000;
constexpr int64_t kLongestBackoffNs = 5'000'000'000;
constexpr int kMostDoublings = 16;

constexpr uint64_t kNsPerUs = 1'000;

}  // namespace

// A client's place in line. The session may end before its grant arrives.
class Connector::Place final : public Ticket {
 public:
  Place(Connector& connector, Session& session)
      : Ticket(connector.scheduler_), connector_(connector), session_(&session) {}

  void Abandon() { session_ = nullptr; }
  void Deliver(Scheduler&) override {
    if (session_ != nullptr) connector_.Granted(*session_, server());
  }

 private:
  Connector& connector_;
  Session* session_;
};

Connector::Connector(Scheduler& scheduler, Views& views, ConnectionLimit& limit,
                     Reception& reception, RelayTools& tools, WorkerStats& stats,
                     std::mt19937_64& random)
    : scheduler_(scheduler),
      views_(views),
      reception_(reception),
      stats_(stats),
      random_(random),
      attempts_(scheduler, views, limit, tools) {}

Connector::~Connector() = default;

SessionHost::Progress Connector::Connect(Session& session, Wake wake) {
  if (session.phase() == Session::Phase::kQueued) return StillQueued(session, wake);
  Heard heard;
  {
    const Views::Pin view(views_);
    const ListenerPlan& listener = view->listener(session.listener);
    const bool limited = listener.limits != nullptr && listener.limits->limits_sources();
    if ((listener.front != nullptr || limited) &&
        (!reception_.Receive(session, listener, heard) || WasReset(session))) {
      return SessionHost::Progress::kFailed;
    }
  }
  session.counted_upstream = true;
  stats_.upstreams.At(session.upstream).begun.Add(1);
  Tried tried;
  return TryServers(session, tried, heard, kNoServer);
}

// `granted`: a server that a connection is already held of.
SessionHost::Progress Connector::TryServers(Session& session, Tried& tried, Heard& heard,
                                            size_t granted) {
  // What is known of a server is read for each attempt, and holds until it has ended.
  Views::Pin view(views_);
  int error = 0;
  // Who was granted one has waited already, and holds it.
  while (granted != kNoServer ||
         session.attempts < std::max(RosterOf(session).plan().connect_attempts, 1)) {
    if (granted == kNoServer) {
      if (const int ended = Pause(session, session.attempts); ended != 0) {
        error = ended;
        break;
      }
      if (RosterOf(session).plan().gone && !Redirect(session)) break;
      const Roster& roster = RosterOf(session);
      const bool hashed = roster.plan().balance == Balance::kSourceHash;
      const uint64_t source = hashed ? HashOfSource(session.client_address()) : 0;
      const Balancer::Choice choice =
          roster.balancer().Choose(roster, {scheduler_.now(), random_, source, &tried});
      if (choice.kind == Balancer::Choice::Kind::kWait) return JoinQueue(session, tried, heard);
      if (choice.kind == Balancer::Choice::Kind::kNone) {
        // All that this worker knows of may have just been replaced.
        const uint64_t known = views_.now().number;
        views_.CatchUp();
        if (views_.now().number != known) continue;
        break;
      }
      granted = choice.server;
      // Within connect_timeout the kernel has asked a silent server several times already.
      if (error == ETIMEDOUT && tried.Contains(granted)) {
        roster.balancer().Release(roster, granted, scheduler_.now());
        break;
      }
    }
    const size_t chosen = std::exchange(granted, kNoServer);
    session.server_index = static_cast<uint16_t>(chosen);
    session.counted = true;
    ++session.attempts;
    ServerStats& counts = CountAttempt(session, tried.Contains(chosen));
    const MonotonicTime began = scheduler_.now();
    static_cast<void>(RosterWith(session, chosen));
    view.Renew();
    error = attempts_.Connect(session, view->roster(session.upstream).plan_of(chosen), heard);
    if (session.ended()) return SessionHost::Progress::kFailed;
    const MonotonicTime now = scheduler_.now();
    // As of now, not of before the wait.
    const Roster& roster = RosterOf(session);
    if (error == 0) {
      counts.connected.Add(1);
      counts.connect_time.Add(static_cast<uint64_t>(now.ns() - began.ns()) / kNsPerUs);
      Balancer::Connected(roster, chosen, now.ns() - began.ns(), now);
      return SessionHost::Progress::kConnected;
    }
    if (roster.balancer().Failed(roster, chosen, error, now)) counts.ejections.Add(1);
    counts.errors[ConnectErrorIndex(CauseOf(error))].Add(1);
    session.counted = false;
    roster.balancer().Release(roster, chosen, now);
    tried.Add(chosen);
    stats_.connect_failures.Add(1);
  }
  if (!session.ended()) {
    session.FailConnect(error == 0 ? CloseCause::kNoServer : CauseOf(error));
  }
  return SessionHost::Progress::kFailed;
}

ServerStats& Connector::CountAttempt(Session& session, bool again) {
  stats_.connect_attempts.Add(1);
  UpstreamStats& upstream = stats_.upstreams.At(session.upstream);
  if (session.attempts > 1) {
    upstream.retries.Add(1);
    if (!again) {
      session.redispatched = true;
      upstream.redispatches.Add(1);
    }
  }
  ServerStats& server = upstream.servers.At(session.server_index);
  server.attempts.Add(1);
  return server;
}

int Connector::Pause(Session& session, int attempt) {
  if (attempt < 2) return 0;
  if (!session.client().registered() && scheduler_.netpoll().Register(session.client()) != 0) {
    return ENOBUFS;
  }
  const int64_t whole =
      std::min(kFirstBackoffNs << std::min(attempt - 2, kMostDoublings), kLongestBackoffNs);
  // Between half of it and all: those who failed together must not come back together.
  const int64_t pause = whole / 2 + static_cast<int64_t>(random_() % (whole / 2));
  static_cast<void>(scheduler_.SleepUntil(scheduler_.now().PlusNs(pause)));
  return session.ended() ? ECANCELED : 0;
}

// ---------------------------------------------------------------------------------------------
// In line

SessionHost::Progress Connector::JoinQueue(Session& session, const Tried& tried, Heard& heard) {
  const Roster& roster = RosterOf(session);
  auto place = std::make_unique<Place>(*this, session);
  place->source = HashOfSource(session.client_address());
  place->tried = tried;
  Waiting& waiting = queued_[&session];
  waiting.place = place.get();
  waiting.tried = tried;
  waiting.heard = std::move(heard);
  waiting.since = scheduler_.now();
  if (roster.plan().queue_timeout > absl::ZeroDuration()) {
    waiting.deadline = scheduler_.now() + roster.plan().queue_timeout;
  }
  SessionExtras& extras = session.extras();
  extras.in_line_since = scheduler_.now();
  extras.queue_place = roster.balancer().waiting() + 1;
  // The grant comes as a message, so not before this activation is over.
  if (!roster.balancer().Enqueue(roster, std::move(place), scheduler_.now())) {
    queued_.erase(&session);
    session.FailConnect(CloseCause::kQueueFull);
    return SessionHost::Progress::kFailed;
  }
  stats_.queued.Add(1);
  stats_.upstreams.At(session.upstream).queued.Add(1);
  // Waiting in line takes the edges of what the client says meanwhile: a read must ask again.
  session.up().set_source_drained(false);
  ArmQueued(session, waiting);
  return SessionHost::Progress::kQueued;
}

SessionHost::Progress Connector::StillQueued(Session& session, Wake wake) {
  // Who ends it gives back its place, or what it was granted.
  if (WasReset(session)) return SessionHost::Progress::kFailed;
  const auto found = queued_.find(&session);
  PARKWAY_CHECK(found != queued_.end(), "a session is in line and has no place there");
  Waiting& waiting = found->second;
  const Roster& roster = RosterOf(session);
  const bool in_time = waiting.deadline == MonotonicTime() || scheduler_.now() < waiting.deadline;
  if (waiting.place != nullptr) {
    if (wake == Wake::kNotPollable) {
      LeaveQueue(session);
      session.FailConnect(CloseCause::kLocalResources);
      return SessionHost::Progress::kFailed;
    }
    if (!StillThere(session)) {
      LeaveQueue(session);
      return SessionHost::Progress::kFailed;
    }
    if (roster.plan().gone) {
      Tried tried = waiting.tried;
      Heard heard = std::move(waiting.heard);
      LeaveQueue(session);
      GoOn(session);
      return TryServers(session, tried, heard, kNoServer);
    }
    if (in_time) {
      roster.balancer().Serve(roster, scheduler_.now());
      ArmQueued(session, waiting);
      return SessionHost::Progress::kQueued;
    }
    if (roster.balancer().Leave(roster, *waiting.place, scheduler_.now())) {
      queued_.erase(found);
      session.FailConnect(CloseCause::kQueueTimeout);
      return SessionHost::Progress::kFailed;
    }
    // Its grant is under way: no reason to wait for that.
    waiting.place->Abandon();
    waiting.server = waiting.place->server();
  }
  Tried tried = waiting.tried;
  Heard heard = std::move(waiting.heard);
  const size_t server = waiting.server;
  stats_.upstreams.At(session.upstream)
      .queue_time.Add(static_cast<uint64_t>(scheduler_.now().ns() - waiting.since.ns()) / kNsPerUs);
  queued_.erase(found);
  GoOn(session);
  return TryServers(session, tried, heard, server);
}

void Connector::GoOn(Session& session) {
  SessionExtras& extras = session.extras();
  extras.queued_ns += scheduler_.now().ns() - extras.in_line_since.ns();
  extras.in_line_since = MonotonicTime();
  scheduler_.SetDeadline(session.client(), Directions::kRead, MonotonicTime());
}

bool Connector::StillThere(Session& session) {
  char byte;
  const IoResult got = TryPeek(session.client(), &byte, sizeof(byte));
  if (got.failed()) {
    session.FailClient(got.error);
    return false;
  }
  if (got.bytes == 0 && got.end && session.up().held() == 0) {
    session.FailConnect(CloseCause::kClientFin);
    return false;
  }
  return true;
}

// What it had said before can still be read, so a read does not tell.
bool Connector::WasReset(Session& session) {
  if ((session.client().edge_bits() & PollDesc::kError) == 0) return false;
  const int error = TakeSocketError(session.client());
  session.FailClient(error != 0 ? error : ECONNRESET);
  return true;
}

void Connector::Granted(Session& session, size_t server) {
  const auto found = queued_.find(&session);
  PARKWAY_CHECK(found != queued_.end(), "a grant for a session that is not in line");
  found->second.place = nullptr;
  found->second.server = server;
  // It waits for the client to say something: this is how it is woken.
  scheduler_.SetDeadline(session.client(), Directions::kRead, scheduler_.now());
}

void Connector::ArmQueued(Session& session, const Waiting& waiting) {
  const Roster& roster = RosterOf(session);
  MonotonicTime when = roster.balancer().NextReturn(roster, scheduler_.now());
  if (waiting.deadline != MonotonicTime()) when = std::min(when, waiting.deadline);
  if (when == MonotonicTime::InfiniteFuture()) when = MonotonicTime();
  scheduler_.SetDeadline(session.client(), Directions::kRead, when);
}

void Connector::LeaveQueue(Session& session) {
  const auto found = queued_.find(&session);
  if (found == queued_.end()) return;
  const Waiting waiting = found->second;
  queued_.erase(found);
  const Roster& roster = RosterOf(session);
  size_t server = waiting.server;
  if (waiting.place != nullptr) {
    if (roster.balancer().Leave(roster, *waiting.place, scheduler_.now())) return;
    waiting.place->Abandon();
    server = waiting.place->server();
  }
  const Roster& with = RosterWith(session, server);
  with.balancer().Release(with, server, scheduler_.now());
}

// Its upstream is gone: to where its listener sends others now. False: nowhere.
bool Connector::Redirect(Session& session) {
  const Generation& now = views_.now();
  const ListenerPlan& listener = now.listener(session.listener);
  const bool routed = listener.front != nullptr && !listener.front->routes.empty();
  // What was tried says which server it was by the upstream that it was of.
  if (session.attempts > 0 || listener.gone || routed || listener.upstream == kNoUpstream) {
    return false;
  }
  if (now.roster(listener.upstream).plan().gone) return false;
  stats_.upstreams.At(session.upstream).ended.Add(1);
  session.upstream = static_cast<uint16_t>(listener.upstream);
  stats_.upstreams.At(session.upstream).begun.Add(1);
  return true;
}

void Connector::OnNewView() {
  std::vector<Session*> lost;
  for (const auto& [session, waiting] : queued_) {
    if (waiting.place != nullptr && RosterOf(*session).plan().gone) lost.push_back(session);
  }
  // In an order that does not depend on where they lie.
  std::sort(lost.begin(), lost.end(),
            [](const Session* one, const Session* other) { return one->id() < other->id(); });
  for (Session* session : lost) {
    scheduler_.SetDeadline(session->client(), Directions::kRead, scheduler_.now());
  }
}

CloseCause Connector::CauseOf(int error) {
  switch (error) {
    case ECONNREFUSED:
    case ECONNRESET:
    case ENOENT:  // a unix socket that is not there
      return CloseCause::kConnectRefused;
    case ETIMEDOUT:
      return CloseCause::kConnectTimeout;
    case EADDRNOTAVAIL:
      return CloseCause::kLocalPortExhausted;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      return CloseCause::kLocalResources;
    default:
      return CloseCause::kConnectUnreachable;
  }
}

}  // namespace parkway
