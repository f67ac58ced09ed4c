// Load on a TCP proxy, and the server behind it. Checks every byte, in both directions.
//
//   loadgen serve --listen=127.0.0.1:8000
//   loadgen run --to=127.0.0.1:7000 --pingpong=16 --size=64 --down=8 --seconds=2 --pids=4711
//   loadgen run --to=127.0.0.1:7000 --serve=127.0.0.1:8000 ...       both in one process
//
// `run` prints one line of JSON. What can be asked for, together or alone:
//   --pingpong=N   N connections, each sends --size bytes and waits for as many, again and again,
//                  after --think_us microseconds on average
//   --short=N      as above with a new connection each time, N at once; the server closes first
//   --up=N --down=N --both=N   N streams without end towards the server, from it, or both
//   --idle=N       N connections that exchange one message, then wait: prints READY, and goes on
//                  when a line comes on stdin, exchanges another message on each, and ends
//   --storm=N      with the processes of --pids stopped, N connections are made and a request sent
//                  on each; then they may go on: how long until all are answered?
// and how long
//   --warmup=S --seconds=S     what happens within these seconds counts
//   --requests=N --bytes=N     instead: everything counts, until so many are through
//   --pids=A,B,..              CPU time of these processes within the same seconds
//
// The server also answers HTTP GET (for wrk): a connection that begins with 'G' is HTTP.
//
// The bytes are those of a table of 65,521 (a prime, so that a lost, doubled or swapped buffer of
// any usual size shows) from a start of the connection's own. At the end the client asks the
// server how much it has sent and received on each stream, until both have what the other sent.
//
// One thread. Exit code 1: something was not right.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace {

// --- Bytes ---------------------------------------------------------------------------

constexpr size_t kPeriod = 65521;
constexpr size_t kChunk = 128 * 1024;  // also a portion of bulk

std::vector<char> MakeTable() {
  std::vector<char> table(kPeriod + kChunk);
  uint64_t x = 88172645463325252u;
  for (size_t i = 0; i < kPeriod; ++i) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    table[i] = static_cast<char>(x >> 32);
  }
  for (size_t i = kPeriod; i < table.size(); ++i) table[i] = table[i - kPeriod];
  return table;
}

const char* BytesAt(uint64_t offset) {
  static const std::vector<char> table = MakeTable();
  return table.data() + offset % kPeriod;
}

char* Buffer() {
  static std::vector<char> buffer(kChunk);
  return buffer.data();
}

// --- Small things --------------------------------------------------------------------

[[noreturn]] void Fail(const std::string& what) {
  fprintf(stderr, "loadgen: %s: %s\n", what.c_str(), strerror(errno));
  exit(1);
}

int64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

// CPU time of whole processes, ended threads included, in nanoseconds.
int64_t CpuNs(const std::vector<pid_t>& pids) {
  int64_t sum = 0;
  for (const pid_t pid : pids) {
    clockid_t clock;
    timespec time;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) {
      Fail("no CPU clock of process " + std::to_string(pid));
    }
    sum += time.tv_sec * 1'000'000'000LL + time.tv_nsec;
  }
  return sum;
}

struct Place {
  sockaddr_storage address{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
  int family() const { return address.ss_family; }
};

Place Parse(const std::string& text) {
  Place place;
  if (text.rfind("unix:", 0) == 0) {
    auto* address = reinterpret_cast<sockaddr_un*>(&place.address);
    address->sun_family = AF_UNIX;
    strncpy(address->sun_path, text.c_str() + 5, sizeof(address->sun_path) - 1);
    place.length = sizeof(*address);
    return place;
  }
  auto* address = reinterpret_cast<sockaddr_in*>(&place.address);
  address->sin_family = AF_INET;
  const size_t colon = text.rfind(':');
  errno = EINVAL;
  if (colon == std::string::npos ||
      inet_pton(AF_INET, text.substr(0, colon).c_str(), &address->sin_addr) != 1) {
    Fail(text);
  }
  address->sin_port = htons(static_cast<uint16_t>(atoi(text.c_str() + colon + 1)));
  place.length = sizeof(*address);
  return place;
}

// Latencies in buckets of at most 1.6 % of their value, from 1 ns to 68 s.
class Histogram {
 public:
  void Add(int64_t ns) {
    ++count_;
    max_ = std::max(max_, ns);
    ++buckets_[Bucket(static_cast<uint64_t>(std::max<int64_t>(ns, 1)))];
  }
  uint64_t count() const { return count_; }
  double MaxUs() const { return static_cast<double>(max_) / 1e3; }
  double QuantileUs(double q) const {
    uint64_t left = static_cast<uint64_t>(static_cast<double>(count_) * q);
    for (size_t i = 0; i < buckets_.size(); ++i) {
      if (buckets_[i] > left) return Middle(i) / 1e3;
      left -= buckets_[i];
    }
    return MaxUs();
  }
  // [us, count] of every bucket that is not empty.
  void Print(FILE* out) const {
    const char* separator = "";
    for (size_t i = 0; i < buckets_.size(); ++i) {
      if (buckets_[i] == 0) continue;
      fprintf(out, "%s[%.2f,%" PRIu64 "]", separator, Middle(i) / 1e3, buckets_[i]);
      separator = ",";
    }
  }

 private:
  static constexpr int kBits = 6;  // 64 buckets for each doubling
  static size_t Bucket(uint64_t value) {
    if (value < (1u << kBits)) return value;
    const int shift = std::bit_width(value) - 1 - kBits;
    const size_t bucket = (static_cast<size_t>(shift + 1) << kBits) +
                          static_cast<size_t>((value >> shift) & ((1u << kBits) - 1));
    return std::min(bucket, kBuckets - 1);
  }
  static double Middle(size_t bucket) {
    if (bucket < (1u << kBits)) return static_cast<double>(bucket);
    const int shift = static_cast<int>(bucket >> kBits) - 1;
    const uint64_t low = ((uint64_t{1} << kBits) | (bucket & ((1u << kBits) - 1))) << shift;
    return static_cast<double>(low) + static_cast<double>(uint64_t{1} << shift) / 2;
  }
  static constexpr size_t kBuckets = 32u << kBits;

  std::array<uint64_t, kBuckets> buckets_{};
  uint64_t count_ = 0;
  int64_t max_ = 0;
};

// --- What client and server say to each other ----------------------------------------

enum class Mode : uint8_t {
  kEcho = 'E',   // a message of `size` for each message of `size`
  kShort = 'S',  // one such exchange, then the server closes
  kUp = 'U',     // bytes to the server, without end
  kDown = 'D',   // bytes from the server, until kStop
  kBoth = 'B',
  kQuery = 'Q',  // how far is stream `id`? Answer follows
  kStop = 'X',   // the same, and the server sends no more on it
};

struct Hello {
  Mode mode;
  uint8_t unused[3] = {};
  uint32_t size = 0;
  uint64_t id = 0;     // chosen by the client, unique at this server
  uint64_t start = 0;  // where in the table the client's bytes begin; the server's begin 7 later
};
static_assert(sizeof(Hello) == 24);
constexpr uint64_t kServersStart = 7;

struct Answer {
  uint64_t known = 0;  // 0: no such stream, or not yet
  uint64_t received = 0;
  uint64_t sent = 0;
  uint64_t wrong = 0;  // connections on which the server saw wrong bytes, ever
};

// --- The loop ------------------------------------------------------------------------

// Something that the loop watches, edge-triggered.
class Endpoint {
 public:
  virtual ~Endpoint() = default;
  // Moves what it can; if bulk(), one portion. False: the whole run is spoilt, and it was said why.
  virtual bool Go() = 0;
  virtual bool bulk() const { return false; }
  // Whether another Go would move more, without another event.
  virtual bool WantsMore() const { return false; }

  int fd = -1;
  bool readable = false;
  bool writable = false;
  bool hangup = false;  // a short read says nothing any more

 private:
  friend class Loop;
  bool queued_ = false;
};

// Light connections are served at once, bulk ones one portion between two polls: what a ping-pong
// waits for is then the proxy, not its own load generator.
class Loop {
 public:
  Loop() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {}
  ~Loop() {
    for (Endpoint* endpoint : all_) delete endpoint;
  }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // The loop owns it until Remove.
  void Add(std::unique_ptr<Endpoint> endpoint, uint32_t events) {
    epoll_event event{};
    event.events = events | EPOLLET;
    event.data.ptr = endpoint.get();
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, endpoint->fd, &event) != 0) Fail("epoll_ctl");
    all_.insert(endpoint.release());
  }

  // Closes it; it is deleted when the turn is over.
  void Remove(Endpoint& endpoint) {
    close(endpoint.fd);
    endpoint.fd = -1;
    dead_.push_back(&endpoint);
  }

  bool Turn(int timeout_ms) {
    static epoll_event events[256];
    const int count = epoll_wait(epoll_, events, 256, bulk_.empty() ? timeout_ms : 0);
    for (int i = 0; i < count; ++i) {
      auto& endpoint = *static_cast<Endpoint*>(events[i].data.ptr);
      const uint32_t mask = events[i].events;
      if (mask & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) endpoint.hangup = true;
      if (mask & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) endpoint.readable = true;
      if (mask & EPOLLOUT) endpoint.writable = true;
      // A stream goes its first step here too: it says hello, or hears it.
      if (!endpoint.queued_ && endpoint.fd >= 0 && !endpoint.Go()) return false;
      Queue(endpoint);
    }
    if (!bulk_.empty()) {
      Endpoint& endpoint = *bulk_.front();
      bulk_.pop_front();
      endpoint.queued_ = false;
      if (endpoint.fd >= 0 && !endpoint.Go()) return false;
      Queue(endpoint);
    }
    for (Endpoint* endpoint : dead_) {
      if (endpoint->queued_) std::erase(bulk_, endpoint);
      all_.erase(endpoint);
      delete endpoint;
    }
    dead_.clear();
    return true;
  }

 private:
  void Queue(Endpoint& endpoint) {
    if (endpoint.fd < 0 || endpoint.queued_ || !endpoint.bulk() || !endpoint.WantsMore()) return;
    endpoint.queued_ = true;
    bulk_.push_back(&endpoint);
  }

  const int epoll_;
  std::deque<Endpoint*> bulk_;
  std::unordered_set<Endpoint*> all_;
  std::vector<Endpoint*> dead_;
};

// A connection, at either end: bytes of the table out, bytes of the table in.
class Conn : public Endpoint {
 public:
  static constexpr uint64_t kEndless = UINT64_MAX;

  bool bulk() const override {
    return mode == Mode::kUp || mode == Mode::kDown || mode == Mode::kBoth;
  }
  bool WantsMore() const override { return readable || (writable && to_send > 0); }

  // One portion. False: the connection is broken.
  bool Send() {
    if (!writable || to_send == 0) return true;
    const size_t want = static_cast<size_t>(std::min<uint64_t>(to_send, kChunk));
    const ssize_t n = send(fd, BytesAt(out_start + sent), want, MSG_NOSIGNAL);
    if (n < 0) {
      writable = false;
      return errno == EAGAIN;
    }
    sent += static_cast<uint64_t>(n);
    if (to_send != kEndless) to_send -= static_cast<uint64_t>(n);
    if (static_cast<size_t>(n) < want) writable = false;
    return true;
  }

  // One portion into Buffer(): its size; 0 the end, -1 nothing there, -2 broken.
  ssize_t Receive() {
    const ssize_t n = recv(fd, Buffer(), kChunk, 0);
    if (n < 0) {
      readable = false;
      return errno == EAGAIN ? -1 : -2;
    }
    if (n > 0 && static_cast<size_t>(n) < kChunk && !hangup) readable = false;
    return n;
  }

  bool Check(const char* data, size_t size_in) {
    if (memcmp(data, BytesAt(in_start + received), size_in) != 0) return false;
    received += size_in;
    return true;
  }

  Mode mode = Mode::kEcho;
  uint32_t size = 0;
  uint64_t id = 0;
  uint64_t out_start = 0;
  uint64_t in_start = 0;
  uint64_t to_send = 0;  // still to go; kEndless
  uint64_t sent = 0;     // bytes of the table
  uint64_t received = 0;
};

int MakeListener(const Place& place) {
  const int fd = socket(place.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  if (place.family() == AF_INET) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  if (bind(fd, place.get(), place.length) != 0 || listen(fd, 65535) != 0) Fail("listen");
  return fd;
}

// --- Server --------------------------------------------------------------------------

class Server {
 public:
  Server(Loop& loop, const Place& place) : loop_(loop) {
    auto door = std::make_unique<Door>(*this);
    door->fd = MakeListener(place);
    loop_.Add(std::move(door), EPOLLIN);
  }

 private:
  class Peer final : public Conn {
   public:
    explicit Peer(Server& server) : server_(server) {}

    bool Go() override {
      do {
        if (!Portion()) {
          if (bulk()) server_.streams_.erase(id);
          server_.loop_.Remove(*this);
          return true;
        }
      } while (!bulk() && WantsMore());
      return true;
    }

   private:
    // False: to be closed.
    bool Portion() {
      if (readable) {
        const ssize_t n = Receive();
        if (n == 0 || n == -2) return false;
        if (n > 0 && !OnBytes(Buffer(), static_cast<size_t>(n))) return false;
      }
      if (!Send()) return false;
      return !(finished_ && to_send == 0);
    }

    bool OnBytes(const char* data, size_t bytes) {
      if (hello_bytes_ < sizeof(Hello)) {
        if (hello_bytes_ == 0 && data[0] == 'G') http_ = true;
        if (http_) return OnHttp(data, bytes);
        const size_t part = std::min(sizeof(Hello) - hello_bytes_, bytes);
        memcpy(hello_.data() + hello_bytes_, data, part);
        hello_bytes_ += part;
        if (hello_bytes_ < sizeof(Hello)) return true;
        if (!OnHello()) return false;
        data += part;
        bytes -= part;
        if (bytes == 0) return true;
      }
      const uint64_t before = received;
      if (!Check(data, bytes)) {
        ++server_.wrong_;
        fprintf(stderr, "loadgen: wrong bytes from the client after %" PRIu64 " right ones\n",
                before);
        return false;
      }
      if (mode == Mode::kEcho || mode == Mode::kShort) {
        to_send += (received / size - before / size) * size;
        finished_ = mode == Mode::kShort && received >= size;
      }
      return true;
    }

    bool OnHello() {
      Hello hello;
      memcpy(&hello, hello_.data(), sizeof(hello));
      mode = hello.mode;
      size = std::max(hello.size, 1u);
      id = hello.id;
      in_start = hello.start;
      out_start = hello.start + kServersStart;
      switch (mode) {
        case Mode::kEcho:
        case Mode::kShort:
          return true;
        case Mode::kUp:
        case Mode::kDown:
        case Mode::kBoth:
          server_.streams_[id] = this;
          if (mode != Mode::kUp) to_send = kEndless;
          return true;
        case Mode::kQuery:
        case Mode::kStop: {
          Answer answer{.wrong = server_.wrong_};
          if (const auto found = server_.streams_.find(id); found != server_.streams_.end()) {
            Peer& stream = *found->second;
            if (mode == Mode::kStop) stream.to_send = 0;
            answer.known = 1;
            answer.received = stream.received;
            answer.sent = stream.sent;
          }
          finished_ = true;
          return send(fd, &answer, sizeof(answer), MSG_NOSIGNAL) == sizeof(answer);
        }
      }
      fprintf(stderr, "loadgen: a client said neither hello nor GET\n");
      ++server_.wrong_;
      return false;
    }

    bool OnHttp(const char* data, size_t bytes) {
      static constexpr char kResponse[] =
          "HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n"
          "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
      for (size_t i = 0; i < bytes; ++i) {
        if (data[i] == '\n') {
          if (++line_ends_ < 2) continue;
          line_ends_ = 0;
          // So small that a socket without room for it means a client that does not read.
          if (send(fd, kResponse, sizeof(kResponse) - 1, MSG_NOSIGNAL) !=
              static_cast<ssize_t>(sizeof(kResponse) - 1)) {
            return false;
          }
        } else if (data[i] != '\r') {
          line_ends_ = 0;
        }
      }
      return true;
    }

    Server& server_;
    size_t hello_bytes_ = 0;
    bool http_ = false;
    bool finished_ = false;  // to be closed when all is sent
    uint32_t line_ends_ = 0;
    std::array<char, sizeof(Hello)> hello_;
  };

  class Door final : public Endpoint {
   public:
    explicit Door(Server& server) : server_(server) {}
    bool Go() override {
      for (;;) {
        const int client = accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client < 0) return true;
        auto peer = std::make_unique<Peer>(server_);
        peer->fd = client;
        peer->writable = true;
        server_.loop_.Add(std::move(peer), EPOLLIN | EPOLLOUT | EPOLLRDHUP);
      }
    }

   private:
    Server& server_;
  };

  Loop& loop_;
  std::unordered_map<uint64_t, Peer*> streams_;  // those that are open
  uint64_t wrong_ = 0;
};

// --- Client --------------------------------------------------------------------------

struct Plan {
  Place to;
  // Where the server is asked: past the proxy if possible, for one that is busy with a stream may
  // let new connections wait as long as the stream goes on (systemd-socket-proxyd does).
  Place ask;
  int pingpong = 0;
  int shorts = 0;
  int up = 0;
  int down = 0;
  int both = 0;
  int idle = 0;
  int storm = 0;
  uint32_t size = 64;
  uint64_t think_us = 0;
  double warmup = 0.3;
  double seconds = 1;
  uint64_t requests = 0;
  uint64_t bytes = 0;
  bool histogram = false;
  std::vector<pid_t> pids;
};

class Client {
 public:
  Client(Loop& loop, const Plan& plan) : loop_(loop), plan_(plan), id_base_(MakeIdBase()) {}

  int Run() {
    if (plan_.storm > 0) return Storm();
    if (plan_.idle > 0) return Idle();
    for (int i = 0; i < plan_.pingpong; ++i) Start(Mode::kEcho);
    for (int i = 0; i < plan_.shorts; ++i) Start(Mode::kShort);
    for (int i = 0; i < plan_.up; ++i) Start(Mode::kUp);
    for (int i = 0; i < plan_.down; ++i) Start(Mode::kDown);
    for (int i = 0; i < plan_.both; ++i) Start(Mode::kBoth);

    const bool counted = plan_.requests != 0 || plan_.bytes != 0;
    const int64_t begin = NowNs();
    int64_t window_begin = begin + static_cast<int64_t>(plan_.warmup * 1e9);
    int64_t window_end = window_begin + static_cast<int64_t>(plan_.seconds * 1e9);
    if (counted) {
      window_begin = begin;
      window_end = INT64_MAX;
    }
    int64_t last_progress = begin;
    uint64_t last_total = 0;
    Totals at_begin;
    int64_t cpu_begin = 0;
    bool in_window = false;
    for (;;) {
      const int64_t now = NowNs();
      if (!in_window && now >= window_begin) {
        in_window = true;
        at_begin = totals_;
        if (counted) at_begin = Totals{};
        cpu_begin = CpuNs(plan_.pids);
        window_begin = now;
        recording_ = true;
      }
      const bool enough = (plan_.requests != 0 && totals_.requests >= plan_.requests) ||
                          (plan_.bytes != 0 && totals_.bytes >= plan_.bytes);
      if (now >= window_end || enough) {
        window_end = now;
        break;
      }
      if (totals_.requests + totals_.bytes != last_total) {
        last_total = totals_.requests + totals_.bytes;
        last_progress = now;
      } else if (now - last_progress > kStuckNs) {
        return Broken("nothing has moved for 10 seconds");
      }
      if (!AskAgain(now) || !loop_.Turn(thinking_.empty() ? 10 : 1)) return 1;
    }
    recording_ = false;
    Report report;
    report.cpu_ns = CpuNs(plan_.pids) - cpu_begin;
    report.seconds = static_cast<double>(window_end - window_begin) / 1e9;
    report.totals = totals_ - at_begin;
    if (!Finish()) return 1;
    Print(report);
    return 0;
  }

 private:
  static constexpr int64_t kStuckNs = 10'000'000'000;
  static constexpr int kQueries = 20'000;

  class ClientConn final : public Conn {
   public:
    explicit ClientConn(Client& client) : client_(client) {}
    bool Go() override {
      do {
        if (!client_.Portion(*this)) return false;
      } while (!bulk() && fd >= 0 && hello_sent && WantsMore());
      return true;
    }

    bool hello_sent = false;
    int64_t asked_at = 0;
    uint64_t asked = 0;  // bytes of answers asked for so far
    Answer answer;
    size_t answer_bytes = 0;

   private:
    Client& client_;
  };

  struct Totals {
    uint64_t requests = 0;
    uint64_t connections = 0;
    uint64_t bytes = 0;  // of bulk streams, received by us or taken from us
    Totals operator-(const Totals& other) const {
      return {requests - other.requests, connections - other.connections, bytes - other.bytes};
    }
  };
  struct Report {
    double seconds = 0;
    int64_t cpu_ns = 0;
    Totals totals;
  };

  // Streams of several clients at one server must not have the same number.
  static uint64_t MakeIdBase() {
    return static_cast<uint64_t>(NowNs()) << 20 ^ static_cast<uint64_t>(getpid());
  }

  int Broken(const std::string& what) {
    fprintf(stderr, "loadgen: %s\n", what.c_str());
    return 1;
  }

  ClientConn* Start(Mode mode, uint64_t query = 0) {
    auto conn = std::make_unique<ClientConn>(*this);
    const Place& to = query != 0 ? plan_.ask : plan_.to;
    conn->fd = socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0) Fail("socket");
    const int one = 1;
    if (to.family() == AF_INET) {
      setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    conn->mode = mode;
    conn->size = plan_.size;
    conn->id = query != 0 ? query : id_base_ + ++started_;
    conn->out_start = (started_ * 7919) % kPeriod;
    conn->in_start = conn->out_start + kServersStart;
    conn->asked_at = NowNs();
    if (connect(conn->fd, to.get(), to.length) != 0 && errno != EINPROGRESS) {
      Fail("connect");
    }
    if (mode == Mode::kUp || mode == Mode::kBoth) conn->to_send = Conn::kEndless;
    ClientConn* raw = conn.get();
    conns_.insert(raw);
    loop_.Add(std::move(conn), EPOLLIN | EPOLLOUT | EPOLLRDHUP);
    return raw;
  }

  void Close(ClientConn& conn) {
    conns_.erase(&conn);
    loop_.Remove(conn);
  }

  // False: something is wrong, and was said.
  bool Portion(ClientConn& conn) {
    if (!conn.hello_sent) {
      if (!conn.writable && !conn.readable) return true;
      if (!SayHello(conn)) return Lost(conn, "before the first byte");
    }
    if (conn.readable && !Read(conn)) return false;
    if (conn.fd < 0) return true;
    const uint64_t sent = conn.sent;
    if (!conn.Send()) return Lost(conn, "while sending");
    if (conn.bulk()) totals_.bytes += conn.sent - sent;
    return true;
  }

  // The hello and the first message go out together.
  bool SayHello(ClientConn& conn) {
    conn.hello_sent = true;
    const Hello hello{.mode = conn.mode, .size = conn.size, .id = conn.id, .start = conn.out_start};
    static std::array<char, sizeof(Hello) + 64 * 1024> first;
    memcpy(first.data(), &hello, sizeof(hello));
    size_t size = sizeof(hello);
    if (conn.mode == Mode::kEcho || conn.mode == Mode::kShort) {
      memcpy(first.data() + size, BytesAt(conn.out_start), conn.size);
      size += conn.size;
      conn.sent = conn.asked = conn.size;
    }
    return send(conn.fd, first.data(), size, MSG_NOSIGNAL) == static_cast<ssize_t>(size);
  }

  bool Lost(const ClientConn& conn, const char* when) {
    fprintf(stderr,
            "loadgen: connection (%c) lost %s: %s; %" PRIu64 " sent, %" PRIu64 " received\n",
            static_cast<char>(conn.mode), when, strerror(errno), conn.sent, conn.received);
    return false;
  }

  bool Read(ClientConn& conn) {
    const ssize_t n = conn.Receive();
    if (n == -1) return true;
    if (n == -2) return Lost(conn, "while receiving");
    if (n == 0) return OnEnd(conn);
    return OnBytes(conn, static_cast<size_t>(n));
  }

  bool OnBytes(ClientConn& conn, size_t n) {
    if (conn.mode == Mode::kQuery || conn.mode == Mode::kStop) {
      if (conn.answer_bytes + n > sizeof(Answer)) return Lost(conn, "with too long an answer");
      memcpy(reinterpret_cast<char*>(&conn.answer) + conn.answer_bytes, Buffer(), n);
      conn.answer_bytes += n;
      return true;
    }
    if (!conn.Check(Buffer(), n)) return Lost(conn, "by wrong bytes");
    if (conn.bulk()) {
      if (conn.mode != Mode::kUp) totals_.bytes += n;
      return true;
    }
    if (conn.received > conn.asked) return Lost(conn, "by an answer to nothing");
    if (conn.received < conn.asked || conn.mode == Mode::kShort) return true;
    const int64_t now = NowNs();
    OnAnswer(conn, now);
    if (idle_ || stopping_) {
      if (stopping_) Close(conn);
      return true;
    }
    if (plan_.think_us == 0) {
      Ask(conn, now);
    } else {
      // Evenly between nothing and twice the mean, or they would march in step.
      random_ = random_ * 6364136223846793005u + 1442695040888963407u;
      const auto thought = static_cast<int64_t>((random_ >> 33) % (2000 * plan_.think_us));
      thinking_.emplace(now + thought, &conn);
    }
    return true;
  }

  // Those that have thought enough ask again.
  bool AskAgain(int64_t now) {
    while (!thinking_.empty() && thinking_.top().first <= now) {
      ClientConn& conn = *thinking_.top().second;
      thinking_.pop();
      Ask(conn, now);
      if (!conn.Go()) return false;
    }
    return true;
  }

  void Ask(ClientConn& conn, int64_t now) {
    conn.asked_at = now;
    conn.asked += conn.size;
    conn.to_send += conn.size;
  }

  void OnAnswer(const ClientConn& conn, int64_t now) {
    ++totals_.requests;
    if (recording_) latency_.Add(now - conn.asked_at);
  }

  bool OnEnd(ClientConn& conn) {
    switch (conn.mode) {
      case Mode::kShort:
        if (conn.received != conn.asked) return Lost(conn, "in the middle of an answer");
        OnAnswer(conn, NowNs());
        ++totals_.connections;
        Close(conn);
        if (!stopping_ && storm_left_ == 0) Start(Mode::kShort);
        return true;
      case Mode::kQuery:
      case Mode::kStop:
        if (conn.answer_bytes != sizeof(Answer)) return Lost(conn, "in the middle of an answer");
        answered_ = true;
        last_answer_ = conn.answer;
        Close(conn);
        return true;
      case Mode::kUp:
      case Mode::kDown:
      case Mode::kBoth:
      case Mode::kEcho:
        return Lost(conn, "by an early end");
    }
    return true;
  }

  // Ends everything in good order: the answers that are under way arrive, and of the streams all
  // that was sent on either side arrives on the other. Only then is anything closed, for not every
  // proxy passes a half-close on, and some lose bytes over it. (Parkway's is tested elsewhere.)
  bool Finish() {
    stopping_ = true;
    for (; !thinking_.empty(); thinking_.pop()) Close(*thinking_.top().second);
    std::vector<ClientConn*> streams;
    for (ClientConn* conn : conns_) {
      if (!conn->bulk()) continue;
      conn->to_send = 0;
      streams.push_back(conn);
    }
    for (ClientConn* stream : streams) {
      Answer theirs;
      do {
        if (!Query(Mode::kStop, stream->id, theirs)) return false;
      } while (theirs.known == 0 || theirs.received != stream->sent ||
               theirs.sent > stream->received);
      if (theirs.sent != stream->received) return Lost(*stream, "with more bytes than were sent");
      if (theirs.wrong != 0) return Broken("the server has seen wrong bytes") == 0;
      Close(*stream);
    }
    return TurnUntil([this] { return conns_.empty(); });
  }

  bool Query(Mode mode, uint64_t id, Answer& answer) {
    answered_ = false;
    Start(mode, id);
    if (!TurnUntil([this] { return answered_; })) return false;
    answer = last_answer_;
    // A stream that loses bytes would be asked about for ever.
    if (++queries_ < kQueries) return true;
    fprintf(stderr,
            "loadgen: bytes are lost: they have received %" PRIu64 " and sent %" PRIu64 "\n",
            answer.received, answer.sent);
    return false;
  }

  template <typename Condition>
  bool TurnUntil(Condition condition) {
    const int64_t until = NowNs() + kStuckNs;
    while (!condition()) {
      if (NowNs() > until) return Broken("the end does not come") == 0;
      if (!loop_.Turn(1)) return false;
    }
    return true;
  }

  int Idle() {
    idle_ = true;
    std::vector<ClientConn*> all;
    // Some at a time: it is not the storm that is measured here.
    while (all.size() < static_cast<size_t>(plan_.idle)) {
      const size_t part = std::min<size_t>(64, static_cast<size_t>(plan_.idle) - all.size());
      for (size_t i = 0; i < part; ++i) all.push_back(Start(Mode::kEcho));
      if (!StepUntilRequests(all.size())) return 1;
    }
    printf("READY\n");
    fflush(stdout);
    char line[16];
    if (fgets(line, sizeof(line), stdin) == nullptr) return 1;
    const int64_t begin = NowNs();
    const int64_t cpu = CpuNs(plan_.pids);
    recording_ = true;
    for (size_t i = 0; i < all.size(); ++i) {
      Ask(*all[i], NowNs());
      if (!all[i]->Go()) return 1;
      if (i % 64 == 63 && !StepUntilRequests(all.size() + i + 1)) return 1;
    }
    if (!StepUntilRequests(2 * all.size())) return 1;
    Report report;
    report.cpu_ns = CpuNs(plan_.pids) - cpu;
    report.seconds = static_cast<double>(NowNs() - begin) / 1e9;
    report.totals.requests = all.size();
    for (ClientConn* conn : all) Close(*conn);
    Print(report);
    return 0;
  }

  bool StepUntilRequests(uint64_t requests) {
    int64_t last = NowNs();
    uint64_t seen = totals_.requests;
    while (totals_.requests < requests) {
      if (!loop_.Turn(10)) return false;
      if (totals_.requests != seen) {
        seen = totals_.requests;
        last = NowNs();
      } else if (NowNs() - last > kStuckNs) {
        return Broken("nothing has moved for 10 seconds") == 0;
      }
    }
    return true;
  }

  int Storm() {
    if (plan_.pids.empty()) return Broken("--storm needs --pids");
    for (const pid_t pid : plan_.pids) kill(pid, SIGSTOP);
    storm_left_ = plan_.storm;
    for (int i = 0; i < plan_.storm; ++i) {
      ClientConn* conn = Start(Mode::kShort);
      // On loopback the handshake is over when connect returns, but for a backlog that is full.
      if (send(conn->fd, "", 0, MSG_NOSIGNAL) == 0) {
        if (!SayHello(*conn)) return Lost(*conn, "in the backlog") ? 0 : 1;
      }
    }
    recording_ = true;
    const int64_t cpu = CpuNs(plan_.pids);
    const int64_t begin = NowNs();
    for (ClientConn* conn : conns_) conn->asked_at = begin;
    for (const pid_t pid : plan_.pids) kill(pid, SIGCONT);
    stopping_ = true;
    while (!conns_.empty()) {
      if (NowNs() - begin > 3 * kStuckNs) return Broken("the storm does not end");
      if (!loop_.Turn(10)) return 1;
    }
    Report report;
    report.cpu_ns = CpuNs(plan_.pids) - cpu;
    report.seconds = static_cast<double>(NowNs() - begin) / 1e9;
    report.totals = totals_;
    Print(report);
    return 0;
  }

  void Print(const Report& report) const {
    const Totals& totals = report.totals;
    printf("{\"seconds\":%.6f,\"cpu_ns\":%" PRId64 ",\"requests\":%" PRIu64
           ",\"connections\":%" PRIu64 ",\"bytes\":%" PRIu64
           ",\"p50_us\":%.2f,\"p99_us\":%.2f,\"p999_us\":%.2f,\"max_us\":%.2f",
           report.seconds, report.cpu_ns, totals.requests, totals.connections, totals.bytes,
           latency_.QuantileUs(0.5), latency_.QuantileUs(0.99), latency_.QuantileUs(0.999),
           latency_.MaxUs());
    if (plan_.histogram) {
      printf(",\"histogram\":[");
      latency_.Print(stdout);
      printf("]");
    }
    printf("}\n");
  }

  Loop& loop_;
  const Plan& plan_;
  const uint64_t id_base_;
  uint64_t started_ = 0;
  int storm_left_ = 0;
  bool idle_ = false;
  bool stopping_ = false;
  bool recording_ = false;
  bool answered_ = false;
  Answer last_answer_;
  Totals totals_;
  Histogram latency_;
  std::unordered_set<ClientConn*> conns_;
  using Due = std::pair<int64_t, ClientConn*>;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> thinking_;
  uint64_t random_ = 1;
  int queries_ = 0;
};

int Usage() {
  fprintf(
      stderr,
      "usage: loadgen serve --listen=ADDR\n"
      "       loadgen run --to=ADDR [--serve=ADDR] [--pingpong=N] [--short=N] [--up=N] "
      "[--down=N] [--both=N]\n"
      "                   [--idle=N] [--storm=N] [--size=64] [--think_us=0] [--warmup=0.3] \n"
      "                   [--seconds=1] [--requests=N] [--bytes=N] [--pids=A,B] [--histogram=1]\n");
  return 64;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return Usage();
  std::map<std::string, std::string> flags;
  for (int i = 2; i < argc; ++i) {
    const std::string flag = argv[i];
    const size_t equals = flag.find('=');
    if (flag.rfind("--", 0) != 0 || equals == std::string::npos) return Usage();
    flags[flag.substr(2, equals - 2)] = flag.substr(equals + 1);
  }
  const auto take = [&flags](const char* name, const char* otherwise) {
    const auto found = flags.find(name);
    if (found == flags.end()) return std::string(otherwise);
    const std::string value = found->second;
    flags.erase(found);
    return value;
  };

  signal(SIGPIPE, SIG_IGN);
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);

  if (strcmp(argv[1], "serve") == 0) {
    const std::string listen = take("listen", "");
    if (listen.empty() || !flags.empty()) return Usage();
    Loop loop;
    const Server server(loop, Parse(listen));
    for (;;) static_cast<void>(loop.Turn(-1));
  }
  if (strcmp(argv[1], "run") != 0) return Usage();
  Plan plan;
  const std::string to = take("to", "");
  const std::string serve = take("serve", "");
  plan.pingpong = atoi(take("pingpong", "0").c_str());
  plan.shorts = atoi(take("short", "0").c_str());
  plan.up = atoi(take("up", "0").c_str());
  plan.down = atoi(take("down", "0").c_str());
  plan.both = atoi(take("both", "0").c_str());
  plan.idle = atoi(take("idle", "0").c_str());
  plan.storm = atoi(take("storm", "0").c_str());
  plan.size = static_cast<uint32_t>(atoi(take("size", "64").c_str()));
  plan.think_us = strtoull(take("think_us", "0").c_str(), nullptr, 10);
  plan.warmup = atof(take("warmup", "0.3").c_str());
  plan.seconds = atof(take("seconds", "1").c_str());
  plan.requests = strtoull(take("requests", "0").c_str(), nullptr, 10);
  plan.bytes = strtoull(take("bytes", "0").c_str(), nullptr, 10);
  plan.histogram = take("histogram", "0") != "0";
  std::string pids = take("pids", "");
  while (!pids.empty()) {
    const size_t comma = std::min(pids.find(','), pids.size());
    plan.pids.push_back(atoi(pids.substr(0, comma).c_str()));
    pids.erase(0, comma + 1);
  }
  if (to.empty() || !flags.empty() || plan.size == 0 || plan.size > 64 * 1024) return Usage();
  plan.to = Parse(to);
  plan.ask = serve.empty() ? plan.to : Parse(serve);
  Loop loop;
  const auto server = serve.empty() ? nullptr : std::make_unique<Server>(loop, Parse(serve));
  const auto client = std::make_unique<Client>(loop, plan);
  return client->Run();
}
