#include "proxy/admin/http_server.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "poller/kernel.h"
#include "poller/listener.h"
#include "poller/scheduler.h"
#include "poller/socket.h"
#include "poller/stack_overflow.h"
#include "poller/task.h"
#include "proxy/core/post_call.h"

namespace parkway {

namespace {

constexpr int kBacklog = 128;
// Out of descriptors or memory.
constexpr int64_t kAcceptPauseNs = 100'000'000;
// What was sent is still read, but not for ever.
constexpr absl::Duration kFarewell = absl::Seconds(2);

constexpr char kForbidden[] =
    "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Type: text/plain\r\n"
    "Content-Length: 48\r\n\r\nthis address is not allowed here: see http_allow\n";
constexpr char kTooLarge[] =
    "HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n"
    "Content-Length: 0\r\n\r\n";

// A thread that does one thing after the other.
class Hand {
 public:
  explicit Hand(const char* name) : name_(name) {}

  void Start() {
    thread_ = std::thread([this] { Run(); });
    pthread_setname_np(thread_.native_handle(), name_);
  }
  void Do(std::function<void()> what) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      waiting_.push_back(std::move(what));
    }
    wake_.notify_one();
  }
  // What is waiting is done before.
  void Stop() {
    if (!thread_.joinable()) return;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }

 private:
  void Run() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      const std::function<void()> next = std::move(waiting_.front());
      waiting_.pop_front();
      lock.unlock();
      next();
      lock.lock();
    }
  }

  const char* const name_;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> waiting_;
  bool stopping_ = false;
};

bool IsLoopback(const Address& address) {
  if (address.is_unix()) return true;
  const std::string text = address.ToString();
  return text.starts_with("127.") || text.starts_with("[::1]") || text.starts_with("[::ffff:127.");
}

}  // namespace

class HttpServer::Impl {
 public:
  Impl(Options options, HttpPages::Ask ask)
      : address_(options.address),
        allowed_(std::move(options.allowed)),
        pages_(std::move(ask)),
        door_(*this) {}
  ~Impl() { Stop(); }

  std::string Start();
  const Address& address() const { return bound_; }
  void Allow(AccessList allowed) {
    PostCall(scheduler_, [this, allowed = std::move(allowed)] { allowed_ = allowed; });
  }
  void Stop();

 private:
  // One connection.
  class Client final : public Task {
   public:
    enum class Stage : uint8_t { kReading, kAnswering, kWriting };

    Client(Impl& server, int fd, const Address& peer)
        : server_(server), socket_(Socket::Adopt(server.scheduler_, fd)), peer_(peer) {}

    Next Run(Scheduler& scheduler, Wake) noexcept override {
      if (socket_.ok()) Serve(scheduler);
      // This deletes it.
      server_.Forget(*this);
      return Next::Done();
    }
    const char* name() const override { return "http"; }

    Stage stage() const { return stage_; }
    size_t pending_bytes() const { return response_.size(); }
    // Whoever waits on the socket leaves.
    void TurnAway() {
      if (socket_.ok()) server_.scheduler_.Evict(socket_.desc());
    }
    void OnResponse(std::string response) {
      response_ = std::move(response);
      server_.scheduler_.Complete(answered_);
    }

   private:
    void Serve(Scheduler& scheduler);
    bool ReadRequest(Scheduler& scheduler);
    void Write(Scheduler& scheduler);

    Impl& server_;
    Socket socket_;
    const Address peer_;
    Stage stage_ = Stage::kReading;
    std::string request_;
    std::string response_;
    Completion answered_;
  };

  // Lets them in.
  class Door final : public Task {
   public:
    explicit Door(Impl& server) : server_(server) {}
    Next Run(Scheduler& scheduler, Wake) noexcept override {
      if (server_.stopping_) return Leave();
      const Accepted accepted = AcceptOne(server_.listen_fd_);
      if (accepted.fd >= 0) {
        server_.LetIn(accepted.fd, accepted.peer);
      } else if (AcceptMustPause(accepted.error)) {
        // Who waits is reported at each turn, and would end this sleep at once.
        PollDesc& desc = *server_.listen_desc_;
        static_cast<void>(scheduler.netpoll().PauseListener(desc));
        static_cast<void>(scheduler.SleepUntil(scheduler.now().PlusNs(kAcceptPauseNs)));
        if (server_.stopping_) return Leave();
        static_cast<void>(scheduler.netpoll().ResumeListener(desc));
      }
      return Next::AwaitReadable(*server_.listen_desc_);
    }
    const char* name() const override { return "http door"; }
    bool left() const { return left_; }

   private:
    Next Leave() {
      left_ = true;
      server_.EndIfEmpty();
      return Next::Done();
    }

    bool left_ = false;
    Impl& server_;
  };

  void LetIn(int fd, const Address& peer);
  bool Allowed(const Address& peer) const {
    return IsLoopback(peer) || allowed_.Find(peer) == AccessList::kAllow;
  }
  void Answer(Client& client, const std::string& request, const Address& peer);
  void MakeRoom();
  void TurnOldestAway(Client::Stage stage);
  void Forget(Client& client);
  void BeginStop();
  void EndIfEmpty();

  const Address address_;
  AccessList allowed_;  // of the thread
  Scheduler scheduler_{{.max_stacks = 2 * kMostClients}, nullptr};
  HttpPages pages_;
  Hand urgent_{"http-urgent"};
  Hand patient_{"http-pages"};
  Address bound_;
  int listen_fd_ = -1;
  PollDesc* listen_desc_ = nullptr;
  Door door_;
  std::list<Client> clients_;  // oldest first
  bool stopping_ = false;
  std::thread thread_;
};

std::string HttpServer::Impl::Start() {
  const auto failed = [this](const char* what, int error) {
    return absl::StrCat("http: cannot ", what, " ", address_.ToString(), ": ", strerror(error));
  };
  if (scheduler_.init_error() != 0) return failed("make a poller for", -scheduler_.init_error());
  listen_fd_ = OpenListenSocket(address_, {.backlog = kBacklog}, &bound_);
  if (listen_fd_ < 0) return failed("listen on", -std::exchange(listen_fd_, -1));
  listen_desc_ = scheduler_.netpoll().Allocate(listen_fd_, nullptr);
  const int error =
      listen_desc_ == nullptr ? -ENOMEM : scheduler_.netpoll().RegisterListener(*listen_desc_);
  if (error != 0) {
    if (listen_desc_ != nullptr) {
      scheduler_.Evict(*listen_desc_);
      scheduler_.Close(*listen_desc_);
    }
    kernel::Close(std::exchange(listen_fd_, -1));
    return failed("wait on", -error);
  }
  scheduler_.SpawnAwaiting(door_, *listen_desc_, Direction::kRead);
  urgent_.Start();
  patient_.Start();
  thread_ = std::thread([this] {
    StackOverflowReporter reporter(scheduler_.stacks());
    scheduler_.Run();
  });
  pthread_setname_np(thread_.native_handle(), "http");
  return "";
}

void HttpServer::Impl::Stop() {
  if (!thread_.joinable()) return;
  // Who waits for the control thread would wait for the one that stops us.
  pages_.Stop();
  PostCall(scheduler_, [this] { BeginStop(); });
  thread_.join();
  urgent_.Stop();
  patient_.Stop();
}

void HttpServer::Impl::BeginStop() {
  stopping_ = true;
  scheduler_.Evict(*listen_desc_);
  scheduler_.Kick(door_);
  for (Client& client : clients_) client.TurnAway();
}

void HttpServer::Impl::EndIfEmpty() {
  if (!door_.left() || !clients_.empty() || listen_desc_ == nullptr) return;
  scheduler_.Close(*std::exchange(listen_desc_, nullptr));
  kernel::Close(std::exchange(listen_fd_, -1));
  scheduler_.Stop();
}

void HttpServer::Impl::LetIn(int fd, const Address& peer) {
  MakeRoom();
  if (clients_.size() >= 2 * kMostClients - 2) {
    // All of them wait for us: one more would wait longer.
    kernel::Close(fd);
    return;
  }
  scheduler_.Spawn(clients_.emplace_back(*this, fd, peer));
}

// Those who keep us waiting go first, the oldest of them.
void HttpServer::Impl::MakeRoom() {
  if (clients_.size() >= kMostClients) TurnOldestAway(Client::Stage::kReading);
  if (clients_.size() >= kMostClients + kMostClients / 2) TurnOldestAway(Client::Stage::kWriting);
}

void HttpServer::Impl::TurnOldestAway(Client::Stage stage) {
  for (Client& client : clients_) {
    if (client.stage() != stage) continue;
    client.TurnAway();
    return;
  }
}

void HttpServer::Impl::Forget(Client& client) {
  clients_.remove_if([&client](const Client& one) { return &one == &client; });
  EndIfEmpty();
}

void HttpServer::Impl::Answer(Client& client, const std::string& request, const Address& peer) {
  HttpPages::Caller caller;
  caller.address = peer.ToString();
  caller.port = peer.is_unix() ? 0 : peer.port();
  caller.loopback = IsLoopback(peer);
  Hand& hand = HttpPages::IsUrgent(request) ? urgent_ : patient_;
  // The client waits, whatever happens to its socket.
  hand.Do([this, &client, request, caller = std::move(caller)] {
    std::string response = pages_.Respond(request, caller);
    PostCall(scheduler_, [&client, response = std::move(response)]() mutable {
      client.OnResponse(std::move(response));
    });
  });
}

// ---------------------------------------------------------------------------------------------
// One connection

void HttpServer::Impl::Client::Serve(Scheduler& scheduler) {
  if (!server_.Allowed(peer_)) {
    response_ = kForbidden;
  } else if (ReadRequest(scheduler)) {
    stage_ = Stage::kAnswering;
    server_.Answer(*this, request_, peer_);
    scheduler.Await(answered_);
  }
  if (!response_.empty()) Write(scheduler);
}

bool HttpServer::Impl::Client::ReadRequest(Scheduler& scheduler) {
  socket_.SetDeadline(Directions::kRead, scheduler.now() + kRequestTime);
  while (request_.size() < kMostRequestBytes) {
    char bytes[1024];
    const IoResult got = socket_.Read(bytes, sizeof(bytes));
    if (got.error != 0 || (got.bytes == 0 && got.end)) return false;
    // The end may lie across two reads.
    const size_t from = request_.size() < 3 ? 0 : request_.size() - 3;
    request_.append(bytes, got.bytes);
    if (request_.find("\r\n\r\n", from) != std::string::npos) return true;
  }
  response_ = kTooLarge;
  return false;
}

void HttpServer::Impl::Client::Write(Scheduler& scheduler) {
  stage_ = Stage::kWriting;
  size_t pending = 0;
  for (const Client& client : server_.clients_) pending += client.pending_bytes();
  if (pending > kMostPendingBytes) server_.TurnOldestAway(Stage::kWriting);
  socket_.SetDeadline(Directions::kWrite, scheduler.now() + kResponseTime);
  if (socket_.WriteAll(response_.data(), response_.size()).error != 0) return socket_.Reset();
  response_.clear();
  if (socket_.ShutdownWrite() != 0) return;
  // A close before it has read all would take the response from it.
  socket_.SetDeadline(Directions::kRead, scheduler.now() + kFarewell);
  size_t ignored = 0;
  while (ignored < kMostRequestBytes) {
    char bytes[1024];
    const IoResult got = socket_.Read(bytes, sizeof(bytes));
    if (got.error != 0 || got.end) return;
    ignored += got.bytes;
  }
}

// ---------------------------------------------------------------------------------------------

HttpServer::HttpServer(Options options, HttpPages::Ask ask)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(ask))) {}

HttpServer::~HttpServer() = default;

std::string HttpServer::Start() { return impl_->Start(); }

const Address& HttpServer::address() const { return impl_->address(); }

void HttpServer::Allow(AccessList allowed) { impl_->Allow(std::move(allowed)); }

void HttpServer::Stop() { impl_->Stop(); }

}  // namespace parkway
