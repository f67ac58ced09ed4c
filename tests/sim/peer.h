// Peer: a scripted client or server at the end of a proxied connection, inside the world.
//
// What a stream carries follows from its number: eight bytes that name it, then bytes that are a
// function of the number and the position. So the receiver checks each byte as it comes, and
// knows from the first eight whose stream it reads.
//
// A server does not know which client it will get. It may speak at once; what it does otherwise it
// learns from the script that belongs to the client's number.
//
// Cast: all peers of one world, and the stories they play.
#ifndef TESTS_SIM_PEER_H_
#define TESTS_SIM_PEER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "poller/address.h"
#include "tests/sim/world.h"

namespace parkway::sim {

struct Script {
  enum class End : uint8_t {
    kFin,      // after its last byte
    kFinLast,  // after its last byte and the other's FIN
    kReset,    // in the middle
    kClose,    // in the middle, read or not
    kNever,    // waits for the other
  };

  static constexpr uint64_t kHeaderBytes = 8;

  End end = End::kFin;
  uint64_t send_bytes = kHeaderBytes;  // with the header
  // kReset and kClose: when so much was sent and received.
  uint64_t end_after_sent = 0;
  uint64_t end_after_received = 0;
  int64_t end_delay_ns = 0;
  int64_t breaks_off_after_ns = 0;  // whatever was sent until then; 0: never
  bool end_when_delivered = false;  // not before all it sent has been acknowledged
  size_t read_bytes = 64 * 1024;    // at once
  size_t write_bytes = 64 * 1024;
  int64_t pace_ns = 0;  // at most, between two steps
  bool reads = true;
  int64_t reads_after_ns = 0;     // after it was connected or accepted
  uint32_t urgent = 0;            // of 10,000 sends
  int64_t rest_ns = 0;            // once, in the middle of what it sends
  bool waits_for_answer = false;  // sends the rest only when as much has come back
};

// What one connection is to be.
struct Story {
  Script client;
  Script server;
  int64_t start_ns = 0;
  Address to;
  uint32_t number = 0;  // the client's stream
  size_t place = 0;     // among the stories
  // The client's connection is lost on the way after so many bytes from the server; 0: never.
  uint64_t lost_after = 0;
  int lost_error = 0;
};

class Cast;

class Peer {
 public:
  Peer(Cast& cast, uint32_t stream, Socket& socket, bool is_client)
      : cast_(cast), socket_(socket), stream_(stream), is_client_(is_client) {}

  void Wake();

  // --- What it has seen and done ---

  Socket& socket() { return socket_; }
  uint32_t stream() const { return stream_; }
  uint64_t sent() const { return sent_; }
  uint64_t received() const { return received_; }
  bool saw_fin() const { return saw_fin_; }
  int saw_error() const { return saw_error_; }
  bool fin_sent() const { return fin_sent_; }
  // Reset or closed in the middle, by its script.
  bool broke_off() const { return broke_off_; }
  bool was_reset() const { return saw_error_ != 0; }
  bool over() const { return over_; }
  bool lost() const { return lost_; }
  bool connected() const { return connected_; }
  // Whose stream it has received; null: less than a header came.
  Peer* other() const { return other_; }
  const Script& script() const { return script_; }
  const Address& local() const { return socket_.local; }
  // When its FIN or its breaking off was.
  int64_t ended_at() const { return ended_at_; }
  // Ping-pong: the longest wait for an answer, on the cast's clock.
  uint64_t longest_wait() const { return longest_wait_; }
  std::string Describe() const;

 private:
  friend class Cast;

  void Schedule(int64_t delay);
  void Step();
  // False: it is over.
  bool ReadSome(bool* more);
  bool SendSome(bool* more);
  void BreakOff();
  void Close();
  void Check(const char* data, size_t size);

  Cast& cast_;
  Socket& socket_;
  Script script_;
  const uint32_t stream_;
  const bool is_client_;
  bool knows_script_ = false;
  uint64_t speaks_first_ = 0;  // a server: bytes it sends before it knows
  Peer* other_ = nullptr;
  const Story* story_ = nullptr;  // a client's
  bool lost_ = false;
  uint64_t sent_ = 0;
  uint64_t received_ = 0;
  uint64_t answers_ = 0;
  uint64_t asked_at_ = 0;
  uint64_t longest_wait_ = 0;
  int64_t ended_at_ = 0;
  uint32_t header_ = 0;  // bytes of it that have come
  uint32_t other_stream_ = 0;
  int64_t resumes_at_ = 0;
  int saw_error_ = 0;
  bool connected_ = false;
  bool rested_ = false;
  bool scheduled_ = false;
  bool saw_fin_ = false;
  bool fin_sent_ = false;
  bool broke_off_ = false;
  bool ending_ = false;
  bool patience_ends_ = false;
  int64_t began_at_ = 0;
  bool over_ = false;
};

class Cast {
 public:
  explicit Cast(World& world) : world_(world) {}

  // A server that accepts at `address`; `speaks_first`: of 10,000 connections.
  void AddServer(const Address& address, uint32_t speaks_first, int backlog = 128);
  // Nobody listens there any more.
  void StopServer(const Address& address);
  // Connects at its time.
  Story& AddStory(const Story& story);

  // Counts something that waits are measured in, such as turns of a worker.
  void set_clock(std::function<uint64_t()> clock) { clock_ = std::move(clock); }

  World& world() { return world_; }
  size_t clients() const { return stories_.size(); }
  bool AllOver() const { return clients_over_ == stories_.size(); }
  // Servers that still have a connection.
  size_t open_servers() const { return open_servers_; }
  const std::vector<std::unique_ptr<Story>>& stories() const { return stories_; }
  // Of that story; null before it has begun.
  Peer* client(const Story& story) { return clients_[story.place]; }
  std::vector<std::unique_ptr<Peer>>& peers() { return peers_; }
  const std::vector<std::string>& complaints() const { return complaints_; }
  void Complain(const std::string& what) {
    if (complaints_.size() < 20) complaints_.push_back(what);
  }

 private:
  friend class Peer;
  void Start(Story& story);
  void Connect(Peer& client);
  void AcceptAll(Socket& listener, uint32_t speaks_first);
  Peer* Find(uint32_t stream) { return stream < peers_.size() ? peers_[stream].get() : nullptr; }

  World& world_;
  std::vector<std::unique_ptr<Story>> stories_;
  std::vector<Peer*> clients_;
  std::vector<std::unique_ptr<Peer>> peers_;  // by stream
  std::vector<Socket*> listeners_;
  std::vector<std::string> complaints_;
  std::function<uint64_t()> clock_;
  size_t clients_over_ = 0;
  size_t open_servers_ = 0;
  std::vector<char> scratch_;
};

}  // namespace parkway::sim

#endif  // TESTS_SIM_PEER_H_
