#include "proxy/server_control.h"

#include <utility>

#include "config/snapshot.h"
#include "config/text.h"
#include "proxy/overrides.h"

namespace parkway {

using config::Cat;

namespace {

using Members = Overrides::Members;

constexpr const char* WordName(Control::ServerWord word) {
  switch (word) {
    case Control::ServerWord::kReady:
      break;
    case Control::ServerWord::kDrain:
      return "drain";
    case Control::ServerWord::kDown:
      return "down";
  }
  return "ready";
}

config::ServerState StateOf(Control::ServerWord word) {
  switch (word) {
    case Control::ServerWord::kReady:
      break;
    case Control::ServerWord::kDrain:
      return config::ServerState::kDrain;
    case Control::ServerWord::kDown:
      return config::ServerState::kDown;
  }
  return config::ServerState::kReady;
}

}  // namespace

void ServerControl::Fill(Control& control) {
  control.set_server_state = [this](const std::string& upstream, const std::string& server,
                                    Control::ServerWord word, std::optional<absl::Duration> over) {
    return SetState(upstream, server, word, over);
  };
  control.set_server_weight = [this](const std::string& upstream, const std::string& server,
                                     uint32_t weight) {
    return SetWeight(upstream, server, weight);
  };
  control.set_server_max_conns = [this](const std::string& upstream, const std::string& server,
                                        uint32_t most) {
    return SetMaxConns(upstream, server, most);
  };
  control.add_server = [this](const std::string& upstream, const std::string& words) {
    return Add(upstream, words);
  };
  control.del_server = [this](const std::string& upstream, const std::string& server) {
    return Remove(upstream, server);
  };
}

Outcome ServerControl::Change(const std::string& what, const std::string& upstream,
                              const Planner::ChangeServers& change, std::string done) {
  const std::string wrong = planner_.Change(upstream, change);
  if (!wrong.empty()) return Outcome::Refused(Cat(what, ": ", wrong, "; nothing was changed"));
  host_.publish();
  return Outcome::Done(std::move(done));
}

Outcome ServerControl::SetState(const std::string& upstream, const std::string& server,
                                Control::ServerWord word, std::optional<absl::Duration> over) {
  const std::string what = Cat("server ", WordName(word));
  if (over.has_value() && host_.drain == nullptr) {
    return Outcome::Refused(Cat(what, ": --over is not served; nothing was changed"));
  }
  const Outcome changed = Change(
      what, upstream,
      [&](Overrides& overrides, const config::Upstream& in, const Members& members) {
        return overrides.SetState(in, members, server, StateOf(word));
      },
      Cat("server ", upstream, "/", server, " is ", WordName(word)));
  if (!changed.ok || !over.has_value()) return changed;
  ConnSelector selector;
  selector.upstream = upstream;
  selector.server = server;
  Outcome drain = host_.drain(selector, *over);
  drain.text = Cat(changed.text, "; ", drain.text);
  return drain;
}

Outcome ServerControl::SetWeight(const std::string& upstream, const std::string& server,
                                 uint32_t weight) {
  return Change(
      "server weight", upstream,
      [&](Overrides& overrides, const config::Upstream& in, const Members& members) {
        return overrides.SetWeight(in, members, server, weight);
      },
      Cat("server ", upstream, "/", server, " has weight ", weight));
}

Outcome ServerControl::SetMaxConns(const std::string& upstream, const std::string& server,
                                   uint32_t most) {
  return Change(
      "server max_conns", upstream,
      [&](Overrides& overrides, const config::Upstream& in, const Members& members) {
        return overrides.SetMaxConns(in, members, server, most);
      },
      Cat("server ", upstream, "/", server, " may have ",
          most == 0 ? "any number of" : std::to_string(most), " connections"));
}

Outcome ServerControl::Add(const std::string& upstream, const std::string& words) {
  return Change(
      "server add", upstream,
      [&](Overrides& overrides, const config::Upstream& in, const Members& members) {
        return overrides.Add(in, members, words);
      },
      Cat("upstream ", upstream, " has one server more: ", words));
}

Outcome ServerControl::Remove(const std::string& upstream, const std::string& server) {
  return Change(
      "server del", upstream,
      [&](Overrides& overrides, const config::Upstream& in, const Members& members) {
        return overrides.Remove(in, members, server);
      },
      Cat("server ", upstream, "/", server, " is removed; it gets nobody any more"));
}

}  // namespace parkway
