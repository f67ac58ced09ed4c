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
  std::map<SlotRef, size_t> places;  // in `used`
  std::vector<bool> used;

  void Use(const SlotRef& slot) {
    const auto found = places.find(slot);
    if (found != places.end()) used[found->second] = true;
  }
  void UseServersOf(uint16_t upstream) {
    for (auto it = places.lower_bound({.slot = upstream}); it != places.end(); ++it) {
      const SlotRef& slot = it->first;
      if (slot.kind != SlotRef::Kind::kServer || slot.slot != upstream) return;
      used[it->second] = true;
    }
  }
};

void SlotUse::Mark() {
  views_.CatchUp();
  marked_session_ = last_session_;
  marked_view_ = views_.now().number;
  marked_open_.clear();
  for (const auto& acceptor : acceptors_) {
    marked_open_.insert(static_cast<uint16_t>(acceptor->listener()));
  }
}

void SlotUse::Ask(Slots slots, Answer done) {
  auto question = std::make_shared<Question>();
  question->used.resize(slots->size());
  for (size_t i = 0; i < slots->size(); ++i) question->places.emplace((*slots)[i], i);
  // The census goes through all sessions, and what it found before has been told by then.
  census_.Ask(
      false,
      [this, slots, question, done = std::move(done)](const std::vector<SlowSample>&) {
        const bool all = views_.oldest() < marked_view_;
        for (size_t i = 0; i < slots->size(); ++i) {
          const SlotRef& slot = (*slots)[i];
          if (all || drains_.Names(slot) || IsOpen(slot)) question->used[i] = true;
        }
        done(std::move(question->used));
      },
      [this, question](Session& session) { Visit(*question, session); });
}

bool SlotUse::IsOpen(const SlotRef& slot) const {
  return slot.kind == SlotRef::Kind::kListener && marked_open_.contains(slot.slot);
}

void SlotUse::Visit(Question& question, const Session& session) const {
  question.Use({.kind = SlotRef::Kind::kListener, .slot = session.listener});
  question.Use({.kind = SlotRef::Kind::kUpstream, .slot = session.upstream});
  if (session.attempts == 0) return;
  question.Use({.slot = session.upstream, .server = session.server_index});
  // What it tried before the last attempt only its connector knows.
  const bool knows_more = session.attempts > 1 && BeingConnected(session.phase());
  if (knows_more && (session.id() & kNumberOfId) <= marked_session_) {
    question.UseServersOf(session.upstream);
  }
}

void SlotUse::Clear(const std::vector<Vacated>& slots) {
  views_.CatchUp();
  for (const Vacated& vacated : slots) {
    const SlotRef& slot = vacated.slot;
    switch (slot.kind) {
      case SlotRef::Kind::kServer:
        stats_.server(slot.slot, slot.server).Clear();
        break;
      case SlotRef::Kind::kUpstream:
        stats_.upstreams.At(slot.slot).Clear();
        for (size_t i = 0; i < views_.now().plan->listeners.size(); ++i) {
          stats_.listeners.At(i).closed.Forget(slot.slot);
        }
        break;
      case SlotRef::Kind::kListener:
        stats_.listeners.At(slot.slot).Clear(vacated.heir ? &stats_.listeners.At(*vacated.heir)
                                                          : nullptr);
        break;
    }
  }
}

}  // namespace parkway
