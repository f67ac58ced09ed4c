#include "proxy/worker.h"

#include <algorithm>

#include "poller/kernel.h"
#include "poller/socket.h"
#include "poller/stack_overflow.h"
#include "proxy/core/post_call.h"
#include "proxy/worker_counts.h"

namespace parkway {

namespace {

// Empty pipes that a worker keeps for the next bulk direction.
constexpr uint32_t kIdlePipes = 8;

class AdoptMessage : public Message {
 public:
  AdoptMessage(Worker& worker, size_t listener, int fd, const Address& peer, bool counted)
      : worker_(worker), listener_(listener), fd_(fd), counted_(counted), peer_(peer) {}
  ~AdoptMessage() override {
    // Undelivered: the worker has ended.
    if (fd_ >= 0) kernel::Close(fd_);
  }

  void Deliver(Scheduler&) override {
    const int fd = fd_;
    fd_ = -1;
    worker_.Adopt(listener_, fd, peer_, counted_);
  }

 private:
  Worker& worker_;
  const size_t listener_;
  int fd_;
  const bool counted_;
  const Address peer_;
};

constexpr uint64_t kNsPerUs = 1'000;

}  // namespace

Worker::Worker(const Options& options, WorkerShared& shared)
    : options_(options),
      shared_(shared),
      scheduler_({.max_stacks = options.max_stacks,
                  .worker = options.index,
                  .context = static_cast<SessionHost*>(this)},
                 this),
      chunks_(options.chunk_cap_bytes),
      pipes_({.limit = options.max_pipes, .keep_idle = std::min(options.max_pipes, kIdlePipes)}),
      buffer_(new char[RelayTools::kBufferBytes]),
      views_(shared.latest, *this),
      random_(options.seed),
      reception_(scheduler_, tools, *this),
      drains_(scheduler_, sessions_, views_, options.seed),
      progress_(scheduler_, sessions_, [this](Session& session) { log_.GoesOn(session); }),
      connector_(scheduler_, views_, shared.limit, reception_, tools, stats_, random_),
      log_(options.index, scheduler_, views_, stats_, {shared.spread, shared.stats}),
      health_(*this, scheduler_, views_, stats_, options.index, shared.worker_count, options.seed),
      census_(scheduler_, sessions_, *this),
      walks_(scheduler_, sessions_, options.index),
      slots_(census_, views_, drains_, acceptors_, stats_, last_session_) {
  shared.stats[options.index] = &stats_;
  SessionHost::scheduler = &scheduler_;
  TakeWishes();
  tools.buffer = buffer_.get();
  tools.chunks = &chunks_;
  if (options.max_pipes > 0) tools.pipes = &pipes_;
}

void Worker::Run() {
  StackOverflowReporter reporter(scheduler_.stacks());
  scheduler_.Run();
}

int Worker::AddListener(size_t listener, int fd, bool inherited) {
  const ListenerPlan& plan = views_.now().listener(listener);
  acceptors_.push_back(std::make_unique<Acceptor>(listener, fd, plan.address.is_unix(), inherited,
                                                  shared_.limit, plan.limits.get(), stats_, *this));
  acceptors_.back()->set_most(views_.now().plan->max_accepts);
  const int error = acceptors_.back()->Start(scheduler_);
  if (error != 0) {
    acceptors_.pop_back();
    return error;
  }
  open_acceptors_.fetch_add(1, std::memory_order_release);
  return 0;
}

// ---------------------------------------------------------------------------------------------
// A connection's way

void Worker::OnAccepted(size_t listener, int fd, const Address& peer, bool counted) {
  stats_.listeners.At(listener).accepted.Add(1);
  const size_t chosen = views_.now().plan->accept_balance
                            ? shared_.spread.Choose(options_.index, random_)
                            : shared_.spread.Keep(options_.index);
  if (chosen == options_.index) {
    Adopt(listener, fd, peer, counted);
    return;
  }
  stats_.handed_over.Add(1);
  Worker& other = *shared_.workers[chosen];
  other.scheduler_.Post(std::make_unique<AdoptMessage>(other, listener, fd, peer, counted));
}

void Worker::Adopt(size_t listener, int fd, const Address& peer, bool counted) {
  // A slot that is new, or had been somebody else's who is gone, is known in the latest plan, which
  // the worker that has accepted this one may have heard of before us.
  const auto& known = views_.now().plan->listeners;
  if (listener >= known.size() || known[listener]->gone) views_.CatchUp();
  const ListenerPlan& plan = views_.now().listener(listener);
  // Accepted before there was a limit, and here after.
  if (!counted && plan.limits != nullptr && plan.limits->counting()) {
    plan.limits->connections.AcquireBeyond();
    counted = true;
  }
  PollDesc* client = scheduler_.netpoll().Allocate(fd, nullptr);
  if (client == nullptr) return OutOfMemory(listener, fd, peer, counted);
  if (peer.is_unix()) client->add_edge_bits(PollDesc::kUnix);
  const uint64_t id = static_cast<uint64_t>(options_.index) << 48 | ++last_session_;
  const uint16_t times = SessionHost::times.Hold(plan.times);
  Session* session = sessions_.New(id, *client, PackedAddress(peer), times, scheduler_.now());
  if (session == nullptr) {
    SessionHost::times.Release(times);
    scheduler_.Evict(*client);
    scheduler_.Close(*client);
    return OutOfMemory(listener, fd, peer, counted);
  }
  session->listener = static_cast<uint16_t>(listener);
  session->upstream = static_cast<uint16_t>(plan.upstream);
  session->counted_listener = counted;
  if (plan.splice != SpliceUse::kBulk) {
    for (Relay* relay : {&session->up(), &session->down()}) {
      relay->set_splice(plan.splice == SpliceUse::kAlways);
    }
  }
  CountBegin(*session, stats_);
  log_.Opened(*session);
  session->Start(scheduler_);
}

// For a connection that was already accepted.
void Worker::OutOfMemory(size_t listener, int fd, const Address& peer, bool counted) {
  Refuse(listener, fd, peer, CloseCause::kLocalResources);
  ReleaseSlot(listener, counted);
}

// Beyond the limit of its listener: no slot is held for it.
void Worker::OnRefused(size_t listener, int fd, const Address& peer) {
  stats_.listeners.At(listener).accepted.Add(1);
  Refuse(listener, fd, peer, CloseCause::kLimitListener);
}

// A connection for which no session was made.
void Worker::Refuse(size_t listener, int fd, const Address& peer, CloseCause cause) {
  const Reject how =
      cause == CloseCause::kLimitListener ? views_.now().listener(listener).reject : Reject::kRst;
  if (how == Reject::kRst) ResetOnClose(fd);
  if (how == Reject::kDrop) VanishOnClose(fd);
  kernel::Close(fd);
  CountRefused(listener, cause, stats_);
  log_.Refused(listener, peer, cause);
}

void Worker::ReleaseSlot(size_t listener, bool counted) {
  shared_.spread.Ended(options_.index);
  bool awaited = counted && views_.now().listener(listener).limits->connections.Release();
  awaited = shared_.limit.Release() || awaited;
  if (awaited) WakeWaitingListeners();
}

SessionHost::Progress Worker::Connect(Session& session, Wake wake) {
  const Progress progress = connector_.Connect(session, wake);
  if (progress == Progress::kConnected) log_.Connected(session);
  return progress;
}

void Worker::LeaveQueue(Session& session) { connector_.LeaveQueue(session); }

void Worker::CountMoved(Session& session) { CountBytes(session, stats_); }

Keepalive Worker::ServerKeepalive(const Session& session) const {
  return views_.now().roster(session.upstream).plan_of(session.server_index).sockets.keepalive;
}

void Worker::Sweep() {
  sessions_.ForEach([this](Session& session) { CountMoved(session); });
}

void Worker::Finished(Session& session, const SessionEnd& end) {
  log_.Ended(session, end);
  CountEnd(session, end, scheduler_.now(), stats_);
  if (session.counted) {
    const Roster& roster = views_.now().roster(session.upstream);
    roster.balancer().Release(roster, session.server_index, scheduler_.now());
  }
  const size_t listener = session.listener;
  const bool counted = session.counted_listener;
  if (session.counted_source) {
    views_.now().listener(listener).limits->sources.Release(session.client_address());
  }
  sessions_.Free(session);
  ReleaseSlot(listener, counted);
}

// What is to be looked at when a session ends.
void Worker::TakeWishes() {
  const LogPlan& log = log_.plan();
  SessionHost::wishes.tcp = log.on();
  SessionHost::wishes.tcp_of_some = options_.tcp_of_some;
  SessionHost::wishes.addresses = log.on() && log.format == LogFormat::kJson;
}

void Worker::OnHangup(PollDesc& desc) {
  // Listeners belong to nobody.
  if (desc.user() != nullptr) static_cast<Session*>(desc.user())->OnHangup(desc);
}

void Worker::OnTimer(TimerWheel::Node& node) { Session::OfTimer(node).OnTimer(); }

// ---------------------------------------------------------------------------------------------
// Limits, stopping, numbers

void Worker::WakeWaitingListeners() {
  // The listener that waits may be any worker's; those that do not wait do nothing.
  for (Worker* worker : shared_.workers) {
    if (worker == this) {
      SlotFreed();
    } else {
      PostCall(worker->scheduler_, [worker] { worker->SlotFreed(); });
    }
  }
}

void Worker::SlotFreed() {
  for (const auto& acceptor : acceptors_) acceptor->SlotFreed(scheduler_);
}

void Worker::PostStopAccepting() {
  PostCall(scheduler_, [this] { StopAccepting(); });
}

void Worker::PostGeneration() {
  PostCall(scheduler_, [this] { views_.CatchUp(); });
}

void Worker::OnNewView(const Generation& before) {
  const Generation& now = views_.now();
  TakeWishes();
  SetLimits(before);
  shared_.limit.Set(now.plan->max_connections);
  for (const auto& acceptor : acceptors_) acceptor->set_most(now.plan->max_accepts);
  health_.Begin();
  progress_.Follow(log_.plan().progress);
  connector_.OnNewView();
  for (size_t i = 0; i < now.rosters.size(); ++i) {
    if (i < before.rosters.size() && before.rosters[i] == now.rosters[i]) continue;
    // Who waits may be served by those that were added.
    Balancer& balancer = now.roster(i).balancer();
    if (balancer.waiting() > 0) balancer.Serve(now.roster(i), scheduler_.now());
  }
  // Who waits for a slot looks at the new limits.
  SlotFreed();
}

void Worker::SetLimits(const Generation& before) {
  const Plan& now = *views_.now().plan;
  for (size_t i = 0; i < now.listeners.size(); ++i) {
    const ListenerPlan* old = i < before.plan->listeners.size() ? &before.listener(i) : nullptr;
    const ListenerPlan& listener = *now.listeners[i];
    if (old == &listener || listener.limits == nullptr) continue;
    listener.limits->Set(listener.numbers);
    if (old != nullptr && !(old->numbers == listener.numbers)) CountAnew(i);
    for (const auto& acceptor : acceptors_) {
      if (acceptor->listener() == i) acceptor->Retarget(scheduler_, i, listener.limits.get());
    }
  }
}

// Connections that were there before their listener had limits stand against them, too.
void Worker::CountAnew(size_t listener) {
  ListenerLimits& limits = *views_.now().listener(listener).limits;
  sessions_.ForEach([&](Session& session) {
    if (session.listener != listener) return;
    if (!session.counted_listener && limits.counting()) {
      limits.connections.AcquireBeyond();
      session.counted_listener = true;
    }
    if (!session.counted_source && limits.sources.limits_connections() &&
        session.phase() == Session::Phase::kRelaying) {
      limits.sources.AcquireBeyond(session.client_address());
      session.counted_source = true;
    }
  });
}

void Worker::PostAddListener(size_t listener, int fd, bool inherited,
                             std::function<void(int error)> refused) {
  PostCall(scheduler_, [this, listener, fd, inherited, refused = std::move(refused)] {
    views_.CatchUp();
    if (const int error = AddListener(listener, fd, inherited); error != 0) refused(error);
  });
}

void Worker::PostRemoveListener(size_t listener, std::shared_ptr<const void> while_open) {
  PostCall(scheduler_, [this, listener, while_open = std::move(while_open)]() mutable {
    RemoveListener(listener, std::move(while_open));
  });
}

void Worker::PostRetarget(std::vector<std::pair<size_t, size_t>> moves) {
  PostCall(scheduler_, [this, moves = std::move(moves)] { Retarget(moves); });
}

void Worker::PostHold(size_t listener, bool hold) {
  PostCall(scheduler_, [this, listener, hold] { Hold(listener, hold); });
}

void Worker::PostAbortAll(CloseCause cause) {
  PostCall(scheduler_, [this, cause] { AbortAll(cause); });
}

void Worker::PostDrain(const DrainOrder& order) {
  PostCall(scheduler_, [this, order] {
    // Who says so may have gone over to a later generation before us.
    views_.CatchUp();
    drains_.Begin(order);
  });
}

void Worker::DrainEverywhere(const DrainOrder& order) {
  if (shared_.drain != nullptr) return shared_.drain(order);
  for (Worker* worker : shared_.workers) worker->PostDrain(order);
}

void Worker::PostStopChecks() {
  PostCall(scheduler_, [this] {
    health_.Stop();
    drains_.Stop();
    progress_.Stop();
  });
}

void Worker::StopAccepting() {
  for (const auto& acceptor : acceptors_) acceptor->Stop(scheduler_);
}

void Worker::RemoveListener(size_t listener, std::shared_ptr<const void> while_open) {
  for (const auto& acceptor : acceptors_) {
    if (acceptor->listener() == listener) acceptor->Stop(scheduler_, while_open);
  }
}

void Worker::Retarget(const std::vector<std::pair<size_t, size_t>>& moves) {
  views_.CatchUp();
  for (const auto& acceptor : acceptors_) {
    for (const auto& [from, to] : moves) {
      if (acceptor->listener() != from) continue;
      acceptor->Retarget(scheduler_, to, views_.now().listener(to).limits.get());
      break;
    }
  }
}

void Worker::Hold(size_t listener, bool hold) {
  stats_.listeners.At(listener).held.Set(hold);
  for (const auto& acceptor : acceptors_) {
    if (acceptor->listener() != listener) continue;
    if (hold) {
      acceptor->Hold(scheduler_);
    } else {
      acceptor->Unhold(scheduler_);
    }
  }
}

void Worker::AbortAll(CloseCause cause) {
  // One that moves bytes ends like one that is idle: with a FIN where nothing is lost.
  sessions_.ForEach([cause](Session& session) {
    session.Abort(cause, session.phase() != Session::Phase::kRelaying);
  });
}

void Worker::OnAcceptorClosed(Acceptor& closed) {
  std::erase_if(acceptors_, [&closed](const auto& other) { return other.get() == &closed; });
  open_acceptors_.fetch_sub(1, std::memory_order_release);
}

void Worker::OnAcceptTrouble(size_t listener, int error) { log_.AcceptTrouble(listener, error); }

void Worker::PostRefreshGauges() {
  PostCall(scheduler_, [this] { RefreshGauges(); });
}

void Worker::PostToWalks(std::function<void(ConnWalks&)> call) {
  PostCall(scheduler_, [this, call = std::move(call)] { call(walks_); });
}

void Worker::PostToSlots(std::function<void(SlotUse&)> call) {
  PostCall(scheduler_, [this, call = std::move(call)] { call(slots_); });
}

void Worker::PostCensus(MonotonicTime posted, bool slowest, Census::Done done) {
  PostCall(scheduler_, [this, posted, slowest, done = std::move(done)]() mutable {
    const int64_t lag_ns = std::max<int64_t>(scheduler_.now().ns() - posted.ns(), 0);
    stats_.loop_lag.Add(static_cast<uint64_t>(lag_ns) / kNsPerUs);
    RefreshGauges();
    census_.Ask(slowest, std::move(done));
  });
}

void Worker::RefreshGauges() {
  stats_.descriptors.Set(scheduler_.netpoll().cache().in_use());
  stats_.stacks.Set(scheduler_.parked());
  stats_.stacks_peak.Set(scheduler_.parked_high_water());
  stats_.buffers.Set(chunks_.in_use());
  stats_.buffer_bytes.Set(chunks_.in_use_bytes());
  stats_.pipes.Set(pipes_.in_use());
  stats_.splice_bytes.Set(pipes_.moved_bytes());
  stats_.timers.Set(scheduler_.wheel().count());
}

}  // namespace parkway
