#include "proxy/upstream/probe.h"

#include <errno.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>

#include "poller/dial_race.h"
#include "poller/dialer.h"
#include "poller/kernel.h"
#include "poller/socket.h"

namespace parkway {

namespace {

using std::string_view_literals::operator""sv;

// Bytes of an answer that a log line shows.
constexpr size_t kShownBytes = 24;

class Prober {
 public:
  Prober(Scheduler& scheduler, const ProbePlan& plan, PollDesc** current,
         const std::function<bool()>& ended)
      : scheduler_(scheduler),
        plan_(plan),
        current_(*current),
        said_to_end_(ended),
        deadline_(scheduler.now() + plan.timeout) {}

  ProbeResult Run() {
    const MonotonicTime started = scheduler_.now();
    Connect();
    if (result_.word == HealthWord::kUnknown && desc_ != nullptr) Talk();
    result_.took_ns = scheduler_.now().ns() - started.ns();
    if (desc_ != nullptr) Close();
    current_ = nullptr;
    return std::move(result_);
  }

 private:
  void Fail(HealthWord word, int error) {
    // Ended from outside, which is nobody's failure.
    if (error == ECANCELED) return;
    result_.word = word;
    result_.error = error;
  }

  static bool OursAlone(int error) {
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM ||
           error == EADDRNOTAVAIL;
  }

  Dial Start(const Address& to) {
    const bool from = plan_.source.family() == to.family();
    return DialStart(scheduler_, to, nullptr, &plan_.sockets, from ? &plan_.source : nullptr);
  }

  int DialOne() {
    const Dial dial = Start(plan_.address);
    desc_ = dial.desc;
    current_ = desc_;
    if (desc_ == nullptr || !dial.in_progress) return dial.error;
    return DialFinish(scheduler_, *desc_, deadline_);
  }

  int DialAny() {
    const RaceResult won = RaceDials(
        scheduler_, plan_.candidates,
        {.delay_ns = absl::ToInt64Nanoseconds(plan_.happy_eyeballs_delay), .deadline = deadline_},
        [this](const Address& to) { return Start(to); },
        [this] { return said_to_end_ != nullptr && said_to_end_(); });
    desc_ = won.desc;
    current_ = desc_;
    return won.error;
  }

  void Connect() {
    int error = plan_.candidates.empty() ? DialOne() : DialAny();
    if (error == 0 && !plan_.address.is_unix() && plan_.address.is_loopback() &&
        ConnectedToItself(*desc_, plan_.address)) {
      error = ECONNREFUSED;
    }
    if (error == 0) {
      established_ = true;
      return;
    }
    ended_ = true;
    if (OursAlone(error)) {
      Fail(HealthWord::kSockErr, error);
    } else if (error == ETIMEDOUT) {
      Fail(HealthWord::kL4Tout, 0);
    } else {
      Fail(HealthWord::kL4Con, error);
    }
  }

  void Talk() {
    if (!established_) return;
    scheduler_.SetDeadline(*desc_, Directions::kBoth, deadline_);
    std::string said(ProbeHeader(plan_.proxy));
    said += plan_.send;
    const bool layer7 = plan_.kind == HealthKind::kSendExpect;
    int error = Send(said);
    // Who wants to hear nothing may still have answered: its answer tells more than our error.
    if (!layer7) {
      if (error == 0) {
        result_.word = HealthWord::kL4Ok;
      } else {
        Fail(error == ETIMEDOUT ? HealthWord::kL4Tout : HealthWord::kL4Con, error);
      }
      return;
    }
    if (error == ECANCELED) return;
    if (error == ETIMEDOUT) return Fail(HealthWord::kL7Tout, 0);
    Listen();
  }

  int Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const IoResult sent = TryWrite(*desc_, bytes.data(), bytes.size());
      if (sent.failed()) return sent.error;
      bytes.remove_prefix(sent.bytes);
      if (!bytes.empty()) {
        const int error = WaitFor(Direction::kWrite);
        if (error != 0) return error;
      }
    }
    return 0;
  }

  void Listen() {
    std::string received;
    char bytes[2048];
    for (;;) {
      const IoResult got = TryRead(*desc_, bytes, sizeof(bytes));
      received.append(bytes, got.bytes);
      ended_ = got.end || got.failed();
      const bool full = received.size() >= kProbeMostBytes;
      switch (MatchAnswer(plan_, received, ended_ || full)) {
        case Match::kYes:
          result_.word = HealthWord::kL7Ok;
          return;
        case Match::kNo:
          Fail(HealthWord::kL7Rsp, got.failed() ? got.error : 0);
          result_.answer = received.substr(0, kShownBytes);
          return;
        case Match::kMore:
          break;
      }
      if (!got.would_block() && !got.drained) continue;
      const int error = WaitFor(Direction::kRead);
      if (error == 0) continue;
      Fail(HealthWord::kL7Tout, error == ETIMEDOUT ? 0 : error);
      result_.answer = received.substr(0, kShownBytes);
      return;
    }
  }

  int WaitFor(Direction direction) {
    switch (scheduler_.Wait(*desc_, direction)) {
      case WaitResult::kReady:
        return 0;
      case WaitResult::kClosing:
        return ECANCELED;
      case WaitResult::kTimeout:
        return ETIMEDOUT;
      case WaitResult::kNotPollable:
        break;
    }
    return ENOBUFS;
  }

  void Close() {
    if (plan_.reset) {
      ResetOnClose(desc_->fd());
    } else if (established_ && !ended_ && result_.word != HealthWord::kUnknown) {
      Linger();
    }
    DialClose(scheduler_, *desc_);
    desc_ = nullptr;
  }

  // FIN, and then whatever it still has to say, until it ends too.
  void Linger() {
    if (kernel::Shutdown(desc_->fd(), SHUT_WR) != 0) return;
    scheduler_.SetDeadline(*desc_, Directions::kBoth, scheduler_.now().PlusNs(kProbeLingerNs));
    char bytes[2048];
    for (size_t total = 0; total < 4 * kProbeMostBytes;) {
      const IoResult got = TryRead(*desc_, bytes, sizeof(bytes));
      if (got.end || got.failed()) return;
      total += got.bytes;
      if ((got.would_block() || got.drained) && WaitFor(Direction::kRead) != 0) return;
    }
  }

  Scheduler& scheduler_;
  const ProbePlan& plan_;
  PollDesc*& current_;
  const std::function<bool()>& said_to_end_;
  const MonotonicTime deadline_;
  PollDesc* desc_ = nullptr;
  bool established_ = false;
  bool ended_ = false;  // the server has closed, or the connection has failed
  ProbeResult result_;
};

}  // namespace

std::string_view ProbeHeader(ProbeProxyHeader header) {
  switch (header) {
    case ProbeProxyHeader::kNone:
      break;
    case ProbeProxyHeader::kV1:
      // Version 1 has no LOCAL; this is what it says instead.
      return "PROXY UNKNOWN\r\n"sv;
    case ProbeProxyHeader::kV2:
      return "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"sv;
  }
  return {};
}

Match MatchAnswer(const ProbePlan& plan, std::string_view received, bool ended) {
  const Match so_far = ended ? Match::kNo : Match::kMore;
  if (plan.expect.empty()) return received.empty() ? so_far : Match::kYes;
  if (plan.expect_anywhere) {
    return received.find(plan.expect) != std::string_view::npos ? Match::kYes : so_far;
  }
  const size_t common = std::min(received.size(), plan.expect.size());
  if (received.substr(0, common) != std::string_view(plan.expect).substr(0, common)) {
    return Match::kNo;
  }
  return common == plan.expect.size() ? Match::kYes : so_far;
}

ProbeResult RunProbe(Scheduler& scheduler, const ProbePlan& plan, PollDesc** current,
                     const std::function<bool()>& ended) {
  return Prober(scheduler, plan, current, ended).Run();
}

}  // namespace parkway
