// FrontPlan: what a listener does with a connection before a server is chosen for it.
//
// Immutable once made; any thread.
#ifndef PROXY_INBOUND_FRONT_H_
#define PROXY_INBOUND_FRONT_H_

#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"
#include "proxy/inbound/access_list.h"
#include "proxy/inbound/routes.h"

namespace parkway {

enum class AcceptProxy : uint8_t { kOff, kOn, kOptional };

struct FrontPlan {
  AcceptProxy accept_proxy = AcceptProxy::kOff;
  AccessList trusted;  // kAllow: its PROXY header is believed
  absl::Duration proxy_timeout = absl::Seconds(5);

  AccessList access;
  bool only_allowed = false;  // whom no prefix holds is denied
  bool dry_run = false;       // told, and let in

  Routes routes;
  bool connect_on_data = false;  // it waits for the client to say something
  absl::Duration preread_timeout = absl::Seconds(3);
  size_t preread_bytes = size_t{16} * 1024;

  bool operator==(const FrontPlan&) const = default;
};

}  // namespace parkway

#endif  // PROXY_INBOUND_FRONT_H_
