// Systemd: what the service manager hears from us, and the sockets that it opened for us.
//
//   Systemd systemd;                       // in main, before any thread starts
//   std::string error;
//   std::vector<InheritedSocket> sockets = TakeInheritedSockets(&error);
//   systemd.Ready("3 of 3 servers up");
//
// libsystemd knows the protocol, but to send it waits for who does not read, so we send. Without a
// service manager nothing is sent: a call costs a comparison. Nobody waits: what cannot be sent is
// said once, and is lost if there will be more of it; a change of state is sent before the next.
//
// Control thread only; TakeInheritedSockets: before it is the engine's.
#ifndef PROXY_SYSTEM_SYSTEMD_H_
#define PROXY_SYSTEM_SYSTEMD_H_

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "poller/address.h"

namespace parkway {

class Systemd {
 public:
  // Reads NOTIFY_SOCKET and WATCHDOG_USEC. `say`: one line, when the manager cannot be told.
  explicit Systemd(std::function<void(const std::string&)> say = nullptr);
  ~Systemd();
  Systemd(const Systemd&) = delete;
  Systemd& operator=(const Systemd&) = delete;

  // Whether anybody hears us.
  bool present() const { return present_; }
  // Without a Beat for so long we are killed; InfiniteDuration: nobody watches.
  absl::Duration watchdog() const { return watchdog_; }

  // `status` is one line for `systemctl status`.
  void Ready(const std::string& status);
  // From now on until the next Ready the service counts as reloading.
  void Reloading();
  void Stopping(const std::string& status);
  void Status(const std::string& status);
  // We are alive.
  void Beat();
  // What we are doing, starting or stopping, may take `more` from now on.
  void Extend(absl::Duration more);

 private:
  // It is sent some time.
  void Tell(const std::string& state);
  // False: it has not been sent, or something before it.
  bool Send(const std::string& text);
  bool SendUntold();
  bool Deliver(const std::string& text);
  // 0 or errno.
  int TryDeliver(const std::string& text);

  const std::function<void(const std::string&)> say_;
  std::string socket_;  // NOTIFY_SOCKET
  bool present_ = false;
  int fd_ = -1;
  absl::Duration watchdog_ = absl::InfiniteDuration();
  std::string last_status_;  // so that the same is not sent again and again
  std::deque<std::string> untold_;
  bool complained_ = false;
};

// A listening socket that was open when we were started. Its descriptor stays open for as long as
// the process runs: what listens has a copy of it.
struct InheritedSocket {
  int fd = -1;
  std::string name;  // FileDescriptorName=, or that of the socket unit
  Address address;
};

// Those of LISTEN_FDS, non-blocking and close-on-exec from now on. What is no listening stream
// socket is an error: one line.
std::vector<InheritedSocket> TakeInheritedSockets(std::string* error);

}  // namespace parkway

#endif  // PROXY_SYSTEM_SYSTEMD_H_
