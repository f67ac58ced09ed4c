// Session: one client of the admin socket: reads a line, runs it, answers, and again.
//
// A task of the control thread that keeps its stack. Its limits are those of admin/socket_server.h.
#ifndef PROXY_ADMIN_SESSION_H_
#define PROXY_ADMIN_SESSION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "poller/scheduler.h"
#include "poller/socket.h"
#include "poller/task.h"
#include "proxy/admin/conversation.h"
#include "proxy/admin/reply.h"

namespace parkway::admin {

class Session final : public Task, private Conversation, private Reply::Sink {
 public:
  static constexpr size_t kMostLineBytes = 4096;
  static constexpr uint32_t kMostPerSecond = 200;

  struct Times {
    absl::Duration idle;
    absl::Duration line;
    absl::Duration write;
  };
  using Execute =
      std::function<void(const std::vector<std::string_view>& words, Conversation& conversation)>;

  // Takes over `fd`. `left` is called last, and may delete the session.
  Session(Scheduler& scheduler, int fd, const Times& times, const Execute& execute,
          std::function<void(Session&)> left);
  ~Session();

  // False: the fd is closed, and the session must not be spawned.
  bool ok() const { return socket_.ok(); }
  const std::string& who() const override { return who_; }
  // Whether it waits for a command, and since when.
  bool idle() const { return idle_; }
  MonotonicTime since() const { return since_; }
  // It leaves as soon as it runs.
  void End();
  bool ending() const { return ending_; }

  Next Run(Scheduler& scheduler, Wake wake) noexcept override;
  const char* name() const override { return "admin client"; }

 private:
  // What stays valid for bells when the session is gone.
  struct Belfry {
    Scheduler* scheduler;
    Task* task;
  };

  void Talk();
  bool ReadLine(std::string* line);
  // Both: false: the connection is to end.
  bool RunLine(std::string_view line);
  bool RunCommand(std::string_view text);
  void Pace();
  bool ClientGone();

  bool Send(std::string_view bytes) override;

  Reply& reply() override { return *reply_; }
  MonotonicTime now() const override { return scheduler_.now(); }
  Waited WaitUntil(const std::function<bool()>& ready, MonotonicTime deadline) override;
  std::function<void()> bell() override;

  Scheduler& scheduler_;
  Socket socket_;
  const Times times_;
  const Execute& execute_;
  const std::function<void(Session&)> left_;
  const std::shared_ptr<Belfry> belfry_;
  std::string who_;
  std::string in_;    // read and not yet a line
  bool end_ = false;  // the client has said all
  bool idle_ = true;
  bool ending_ = false;
  bool prompt_ = false;
  bool framed_ = false;
  MonotonicTime since_;
  MonotonicTime second_;  // the present one of kMostPerSecond
  uint32_t commands_ = 0;
  std::unique_ptr<Reply> reply_;
};

}  // namespace parkway::admin

#endif  // PROXY_ADMIN_SESSION_H_
