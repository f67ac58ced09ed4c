// Two ends of one connection of this machine, as a session or a relay has them.
#ifndef TESTS_PROXY_TCP_PAIR_H_
#define TESTS_PROXY_TCP_PAIR_H_

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace parkway {

// Non-blocking; whoever made it closes both.
struct Pair {
  int near = -1;  // the proxy's
  int far = -1;   // the other program's
};

// `far_receives`: the most that the far end's receive queue takes, about; 0: as the system has it.
inline Pair TcpPair(int far_receives = 0) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* any = reinterpret_cast<sockaddr*>(&address);
  // Inherited by what is accepted, as in the daemon.
  const int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
  EXPECT_EQ(bind(listener, any, length), 0);
  EXPECT_EQ(listen(listener, 1), 0);
  EXPECT_EQ(getsockname(listener, any, &length), 0);
  Pair pair;
  pair.far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (far_receives > 0) {
    setsockopt(pair.far, SOL_SOCKET, SO_RCVBUF, &far_receives, sizeof(far_receives));
  }
  EXPECT_EQ(connect(pair.far, any, length), 0);
  pair.near = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  EXPECT_GE(pair.near, 0);
  fcntl(pair.far, F_SETFL, O_NONBLOCK);
  close(listener);
  return pair;
}

}  // namespace parkway

#endif  // TESTS_PROXY_TCP_PAIR_H_
