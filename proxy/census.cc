#include "proxy/census.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "poller/kernel.h"

namespace parkway {

namespace {

// 0: the kernel does not know one, as for a unix socket.
uint32_t RoundTripUs(int fd) {
  tcp_info info = {};
  socklen_t length = sizeof(info);
  if (kernel::GetSockOpt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return 0;
  return info.tcpi_rtt;
}

SlowSample SampleOf(Session& session, MonotonicTime now) {
  SlowSample sample;
  sample.id = session.id();
  sample.client = session.client_address();
  sample.listener = session.listener;
  sample.upstream = session.upstream;
  sample.server = session.server_index;
  sample.age_ns = now.ns() - session.started().ns();
  sample.idle_ns = now.ns() - session.last_activity().ns();
  sample.bytes_up = session.bytes_up();
  sample.bytes_down = session.bytes_down();
  sample.waiting_bytes = session.up().held() + session.down().held();
  sample.rtt_client_us = RoundTripUs(session.client().fd());
  sample.has_server = session.phase() == Session::Phase::kRelaying;
  if (sample.has_server) sample.rtt_server_us = RoundTripUs(session.server()->fd());
  return sample;
}

}  // namespace

// One way through all sessions.
class Census::Round final : public Task {
 public:
  Round(Census& census, bool slowest) : census_(census), slowest_(slowest) {
    set_background(true);
    if (slowest_) stride_ = census_.sessions_.size() / kMostAsked + 1;
  }

  const char* name() const override { return "census"; }

  Next Run(Scheduler& scheduler, Wake) noexcept override {
    size_t visited = 0;
    size_t asked = 0;
    while (slab_ < census_.sessions_.slabs() && visited < kSlice && asked < kAskedPerSlice) {
      census_.sessions_.ForEachIn(slab_++, [&](Session& session) {
        ++visited;
        census_.host_.CountMoved(session);
        for (const Question& question : census_.answered_) {
          if (question.visit) question.visit(session);
        }
        if (!slowest_ || ++seen_ % stride_ != 0) return;
        ++asked;
        AddSlow(SampleOf(session, scheduler.now()), found_);
      });
    }
    if (slab_ < census_.sessions_.slabs()) return Next::Yield();
    census_.Finish();
    return Next::Done();
  }

  std::vector<SlowSample> TakeFound() { return std::move(found_); }

 private:
  Census& census_;
  const bool slowest_;
  size_t stride_ = 1;
  size_t seen_ = 0;
  size_t slab_ = 0;
  std::vector<SlowSample> found_;
};

Census::Census(Scheduler& scheduler, SessionPool& sessions, SessionHost& host)
    : scheduler_(scheduler), sessions_(sessions), host_(host) {}

Census::~Census() = default;

void Census::Ask(bool slowest, Done done, Visit visit) {
  waiting_.push_back({slowest, std::move(done), std::move(visit)});
  if (round_ == nullptr) Begin();
}

void Census::Begin() {
  answered_ = std::exchange(waiting_, {});
  const bool slowest = std::any_of(answered_.begin(), answered_.end(),
                                   [](const Question& question) { return question.slowest; });
  round_ = std::make_unique<Round>(*this, slowest);
  scheduler_.Spawn(*round_);
}

void Census::Finish() {
  const std::unique_ptr<Round> over = std::move(round_);
  const std::vector<SlowSample> found = over->TakeFound();
  for (const Question& question : std::exchange(answered_, {})) {
    question.done(question.slowest ? found : std::vector<SlowSample>());
  }
  if (!waiting_.empty()) Begin();
}

}  // namespace parkway
