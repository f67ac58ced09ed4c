#include "proxy/listening.h"

#include <string.h>

#include <set>

#include "absl/strings/str_cat.h"

namespace parkway {

namespace {

std::string Refused(const ListenerPlan& listener, int error) {
  return absl::StrCat("listener ", listener.name, ": epoll refused ", listener.address.ToString(),
                      ": ", strerror(-error));
}

}  // namespace

Listening::Door Listening::MakeDoor(const ListenerPlan& listener, size_t slot,
                                    const ListenSockets& sockets) const {
  Door door;
  door.slot = slot;
  door.fds = sockets.fds;
  door.inherited = sockets.inherited;
  door.v6only = listener.v6only;
  if (listener.address.is_path() && !sockets.inherited) door.path = listener.address.path();
  return door;
}

std::string Listening::Open(const Plan& plan) {
  for (size_t slot = 0; slot < plan.listeners.size(); ++slot) {
    const ListenerPlan& listener = *plan.listeners[slot];
    ListenSockets sockets = OpenListenSockets(listener, workers_.size(), inherited_);
    if (!sockets.ok()) return sockets.error;
    for (size_t i = 0; i < sockets.fds.size(); ++i) {
      const int error = workers_[i]->AddListener(slot, sockets.fds[i], sockets.inherited);
      if (error == 0) continue;
      sockets.fds.erase(sockets.fds.begin(), sockets.fds.begin() + static_cast<ptrdiff_t>(i) + 1);
      ::parkway::Discard(listener, sockets);
      return Refused(listener, error);
    }
    doors_[KeyOf(listener)] = MakeDoor(listener, slot, sockets);
  }
  return "";
}

Listening::Changes Listening::Prepare(const Plan& next) const {
  Changes changes;
  std::set<std::string> wanted;
  for (size_t slot = 0; slot < next.listeners.size() && changes.error.empty(); ++slot) {
    const ListenerPlan& listener = *next.listeners[slot];
    if (listener.gone) continue;
    const std::string key = KeyOf(listener);
    wanted.insert(key);
    const auto door = doors_.find(key);
    if (door == doors_.end()) {
      ListenSockets sockets = OpenListenSockets(listener, workers_.size(), inherited_);
      changes.error = sockets.error;
      if (sockets.ok()) changes.opened.emplace_back(slot, std::move(sockets));
    } else if (door->second.v6only != listener.v6only && !door->second.inherited) {
      changes.error = absl::StrCat("listener ", listener.name, ": v6only of ", key,
                                   " cannot change while it is listened on; restart for it");
    } else if (door->second.slot != slot) {
      changes.retargeted.emplace_back(key, slot);
    }
  }
  for (const auto& [key, door] : doors_) {
    if (!wanted.contains(key)) changes.closed.push_back(key);
  }
  if (!changes.error.empty()) Discard(next, changes);
  return changes;
}

void Listening::Discard(const Plan& next, Changes& changes) {
  for (auto& [slot, sockets] : changes.opened) {
    ::parkway::Discard(*next.listeners[slot], sockets);
  }
  changes.opened.clear();
}

void Listening::Apply(const Plan& before, const Plan& next, Changes& changes,
                      std::function<void(std::string)> trouble) {
  // Two may have swapped theirs: by what they were before.
  std::vector<std::pair<size_t, size_t>> moves;
  for (const auto& [key, slot] : changes.retargeted) {
    Door& door = doors_[key];
    moves.emplace_back(door.slot, slot);
    door.slot = slot;
  }
  if (!moves.empty()) {
    for (const auto& worker : workers_) worker->PostRetarget(moves);
  }
  for (const std::string& key : changes.closed) {
    const Door door = std::move(doors_[key]);
    doors_.erase(key);
    if (!door.path.empty()) RemovePath(door.path);
    for (size_t i = 0; i < door.fds.size(); ++i) workers_[i]->PostRemoveListener(door.slot);
  }
  for (auto& [key, door] : doors_) {
    const size_t slot = door.slot;
    if (slot < before.listeners.size() && before.listeners[slot] == next.listeners[slot]) continue;
    const std::string wrong = Readjust(*next.listeners[door.slot], door.fds, door.inherited);
    if (!wrong.empty()) trouble(wrong);
  }
  for (auto& [slot, sockets] : changes.opened) {
    const ListenerPlan& listener = *next.listeners[slot];
    for (size_t i = 0; i < sockets.fds.size(); ++i) {
      workers_[i]->PostAddListener(
          slot, sockets.fds[i], sockets.inherited,
          [trouble, of = listener](int error) { trouble(Refused(of, error)); });
    }
    doors_[KeyOf(listener)] = MakeDoor(listener, slot, sockets);
  }
  changes.opened.clear();
}

void Listening::RemovePaths() {
  for (const auto& [key, door] : doors_) {
    if (!door.path.empty()) RemovePath(door.path);
  }
}

}  // namespace parkway
