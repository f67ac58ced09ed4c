// Client: the other end of the admin socket: asks in frames (admin/reply.h) and knows how it ended.
//
//   Client client;
//   std::string wrong = client.Connect("/run/parkway/admin.sock", deadline);
//   Answered answered = client.Ask("show info", {.json = true}, deadline, on_line);
//
// For a program of its own: it waits on the thread that calls. One connection, many questions.
#ifndef PROXY_ADMIN_CLIENT_H_
#define PROXY_ADMIN_CLIENT_H_

#include <functional>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "proxy/admin/command_table.h"

namespace parkway::admin {

class Client {
 public:
  // What a line of an answer is.
  enum class Kind : char { kText = '+', kError = '-', kProgress = '*' };
  using OnLine = std::function<void(Kind kind, std::string_view text)>;

  Client() = default;
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Empty, or one line that says why not.
  std::string Connect(const std::string& path, absl::Time deadline);
  bool connected() const { return fd_ >= 0; }

  struct Answered {
    Status status = Status::kDone;
    std::string broken;  // why no end of the answer came; empty: it did
  };
  // After kTimeout, or an answer without an end, the connection is closed.
  Answered Ask(std::string_view command, bool json, absl::Time deadline, const OnLine& on_line);

 private:
  // False: the deadline has passed.
  bool WaitFor(short events, absl::Time deadline) const;
  Answered Break(Status status, std::string why);

  int fd_ = -1;
  std::string path_;
  std::string in_;
};

}  // namespace parkway::admin

#endif  // PROXY_ADMIN_CLIENT_H_
