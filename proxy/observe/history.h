// History: the last fifteen minutes in steps of some seconds, so that a page that was just opened
// has its plots.
//
// Rates are made of the totals of two steps. The first kMostSeries listeners and upstreams have
// series of their own. What was collected late (a busy control thread) is divided by the time that
// really passed.
//
// One writer (the control thread); what view() returns is immutable: any thread.
#ifndef PROXY_OBSERVE_HISTORY_H_
#define PROXY_OBSERVE_HISTORY_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/time/time.h"
#include "proxy/observe/readings.h"

namespace parkway {

// Numbers of one thing over time, oldest first. A series that began later is shorter: its last
// number belongs to the last step, as with all of them.
struct HistorySeries {
  std::string name;  // empty: the whole process
  std::vector<float> connections;
  std::vector<float> new_per_second;
  std::vector<float> received_per_second;  // bytes, from clients or servers
  std::vector<float> sent_per_second;
};

struct HistoryView {
  absl::Duration step;
  absl::Time last;  // when the last step was taken
  HistorySeries process;
  std::vector<HistorySeries> listeners;
  std::vector<HistorySeries> upstreams;
};

class History {
 public:
  static constexpr absl::Duration kStep = absl::Seconds(5);
  static constexpr size_t kSteps = 180;
  static constexpr size_t kMostSeries = 64;

  History();

  void Add(const Readings& readings);
  const std::shared_ptr<const HistoryView>& view() const { return view_; }

 private:
  struct Totals {
    uint64_t begun = 0;
    uint64_t received = 0;
    uint64_t sent = 0;
  };
  // One thing that is drawn.
  struct Track {
    Totals before;
    HistorySeries series;
    bool seen = false;  // in the present step
  };
  using Tracks = std::unordered_map<std::string, Track>;

  static void Note(Track& track, uint64_t connections, const Totals& totals, double seconds);
  static void NoteNamed(Tracks& tracks, const std::string& name, uint64_t connections,
                        const Totals& totals, double seconds);
  static void ForgetUnseen(Tracks& tracks);
  void Publish(const Readings& readings);

  absl::Time last_;
  Track process_;
  Tracks listeners_;
  Tracks upstreams_;
  std::shared_ptr<const HistoryView> view_;
};

}  // namespace parkway

#endif  // PROXY_OBSERVE_HISTORY_H_
