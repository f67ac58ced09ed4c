#include "proxy/inbound/reception.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "absl/strings/str_join.h"
#include "poller/check.h"
#include "poller/socket.h"
#include "proxy/inbound/client_hello.h"
#include "proxy/inbound/proxy_protocol.h"

namespace parkway {

bool Reception::Receive(Session& session, const ListenerPlan& listener, Heard& heard) {
  ListenerLimits* limits = listener.limits.get();
  const bool dry_limits = limits != nullptr && limits->dry_run.load(std::memory_order_relaxed);
  if (limits != nullptr && limits->sources.limits_rate() &&
      !limits->sources.TryBegin(session.client_address(), scheduler_.now()) &&
      !Refuse(session, CloseCause::kLimitSource, listener.reject, dry_limits)) {
    return false;
  }
  const FrontPlan* front = listener.front.get();
  if (front != nullptr) {
    if (front->accept_proxy != AcceptProxy::kOff && !ReadProxyHeader(session, *front, heard)) {
      return false;
    }
    if (!PeerIsLetIn(session, *front, listener.reject)) return false;
  }
  if (limits != nullptr && limits->sources.limits_connections()) {
    if (limits->sources.TryAcquire(session.client_address())) {
      session.counted_source = true;
    } else if (!Refuse(session, CloseCause::kLimitSource, listener.reject, dry_limits)) {
      return false;
    }
  }
  if (front == nullptr) return true;
  if (!front->routes.empty()) return ChooseRoute(session, listener, heard);
  return !front->connect_on_data || HasSpoken(session, *front);
}

// Whoever ends without a word wants no server.
bool Reception::HasSpoken(Session& session, const FrontPlan& front) {
  if (session.up().held() > 0) return true;
  switch (ReadMore(session, front.preread_bytes, scheduler_.now() + front.preread_timeout)) {
    case More::kBytes:
    case More::kFull:
      return true;
    case More::kEnd:
      session.FailConnect(CloseCause::kClientFin);
      return false;
    case More::kTimeout:
      session.FailConnect(CloseCause::kPrereadTimeout);
      return false;
    case More::kFailed:
      break;
  }
  return false;
}

bool Reception::Refuse(Session& session, CloseCause cause, Reject how, bool dry_run) {
  if (dry_run) {
    witness_.WouldRefuse(session, cause);
    return true;
  }
  session.Refuse(cause, how);
  return false;
}

bool Reception::PeerIsLetIn(Session& session, const FrontPlan& front, Reject reject) {
  if (front.access.empty()) return true;
  const Address client = session.client_address().ToAddress();
  // A unix peer has no address; who may reach the socket is a matter of its mode.
  if (client.family() == AF_UNSPEC) return true;
  const AccessList::Verdict verdict = front.access.Find(client);
  if (verdict == AccessList::kAllow) return true;
  if (verdict == AccessList::kNone && !front.only_allowed) return true;
  return Refuse(session, CloseCause::kDenied, reject, front.dry_run);
}

bool Reception::ReadProxyHeader(Session& session, const FrontPlan& front, Heard& heard) {
  const bool optional = front.accept_proxy == AcceptProxy::kOptional;
  if (front.trusted.Find(session.client_address().ToAddress()) != AccessList::kAllow) {
    if (optional) return true;
    session.FailConnect(CloseCause::kDenied);
    return false;
  }
  Relay& up = session.up();
  const MonotonicTime deadline = scheduler_.now() + front.proxy_timeout;
  for (;;) {
    const ProxyParsed parsed = ParseProxyHeader(up.held_bytes());
    switch (parsed.result) {
      case ProxyParsed::Result::kDone:
        heard.has_addresses = parsed.has_addresses;
        heard.source = parsed.source;
        heard.destination = parsed.destination;
        heard.tlvs = parsed.tlvs;
        if (parsed.has_addresses) {
          if (session.remembers()) session.extras().peer = session.client_address();
          session.set_client_address(PackedAddress(parsed.source));
        }
        up.ForgetHeld(parsed.size, tools_);
        return true;
      case ProxyParsed::Result::kNotHeader:
        if (optional) return true;
        session.FailConnect(CloseCause::kProxyHeaderBad);
        return false;
      case ProxyParsed::Result::kBad:
        session.FailConnect(CloseCause::kProxyHeaderBad);
        return false;
      case ProxyParsed::Result::kNeedMore:
        break;
    }
    const More more = ReadMore(session, kMostProxyHeaderBytes, deadline);
    if (more == More::kBytes) continue;
    if (more == More::kFailed) return false;
    const bool silent = up.held() == 0;
    if (silent && optional) return true;
    // Who comes and leaves without a word looks whether somebody listens.
    if (silent && more == More::kEnd) {
      session.FailConnect(CloseCause::kClientFin);
    } else if (more == More::kTimeout) {
      session.FailConnect(CloseCause::kPrereadTimeout);
    } else {
      session.FailConnect(CloseCause::kProxyHeaderBad);
    }
    return false;
  }
}

bool Reception::ChooseRoute(Session& session, const ListenerPlan& listener, Heard& heard) {
  const FrontPlan& front = *listener.front;
  Relay& up = session.up();
  const MonotonicTime deadline = scheduler_.now() + front.preread_timeout;
  FirstBytes seen;
  for (;;) {
    seen = ReadFirstBytes(up.held_bytes());
    if (seen.result == FirstBytes::Result::kDone) break;
    const bool known = seen.protocol != ClientProtocol::kUnknown;
    if (known && !front.routes.look_into_tls()) break;
    const More more = ReadMore(session, front.preread_bytes, deadline);
    if (more == More::kFailed) return false;
    if (more == More::kTimeout) {
      session.FailConnect(CloseCause::kPrereadTimeout);
      return false;
    }
    // By what is known of it.
    if (more == More::kEnd || more == More::kFull) break;
  }
  const std::optional<size_t> route = front.routes.Find(seen);
  const size_t upstream = route.value_or(listener.upstream);
  if (upstream == kNoUpstream) {
    session.FailConnect(CloseCause::kNoRoute);
    return false;
  }
  session.upstream = static_cast<uint16_t>(upstream);
  if (session.remembers()) {
    session.extras().sni = seen.sni;
    session.extras().alpn = absl::StrJoin(seen.alpn, ",");
  }
  heard.sni = std::move(seen.sni);
  return true;
}

Reception::More Reception::ReadMore(Session& session, size_t most, MonotonicTime deadline) {
  Relay& up = session.up();
  for (;;) {
    if (up.source_ended()) return More::kEnd;
    const size_t had = up.held();
    if (had >= most) return More::kFull;
    const size_t size = std::min(most - had, Relay::kFirstReadBytes);
    if (!tools_.chunks->CanBorrow(had + size)) {
      session.FailConnect(CloseCause::kLocalResources);
      return More::kFailed;
    }
    const IoResult got = TryRead(session.client(), tools_.buffer, size);
    if (got.failed()) {
      // This read has eaten the error; nobody else would see it again.
      session.FailClient(got.error);
      return More::kFailed;
    }
    if (got.end) up.set_source_ended();
    up.set_source_drained(got.drained);
    if (got.bytes > 0) {
      const bool held = up.HoldMore(tools_.buffer, got.bytes, tools_);
      PARKWAY_CHECK(held, "a chunk that was there before the read is gone");
      return More::kBytes;
    }
    if (got.end) return More::kEnd;
    const More waited = WaitForMore(session, deadline);
    if (waited != More::kBytes) return waited;
  }
}

// kBytes: there may be some.
Reception::More Reception::WaitForMore(Session& session, MonotonicTime deadline) {
  PollDesc& client = session.client();
  if (!client.registered() && scheduler_.netpoll().Register(client) != 0) {
    session.FailConnect(CloseCause::kLocalResources);
    return More::kFailed;
  }
  scheduler_.SetDeadline(client, Directions::kRead, deadline);
  const WaitResult result = scheduler_.Wait(client, Direction::kRead);
  if (session.ended()) return More::kFailed;
  switch (result) {
    case WaitResult::kReady:
      scheduler_.SetDeadline(client, Directions::kRead, MonotonicTime());
      return More::kBytes;
    case WaitResult::kTimeout:
      scheduler_.SetDeadline(client, Directions::kRead, MonotonicTime());
      return More::kTimeout;
    case WaitResult::kClosing:
      session.FailConnect(CloseCause::kAdminKill);
      return More::kFailed;
    case WaitResult::kNotPollable:
      break;
  }
  session.FailConnect(CloseCause::kLocalResources);
  return More::kFailed;
}

}  // namespace parkway
