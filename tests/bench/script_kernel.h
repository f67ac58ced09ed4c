// A kernel for measurements: takes the place of //poller:kernel_linux when a program is linked.
//
// Its epoll hands out events from a prepared list, its sockets are numbers, and nothing that it
// does costs more than a few nanoseconds. So what is measured is the code above it, with as many
// descriptors as wanted: a process may hold a few ten thousand sockets, and a million numbers.
//
//   - Two sockets whose numbers are 2n and 2n + 1 are a connection's two ends in the proxy: accept
//     gives an even number, and the socket that is made next is its partner.
//   - While `readable_bytes` is not 0, each recv gives so many, as if all had just arrived; nothing
//     is kept for each socket, and a send takes everything. A send that does not go to the partner
//     of what was read last is counted in `astray`.
//   - Memory is real, and counted by the pages that were touched.
//
// One thread.
#ifndef TESTS_BENCH_SCRIPT_KERNEL_H_
#define TESTS_BENCH_SCRIPT_KERNEL_H_

#include <sys/epoll.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace parkway::bench {

class ScriptKernel {
 public:
  static ScriptKernel& Get();

  // From now on epoll hands out these, in this order, round and round; empty: nothing is ready.
  void SetScript(std::vector<epoll_event> events);
  // So many connections wait in the backlog of the one listener.
  void Arrive(uint32_t connections) { arriving_ += connections; }
  uint32_t arriving() const { return arriving_; }
  // The event that says that `fd` is readable. REQUIRES: it was registered.
  epoll_event Readable(int fd) const;
  // Until now the clock was the machine's; from now on it stands at `ns`.
  void SetClock(int64_t ns) { clock_ns_ = ns; }
  // And goes on by so much whenever it is read.
  void SetClockStep(int64_t ns) { clock_step_ns_ = ns; }
  int64_t clock() const { return clock_ns_; }
  // Numbers begin again. REQUIRES: no socket is open.
  void Restart();

  // What was mapped and touched.
  size_t ResidentBytes() const;
  size_t mappings() const { return mappings_.size(); }
  int open_sockets() const { return open_sockets_; }

  size_t readable_bytes = 0;
  uint64_t receives = 0;  // those that gave bytes
  uint64_t sends = 0;
  uint64_t astray = 0;

 private:
  friend struct ScriptCalls;

  int NewSocket() {
    ++open_sockets_;
    return next_fd_++;
  }

  std::vector<epoll_event> script_;
  size_t script_at_ = 0;
  uint32_t arriving_ = 0;
  uint64_t listener_data_ = 0;
  bool listening_ = false;
  int64_t clock_ns_ = 0;  // 0: the machine's
  int64_t clock_step_ns_ = 0;
  int next_fd_ = 2;
  int open_sockets_ = 0;
  int last_read_ = -1;
  uint64_t* registered_ = nullptr;  // by number: what epoll is to say; not counted
  std::map<void*, size_t> mappings_;
};

}  // namespace parkway::bench

#endif  // TESTS_BENCH_SCRIPT_KERNEL_H_
