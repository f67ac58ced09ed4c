// SynBytes: the first bytes of a session, for a connect that carries them with its SYN (tfo on an
// upstream).
//
//   SynBytes syn(session, header, tools);          // what there is to say by now, if anything
//   Dial dial = DialStart(..., syn.any() ? &syn.first() : nullptr);
//   ... connected ...
//   int error = syn.Taken();                       // what went is the server's now
//
// Nothing is taken from the client before the server has accepted: another attempt, at another
// server, has all of it.
//
// Owner thread, on the connector's stack. Between its making and DialStart nothing may wait: it
// looks into the worker's buffer.
#ifndef PROXY_INBOUND_SYN_BYTES_H_
#define PROXY_INBOUND_SYN_BYTES_H_

#include <sys/uio.h>

#include <cstddef>
#include <string>

#include "poller/dialer.h"
#include "proxy/session/relay.h"
#include "proxy/session/session.h"

namespace parkway {

class SynBytes {
 public:
  // `header` goes before what the client has said; it may be empty.
  SynBytes(Session& session, std::string header, RelayTools& tools);
  SynBytes(const SynBytes&) = delete;
  SynBytes& operator=(const SynBytes&) = delete;

  // A server that speaks first must not wait for bytes of ours: then the connect goes alone.
  bool any() const { return first_.count > 0; }
  SynData& first() { return first_; }
  // How much of the header went.
  size_t header_sent() const;
  // The server has accepted: takes what went from the client. 0 or errno of the client's socket.
  int Taken();

 private:
  Session& session_;
  const std::string header_;
  RelayTools& tools_;
  bool held_ = false;  // what the client has said is in hand, not in its socket
  iovec parts_[2] = {};
  SynData first_;
};

}  // namespace parkway

#endif  // PROXY_INBOUND_SYN_BYTES_H_
