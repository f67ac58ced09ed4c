// NameMembers: from a server whose address is a name, and what is known of the name, to servers
// that have addresses.
//
//   resolve=all   each address is a server, NAME/ADDRESS, with the weight, max_conns and health of
//                 the line; of a service with its priority and weight there
//   resolve=one   one server; its addresses are tried one after the other, IPv6 first
//
// The only place that knows both the configuration's servers and the resolver. Pure: any thread.
#ifndef PROXY_NAME_MEMBERS_H_
#define PROXY_NAME_MEMBERS_H_

#include <vector>

#include "config/snapshot.h"
#include "proxy/upstream/resolver/resolver.h"

namespace parkway {

// What to ask for. REQUIRES: server.address.is_name().
NameQuery QueryOf(const config::Server& server);

// In an order that depends on nothing but the addresses. Empty: none is known.
std::vector<config::Server> MembersOf(const config::Server& server, const Resolver::View& view);

}  // namespace parkway

#endif  // PROXY_NAME_MEMBERS_H_
