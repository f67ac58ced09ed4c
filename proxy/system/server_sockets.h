// TryServerSockets: whether connections to the servers of a plan can be made as it says, found out
// at a start or reload and not by the first client.
//
// Any thread. Makes a socket for each way that the plan has, and closes it.
#ifndef PROXY_SYSTEM_SERVER_SOCKETS_H_
#define PROXY_SYSTEM_SERVER_SOCKETS_H_

#include <string>

#include "proxy/core/plan.h"

namespace parkway {

// Empty, or one line that says which option the kernel refuses, for which server, and what that
// needs.
std::string TryServerSockets(const Plan& plan);

}  // namespace parkway

#endif  // PROXY_SYSTEM_SERVER_SOCKETS_H_
