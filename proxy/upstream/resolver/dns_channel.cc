#include "proxy/upstream/resolver/dns_channel.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "poller/check.h"
#include "poller/netpoll.h"
#include "poller/poll_desc.h"

namespace parkway {

namespace {

// Of one socket, before the others have their turn.
constexpr int kMostReads = 64;
// When nothing is to be waited for.
constexpr int64_t kLongSleepNs = 3'600'000'000'000;
// c-ares counts microseconds and the wheel milliseconds: never too early.
constexpr int64_t kTickNs = 1'000'000;

int WireType(DnsType type) {
  switch (type) {
    case DnsType::kA:
      break;
    case DnsType::kAaaa:
      return ns_t_aaaa;
    case DnsType::kSrv:
      return ns_t_srv;
  }
  return ns_t_a;
}

std::string WhyOf(int status) {
  switch (status) {
    case ARES_ENODATA:
      return "no such record";
    case ARES_ENOTFOUND:
      return "no such name";
    case ARES_ETIMEOUT:
      return "timeout";
    // Also when all of them said SERVFAIL or REFUSED: c-ares goes on to the next, and forgets it.
    case ARES_ECONNREFUSED:
      return "no name server could say";
    default:
      return ares_strerror(status);
  }
}

// Worth asking all servers once more.
bool MayPass(int status) { return status == ARES_ETIMEOUT || status == ARES_ECONNREFUSED; }

}  // namespace

// One that c-ares has been asked; c-ares holds it until it replies.
struct DnsChannel::Question {
  DnsChannel* channel;
  std::string name;
  DnsType type;
  Done done;
  int attempts = 0;
};

// One socket of c-ares.
class DnsChannel::Connection {
 public:
  Connection(DnsChannel& channel, PollDesc& desc)
      : channel_(channel), desc_(desc), reader_(*this), writer_(*this) {}

  int fd() const { return desc_.fd(); }
  PollDesc& desc() { return desc_; }
  bool closed() const { return closed_; }

  void StartReading() {
    reader_.live = true;
    channel_.scheduler_.SpawnAwaiting(reader_, desc_, Direction::kRead);
  }
  // Whether c-ares has something to send.
  void WantWrite(bool wanted) {
    wants_write_ = wanted;
    if (!wanted) return;
    if (writer_.live) {
      channel_.scheduler_.Kick(writer_);
      return;
    }
    writer_.live = true;
    channel_.scheduler_.Spawn(writer_);
  }
  void NoteRead(bool drained) {
    read_ = true;
    read_drained_ = drained;
  }
  void NoteWrite(bool blocked) { write_blocked_ = blocked; }

  // c-ares will not look at it again.
  void Close() {
    closed_ = true;
    channel_.scheduler_.Evict(desc_);
    channel_.scheduler_.Kick(writer_);
    if (!reader_.live && !writer_.live) channel_.Forget(*this);
  }
  // Of the channel alone.
  void Release() {
    const int fd = desc_.fd();
    channel_.scheduler_.Close(desc_);
    close(fd);
  }

 private:
  struct Reader final : public Task {
    explicit Reader(Connection& connection_in) : connection(connection_in) {}
    Next Run(Scheduler&, Wake) noexcept override { return connection.Read(); }
    const char* name() const override { return "dns answers"; }
    Connection& connection;
    bool live = false;
  };
  struct Writer final : public Task {
    explicit Writer(Connection& connection_in) : connection(connection_in) {}
    Next Run(Scheduler&, Wake) noexcept override { return connection.Write(); }
    const char* name() const override { return "dns questions"; }
    Connection& connection;
    SleepTimer timer;
    bool live = false;
  };

  Next Read() {
    for (int i = 0; i < kMostReads && !closed_; ++i) {
      read_ = false;
      channel_.Process(fd(), ARES_SOCKET_BAD);
      if (!read_ || read_drained_) break;
    }
    if (closed_) return End(reader_.live);
    return read_ && !read_drained_ ? Next::Yield() : Next::AwaitReadable(desc_);
  }

  Next Write() {
    while (wants_write_ && !closed_) {
      write_blocked_ = false;
      channel_.Process(ARES_SOCKET_BAD, fd());
      if (write_blocked_ && wants_write_ && !closed_) return Next::AwaitWritable(desc_);
    }
    if (closed_) return End(writer_.live);
    // Until there is something to send again.
    return Next::SleepUntil(writer_.timer, channel_.scheduler_.now().PlusNs(kLongSleepNs));
  }

  // This may be gone afterwards.
  Next End(bool& live) {
    live = false;
    if (!reader_.live && !writer_.live) channel_.Forget(*this);
    return Next::Done();
  }

  DnsChannel& channel_;
  PollDesc& desc_;
  Reader reader_;
  Writer writer_;
  bool closed_ = false;
  bool wants_write_ = false;
  bool write_blocked_ = false;
  bool read_ = false;
  bool read_drained_ = false;
};

// What c-ares calls. Failures are told by errno, as by the system calls that these stand for.
struct DnsChannel::Hooks {
  static ares_socket_t Socket(int domain, int type, int protocol, void* user) {
    DnsChannel& channel = *static_cast<DnsChannel*>(user);
    const int fd = socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    if (fd < 0) return ARES_SOCKET_BAD;
    PollDesc* desc = channel.scheduler_.netpoll().Allocate(fd, nullptr);
    if (desc == nullptr) {
      close(fd);
      errno = ENOMEM;
      return ARES_SOCKET_BAD;
    }
    channel.connections_.push_back(std::make_unique<Connection>(channel, *desc));
    return fd;
  }

  static int Close(ares_socket_t fd, void* user) {
    if (Connection* connection = static_cast<DnsChannel*>(user)->Find(fd)) connection->Close();
    return 0;
  }

  // Registered only now: epoll takes a TCP socket that was never connected for one that hung up.
  static int Connect(ares_socket_t fd, const sockaddr* address, ares_socklen_t size, void* user) {
    DnsChannel& channel = *static_cast<DnsChannel*>(user);
    Connection* connection = channel.Find(fd);
    if (connection == nullptr) {
      errno = EBADF;
      return -1;
    }
    const int result = connect(fd, address, size);
    if (result != 0 && errno != EINPROGRESS) return -1;
    const int connected = errno;
    if (const int error = channel.scheduler_.netpoll().Register(connection->desc()); error != 0) {
      errno = -error;
      return -1;
    }
    connection->StartReading();
    errno = connected;
    return result;
  }

  static ares_ssize_t Receive(ares_socket_t fd, void* data, size_t size, int flags, sockaddr* from,
                              ares_socklen_t* from_size, void* user) {
    const ssize_t got = recvfrom(fd, data, size, flags, from, from_size);
    const int error = errno;
    if (Connection* connection = static_cast<DnsChannel*>(user)->Find(fd)) {
      connection->NoteRead(got < 0 && (error == EAGAIN || error == EWOULDBLOCK));
    }
    errno = error;
    return got;
  }

  static ares_ssize_t Send(ares_socket_t fd, const iovec* parts, int count, void* user) {
    msghdr message = {};
    message.msg_iov = const_cast<iovec*>(parts);
    message.msg_iovlen = static_cast<size_t>(count);
    const ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    const int error = errno;
    if (Connection* connection = static_cast<DnsChannel*>(user)->Find(fd)) {
      connection->NoteWrite(sent < 0 && (error == EAGAIN || error == EWOULDBLOCK));
    }
    errno = error;
    return sent;
  }

  // It wants to read for as long as the socket is open.
  static void SocketState(void* user, ares_socket_t fd, int, int writable) {
    Connection* connection = static_cast<DnsChannel*>(user)->Find(fd);
    if (connection != nullptr) connection->WantWrite(writable != 0);
  }

  static void Reply(void* argument, int status, int, unsigned char* bytes, int size) {
    std::unique_ptr<Question> question(static_cast<Question*>(argument));
    DnsChannel& channel = *question->channel;
    channel.Replied(std::move(question), status, bytes, static_cast<size_t>(std::max(size, 0)));
  }
};

// ---------------------------------------------------------------------------------------------

DnsChannel::DnsChannel(Scheduler& scheduler, Options options)
    : scheduler_(scheduler), options_(std::move(options)), ticker_(*this) {
  ares_library_init(ARES_LIB_INIT_ALL);
  Open();
}

DnsChannel::~DnsChannel() {
  PARKWAY_CHECK(idle(), "a DNS channel ends while its tasks wait");
  ares_library_cleanup();
}

void DnsChannel::Open() {
  std::string path = options_.resolv_conf;
  ares_options wanted = {};
  // Once: the rounds are counted here, for c-ares would wait twice as long in each.
  wanted.tries = 1;
  wanted.timeout = static_cast<int>(std::max<int64_t>(
      std::min<int64_t>(absl::ToInt64Milliseconds(options_.timeout), INT32_MAX / 4), 1));
  wanted.sock_state_cb = &Hooks::SocketState;
  wanted.sock_state_cb_data = this;
  wanted.resolvconf_path = path.data();
  channel_ = nullptr;
  open_error_ = ares_init_options(
      &channel_, &wanted,
      ARES_OPT_TRIES | ARES_OPT_TIMEOUTMS | ARES_OPT_SOCK_STATE_CB | ARES_OPT_RESOLVCONF);
  if (open_error_ != ARES_SUCCESS) {
    channel_ = nullptr;
    return;
  }
  static constexpr ares_socket_functions kFunctions = {
      .asocket = &Hooks::Socket,
      .aclose = &Hooks::Close,
      .aconnect = &Hooks::Connect,
      .arecvfrom = &Hooks::Receive,
      .asendv = &Hooks::Send,
  };
  ares_set_socket_functions(channel_, &kFunctions, this);
  if (options_.servers.empty()) return;
  open_error_ = ares_set_servers_ports_csv(channel_, options_.servers.c_str());
  if (open_error_ == ARES_SUCCESS) return;
  ares_destroy(channel_);
  channel_ = nullptr;
}

void DnsChannel::Reload() {
  ares_channeldata* old = channel_;
  Open();
  // What it was asked comes back as destroyed, and is sent to the new one.
  if (old != nullptr) ares_destroy(old);
  ticker_.Reconsider();
}

void DnsChannel::Stop() {
  if (stopped_) return;
  stopped_ = true;
  if (channel_ != nullptr) ares_destroy(std::exchange(channel_, nullptr));
  ticker_.Reconsider();
}

void DnsChannel::Ask(const std::string& name, DnsType type, Done done) {
  if (stopped_) return;
  auto question = std::make_unique<Question>();
  question->channel = this;
  question->name = name;
  question->type = type;
  question->done = std::move(done);
  Send(std::move(question));
  ticker_.Reconsider();
}

void DnsChannel::Send(std::unique_ptr<Question> question) {
  if (channel_ == nullptr) {
    question->done({.kind = DnsReply::Kind::kFailure, .answer = {}, .why = WhyOf(open_error_)});
    return;
  }
  ++question->attempts;
  const std::string name = question->name;
  const int type = WireType(question->type);
  ares_search(channel_, name.c_str(), ns_c_in, type, &Hooks::Reply, question.release());
}

void DnsChannel::Replied(std::unique_ptr<Question> question, int status, const uint8_t* bytes,
                         size_t size) {
  if (stopped_) return;
  if (status == ARES_EDESTRUCTION || status == ARES_ECANCELLED) {
    --question->attempts;
    Send(std::move(question));
    return;
  }
  if (MayPass(status) && question->attempts < options_.attempts) {
    Send(std::move(question));
    return;
  }
  DnsReply reply;
  if (status == ARES_SUCCESS) {
    std::optional<DnsAnswer> answer = ParseDnsAnswer(bytes, size, question->type);
    if (!answer.has_value()) {
      reply.why = "malformed answer";
    } else if (answer->addresses.empty() && answer->targets.empty()) {
      reply.kind = DnsReply::Kind::kNothing;
      reply.why = "no such record";
    } else {
      reply.kind = DnsReply::Kind::kAnswer;
      reply.answer = *std::move(answer);
    }
  } else {
    const bool nothing = status == ARES_ENODATA || status == ARES_ENOTFOUND;
    reply.kind = nothing ? DnsReply::Kind::kNothing : DnsReply::Kind::kFailure;
    reply.why = WhyOf(status);
  }
  question->done(std::move(reply));
}

void DnsChannel::Process(int readable, int writable) {
  // A socket of a channel that was replaced has been closed by then.
  if (channel_ == nullptr) return;
  ares_process_fd(channel_, readable, writable);
  ticker_.Reconsider();
}

DnsChannel::Connection* DnsChannel::Find(int fd) {
  for (const auto& connection : connections_) {
    if (connection->fd() == fd) return connection.get();
  }
  return nullptr;
}

void DnsChannel::Forget(Connection& connection) {
  connection.Release();
  connections_.remove_if(
      [&connection](const std::unique_ptr<Connection>& one) { return one.get() == &connection; });
}

// ---------------------------------------------------------------------------------------------

void DnsChannel::Ticker::Reconsider() {
  if (live_) {
    channel_.scheduler_.Kick(*this);
  } else if (!channel_.stopped_) {
    live_ = true;
    channel_.scheduler_.Spawn(*this);
  }
}

Next DnsChannel::Ticker::Run(Scheduler& scheduler, Wake wake) noexcept {
  if (channel_.stopped_) {
    live_ = false;
    return Next::Done();
  }
  if (wake == Wake::kTimer && channel_.channel_ != nullptr) {
    ares_process_fd(channel_.channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
  }
  timeval left;
  if (channel_.channel_ == nullptr || ares_timeout(channel_.channel_, nullptr, &left) == nullptr) {
    return Next::SleepUntil(timer_, scheduler.now().PlusNs(kLongSleepNs));
  }
  const int64_t ns = int64_t{left.tv_sec} * 1'000'000'000 + int64_t{left.tv_usec} * 1000;
  return Next::SleepUntil(timer_, scheduler.now().PlusNs(ns + kTickNs));
}

}  // namespace parkway
