// Relay: one direction of a connection. It moves bytes from one socket to another until the
// source ends or either fails, and its whole state is this record: nothing of it lives on a stack.
//
// Copy path. A read goes into the worker's one large buffer and is written from there; only what
// the receiver did not take moves into a chunk that the direction then holds. While it holds one
// it does not read: back-pressure is the kernel's window. A direction that waits for input holds
// nothing; a blocked one holds at most kMostHeldBytes, and above the worker's cap of chunks
// nothing at all: it peeks, sends, and discards what was sent.
//
// Reads start at kFirstReadBytes and double while every write is taken whole; by a unix socket,
// which often takes a part, also in part.
//
// Bulk. A read that fills the whole buffer makes a direction bulk: it then splices through a pipe,
// which is lent only while bytes are inside, and its sink sends full segments (TCP_NODELAY off)
// until the source is drained. Where that comes again and again within a moment, each time with
// one segment or two, waking up for each costs more than moving it: it asks for a pause instead
// (kGather) and finds more at once. It is bulk no more after kSmallWakeups wake-ups that each
// brought little. What splice says of the source's end is not believed (an urgent mark looks like
// one): a read confirms it.
//
// Unix sockets splice as well, but without pauses, for who writes to one can fill no more than its
// 200 KB; and where one takes only a part, the pipe is topped up while its reader makes room.
//
// Owner thread only. Knows no session: what must be decided is returned.
//
// Invariants
//   1. Bytes leave in the order in which they came, each once.
//   2. It reads only while it holds nothing, but for what tops up the pipe of a unix socket.
//   3. The end of the source is reported (kEnd) after the last byte was taken by the sink.
#ifndef PROXY_SESSION_RELAY_H_
#define PROXY_SESSION_RELAY_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "poller/pipe_pool.h"
#include "poller/poll_desc.h"
#include "poller/pools.h"

namespace parkway {

// What the relays of one worker share.
struct RelayTools {
  static constexpr size_t kBufferBytes = 64 * 1024;

  char* buffer = nullptr;  // kBufferBytes; empty between activations
  ChunkPool* chunks = nullptr;
  PipePool* pipes = nullptr;  // null: never splice
};

class Relay {
 public:
  static constexpr size_t kFirstReadBytes = 16 * 1024;
  static constexpr size_t kMostHeldBytes = RelayTools::kBufferBytes;
  // An activation ends after so much, that others get their turn.
  static constexpr size_t kStepBytes = 256 * 1024;
  static constexpr int kStepReads = 16;
  // Asked for at once: 128 KiB costs a fifth more, and a pipe holds 1 MiB of full slots.
  static constexpr size_t kSpliceBytes = 512 * 1024;
  // In a pipe that a unix socket did not take whole.
  static constexpr size_t kTopUpBytes = 256 * 1024;
  static constexpr size_t kSmallBytes = 16 * 1024;
  static constexpr uint8_t kSmallWakeups = 4;
  // Bulk that drained its source so often in a row, each time at once and with so much, gathers.
  static constexpr uint8_t kQuickWakeups = 7;
  static constexpr size_t kQuickBytes = 48 * 1024;
  // A pause that brought less was not worth it: a small window lets no more come in.
  static constexpr size_t kGatheredBytes = 96 * 1024;
  // Nagle's algorithm never delays a first send of at most a segment.
  static constexpr size_t kSegmentBytes = 1400;

  enum class Outcome : uint8_t {
    kAwaitReadable,  // the source has nothing now
    kAwaitWritable,  // the sink takes nothing now
    kYield,          // the budget of this activation is used up
    kGather,         // the source has nothing now, and will at once: wait a little, for more of it
    kEnd,            // the source's FIN was reached, and all before it was taken
    kSourceError,    // all that could be read was taken by the sink; then `error`
    kSinkError,      // `unsent` bytes in hand could not be delivered: `error`
  };
  struct Step {
    Outcome outcome;
    int error = 0;
    size_t moved = 0;
    size_t spliced = 0;  // of these
    size_t limit = kNoLimit;
    bool at_once = false;
  };
  static constexpr size_t kNoLimit = SIZE_MAX;

  // Moves what can be moved now, and not much more than `budget` bytes; reads only as long as no
  // more than `limit` have moved, and not a byte beyond it. `at_once`: the last time is so short
  // ago that a direction which has moved much then and now may gather.
  Step Run(PollDesc& source, PollDesc& sink, RelayTools& tools, size_t budget = kStepBytes,
           size_t limit = kNoLimit, bool at_once = false);

  // Gives back what it holds and returns how many bytes that were.
  size_t Drop(RelayTools& tools);

  // Bytes taken from the connector: read from the source before the relay began. REQUIRES: holds
  // nothing. False: no memory for them.
  bool Hold(const char* data, size_t size, RelayTools& tools);
  // The same for more, behind what it holds already, which must not be in a pipe.
  bool HoldMore(const char* data, size_t size, RelayTools& tools);
  // What it holds, and how much of it was sent by somebody else. REQUIRES: not in a pipe.
  std::string_view held_bytes() const {
    return held_ == 0 ? std::string_view() : std::string_view(chunk_->data() + offset_, held_);
  }
  void HeldSent(size_t bytes, RelayTools& tools);
  // The same for what is not to be sent at all.
  void ForgetHeld(size_t bytes, RelayTools& tools);
  void CountSent(size_t bytes) { bytes_ += bytes; }
  void set_source_ended() { source_ended_ = true; }
  // The source was read until it had nothing more: the first Run waits instead of asking again.
  void set_source_drained(bool drained = true) { source_drained_ = drained; }

  // Otherwise than where much moves: from the first byte, or never. Before the first Run.
  void set_splice(bool always) {
    splice_always_ = always;
    if (!always) splicing_ = Splicing::kImpossible;
  }

  // The source does not yet take urgent bytes inline: to be set before it could matter.
  void set_inline_due(bool due) { inline_due_ = due; }
  // Whoever is told kEnd shuts the sink down at once: last bytes that came with a FIN then leave
  // with one, which saves a packet and its acknowledgement.
  void set_fin_follows(bool follows) { fin_follows_ = follows; }
  // Set the sink's TCP_NODELAY before it could matter, not earlier.
  void set_no_delay_due(bool due) { no_delay_due_ = due; }

  // Something was sent to the sink before the first byte of the source.
  void SetNoDelayNow(PollDesc& sink) { SetNoDelay(sink, true); }

  uint64_t bytes() const { return bytes_; }  // taken by the sink
  size_t held() const { return held_; }
  // Held in a pipe, though a chunk would do: see Unpipe.
  bool could_unpipe() const { return in_pipe_ && held_ <= kMostHeldBytes; }
  // Moves what is held in a pipe to a chunk, so that others may have the pipe: for a sink that has
  // been blocked for long. False: no memory, nothing has changed. REQUIRES: could_unpipe().
  bool Unpipe(RelayTools& tools);
  // Moves much at once: gives way to those that do not.
  bool bulk() const { return bulk_; }
  bool source_ended() const { return source_ended_; }

 private:
  enum class Splicing : uint8_t { kUnknown, kPossible, kImpossible };

  // What became of an attempt to empty the hands.
  enum class Hands : uint8_t { kEmpty, kFull, kFailed };

  Hands WriteHeld(PollDesc& sink, RelayTools& tools, Step& step);
  // One read and what follows from it. True: go on reading.
  bool Copy(PollDesc& source, PollDesc& sink, RelayTools& tools, Step& step);
  bool CopyPeeking(PollDesc& source, PollDesc& sink, RelayTools& tools, Step& step);
  // True if the sink can take more at once.
  // `last`: the FIN comes right behind.
  bool Send(PollDesc& sink, const char* data, size_t size, Step& step, size_t* sent,
            bool last = false);
  void BeforeRead(PollDesc& source);
  bool AfterRead(const struct IoResult& got, size_t asked, Step& step);
  void GrowReads();
  // One splice in and out. True: go on.
  bool Splice(PollDesc& source, PollDesc& sink, RelayTools& tools, Step& step);
  void TopUp(PollDesc& source, const Step& step);
  bool SpliceOut(PollDesc& sink, RelayTools& tools, Step& step);
  void EnterBulk(const RelayTools& tools);
  void LeaveBulk(PollDesc& sink);
  // The source has nothing now: nothing that was sent may wait for more.
  void Drained(const PollDesc& source, PollDesc& sink, Step& step);
  bool Gathers(bool much, const Step& step);
  void SetNoDelay(PollDesc& sink, bool on);
  void ReturnHands(RelayTools& tools);

  // What it holds: nothing (held_ is 0), a chunk, or a pipe with bytes inside (in_pipe_).
  union {
    Chunk* chunk_ = nullptr;
    struct {
      int read_fd;
      int write_fd;
    } pipe_;
  };
  uint64_t bytes_ = 0;
  union {
    uint32_t offset_ = 0;  // of the first held byte in chunk_
    uint32_t pipe_bytes_;  // capacity of pipe_
  };
  uint32_t held_ = 0;
  uint32_t read_bytes_ = kFirstReadBytes;
  bool source_ended_ : 1 = false;
  bool source_drained_ : 1 = false;
  bool no_delay_due_ : 1 = false;
  bool in_pipe_ : 1 = false;
  bool bulk_ : 1 = false;
  bool no_delay_off_ : 1 = false;  // while bulk
  bool inline_due_ : 1 = false;
  bool has_read_ : 1 = false;
  Splicing splicing_ : 2 = Splicing::kUnknown;
  uint8_t small_wakeups_ : 4 = 0;
  uint8_t quick_wakeups_ : 3 = 0;
  bool has_yielded_ : 1 = false;   // much was moved, and then others had their turn
  bool has_gathered_ : 1 = false;  // the last drained activation ended with kGather
  bool splice_always_ : 1 = false;
  bool fin_follows_ : 1 = false;
};

static_assert(sizeof(Relay) <= 32, "two of them live in every session");

}  // namespace parkway

#endif  // PROXY_SESSION_RELAY_H_
