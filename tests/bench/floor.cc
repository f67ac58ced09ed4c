// The least that an epoll loop can do and still be a TCP proxy: what the others are measured by.
//
//   floor --listen=127.0.0.1:7000 --upstream=127.0.0.1:8000 [--threads=1] [--splice]
//
// Both addresses may be unix:PATH. No timeouts, no limits, no log, no second upstream, no
// half-close timer, no report of why a connection ended. It has what nobody can leave out: edge-
// triggered events, a short read taken as drained, back-pressure, half-close, and a bound on what
// one direction moves in a turn. With --splice a direction whose read fills the buffer goes on
// through a pipe until it is drained.
//
// One thread is one loop with its own SO_REUSEPORT listener; nothing is shared.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr size_t kBuffer = 64 * 1024;
constexpr size_t kSplice = 512 * 1024;
constexpr int kPipeBytes = 1 << 20;
constexpr size_t kTurn = 512 * 1024;  // what one direction moves before others have their turn
constexpr int kEvents = 256;

[[noreturn]] void Fail(const char* what) {
  perror(what);
  exit(1);
}

struct Place {
  sockaddr_storage address{};
  socklen_t length = 0;
  bool tcp = true;
};

Place Parse(const std::string& text) {
  Place place;
  if (text.rfind("unix:", 0) == 0) {
    auto* address = reinterpret_cast<sockaddr_un*>(&place.address);
    address->sun_family = AF_UNIX;
    strncpy(address->sun_path, text.c_str() + 5, sizeof(address->sun_path) - 1);
    place.length = sizeof(*address);
    place.tcp = false;
    return place;
  }
  auto* address = reinterpret_cast<sockaddr_in*>(&place.address);
  address->sin_family = AF_INET;
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos ||
      inet_pton(AF_INET, text.substr(0, colon).c_str(), &address->sin_addr) != 1) {
    errno = EINVAL;
    Fail(text.c_str());
  }
  address->sin_port = htons(static_cast<uint16_t>(atoi(text.c_str() + colon + 1)));
  place.length = sizeof(*address);
  return place;
}

struct Options {
  Place listen;
  Place upstream;
  int threads = 1;
  bool splice = false;
};

// One direction: from side i to the other.
struct Flow {
  char* rest = nullptr;  // read and not yet sent; owned
  uint32_t rest_at = 0;
  uint32_t rest_end = 0;
  int pipe[2] = {-1, -1};  // open while splicing
  uint32_t in_pipe = 0;
  bool readable = false;
  bool writable = false;  // of the other side
  bool queued = false;
  bool ended = false;  // the FIN was read and passed on
};

struct Pair {
  int fd[2] = {-1, -1};  // client, server
  bool connected = false;
  bool hangup[2] = {false, false};  // RDHUP seen: a short read says nothing
  Flow flow[2];
};

class Loop {
 public:
  explicit Loop(const Options& options) : options_(options), buffer_(kBuffer) {
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    listener_ =
        socket(options.listen.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (epoll_ < 0 || listener_ < 0) Fail("socket");
    const int one = 1;
    if (options.listen.tcp) {
      setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
      setsockopt(listener_, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
      // Accepted sockets inherit it.
      setsockopt(listener_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    if (bind(listener_, reinterpret_cast<const sockaddr*>(&options.listen.address),
             options.listen.length) != 0 ||
        listen(listener_, 4096) != 0) {
      Fail("bind");
    }
    epoll_event event{};
    event.events = EPOLLIN;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &event) != 0) Fail("epoll_ctl");
  }

  [[noreturn]] void Run() {
    static thread_local epoll_event events[kEvents];
    for (;;) {
      const int count = epoll_wait(epoll_, events, kEvents, queue_.empty() ? -1 : 0);
      for (int i = 0; i < count; ++i) {
        if (events[i].data.u64 == 0) {
          Accept();
        } else {
          OnEvent(events[i]);
        }
      }
      // Those that did not finish within their turn.
      std::vector<uintptr_t> queue;
      queue.swap(queue_);
      for (const uintptr_t word : queue) {
        Pair* pair = reinterpret_cast<Pair*>(word & ~uintptr_t{1});
        if (pair->fd[0] < 0) continue;
        pair->flow[word & 1].queued = false;
        Move(*pair, static_cast<int>(word & 1));
      }
      for (Pair* pair : dead_) delete pair;
      dead_.clear();
    }
  }

 private:
  void Accept() {
    const int client = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0) return;
    const int server =
        socket(options_.upstream.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (server < 0) {
      close(client);
      return;
    }
    if (options_.upstream.tcp) {
      const int one = 1;
      setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    if (connect(server, reinterpret_cast<const sockaddr*>(&options_.upstream.address),
                options_.upstream.length) != 0 &&
        errno != EINPROGRESS) {
      close(client);
      close(server);
      return;
    }
    Pair* pair = new Pair;
    pair->fd[0] = client;
    pair->fd[1] = server;
    for (int side = 0; side < 2; ++side) {
      epoll_event event{};
      event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
      event.data.u64 = reinterpret_cast<uintptr_t>(pair) | static_cast<uintptr_t>(side);
      if (epoll_ctl(epoll_, EPOLL_CTL_ADD, pair->fd[side], &event) != 0) Fail("epoll_ctl");
    }
  }

  void OnEvent(const epoll_event& event) {
    Pair* pair = reinterpret_cast<Pair*>(event.data.u64 & ~uintptr_t{1});
    const int side = static_cast<int>(event.data.u64 & 1);
    if (pair->fd[0] < 0) return;  // ended earlier in this batch
    if (event.events & EPOLLERR) return End(*pair);
    if (event.events & (EPOLLRDHUP | EPOLLHUP)) pair->hangup[side] = true;
    if (event.events & (EPOLLIN | EPOLLRDHUP)) pair->flow[side].readable = true;
    if (event.events & EPOLLOUT) {
      pair->flow[1 - side].writable = true;
      if (side == 1) pair->connected = true;
    }
    if (!pair->connected) return;
    if (!Move(*pair, side)) return;
    if (pair->flow[1 - side].readable || pair->flow[1 - side].rest_end != 0 ||
        pair->flow[1 - side].in_pipe != 0) {
      Move(*pair, 1 - side);
    }
  }

  // False: the pair has ended.
  bool Move(Pair& pair, int side) {
    Flow& flow = pair.flow[side];
    if (flow.queued || flow.ended) return true;
    size_t moved = 0;
    while (flow.writable) {
      if (moved >= kTurn) {
        flow.queued = true;
        queue_.push_back(reinterpret_cast<uintptr_t>(&pair) | static_cast<uintptr_t>(side));
        return true;
      }
      if (flow.rest_end != 0) {
        if (!SendRest(pair, side)) return false;
        continue;
      }
      if (flow.in_pipe != 0) {
        const ssize_t n = splice(flow.pipe[0], nullptr, pair.fd[1 - side], nullptr, flow.in_pipe,
                                 SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        if (n > 0) {
          flow.in_pipe -= static_cast<uint32_t>(n);
        } else if (n < 0 && errno == EAGAIN) {
          flow.writable = false;
        } else {
          return End(pair), false;
        }
        continue;
      }
      if (!flow.readable) break;
      if (flow.pipe[0] >= 0) {
        const ssize_t n = splice(pair.fd[side], nullptr, flow.pipe[1], nullptr, kSplice,
                                 SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        if (n > 0) {
          flow.in_pipe = static_cast<uint32_t>(n);
          moved += static_cast<size_t>(n);
          continue;
        }
        GivePipe(flow);
        if (n < 0 && errno == EAGAIN) {
          flow.readable = false;
          break;
        }
        continue;  // the end, or an error: recv says which
      }
      const ssize_t n = recv(pair.fd[side], buffer_.data(), kBuffer, 0);
      if (n < 0) {
        if (errno != EAGAIN) return End(pair), false;
        flow.readable = false;
        break;
      }
      if (n == 0) {
        flow.ended = true;
        if (pair.flow[1 - side].ended) return End(pair), false;
        shutdown(pair.fd[1 - side], SHUT_WR);
        return true;
      }
      moved += static_cast<size_t>(n);
      if (static_cast<size_t>(n) < kBuffer && !pair.hangup[side]) flow.readable = false;
      if (options_.splice && static_cast<size_t>(n) == kBuffer) TakePipe(flow);
      ssize_t sent = send(pair.fd[1 - side], buffer_.data(), static_cast<size_t>(n), MSG_NOSIGNAL);
      if (sent < 0) {
        if (errno != EAGAIN) return End(pair), false;
        sent = 0;
      }
      if (sent < n) {
        flow.writable = false;
        const size_t rest = static_cast<size_t>(n - sent);
        flow.rest = static_cast<char*>(malloc(rest));
        memcpy(flow.rest, buffer_.data() + sent, rest);
        flow.rest_at = 0;
        flow.rest_end = static_cast<uint32_t>(rest);
      }
    }
    if (flow.pipe[0] >= 0 && flow.in_pipe == 0 && !flow.readable) GivePipe(flow);
    return true;
  }

  bool SendRest(Pair& pair, int side) {
    Flow& flow = pair.flow[side];
    const ssize_t sent = send(pair.fd[1 - side], flow.rest + flow.rest_at,
                              flow.rest_end - flow.rest_at, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno != EAGAIN) return End(pair), false;
      flow.writable = false;
      return true;
    }
    flow.rest_at += static_cast<uint32_t>(sent);
    if (flow.rest_at == flow.rest_end) {
      free(flow.rest);
      flow.rest = nullptr;
      flow.rest_end = 0;
    }
    return true;
  }

  void TakePipe(Flow& flow) {
    if (pipes_.empty()) {
      if (pipe2(flow.pipe, O_NONBLOCK | O_CLOEXEC) != 0) {
        flow.pipe[0] = flow.pipe[1] = -1;
        return;
      }
      fcntl(flow.pipe[1], F_SETPIPE_SZ, kPipeBytes);
      return;
    }
    flow.pipe[0] = pipes_.back().first;
    flow.pipe[1] = pipes_.back().second;
    pipes_.pop_back();
  }

  void GivePipe(Flow& flow) {
    if (flow.pipe[0] < 0) return;
    if (flow.in_pipe == 0) {
      pipes_.emplace_back(flow.pipe[0], flow.pipe[1]);
    } else {
      close(flow.pipe[0]);
      close(flow.pipe[1]);
    }
    flow.pipe[0] = flow.pipe[1] = -1;
  }

  void End(Pair& pair) {
    for (int side = 0; side < 2; ++side) {
      free(pair.flow[side].rest);
      GivePipe(pair.flow[side]);
      close(pair.fd[side]);
      pair.fd[side] = -1;
    }
    // Until the end of the batch others may look at it; no queue that outlives that names it.
    if (pair.flow[0].queued || pair.flow[1].queued) {
      std::erase_if(queue_, [&pair](uintptr_t word) {
        return (word & ~uintptr_t{1}) == reinterpret_cast<uintptr_t>(&pair);
      });
    }
    dead_.push_back(&pair);
  }

  const Options& options_;
  std::vector<char> buffer_;
  int epoll_ = -1;
  int listener_ = -1;
  std::vector<uintptr_t> queue_;  // pair | side
  std::vector<std::pair<int, int>> pipes_;
  std::vector<Pair*> dead_;
};

}  // namespace

int main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const std::string value = flag.substr(flag.find('=') + 1);
    if (flag.rfind("--listen=", 0) == 0) {
      options.listen = Parse(value);
    } else if (flag.rfind("--upstream=", 0) == 0) {
      options.upstream = Parse(value);
    } else if (flag.rfind("--threads=", 0) == 0) {
      options.threads = atoi(value.c_str());
    } else if (flag == "--splice") {
      options.splice = true;
    } else {
      fprintf(stderr, "floor: what is %s?\n", argv[i]);
      return 64;
    }
  }
  if (options.listen.length == 0 || options.upstream.length == 0) {
    fprintf(stderr, "usage: floor --listen=ADDR --upstream=ADDR [--threads=N] [--splice]\n");
    return 64;
  }
  signal(SIGPIPE, SIG_IGN);
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  std::vector<Loop*> loops;
  for (int i = 0; i < options.threads; ++i) loops.push_back(new Loop(options));
  for (int i = 1; i < options.threads; ++i) std::thread([&loops, i] { loops[i]->Run(); }).detach();
  loops[0]->Run();
}
