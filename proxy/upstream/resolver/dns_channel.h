// DnsChannel: asks name servers, without a thread and without waiting: c-ares on a scheduler.
//
//   DnsChannel channel(scheduler, {.servers = "10.0.0.53"});
//   channel.Ask("app.example.net", DnsType::kA, [](DnsReply reply) { ... });
//   ... channel.Stop(); ... until channel.idle()
//
// c-ares decides what is sent to whom and when; its sockets are descriptors of the netpoller, with
// a task that waits for what arrives and, while something waits to be sent, one for that; its
// timeouts are a task that sleeps. An answer that was cut short is asked for again over TCP. What
// is not an answer to what was asked (a wrong id, question or sender) is waited over.
//
// One for each set of name servers. The scheduler's thread only.
//
// Invariants
//   1. Each Ask is replied to once, perhaps before it returns; after Stop() none is.
//   2. A socket of c-ares is closed after the tasks that wait for it have ended, so that its
//      number does not come back while somebody means the old one.
//   3. An edge of a socket is used up: c-ares reads once and is called until it has seen EAGAIN.
#ifndef PROXY_UPSTREAM_RESOLVER_DNS_CHANNEL_H_
#define PROXY_UPSTREAM_RESOLVER_DNS_CHANNEL_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "poller/scheduler.h"
#include "poller/task.h"
#include "proxy/upstream/resolver/dns_answer.h"

struct ares_channeldata;

namespace parkway {

struct DnsReply {
  enum class Kind : uint8_t {
    kAnswer,   // at least one record
    kNothing,  // the name does not exist, or has no such record: a server's word
    kFailure,  // nobody said anything that could be believed
  };
  Kind kind = Kind::kFailure;
  DnsAnswer answer;  // kAnswer
  std::string why;   // kNothing, kFailure: "no such name", "timeout"
};

class DnsChannel {
 public:
  struct Options {
    std::string servers;                        // IP[:PORT],...; empty: those of resolv.conf
    absl::Duration timeout = absl::Seconds(2);  // how long one server is waited for, once
    int attempts = 3;                           // how often all servers are asked
    std::string resolv_conf = "/etc/resolv.conf";
  };
  using Done = std::function<void(DnsReply)>;

  DnsChannel(Scheduler& scheduler, Options options);
  // REQUIRES: idle(), after Stop().
  ~DnsChannel();
  DnsChannel(const DnsChannel&) = delete;
  DnsChannel& operator=(const DnsChannel&) = delete;

  // Completes the name by the search list of resolv.conf, as the C library does.
  void Ask(const std::string& name, DnsType type, Done done);
  // Reads resolv.conf again; what is under way is asked anew. Not from a Done.
  void Reload();

  // Not from a Done.
  void Stop();
  bool idle() const { return stopped_ && connections_.empty() && !ticker_.live(); }

 private:
  class Connection;
  struct Question;
  struct Hooks;  // what c-ares calls

  // Wakes c-ares when one of its questions has waited long enough.
  class Ticker final : public Task {
   public:
    explicit Ticker(DnsChannel& channel) : channel_(channel) {}
    Next Run(Scheduler& scheduler, Wake wake) noexcept override;
    const char* name() const override { return "dns timeouts"; }
    bool live() const { return live_; }
    // Something about the timeouts may have changed.
    void Reconsider();

   private:
    DnsChannel& channel_;
    SleepTimer timer_;
    bool live_ = false;
  };

  void Open();
  void Send(std::unique_ptr<Question> question);
  void Replied(std::unique_ptr<Question> question, int status, const uint8_t* bytes, size_t size);
  // Lets c-ares look at a socket (-1: none) and at its timeouts.
  void Process(int readable, int writable);
  Connection* Find(int fd);
  void Forget(Connection& connection);

  Scheduler& scheduler_;
  const Options options_;
  Ticker ticker_;
  ares_channeldata* channel_ = nullptr;  // null: could not be made, see open_error_
  int open_error_ = 0;
  bool stopped_ = false;
  std::list<std::unique_ptr<Connection>> connections_;
};

}  // namespace parkway

#endif  // PROXY_UPSTREAM_RESOLVER_DNS_CHANNEL_H_
