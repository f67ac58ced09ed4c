// An echo server on the engine alone: what a program that uses poller/ looks like.
#ifndef TESTS_POLLER_ECHO_SERVER_H_
#define TESTS_POLLER_ECHO_SERVER_H_

#include "poller/scheduler.h"

namespace parkway {

// Answers everything that comes over connections to `listen_fd` with the same, until
// scheduler.Stop(). Owns the fd.
void ServeEcho(Scheduler& scheduler, int listen_fd);

}  // namespace parkway

#endif  // TESTS_POLLER_ECHO_SERVER_H_
