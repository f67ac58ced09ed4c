// Census: a worker's part of the readings: brings its totals up to date while connections live, and
// picks the connections that are worst off.
//
//   census.Ask(false, [](std::vector<SlowSample>) { ... });   // called on the worker's thread
//   census.Ask(false, done, [](Session&) { ... });            // called for each session, too
//
// It goes through the sessions in slices, one a turn, as a background task: whoever has work to do
// comes in between. A question that comes while it is under way is answered by the next round, so
// that an answer never leaves out what moved before the question.
//
// Owner thread only.
//
// Invariants
//   1. Between two polls it visits at most kSlice sessions, and asks the kernel of at most
//      kAskedPerSlice of them.
//   2. Each question is answered once, unless the worker stops before.
#ifndef PROXY_CENSUS_H_
#define PROXY_CENSUS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "poller/scheduler.h"
#include "poller/task.h"
#include "proxy/observe/slow_sample.h"
#include "proxy/session/session.h"
#include "proxy/session/session_pool.h"

namespace parkway {

class Census {
 public:
  using Done = std::function<void(std::vector<SlowSample>)>;
  using Visit = std::function<void(Session&)>;

  static constexpr size_t kSlice = 1024;
  static constexpr size_t kAskedPerSlice = 128;
  // Of one round, spread evenly; a question costs two calls.
  static constexpr size_t kMostAsked = 512;

  Census(Scheduler& scheduler, SessionPool& sessions, SessionHost& host);
  ~Census();
  Census(const Census&) = delete;
  Census& operator=(const Census&) = delete;

  // `slowest`: who is worst off is wanted too. `visit`: called once for each session that is there
  // from the question to the answer, and must not end it.
  void Ask(bool slowest, Done done, Visit visit = nullptr);

 private:
  class Round;
  struct Question {
    bool slowest;
    Done done;
    Visit visit;
  };

  void Begin();
  // Of `round`, which is over; this deletes it.
  void Finish();

  Scheduler& scheduler_;
  SessionPool& sessions_;
  SessionHost& host_;
  std::vector<Question> waiting_;   // for the next round
  std::vector<Question> answered_;  // by the present one
  std::unique_ptr<Round> round_;
};

}  // namespace parkway

#endif  // PROXY_CENSUS_H_
