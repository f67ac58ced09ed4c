// ServiceManager: the end that hears what a process under test tells its service manager: a
// datagram socket that NOTIFY_SOCKET names. One at a time; main thread.
#ifndef TESTS_PROXY_SERVICE_MANAGER_H_
#define TESTS_PROXY_SERVICE_MANAGER_H_

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>

#include "gtest/gtest.h"

namespace parkway {

class ServiceManager {
 public:
  ServiceManager() {
    fd_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    sockaddr_un any = {};
    any.sun_family = AF_UNIX;
    // The kernel chooses an abstract name.
    EXPECT_EQ(0, bind(fd_, reinterpret_cast<sockaddr*>(&any), sizeof(any.sun_family)));
    sockaddr_un bound = {};
    socklen_t size = sizeof(bound);
    EXPECT_EQ(0, getsockname(fd_, reinterpret_cast<sockaddr*>(&bound), &size));
    const size_t prefix = sizeof(bound.sun_family) + 1;
    setenv("NOTIFY_SOCKET", ("@" + std::string(bound.sun_path + 1, size - prefix)).c_str(), 1);
  }
  ~ServiceManager() {
    close(fd_);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
  }

  // The next message; "" if there is none.
  std::string Heard() {
    char text[1024];
    const ssize_t size = recv(fd_, text, sizeof(text), 0);
    return size < 0 ? "" : std::string(text, static_cast<size_t>(size));
  }

 private:
  int fd_;
};

}  // namespace parkway

#endif  // TESTS_PROXY_SERVICE_MANAGER_H_
