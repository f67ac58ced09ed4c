// Readings: all numbers of the process at one moment, in one plain struct: what /metrics, the
// dashboard, `show` and the CSV are printed from. Who prints reads no counter itself.
//
// Collected on the control thread (observe/collect.h): sums over the workers, by name. Names are
// those of the configuration; a listener with several addresses is one entry. Entries that were
// removed by a reload stay while they have connections, with `gone` set. Order: that of the
// configuration.
//
// Counts only grow while the process lives, those of an entry while its name does. What is not
// known is zero, or an empty string. Values: any thread.
#ifndef PROXY_OBSERVE_READINGS_H_
#define PROXY_OBSERVE_READINGS_H_

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "proxy/core/close_cause.h"
#include "proxy/core/health_plan.h"
#include "proxy/core/histogram.h"

namespace parkway {

// How many took how long. counts[i]: above kBounds[i-1], at most kBounds[i] microseconds; the last
// one: above all bounds.
template <const auto& kBounds>
struct HistogramReading {
  std::array<uint64_t, kBounds.size() + 1> counts{};
  uint64_t sum_us = 0;

  static constexpr const auto& bounds_us() { return kBounds; }
  uint64_t count() const {
    uint64_t sum = 0;
    for (const uint64_t n : counts) sum += n;
    return sum;
  }
  // The time below which a part `q` (0..1) of them is, linear within a bucket; 0: there are none.
  double QuantileUs(double q) const {
    const double wanted = q * static_cast<double>(count());
    double seen = 0;
    for (size_t i = 0; i < kBounds.size(); ++i) {
      const auto here = static_cast<double>(counts[i]);
      if (here > 0 && seen + here >= wanted) {
        const double low = i == 0 ? 0 : static_cast<double>(kBounds[i - 1]);
        return low + (static_cast<double>(kBounds[i]) - low) * (wanted - seen) / here;
      }
      seen += here;
    }
    return counts.back() == 0 ? 0 : static_cast<double>(kBounds.back());
  }
  void Add(const HistogramReading& other) {
    for (size_t i = 0; i < counts.size(); ++i) counts[i] += other.counts[i];
    sum_us += other.sum_us;
  }
};

using ShortTimes = HistogramReading<kShortTimes>;  // connects, round trips, waiting
using LongTimes = HistogramReading<kLongTimes>;    // lives

// One number for each cause; indexed by CloseCause.
using ByCause = std::array<uint64_t, static_cast<size_t>(CloseCause::kCount)>;

// What the kernel said (TCP_INFO) of connections of one side that have ended.
struct TcpReading {
  ShortTimes rtt;               // smoothed, as of the end
  uint64_t retransmits = 0;     // segments that we sent again
  absl::Duration rwnd_limited;  // our sending was held up by the receiver's window
};

// How a reload went, and what is in force.
struct ReloadReading {
  bool last_ok = true;           // of the last reload, or of the start
  std::string last_error;        // why it was refused; empty: it was not
  absl::Time last_success;       // of the reload or start that made this generation
  uint64_t reloads = 0;          // that were tried
  uint64_t reloads_refused = 0;  // of them
  bool running = false;          // one is under way
};

struct DrainReading {
  bool draining = false;     // connections are being ended, or a stop waits for them
  std::string what;          // "stop", or the youngest drain; empty: none
  uint64_t began_with = 0;   // connections when it began
  uint64_t left = 0;         // that are still to be closed
  absl::Duration time_left;  // until the last is closed; infinite: no end
};

struct ProcessReading {
  std::string version;
  std::string version_date;
  std::string node;  // the name of the machine
  int pid = 0;
  absl::Time started;
  absl::Duration uptime;
  bool ready = false;  // has started: every listener listens
  bool stopping = false;
  uint64_t generation = 1;
  ReloadReading reload;
  DrainReading drain;
  uint64_t connections = 0;       // open
  uint64_t max_connections = 0;   // as configured
  uint64_t connection_limit = 0;  // as it is now: lower while descriptors are short
  uint64_t accepted = 0;
  uint64_t closed = 0;
  uint64_t bytes_from_clients = 0;
  uint64_t bytes_from_servers = 0;
  uint64_t bytes_unsent = 0;   // read, and dropped because the receiver was gone
  uint64_t accept_pauses = 0;  // out of descriptors or at a limit
  std::vector<std::pair<std::string, uint64_t>> accept_errors;  // by errno's name
  uint64_t log_dropped = 0;                                     // log lines that found no room
  // Of the plan, and those of them that nobody may have yet.
  uint64_t listener_slots = 0;
  uint64_t listener_slots_used = 0;
  uint64_t upstream_slots = 0;
  uint64_t upstream_slots_used = 0;
  uint64_t server_slots = 0;       // that servers have, or had and nobody has yet
  uint64_t server_slots_used = 0;  // of them: by a server, or one that is gone and not forgotten
  uint64_t splice_bytes = 0;       // moved without being copied
  uint64_t pipes_max = 0;          // that may hold bytes at once
  uint64_t fds_open = 0;
  uint64_t fds_max = 0;
  uint64_t memory_resident_bytes = 0;
  uint64_t memory_buffers_bytes = 0;
  uint64_t memory_limit_bytes = 0;    // 0: there is none, and the next is not known
  uint64_t memory_counted_bytes = 0;  // that counts against it
  bool memory_short = false;          // nobody is accepted for it
  uint64_t memory_pauses = 0;         // times that this began
  absl::Duration cpu_user;
  absl::Duration cpu_system;
};

struct ListenerReading {
  enum class State : uint8_t { kAccepting, kPaused, kDraining };

  std::string name;
  std::vector<std::string> addresses;
  State state = State::kAccepting;
  bool gone = false;                   // removed; its connections go on
  std::string upstream;                // empty: routes alone decide
  std::vector<std::string> upstreams;  // all that it may lead to, that one first
  uint64_t active = 0;
  uint64_t max_connections = 0;  // its own; 0: only that of the process
  uint64_t total = 0;            // accepted
  ByCause closed{};              // ended, by cause, over all upstreams; includes those turned away
  struct Closed {
    std::string upstream;  // empty: none was chosen
    ByCause causes{};
  };
  std::vector<Closed> closed_by_upstream;  // only those that were met
  uint64_t bytes_received = 0;             // from clients
  uint64_t bytes_sent = 0;                 // to clients
  LongTimes duration;
  TcpReading tcp;  // of the clients' side

  // Turned away before a server was chosen for them: a part of `closed`.
  static constexpr std::array kRejections = {
      CloseCause::kDenied,         CloseCause::kLimitListener,  CloseCause::kLimitSource,
      CloseCause::kProxyHeaderBad, CloseCause::kPrereadTimeout, CloseCause::kNoRoute,
  };
};

constexpr const char* ListenerStateName(ListenerReading::State state) {
  switch (state) {
    case ListenerReading::State::kAccepting:
      break;
    case ListenerReading::State::kPaused:
      return "paused";
    case ListenerReading::State::kDraining:
      return "draining";
  }
  return "accepting";
}

struct ServerReading {
  // The first that applies.
  enum class State : uint8_t {
    kUp,         // takes connections
    kDrain,      // by the operator: finishes those it has
    kDown,       // by the operator
    kUnhealthy,  // by the checks
    kEjected,    // by failed connects, for a time
    kGone,       // removed; its connections go on
  };

  std::string name;
  std::string group;  // of one address of a name: the name; else empty
  std::string address;
  uint32_t weight = 0;
  uint32_t priority = 0;   // 0: not a backup
  uint32_t max_conns = 0;  // 0: no limit
  State state = State::kUp;
  uint32_t flags = 0;    // Server::Flag: all that apply
  bool checked = false;  // has a health check
  uint64_t active = 0;   // connections that are open or being made
  uint64_t total = 0;    // that were connected
  uint64_t connect_attempts = 0;
  std::array<uint64_t, kConnectErrors.size()> connect_errors{};  // in the order of kConnectErrors
  ShortTimes connect_time;
  uint64_t bytes_received = 0;  // from the server
  uint64_t bytes_sent = 0;      // to the server
  TcpReading tcp;               // of the servers' side
  uint64_t checks_passed = 0;
  uint64_t checks_failed = 0;
  HealthWord last_check = HealthWord::kUnknown;
  absl::Duration last_check_took;
  uint64_t transitions = 0;  // by checks: up to down and back, each counted
  uint64_t ejections = 0;
  absl::Duration since;  // how long it has been in this state; zero: since it is known

  bool up() const { return state == State::kUp; }
  uint64_t connect_failures() const {
    uint64_t sum = 0;
    for (const uint64_t n : connect_errors) sum += n;
    return sum;
  }
};

constexpr const char* ServerStateName(ServerReading::State state) {
  switch (state) {
    case ServerReading::State::kUp:
      break;
    case ServerReading::State::kDrain:
      return "drain";
    case ServerReading::State::kDown:
      return "down";
    case ServerReading::State::kUnhealthy:
      return "unhealthy";
    case ServerReading::State::kEjected:
      return "ejected";
    case ServerReading::State::kGone:
      return "gone";
  }
  return "up";
}

// How a servers_file is doing.
struct ServersFileReading {
  std::string path;      // empty: the upstream has none
  uint64_t servers = 0;  // of it, that count now
  std::string error;     // why the file is not what counts; empty: it is
};

struct UpstreamReading {
  std::string name;
  bool gone = false;
  bool used = false;    // a listener or a route names it
  std::string balance;  // the word of the configuration
  uint64_t queue_length = 0;
  uint64_t queue_max = 0;
  ShortTimes queue_time;      // of those who waited and were served
  uint64_t queued = 0;        // had to wait
  uint64_t retries = 0;       // attempts after a failed one
  uint64_t redispatches = 0;  // of them: on another server
  std::vector<ServerReading> servers;
  // What stands behind each name that stands for several servers, added up: these are in `servers`
  // as well, so who adds up all takes either. State: that of the best of them.
  struct Name {
    ServerReading sum;
    uint64_t servers = 0;
    uint64_t servers_up = 0;
  };
  std::vector<Name> names;
  ServersFileReading servers_file;

  uint64_t servers_up() const {
    uint64_t sum = 0;
    for (const ServerReading& server : servers) sum += server.up() && server.weight > 0;
    return sum;
  }
};

struct WorkerReading {
  uint32_t index = 0;
  bool answered = false;  // false: it did not in time; the numbers are its last
  // Since it was first asked and did not answer; zero: it has answered what it was asked.
  absl::Duration silent_for;
  uint64_t connections = 0;
  uint64_t accepts = 0;         // taken from a listener by this worker
  uint64_t handed_over = 0;     // of them, given to another
  uint64_t turns = 0;           // of its loop: grows while it is alive
  double busy_ratio = 0;        // of the last seconds: 0 idle, 1 never asleep
  ShortTimes loop_lag;          // from being called until it looked
  ShortTimes turn_time;         // of busy turns: so long everybody else on it waited
  absl::Duration longest_turn;  // of about the last minute
  uint64_t descriptors = 0;
  uint64_t stacks = 0;
  uint64_t stacks_peak = 0;
  uint64_t buffers = 0;
  uint64_t buffer_bytes = 0;
  uint64_t pipes = 0;
  uint64_t timers = 0;
};

struct DnsReading {
  std::string name;
  absl::Duration age;      // since the last good answer; infinite: there was none
  std::string last_error;  // empty: the last query was answered
  uint64_t queries_ok = 0;
  uint64_t queries_failed = 0;
  std::vector<std::string> answers;
};

// One open connection of those that are worst off: see SlowRank in observe/collect.h. Filled only
// for who asks (the dashboard); the client's address only where that is allowed.
struct SlowReading {
  uint64_t id = 0;
  std::string client;
  std::string listener;
  std::string upstream;
  std::string server;
  absl::Duration age;
  absl::Duration idle;          // since bytes moved
  uint64_t bytes_received = 0;  // from the client
  uint64_t bytes_sent = 0;      // to the client
  absl::Duration rtt_client;
  absl::Duration rtt_server;
  uint64_t waiting_bytes = 0;  // in our hands, the receiver does not take them
};

struct Readings {
  absl::Time taken;
  ProcessReading process;
  std::vector<ListenerReading> listeners;
  std::vector<UpstreamReading> upstreams;
  std::vector<WorkerReading> workers;
  std::vector<DnsReading> dns;
  std::vector<SlowReading> slowest;
};

}  // namespace parkway

#endif  // PROXY_OBSERVE_READINGS_H_
