// SocketServer: the admin socket: a unix socket where a line is a command and lines are the answer.
//
//   SocketServer server(scheduler, {.path = "/run/parkway/admin.sock"}, execute, say);
//   std::string wrong = server.Start();      // empty: it listens
//   server.Stop();                           // and done() when nobody talks any more
//
// A client sends one line, with commands separated by `;`, gets the answer and is closed, which is
// what HAProxy's socket does and what its tools expect. `prompt` keeps the connection for more
// lines, with "> " before each. Words that begin with -- before the command say how to answer:
// --json, and --framed (admin/reply.h), which also keeps the connection.
//
// Who may connect is said by the file: 0660, of the group `parkway` where there is one. Who did is
// logged, as the kernel says (SO_PEERCRED).
//
// Each client is a task of the control thread, so nobody here may harm anybody else:
//   - a line is at most Session::kMostLineBytes, and is to be there within line_patience
//   - an answer is sent in pieces; a client that does not take one in write_patience is closed
//   - while a command runs nothing more is read
//   - at most kMostSessions at once; one more takes the place of the one that has been idle
//     longest, and is turned away if none is
//   - at most Session::kMostPerSecond commands a second of one client: then it waits
//
// Control thread.
//
// Invariants
//   1. A file of somebody who still listens is never removed: it is looked at, removed and bound
//      anew under a lock of its folder, which every Parkway takes.
//   2. Stop removes the file only if it is the one that Start made.
#ifndef PROXY_ADMIN_SOCKET_SERVER_H_
#define PROXY_ADMIN_SOCKET_SERVER_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "poller/scheduler.h"
#include "poller/task.h"
#include "proxy/admin/session.h"

namespace parkway::admin {

class SocketServer {
 public:
  static constexpr size_t kMostSessions = 32;

  struct Options {
    std::string path;
    std::string group = "parkway";
    // From the connection, or the command before, to the first byte of a command.
    absl::Duration idle_patience = absl::Minutes(5);
    absl::Duration line_patience = absl::Seconds(10);
    absl::Duration write_patience = absl::Seconds(30);
  };

  // Runs a command on the stack of its client's task.
  using Execute = Session::Execute;
  // A line for the log.
  using Say = std::function<void(std::string line)>;

  SocketServer(Scheduler& scheduler, Options options, Execute execute, Say say);
  // REQUIRES: never started, or done().
  ~SocketServer();
  SocketServer(const SocketServer&) = delete;
  SocketServer& operator=(const SocketServer&) = delete;

  // Empty, or one line that says why not.
  std::string Start();
  // Accepts nobody any more, and ends who is there.
  void Stop();
  bool done() const { return desc_ == nullptr && sessions_.empty(); }
  size_t sessions() const { return sessions_.size(); }

 private:
  class Acceptor;

  int Bind(std::string* wrong);
  bool RemoveStale(std::string* wrong);
  void GiveToGroup();
  void RemoveOwnFile();
  void Adopt(int fd);
  void Left(Session& session);
  bool MakeRoom();
  // At most so many a second; what is left out is counted.
  void SayLimited(std::string line);

  Scheduler& scheduler_;
  const Options options_;
  const Execute execute_;
  const Say say_;
  int fd_ = -1;
  PollDesc* desc_ = nullptr;
  dev_t device_ = 0;  // of the file that we made
  ino_t inode_ = 0;
  std::unique_ptr<Acceptor> acceptor_;
  std::list<std::unique_ptr<Session>> sessions_;
  bool stopping_ = false;
  MonotonicTime said_since_;
  uint32_t said_ = 0;
  uint64_t unsaid_ = 0;
};

}  // namespace parkway::admin

#endif  // PROXY_ADMIN_SOCKET_SERVER_H_
