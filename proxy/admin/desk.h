// Desk: the admin interface as the process has it: the socket and the commands behind it.
//
//   Desk desk(scheduler, {.control = control, .read = ..., .say = ..., .version = ...});
//   std::string wrong = desk.Open("/run/parkway/admin.sock");    // empty: it is open
//   desk.Close();                                                // and done() soon
//
// Control thread.
#ifndef PROXY_ADMIN_DESK_H_
#define PROXY_ADMIN_DESK_H_

#include <memory>
#include <string>

#include "poller/scheduler.h"
#include "proxy/admin/commands.h"
#include "proxy/admin/socket_server.h"

namespace parkway::admin {

class Desk {
 public:
  Desk(Scheduler& scheduler, Commands::Services services)
      : scheduler_(scheduler), say_(services.say), commands_(std::move(services)) {}

  std::string Open(const std::string& path) {
    socket_ = std::make_unique<SocketServer>(
        scheduler_, SocketServer::Options{.path = path},
        [this](const auto& words, Conversation& conversation) {
          commands_.Execute(words, conversation);
        },
        say_);
    return socket_->Start();
  }
  // Ends who talks, and removes the socket.
  void Close() {
    if (socket_ != nullptr) socket_->Stop();
  }
  bool done() const { return socket_ == nullptr || socket_->done(); }

 private:
  Scheduler& scheduler_;
  const SocketServer::Say say_;
  Commands commands_;
  std::unique_ptr<SocketServer> socket_;
};

}  // namespace parkway::admin

#endif  // PROXY_ADMIN_DESK_H_
