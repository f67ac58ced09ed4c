// Owner: whom a file of ours is to belong to, by the names of this machine.
//
// Reads the databases of users and groups: at start and at a reload, on one thread at a time.
#ifndef PROXY_SYSTEM_OWNER_H_
#define PROXY_SYSTEM_OWNER_H_

#include <sys/types.h>

#include <optional>
#include <string>

namespace parkway {

struct Owner {
  uid_t user;
  gid_t group;  // as for chown: -1 leaves it
};

// USER or USER:GROUP, each a name or a number. Nothing if there is none of that name.
std::optional<Owner> FindOwner(const std::string& text);

}  // namespace parkway

#endif  // PROXY_SYSTEM_OWNER_H_
