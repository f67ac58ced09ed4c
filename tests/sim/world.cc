#include "tests/sim/world.h"

#include <errno.h>
#include <sys/un.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <limits>
#include <utility>

namespace parkway::sim {

namespace {

World* current_world = nullptr;

// A SYN that nobody answered is sent again.
constexpr int64_t kSynAgainNs = 1'000'000'000;
constexpr int kMostSynDoublings = 3;
// How long after a fault the wake-up comes that is owed for it.
constexpr int64_t kOwedWithinNs = 50'000;
constexpr size_t kEndedRemembered = 16;

}  // namespace

void ByteQueue::Pop(size_t size) {
  start_ += size;
  if (start_ == bytes_.size()) {
    Clear();
  } else if (start_ > 64 * 1024 && start_ > bytes_.size() / 2) {
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<ptrdiff_t>(start_));
    start_ = 0;
  }
}

void ByteQueue::Clear() {
  bytes_.clear();
  start_ = 0;
}

void PipeBuffer::Pop(size_t size) {
  bytes.Pop(size);
  while (size > 0) {
    const size_t part = std::min<size_t>(size, slots.front());
    slots.front() -= static_cast<uint32_t>(part);
    if (slots.front() == 0) slots.pop_front();
    size -= part;
  }
}

// ---------------------------------------------------------------------------------------------
// What a socket says of itself

size_t Socket::SendRoom() const {
  const size_t used = is_unix ? (peer == nullptr ? 0 : peer->received.size()) : queued.size();
  return used >= send_capacity ? 0 : send_capacity - used;
}

bool Socket::Writable() const {
  const size_t used = send_capacity - SendRoom();
  // unix_writable and sk_stream_is_writeable.
  return is_unix ? used * 4 <= send_capacity : used * 3 <= send_capacity * 2;
}

uint32_t Socket::Mask() {
  if (state == State::kListening) return accept_queue.empty() ? 0u : uint32_t{EPOLLIN};
  uint32_t mask = 0;
  if (error != 0) mask |= EPOLLERR;
  if ((shut_read && shut_write) || state == State::kFresh || state == State::kDead) {
    mask |= EPOLLHUP;
  }
  if (shut_read) mask |= EPOLLIN | EPOLLRDHUP;
  if (state == State::kConnecting) return mask;
  if (!received.empty()) mask |= EPOLLIN;
  if (shut_write || Writable()) {
    mask |= EPOLLOUT;
  } else {
    no_space = true;
  }
  if (urgent_at >= 0) mask |= EPOLLPRI;
  return mask;
}

// ---------------------------------------------------------------------------------------------
// The world

World::World(uint64_t seed, const Faults& faults) : random_(seed), faults_(faults) {}

World::~World() {
  if (current_world == this) current_world = nullptr;
}

World* World::Current() { return current_world; }

void World::Enter(int process) {
  current_world = this;
  process_ = process;
}

void World::Complain(const std::string& what) {
  // The first say enough.
  if (complaints_.size() < 20) complaints_.push_back(what);
}

int64_t World::Trace(const char* call, int fd, int64_t result) const {
  if (trace_) {
    std::fprintf(stderr, "%lld.%06lld [%d] %s(%d) = %lld%s%s\n",
                 static_cast<long long>(now_ / 1'000'000), static_cast<long long>(now_ % 1'000'000),
                 process_, call, fd, static_cast<long long>(result), result < 0 ? " " : "",
                 result < 0 ? std::strerror(static_cast<int>(-result)) : "");
  }
  return result;
}

int64_t World::ReadClock() {
  ++counts_.clock_reads;
  return now_;
}

void World::At(int64_t when, std::function<void()> event) {
  events_.push({std::max(when, now_), next_event_++, std::move(event)});
}

int64_t World::NextEvent() const {
  return events_.empty() ? std::numeric_limits<int64_t>::max() : events_.top().when;
}

void World::RunDue() {
  if (running_) return;
  running_ = true;
  while (!events_.empty() && events_.top().when <= now_) {
    const std::function<void()> run = std::move(const_cast<Event&>(events_.top()).run);
    events_.pop();
    run();
  }
  running_ = false;
}

void World::Advance(int64_t when) {
  while (NextEvent() <= when) {
    now_ = std::max(now_, NextEvent());
    RunDue();
  }
  now_ = std::max(now_, when);
}

void World::BeginCall() {
  ++counts_.calls;
  now_ += random_.Between(100, 2000);
  RunDue();
}

// ---------------------------------------------------------------------------------------------
// Descriptors

File* World::Find(int fd, const char* call) {
  const bool open = fd >= 0 && static_cast<size_t>(fd) < descriptors_.size() &&
                    descriptors_[static_cast<size_t>(fd)].file != nullptr;
  if (!open) {
    Complain(std::string(call) + " on descriptor " + std::to_string(fd) + ", which is not open");
    return nullptr;
  }
  const Descriptor& found = descriptors_[static_cast<size_t>(fd)];
  if (found.process != process_) {
    Complain(std::string(call) + " on descriptor " + std::to_string(fd) + " of process " +
             std::to_string(found.process) + " by process " + std::to_string(process_));
    return nullptr;
  }
  if (found.file->kind == File::Kind::kSocket) ++static_cast<Socket*>(found.file)->calls;
  return found.file;
}

int World::DescriptorLimit() const {
  const auto found = limits_.find(process_);
  return found == limits_.end() ? 1 << 20 : found->second;
}

int World::AddDescriptor(File* file) {
  if (open_[process_] >= DescriptorLimit()) {
    ++counts_.resource_faults;
    return -EMFILE;
  }
  int fd;
  if (free_descriptors_.empty()) {
    // As if three were open before us.
    if (descriptors_.empty()) descriptors_.resize(3);
    fd = static_cast<int>(descriptors_.size());
    descriptors_.emplace_back();
  } else {
    fd = *free_descriptors_.begin();
    free_descriptors_.erase(free_descriptors_.begin());
  }
  descriptors_[static_cast<size_t>(fd)] = {file, process_};
  ++open_[process_];
  return fd;
}

int World::CloseDescriptor(int fd) {
  File* file = Find(fd, "close");
  if (file == nullptr) return -EBADF;
  descriptors_[static_cast<size_t>(fd)] = {};
  free_descriptors_.insert(fd);
  --open_[process_];
  const std::vector<File::Registration*> registrations = file->registrations;
  for (File::Registration* registration : registrations) Forget(*registration);
  switch (file->kind) {
    case File::Kind::kSocket:
      CloseSocket(*static_cast<Socket*>(file));
      break;
    case File::Kind::kEpoll: {
      const auto by_fd = static_cast<Epoll*>(file)->by_fd;
      for (const auto& [number, registration] : by_fd) Forget(*registration);
      break;
    }
    case File::Kind::kPipeRead:
      static_cast<PipeEnd*>(file)->buffer->reader = false;
      break;
    case File::Kind::kPipeWrite:
      static_cast<PipeEnd*>(file)->buffer->writer = false;
      break;
    case File::Kind::kEvent:
      break;
  }
  return 0;
}

int World::OpenDescriptors(int process) const {
  const auto found = open_.find(process);
  return found == open_.end() ? 0 : found->second;
}

std::string World::DescribeDescriptors(int process) const {
  std::string text;
  for (size_t fd = 0; fd < descriptors_.size(); ++fd) {
    const Descriptor& descriptor = descriptors_[fd];
    if (descriptor.file == nullptr || descriptor.process != process) continue;
    static constexpr const char* kNames[] = {"socket", "epoll", "eventfd", "pipe_read",
                                             "pipe_write"};
    text += std::to_string(fd) + ":" + kNames[static_cast<size_t>(descriptor.file->kind)];
    if (descriptor.file->kind == File::Kind::kSocket) {
      const Socket& socket = *static_cast<const Socket*>(descriptor.file);
      text += "(" + socket.local.ToString() + ">" + socket.remote.ToString() + " state " +
              std::to_string(static_cast<int>(socket.state)) + " received " +
              std::to_string(socket.received.size()) + " queued " +
              std::to_string(socket.queued.size()) + (socket.fin_received ? " fin" : "") + ")";
    }
    text += " ";
  }
  return text;
}

Epoll* World::NewEpoll() { return last_epoll_ = Make<Epoll>(); }
EventCounter* World::NewEventCounter() { return Make<EventCounter>(); }

std::pair<PipeEnd*, PipeEnd*> World::NewPipe() {
  auto buffer = std::make_shared<PipeBuffer>();
  PipeEnd* read = Make<PipeEnd>(File::Kind::kPipeRead, buffer);
  PipeEnd* write = Make<PipeEnd>(File::Kind::kPipeWrite, buffer);
  return {read, write};
}

int World::ResourceFault(uint32_t of_10000) {
  if (!random_.Chance(of_10000)) return 0;
  ++counts_.resource_faults;
  static constexpr int kErrors[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
  return kErrors[random_.Below(4)];
}

// ---------------------------------------------------------------------------------------------
// epoll

void World::Enqueue(File::Registration& registration) {
  if (registration.ready || !registration.alive) return;
  registration.ready = true;
  registration.epoll->ready.push_back(&registration);
}

void World::Forget(File::Registration& registration) {
  registration.alive = false;
  Epoll& epoll = *registration.epoll;
  epoll.by_fd.erase(registration.fd);
  epoll.ended.push_back(registration.data);
  if (epoll.ended.size() > kEndedRemembered) epoll.ended.pop_front();
  auto& all = registration.file->registrations;
  all.erase(std::remove(all.begin(), all.end(), &registration), all.end());
}

void World::Wake(File& file, uint32_t key) {
  for (File::Registration* registration : file.registrations) {
    const uint32_t wanted = registration->events | EPOLLERR | EPOLLHUP;
    if (key == 0 || (key & wanted) != 0) Enqueue(*registration);
  }
  if (file.kind == File::Kind::kSocket) {
    const auto& on_wake = static_cast<Socket&>(file).on_wake;
    if (on_wake) on_wake();
  }
}

void World::Signal(EventCounter& counter) {
  ++counts_.wakeups;
  ++counter.value;
  Wake(counter, EPOLLIN);
}

int World::Control(Epoll& epoll, int operation, int fd, uint32_t events, uint64_t data) {
  File* file = Find(fd, "epoll_ctl");
  if (file == nullptr) return -EBADF;
  const auto found = epoll.by_fd.find(fd);
  if (operation == EPOLL_CTL_ADD) {
    if (found != epoll.by_fd.end()) {
      Complain("descriptor " + std::to_string(fd) + " is registered twice");
      return -EEXIST;
    }
    if (file->kind == File::Kind::kSocket && random_.Chance(faults_.epoll_add)) {
      ++counts_.resource_faults;
      return random_.Chance(5000) ? -ENOSPC : -ENOMEM;
    }
    ++counts_.epoll_adds;
    registrations_.push_back(std::make_unique<File::Registration>());
    File::Registration* made = registrations_.back().get();
    made->epoll = &epoll;
    made->file = file;
    made->fd = fd;
    made->events = events;
    made->data = data;
    epoll.by_fd[fd] = made;
    file->registrations.push_back(made);
    if ((file->Mask() & (events | EPOLLERR | EPOLLHUP)) != 0) Enqueue(*made);
    return 0;
  }
  if (found == epoll.by_fd.end()) {
    Complain("epoll_ctl of descriptor " + std::to_string(fd) + ", which is not registered");
    return -ENOENT;
  }
  File::Registration& registration = *found->second;
  if (operation == EPOLL_CTL_DEL) {
    Forget(registration);
    return 0;
  }
  registration.events = events;
  registration.data = data;
  if ((file->Mask() & (events | EPOLLERR | EPOLLHUP)) != 0) Enqueue(registration);
  return 0;
}

bool World::HasEvents(const Epoll& epoll) {
  for (const File::Registration* registration : epoll.ready) {
    if (!registration->alive) continue;
    const uint32_t wanted = registration->events | EPOLLERR | EPOLLHUP;
    if ((registration->file->Mask() & wanted) != 0) return true;
  }
  return false;
}

int World::Wait(Epoll& epoll, epoll_event* events, int capacity) {
  ++counts_.epoll_waits;
  if (random_.Chance(faults_.interrupted)) return -EINTR;
  if (random_.Chance(faults_.early_timeout)) return 0;
  int most = capacity;
  if (random_.Chance(faults_.few_events)) most = static_cast<int>(random_.Below(4)) + 1;
  int count = 0;
  const auto report = [&](uint32_t mask, uint64_t data, int fd) {
    events[count].events = mask;
    events[count].data.u64 = data;
    ++count;
    ++counts_.events;
    Trace("  event", fd, mask);
  };
  if (!epoll.ended.empty() && random_.Chance(faults_.stale_event)) {
    static constexpr uint32_t kMasks[] = {EPOLLIN, EPOLLIN | EPOLLOUT, EPOLLERR,
                                          EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLRDHUP};
    ++counts_.stale_events;
    report(kMasks[random_.Below(4)], epoll.ended[random_.Below(epoll.ended.size())], -1);
  }
  if (!epoll.by_fd.empty() && random_.Chance(faults_.repeated_event + faults_.false_event)) {
    auto any = epoll.by_fd.begin();
    std::advance(any, static_cast<ptrdiff_t>(random_.Below(epoll.by_fd.size())));
    File::Registration& chosen = *any->second;
    if (chosen.file->kind == File::Kind::kSocket && !chosen.ready && chosen.events != 0) {
      const uint32_t all = faults_.repeated_event + faults_.false_event;
      if (random_.Below(all) < faults_.repeated_event) {
        Enqueue(chosen);
      } else if (count < most) {
        ++counts_.false_events;
        uint32_t bit = random_.Chance(5000) ? EPOLLIN : EPOLLOUT;
        // Not that: tcp_poll is asked when an event is handed out.
        const auto& socket = static_cast<const Socket&>(*chosen.file);
        if (socket.state == Socket::State::kConnecting) bit = EPOLLIN;
        report((chosen.file->Mask() | bit) & (chosen.events | EPOLLERR | EPOLLHUP), chosen.data,
               chosen.fd);
        if (events[count - 1].events == 0) --count;
      }
    }
  }
  for (size_t left = epoll.ready.size(); left > 0 && count < most; --left) {
    File::Registration& registration = *epoll.ready.front();
    epoll.ready.pop_front();
    registration.ready = false;
    if (!registration.alive) continue;
    const uint32_t mask = registration.file->Mask() & (registration.events | EPOLLERR | EPOLLHUP);
    if (mask == 0) continue;
    report(mask, registration.data, registration.fd);
    if ((registration.events & EPOLLET) == 0) Enqueue(registration);
  }
  return count;
}

// ---------------------------------------------------------------------------------------------
// Making connections

int64_t World::Delay(const Path& path) {
  return path.local() ? 0 : random_.Between(path.least_ns, path.most_ns);
}

Socket* World::NewSocket(bool is_unix, int process) {
  Socket* socket = Make<Socket>(is_unix);
  socket->process = process;
  if (is_unix) {
    const sockaddr_un unnamed = {.sun_family = AF_UNIX, .sun_path = {}};
    socket->local = socket->remote = Address::FromSockaddr(
        reinterpret_cast<const sockaddr*>(&unnamed), sizeof(unnamed.sun_family));
  }
  socket->receive_capacity = least_capacity_ + random_.Size(most_capacity_ - least_capacity_);
  socket->send_capacity = least_capacity_ + random_.Size(most_capacity_ - least_capacity_);
  return socket;
}

std::vector<Socket*>* World::Listeners(const Address& address) {
  const auto found = bound_.find(Key(address));
  return found == bound_.end() || found->second.empty() ? nullptr : &found->second;
}

int World::Bind(Socket& socket, const Address& address) {
  std::vector<Socket*>& there = bound_[Key(address)];
  for (const Socket* other : there) {
    if (!other->reuse_port || !socket.reuse_port) return -EADDRINUSE;
  }
  socket.local = address;
  socket.bound = true;
  there.push_back(&socket);
  return 0;
}

int World::Listen(Socket& socket, int backlog) {
  socket.state = Socket::State::kListening;
  socket.backlog = backlog;
  return 0;
}

int World::Connect(Socket& socket, const Address& to) {
  if (socket.state != Socket::State::kFresh) {
    Complain("connect on a socket that is in use");
    return -EISCONN;
  }
  socket.remote = to;
  if (socket.is_unix) return ConnectUnix(socket, to);
  const uint32_t number = ++next_local_;
  const uint16_t port = static_cast<uint16_t>(1024 + number % 60000);
  if (to.family() == AF_INET6) {
    std::array<uint8_t, 16> bytes = {0xfd};
    bytes[14] = static_cast<uint8_t>(number / 60000 >> 8);
    bytes[15] = static_cast<uint8_t>(number / 60000);
    socket.local = Address::Ipv6(bytes, port);
  } else {
    socket.local = Address::Ipv4(
        {10, static_cast<uint8_t>(number / 60000 >> 8), static_cast<uint8_t>(number / 60000), 1},
        port);
  }
  const auto path = paths_.find(Key(to));
  if (path != paths_.end()) socket.path = path->second;
  socket.state = Socket::State::kConnecting;
  if (black_holes_.contains(Key(to))) return -EINPROGRESS;
  if (socket.path.local()) {
    // On one machine it is all done before the call returns, which says EINPROGRESS all the same;
    // a refusal may be said at once.
    SynArrives(socket, to, 0);
    if (socket.state == Socket::State::kDead && random_.Chance(5000)) return -socket.TakeError();
    return -EINPROGRESS;
  }
  After(Delay(socket.path), [this, &socket, to] { SynArrives(socket, to, 0); });
  return -EINPROGRESS;
}

void World::SynArrives(Socket& client, const Address& to, int tries) {
  if (client.state != Socket::State::kConnecting) return;
  const auto again = [&] {
    After(kSynAgainNs << std::min(tries, kMostSynDoublings),
          [this, &client, to, tries] { SynArrives(client, to, tries + 1); });
  };
  if (!client.path.local() && random_.Chance(faults_.syn_lost)) return again();
  std::vector<Socket*>* listeners = Listeners(to);
  Socket* listener = nullptr;
  if (listeners != nullptr) listener = (*listeners)[random_.Below(listeners->size())];
  if (listener == nullptr || listener->state != Socket::State::kListening) {
    if (client.path.local()) {
      ResetArrives(client, 0);
    } else {
      After(Delay(client.path), [this, &client] { ResetArrives(client, 0); });
    }
    return;
  }
  const size_t waiting = listener->accept_queue.size() + static_cast<size_t>(listener->handshakes);
  if (listener->filtered || waiting > static_cast<size_t>(listener->backlog)) return again();
  Socket* child = NewSocket(false, listener->process);
  child->state = Socket::State::kEstablished;
  child->local = to;
  child->remote = client.local;
  child->path = client.path;
  child->urgent_inline = listener->urgent_inline;
  child->keepalive = listener->keepalive;
  child->no_delay = listener->no_delay;
  child->peer = &client;
  child->listener = listener;
  client.peer = child;
  ++listener->handshakes;
  const auto answered = [this, &client, child] {
    if (client.state != Socket::State::kConnecting) return;
    client.state = Socket::State::kEstablished;
    Wake(client, 0);
    if (client.path.local()) {
      Established(*child);
    } else {
      After(Delay(client.path), [this, child] { Established(*child); });
    }
  };
  if (client.path.local()) {
    answered();
  } else {
    After(Delay(client.path), answered);
  }
}

void World::Established(Socket& child) {
  if (child.listener == nullptr) return;
  Socket& listener = *std::exchange(child.listener, nullptr);
  --listener.handshakes;
  if (child.state != Socket::State::kEstablished) return;
  if (listener.state != Socket::State::kListening) {
    if (listener.process >= 0) ++counts_.handshakes_reset;
    child.orphan = true;
    SendReset(child);
    return;
  }
  listener.accept_queue.push_back(&child);
  Wake(listener, EPOLLIN);
}

int World::ConnectUnix(Socket& socket, const Address& to) {
  std::vector<Socket*>* listeners = Listeners(to);
  if (listeners == nullptr) return to.is_path() ? -ENOENT : -ECONNREFUSED;
  Socket& listener = *listeners->front();
  if (listener.state != Socket::State::kListening) return -ECONNREFUSED;
  if (listener.accept_queue.size() > static_cast<size_t>(listener.backlog)) return -EAGAIN;
  Socket* child = NewSocket(true, listener.process);
  child->state = socket.state = Socket::State::kEstablished;
  child->local = to;
  child->peer = &socket;
  socket.peer = child;
  listener.accept_queue.push_back(child);
  Wake(listener, EPOLLIN);
  return 0;
}

Socket* World::Accept(Socket& listener) {
  if (listener.accept_queue.empty()) return nullptr;
  Socket* child = listener.accept_queue.front();
  listener.accept_queue.pop_front();
  return child;
}

void World::TurnAway(Socket& listener) {
  Socket* child = Accept(listener);
  if (child == nullptr) return;
  ++counts_.turned_away;
  if (child->peer != nullptr) child->peer->turned_away = true;
  if (child->is_unix) child->received.Push("x", 1);
  child->reset_on_close = true;
  CloseSocket(*child);
}

void World::StopListening(Socket& listener) {
  listener.state = Socket::State::kDead;
  for (Socket* child : listener.accept_queue) {
    if (listener.process >= 0) ++counts_.handshakes_reset;
    if (child->is_unix) child->received.Push("x", 1);  // as unread data does
    child->reset_on_close = true;
    CloseSocket(*child);
  }
  listener.accept_queue.clear();
}

// ---------------------------------------------------------------------------------------------
// Bytes under way

void World::CheckSpace(Socket& from) {
  // A unix socket is woken whenever it is writable, a TCP one only if it was refused space.
  if ((!from.no_space && !from.is_unix) || !from.Writable()) return;
  from.no_space = false;
  Wake(from, EPOLLOUT);
}

void World::Pump(Socket& from) {
  for (;;) {
    if (from.in_transit || from.peer == nullptr) return;
    if (from.state != Socket::State::kEstablished) return;
    const Socket& to = *from.peer;
    if (from.queued.empty()) {
      if (!from.fin_queued || from.fin_delivered) return;
    } else if (!to.orphan && to.received.size() >= to.receive_capacity) {
      return;
    }
    const int64_t delay = Delay(from.path);
    if (delay > 0) {
      from.in_transit = true;
      After(delay, [this, &from] {
        from.in_transit = false;
        Deliver(from);
        Pump(from);
      });
      return;
    }
    Deliver(from);
  }
}

void World::Deliver(Socket& from) {
  if (from.state != Socket::State::kEstablished) return;
  Socket& to = *from.peer;
  // The packet that acknowledges the handshake may be lost, this one does the same.
  if (to.listener != nullptr) Established(to);
  if (!from.queued.empty()) {
    if (to.orphan || to.state != Socket::State::kEstablished) {
      // Data to a closed socket: it answers with a reset and forgets what it had to send.
      Kill(to);
      from.queued.Clear();
      const int64_t delay = Delay(from.path);
      if (delay == 0) return ResetArrives(from, 0);
      After(delay, [this, &from] { ResetArrives(from, 0); });
      return;
    }
    const size_t room =
        to.received.size() >= to.receive_capacity ? 0 : to.receive_capacity - to.received.size();
    size_t size = std::min({from.queued.size(), room, from.path.segment_bytes});
    if (size > 1 && random_.Chance(2500)) size = 1 + random_.Below(size);
    if (size == 0) return;
    to.received.Push(from.queued.data(), size);
    from.queued.Pop(size);
    from.delivered_position += size;
    uint32_t key = EPOLLIN;
    while (!from.urgent_queued.empty() && from.urgent_queued.front() < from.delivered_position) {
      to.urgent_at = static_cast<int64_t>(from.urgent_queued.front());
      from.urgent_queued.pop_front();
      key |= EPOLLPRI;
    }
    Wake(to, key);
    CheckSpace(from);
  }
  // The FIN may come with the last bytes, or after them.
  if (from.queued.empty() && from.fin_queued && !from.fin_delivered && random_.Chance(5000)) {
    DeliverFin(from);
  } else if (from.queued.empty() && from.fin_queued && !from.fin_delivered && from.path.local()) {
    DeliverFin(from);
  }
}

void World::DeliverFin(Socket& from) {
  Socket& to = *from.peer;
  from.fin_delivered = true;
  if (to.state != Socket::State::kEstablished) return;
  to.fin_received = true;
  to.shut_read = true;
  if (!to.orphan) Wake(to, 0);
}

void World::Kill(Socket& socket) {
  socket.state = Socket::State::kDead;
  socket.queued.Clear();
  socket.urgent_queued.clear();
  socket.shut_read = socket.shut_write = true;
}

void World::SendReset(Socket& from) {
  Socket* to = from.peer;
  if (to != nullptr && !from.queued.empty() && !to->orphan &&
      to->state == Socket::State::kEstablished && from.state == Socket::State::kEstablished) {
    // Some of it was under way already.
    const size_t room = to->received.size() >= to->receive_capacity
                            ? 0
                            : to->receive_capacity - to->received.size();
    const size_t size = random_.Below(std::min(from.queued.size(), room) + 1);
    if (size > 0) {
      if (to->listener != nullptr) Established(*to);
      to->received.Push(from.queued.data(), size);
      from.queued.Pop(size);
      from.delivered_position += size;
      Wake(*to, EPOLLIN);
    }
  }
  Kill(from);
  if (to == nullptr) return;
  const int64_t delay = Delay(from.path);
  if (delay == 0) return ResetArrives(*to, 0);
  After(delay, [this, to] { ResetArrives(*to, 0); });
}

void World::ResetArrives(Socket& victim, int error) {
  const bool connecting = victim.state == Socket::State::kConnecting;
  if (!connecting && victim.state != Socket::State::kEstablished) return;
  // CLOSE and TIME_WAIT have nothing to lose.
  if (victim.Finished()) return;
  ++counts_.resets;
  victim.was_reset = true;
  if (victim.listener != nullptr) {
    // Its handshake never ended: nobody hears of it.
    --victim.listener->handshakes;
    victim.listener = nullptr;
    victim.orphan = true;
  }
  const bool close_wait = victim.fin_received && !victim.fin_queued;
  Kill(victim);
  if (victim.orphan) return;
  victim.error = error != 0 ? error : connecting ? ECONNREFUSED : close_wait ? EPIPE : ECONNRESET;
  Wake(victim, 0);
}

void World::FailConnection(Socket& socket, int error) {
  if (socket.state != Socket::State::kEstablished || socket.is_unix) return;
  Socket* peer = socket.peer;
  ResetArrives(socket, error);
  if (peer != nullptr) {
    After(Delay(socket.path) + 1000, [this, peer] { ResetArrives(*peer, 0); });
  }
}

// ---------------------------------------------------------------------------------------------
// Calls on a socket

size_t World::Readable(const Socket& socket, size_t size) const {
  size_t most = std::min(size, socket.received.size());
  if (socket.urgent_at >= 0) {
    const uint64_t ahead = static_cast<uint64_t>(socket.urgent_at) - socket.read_position;
    if (ahead < most) most = ahead;
  }
  return most;
}

void World::Consume(Socket& socket, size_t size) {
  socket.received.Pop(size);
  socket.read_position += size;
  if (socket.urgent_at >= 0 && socket.read_position > static_cast<uint64_t>(socket.urgent_at)) {
    socket.urgent_at = -1;
  }
  if (socket.peer == nullptr) return;
  if (socket.is_unix) {
    if (!socket.peer->orphan) CheckSpace(*socket.peer);
    return;
  }
  // The window opens again when that is worth a packet.
  const size_t used = socket.received.size();
  if (used == 0 || used * 2 <= socket.receive_capacity) Pump(*socket.peer);
}

int64_t World::NothingToRead(Socket& socket) {
  if (socket.fin_received) return 0;
  if (socket.error != 0) return -socket.TakeError();
  if (socket.shut_read) return 0;
  if (socket.state == Socket::State::kConnecting) return -EAGAIN;
  if (socket.state != Socket::State::kEstablished) return -ENOTCONN;
  return -EAGAIN;
}

int64_t World::Receive(Socket& socket, char* data, size_t size, bool peek) {
  if (size == 0) return 0;
  if (socket.received.empty()) return NothingToRead(socket);
  size_t most = Readable(socket, size);
  if (most == 0) {
    // It begins at the urgent mark: a read goes past it.
    if (!socket.urgent_inline) {
      Consume(socket, 1);
      return Receive(socket, data, size, peek);
    }
    most = std::min(size, socket.received.size());
  }
  std::memcpy(data, socket.received.data(), most);
  if (!peek) Consume(socket, most);
  return static_cast<int64_t>(most);
}

int64_t World::Send(Socket& socket, const char* data, size_t size, bool urgent) {
  if (socket.state == Socket::State::kConnecting) {
    return socket.error != 0 ? -socket.TakeError() : -EAGAIN;
  }
  if (socket.is_unix) {
    if (socket.shut_write || socket.peer == nullptr || socket.peer->orphan ||
        socket.peer->shut_read || socket.state != Socket::State::kEstablished) {
      return -EPIPE;
    }
  } else if (socket.error != 0) {
    return -socket.TakeError();
  } else if (socket.shut_write || socket.state != Socket::State::kEstablished) {
    return -EPIPE;
  }
  const size_t taken = std::min(size, socket.SendRoom());
  if (taken < size) socket.no_space = true;
  if (taken == 0) return size == 0 ? 0 : -EAGAIN;
  if (socket.is_unix) {
    socket.peer->received.Push(data, taken);
    Wake(*socket.peer, EPOLLIN);
    return static_cast<int64_t>(taken);
  }
  socket.queued.Push(data, taken);
  if (urgent) {
    socket.urgent_queued.push_back(socket.delivered_position + socket.queued.size() - 1);
  }
  Pump(socket);
  return static_cast<int64_t>(taken);
}

int World::ShutdownWrite(Socket& socket) { return Shutdown(socket, SHUT_WR); }

int World::Shutdown(Socket& socket, int how) {
  if (socket.state != Socket::State::kEstablished) return -ENOTCONN;
  if (how == SHUT_RD || how == SHUT_RDWR) socket.shut_read = true;
  if (how == SHUT_RD || socket.shut_write) return 0;
  socket.shut_write = true;
  if (socket.is_unix) {
    socket.fin_queued = socket.fin_delivered = true;
    if (socket.peer != nullptr && !socket.peer->orphan) {
      socket.peer->shut_read = socket.peer->fin_received = true;
      Wake(*socket.peer, 0);
    }
    return 0;
  }
  socket.fin_queued = true;
  Pump(socket);
  return 0;
}

void World::CloseSocket(Socket& socket) {
  socket.on_wake = nullptr;
  if (socket.bound) {
    std::vector<Socket*>& there = bound_[Key(socket.local)];
    there.erase(std::remove(there.begin(), there.end(), &socket), there.end());
    socket.bound = false;
  }
  const Socket::State state = socket.state;
  socket.orphan = true;
  switch (state) {
    case Socket::State::kListening:
      StopListening(socket);
      return;
    case Socket::State::kFresh:
    case Socket::State::kDead:
      return;
    case Socket::State::kConnecting: {
      Kill(socket);
      Socket* child = socket.peer;
      if (child == nullptr) return;
      After(Delay(socket.path), [this, child] { ResetArrives(*child, 0); });
      return;
    }
    case Socket::State::kEstablished:
      break;
  }
  if (socket.is_unix) {
    Socket& peer = *socket.peer;
    const bool unread = !socket.received.empty();
    Kill(socket);
    if (peer.orphan) return;
    peer.shut_read = peer.shut_write = true;
    if (unread) {
      peer.error = ECONNRESET;
      peer.was_reset = true;
    }
    if (!unread) peer.fin_received = true;
    Wake(peer, 0);
    return;
  }
  if (socket.Finished()) {
    Kill(socket);
    return;
  }
  const bool nothing_left = socket.fin_received && socket.fin_queued && socket.queued.empty();
  if (!socket.received.empty() || (socket.reset_on_close && !nothing_left)) {
    SendReset(socket);
    return;
  }
  socket.shut_read = socket.shut_write = true;
  socket.fin_queued = true;
  Pump(socket);
}

int World::SendQueueBytes(const Socket& socket) const {
  if (socket.is_unix) {
    return socket.peer == nullptr || socket.peer->orphan
               ? 0
               : static_cast<int>(socket.peer->received.size());
  }
  if (socket.state != Socket::State::kEstablished) return 0;
  return static_cast<int>(socket.queued.size()) + (socket.fin_queued && !socket.fin_delivered);
}

// ---------------------------------------------------------------------------------------------
// With faults

void World::OweRead(Socket& socket) {
  After(random_.Between(0, kOwedWithinNs), [this, &socket] { Wake(socket, EPOLLIN); });
}

void World::OweWrite(Socket& socket) {
  After(random_.Between(0, kOwedWithinNs), [this, &socket] { Wake(socket, EPOLLOUT); });
}

int64_t World::FaultyReceive(Socket& socket, char* data, size_t size, bool peek) {
  // What has arrived with a FIN, an error or an urgent mark beside it is there, and all of it. So
  // are bytes that were peeked at.
  const bool may_hide = socket.state == Socket::State::kEstablished && !socket.fin_received &&
                        socket.error == 0 && socket.urgent_at < 0 && !socket.received.empty() &&
                        socket.peeked == 0 && !peek;
  if (may_hide && random_.Chance(faults_.false_eagain)) {
    OweRead(socket);
    return -EAGAIN;
  }
  size_t most = size;
  if (may_hide && random_.Chance(faults_.short_read)) {
    most = 1 + random_.Below(std::min(size, socket.received.size()));
    OweRead(socket);
  }
  const int64_t got = Receive(socket, data, most, peek);
  socket.peeked = peek && got > 0 ? static_cast<size_t>(got) : 0;
  return got;
}

int64_t World::FaultySend(Socket& socket, const char* data, size_t size, bool urgent) {
  const bool open = socket.state == Socket::State::kEstablished && socket.error == 0 &&
                    !socket.shut_write && socket.SendRoom() > 0;
  if (open && random_.Chance(faults_.send_enobufs)) {
    ++counts_.resource_faults;
    return -ENOBUFS;
  }
  if (open && random_.Chance(faults_.false_eagain)) {
    OweWrite(socket);
    return -EAGAIN;
  }
  if (open && size > 1 && random_.Chance(faults_.short_write)) {
    OweWrite(socket);
    return Send(socket, data, 1 + random_.Below(size - 1), urgent);
  }
  return Send(socket, data, size, urgent);
}

int64_t World::SpliceIn(Socket& from, PipeEnd& to, size_t size) {
  PipeBuffer& pipe = *to.buffer;
  if (random_.Chance(faults_.splice_refused)) return random_.Chance(5000) ? -EINVAL : -ENOMEM;
  if (!pipe.reader) return -EPIPE;
  if (pipe.slots.size() >= pipe.slot_count) return -EAGAIN;
  // Unlike recv it never goes past an urgent mark.
  size_t most = Readable(from, size);
  if (most == 0) {
    const int64_t nothing = NothingToRead(from);
    if (!from.received.empty()) ++(nothing == 0 ? counts_.false_ends : counts_.false_eagains);
    return nothing;
  }
  size_t moved = 0;
  while (moved < most && pipe.slots.size() < pipe.slot_count) {
    // A page, or what of one a packet had filled.
    const size_t full = random_.Chance(5000) ? PipeBuffer::kPageBytes : 1448;
    const size_t part = std::min(most - moved, full);
    pipe.bytes.Push(from.received.data() + moved, part);
    pipe.slots.push_back(static_cast<uint32_t>(part));
    moved += part;
  }
  Consume(from, moved);
  from.peeked = 0;
  ++counts_.splices;
  counts_.spliced_bytes += moved;
  return static_cast<int64_t>(moved);
}

int64_t World::SpliceOut(PipeEnd& from, Socket& to, size_t size) {
  PipeBuffer& pipe = *from.buffer;
  const size_t there = std::min(size, pipe.bytes.size());
  if (there == 0) return pipe.writer ? -EAGAIN : 0;
  const int64_t sent = FaultySend(to, pipe.bytes.data(), there, false);
  if (sent <= 0) return sent;
  pipe.Pop(static_cast<size_t>(sent));
  return sent;
}

int64_t World::ReadPipe(PipeEnd& from, char* data, size_t size) {
  PipeBuffer& pipe = *from.buffer;
  const size_t there = std::min(size, pipe.bytes.size());
  if (there == 0) return pipe.writer ? -EAGAIN : 0;
  std::memcpy(data, pipe.bytes.data(), there);
  pipe.Pop(there);
  return static_cast<int64_t>(there);
}

}  // namespace parkway::sim
