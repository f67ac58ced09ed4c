#include "tests/poller/echo_server.h"

#include <utility>

#include "poller/kernel.h"
#include "poller/listener.h"
#include "poller/socket.h"

namespace parkway {
namespace {

// One connection, as if it blocked. Lives until its peer is done, or it is evicted.
class Echo final : public Task {
 public:
  Echo(Scheduler& scheduler, int fd) : socket_(Socket::Adopt(scheduler, fd)) {}

  Next Run(Scheduler&, Wake) noexcept override {
    char bytes[4096];
    while (socket_.ok()) {
      const IoResult got = socket_.Read(bytes, sizeof(bytes));
      if (got.failed() || socket_.WriteAll(bytes, got.bytes).failed() || got.end) break;
    }
    delete this;
    return Next::Done();
  }

 private:
  Socket socket_;
};

// Accepts without a stack of its own while nobody comes.
class Acceptor final : public Task {
 public:
  Acceptor(Scheduler& scheduler, int fd) : desc_(*scheduler.netpoll().Allocate(fd, nullptr)) {
    if (scheduler.netpoll().RegisterListener(desc_) != 0) scheduler.Stop();
  }

  Next Run(Scheduler& scheduler, Wake wake) noexcept override {
    if (wake == Wake::kClosing) return Next::Done();
    const Accepted accepted = AcceptOne(desc_.fd());
    if (accepted.fd >= 0) scheduler.Spawn(*new Echo(scheduler, accepted.fd));
    return accepted.error == EAGAIN ? Next::AwaitReadable(desc_) : Next::Yield();
  }

  PollDesc& desc_;
};

}  // namespace

void ServeEcho(Scheduler& scheduler, int listen_fd) {
  Acceptor acceptor(scheduler, listen_fd);
  scheduler.Spawn(acceptor);
  scheduler.Run();
  scheduler.Evict(acceptor.desc_);
  scheduler.Turn();  // the acceptor ends
  scheduler.Close(acceptor.desc_);
  kernel::Close(listen_fd);
}

}  // namespace parkway
