#include "proxy/observe/history.h"

#include <iterator>
#include <utility>

namespace parkway {

namespace {

void Push(std::vector<float>& to, double value) {
  if (to.size() == History::kSteps) to.erase(to.begin());
  to.push_back(static_cast<float>(value));
}

double Rate(uint64_t before, uint64_t now, double seconds) {
  if (seconds <= 0 || now < before) return 0;
  return static_cast<double>(now - before) / seconds;
}

}  // namespace

History::History() : view_(std::make_shared<HistoryView>()) {}

void History::Note(Track& track, uint64_t connections, const Totals& totals, double seconds) {
  track.seen = true;
  HistorySeries& series = track.series;
  Push(series.connections, static_cast<double>(connections));
  Push(series.new_per_second, Rate(track.before.begun, totals.begun, seconds));
  Push(series.received_per_second, Rate(track.before.received, totals.received, seconds));
  Push(series.sent_per_second, Rate(track.before.sent, totals.sent, seconds));
  track.before = totals;
}

void History::NoteNamed(Tracks& tracks, const std::string& name, uint64_t connections,
                        const Totals& totals, double seconds) {
  const auto found = tracks.find(name);
  if (found != tracks.end()) return Note(found->second, connections, totals, seconds);
  if (tracks.size() >= kMostSeries) return;
  Track& track = tracks[name];
  track.series.name = name;
  // What came before it was known says nothing of its rate.
  track.before = totals;
  Note(track, connections, totals, seconds);
}

void History::ForgetUnseen(Tracks& tracks) {
  for (auto entry = tracks.begin(); entry != tracks.end();) {
    entry = std::exchange(entry->second.seen, false) ? std::next(entry) : tracks.erase(entry);
  }
}

void History::Add(const Readings& readings) {
  const ProcessReading& process = readings.process;
  const absl::Time before = last_ == absl::Time() ? process.started : last_;
  const double seconds = absl::ToDoubleSeconds(readings.taken - before);
  last_ = readings.taken;
  Note(process_, process.connections,
       {process.accepted, process.bytes_from_clients, process.bytes_from_servers}, seconds);
  for (const ListenerReading& listener : readings.listeners) {
    NoteNamed(listeners_, listener.name, listener.active,
              {listener.total, listener.bytes_received, listener.bytes_sent}, seconds);
  }
  for (const UpstreamReading& upstream : readings.upstreams) {
    uint64_t active = 0;
    Totals totals;
    for (const ServerReading& server : upstream.servers) {
      active += server.active;
      totals.begun += server.total;
      totals.received += server.bytes_received;
      totals.sent += server.bytes_sent;
    }
    NoteNamed(upstreams_, upstream.name, active, totals, seconds);
  }
  ForgetUnseen(listeners_);
  ForgetUnseen(upstreams_);
  Publish(readings);
}

void History::Publish(const Readings& readings) {
  auto view = std::make_shared<HistoryView>();
  view->step = kStep;
  view->last = last_;
  view->process = process_.series;
  for (const ListenerReading& listener : readings.listeners) {
    const auto found = listeners_.find(listener.name);
    if (found != listeners_.end()) view->listeners.push_back(found->second.series);
  }
  for (const UpstreamReading& upstream : readings.upstreams) {
    const auto found = upstreams_.find(upstream.name);
    if (found != upstreams_.end()) view->upstreams.push_back(found->second.series);
  }
  view_ = std::move(view);
}

}  // namespace parkway
