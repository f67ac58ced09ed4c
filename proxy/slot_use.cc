#include "proxy/slot_use.h"

#include <algorithm>
#include <map>
#include <utility>

namespace parkway {

namespace {

// The lower bits of a session's id are its number on its worker.
constexpr uint64_t kNumberOfId = (uint64_t{1} << 48) - 1;

bool BeingConnected(Session::Phase phase) {
  return phase == Session::Phase::kConnecting || phase == Session::Phase::kQueued;
}

}  // namespace

struct SlotUse::Question {
  std::map<ServerRef, size_t> places;  // in `used`
  std::vector<bool> used;

  void Use(ServerRef server) {
    const auto found = places.find(server);
    if (found != places.end()) used[found->second] = true;
  }
  void UseAllOf(uint16_t upstream) {
    for (auto it = places.lower_bound({upstream, 0});
         it != places.end() && it->first.upstream == upstream; ++it) {
      used[it->second] = true;
    }
  }
};

void SlotUse::Mark() {
  views_.CatchUp();
  marked_session_ = last_session_;
  marked_view_ = views_.now().number;
}

void SlotUse::Ask(Slots slots, Answer done) {
  auto question = std::make_shared<Question>();
  question->used.resize(slots->size());
  for (size_t i = 0; i < slots->size(); ++i) question->places.emplace((*slots)[i], i);
  // The census goes through all sessions, and what it found before has been told by then.
  census_.Ask(
      false,
      [this, slots, question, done = std::move(done)](const std::vector<SlowSample>&) {
        const bool all = views_.oldest() < marked_view_ || walks_.size() > 0;
        for (size_t i = 0; i < slots->size(); ++i) {
          if (all || drains_.Names((*slots)[i])) question->used[i] = true;
        }
        done(std::move(question->used));
      },
      [this, question](Session& session) { Visit(*question, session); });
}

void SlotUse::Visit(Question& question, const Session& session) const {
  if (session.attempts == 0) return;
  question.Use({session.upstream, session.server_index});
  // What it tried before the last attempt only its connector knows.
  const bool knows_more = session.attempts > 1 && BeingConnected(session.phase());
  if (knows_more && (session.id() & kNumberOfId) <= marked_session_) {
    question.UseAllOf(session.upstream);
  }
}

void SlotUse::Clear(const std::vector<ServerRef>& slots) {
  views_.CatchUp();
  for (const ServerRef& slot : slots) stats_.server(slot.upstream, slot.server).Clear();
}

}  // namespace parkway
