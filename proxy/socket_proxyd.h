// SocketProxyd: the command line of systemd-socket-proxyd, said in flags of our own, so that units
// made for it run parkway instead.
//
//   [Service]
//   ExecStart=/usr/sbin/parkway socket-proxyd --exit-idle-time=5min localhost:80
//
// A pure function: any thread.
#ifndef PROXY_SOCKET_PROXYD_H_
#define PROXY_SOCKET_PROXYD_H_

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace parkway {

struct SocketProxyd {
  // How all sockets that were passed are to be called: the arguments name this listener.
  static constexpr char kListener[] = "proxy";

  std::vector<std::string> arguments;  // flags, without the program's name
  // How long nobody may be connected before the process ends.
  absl::Duration exit_idle_time = absl::InfiniteDuration();
  std::string text;   // instead of running: the help
  std::string error;  // what is wrong: one line
};

// Whether the program was called by that name, or is to act as it ("parkway socket-proxyd ...").
bool IsSocketProxyd(int argc, char** argv);
SocketProxyd ParseSocketProxyd(int argc, char** argv);

}  // namespace parkway

#endif  // PROXY_SOCKET_PROXYD_H_
