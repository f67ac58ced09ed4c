#include "proxy/system/server_sockets.h"

#include <sys/socket.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "poller/kernel.h"
#include "poller/socket_options.h"

namespace parkway {

namespace {

OptionFailure Try(int family, const SocketOptions& options) {
  const int fd = StreamSocket(family, &options);
  if (fd < 0) {
    // That there is no such family or no descriptor is for a connection to find.
    return IsMultipathRefusal(fd, &options) ? OptionFailure{"mptcp", fd} : OptionFailure();
  }
  const OptionFailure refused = SetSocketOptions(fd, family, options);
  kernel::Close(fd);
  return refused;
}

}  // namespace

std::string TryServerSockets(const Plan& plan) {
  // Most servers say nothing, or the same as the one before.
  std::vector<std::pair<int, const SocketOptions*>> seen;
  for (const auto& upstream : plan.upstreams) {
    for (const ServerPlan& server : upstream->servers) {
      if (!server.sockets.any() && !server.sockets.multipath) continue;
      // One that is yet to be looked up may be of either family.
      const int family = server.address.family() == AF_UNSPEC ? AF_INET : server.address.family();
      const bool known = std::any_of(seen.rbegin(), seen.rend(), [&](const auto& one) {
        return one.first == family && *one.second == server.sockets;
      });
      if (known) continue;
      seen.emplace_back(family, &server.sockets);
      const OptionFailure refused = Try(family, server.sockets);
      if (refused.failed()) {
        return absl::StrCat("server ", upstream->name, "/", server.name, ": ", refused.ToString());
      }
    }
  }
  return "";
}

}  // namespace parkway
