// Two ends of one TCP connection of this machine.
#ifndef TESTS_POLLER_CONNECTED_PAIR_H_
#define TESTS_POLLER_CONNECTED_PAIR_H_

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace parkway {

// Non-blocking; whoever made it closes both.
struct Pair {
  int near = -1;  // the engine's
  int far = -1;   // the peer's
};

// `far_receives`: the most that the far end's receive queue takes, about; 0: as the system has it.
// The near end has urgent bytes in their place, as the engine's listeners and dialers have them, if
// they are `inline_urgent`.
inline Pair ConnectedPair(bool inline_urgent, int far_receives = 0) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* any = reinterpret_cast<sockaddr*>(&address);
  // Inherited by what is accepted, as in the daemon.
  const int on = inline_urgent ? 1 : 0;
  EXPECT_EQ(setsockopt(listener, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on)), 0);
  EXPECT_EQ(bind(listener, any, length), 0);
  EXPECT_EQ(listen(listener, 1), 0);
  EXPECT_EQ(getsockname(listener, any, &length), 0);
  Pair pair;
  pair.far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (far_receives > 0) {
    EXPECT_EQ(setsockopt(pair.far, SOL_SOCKET, SO_RCVBUF, &far_receives, sizeof(far_receives)), 0);
  }
  EXPECT_EQ(connect(pair.far, any, length), 0);
  pair.near = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  EXPECT_GE(pair.near, 0);
  EXPECT_EQ(fcntl(pair.far, F_SETFL, O_NONBLOCK), 0);
  close(listener);
  return pair;
}

}  // namespace parkway

#endif  // TESTS_POLLER_CONNECTED_PAIR_H_
