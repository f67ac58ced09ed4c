// World: a simulated kernel and network, for tests that run whole workers on one thread.
//
//   World world(seed, faults);
//   world.Enter(process);                 // what kernel.h and clock.h do from now on
//   worker.scheduler_ref().Turn();
//   world.Advance(when);                  // virtual time; deliveries and scripted peers run
//
// Everything is a function of the seed: delays, sizes of segments, faults, the order of events.
// The proxies under test reach it through kernel.h (sim_kernel.cc). The clients and servers around
// them are scripts (peer.h) that use the sockets directly, without descriptors and without faults.
//
// What it imitates is Linux as ENGINE's authors measured it: edges of epoll, the masks of a
// socket in each state, what recv, send and splice return after a FIN, a reset, at an urgent mark;
// reset by unread data, by data to a closed socket, by SO_LINGER 0; full queues of listeners.
//
// It checks what uses it: a call on a descriptor that is not open or belongs to another process, a
// second registration and the like are complaints, and a test demands that there are none.
//
// One thread. Files live until the world ends; an event may keep a pointer to any of them.
//
// Invariants
//   1. Time never goes back, and due events run in the order of their time, then of their making.
//   2. Bytes between two sockets arrive in order; the FIN after the last of them.
//   3. A short read or write, or a false EAGAIN, is always followed by the wake-up that the kernel
//      would owe for it: a lost edge is the engine's fault.
#ifndef TESTS_SIM_WORLD_H_
#define TESTS_SIM_WORLD_H_

#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "poller/address.h"

namespace parkway::sim {

// splitmix64 (Steele, Lea, Flood, 2014): small, and the same everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // 0..n-1; 0 for n == 0.
  uint64_t Below(uint64_t n) { return n == 0 ? 0 : Next() % n; }
  // least..most.
  int64_t Between(int64_t least, int64_t most) {
    return least + static_cast<int64_t>(Below(static_cast<uint64_t>(most - least + 1)));
  }
  // Sizes of all magnitudes up to `most`, small ones often.
  uint64_t Size(uint64_t most) { return Below((most >> Below(17)) + 1); }
  bool Chance(uint32_t of_10000) { return of_10000 > 0 && Below(10000) < of_10000; }

 private:
  uint64_t state_;
};

// Bytes that leave in the order in which they came.
class ByteQueue {
 public:
  size_t size() const { return bytes_.size() - start_; }
  bool empty() const { return size() == 0; }
  const char* data() const { return bytes_.data() + start_; }
  void Push(const char* data, size_t size) { bytes_.insert(bytes_.end(), data, data + size); }
  void Pop(size_t size);
  void Clear();

 private:
  std::vector<char> bytes_;
  size_t start_ = 0;
};

// How often what goes wrong: of 10,000 calls that could.
struct Faults {
  uint32_t short_read = 0;
  uint32_t short_write = 0;
  uint32_t false_eagain = 0;      // followed by the wake-up that is owed
  uint32_t interrupted = 0;       // epoll_pwait2: EINTR
  uint32_t early_timeout = 0;     // epoll_pwait2 reports nothing although something is ready
  uint32_t repeated_event = 0;    // reported again without a new edge
  uint32_t false_event = 0;       // IN or OUT that is not so
  uint32_t stale_event = 0;       // of a registration that has ended
  uint32_t few_events = 0;        // a batch is cut short
  uint32_t accept_aborted = 0;    // ECONNABORTED and its relatives
  uint32_t accept_resources = 0;  // EMFILE, ENFILE, ENOBUFS, ENOMEM
  uint32_t socket_resources = 0;
  uint32_t epoll_add = 0;  // ENOSPC, ENOMEM
  uint32_t send_enobufs = 0;
  uint32_t no_local_port = 0;   // connect: EADDRNOTAVAIL
  uint32_t splice_refused = 0;  // EINVAL or ENOMEM
  uint32_t pipe_resources = 0;
  uint32_t small_pipe = 0;  // F_SETPIPE_SZ: EPERM above 64 KiB
  uint32_t no_memory = 0;   // mmap
  uint32_t syn_lost = 0;    // it is sent again a second later
};

class World;
class Socket;
class Epoll;

// What a descriptor stands for.
class File {
 public:
  enum class Kind : uint8_t { kSocket, kEpoll, kEvent, kPipeRead, kPipeWrite };

  explicit File(Kind k) : kind(k) {}
  virtual ~File() = default;
  // What poll(2) would say; may note, as the kernel does, that a wake-up for OUT is owed.
  virtual uint32_t Mask() { return 0; }

  struct Registration {
    Epoll* epoll = nullptr;
    File* file = nullptr;
    int fd = -1;
    uint32_t events = 0;
    uint64_t data = 0;
    bool ready = false;  // stands in the epoll instance's list
    bool alive = true;
  };

  const Kind kind;
  std::vector<Registration*> registrations;
};

class EventCounter : public File {
 public:
  EventCounter() : File(Kind::kEvent) {}
  uint32_t Mask() override { return (value > 0 ? EPOLLIN : 0u) | EPOLLOUT; }
  uint64_t value = 0;
};

class Epoll : public File {
 public:
  Epoll() : File(Kind::kEpoll) {}
  std::map<int, Registration*> by_fd;
  std::deque<Registration*> ready;
  std::deque<uint64_t> ended;  // data of registrations that are gone, for stale events
};

struct PipeBuffer {
  static constexpr size_t kPageBytes = 4096;
  ByteQueue bytes;
  std::deque<uint32_t> slots;  // bytes in each
  void Pop(size_t size);
  size_t slot_count = 16;
  bool writer = true;
  bool reader = true;
};

class PipeEnd : public File {
 public:
  PipeEnd(Kind k, std::shared_ptr<PipeBuffer> b) : File(k), buffer(std::move(b)) {}
  const std::shared_ptr<PipeBuffer> buffer;
};

// How the bytes of one connection travel.
struct Path {
  int64_t least_ns = 0;
  int64_t most_ns = 0;  // 0: everything arrives before the call returns
  size_t segment_bytes = 64 * 1024;
  bool local() const { return most_ns == 0; }
};

// A stream socket, TCP or unix.
class Socket : public File {
 public:
  enum class State : uint8_t {
    kFresh,  // neither connected nor listening
    kListening,
    kConnecting,   // SYN_SENT
    kEstablished,  // and all states of an orderly end
    kDead,         // CLOSE after a reset or a failure
  };

  explicit Socket(bool is_unix_in) : File(Kind::kSocket), is_unix(is_unix_in) {}

  uint32_t Mask() override;
  bool Writable() const;
  // Bytes that the sender may still add.
  size_t SendRoom() const;
  // Both FINs have been taken: nothing that arrives means anything any more.
  bool Finished() const { return fin_received && fin_delivered; }
  int TakeError() {
    const int taken = error;
    error = 0;
    return taken;
  }

  const bool is_unix;
  int process = -1;  // -1: a script's
  State state = State::kFresh;
  Address local;
  Address remote;
  Path path;
  Socket* peer = nullptr;
  int error = 0;        // SO_ERROR
  bool orphan = false;  // no descriptor and no script has it
  bool shut_read = false;
  bool shut_write = false;

  // Receiving.
  ByteQueue received;
  uint64_t read_position = 0;
  int64_t urgent_at = -1;  // position of the urgent byte that was not passed yet
  bool fin_received = false;
  bool urgent_inline = false;
  size_t receive_capacity = 64 * 1024;
  size_t peeked = 0;  // by the last call

  // Sending.
  ByteQueue queued;
  uint64_t delivered_position = 0;
  std::deque<uint64_t> urgent_queued;
  bool fin_queued = false;
  bool fin_delivered = false;
  bool no_space = false;  // a wake-up for OUT is owed
  bool in_transit = false;
  size_t send_capacity = 64 * 1024;

  // Listening.
  std::deque<Socket*> accept_queue;
  int backlog = 0;
  int handshakes = 0;     // begun and not in the queue yet
  bool filtered = false;  // lets no SYN in
  bool reuse_port = false;
  bool bound = false;
  Socket* listener = nullptr;  // of a child that is not in its queue yet

  bool reset_on_close = false;
  bool no_delay = false;
  bool keepalive = false;
  bool was_reset = false;         // a reset reached it
  bool turned_away = false;       // by an error of accept
  uint64_t calls = 0;             // system calls on it
  std::function<void()> on_wake;  // a script's
};

class World {
 public:
  struct Counts {
    uint64_t clock_reads = 0;
    uint64_t calls = 0;
    uint64_t epoll_waits = 0;
    uint64_t events = 0;
    uint64_t epoll_adds = 0;
    uint64_t splices = 0;  // that moved bytes
    uint64_t spliced_bytes = 0;
    uint64_t false_ends = 0;     // splice said 0 with bytes left
    uint64_t false_eagains = 0;  // splice said EAGAIN at an urgent mark
    uint64_t resource_faults = 0;
    uint64_t handshakes_reset = 0;  // by closing a listener with connections in its queue
    uint64_t wakeups = 0;           // writes of an eventfd
    uint64_t stale_events = 0;
    uint64_t false_events = 0;
    uint64_t resets = 0;       // that arrived
    uint64_t turned_away = 0;  // connections that accept gave an error for
  };

  World(uint64_t seed, const Faults& faults);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // The world and process that kernel.h means on this thread.
  void Enter(int process);
  static World* Current();

  // --- Time ---

  int64_t now() const { return now_; }
  // A monotonic clock reading by the process; counted.
  int64_t ReadClock();
  void At(int64_t when, std::function<void()> event);
  void After(int64_t delay, std::function<void()> event) { At(now_ + delay, std::move(event)); }
  // When the next event is due; INT64_MAX: none.
  int64_t NextEvent() const;
  // Moves the time to `when`, running what is due on the way.
  void Advance(int64_t when);

  // --- For tests ---

  Random& random() { return random_; }
  Counts& counts() { return counts_; }
  Faults& faults() { return faults_; }
  // No fault for as long as the world lasts from now on.
  void StopFaults() { faults_ = Faults(); }
  void SetDescriptorLimit(int process, int limit) { limits_[process] = limit; }
  // Nobody answers there.
  void BlackHole(const Address& address) { black_holes_.insert(Key(address)); }
  // What the paths of new connections to `address` are like.
  void SetPath(const Address& address, const Path& path) { paths_[Key(address)] = path; }
  // Of the queues of each socket made from now on.
  void set_capacity(size_t least, size_t most) {
    least_capacity_ = least;
    most_capacity_ = most;
  }
  int OpenDescriptors(int process) const;
  // The one that was made last.
  Epoll* last_epoll() { return last_epoll_; }
  // Whether it would report something now.
  static bool HasEvents(const Epoll& epoll);
  std::string DescribeDescriptors(int process) const;
  const std::vector<std::string>& complaints() const { return complaints_; }
  void Complain(const std::string& what);

  // --- Sockets, as scripts use them ---

  Socket* NewSocket(bool is_unix, int process);
  int Bind(Socket& socket, const Address& address);
  int Listen(Socket& socket, int backlog);
  int Connect(Socket& socket, const Address& to);
  Socket* Accept(Socket& listener);
  // The first in the queue is gone before it was accepted.
  void TurnAway(Socket& listener);
  int64_t Receive(Socket& socket, char* data, size_t size, bool peek);
  int64_t Send(Socket& socket, const char* data, size_t size, bool urgent = false);
  int ShutdownWrite(Socket& socket);
  int Shutdown(Socket& socket, int how);
  // The last descriptor is closed.
  void CloseSocket(Socket& socket);
  // The connection's state is lost on the way: both ends are told, at most one of them by `only`.
  void FailConnection(Socket& socket, int error);
  int SendQueueBytes(const Socket& socket) const;

  // Every call to stderr (simulation_test --trace).
  static void set_trace(bool on) { trace_ = on; }
  // One line if that is so; returns `result`.
  int64_t Trace(const char* call, int fd, int64_t result) const;

  // --- Descriptors, for sim_kernel.cc ---

  int process() const { return process_; }
  // Each call of kernel.h: time passes, and what is due happens.
  void BeginCall();
  // nullptr: complained about.
  File* Find(int fd, const char* call);
  template <typename T>
  T* FindAs(int fd, File::Kind kind, const char* call) {
    File* file = Find(fd, call);
    if (file == nullptr) return nullptr;
    if (file->kind == kind) return static_cast<T*>(file);
    Complain(std::string(call) + ": descriptor " + std::to_string(fd) + " is of another kind");
    return nullptr;
  }
  // -EMFILE at the limit.
  int AddDescriptor(File* file);
  int CloseDescriptor(int fd);
  int DescriptorLimit() const;
  Epoll* NewEpoll();
  EventCounter* NewEventCounter();
  std::pair<PipeEnd*, PipeEnd*> NewPipe();
  int Control(Epoll& epoll, int operation, int fd, uint32_t events, uint64_t data);
  int Wait(Epoll& epoll, epoll_event* events, int capacity);
  void Signal(EventCounter& counter);
  int64_t SpliceIn(Socket& from, PipeEnd& to, size_t size);
  int64_t SpliceOut(PipeEnd& from, Socket& to, size_t size);
  int64_t ReadPipe(PipeEnd& from, char* data, size_t size);
  // As the kernel's, with the faults of the world.
  int64_t FaultyReceive(Socket& socket, char* data, size_t size, bool peek);
  int64_t FaultySend(Socket& socket, const char* data, size_t size, bool urgent);
  // 0, or the errno of a resource that is missing by seed.
  int ResourceFault(uint32_t of_10000);
  void Wake(File& file, uint32_t key);

 private:
  struct Event {
    int64_t when;
    uint64_t number;
    std::function<void()> run;
  };
  struct Later {
    bool operator()(const Event& a, const Event& b) const {
      return a.when != b.when ? a.when > b.when : a.number > b.number;
    }
  };
  struct Descriptor {
    File* file = nullptr;
    int process = -1;
  };

  static std::string Key(const Address& address) { return address.ToString(); }
  template <typename T, typename... Args>
  T* Make(Args&&... args) {
    auto owned = std::make_unique<T>(std::forward<Args>(args)...);
    T* made = owned.get();
    files_.push_back(std::move(owned));
    return made;
  }
  void RunDue();
  void Enqueue(File::Registration& registration);
  void Forget(File::Registration& registration);
  std::vector<Socket*>* Listeners(const Address& address);
  int64_t Delay(const Path& path);
  // The bytes that recv or splice may take now, up to an urgent mark.
  size_t Readable(const Socket& socket, size_t size) const;
  void Consume(Socket& socket, size_t size);
  int64_t NothingToRead(Socket& socket);
  void OweRead(Socket& socket);
  void OweWrite(Socket& socket);
  void CheckSpace(Socket& from);
  void Pump(Socket& from);
  void Deliver(Socket& from);
  void DeliverFin(Socket& from);
  void SendReset(Socket& from);
  void Kill(Socket& socket);
  void ResetArrives(Socket& victim, int error);
  void SynArrives(Socket& client, const Address& to, int tries);
  void Established(Socket& child);
  int ConnectUnix(Socket& socket, const Address& to);
  void StopListening(Socket& listener);

  Random random_;
  Faults faults_;
  Counts counts_;
  int64_t now_ = 1'000'000'000'000;
  uint64_t next_event_ = 0;
  std::priority_queue<Event, std::vector<Event>, Later> events_;
  bool running_ = false;
  int process_ = -1;
  std::vector<std::unique_ptr<File>> files_;
  std::vector<std::unique_ptr<File::Registration>> registrations_;
  std::vector<Descriptor> descriptors_;
  std::set<int> free_descriptors_;
  std::map<int, int> open_;    // by process
  std::map<int, int> limits_;  // by process
  std::map<std::string, std::vector<Socket*>> bound_;
  std::map<std::string, Path> paths_;
  std::set<std::string> black_holes_;
  uint32_t next_local_ = 0;
  Epoll* last_epoll_ = nullptr;
  size_t least_capacity_ = 4 * 1024;
  size_t most_capacity_ = 256 * 1024;
  std::vector<std::string> complaints_;
  static inline bool trace_ = false;
};

}  // namespace parkway::sim

#endif  // TESTS_SIM_WORLD_H_
