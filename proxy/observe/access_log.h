// AccessLog: the one thread that writes. It takes records from the workers' rings, formats them,
// and writes them in batches; it also writes what the process has to say of itself, so that
// nothing else ever waits for a reader of stderr that has stopped reading.
//
// One line per ended connection:
//   client=1.2.3.4:5678 listener=web upstream=app server=10.0.0.1:80 bytes_in=79 bytes_out=853
//   duration=0.012s cause=server_fin attempts=1 unsent=0
// bytes_in came from the client, bytes_out went to it; unsent was read and could not be delivered.
//
// Start, Say and Stop: the main thread. The rings must outlive Stop.
#ifndef PROXY_OBSERVE_ACCESS_LOG_H_
#define PROXY_OBSERVE_ACCESS_LOG_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "proxy/core/plan.h"
#include "proxy/observe/log_ring.h"

namespace parkway {

class AccessLog {
 public:
  AccessLog(const Plan& plan, std::vector<LogRing*> rings, int fd);
  ~AccessLog();
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  void Start();
  // A line about the process, through glog. Never waits; beyond a bound it is dropped.
  void Say(std::string line);
  // A line as it is, such as the numbers of an interval.
  void Write(std::string line);
  // Writes what is left, for at most a second: a reader that does not read cannot hold up an exit.
  // False: the writer is stuck; end the process without joining it.
  bool Stop();

  // The line of a record, without a newline.
  static std::string Format(const Plan& plan, const LogRecord& record);

 private:
  struct Line {
    bool through_glog;
    std::string text;
  };

  void Run();
  void WriteAll(const std::string& text);

  const Plan& plan_;
  const std::vector<LogRing*> rings_;
  const int fd_;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Line> lines_;
  bool stopping_ = false;
  bool stopped_ = false;
};

}  // namespace parkway

#endif  // PROXY_OBSERVE_ACCESS_LOG_H_
