// HttpServer: serves HttpPages on an address of its own, so that clients as slow as they like harm
// nobody.
//
//   HttpServer server(options, ask);
//   if (std::string error = server.Start(); !error.empty()) ...
//   ... server.Stop();
//
// Sockets are tasks on an engine of its own thread: who sends a request byte by byte, or does not
// read the response, holds a stack and a descriptor, and both only until a deadline. A whole
// request goes to one of two threads: one for /ready and /live, one for all else, so that the
// probes of an orchestrator never stand behind a large page. When there are too many clients, or
// too much that is not read, the oldest of those that keep us waiting goes.
//
// Who may come: loopback, and networks that `allowed` names; others are told 403.
//
// Start, Allow and Stop: the control thread.
#ifndef PROXY_ADMIN_HTTP_SERVER_H_
#define PROXY_ADMIN_HTTP_SERVER_H_

#include <cstddef>
#include <memory>
#include <string>

#include "poller/address.h"
#include "proxy/admin/http_pages.h"
#include "proxy/inbound/access_list.h"

namespace parkway {

class HttpServer {
 public:
  static constexpr size_t kMostClients = 64;
  static constexpr size_t kMostRequestBytes = 8192;
  static constexpr size_t kMostPendingBytes = size_t{256} << 20;  // of responses
  static constexpr absl::Duration kRequestTime = absl::Seconds(5);
  static constexpr absl::Duration kResponseTime = absl::Seconds(30);

  struct Options {
    Address address;
    AccessList allowed;  // besides loopback
  };

  HttpServer(Options options, HttpPages::Ask ask);
  // Stops.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Empty, or one line that says what failed and why.
  std::string Start();
  // As bound: with the port that the kernel chose for port 0.
  const Address& address() const;
  // These may come besides loopback, from now on.
  void Allow(AccessList allowed);
  void Stop();

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace parkway

#endif  // PROXY_ADMIN_HTTP_SERVER_H_
