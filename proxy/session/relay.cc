#include "proxy/session/relay.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "poller/check.h"
#include "poller/dialer.h"
#include "poller/kernel.h"
#include "poller/socket.h"

namespace parkway {

namespace {

bool IsUnix(const PollDesc& desc) { return (desc.edge_bits() & PollDesc::kUnix) != 0; }

}  // namespace

Relay::Step Relay::Run(PollDesc& source, PollDesc& sink, RelayTools& tools, size_t budget,
                       size_t limit, bool at_once) {
  Step step{.outcome = Outcome::kYield, .limit = limit, .at_once = at_once};
  switch (WriteHeld(sink, tools, step)) {
    case Hands::kEmpty:
      break;
    case Hands::kFull:
      step.outcome = Outcome::kAwaitWritable;
      return step;
    case Hands::kFailed:
      return step;
  }
  if (source_drained_) {
    source_drained_ = false;
    step.outcome = Outcome::kAwaitReadable;
    return step;
  }
  if (splice_always_ && !bulk_) EnterBulk(tools);
  budget = std::min(budget, limit);
  for (int reads = 0; reads < kStepReads && step.moved < budget; ++reads) {
    if (source_ended_) {
      step.outcome = Outcome::kEnd;
      return step;
    }
    BeforeRead(source);
    bool more = false;
    if (bulk_ && splicing_ == Splicing::kPossible) {
      more = Splice(source, sink, tools, step);
    } else if (tools.chunks->CanBorrow(read_bytes_)) {
      more = Copy(source, sink, tools, step);
    } else {
      more = CopyPeeking(source, sink, tools, step);
    }
    if (!more) return step;
  }
  step.outcome = Outcome::kYield;
  if (step.moved >= kQuickBytes) {
    has_yielded_ = true;
    has_gathered_ = false;
  }
  return step;
}

void Relay::SetNoDelay(PollDesc& sink, bool on) {
  const int value = on ? 1 : 0;
  // Fails on a unix socket, which has no Nagle either.
  static_cast<void>(kernel::SetSockOpt(sink.fd(), IPPROTO_TCP, TCP_NODELAY, &value, sizeof(value)));
  no_delay_off_ = !on;
  no_delay_due_ = false;
}

// On failure step.outcome and step.error are set.
bool Relay::Send(PollDesc& sink, const char* data, size_t size, Step& step, size_t* sent,
                 bool last) {
  // A FIN waits for no acknowledgement and takes along what is there.
  if (no_delay_due_ && !last && (bytes_ > 0 || size > kSegmentBytes)) {
    SetNoDelay(sink, true);
  }
  const IoResult result = TryWrite(sink, data, size, last);
  *sent = result.bytes;
  bytes_ += result.bytes;
  step.moved += result.bytes;
  if (!result.failed()) return true;
  step.outcome = Outcome::kSinkError;
  step.error = result.error;
  return false;
}

Relay::Hands Relay::WriteHeld(PollDesc& sink, RelayTools& tools, Step& step) {
  if (held_ == 0) return Hands::kEmpty;
  if (in_pipe_) {
    if (!SpliceOut(sink, tools, step)) return Hands::kFailed;
    return held_ > 0 ? Hands::kFull : Hands::kEmpty;
  }
  size_t sent = 0;
  if (!Send(sink, chunk_->data() + offset_, held_, step, &sent)) return Hands::kFailed;
  offset_ += static_cast<uint32_t>(sent);
  held_ -= static_cast<uint32_t>(sent);
  if (held_ > 0) return Hands::kFull;
  ReturnHands(tools);
  return Hands::kEmpty;
}

bool Relay::Hold(const char* data, size_t size, RelayTools& tools) {
  PARKWAY_CHECK(held_ == 0, "a relay took bytes in hand while it held others");
  chunk_ = tools.chunks->Borrow(size);
  if (chunk_ == nullptr) return false;
  std::memcpy(chunk_->data(), data, size);
  offset_ = 0;
  held_ = static_cast<uint32_t>(size);
  return true;
}

bool Relay::HoldMore(const char* data, size_t size, RelayTools& tools) {
  if (held_ == 0) return Hold(data, size, tools);
  if (offset_ + held_ + size > chunk_->capacity()) {
    Chunk* larger = tools.chunks->Borrow(held_ + size);
    if (larger == nullptr) return false;
    std::memcpy(larger->data(), chunk_->data() + offset_, held_);
    tools.chunks->Return(*chunk_);
    chunk_ = larger;
    offset_ = 0;
  }
  std::memcpy(chunk_->data() + offset_ + held_, data, size);
  held_ += static_cast<uint32_t>(size);
  return true;
}

void Relay::HeldSent(size_t bytes, RelayTools& tools) {
  bytes_ += bytes;
  ForgetHeld(bytes, tools);
}

void Relay::ForgetHeld(size_t bytes, RelayTools& tools) {
  offset_ += static_cast<uint32_t>(bytes);
  held_ -= static_cast<uint32_t>(bytes);
  if (held_ == 0) ReturnHands(tools);
}

size_t Relay::Drop(RelayTools& tools) {
  const size_t dropped = held_;
  ReturnHands(tools);
  return dropped;
}

void Relay::ReturnHands(RelayTools& tools) {
  if (in_pipe_) {
    tools.pipes->Return({pipe_.read_fd, pipe_.write_fd, pipe_bytes_}, held_ == 0);
    in_pipe_ = false;
  } else if (chunk_ != nullptr) {
    tools.chunks->Return(*chunk_);
  }
  chunk_ = nullptr;
  offset_ = 0;
  held_ = 0;
}

// What follows from a read whose bytes were all taken by the sink.
bool Relay::AfterRead(const IoResult& got, size_t asked, Step& step) {
  if (got.end) {
    source_ended_ = true;
    step.outcome = Outcome::kEnd;
    return false;
  }
  if (got.drained) {
    read_bytes_ = std::max<uint32_t>(read_bytes_ / 2, kFirstReadBytes);
    return false;
  }
  if (got.bytes == asked) GrowReads();
  return true;
}

void Relay::GrowReads() {
  read_bytes_ = static_cast<uint32_t>(std::min<size_t>(read_bytes_ * 2, kMostHeldBytes));
}

// Before a read: see InlineUrgent. A short exchange has but one, and perhaps another that finds the
// FIN, and is spared the call.
void Relay::BeforeRead(PollDesc& source) {
  const uint8_t bits = source.edge_bits();
  const bool nothing_follows = (bits & PollDesc::kHangup) != 0;
  if (inline_due_ && ((has_read_ && !nothing_follows) || (bits & PollDesc::kUrgent) != 0)) {
    InlineUrgent(source);
    inline_due_ = false;
  }
  has_read_ = true;
}

bool Relay::Copy(PollDesc& source, PollDesc& sink, RelayTools& tools, Step& step) {
  const size_t asked = std::min<size_t>(read_bytes_, step.limit - step.moved);
  const IoResult got = TryRead(source, tools.buffer, asked);
  if (got.failed()) {
    step.outcome = Outcome::kSourceError;
    step.error = got.error;
    return false;
  }
  if (got.bytes > 0) {
    size_t sent = 0;
    const bool ok = Send(sink, tools.buffer, got.bytes, step, &sent, got.end && fin_follows_);
    if (sent < got.bytes) {
      // Held even if the sink has failed: it is counted as undelivered when it is dropped.
      const bool held = Hold(tools.buffer + sent, got.bytes - sent, tools);
      PARKWAY_CHECK(held, "a chunk that was there before the read is gone");
      source_ended_ = got.end;
      // A unix socket seldom takes all of a large read, however fast its reader is.
      if (!IsUnix(sink)) {
        read_bytes_ = kFirstReadBytes;
      } else if (got.bytes == kMostHeldBytes) {
        EnterBulk(tools);
      } else if (got.bytes == asked) {
        GrowReads();
      }
      if (ok) step.outcome = Outcome::kAwaitWritable;
      return false;
    }
  }
  const bool more = AfterRead(got, asked, step);
  if (got.drained) {
    Drained(source, sink, step);
  } else if (got.bytes == kMostHeldBytes) {
    EnterBulk(tools);
  }
  return more;
}

// ---------------------------------------------------------------------------------------------
// Bulk

void Relay::EnterBulk(const RelayTools& tools) {
  bulk_ = true;
  small_wakeups_ = 0;
  if (splicing_ != Splicing::kUnknown) return;
  splicing_ = tools.pipes != nullptr ? Splicing::kPossible : Splicing::kImpossible;
}

void Relay::LeaveBulk(PollDesc& sink) {
  bulk_ = false;
  if (no_delay_off_) SetNoDelay(sink, true);
}

void Relay::Drained(const PollDesc& source, PollDesc& sink, Step& step) {
  step.outcome = Outcome::kAwaitReadable;
  if (!bulk_) return;
  const bool much = has_yielded_ || step.moved >= kQuickBytes;
  has_yielded_ = false;
  // The sender on a unix socket has filled its buffer long before a pause ends.
  if (splicing_ == Splicing::kPossible && !IsUnix(source) && Gathers(much, step)) {
    // A tail that Nagle holds back meanwhile waits no longer than that.
    step.outcome = Outcome::kGather;
    return;
  }
  // Nagle must never hold back a tail. Set, it also sends what is there.
  if (no_delay_off_) SetNoDelay(sink, true);
  if (much) {
    small_wakeups_ = 0;
  } else if (step.moved > 0) {
    small_wakeups_ = step.moved < kSmallBytes ? small_wakeups_ + 1 : 0;
  }
  if (small_wakeups_ >= kSmallWakeups) LeaveBulk(sink);
}

// Whether it is worth to wait for more, now that the source has nothing.
bool Relay::Gathers(bool much, const Step& step) {
  const bool in_vain = has_gathered_ && step.moved < kGatheredBytes;
  has_gathered_ = false;
  if (step.moved == 0 && !much) {
    quick_wakeups_ /= 2;
    return false;
  }
  if (!much || !step.at_once || in_vain) {
    quick_wakeups_ = 0;
    return false;
  }
  if (quick_wakeups_ < kQuickWakeups) {
    ++quick_wakeups_;
    return false;
  }
  has_gathered_ = true;
  return true;
}

bool Relay::Splice(PollDesc& source, PollDesc& sink, RelayTools& tools, Step& step) {
  const std::optional<Pipe> pipe = tools.pipes->Borrow();
  if (!pipe.has_value()) {
    LeaveBulk(sink);
    return true;
  }
  const size_t asked = std::min(kSpliceBytes, step.limit - step.moved);
  // What was reported before this is looked at now.
  static_cast<void>(source.Reset(Direction::kRead));
  const IoResult in = TrySpliceIn(source, pipe->write_fd, asked);
  if (in.bytes == 0) {
    tools.pipes->Return(*pipe, /*empty=*/true);
    const uint8_t doubts = PollDesc::kHangup | PollDesc::kError | PollDesc::kUrgent;
    if (in.would_block() && (source.edge_bits() & doubts) == 0) {
      Drained(source, sink, step);
      return false;
    }
    LeaveBulk(sink);
    if (in.error == EINVAL) {
      splicing_ = Splicing::kImpossible;
    } else if (in.failed() && in.error != ENOMEM) {  // that is the pipe's, not the source's
      step.outcome = Outcome::kSourceError;
      step.error = in.error;
      return false;
    }
    return true;  // a read tells what this was
  }
  pipe_ = {pipe->read_fd, pipe->write_fd};
  pipe_bytes_ = pipe->capacity_bytes;
  in_pipe_ = true;
  held_ = static_cast<uint32_t>(in.bytes);
  if (!no_delay_off_ && in.bytes >= kMostHeldBytes && !IsUnix(sink)) SetNoDelay(sink, false);
  if (!SpliceOut(sink, tools, step)) return false;
  while (held_ > 0) {
    const size_t moved = step.moved;
    if (IsUnix(sink) && moved < kStepBytes) {
      TopUp(source, step);
      if (!SpliceOut(sink, tools, step)) return false;
    }
    if (step.moved == moved) {
      step.outcome = Outcome::kAwaitWritable;
      return false;
    }
  }
  return true;
}

// Takes more into the pipe that is not empty yet. A unix socket that is full is told to be writable
// only when three quarters of it were read: until then its reader would soon have nothing to read,
// and the source's writer nowhere to write.
void Relay::TopUp(PollDesc& source, const Step& step) {
  const size_t most = std::min<size_t>({kTopUpBytes, pipe_bytes_, step.limit - step.moved});
  if (held_ >= most) return;
  static_cast<void>(source.Reset(Direction::kRead));
  const IoResult in = TrySpliceIn(source, pipe_.write_fd, most - held_);
  held_ += static_cast<uint32_t>(in.bytes);
  // The next read finds what else stood in its way, but an error of the socket is told only once.
  if (in.failed() && in.error != EINVAL && in.error != ENOMEM) {
    source.add_edge_bits(PollDesc::kError);
  }
}

// Empties the pipe as far as the sink takes it. On failure step.outcome and step.error are set.
bool Relay::SpliceOut(PollDesc& sink, RelayTools& tools, Step& step) {
  const IoResult out = TrySpliceOut(pipe_.read_fd, sink, held_);
  bytes_ += out.bytes;
  step.moved += out.bytes;
  step.spliced += out.bytes;
  tools.pipes->CountMoved(out.bytes);
  held_ -= static_cast<uint32_t>(out.bytes);
  if (out.failed()) {
    step.outcome = Outcome::kSinkError;
    step.error = out.error;
    return false;
  }
  if (held_ == 0) ReturnHands(tools);
  return true;
}

bool Relay::Unpipe(RelayTools& tools) {
  const size_t size = held_;
  Chunk* chunk = tools.chunks->Borrow(size);
  if (chunk == nullptr) return false;
  const ssize_t got = kernel::Read(pipe_.read_fd, chunk->data(), size);
  PARKWAY_CHECK(got == static_cast<ssize_t>(size), "a pipe does not hold what went in");
  held_ = 0;
  ReturnHands(tools);
  chunk_ = chunk;
  held_ = static_cast<uint32_t>(size);
  return true;
}

// The worker lends no more chunks: the bytes stay in the source's queue until the sink has them.
bool Relay::CopyPeeking(PollDesc& source, PollDesc& sink, RelayTools& tools, Step& step) {
  const size_t asked = std::min(kFirstReadBytes, step.limit - step.moved);
  const IoResult got = TryPeek(source, tools.buffer, asked);
  if (got.failed()) {
    step.outcome = Outcome::kSourceError;
    step.error = got.error;
    return false;
  }
  if (got.bytes == 0) {
    const bool more = AfterRead(got, asked, step);
    if (got.drained) Drained(source, sink, step);
    return more;
  }
  size_t sent = 0;
  if (!Send(sink, tools.buffer, got.bytes, step, &sent)) return false;
  if (sent > 0) {
    const IoResult taken = TryDiscard(source, tools.buffer, sent);
    PARKWAY_CHECK(taken.bytes == sent, "bytes that were peeked at are gone");
  }
  if (sent < got.bytes) {
    step.outcome = Outcome::kAwaitWritable;
    return false;
  }
  if (got.drained) {
    Drained(source, sink, step);
    return false;
  }
  return true;
}

}  // namespace parkway
