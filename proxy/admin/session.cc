#include "proxy/admin/session.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include "config/text.h"
#include "poller/kernel.h"
#include "proxy/admin/command_table.h"

namespace parkway::admin {

namespace {

constexpr int64_t kSecondNs = 1'000'000'000;
// How often who waits looks whether its client is still there.
constexpr int64_t kLookNs = 500'000'000;

// What may stand before a command: how to answer.
constexpr std::string_view kJson = "--json";
constexpr std::string_view kFramed = "--framed";

std::string PeerOf(int fd) {
  ucred peer = {};
  socklen_t length = sizeof(peer);
  if (kernel::GetSockOpt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return "nobody known";
  return config::Cat("pid=", peer.pid, " uid=", peer.uid, " gid=", peer.gid);
}

}  // namespace

Session::Session(Scheduler& scheduler, int fd, const Times& times, const Execute& execute,
                 std::function<void(Session&)> left)
    : scheduler_(scheduler),
      socket_(Socket::Adopt(scheduler, fd)),
      times_(times),
      execute_(execute),
      left_(std::move(left)),
      belfry_(std::make_shared<Belfry>(Belfry{&scheduler, this})),
      since_(scheduler.now()) {
  if (ok()) who_ = PeerOf(fd);
}

Session::~Session() { belfry_->task = nullptr; }

void Session::End() {
  if (ending_) return;
  ending_ = true;
  scheduler_.Evict(socket_.desc());
  scheduler_.Kick(*this);
}

Next Session::Run(Scheduler&, Wake) noexcept {
  Talk();
  socket_.Close();
  left_(*this);
  return Next::Done();
}

void Session::Talk() {
  std::string line;
  while (!ending_ && ReadLine(&line)) {
    Pace();
    if (ending_ || !RunLine(line)) return;
  }
}

// The next line, without its end. False: there is none.
bool Session::ReadLine(std::string* line) {
  idle_ = true;
  since_ = scheduler_.now();
  socket_.SetDeadline(Directions::kRead, since_ + (in_.empty() ? times_.idle : times_.line));
  for (;;) {
    const size_t newline = in_.find('\n');
    if (newline != std::string::npos || (end_ && !in_.empty())) {
      *line = in_.substr(0, newline);
      in_.erase(0, newline == std::string::npos ? newline : newline + 1);
      idle_ = false;
      return true;
    }
    if (end_) return false;
    if (in_.size() > kMostLineBytes) {
      Reply reply(framed_ ? Reply::Form::kFramed : Reply::Form::kPlain, false, *this);
      reply.Fail(Status::kUsage,
                 config::Cat("a line is at most ", kMostLineBytes, " bytes; this one is longer"));
      reply.Finish();
      return false;
    }
    char piece[1024];
    const IoResult got = socket_.Read(piece, sizeof(piece));
    if (got.bytes > 0) {
      if (in_.empty()) {
        socket_.SetDeadline(Directions::kRead, scheduler_.now() + times_.line);
      }
      in_.append(piece, got.bytes);
    }
    if (got.end) {
      end_ = true;
    } else if (got.failed() || got.bytes == 0) {
      return false;
    }
  }
}

// So many commands a second, and the rest of it for the others.
void Session::Pace() {
  if (scheduler_.now() >= second_.PlusNs(kSecondNs)) {
    second_ = scheduler_.now();
    commands_ = 0;
  }
  if (++commands_ > kMostPerSecond) {
    scheduler_.SleepUntil(second_.PlusNs(kSecondNs));
  } else {
    scheduler_.Yield();
  }
}

bool Session::RunLine(std::string_view line) {
  const std::vector<std::string_view> words = SplitWords(line);
  const std::string_view first = words.empty() ? std::string_view() : words.front();
  if (first == "prompt") {
    prompt_ = !prompt_;
  } else if (first == "quit") {
    return false;
  } else if (framed_ || first == kFramed) {
    if (!RunCommand(line)) return false;
  } else {
    for (const std::string_view command : config::Split(line, ';')) {
      if (!RunCommand(command)) return false;
    }
  }
  if (prompt_ && !framed_ && !Send("> ")) return false;
  return prompt_ || framed_;
}

bool Session::RunCommand(std::string_view text) {
  std::vector<std::string_view> words = SplitWords(text);
  if (words.empty()) return true;
  bool json = false;
  size_t options = 0;
  for (; options < words.size(); ++options) {
    if (words[options] == kJson) {
      json = true;
    } else if (words[options] == kFramed) {
      framed_ = true;
    } else {
      break;
    }
  }
  words.erase(words.begin(), words.begin() + static_cast<ptrdiff_t>(options));
  Reply::Sink& sink = *this;
  reply_ =
      std::make_unique<Reply>(framed_ ? Reply::Form::kFramed : Reply::Form::kPlain, json, sink);
  execute_(words, *this);
  return reply_->Finish() && !ending_;
}

bool Session::Send(std::string_view bytes) {
  if (ending_) return false;
  socket_.SetDeadline(Directions::kWrite, scheduler_.now() + times_.write);
  const bool taken = socket_.WriteAll(bytes.data(), bytes.size()).error == 0;
  // A long answer to a fast reader would keep the thread.
  scheduler_.Yield();
  return taken;
}

// A client that has only ended its own direction still reads.
bool Session::ClientGone() {
  pollfd look = {socket_.desc().fd(), 0, 0};
  return poll(&look, 1, 0) > 0 && (look.revents & (POLLHUP | POLLERR)) != 0;
}

Conversation::Waited Session::WaitUntil(const std::function<bool()>& ready,
                                        MonotonicTime deadline) {
  for (;;) {
    if (ready()) return Waited::kYes;
    if (ending_ || reply_->lost() || ClientGone()) return Waited::kGone;
    if (scheduler_.now() >= deadline) return Waited::kLate;
    scheduler_.SleepUntil(std::min(deadline, scheduler_.now().PlusNs(kLookNs)));
  }
}

std::function<void()> Session::bell() {
  return [belfry = belfry_] {
    if (belfry->task != nullptr) belfry->scheduler->Kick(*belfry->task);
  };
}

}  // namespace parkway::admin
