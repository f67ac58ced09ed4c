// TimesTable: the SessionTimes of the sessions of one worker, each by a number of two bytes.
//
// A session outlives the plan under which it began, and its times with it: so they are copied here
// once for all sessions that have the same, and stay while one of them does.
//
// Owner thread only.
//
// Invariants
//   1. What a number stands for changes only while nobody holds the number.
//   2. Two numbers that are held stand for different times.
#ifndef PROXY_SESSION_TIMES_TABLE_H_
#define PROXY_SESSION_TIMES_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <vector>

#include "poller/check.h"
#include "proxy/core/session_times.h"

namespace parkway {

class TimesTable {
 public:
  TimesTable() = default;
  TimesTable(const TimesTable&) = delete;
  TimesTable& operator=(const TimesTable&) = delete;

  // The number of `times`, held once more. Costs one comparison if it is that of the last call.
  uint16_t Hold(const SessionTimes& times) {
    if (last_ >= entries_.size() || !(entries_[last_].times == times)) last_ = Find(times);
    ++entries_[last_].holders;
    return static_cast<uint16_t>(last_);
  }
  // REQUIRES: held.
  void Release(uint16_t number) { --entries_[number].holders; }

  const SessionTimes& operator[](uint16_t number) const { return entries_[number].times; }
  // Different times that are known now.
  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    SessionTimes times;
    uint32_t holders = 0;
  };

  // A reload is rare, and so are listeners with times of their own.
  size_t Find(const SessionTimes& times) {
    size_t free = entries_.size();
    for (size_t i = 0; i < entries_.size(); ++i) {
      if (entries_[i].times == times) return i;
      if (entries_[i].holders == 0) free = i;
    }
    PARKWAY_CHECK(free <= std::numeric_limits<uint16_t>::max(),
                  "more different times of sessions than two bytes can number");
    if (free == entries_.size()) entries_.emplace_back();
    entries_[free].times = times;
    return free;
  }

  std::deque<Entry> entries_;
  size_t last_ = 0;
};

}  // namespace parkway

#endif  // PROXY_SESSION_TIMES_TABLE_H_
