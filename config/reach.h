// Reach: which addresses are the same, and which sockets a connection to one arrives at.
//
// Pure functions: any thread.
#ifndef CONFIG_REACH_H_
#define CONFIG_REACH_H_

#include <string>
#include <vector>

#include "config/address.h"

namespace parkway::config {

// The same for two ways to write the same address.
std::string AddressKey(const Address& address);
// The address alone.
std::string IpKey(Address address);
// Two addresses cannot be bound at the same time if one of these is the same.
std::vector<std::string> BindKeys(const Address& address, bool v6only);

// The same of two sockets of which one is not shared: also a wildcard and an address it stands for.
bool Collide(const Address& one, bool one_v6only, const Address& other, bool other_v6only);

// Listening on `any`, a wildcard, takes what is sent to `address` if that is this machine's.
bool Covers(const Address& any, const Address& address, bool v6only);

// A connection to `server` arrives at `listener`, for whatever machine.
bool IsLoop(const Address& listener, const Address& server, bool v6only = false);

}  // namespace parkway::config

#endif  // CONFIG_REACH_H_
