// What other threads hand to a worker.
#include "poller/inbox.h"

#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "poller/scheduler.h"
#include "poller/task.h"
#include "tests/poller/engine.h"
#include "tests/scale.h"

namespace parkway {
namespace {

class Counted : public Message {
 public:
  Counted(std::vector<int>& delivered, int& alive, int value)
      : delivered_(delivered), alive_(alive), value_(value) {
    ++alive_;
  }
  ~Counted() override { --alive_; }
  void Deliver(Scheduler&) override { delivered_.push_back(value_); }

 private:
  std::vector<int>& delivered_;
  int& alive_;
  const int value_;
};

TEST(InboxTest, TasksAndMessagesComeOutInTheOrderInWhichTheyWentIn) {
  const auto owned = std::make_unique<Scheduler>(Scheduler::Options{}, nullptr);
  Scheduler& scheduler = *owned;
  Inbox inbox;
  EXPECT_TRUE(inbox.empty());
  std::vector<int> delivered;
  int alive = 0;
  LambdaTask tasks[3];
  for (int i = 0; i < 3; ++i) {
    inbox.Push(tasks[i]);
    inbox.Push(new Counted(delivered, alive, i));
  }
  EXPECT_FALSE(inbox.empty());
  Task::Queue queue;
  inbox.TakeTasks(queue);
  for (LambdaTask& task : tasks) EXPECT_EQ(queue.PopFront(), &task);
  EXPECT_FALSE(inbox.empty()) << "the messages are there";
  inbox.DeliverMessages(scheduler);
  EXPECT_TRUE(inbox.empty());
  EXPECT_EQ(delivered, (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(alive, 0);
}

TEST(InboxTest, AMessagePostedByAMessageWaitsForTheNextDelivery) {
  const auto owned = std::make_unique<Scheduler>(Scheduler::Options{}, nullptr);
  Scheduler& scheduler = *owned;
  Inbox inbox;
  int inner = 0;
  inbox.Push(LambdaMessage::Make([&](Scheduler&) {
               inbox.Push(LambdaMessage::Make([&](Scheduler&) { ++inner; }).release());
             }).release());
  inbox.DeliverMessages(scheduler);
  EXPECT_EQ(inner, 0);
  inbox.DeliverMessages(scheduler);
  EXPECT_EQ(inner, 1);
}

TEST(InboxTest, MessagesThatWereNeverTakenAreDestroyedUndelivered) {
  std::vector<int> delivered;
  int alive = 0;
  {
    Inbox inbox;
    for (int i = 0; i < 5; ++i) inbox.Push(new Counted(delivered, alive, i));
    EXPECT_EQ(alive, 5);
  }
  EXPECT_EQ(alive, 0);
  EXPECT_TRUE(delivered.empty());
}

TEST(InboxTest, NothingThatManyThreadsPushIsLostAndEachKeepsItsOrder) {
  constexpr int kThreads = 4;
  const int each = static_cast<int>(scale::random_steps / 20);
  const auto owned = std::make_unique<Scheduler>(Scheduler::Options{}, nullptr);
  Scheduler& scheduler = *owned;
  Inbox inbox;
  std::vector<std::vector<int>> seen(kThreads);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < each; ++i) {
        inbox.Push(LambdaMessage::Make([&, thread, i](Scheduler&) {
                     seen[thread].push_back(i);
                   }).release());
      }
    });
  }
  size_t taken = 0;
  while (taken < static_cast<size_t>(kThreads * each)) {
    inbox.DeliverMessages(scheduler);
    taken = 0;
    for (const std::vector<int>& of_one : seen) taken += of_one.size();
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(inbox.empty());
  for (const std::vector<int>& of_one : seen) {
    for (int i = 0; i < each; ++i) ASSERT_EQ(of_one[static_cast<size_t>(i)], i);
  }
}

}  // namespace
}  // namespace parkway
