// Pipes for splice: lent by the worker only while bytes are inside.
//
//   std::optional<Pipe> pipe = pipes.Borrow();    // none: copy instead
//   kernel::Splice(from, pipe->write_fd, ...);
//   ...
//   pipes.Return(*pipe, /*empty=*/true);
//
// A pipe is asked to hold 1 MiB. An unprivileged user may have only so much in pipes
// (fs.pipe-user-pages-soft: 64 such pipes by default), and gets smaller ones beyond: down to
// 64 KiB they are lent, below that copying is better and none is lent.
//
// Owner thread only.
//
// Invariants
//   1. in_use() <= limit; idle() <= keep_idle.
//   2. A pipe that is lent is empty: one that is returned with bytes inside is closed, never kept,
//      so that no stream's bytes reach another.
//   3. Every descriptor of a pipe is closed by this pool, once.
#ifndef POLLER_PIPE_POOL_H_
#define POLLER_PIPE_POOL_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace parkway {

struct Pipe {
  int read_fd = -1;
  int write_fd = -1;
  uint32_t capacity_bytes = 0;
};

struct PipePoolOptions {
  uint32_t limit = 32;     // lent at once
  uint32_t keep_idle = 8;  // empty ones that are kept for the next
};

class PipePool {
 public:
  static constexpr uint32_t kPipeBytes = 1024 * 1024;
  static constexpr uint32_t kLeastPipeBytes = 64 * 1024;

  explicit PipePool(const PipePoolOptions& options);
  // REQUIRES: nothing is lent.
  ~PipePool();
  PipePool(const PipePool&) = delete;
  PipePool& operator=(const PipePool&) = delete;

  // An empty pipe, non-blocking at both ends. None: at the limit, out of descriptors, or the user
  // has too much in pipes.
  std::optional<Pipe> Borrow();
  // REQUIRES: lent by this pool; `empty` is true only if all that went in has come out.
  void Return(const Pipe& pipe, bool empty);
  // Closes the idle ones: their descriptors are needed elsewhere.
  void DropIdle();

  uint32_t in_use() const { return in_use_; }
  uint32_t high_water() const { return high_water_; }
  uint32_t idle() const { return static_cast<uint32_t>(idle_.size()); }
  // Who has spliced bytes out of one says so.
  void CountMoved(size_t bytes) { moved_bytes_ += bytes; }
  uint64_t moved_bytes() const { return moved_bytes_; }
  // Pipes that were made smaller than asked for, and those that could not be made at all.
  uint64_t shrunk() const { return shrunk_; }
  uint64_t refused() const { return refused_; }

 private:
  std::optional<Pipe> Make();

  const PipePoolOptions options_;
  std::vector<Pipe> idle_;  // last in, first out
  uint32_t in_use_ = 0;
  uint32_t high_water_ = 0;
  uint64_t moved_bytes_ = 0;
  uint64_t shrunk_ = 0;
  uint64_t refused_ = 0;
};

}  // namespace parkway

#endif  // POLLER_PIPE_POOL_H_
