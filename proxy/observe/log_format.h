// LogFormatter: a record as the text of one line, without a newline.
//
//   key=value  client=1.2.3.4:5678 listener=web upstream=app server=10.0.0.1:80 bytes_in=79
//              bytes_out=853 duration=0.012s cause=server_fin attempts=1 unsent=0 ...
//   tcplog     1.2.3.4:5678 [27/Nov/2026:03:20:25.584] web app/a 0/0/12 853 -- 1/1/0/0/0 0/0
//              cause=server_fin bytes_in=79 ...
//   json       {"ts":"2026-11-27T03:20:25.584210Z","event":"close","conn_id":"17", ...}
//              events besides "close": "open", "connect" and "progress", with what is known then
//
// bytes_in came from the client, bytes_out went to it; unsent was read and could not be delivered.
// proxy/observe/README.md has all fields.
//
// The writer thread.
#ifndef PROXY_OBSERVE_LOG_FORMAT_H_
#define PROXY_OBSERVE_LOG_FORMAT_H_

#include <string>

#include "absl/time/time.h"
#include "proxy/core/log_plan.h"
#include "proxy/core/plan.h"
#include "proxy/observe/json_line.h"
#include "proxy/observe/log_record.h"
#include "proxy/observe/second_text.h"
#include "proxy/system/journal.h"

namespace parkway {

class LogFormatter {
 public:
  // `now` and `wall` are the same moment.
  LogFormatter(const Plan& plan, MonotonicTime now, absl::Time wall)
      : plan_(plan), now_(now), wall_(wall) {}
  LogFormatter(const LogFormatter&) = delete;
  LogFormatter& operator=(const LogFormatter&) = delete;

  // Of a connection that has ended.
  void Append(const ClosedRecord& record, uint16_t worker, LogFormat format,
              std::string& line) const;
  // Of one that goes on, in JSON.
  void Append(const StageRecord& record, uint16_t worker, std::string& line) const;
  // Of all else.
  void AppendEvent(const LogRecord& record, std::string& line) const;

  // The fields of its own that a line has in systemd's journal.
  void AddJournalFields(const LogRecord& record, JournalEntry& entry) const;

 private:
  void AppendKeyValue(const ClosedRecord& record, std::string& line) const;
  void AppendTcplog(const ClosedRecord& record, uint16_t worker, std::string& line) const;
  void AppendJson(const ClosedRecord& record, uint16_t worker, std::string& line) const;
  void AppendUtc(MonotonicTime when, JsonLine& json) const;
  absl::Time WallOf(MonotonicTime when) const {
    return wall_ - absl::Nanoseconds(now_.ns() - when.ns());
  }

  const Plan& plan_;
  const MonotonicTime now_;
  const absl::Time wall_;
  mutable SecondText utc_{"%Y-%m-%d%ET%H:%M:%S", absl::UTCTimeZone()};
  mutable SecondText local_{"%d/%b/%Y:%H:%M:%S", absl::LocalTimeZone()};
};

}  // namespace parkway

#endif  // PROXY_OBSERVE_LOG_FORMAT_H_
