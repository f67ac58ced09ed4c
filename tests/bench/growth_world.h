// GrowthWorld: one real worker with as many sessions as wanted, and what they cost.
//
//   GrowthWorld world(most);
//   world.Open(1000);
//   world.RunRequests(1000, 100'000);      // nanoseconds of CPU for each
//   world.ResidentBytes();
//   std::string left = world.CloseAll();   // by the idle timeout; empty: nothing is left
//
// Sessions, relays, descriptors and timers are real; sockets are the numbers of script_kernel.h,
// and time goes on when this says so. A request is two activations: the client says something, and
// when all other active clients have too, its server answers.
#ifndef TESTS_BENCH_GROWTH_WORLD_H_
#define TESTS_BENCH_GROWTH_WORLD_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "proxy/core/plan.h"
#include "proxy/worker.h"

namespace parkway::bench {

class GrowthWorld {
 public:
  explicit GrowthWorld(size_t most);
  // Ends everything. REQUIRES: CloseAll.
  ~GrowthWorld();
  GrowthWorld(const GrowthWorld&) = delete;
  GrowthWorld& operator=(const GrowthWorld&) = delete;

  // Until so many are open, old enough that their first look is over and only idle is awaited.
  void Open(size_t sessions);
  // Of at least `requests` of `active` sessions at random places; dies if one was not relayed.
  double RunRequests(size_t active, uint64_t requests);
  // Lets the idle timeout end all. What is left that should not be; empty: nothing.
  std::string CloseAll();

  // The worker's own included: pages that were touched, and what malloc has given out.
  static size_t ResidentBytes();
  size_t sessions() const { return worker_->sessions(); }

 private:
  void Turn() { worker_->scheduler_ref().Turn(); }
  void TurnAll();
  void LetPass(int64_t ns);

  WorkerShared shared_;
  std::unique_ptr<Worker> worker_;
};

// The same visits in bare memory (bare_memory.h): nanoseconds of CPU for a request.
double RunBareRequests(size_t open, size_t active, uint64_t requests);

}  // namespace parkway::bench

#endif  // TESTS_BENCH_GROWTH_WORLD_H_
