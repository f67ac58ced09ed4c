// The answer to `show stat`: HAProxy's CSV, column by column.
//
// For whatever was written for HAProxy's statistics: a FRONTEND row per listener, and per upstream
// a row for each server and a BACKEND row. What we have no counterpart for is empty where HAProxy's
// may be empty too, else 0. Rates and highest values are of the readings that were made for this:
// over the time since the last one that is at least a second old, and of all of them.
//
// Pure but for StatHistory, which has one owner.
#ifndef PROXY_ADMIN_STAT_CSV_H_
#define PROXY_ADMIN_STAT_CSV_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "proxy/observe/readings.h"

namespace parkway::admin {

// What the rows of earlier answers were, as far as it counts for the next.
class StatHistory {
 public:
  struct Entry {
    uint64_t total = 0;  // when `begun`
    absl::Time begun;    // of the present rate's time
    uint64_t rate = 0;   // a second
    uint64_t rate_max = 0;
    uint64_t active_max = 0;
    uint64_t queue_max = 0;
  };

  // What is known of a row with these numbers at `now`.
  const Entry& Note(const std::string& proxy, const std::string& server, uint64_t total,
                    uint64_t active, uint64_t queued, absl::Time now);
  // Forgets rows that Note has not seen since the last call.
  void Sweep();

 private:
  struct Kept {
    Entry entry;
    bool seen = true;
  };
  std::map<std::pair<std::string, std::string>, Kept> rows_;
};

using StatRow = std::vector<std::string>;  // a value for each of StatColumns

std::span<const std::string_view> StatColumns();
std::vector<StatRow> StatRows(const Readings& readings, StatHistory& history);
// "# pxname,svname,..." without a newline.
std::string StatHeader();
std::string StatLine(const StatRow& row);

}  // namespace parkway::admin

#endif  // PROXY_ADMIN_STAT_CSV_H_
