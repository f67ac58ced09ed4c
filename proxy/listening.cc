#include "proxy/listening.h"

#include <string.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdint>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "poller/listener.h"

namespace parkway {

namespace {

std::string Refused(const ListenerPlan& listener, int error) {
  return absl::StrCat("listener ", listener.name, ": epoll refused ", listener.address.ToString(),
                      ": ", strerror(-error));
}

}  // namespace

// Whose address overlaps: a wildcard with those of its port that it stands for.
class Listening::Neighbors {
 public:
  void Add(const ListenerPlan& listener, const std::vector<int>& fds, bool inherited) {
    if (listener.address.is_unix()) return;
    OfPort& of = ports_[listener.address.port()];
    (listener.address.is_any() ? of.wildcards : of.others)
        .push_back({{listener.name, listener.address, fds, inherited}, listener.v6only});
  }

  std::vector<Neighbor> Of(const ListenerPlan& listener) const {
    std::vector<Neighbor> all;
    if (listener.address.is_unix()) return all;
    const auto of = ports_.find(listener.address.port());
    if (of == ports_.end()) return all;
    const auto add = [&](const std::vector<One>& some) {
      for (const One& one : some) {
        if (StandsFor(one.address, one.v6only, listener.address) ||
            StandsFor(listener.address, listener.v6only, one.address)) {
          all.push_back(one);
        }
      }
    };
    add(of->second.wildcards);
    if (listener.address.is_any()) add(of->second.others);
    return all;
  }

 private:
  struct One : Neighbor {
    bool v6only;
  };
  struct OfPort {
    std::vector<One> wildcards;
    std::vector<One> others;
  };

  static bool StandsFor(const Address& wildcard, bool v6only, const Address& address) {
    const bool ipv4 = address.Unmapped().family() == AF_INET;
    return wildcard.is_any() && (wildcard.Unmapped().family() == AF_INET ? ipv4 : !ipv4 || !v6only);
  }

  std::unordered_map<uint16_t, OfPort> ports_;
};

Listening::Door Listening::MakeDoor(std::shared_ptr<const ListenerPlan> listener, size_t slot,
                                    const ListenSockets& sockets) {
  Door door;
  door.slot = slot;
  door.fds = sockets.fds;
  door.inherited = sockets.inherited;
  door.path = sockets.path;
  door.told = std::move(listener);
  return door;
}

// Another address of the same port may be in the way, too: one that stands for all.
bool Listening::IsClosing(const Address& address) const {
  return std::any_of(closing_.begin(), closing_.end(), [&](const Closing& closing) {
    return !closing.open.expired() && closing.address.is_unix() == address.is_unix() &&
           (address.is_unix() ? closing.address == address
                              : closing.address.port() == address.port());
  });
}

std::string Listening::Open(const Plan& plan) {
  Neighbors neighbors;
  for (size_t slot = 0; slot < plan.listeners.size(); ++slot) {
    const ListenerPlan& listener = *plan.listeners[slot];
    ListenSockets sockets =
        OpenListenSockets(listener, workers_.size(), inherited_, neighbors.Of(listener));
    if (!sockets.ok()) return sockets.error;
    neighbors.Add(listener, sockets.fds, sockets.inherited);
    for (size_t i = 0; i < sockets.fds.size(); ++i) {
      const int error = workers_[i]->AddListener(slot, sockets.fds[i], sockets.inherited);
      if (error == 0) continue;
      sockets.fds.erase(sockets.fds.begin(), sockets.fds.begin() + static_cast<ptrdiff_t>(i) + 1);
      ::parkway::Discard(listener, sockets);
      return Refused(listener, error);
    }
    doors_[KeyOf(listener)] = MakeDoor(plan.listeners[slot], slot, sockets);
  }
  return "";
}

Listening::Changes Listening::Prepare(const Plan& next) const {
  Changes changes;
  Neighbors neighbors;
  for (const auto& [key, door] : doors_) neighbors.Add(*door.told, door.fds, door.inherited);
  std::set<std::string> wanted;
  for (size_t slot = 0; slot < next.listeners.size() && changes.error.empty(); ++slot) {
    const ListenerPlan& listener = *next.listeners[slot];
    if (listener.gone) continue;
    const std::string key = KeyOf(listener);
    wanted.insert(key);
    const auto door = doors_.find(key);
    if (door == doors_.end()) {
      const std::vector<Neighbor> beside = neighbors.Of(listener);
      // Asked first: it may be closed between an attempt that fails for it and a look.
      const bool closing = IsClosing(listener.address);
      if (!beside.empty() && closing) {
        // It could share the address with the socket that is closing, and half of who connects.
        changes.error = absl::StrCat("listener ", listener.name, ": cannot listen on ", key,
                                     ": an earlier socket of its port is not closed yet");
        changes.soon = true;
        break;
      }
      ListenSockets sockets = OpenListenSockets(listener, workers_.size(), inherited_, beside);
      changes.error = sockets.error;
      changes.soon = !sockets.ok() && closing;
      if (!sockets.ok()) break;
      neighbors.Add(listener, sockets.fds, sockets.inherited);
      for (const Neighbor& other : beside) changes.overlapped.insert(other.address.ToString());
      changes.opened.emplace_back(slot, std::move(sockets));
    } else if (const char* fixed = NeedsNewSocket(*door->second.told, listener);
               fixed != nullptr && !door->second.inherited) {
      changes.error = absl::StrCat("listener ", listener.name, ": ", fixed, " of ", key,
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

void Listening::Apply(const Plan& next, Changes& changes,
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
  std::erase_if(closing_, [](const Closing& closing) { return closing.open.expired(); });
  for (const std::string& key : changes.closed) {
    const Door door = std::move(doors_[key]);
    doors_.erase(key);
    RemovePath(door.path);
    if (changes.overlapped.contains(key) && !door.inherited) {
      // Where the kernel knows no such thing, who connects in the next moments is heard later.
      for (const int fd : door.fds) static_cast<void>(StepAside(fd));
    }
    const auto open = std::make_shared<char>();
    closing_.push_back({door.told->address, open});
    for (size_t i = 0; i < door.fds.size(); ++i) workers_[i]->PostRemoveListener(door.slot, open);
  }
  for (auto& [key, door] : doors_) {
    const std::shared_ptr<const ListenerPlan>& listener = next.listeners[door.slot];
    if (door.told == listener) continue;
    const std::string wrong = Readjust(*door.told, *listener, door.fds, door.inherited);
    if (!wrong.empty()) trouble(wrong);
    door.told = listener;
  }
  for (auto& [slot, sockets] : changes.opened) {
    const ListenerPlan& listener = *next.listeners[slot];
    for (size_t i = 0; i < sockets.fds.size(); ++i) {
      workers_[i]->PostAddListener(
          slot, sockets.fds[i], sockets.inherited,
          [trouble, of = listener](int error) { trouble(Refused(of, error)); });
    }
    doors_[KeyOf(listener)] = MakeDoor(next.listeners[slot], slot, sockets);
  }
  changes.opened.clear();
}

void Listening::RemovePaths() {
  for (const auto& [key, door] : doors_) RemovePath(door.path);
}

}  // namespace parkway
