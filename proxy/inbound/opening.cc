#include "proxy/inbound/opening.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>

#include "absl/strings/str_format.h"
#include "poller/check.h"
#include "poller/kernel.h"
#include "poller/socket.h"
#include "proxy/inbound/proxy_protocol.h"

namespace parkway {

namespace {

// Together with the client's first bytes if they are there. 0: all of the header is sent; EAGAIN:
// not yet; else the errno of either side.
int TryOpen(Session& session, std::string_view header, size_t* header_sent, RelayTools& tools) {
  Relay& up = session.up();
  if (up.held() == 0 && !up.source_ended() && tools.chunks->CanBorrow(Relay::kFirstReadBytes)) {
    const IoResult got = TryRead(session.client(), tools.buffer, Relay::kFirstReadBytes);
    if (got.failed()) {
      session.FailClient(got.error);
      return got.error;
    }
    if (got.end) up.set_source_ended();
    up.set_source_drained(got.drained);
    if (got.bytes > 0) {
      const bool held = up.Hold(tools.buffer, got.bytes, tools);
      PARKWAY_CHECK(held, "a chunk that was there before the read is gone");
    }
  }
  const std::string_view first = up.held_bytes();
  iovec parts[2] = {
      {const_cast<char*>(header.data()) + *header_sent, header.size() - *header_sent},
      {const_cast<char*>(first.data()), first.size()},
  };
  const IoResult sent = TryWritev(*session.server(), parts, first.empty() ? 1 : 2);
  if (sent.failed()) return sent.error;
  const size_t of_header = std::min(sent.bytes, header.size() - *header_sent);
  const size_t of_client = sent.bytes - of_header;
  *header_sent += of_header;
  if (of_client > 0) {
    up.HeldSent(of_client, tools);
  }
  return *header_sent == header.size() ? 0 : EAGAIN;
}

}  // namespace

std::string OpeningOf(Session& session, const ProxyOut& wanted, const Heard& heard) {
  ProxyHeader header;
  header.tlvs_in = heard.tlvs;
  header.authority = heard.sni;
  header.source = session.client_address().ToAddress();
  if (heard.has_addresses) {
    header.destination = heard.destination;
  } else {
    sockaddr_storage name = {};
    socklen_t length = sizeof(name);
    auto* any = reinterpret_cast<sockaddr*>(&name);
    if (kernel::GetSockName(session.client().fd(), any, &length) == 0) {
      header.destination = Address::FromSockaddr(any, length);
    }
  }
  const std::string id = absl::StrFormat("%016x%016x", session.id(), session.started().ns());
  header.unique_id = id;
  std::string bytes;
  WriteProxyHeader(wanted.version, header, wanted.tlvs, bytes);
  return bytes;
}

int Open(Scheduler& scheduler, Session& session, std::string_view header, size_t header_sent,
         MonotonicTime deadline, RelayTools& tools) {
  if (header_sent == header.size()) return 0;
  PollDesc& server = *session.server();
  // The client's next bytes must not wait until the server's side has acknowledged the header.
  session.up().SetNoDelayNow(server);
  for (;;) {
    const int error = TryOpen(session, header, &header_sent, tools);
    if (error != EAGAIN) return error;
    if (!server.registered() && scheduler.netpoll().Register(server) != 0) return ENOBUFS;
    if (!session.client().registered() && scheduler.netpoll().Register(session.client()) != 0) {
      return ENOBUFS;
    }
    scheduler.SetDeadline(server, Directions::kWrite, deadline);
    const WaitResult result = scheduler.Wait(server, Direction::kWrite);
    if (session.ended()) return ECANCELED;
    scheduler.SetDeadline(server, Directions::kWrite, MonotonicTime());
    if (result == WaitResult::kTimeout) return ETIMEDOUT;
    if (result != WaitResult::kReady) return ECANCELED;
  }
}

}  // namespace parkway
