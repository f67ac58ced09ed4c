// HostsFile: the names of /etc/hosts. What stands there is believed before any name server.
//
//   HostsFile hosts(text);
//   hosts.Find("app1")      its addresses of both families, with port 0, in the file's order
//
// `localhost` is this machine even if the file does not say so. Lines that nobody can read are
// skipped, as everybody does with this file.
//
// Immutable: any thread.
#ifndef PROXY_UPSTREAM_RESOLVER_HOSTS_FILE_H_
#define PROXY_UPSTREAM_RESOLVER_HOSTS_FILE_H_

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "poller/address.h"

namespace parkway {

class HostsFile {
 public:
  explicit HostsFile(std::string_view text);

  // Empty: it is not in the file.
  std::vector<Address> Find(std::string_view name) const;

 private:
  std::map<std::string, std::vector<Address>, std::less<>> hosts_;
};

}  // namespace parkway

#endif  // PROXY_UPSTREAM_RESOLVER_HOSTS_FILE_H_
