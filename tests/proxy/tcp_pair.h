// Two ends of one connection of this machine, as a session or a relay has them.
#ifndef TESTS_PROXY_TCP_PAIR_H_
#define TESTS_PROXY_TCP_PAIR_H_

#include "tests/poller/connected_pair.h"

namespace parkway {

// `far_receives`: the most that the far end's receive queue takes, about; 0: as the system has it.
inline Pair TcpPair(int far_receives = 0) {
  return ConnectedPair(/*inline_urgent=*/true, far_receives);
}

}  // namespace parkway

#endif  // TESTS_PROXY_TCP_PAIR_H_
