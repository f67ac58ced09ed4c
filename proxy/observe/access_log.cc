#include "proxy/observe/access_log.h"

#include <errno.h>
#include <glog/logging.h>
#include <unistd.h>

#include <chrono>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace parkway {

namespace {

// How long a line may wait before it is written with the others.
constexpr auto kBatchInterval = std::chrono::milliseconds(100);
// Without connections to log there is only trouble to wait for.
constexpr auto kQuietInterval = std::chrono::seconds(1);
// A writer that has only no processor for a moment loses nothing.
constexpr auto kStopPatience = std::chrono::seconds(3);
constexpr auto kTroubleInterval = std::chrono::seconds(10);
constexpr size_t kMostLines = 1024;
constexpr size_t kBatchBytes = 64 * 1024;
constexpr size_t kMostTaken = 256;

MonotonicTime MonotonicNow() {
  // The writer is no worker: it reads the clock as the library has it.
  return MonotonicTime(std::chrono::duration_cast<std::chrono::nanoseconds>(
                           std::chrono::steady_clock::now().time_since_epoch())
                           .count());
}

// By its first word.
google::LogSeverity SeverityOf(std::string_view line) {
  if (line.starts_with("ERROR: ")) return google::GLOG_ERROR;
  if (line.starts_with("WARNING: ")) return google::GLOG_WARNING;
  return google::GLOG_INFO;
}

}  // namespace

AccessLog::AccessLog(std::shared_ptr<const Plan> plan, std::vector<LogRing*> rings, int fd)
    : log_(plan->log),
      wanted_(plan->log),
      rings_(std::move(rings)),
      fd_(fd),
      journal_(IsJournal(fd)),
      sink_(plan->log),
      plan_(std::move(plan)) {}

AccessLog::~AccessLog() {
  if (thread_.joinable()) Stop();
}

std::string AccessLog::Open() { return sink_.Open(); }

void AccessLog::Start() {
  thread_ = std::thread([this] { Run(); });
}

void AccessLog::SetPlan(std::shared_ptr<const Plan> plan) {
  std::lock_guard<std::mutex> lock(mutex_);
  plan_ = std::move(plan);
}

void AccessLog::Say(std::string line) {
  // By the level of now: when the line is written it may be another one.
  if (FLAGS_minloglevel > SeverityOf(line)) return;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (orders_.lines.size() >= kMostLines) return;
    orders_.lines.push_back({true, std::move(line)});
  }
  wake_.notify_one();
}

void AccessLog::Write(std::string line) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (orders_.lines.size() >= kMostLines) return;
    orders_.lines.push_back({false, std::move(line)});
  }
  wake_.notify_one();
}

void AccessLog::Reopen() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    orders_.reopen = true;
  }
  wake_.notify_one();
}

bool AccessLog::Stop() {
  if (!thread_.joinable()) return true;
  std::unique_lock<std::mutex> lock(mutex_);
  orders_.stop = true;
  wake_.notify_one();
  const bool done = wake_.wait_for(lock, kStopPatience, [this] { return stopped_; });
  lock.unlock();
  if (done) {
    thread_.join();
  } else {
    thread_.detach();
  }
  return done;
}

void AccessLog::WriteErr(const std::string& text) {
  size_t written = 0;
  while (written < text.size()) {
    const ssize_t n = write(fd_, text.data() + written, text.size() - written);
    if (n < 0 && errno == EINTR) continue;
    // Nobody reads any more: there is nothing to be done about a log.
    if (n <= 0) return;
    written += static_cast<size_t>(n);
  }
}

AccessLog::Orders AccessLog::WaitForOrders() {
  const std::chrono::milliseconds interval = log_.on() ? kBatchInterval : kQuietInterval;
  std::unique_lock<std::mutex> lock(mutex_);
  if (orders_.lines.empty() && !orders_.stop && !orders_.reopen && !behind_) {
    wake_.wait_for(lock, interval);
  }
  Orders orders = std::move(orders_);
  orders_ = Orders();
  return orders;
}

std::shared_ptr<const Plan> AccessLog::PlanNow() {
  std::lock_guard<std::mutex> lock(mutex_);
  return plan_;
}

void AccessLog::Run() {
  for (bool last = false; !last;) {
    const Orders orders = WaitForOrders();
    last = orders.stop;
    // Before a line says that it has changed.
    if (const std::shared_ptr<const Plan> plan = PlanNow(); !(plan->log == wanted_)) {
      WriteRecords();
      Follow(plan->log);
    }
    WriteLines(orders.lines);
    if (orders.reopen) {
      // What came before it belongs into the old one.
      WriteRecords();
      const std::string failure = sink_.Open();
      LOG(INFO) << (failure.empty() ? "access_log: reopened"
                                    : failure + "; it goes on where it was");
    }
    WriteRecords();
    SayTrouble();
  }
  std::lock_guard<std::mutex> lock(mutex_);
  stopped_ = true;
  wake_.notify_all();
}

void AccessLog::WriteLines(const std::vector<Line>& lines) {
  for (const Line& line : lines) {
    if (line.through_glog) {
      google::LogMessage(__FILE__, __LINE__, SeverityOf(line.text)).stream() << line.text;
    } else {
      absl::StrAppend(&err_batch_, line.text, "\n");
    }
  }
}

void AccessLog::WriteTaken(const Plan& plan) {
  const LogFormatter formatter(plan, MonotonicNow(), absl::Now());
  // One stream for both keeps their order.
  const bool to_err = log_.target == LogPlan::Target::kStderr;
  std::string line;
  for (const LogRecord& record : taken_) {
    line.clear();
    const ClosedRecord* closed = record.closed();
    const StageRecord* stage = record.stage();
    if (closed != nullptr) {
      formatter.Append(*closed, record.worker, log_.format, line);
    } else if (stage != nullptr) {
      formatter.Append(*stage, record.worker, line);
    } else {
      formatter.AppendEvent(record, line);
    }
    if ((closed != nullptr || stage != nullptr) && !to_err) {
      sink_.Line(line);
    } else {
      WriteToErr(formatter, record, line);
    }
  }
}

void AccessLog::WriteToErr(const LogFormatter& formatter, const LogRecord& record,
                           const std::string& line) {
  if (journal_) {
    const std::string weighed = JournalLine(line);
    JournalEntry entry(weighed);
    formatter.AddJournalFields(record, entry);
    if (journal_socket_.Send(entry)) return;
    absl::StrAppend(&err_batch_, weighed, "\n");
  } else {
    absl::StrAppend(&err_batch_, line, "\n");
  }
  if (err_batch_.size() < kBatchBytes) return;
  WriteErr(err_batch_);
  err_batch_.clear();
}

// Some records at once. False: there are none.
bool AccessLog::TakeFrom(LogRing& ring) {
  taken_.clear();
  LogRecord record;
  while (taken_.size() < kMostTaken && ring.Pop(record)) taken_.push_back(record);
  return !taken_.empty();
}

void AccessLog::WriteRecords() {
  behind_ = false;
  for (LogRing* ring : rings_) {
    size_t taken = 0;
    // The plan of after they were taken knows all that they speak of.
    while (taken < LogRing::kRecords && TakeFrom(*ring)) {
      taken += taken_.size();
      WriteTaken(*PlanNow());
    }
    behind_ = behind_ || taken >= LogRing::kRecords;
  }
  sink_.Flush();
  if (!err_batch_.empty()) WriteErr(err_batch_);
  err_batch_.clear();
  passes_.fetch_add(1, std::memory_order_release);
}

void AccessLog::Follow(const LogPlan& wanted) {
  wanted_ = wanted;
  const std::string failure = sink_.Change(wanted);
  if (failure.empty()) {
    log_ = wanted;
  } else {
    LOG(WARNING) << failure << "; it goes on where it was";
  }
}

void AccessLog::SayTrouble() {
  const auto now = std::chrono::steady_clock::now();
  if (now < next_trouble_) return;
  const std::string trouble = sink_.TakeTrouble();
  if (trouble.empty()) return;
  next_trouble_ = now + kTroubleInterval;
  LOG(WARNING) << trouble << "; " << dropped() << " lines lost so far";
}

}  // namespace parkway
