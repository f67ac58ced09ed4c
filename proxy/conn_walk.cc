#include "proxy/conn_walk.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "poller/kernel.h"

namespace parkway {

namespace {

// Somebody asks for more or ends it; this only keeps the task alive meanwhile.
constexpr int64_t kSleepNs = 3'600'000'000'000;

ConnRow::State StateOf(Session::Phase phase) {
  switch (phase) {
    case Session::Phase::kConnecting:
      return ConnRow::State::kConnecting;
    case Session::Phase::kQueued:
      return ConnRow::State::kQueued;
    case Session::Phase::kRelaying:
      return ConnRow::State::kOpen;
    case Session::Phase::kResetting:
    case Session::Phase::kLingering:
    case Session::Phase::kEnding:
      break;
  }
  return ConnRow::State::kClosing;
}

bool Holds(const std::optional<std::vector<uint16_t>>& slots, uint16_t slot) {
  return !slots.has_value() || std::find(slots->begin(), slots->end(), slot) != slots->end();
}

// A server is chosen, though it may not be connected yet.
bool HasServer(Session& session) { return session.server() != nullptr; }

bool Fits(const ConnOrder& order, Session& session, MonotonicTime now) {
  if (order.id.has_value() && *order.id != session.id()) return false;
  if (!Holds(order.listeners, session.listener) || !Holds(order.upstreams, session.upstream)) {
    return false;
  }
  if (order.servers.has_value() &&
      (!HasServer(session) || !Holds(order.servers, session.server_index))) {
    return false;
  }
  if (order.state.has_value() && *order.state != StateOf(session.phase())) return false;
  if (now.ns() - session.last_activity().ns() < order.idle_ns) return false;
  if (now.ns() - session.started().ns() < order.age_ns) return false;
  if (session.bytes_up() + session.bytes_down() < order.bytes) return false;
  return !order.source.has_value() ||
         order.source->Find(session.client_address().ToAddress()) == AccessList::kAllow;
}

Address NameOf(int fd, int (*ask)(int, sockaddr*, socklen_t*)) {
  sockaddr_storage storage = {};
  socklen_t length = sizeof(storage);
  auto* generic = reinterpret_cast<sockaddr*>(&storage);
  return ask(fd, generic, &length) == 0 ? Address::FromSockaddr(generic, length) : Address();
}

ConnSide SideOf(PollDesc* desc, bool addresses) {
  ConnSide side;
  if (desc == nullptr) return side;
  side.open = true;
  if (addresses) {
    side.local = NameOf(desc->fd(), &kernel::GetSockName);
    side.peer = NameOf(desc->fd(), &kernel::GetPeerName);
  }
  tcp_info info = {};
  socklen_t length = sizeof(info);
  // A unix socket has none.
  if (kernel::GetSockOpt(desc->fd(), IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return side;
  side.tcp = true;
  side.rtt_us = info.tcpi_rtt;
  side.min_rtt_us = info.tcpi_min_rtt;
  side.rttvar_us = info.tcpi_rttvar;
  side.mss_bytes = info.tcpi_snd_mss;
  side.cwnd_bytes = info.tcpi_snd_cwnd * info.tcpi_snd_mss;
  side.window_bytes = info.tcpi_snd_wnd;
  side.unacked_bytes = info.tcpi_unacked * info.tcpi_snd_mss;
  side.unsent_bytes = info.tcpi_notsent_bytes;
  side.lost = info.tcpi_lost;
  side.retransmits = info.tcpi_total_retrans;
  side.delivery_rate = info.tcpi_delivery_rate;
  side.rwnd_limited_us = info.tcpi_rwnd_limited;
  side.sndbuf_limited_us = info.tcpi_sndbuf_limited;
  side.last_sent_ms = info.tcpi_last_data_sent;
  side.last_received_ms = info.tcpi_last_data_recv;
  return side;
}

ConnRow RowOf(Session& session, uint32_t worker, MonotonicTime now, bool addresses) {
  ConnRow row;
  row.id = session.id();
  row.worker = worker;
  row.state = StateOf(session.phase());
  row.listener_slot = session.listener;
  row.upstream_slot = session.upstream;
  row.server_slot = session.server_index;
  row.has_server = HasServer(session);
  row.client = session.client_address();
  row.attempts = session.attempts;
  row.age_ns = now.ns() - session.started().ns();
  row.idle_ns = now.ns() - session.last_activity().ns();
  row.connected_after_us = session.connected_after_us();
  row.first_byte_after_us = session.first_byte_after_us();
  row.bytes_up = session.bytes_up();
  row.bytes_down = session.bytes_down();
  row.held_up = session.up().held();
  row.held_down = session.down().held();
  row.ended_up = session.up().source_ended();
  row.ended_down = session.down().source_ended();
  row.bulk_up = session.up().bulk();
  row.bulk_down = session.down().bulk();
  row.client_side = SideOf(&session.client(), addresses);
  row.server_side = SideOf(session.server(), addresses);
  return row;
}

}  // namespace

class ConnWalks::Walk final : public Task {
 public:
  Walk(ConnWalks& walks, uint64_t number, std::shared_ptr<const ConnOrder> order, OnFound on_found)
      : walks_(walks), number_(number), order_(std::move(order)), on_found_(std::move(on_found)) {
    set_background(true);
  }
  ~Walk() {
    // The worker has ended; otherwise it never sleeps here.
    if (timer_.linked()) walks_.scheduler_.wheel().Cancel(timer_);
  }

  uint64_t number() const { return number_; }
  const char* name() const override { return "conn walk"; }

  Next Run(Scheduler& scheduler, Wake) noexcept override {
    if (!ended_ && !waits_) Step(scheduler);
    if (ended_ || over_) {
      walks_.Over(*this);
      return Next::Done();
    }
    if (waits_) return Next::SleepUntil(timer_, scheduler.now().PlusNs(kSleepNs));
    return Next::Yield();
  }

  void GoOn() {
    waits_ = false;
    walks_.scheduler_.Kick(*this);
  }
  void End() {
    ended_ = true;
    walks_.scheduler_.Kick(*this);
  }

 private:
  void Step(Scheduler& scheduler) {
    SessionPool& sessions = walks_.sessions_;
    size_t visited = 0;
    while (slab_ < sessions.slabs() && visited < kSlice && found_.rows.size() < kBatch) {
      sessions.ForEachIn(slab_++, [&](Session& session) {
        ++visited;
        if (!Fits(*order_, session, scheduler.now())) return;
        if (!order_->kill) {
          found_.rows.push_back(RowOf(session, walks_.worker_, scheduler.now(), order_->addresses));
        } else if (session.phase() != Session::Phase::kEnding) {
          ++found_.killed;
          session.Abort(CloseCause::kAdminKill, true);
        }
      });
    }
    over_ = slab_ >= sessions.slabs();
    if (!over_ && found_.rows.size() < kBatch) return;
    found_.last = over_;
    waits_ = !over_;
    on_found_(std::exchange(found_, {}));
  }

  ConnWalks& walks_;
  const uint64_t number_;
  const std::shared_ptr<const ConnOrder> order_;
  const OnFound on_found_;
  size_t slab_ = 0;
  Found found_;
  bool waits_ = false;  // for somebody to want more
  bool ended_ = false;
  bool over_ = false;
  SleepTimer timer_;
};

ConnWalks::ConnWalks(Scheduler& scheduler, SessionPool& sessions, uint32_t worker)
    : scheduler_(scheduler), sessions_(sessions), worker_(worker) {}

ConnWalks::~ConnWalks() = default;

void ConnWalks::Begin(uint64_t number, std::shared_ptr<const ConnOrder> order, OnFound on_found) {
  walks_.push_back(std::make_unique<Walk>(*this, number, std::move(order), std::move(on_found)));
  scheduler_.Spawn(*walks_.back());
}

ConnWalks::Walk* ConnWalks::Find(uint64_t number) {
  for (const auto& walk : walks_) {
    if (walk->number() == number) return walk.get();
  }
  return nullptr;
}

void ConnWalks::GoOn(uint64_t number) {
  if (Walk* walk = Find(number); walk != nullptr) walk->GoOn();
}

void ConnWalks::End(uint64_t number) {
  if (Walk* walk = Find(number); walk != nullptr) walk->End();
}

void ConnWalks::Over(Walk& walk) {
  walks_.remove_if([&walk](const auto& one) { return one.get() == &walk; });
}

}  // namespace parkway
