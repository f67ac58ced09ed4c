// Orders: what an operator may ask of the process, by whatever way: fills the Control that the
// admin socket, signals and the service manager use.
//
//   Orders orders(parts);
//   orders.Fill(control);
//   if (orders.TakeEarlyReload()) control.reload(...);   // once it has started
//
// Control thread only.
#ifndef PROXY_ORDERS_H_
#define PROXY_ORDERS_H_

#include <functional>
#include <string>
#include <vector>

#include "proxy/conn_stream.h"
#include "proxy/control.h"
#include "proxy/drain_desk.h"
#include "proxy/ending.h"
#include "proxy/holds.h"
#include "proxy/observe/access_log.h"
#include "proxy/planner.h"
#include "proxy/reload.h"
#include "proxy/server_control.h"

namespace parkway {

class Orders {
 public:
  // Who does what is asked for; all outlive this.
  struct Parts {
    Planner& planner;
    Reloader& reloader;
    Holds& holds;
    DrainDesk& drains;
    Ending& ending;
    ServerControl& servers;
    ConnDesk& conns;
    // nullptr until it is open.
    std::function<AccessLog*()> log;
    // A reload has been applied: what goes by scalars looks at them again.
    std::function<void()> applied;
  };

  explicit Orders(Parts parts) : parts_(std::move(parts)) {}
  Orders(const Orders&) = delete;
  Orders& operator=(const Orders&) = delete;

  void Fill(Control& control);
  // Whether a reload was asked for before there was anything to reload; says so once.
  bool TakeEarlyReload();

 private:
  void Reload(const Control::Reload& how, const OnOutcome& done);
  void OnReload(const Control::Reload& how, const Outcome& outcome);
  Outcome Drain(const Control::Drain& wanted);
  Outcome ReopenLogs();
  std::vector<std::string> RuntimeLines() const;

  const Parts parts_;
  bool reload_early_ = false;
};

}  // namespace parkway

#endif  // PROXY_ORDERS_H_
