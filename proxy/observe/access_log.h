// AccessLog: the one thread that writes. It takes records from the workers' rings, formats them,
// and writes them in batches where the plan says; it also writes what the process has to say of
// itself to `fd` (stderr), so that nothing else ever waits for a reader that has stopped reading.
//
// One line for each connection that has ended: proxy/observe/log_format.h. Trouble with listeners,
// servers that go and come: always to `fd`. Where that is systemd's journal, records have fields of
// their own there.
//
// Start, Say, Reopen and Stop: the control thread. The rings must outlive Stop.
#ifndef PROXY_OBSERVE_ACCESS_LOG_H_
#define PROXY_OBSERVE_ACCESS_LOG_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "proxy/core/plan.h"
#include "proxy/observe/log_format.h"
#include "proxy/observe/log_ring.h"
#include "proxy/observe/log_sink.h"
#include "proxy/system/journal.h"

namespace parkway {

class AccessLog {
 public:
  AccessLog(std::shared_ptr<const Plan> plan, std::vector<LogRing*> rings, int fd);
  ~AccessLog();
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  // Opens what the plan names; returns why that is impossible, or nothing. Before Start.
  std::string Open();
  void Start();
  // The names, and where lines go, are those of this one from now on. Before any worker goes by it.
  void SetPlan(std::shared_ptr<const Plan> plan);
  // A line about the process, through glog, unless its level hides it now. Never waits; beyond a
  // bound it is dropped.
  void Say(std::string line);
  // A line as it is, such as the numbers of an interval.
  void Write(std::string line);
  // Soon the log goes to a file of the same name that is new if the old one was renamed.
  void Reopen();
  // Writes what is left, for at most three seconds: a reader that does not read cannot hold up an
  // exit. False: the writer is stuck; end the process without joining it.
  bool Stop();

  // Any thread. How often all that the rings held has been written: what a worker said before a
  // look at this is written when it is two more.
  uint64_t passes() const { return passes_.load(std::memory_order_acquire); }
  // Any thread. Lines that a ring had and that could not be written.
  uint64_t dropped() const { return sink_.dropped(); }

 private:
  struct Line {
    bool through_glog;
    std::string text;
  };
  // What was asked for since the last look.
  struct Orders {
    std::vector<Line> lines;
    bool reopen = false;
    bool stop = false;
  };

  Orders WaitForOrders();
  void Run();
  void WriteLines(const std::vector<Line>& lines);
  // What the rings hold, and no more: a worker that is faster than a sink must not keep the writer
  // from its orders.
  void WriteRecords();
  void SayTrouble();
  void Follow(const LogPlan& wanted);
  void WriteErr(const std::string& text);
  std::shared_ptr<const Plan> PlanNow();
  bool TakeFrom(LogRing& ring);
  void WriteTaken(const Plan& plan);
  void WriteToErr(const LogFormatter& formatter, const LogRecord& record, const std::string& line);

  LogPlan log_;     // in force
  LogPlan wanted_;  // of the latest plan
  const std::vector<LogRing*> rings_;
  const int fd_;
  const bool journal_;  // what `fd_` goes to
  JournalSocket journal_socket_;
  LogSink sink_;
  std::string err_batch_;
  std::vector<LogRecord> taken_;  // of the writer
  bool behind_ = false;           // a ring may hold more than the last pass took
  std::atomic<uint64_t> passes_{0};
  std::chrono::steady_clock::time_point next_trouble_;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable wake_;
  Orders orders_;
  std::shared_ptr<const Plan> plan_;
  bool stopped_ = false;
};

}  // namespace parkway

#endif  // PROXY_OBSERVE_ACCESS_LOG_H_
