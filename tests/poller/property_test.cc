// Random users of the engine, for a bounded number of steps, with the invariants looked at on the
// way and at the end.
//
// The seed is printed; PARKWAY_SEED=... repeats one (the threads' order is the machine's, though).
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "poller/clock.h"
#include "poller/poll_cache.h"
#include "poller/poll_desc.h"
#include "poller/remote.h"
#include "poller/scheduler.h"
#include "poller/socket.h"
#include "poller/task.h"
#include "poller/timer_wheel.h"
#include "tests/poller/engine.h"
#include "tests/scale.h"

namespace parkway {
namespace {

using Random = std::mt19937_64;

uint64_t Seed() {
  const char* given = std::getenv("PARKWAY_SEED");
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  std::printf("PARKWAY_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

// ---------------------------------------------------------------------------------------------
// One descriptor: the owner parks in every way and fires timers, others move deadlines and evict.
// Time is a number that the owner counts up.

class Words {
 public:
  explicit Words(uint64_t seed) : random_(seed), desc_(*cache_.Allocate()) {
    desc_.Open(1000, nullptr);
    fdseq_ = desc_.fdseq();
  }

  // The owner's thread.
  void Step() {
    time_ += static_cast<int64_t>(random_() % 3);
    DoTimer();
    const Direction direction = random_() % 2 == 0 ? Direction::kRead : Direction::kWrite;
    switch (desc_.CheckError(direction)) {
      case WaitResult::kReady:
        break;
      case WaitResult::kTimeout:
        Clear();
        return;
      case WaitResult::kClosing:
        Reopen();
        return;
      case WaitResult::kNotPollable:
        FAIL() << "nobody reports an event error";
    }
    const bool latched = random_() % 4 == 0;
    if (latched) {
      ASSERT_EQ(desc_.Ready(direction), nullptr) << "nobody waits";
    }
    if (random_() % 2 == 0) {
      WaitWithStack(direction, latched);
    } else {
      WaitWithoutStack(direction, latched);
    }
    const uintptr_t word = PollDescPeer::Word(desc_, direction);
    ASSERT_EQ(word, PollDescPeer::kNil) << "a wait leaves nothing behind";
  }

  // Any thread. One change of a deadline, or an eviction.
  void Disturb(Random& random) {
    const uint32_t fdseq = fdseq_.load();
    const int64_t now = time_.load();
    PollDesc::Change change;
    if (random() % 64 == 0) {
      change = desc_.Evict(fdseq);
    } else {
      const auto directions = static_cast<Directions>(1 + random() % 3);
      const uint64_t kind = random() % 4;
      // Zero is none; then the past, the near and the far future.
      const int64_t when = kind == 0   ? 0
                           : kind == 1 ? now
                           : kind == 2 ? now + 1 + static_cast<int64_t>(random() % 5)
                                       : now + 1000;
      change = desc_.SetDeadline(fdseq, directions, MonotonicTime(when), MonotonicTime(now));
    }
    if (change.rearm) rearm_ = true;
    Take(change.woken);
  }

  // After all other threads have ended.
  void CheckAtRest() {
    DoTimer();
    EXPECT_FALSE(desc_.HasWaiter());
    for (const Direction direction : {Direction::kRead, Direction::kWrite}) {
      const int64_t deadline = desc_.deadline_ns(direction);
      if (desc_.CheckError(direction) == WaitResult::kClosing || deadline <= 0) continue;
      EXPECT_LE(armed_.when.ns(), deadline) << "the timer is armed no later than a deadline";
      EXPECT_EQ(direction == Direction::kRead ? armed_.rseq : armed_.wseq,
                PollDescPeer::Seq(desc_, direction))
          << "and under its sequence";
    }
    EXPECT_EQ(twice_.load(), 0) << "a task left a word twice in one park";
    EXPECT_GT(parks_, 0);
    EXPECT_GT(retracted_ + failed_commits_ + taken_by_others_.load(), 0);
    std::printf("%lld parks, %lld commits failed, %lld retracted, %lld taken by others\n",
                static_cast<long long>(parks_), static_cast<long long>(failed_commits_),
                static_cast<long long>(retracted_),
                static_cast<long long>(taken_by_others_.load()));
  }

 private:
  static size_t Index(Direction direction) { return static_cast<size_t>(direction); }

  void WaitWithStack(Direction direction, bool latched) {
    if (desc_.BlockBegin(direction)) {
      ASSERT_TRUE(latched) << "readiness from nowhere";
      return;
    }
    ASSERT_FALSE(latched) << "readiness was lost";
    // Before the commit, for from then on somebody may take it.
    taken_[Index(direction)] = false;
    if (desc_.CheckError(direction) == WaitResult::kReady) {
      if (desc_.BlockCommit(direction, &tasks_[Index(direction)])) {
        AwaitTaken(direction);
      } else {
        ++failed_commits_;
      }
    }
    static_cast<void>(desc_.BlockEnd(direction));
  }

  void WaitWithoutStack(Direction direction, bool latched) {
    Task* task = &tasks_[Index(direction)];
    taken_[Index(direction)] = false;
    if (!desc_.CommitIdle(direction, task)) {
      ASSERT_TRUE(latched) << "readiness from nowhere";
      return;
    }
    ASSERT_FALSE(latched) << "readiness was lost";
    if (desc_.CheckError(direction) != WaitResult::kReady && desc_.RetractIdle(direction, task)) {
      ++retracted_;
      return;
    }
    AwaitTaken(direction);
    static_cast<void>(desc_.BlockEnd(direction));
  }

  // The task is parked. It is taken by readiness, or by whoever has published an error: if neither
  // comes, this never ends.
  void AwaitTaken(Direction direction) {
    ++parks_;
    while (!taken_[Index(direction)].load()) {
      // Somebody who has published an error has the duty to take it.
      if (desc_.CheckError(direction) == WaitResult::kReady && random_() % 4 == 0) {
        if (Task* task = desc_.Ready(direction)) {
          ASSERT_EQ(task, &tasks_[Index(direction)]);
          if (taken_[Index(direction)].exchange(true)) ++twice_;
          return;
        }
      }
      std::this_thread::yield();
    }
    ++taken_by_others_;
  }

  void Take(const WokenTasks& woken) {
    for (Task* task : {woken.reader, woken.writer}) {
      if (task == nullptr) continue;
      if (taken_[task == &tasks_[0] ? 0 : 1].exchange(true)) ++twice_;
    }
  }

  void Clear() {
    const PollDesc::Change change = desc_.SetDeadline(desc_.fdseq(), Directions::kBoth,
                                                      MonotonicTime(), MonotonicTime(time_.load()));
    Take(change.woken);
  }

  void Reopen() {
    Arm();
    desc_.Close();
    desc_.Open(1000, nullptr);
    fdseq_ = desc_.fdseq();
    Arm();
  }

  void Arm() {
    const MonotonicTime when = desc_.PrepareTimer();
    armed_ = {when, desc_.timer().rseq, desc_.timer().wseq};
  }

  void DoTimer() {
    if (rearm_.exchange(false)) Arm();
    const MonotonicTime now(time_.load());
    if (random_() % 8 == 0) {
      const Direction direction = random_() % 2 == 0 ? Direction::kRead : Direction::kWrite;
      static_cast<void>(desc_.PushLater(direction, now.PlusNs(10)));
    }
    if (armed_.when > now) return;
    const PollDesc::Expired expired = desc_.Expire(armed_.rseq, armed_.wseq, now);
    Take(expired.woken);
    armed_.when = MonotonicTime::InfiniteFuture();
    if (expired.rearm) Arm();
  }

  struct Armed {
    MonotonicTime when = MonotonicTime::InfiniteFuture();
    uint32_t rseq = 0;
    uint32_t wseq = 0;
  };

  Random random_;
  PollCache cache_{nullptr};
  PollDesc& desc_;
  std::array<LambdaTask, 2> tasks_;
  std::array<std::atomic<bool>, 2> taken_{};
  std::atomic<uint32_t> fdseq_{0};
  std::atomic<int64_t> time_{1};
  std::atomic<bool> rearm_{false};
  std::atomic<int> twice_{0};
  std::atomic<int64_t> taken_by_others_{0};
  int64_t parks_ = 0;
  int64_t failed_commits_ = 0;
  int64_t retracted_ = 0;
  Armed armed_;
};

TEST(PropertyTest, X3_TheWordsKeepTheirInvariantsUnderRandomThreads) {
  const uint64_t seed = Seed();
  SCOPED_TRACE(testing::Message() << "PARKWAY_SEED=" << seed);
  Words words(seed);
  std::atomic<bool> over{false};
  std::vector<std::thread> threads;
  for (int i = 1; i <= 3; ++i) {
    threads.emplace_back([&, i] {
      Random random(seed + static_cast<uint64_t>(i));
      while (!over.load()) {
        for (uint64_t n = random() % 8; n > 0; --n) words.Disturb(random);
        std::this_thread::yield();
      }
    });
  }
  for (int64_t step = 0; step < scale::random_steps && !testing::Test::HasFatalFailure(); ++step) {
    words.Step();
  }
  over = true;
  for (std::thread& thread : threads) thread.join();
  words.CheckAtRest();
}

// ---------------------------------------------------------------------------------------------
// A worker full of echoes: peers check every byte, and somebody moves deadlines and evicts.

class Echoes {
 public:
  explicit Echoes(Scheduler& scheduler) : scheduler_(scheduler) {}

  // Any thread. Takes over `fd`.
  void Serve(int fd, bool with_stack) {
    scheduler_.Post(LambdaMessage::Make([this, fd, with_stack](Scheduler&) {
      auto echo = std::make_unique<Echo>(*this, fd, with_stack);
      scheduler_.Spawn(*echo);
      tasks_.push_back(std::move(echo));
    }));
  }
  // Any thread. Does something to one of the connections, perhaps to one that was.
  void Disturb(Random& random) {
    PollHandle handle;
    {
      const std::lock_guard<std::mutex> guard(mutex_);
      if (handles_.empty()) return;
      handle = handles_[random() % handles_.size()];
    }
    const MonotonicTime now = ReadMonotonicClock();
    switch (random() % 48) {
      case 0:
        RemoteEvict(scheduler_, handle);
        return;
      case 1:
        RemoteSetDeadline(scheduler_, handle, Directions::kBoth, MonotonicTime());
        return;
      default:
        RemoteSetDeadline(scheduler_, handle, static_cast<Directions>(1 + random() % 3),
                          now.PlusNs(static_cast<int64_t>(random() % 1'000'000)));
    }
  }
  // Worker's thread.
  bool AllDone() const {
    return std::all_of(tasks_.begin(), tasks_.end(), [](const auto& t) { return t->done(); });
  }
  size_t count() const { return tasks_.size(); }

 private:
  class Echo final : public Task {
   public:
    Echo(Echoes& echoes, int fd, bool with_stack)
        : echoes_(echoes), fd_(fd), with_stack_(with_stack) {}

    bool done() const { return done_; }

    Next Run(Scheduler& scheduler, Wake wake) noexcept override {
      if (wake == Wake::kStart) {
        desc_ = scheduler.netpoll().Allocate(fd_, nullptr);
        desc_->add_edge_bits(PollDesc::kUnix);
        echoes_.Remember(desc_->handle());
      }
      const Next next = with_stack_ ? RunWithStack(scheduler) : RunWithout(scheduler, wake);
      if (next.kind() == Next::Kind::kDone) {
        EndUse(scheduler, *desc_);
        close(fd_);
        done_ = true;
      }
      return next;
    }

   private:
    Next RunWithStack(Scheduler& scheduler) {
      for (;;) {
        Direction direction = Direction::kRead;
        if (!Move(direction)) return Next::Done();
        switch (scheduler.Wait(*desc_, direction)) {
          case WaitResult::kReady:
            break;
          case WaitResult::kTimeout:
            scheduler.SetDeadline(*desc_, Directions::kBoth, MonotonicTime());
            break;
          default:
            return Next::Done();
        }
      }
    }

    Next RunWithout(Scheduler& scheduler, Wake wake) {
      if (wake == Wake::kClosing || wake == Wake::kNotPollable) return Next::Done();
      if (wake == Wake::kTimeout) {
        scheduler.SetDeadline(*desc_, Directions::kBoth, MonotonicTime());
      }
      Direction direction = Direction::kRead;
      if (!Move(direction)) return Next::Done();
      return Next::Await(*desc_, direction);
    }

    // Moves what can be moved now. False: over. Else what to wait for.
    bool Move(Direction& direction) {
      for (;;) {
        if (begin_ == end_) {
          const IoResult got = TryRead(*desc_, buffer_, sizeof(buffer_));
          if (got.would_block()) {
            direction = Direction::kRead;
            return true;
          }
          if (got.end || got.failed()) return false;
          begin_ = 0;
          end_ = got.bytes;
        }
        const IoResult put = TryWrite(*desc_, buffer_ + begin_, end_ - begin_);
        if (put.failed()) return false;
        begin_ += put.bytes;
        if (begin_ < end_) {
          direction = Direction::kWrite;
          return true;
        }
      }
    }

    Echoes& echoes_;
    const int fd_;
    const bool with_stack_;
    bool done_ = false;
    PollDesc* desc_ = nullptr;
    size_t begin_ = 0;
    size_t end_ = 0;
    char buffer_[4096];
  };

  void Remember(PollHandle handle) {
    const std::lock_guard<std::mutex> guard(mutex_);
    if (handles_.size() < 8) {
      handles_.push_back(handle);
    } else {
      handles_[next_++ % handles_.size()] = handle;
    }
  }

  Scheduler& scheduler_;
  std::vector<std::unique_ptr<Echo>> tasks_;  // worker's
  std::mutex mutex_;
  std::vector<PollHandle> handles_;
  size_t next_ = 0;
};

// Sends random chunks and reads what comes back. True if all of it came.
bool Converse(int fd, Random& random) {
  std::string sent;
  std::string received;
  std::string buffer(70'000, 0);
  for (uint64_t i = 1 + random() % 24; i > 0; --i) {
    std::string chunk(1 + random() % (random() % 8 == 0 ? 60'000 : 300), 0);
    for (char& c : chunk) c = static_cast<char>(random());
    sent += chunk;
    size_t done = 0;
    while (done < chunk.size()) {
      const size_t piece = std::min<size_t>(chunk.size() - done, 8192);
      const ssize_t n = send(fd, chunk.data() + done, piece, MSG_NOSIGNAL);
      if (n <= 0) return false;
      done += static_cast<size_t>(n);
      // Now and then the echo is left to block.
      if (random() % 4 == 0) continue;
      const ssize_t got = recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (got > 0) received.append(buffer.data(), static_cast<size_t>(got));
    }
  }
  while (received.size() < sent.size()) {
    const ssize_t got = recv(fd, buffer.data(), buffer.size(), 0);
    if (got <= 0) break;
    received.append(buffer.data(), static_cast<size_t>(got));
  }
  // An eviction may cut it short, but what came is what was sent.
  EXPECT_TRUE(sent.compare(0, received.size(), received) == 0);
  return received.size() == sent.size();
}

TEST(PropertyTest, X3_EchoesAreExactAndEndWhateverOthersDoToThem) {
  const uint64_t seed = Seed();
  SCOPED_TRACE(testing::Message() << "PARKWAY_SEED=" << seed);
  class Ignore : public Scheduler::Delegate {
   public:
    // The task of the descriptor is about to run, or will try to write, and sees it.
    void OnHangup(PollDesc&) override {}
    void OnTimer(TimerWheel::Node&) override {}
  } ignore;
  const auto owned = std::make_unique<Scheduler>(Scheduler::Options{.max_stacks = 64}, &ignore);
  Scheduler& scheduler = *owned;
  Echoes echoes(scheduler);
  std::thread worker([&] { scheduler.Run(); });

  constexpr int kPeers = 4;
  const int64_t conversations = scale::random_steps / 400 / kPeers;
  std::atomic<int64_t> whole{0};
  std::vector<std::thread> peers;
  for (int i = 0; i < kPeers; ++i) {
    peers.emplace_back([&, i] {
      Random random(seed + 100 + static_cast<uint64_t>(i));
      for (int64_t n = 0; n < conversations; ++n) {
        int fds[2];
        ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        ASSERT_EQ(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
        // Both ends wait for each other if the peer sends on while the echo is not read.
        const int room = 1 << 20;
        setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
        setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
        echoes.Serve(fds[0], random() % 2 == 0);
        whole += Converse(fds[1], random) ? 1 : 0;
        close(fds[1]);
      }
    });
  }
  std::atomic<bool> over{false};
  std::thread nuisance([&] {
    Random random(seed + 1000);
    while (!over.load()) {
      for (int i = 0; i < 4; ++i) echoes.Disturb(random);
      std::this_thread::yield();
    }
  });
  for (std::thread& peer : peers) peer.join();
  over = true;
  nuisance.join();
  scheduler.Stop();
  worker.join();
  // The peers are gone, so every echo ends by itself.
  TurnUntil(scheduler, [&] { return echoes.AllDone(); });
  EXPECT_EQ(echoes.count(), static_cast<size_t>(kPeers * conversations));
  EXPECT_EQ(scheduler.parked(), 0u);
  EXPECT_EQ(scheduler.wheel().count(), 0u);
  EXPECT_EQ(scheduler.netpoll().cache().in_use(), 0u);
  std::printf("%lld of %lld conversations whole, %llu activations\n",
              static_cast<long long>(whole.load()), static_cast<long long>(echoes.count()),
              static_cast<unsigned long long>(scheduler.activations()));
}

}  // namespace
}  // namespace parkway
