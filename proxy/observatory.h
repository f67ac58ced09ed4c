// Observatory: what the process shows of itself over HTTP: the numbers that a collector makes, and
// their history.
//
//   Observatory observatory(scheduler, collector, options);
//   if (std::string error = observatory.Start(); !error.empty()) ...
//   ... observatory.End(); ... until observatory.ended()
//
// Without an address it does nothing at all.
//
// Control thread only.
#ifndef PROXY_OBSERVATORY_H_
#define PROXY_OBSERVATORY_H_

#include <memory>
#include <optional>
#include <string>

#include "poller/address.h"
#include "poller/scheduler.h"
#include "proxy/admin/http_server.h"
#include "proxy/inbound/access_list.h"
#include "proxy/observe/collect.h"
#include "proxy/observe/history.h"
#include "proxy/repeated.h"

namespace parkway {

class Observatory {
 public:
  struct Options {
    std::optional<Address> http;  // nothing: off
    AccessList http_allow;        // besides loopback
  };

  // Both live longer, and call back no more once the engine has stopped.
  Observatory(Scheduler& control, Collector& collector, Options options);

  // Empty, or one line that says what failed and why.
  std::string Start();
  // These may ask besides loopback, from now on.
  void Allow(AccessList allowed);
  // No answer comes to HTTP from now on, and its sockets close. Waits for its threads, which wait
  // for nobody.
  void End();
  bool ended() const { return step_.ended(); }

 private:
  void Note();

  Scheduler& control_;
  const Options options_;
  Collector& collector_;
  History history_;
  Repeated step_;
  std::unique_ptr<HttpServer> http_;
};

}  // namespace parkway

#endif  // PROXY_OBSERVATORY_H_
