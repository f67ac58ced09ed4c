#include "proxy/session/relay.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cstring>

#include "poller/check.h"
#include "poller/kernel.h"
#include "poller/socket.h"

namespace parkway {

namespace {

void SetNoDelay(PollDesc& sink) {
  const int on = 1;
  // Fails on a unix socket, which has no Nagle either.
  static_cast<void>(kernel::SetSockOpt(sink.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
}

}  // namespace

Relay::Step Relay::Run(PollDesc& source, PollDesc& sink, RelayTools& tools) {
  Step step{.outcome = Outcome::kYield};
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
  for (int reads = 0; reads < kStepReads && step.moved < kStepBytes; ++reads) {
    if (source_ended_) {
      step.outcome = Outcome::kEnd;
      return step;
    }
    const bool room = tools.chunks->CanBorrow(read_bytes_);
    if (!(room ? Copy(source, sink, tools, step) : CopyPeeking(source, sink, tools, step))) {
      return step;
    }
  }
  step.outcome = Outcome::kYield;
  return step;
}

// On failure step.outcome and step.error are set.
bool Relay::Send(PollDesc& sink, const char* data, size_t size, Step& step, size_t* sent) {
  if (no_delay_due_ && (bytes_ > 0 || size > kSegmentBytes)) {
    SetNoDelay(sink);
    no_delay_due_ = false;
  }
  const IoResult result = TryWrite(sink, data, size);
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
  size_t sent = 0;
  if (!Send(sink, chunk_->data() + offset_, held_, step, &sent)) return Hands::kFailed;
  offset_ += static_cast<uint32_t>(sent);
  held_ -= static_cast<uint32_t>(sent);
  if (held_ > 0) return Hands::kFull;
  tools.chunks->Return(*chunk_);
  chunk_ = nullptr;
  offset_ = 0;
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

size_t Relay::Drop(RelayTools& tools) {
  const size_t dropped = held_;
  if (chunk_ != nullptr) tools.chunks->Return(*chunk_);
  chunk_ = nullptr;
  held_ = 0;
  offset_ = 0;
  return dropped;
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
    step.outcome = Outcome::kAwaitReadable;
    return false;
  }
  if (got.bytes == asked) {
    read_bytes_ = static_cast<uint32_t>(std::min<size_t>(read_bytes_ * 2, kMostHeldBytes));
  }
  return true;
}

bool Relay::Copy(PollDesc& source, PollDesc& sink, RelayTools& tools, Step& step) {
  const size_t asked = read_bytes_;
  const IoResult got = TryRead(source, tools.buffer, asked);
  if (got.failed()) {
    step.outcome = Outcome::kSourceError;
    step.error = got.error;
    return false;
  }
  if (got.bytes > 0) {
    size_t sent = 0;
    const bool ok = Send(sink, tools.buffer, got.bytes, step, &sent);
    if (sent < got.bytes) {
      // Held even if the sink has failed: it is counted as undelivered when it is dropped.
      const bool held = Hold(tools.buffer + sent, got.bytes - sent, tools);
      PARKWAY_CHECK(held, "a chunk that was there before the read is gone");
      source_ended_ = got.end;
      read_bytes_ = kFirstReadBytes;
      if (ok) step.outcome = Outcome::kAwaitWritable;
      return false;
    }
  }
  return AfterRead(got, asked, step);
}

// The worker lends no more chunks: the bytes stay in the source's queue until the sink has them.
bool Relay::CopyPeeking(PollDesc& source, PollDesc& sink, RelayTools& tools, Step& step) {
  const IoResult got = TryPeek(source, tools.buffer, kFirstReadBytes);
  if (got.failed()) {
    step.outcome = Outcome::kSourceError;
    step.error = got.error;
    return false;
  }
  if (got.bytes == 0) return AfterRead(got, kFirstReadBytes, step);
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
    step.outcome = Outcome::kAwaitReadable;
    return false;
  }
  return true;
}

}  // namespace parkway
