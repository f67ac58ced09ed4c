#include "poller/pipe_pool.h"

#include <algorithm>

#include "poller/check.h"
#include "poller/kernel.h"

namespace parkway {
namespace {

void ClosePipe(const Pipe& pipe) {
  kernel::Close(pipe.read_fd);
  kernel::Close(pipe.write_fd);
}

}  // namespace

PipePool::PipePool(const PipePoolOptions& options) : options_(options) {
  idle_.reserve(options.keep_idle);
}

PipePool::~PipePool() {
  PARKWAY_CHECK(in_use_ == 0, "a pipe outlives its pool");
  DropIdle();
}

std::optional<Pipe> PipePool::Borrow() {
  if (in_use_ >= options_.limit) return std::nullopt;
  std::optional<Pipe> pipe;
  if (!idle_.empty()) {
    pipe = idle_.back();
    idle_.pop_back();
  } else {
    pipe = Make();
    if (!pipe.has_value()) {
      ++refused_;
      return std::nullopt;
    }
  }
  ++in_use_;
  high_water_ = std::max(high_water_, in_use_);
  return pipe;
}

void PipePool::Return(const Pipe& pipe, bool empty) {
  PARKWAY_CHECK(in_use_ > 0, "a pipe was returned twice");
  --in_use_;
  // A small one is not kept either: the next may get its full size.
  if (empty && pipe.capacity_bytes >= kPipeBytes && idle_.size() < options_.keep_idle) {
    idle_.push_back(pipe);
  } else {
    ClosePipe(pipe);
  }
}

void PipePool::DropIdle() {
  for (const Pipe& pipe : idle_) ClosePipe(pipe);
  idle_.clear();
}

std::optional<Pipe> PipePool::Make() {
  int fds[2];
  if (kernel::Pipe(fds) < 0) return std::nullopt;
  Pipe pipe{fds[0], fds[1], 0};
  for (uint32_t bytes = kPipeBytes; bytes >= kLeastPipeBytes; bytes /= 4) {
    const int capacity = kernel::SetPipeSize(pipe.write_fd, static_cast<int>(bytes));
    if (capacity < 0) continue;
    pipe.capacity_bytes = static_cast<uint32_t>(capacity);
    if (bytes < kPipeBytes) ++shrunk_;
    return pipe;
  }
  ClosePipe(pipe);
  return std::nullopt;
}

}  // namespace parkway
