#include "proxy/observe/metrics.h"

#include <prometheus/metric_type.h>

#include <sstream>
#include <utility>

#include "proxy/observe/metric_lines.h"

namespace parkway {

namespace {

using prometheus::MetricType;
using Family = MetricLines;

// Writes names one after the other: only one is held in memory at a time.
class Writer {
 public:
  explicit Writer(const Readings& readings) : r_(readings) {}

  std::string Write() {
    Process();
    Reload();
    Listeners();
    Servers();
    Upstreams();
    Threads();
    Names();
    Groups();
    Files();
    Standard();
    return std::move(out_).str();
  }

 private:
  template <typename Fill>
  void One(const char* name, const char* help, MetricType type, Fill fill) {
    Family family(name, help, type);
    fill(family);
    family.WriteTo(out_);
  }
  template <typename Fill>
  void Counter(const char* name, const char* help, Fill fill) {
    One(name, help, MetricType::Counter, fill);
  }
  template <typename Fill>
  void Gauge(const char* name, const char* help, Fill fill) {
    One(name, help, MetricType::Gauge, fill);
  }
  template <typename Fill>
  void Histogram(const char* name, const char* help, Fill fill) {
    One(name, help, MetricType::Histogram, fill);
  }
  void Gauge1(const char* name, const char* help, double value) {
    Gauge(name, help, [value](Family& f) { f.Add({}, value); });
  }
  void Counter1(const char* name, const char* help, uint64_t value) {
    Counter(name, help, [value](Family& f) { f.Add({}, value); });
  }

  template <typename Value>
  auto EachListener(Value value) {
    return [this, value](Family& f) {
      for (const ListenerReading& l : r_.listeners) f.Add({{"listener", l.name}}, value(l));
    };
  }
  template <typename Value>
  auto EachUpstream(Value value) {
    return [this, value](Family& f) {
      for (const UpstreamReading& u : r_.upstreams) f.Add({{"upstream", u.name}}, value(u));
    };
  }
  template <typename Visit>
  void ForServers(Visit visit) const {
    for (const UpstreamReading& u : r_.upstreams) {
      for (const ServerReading& s : u.servers) visit(u, s);
    }
  }
  template <typename Value>
  auto EachServer(Value value) {
    return [this, value](Family& f) {
      ForServers([&](const UpstreamReading& u, const ServerReading& s) {
        f.Add({{"upstream", u.name}, {"server", s.name}}, value(s));
      });
    };
  }
  // Of histograms only those that hold something, where there are many.
  template <typename Value>
  auto EachServerSeen(Value value) {
    return [this, value](Family& f) {
      ForServers([&](const UpstreamReading& u, const ServerReading& s) {
        if (!few_servers_ && value(s).count() == 0) return;
        f.Add({{"upstream", u.name}, {"server", s.name}}, value(s));
      });
    };
  }
  template <typename Value>
  auto EachThread(Value value) {
    return [this, value](Family& f) {
      for (const WorkerReading& w : r_.workers) {
        f.Add({{"thread", std::to_string(w.index)}}, value(w));
      }
    };
  }

  void Process();
  void Reload();
  void Listeners();
  void Closed(Family& family) const;
  void Upstreams();
  void Servers();
  void Checks();
  void Threads();
  void Names();
  void Groups();
  void Files();
  void Standard();

  const Readings& r_;
  const bool few_listeners_ = r_.listeners.size() <= kFewListeners;
  const bool few_servers_ = [this] {
    size_t sum = 0;
    for (const UpstreamReading& u : r_.upstreams) sum += u.servers.size();
    return sum <= kFewServers;
  }();
  std::ostringstream out_;
};

double Seconds(absl::Duration duration) { return absl::ToDoubleSeconds(duration); }
double UnixSeconds(absl::Time time) { return Seconds(time - absl::UnixEpoch()); }

void Writer::Process() {
  const ProcessReading& p = r_.process;
  Gauge("build_info", "Version of the running binary.", [&](Family& f) {
    f.Add({{"version", p.version}}, 1.0);
  });
  Gauge1("start_time_seconds", "When the process started, in seconds since 1970.",
         UnixSeconds(p.started));
  Gauge1("uptime_seconds", "How long the process has been running.", Seconds(p.uptime));
  Gauge1("ready", "1 once every listener listens after the start.", p.ready);
  Gauge1("draining", "1 while connections are being ended for a stop or a drain.",
         p.drain.draining);
  Gauge1("drain_connections_left", "Connections that the drain has still to end.",
         static_cast<double>(p.drain.left));
  Gauge1("connections_max", "Connections that the configuration allows.",
         static_cast<double>(p.max_connections));
  Gauge1("connections_limit", "Connections allowed now: fewer while descriptors are short.",
         static_cast<double>(p.connection_limit));
  Counter1("unsent_bytes_total", "Bytes read and dropped because the receiver was gone.",
           p.bytes_unsent);
  Counter1("accept_pauses_total", "Times that accepting paused at a limit or out of descriptors.",
           p.accept_pauses);
  Counter("accept_errors_total", "Failed calls of accept.", [&](Family& f) {
    for (const auto& [name, count] : p.accept_errors) f.Add({{"errno", name}}, count);
  });
  Counter1("log_dropped_total", "Log lines that found no room.", p.log_dropped);
  Counter1("splice_bytes_total", "Bytes moved through pipes, without being copied.",
           p.splice_bytes);
  Gauge1("memory_limit_bytes", "Memory that the process may use; 0: as much as there is.",
         static_cast<double>(p.memory_limit_bytes));
  Gauge1("memory_counted_bytes", "Memory that counts against this limit.",
         static_cast<double>(p.memory_counted_bytes));
  Counter1("memory_pauses_total", "Times that nobody was accepted any more for lack of memory.",
           p.memory_pauses);
  Gauge1("server_slots",
         "Places for servers: those there are, and those that are to be used again.",
         static_cast<double>(p.server_slots));
  Gauge1("fds_open", "Descriptors in use.", static_cast<double>(p.fds_open));
  Gauge1("fds_max", "Descriptors allowed.", static_cast<double>(p.fds_max));
  Gauge1("memory_buffers_bytes", "Memory that holds bytes on their way.",
         static_cast<double>(p.memory_buffers_bytes));
}

void Writer::Reload() {
  const ProcessReading& p = r_.process;
  Gauge1("config_generation", "Generation of the configuration in force; grows with each reload.",
         static_cast<double>(p.generation));
  Gauge1("config_last_reload_successful", "1 if the last reload was applied, 0 if it was refused.",
         p.reload.last_ok);
  Gauge1("config_last_reload_success_timestamp_seconds",
         "When a configuration was last applied, in seconds since 1970.",
         UnixSeconds(p.reload.last_success));
  Counter("config_reloads_total", "Reloads that were tried.", [&](Family& f) {
    f.Add({{"result", "applied"}}, p.reload.reloads - p.reload.reloads_refused);
    f.Add({{"result", "refused"}}, p.reload.reloads_refused);
  });
}

void Writer::Closed(Family& f) const {
  for (const ListenerReading& l : r_.listeners) {
    for (const ListenerReading::Closed& closed : l.closed_by_upstream) {
      for (size_t i = 1; i < closed.causes.size(); ++i) {
        if (closed.causes[i] == 0 && !few_listeners_) continue;
        const std::string cause = CloseCauseName(static_cast<CloseCause>(i));
        f.Add({{"listener", l.name}, {"upstream", closed.upstream}, {"cause", cause}},
              closed.causes[i]);
      }
    }
  }
}

void Writer::Listeners() {
  using L = ListenerReading;
  Gauge("connections_active", "Open connections.",
        EachListener([](const L& l) { return l.active; }));
  Counter("connections_total", "Connections accepted.",
          EachListener([](const L& l) { return l.total; }));
  Counter("connections_rejected_total", "Connections turned away before a server was chosen.",
          [this](Family& f) {
            for (const L& l : r_.listeners) {
              for (const CloseCause cause : L::kRejections) {
                const uint64_t count = l.closed[static_cast<size_t>(cause)];
                if (count == 0 && !few_listeners_) continue;
                f.Add({{"listener", l.name}, {"cause", CloseCauseName(cause)}}, count);
              }
            }
          });
  Counter("connections_closed_total",
          "Connections ended, by cause; without an upstream if none was chosen.",
          [this](Family& f) { Closed(f); });
  Histogram("connection_duration_seconds", "How long connections lived.",
            EachListener([](const L& l) -> const LongTimes& { return l.duration; }));
  Counter("received_bytes_total", "Bytes from clients that were passed on.",
          EachListener([](const L& l) { return l.bytes_received; }));
  Counter("sent_bytes_total", "Bytes to clients.",
          EachListener([](const L& l) { return l.bytes_sent; }));
  Gauge("listener_state", "1 for the state that the listener is in.", [this](Family& f) {
    for (const L& l : r_.listeners) {
      for (const auto state : {L::State::kAccepting, L::State::kPaused, L::State::kDraining}) {
        f.Add({{"listener", l.name}, {"state", ListenerStateName(state)}},
              l.state == state ? 1.0 : 0.0);
      }
    }
  });
  Histogram("tcp_rtt_seconds", "Round trip to clients, smoothed, as their connections ended.",
            EachListener([](const L& l) -> const ShortTimes& { return l.tcp.rtt; }));
  Counter("tcp_retransmits_total", "Segments sent again to clients whose connections have ended.",
          EachListener([](const L& l) { return l.tcp.retransmits; }));
  Counter("tcp_rwnd_limited_seconds_total",
          "How long clients' receive windows held up what was sent to them.",
          EachListener([](const L& l) { return Seconds(l.tcp.rwnd_limited); }));
}

void Writer::Upstreams() {
  using U = UpstreamReading;
  Gauge("upstream_servers", "Servers of the upstream.",
        EachUpstream([](const U& u) { return static_cast<double>(u.servers.size()); }));
  Gauge("upstream_servers_up", "Servers of the upstream that take connections.",
        EachUpstream([](const U& u) { return static_cast<double>(u.servers_up()); }));
  Gauge("upstream_queue_length", "Clients that wait for a server to have room.",
        EachUpstream([](const U& u) { return static_cast<double>(u.queue_length); }));
  Counter("upstream_queued_total", "Clients that had to wait for a server to have room.",
          EachUpstream([](const U& u) { return u.queued; }));
  Histogram("upstream_queue_seconds", "How long those waited that a server was found for.",
            EachUpstream([](const U& u) -> const ShortTimes& { return u.queue_time; }));
  Counter("upstream_retries_total", "Connects after one that failed, for the same client.",
          EachUpstream([](const U& u) { return u.retries; }));
  Counter("upstream_redispatches_total", "Retries that went to another server.",
          EachUpstream([](const U& u) { return u.redispatches; }));
}

void Writer::Servers() {
  using S = ServerReading;
  Gauge("upstream_connections_active", "Connections to the server, open or being made.",
        EachServer([](const S& s) { return static_cast<double>(s.active); }));
  Counter("upstream_connections_total", "Connections made to the server.",
          EachServer([](const S& s) { return s.total; }));
  Counter("upstream_connect_attempts_total", "Connects tried.",
          EachServer([](const S& s) { return s.connect_attempts; }));
  Counter("upstream_connect_errors_total", "Connects that failed.", [this](Family& f) {
    ForServers([&](const UpstreamReading& u, const S& s) {
      for (size_t i = 0; i < s.connect_errors.size(); ++i) {
        if (s.connect_errors[i] == 0 && !few_servers_) continue;
        const std::string cause = CloseCauseName(kConnectErrors[i]);
        f.Add({{"upstream", u.name}, {"server", s.name}, {"cause", cause}}, s.connect_errors[i]);
      }
    });
  });
  Histogram("upstream_connect_seconds", "How long connects took.",
            EachServerSeen([](const S& s) -> const ShortTimes& { return s.connect_time; }));
  Counter("upstream_received_bytes_total", "Bytes from the server.",
          EachServer([](const S& s) { return s.bytes_received; }));
  Counter("upstream_sent_bytes_total", "Bytes to the server.",
          EachServer([](const S& s) { return s.bytes_sent; }));
  Histogram("upstream_tcp_rtt_seconds",
            "Round trip to the server, smoothed, as connections to it ended.",
            EachServerSeen([](const S& s) -> const ShortTimes& { return s.tcp.rtt; }));
  Counter("upstream_tcp_retransmits_total",
          "Segments sent again to the server by connections that have ended.",
          EachServer([](const S& s) { return s.tcp.retransmits; }));
  Counter("upstream_tcp_rwnd_limited_seconds_total",
          "How long the server's receive window held up what was sent to it.",
          EachServer([](const S& s) { return Seconds(s.tcp.rwnd_limited); }));
  Checks();
}

void Writer::Checks() {
  using S = ServerReading;
  Gauge("server_up", "1 if the server takes connections.",
        EachServer([](const S& s) { return s.up() ? 1.0 : 0.0; }));
  Gauge("server_state", "1 for the state that the server is in.", [this](Family& f) {
    ForServers([&](const UpstreamReading& u, const S& s) {
      for (const auto state : {S::State::kUp, S::State::kDrain, S::State::kDown,
                               S::State::kUnhealthy, S::State::kEjected, S::State::kGone}) {
        if (s.state != state && !few_servers_) continue;
        f.Add({{"upstream", u.name}, {"server", s.name}, {"state", ServerStateName(state)}},
              s.state == state ? 1.0 : 0.0);
      }
    });
  });
  Gauge("server_weight", "Weight of the server.",
        EachServer([](const S& s) { return static_cast<double>(s.weight); }));
  Counter("server_checks_total", "Health checks.", [this](Family& f) {
    ForServers([&](const UpstreamReading& u, const S& s) {
      if (!s.checked) return;
      f.Add({{"upstream", u.name}, {"server", s.name}, {"result", "passed"}}, s.checks_passed);
      f.Add({{"upstream", u.name}, {"server", s.name}, {"result", "failed"}}, s.checks_failed);
    });
  });
  Gauge("server_check_seconds", "How long the last health check took.", [this](Family& f) {
    ForServers([&](const UpstreamReading& u, const S& s) {
      if (!s.checked) return;
      f.Add({{"upstream", u.name}, {"server", s.name}}, Seconds(s.last_check_took));
    });
  });
  Counter("server_transitions_total", "Times that health checks changed the server's state.",
          EachServer([](const S& s) { return s.transitions; }));
  Counter("server_ejections_total", "Times that failed connects took the server out.",
          EachServer([](const S& s) { return s.ejections; }));
}

void Writer::Threads() {
  using W = WorkerReading;
  Gauge("thread_connections", "Open connections of the thread.",
        EachThread([](const W& w) { return static_cast<double>(w.connections); }));
  Counter("thread_accepts_total", "Connections that the thread took from a listener.",
          EachThread([](const W& w) { return w.accepts; }));
  Counter("thread_handed_over_total", "Of these, given to a thread with fewer.",
          EachThread([](const W& w) { return w.handed_over; }));
  Gauge("thread_busy_ratio", "Part of the last seconds that the thread ran.",
        EachThread([](const W& w) { return w.busy_ratio; }));
  Counter("thread_turns_total", "Turns of the thread's loop.",
          EachThread([](const W& w) { return w.turns; }));
  Histogram("loop_lag_seconds", "From the moment a thread was called until it looked.",
            EachThread([](const W& w) -> const ShortTimes& { return w.loop_lag; }));
  Histogram("turn_seconds", "How long turns of the thread's loop took that did much.",
            EachThread([](const W& w) -> const ShortTimes& { return w.turn_time; }));
  Gauge("thread_longest_turn_seconds", "The longest of these in about the last minute.",
        EachThread([](const W& w) { return Seconds(w.longest_turn); }));
  Gauge("thread_stacks", "Tasks of the thread that wait with a stack.",
        EachThread([](const W& w) { return static_cast<double>(w.stacks); }));
  double pipes = 0;
  for (const W& w : r_.workers) pipes += static_cast<double>(w.pipes);
  Gauge1("pipes_in_use", "Pipes that hold bytes on their way.", pipes);
}

void Writer::Names() {
  Counter("dns_queries_total", "Questions for addresses, answered and not.", [this](Family& f) {
    for (const DnsReading& d : r_.dns) {
      f.Add({{"name", d.name}, {"result", "ok"}}, d.queries_ok);
      f.Add({{"name", d.name}, {"result", "failed"}}, d.queries_failed);
    }
  });
  Gauge("dns_age_seconds", "Age of the answer in use.", [this](Family& f) {
    for (const DnsReading& d : r_.dns) f.Add({{"name", d.name}}, Seconds(d.age));
  });
}

// What stands behind a name, added up: under names of their own, so that nobody who adds up the
// servers counts it twice.
void Writer::Groups() {
  using N = UpstreamReading::Name;
  const auto each = [this](auto value) {
    return [this, value](Family& f) {
      for (const UpstreamReading& u : r_.upstreams) {
        for (const N& n : u.names) f.Add({{"upstream", u.name}, {"name", n.sum.name}}, value(n));
      }
    };
  };
  Gauge("upstream_name_servers", "Addresses that the name stands for.",
        each([](const N& n) { return static_cast<double>(n.servers); }));
  Gauge("upstream_name_servers_up", "Of these, those that take connections.",
        each([](const N& n) { return static_cast<double>(n.servers_up); }));
  Gauge("upstream_name_connections_active", "Connections to all of these, open or being made.",
        each([](const N& n) { return static_cast<double>(n.sum.active); }));
  Counter("upstream_name_connections_total", "Connections made to those that are there now.",
          each([](const N& n) { return n.sum.total; }));
}

void Writer::Files() {
  const auto each = [this](auto value) {
    return [this, value](Family& f) {
      for (const UpstreamReading& u : r_.upstreams) {
        if (!u.servers_file.path.empty()) f.Add({{"upstream", u.name}}, value(u.servers_file));
      }
    };
  };
  using S = ServersFileReading;
  Gauge("servers_file_ok", "1 if the file is what counts, 0 if an earlier content of it is.",
        each([](const S& s) { return s.error.empty() ? 1.0 : 0.0; }));
  Gauge("servers_file_servers", "Servers of the file that count.",
        each([](const S& s) { return static_cast<double>(s.servers); }));
}

// Under the names of the client libraries, which dashboards expect.
void Writer::Standard() {
  const ProcessReading& p = r_.process;
  const auto one = [this](const char* name, const char* help, MetricType type, double value) {
    Family family("", help, type);
    family.set_name(name);
    family.Add({}, value);
    family.WriteTo(out_);
  };
  one("process_cpu_seconds_total", "Processor time used, user and system.", MetricType::Counter,
      Seconds(p.cpu_user + p.cpu_system));
  one("process_resident_memory_bytes", "Memory in use.", MetricType::Gauge,
      static_cast<double>(p.memory_resident_bytes));
  one("process_open_fds", "Descriptors in use.", MetricType::Gauge,
      static_cast<double>(p.fds_open));
  one("process_max_fds", "Descriptors allowed.", MetricType::Gauge, static_cast<double>(p.fds_max));
  one("process_start_time_seconds", "When the process started, in seconds since 1970.",
      MetricType::Gauge, UnixSeconds(p.started));
}

}  // namespace

std::string MetricsText(const Readings& readings) { return Writer(readings).Write(); }

}  // namespace parkway
