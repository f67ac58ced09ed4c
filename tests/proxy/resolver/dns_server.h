// DnsServer: a name server that says what a test tells it to say, over UDP and TCP, on a port of
// 127.0.0.1, from a thread of its own.
//
//   DnsServer server;
//   server.Set("app.test", ns_t_a, {.records = {RecordA("app.test", "10.0.0.1", 60)}});
//   server.Asked("app.test", ns_t_a)     how often it was asked that
//
// What it knows nothing of does not exist; a name that it knows with another type has no record.
// Any thread may call.
#ifndef TESTS_PROXY_RESOLVER_DNS_SERVER_H_
#define TESTS_PROXY_RESOLVER_DNS_SERVER_H_

#include <arpa/nameser.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace parkway {

struct DnsRecord {
  std::string name;
  int type;
  uint32_t ttl;
  std::string data;  // as on the wire
};

DnsRecord RecordA(const std::string& name, const std::string& ip, uint32_t ttl);
DnsRecord RecordAaaa(const std::string& name, const std::string& ip, uint32_t ttl);
DnsRecord RecordCname(const std::string& name, const std::string& target, uint32_t ttl);
DnsRecord RecordSrv(const std::string& name, int priority, int weight, int port,
                    const std::string& target, uint32_t ttl);

struct DnsSays {
  enum class How {
    kAnswer,
    kSilent,         // says nothing
    kTruncated,      // UDP: cut short; TCP: all
    kWrongId,        // only an answer to another question
    kWrongIdFirst,   // such a one, and then the right one
    kWrongQuestion,  // the right id, another question
    kGarbage,        // the right id and question, and then noise
    kHangUp,         // UDP: cut short; TCP: closes
  };
  std::vector<DnsRecord> records = {};
  How how = How::kAnswer;
  int rcode = ns_r_noerror;
};

// The whole message that answers `question`, as it came over the wire.
std::string DnsMessage(const std::string& question, const DnsSays& says, bool truncated);
// A question as it comes over the wire.
std::string DnsQuestion(const std::string& name, int type);

class DnsServer {
 public:
  DnsServer();
  ~DnsServer();

  uint16_t port() const { return port_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  void Set(const std::string& name, int type, DnsSays says);
  int Asked(const std::string& name, int type);
  int tcp_connections() const { return tcp_connections_; }

 private:
  void Run();
  void ServeUdp();
  void ServeTcp();
  DnsSays Says(const std::string& question);

  int udp_ = -1;
  int tcp_ = -1;
  int stop_[2] = {-1, -1};
  uint16_t port_ = 0;
  std::atomic<int> tcp_connections_{0};
  std::mutex mutex_;
  std::map<std::pair<std::string, int>, DnsSays> says_;
  std::map<std::pair<std::string, int>, int> asked_;
  std::thread thread_;
};

}  // namespace parkway

#endif  // TESTS_PROXY_RESOLVER_DNS_SERVER_H_
