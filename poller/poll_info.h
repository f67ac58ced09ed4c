// atomicInfo: what a reader may know of a descriptor without its lock, in one 64-bit word.
//
//   63..32  fdseq: how often the descriptor was freed; never 0
//   3       write deadline expired
//   2       read deadline expired
//   1       event error: the last event was EPOLLERR and nothing else, of a file with nothing muted
//   0       closing
//
// One word, so that "is this event for the present owner?" and "note its error" are a single
// compare-exchange: a descriptor recycled between the two is never marked (T32). Go keeps 16 bits
// of the sequence here and compares 20, so there the mark is lost after 65,536 reuses (T33).
//
// Any thread.
#ifndef POLLER_POLL_INFO_H_
#define POLLER_POLL_INFO_H_

#include <atomic>
#include <cstdint>

namespace parkway {

struct PollInfo {
  static constexpr uint64_t kClosing = 1;
  static constexpr uint64_t kEventError = 2;
  static constexpr uint64_t kReadExpired = 4;
  static constexpr uint64_t kWriteExpired = 8;
  static constexpr uint64_t kFlags = 15;

  static constexpr uint32_t Seq(uint64_t word) { return static_cast<uint32_t>(word >> 32); }
  static constexpr uint64_t Word(uint32_t seq, uint64_t flags) {
    return static_cast<uint64_t>(seq) << 32 | flags;
  }
  static constexpr uint32_t NextSeq(uint32_t seq) { return seq + 1 == 0 ? 1 : seq + 1; }
};

}  // namespace parkway

#endif  // POLLER_POLL_INFO_H_
