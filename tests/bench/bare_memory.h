// The least that any engine must do for the same events: the memory that the engine has, laid out
// alike, visited in the same order in the same batches, and nothing decided. What it takes longer
// among more is the memory's doing.
//
//   BareMemory     a descriptor and a line for its task (engine_benchmark.cc)
//   BareSessions   two descriptors and a session for each connection (growth_world.cc)
//
// One thread. Memory is mapped as the engine maps its own.
#ifndef TESTS_BENCH_BARE_MEMORY_H_
#define TESTS_BENCH_BARE_MEMORY_H_

#include <sys/epoll.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "poller/kernel.h"
#include "poller/netpoll.h"
#include "poller/poll_desc.h"
#include "proxy/session/session.h"

namespace parkway::bench {

inline constexpr int kBatch = Netpoll::kEventsPerPoll;

// `active` of `open`, at random places, in random order.
inline std::vector<uint32_t> RandomOrder(size_t open, size_t active) {
  std::vector<uint32_t> order(open);
  for (size_t i = 0; i < open; ++i) order[i] = static_cast<uint32_t>(i);
  std::mt19937 random(20220623);
  std::shuffle(order.begin(), order.end(), random);
  order.resize(active);
  return order;
}

// What an activation touches of a PollDesc, at the same distances.
struct BareDesc {
  uint64_t link_and_user[2];
  uint64_t info;
  std::atomic<uintptr_t> word;
  uint64_t other_word;
  uint64_t deadline;
  uint64_t fd_and_sequences[3];
  uint64_t bits;
  uint64_t timer[4];
};
static_assert(sizeof(BareDesc) == sizeof(PollDesc));

// Blocks in slabs that are aligned to their size and begin with a line of their own.
template <typename Block, size_t kSlabBytes, size_t kPerSlab>
class BareSlabs {
 public:
  explicit BareSlabs(size_t count) : bytes_(((count + kPerSlab - 1) / kPerSlab + 1) * kSlabBytes) {
    static_assert(64 + kPerSlab * sizeof(Block) <= kSlabBytes);
    memory_ = kernel::Map(bytes_);
    base_ = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(memory_) + kSlabBytes - 1) &
                                    ~(kSlabBytes - 1));
    static_cast<void>(kernel::Advise(memory_, bytes_, MADV_NOHUGEPAGE));
  }
  ~BareSlabs() { kernel::Unmap(memory_, bytes_); }
  BareSlabs(const BareSlabs&) = delete;
  BareSlabs& operator=(const BareSlabs&) = delete;

  Block& At(size_t place) {
    char* slab = base_ + place / kPerSlab * kSlabBytes;
    return reinterpret_cast<Block*>(slab + 64)[place % kPerSlab];
  }
  // The first word of the slab.
  static uint64_t& HeadOf(const Block& block) {
    return *reinterpret_cast<uint64_t*>(reinterpret_cast<uintptr_t>(&block) & ~(kSlabBytes - 1));
  }

 private:
  const size_t bytes_;
  void* memory_;
  char* base_;
};

using BareDescs = BareSlabs<BareDesc, 4096, 36>;

// Fetch the event, swap the word of the descriptor, queue, look at the task, swap the word back.
class BareMemory {
 public:
  explicit BareMemory(size_t count) : descs_(count), tasks_(count) {
    for (size_t i = 0; i < count; ++i) {
      BareDesc& desc = descs_.At(i);
      desc.word.store(reinterpret_cast<uintptr_t>(&tasks_[i]), std::memory_order_relaxed);
      tasks_[i].desc = &desc;
    }
  }

  // `data` of the events: places.
  void Turn(const std::vector<epoll_event>& events, size_t& at) {
    Line* batch[kBatch];
    for (int i = 0; i < kBatch; ++i) {
      BareDesc& desc = descs_.At(static_cast<uint32_t>(events[at].data.u64));
      if (++at == events.size()) at = 0;
      desc.bits |= desc.info == 0;
      batch[i] = reinterpret_cast<Line*>(desc.word.exchange(1, std::memory_order_seq_cst));
    }
    for (Line* task : batch) {
      ++task->rounds;
      BareDesc& desc = *task->desc;
      desc.deadline += 1;
      desc.word.exchange(reinterpret_cast<uintptr_t>(task), std::memory_order_seq_cst);
    }
  }

 private:
  struct alignas(64) Line {
    BareDesc* desc;
    uint64_t rounds;
  };

  BareDescs descs_;
  std::vector<Line> tasks_;
};

// As above, where the task is one direction of a session: its own part, the parts that both
// directions share, the slab that leads to the worker, and the descriptor of the other side.
class BareSessions {
 public:
  explicit BareSessions(size_t count) : descs_(2 * count), sessions_(count) {
    for (size_t i = 0; i < count; ++i) {
      Block& session = sessions_.At(i);
      for (size_t side = 0; side < 2; ++side) {
        BareDesc& desc = descs_.At(2 * i + side);
        desc.word.store(reinterpret_cast<uintptr_t>(&session.flows[side]),
                        std::memory_order_relaxed);
        session.descs[side] = &desc;
        session.flows[side].side = side;
      }
    }
  }

  // `data` of the events: twice the place, and one more for the server's side.
  void Turn(const std::vector<epoll_event>& events, size_t& at) {
    Flow* batch[kBatch];
    for (int i = 0; i < kBatch; ++i) {
      BareDesc& desc = descs_.At(static_cast<uint32_t>(events[at].data.u64));
      if (++at == events.size()) at = 0;
      desc.bits |= desc.info == 0;
      batch[i] = reinterpret_cast<Flow*>(desc.word.exchange(1, std::memory_order_seq_cst));
    }
    for (Flow* flow : batch) {
      flow->bytes += 64;
      Block& session = *reinterpret_cast<Block*>(reinterpret_cast<char*>(flow - flow->side));
      session.last_activity += 1 + session.phase;
      BareDesc& source = *session.descs[flow->side];
      BareDesc& sink = *session.descs[1 - flow->side];
      source.bits += BareDescs::HeadOf(source);
      sink.other_word = sink.info;
      source.word.exchange(reinterpret_cast<uintptr_t>(flow), std::memory_order_seq_cst);
    }
  }

 private:
  struct Flow {
    uint64_t task[4];
    size_t side;
    uint64_t chunk;
    uint64_t bytes;
    uint64_t offsets[2];
  };
  // A session's parts, in its order.
  struct Block {
    Flow flows[2];
    BareDesc* descs[2];
    uint64_t timer_and_times[6];
    uint64_t last_activity;
    uint64_t id_and_address[4];
    uint64_t phase;
  };
  static_assert(sizeof(Block) == sizeof(Session));

  BareDescs descs_;
  BareSlabs<Block, 16 * 1024, 63> sessions_;
};

}  // namespace parkway::bench

#endif  // TESTS_BENCH_BARE_MEMORY_H_
