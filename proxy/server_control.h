// ServerControl: what an operator does to servers at run time, as a change of the plan: weight,
// state, max_conns, servers that come and go.
//
//   ServerControl servers(planner, {.publish = ..., .close = ...});
//   servers.Fill(control);       // its part of what may be asked of the process
//
// Control thread only.
#ifndef PROXY_SERVER_CONTROL_H_
#define PROXY_SERVER_CONTROL_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "proxy/control.h"
#include "proxy/planner.h"

namespace parkway {

class ServerControl {
 public:
  struct Host {
    // Workers go by the planner's plan from now on.
    std::function<void()> publish;
    // Ends the connections of a server evenly over a time; null: there is no such thing.
    std::function<Outcome(const ConnSelector& server, absl::Duration over)> drain;
  };

  ServerControl(Planner& planner, Host host) : planner_(planner), host_(std::move(host)) {}
  ServerControl(const ServerControl&) = delete;
  ServerControl& operator=(const ServerControl&) = delete;

  void Fill(Control& control);

 private:
  // `what`: for the answer, if it is refused.
  Outcome Change(const std::string& what, const std::string& upstream,
                 const Planner::ChangeServers& change, std::string done);
  Outcome SetState(const std::string& upstream, const std::string& server, Control::ServerWord word,
                   std::optional<absl::Duration> over);
  Outcome SetWeight(const std::string& upstream, const std::string& server, uint32_t weight);
  Outcome SetMaxConns(const std::string& upstream, const std::string& server, uint32_t most);
  Outcome Add(const std::string& upstream, const std::string& words);
  Outcome Remove(const std::string& upstream, const std::string& server);

  Planner& planner_;
  const Host host_;
};

}  // namespace parkway

#endif  // PROXY_SERVER_CONTROL_H_
