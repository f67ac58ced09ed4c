#include "tests/sim/peer.h"

#include <errno.h>

#include <algorithm>
#include <cstring>

namespace parkway::sim {

namespace {

// Between a wake-up of a script's socket and what it does about it.
constexpr int64_t kReactionNs = 20'000;
constexpr int64_t kConnectAgainNs = 20'000'000;
// Who never reads may never be told anything: its window is closed.
constexpr int64_t kPatienceNs = int64_t{3600} * 1'000'000'000;
constexpr size_t kMostAtOnce = 256 * 1024;
constexpr uint32_t kMagic = 0x59574b50;

// Eight bytes of stream `stream`, from position 8 * `word`.
uint64_t Word(uint32_t stream, uint64_t word) {
  if (word == 0) return static_cast<uint64_t>(stream) << 32 | kMagic;
  uint64_t z = (static_cast<uint64_t>(stream) << 40) ^ word * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 29)) * 0xbf58476d1ce4e5b9u;
  return z ^ (z >> 32);
}

void Generate(uint32_t stream, uint64_t position, char* data, size_t size) {
  size_t done = 0;
  if (position % 8 == 0) {
    for (; done + 8 <= size; done += 8) {
      const uint64_t word = Word(stream, (position + done) / 8);
      std::memcpy(data + done, &word, 8);
    }
  }
  while (done < size) {
    const uint64_t word = Word(stream, (position + done) / 8);
    const size_t from = (position + done) % 8;
    const size_t part = std::min(size - done, 8 - from);
    std::memcpy(data + done, reinterpret_cast<const char*>(&word) + from, part);
    done += part;
  }
}

}  // namespace

// ---------------------------------------------------------------------------------------------
// Cast

void Cast::AddServer(const Address& address, uint32_t speaks_first, int backlog) {
  Socket* listener = world_.NewSocket(address.is_unix(), -1);
  listener->urgent_inline = true;
  listener->reuse_port = true;
  world_.Bind(*listener, address);
  world_.Listen(*listener, backlog);
  listener->on_wake = [this, listener, speaks_first] {
    world_.After(world_.random().Between(0, kReactionNs),
                 [this, listener, speaks_first] { AcceptAll(*listener, speaks_first); });
  };
  listeners_.push_back(listener);
}

void Cast::StopServer(const Address& address) {
  for (Socket* listener : listeners_) {
    if (listener->local == address && !listener->orphan) world_.CloseSocket(*listener);
  }
}

void Cast::AcceptAll(Socket& listener, uint32_t speaks_first) {
  while (Socket* accepted = world_.Accept(listener)) {
    const auto stream = static_cast<uint32_t>(peers_.size());
    peers_.push_back(std::make_unique<Peer>(*this, stream, *accepted, false));
    Peer* peer = peers_.back().get();
    ++open_servers_;
    peer->connected_ = true;
    peer->script_.end = Script::End::kNever;
    if (world_.random().Chance(speaks_first)) {
      peer->speaks_first_ = Script::kHeaderBytes + world_.random().Size(4000);
    }
    accepted->on_wake = [peer] { peer->Wake(); };
    peer->Schedule(0);
  }
}

Story& Cast::AddStory(const Story& story) {
  stories_.push_back(std::make_unique<Story>(story));
  clients_.push_back(nullptr);
  Story* mine = stories_.back().get();
  mine->place = stories_.size() - 1;
  world_.After(story.start_ns, [this, mine] { Start(*mine); });
  return *mine;
}

void Cast::Start(Story& story) {
  story.number = static_cast<uint32_t>(peers_.size());
  Socket* socket = world_.NewSocket(story.to.is_unix(), -1);
  socket->urgent_inline = true;
  peers_.push_back(std::make_unique<Peer>(*this, story.number, *socket, true));
  Peer* peer = peers_.back().get();
  peer->script_ = story.client;
  peer->knows_script_ = true;
  socket->on_wake = [peer] { peer->Wake(); };
  clients_[story.place] = peer;
  peer->story_ = &story;
  Connect(*peer);
}

void Cast::Connect(Peer& client) {
  const int result = world_.Connect(client.socket_, client.story_->to);
  if (result == -EAGAIN) {
    // The backlog of a unix listener is full: later.
    world_.After(kConnectAgainNs, [this, &client] { Connect(client); });
  } else if (result != 0 && result != -EINPROGRESS) {
    client.saw_error_ = -result;
    client.Close();
  } else {
    client.Schedule(0);
  }
}

// ---------------------------------------------------------------------------------------------
// Peer

void Peer::Schedule(int64_t delay) {
  if (scheduled_ || over_) return;
  scheduled_ = true;
  cast_.world_.After(delay, [this] {
    scheduled_ = false;
    if (!over_) Step();
  });
}

void Peer::Wake() { Schedule(cast_.world_.random().Between(0, kReactionNs)); }

void Peer::Close() {
  over_ = true;
  cast_.world_.CloseSocket(socket_);
  if (is_client_) {
    ++cast_.clients_over_;
  } else {
    --cast_.open_servers_;
  }
}

void Peer::BreakOff() {
  broke_off_ = true;
  ended_at_ = cast_.world_.now();
  if (script_.end == Script::End::kReset) socket_.reset_on_close = true;
  Close();
}

void Peer::Check(const char* data, size_t size) {
  size_t done = 0;
  while (header_ < Script::kHeaderBytes && done < size) {
    const uint32_t place = header_++;
    const auto byte = static_cast<uint8_t>(data[done++]);
    if (place < 4 && byte != static_cast<uint8_t>(kMagic >> (8 * place))) {
      cast_.Complain(Describe() + ": the stream does not begin with a header");
    }
    if (place >= 4) other_stream_ |= static_cast<uint32_t>(byte) << (8 * (place - 4));
    if (header_ < Script::kHeaderBytes) continue;
    other_ = cast_.Find(other_stream_);
    if (other_ == nullptr || other_->is_client_ == is_client_) {
      cast_.Complain(Describe() + ": receives stream " + std::to_string(other_stream_));
      other_ = nullptr;
      continue;
    }
    if (is_client_) continue;
    if (other_->other_ != nullptr && other_->other_ != this) {
      cast_.Complain(Describe() + ": a second server receives " + other_->Describe());
    }
    script_ = other_->story_->server;
    script_.send_bytes = std::max(script_.send_bytes, speaks_first_);
    knows_script_ = true;
  }
  if (done < size && other_ != nullptr) {
    std::vector<char>& expected = cast_.scratch_;
    expected.resize(std::max(expected.size(), size));
    const uint64_t position = received_ + done;
    Generate(other_stream_, position, expected.data(), size - done);
    if (std::memcmp(expected.data(), data + done, size - done) != 0) {
      size_t at = 0;
      while (expected[at] == data[done + at]) ++at;
      cast_.Complain(Describe() + ": byte " + std::to_string(position + at) + " of stream " +
                     std::to_string(other_stream_) + " is wrong");
    }
  }
  received_ += size;
  if (other_ != nullptr && received_ > other_->sent_) {
    cast_.Complain(Describe() + ": received more than was sent");
  }
}

bool Peer::ReadSome(bool* more) {
  if (!script_.reads || saw_fin_) return true;
  // Who does not know its script yet reads the header, which tells it.
  const int64_t wait = began_at_ + script_.reads_after_ns - cast_.world_.now();
  if (knows_script_ && wait > 0) {
    Schedule(wait);
    return true;
  }
  static thread_local std::vector<char> buffer(kMostAtOnce);
  const size_t size =
      knows_script_ ? std::min(script_.read_bytes, buffer.size()) : Script::kHeaderBytes - header_;
  const int64_t got = cast_.world_.Receive(socket_, buffer.data(), size, false);
  if (got > 0) {
    Check(buffer.data(), static_cast<size_t>(got));
    if (story_ != nullptr && story_->lost_after > 0 && received_ >= story_->lost_after && !lost_) {
      lost_ = true;
      cast_.world_.FailConnection(*socket_.peer, story_->lost_error);
    }
    *more = true;
    return true;
  }
  if (got == -EAGAIN) return true;
  if (got == 0 && saw_error_ == 0) {
    saw_fin_ = true;
    *more = true;
    return true;
  }
  if (saw_error_ == 0) saw_error_ = static_cast<int>(-got);
  Close();
  return false;
}

bool Peer::SendSome(bool* more) {
  if (fin_sent_ || saw_error_ != 0) return true;
  uint64_t most = knows_script_ ? script_.send_bytes : speaks_first_;
  const bool breaks = script_.end == Script::End::kReset || script_.end == Script::End::kClose;
  if (breaks && knows_script_) {
    most = std::min(most, std::max(script_.end_after_sent, speaks_first_));
  }
  if (script_.waits_for_answer) {
    // A ping-pong: the next message when the last was answered.
    const uint64_t message = std::max<uint64_t>(script_.write_bytes, 1);
    const uint64_t allowed = is_client_ ? received_ / message + 1 : received_ / message;
    if (is_client_ && received_ / message > answers_) {
      answers_ = received_ / message;
      if (cast_.clock_) longest_wait_ = std::max(longest_wait_, cast_.clock_() - asked_at_);
    }
    most = std::min(most, allowed * message);
  }
  if (sent_ < most) {
    const int64_t now = cast_.world_.now();
    if (script_.rest_ns > 0 && !rested_ && sent_ >= most / 2) {
      rested_ = true;
      resumes_at_ = now + script_.rest_ns;
    }
    if (now < resumes_at_) {
      Schedule(resumes_at_ - now);
      return true;
    }
    static thread_local std::vector<char> buffer(kMostAtOnce);
    const size_t size = std::min({static_cast<size_t>(most - sent_),
                                  std::max<size_t>(script_.write_bytes, 1), buffer.size()});
    Generate(stream_, sent_, buffer.data(), size);
    const bool urgent = cast_.world_.random().Chance(script_.urgent);
    const int64_t sent = cast_.world_.Send(socket_, buffer.data(), size, urgent);
    if (sent > 0) {
      if (cast_.clock_) asked_at_ = cast_.clock_();
      sent_ += static_cast<uint64_t>(sent);
      *more = true;
    } else if (sent != -EAGAIN) {
      // What has arrived before is still to be read.
      saw_error_ = static_cast<int>(-sent);
      if (!script_.reads || saw_fin_) {
        Close();
        return false;
      }
      *more = true;
    }
  }
  return true;
}

void Peer::Step() {
  if (began_at_ == 0) began_at_ = cast_.world_.now();
  if (!connected_) {
    if (socket_.state == Socket::State::kConnecting) return;
    if (socket_.error != 0) {
      saw_error_ = socket_.TakeError();
      Close();
      return;
    }
    connected_ = true;
  }
  if (knows_script_ && script_.breaks_off_after_ns > 0 && !ending_) {
    ending_ = true;
    cast_.world_.After(script_.breaks_off_after_ns, [this] {
      if (!over_) BreakOff();
    });
  }
  if (!script_.reads && !patience_ends_) {
    patience_ends_ = true;
    cast_.world_.After(kPatienceNs, [this] {
      if (!over_) Close();
    });
  }
  bool more = false;
  if (!script_.reads && (socket_.fin_received || socket_.state == Socket::State::kDead)) {
    // Who never reads leaves when the other has.
    if (socket_.state == Socket::State::kDead) saw_error_ = ECONNRESET;
    Close();
    return;
  }
  if (!ReadSome(&more)) return;
  if (!SendSome(&more)) return;
  const bool breaks = script_.end == Script::End::kReset || script_.end == Script::End::kClose;
  if (breaks && knows_script_ && saw_error_ == 0 &&
      sent_ >= std::min(script_.end_after_sent, script_.send_bytes) &&
      (received_ >= script_.end_after_received || saw_fin_)) {
    if (script_.end_when_delivered && cast_.world_.SendQueueBytes(socket_) > 0) {
      Schedule(kReactionNs);
      return;
    }
    if (script_.end_delay_ns == 0 || ending_) {
      BreakOff();
      return;
    }
    ending_ = true;
    scheduled_ = true;  // nothing else happens meanwhile
    cast_.world_.After(script_.end_delay_ns, [this] {
      scheduled_ = false;
      if (!over_) BreakOff();
    });
    return;
  }
  const bool sent_all = knows_script_ && sent_ == script_.send_bytes;
  const bool fin_due = (script_.end == Script::End::kFin && sent_all) ||
                       (script_.end == Script::End::kFinLast && sent_all && saw_fin_) ||
                       (!knows_script_ && saw_fin_) ||
                       (script_.end == Script::End::kNever && saw_fin_);
  if (fin_due && !fin_sent_ && saw_error_ == 0) {
    fin_sent_ = true;
    ended_at_ = cast_.world_.now();
    const int error = cast_.world_.ShutdownWrite(socket_);
    if (error != 0) more = true;  // a reset; the next read says which
  }
  if (fin_sent_ && saw_fin_) {
    Close();
    return;
  }
  if (more) {
    Schedule(script_.pace_ns > 0 ? cast_.world_.random().Between(0, script_.pace_ns) : 0);
  }
}

std::string Peer::Describe() const {
  static constexpr const char* kEnds[] = {"fin", "fin_last", "reset", "close", "never"};
  std::string text = is_client_ ? "client " : "server ";
  text += std::to_string(stream_) + " (" + kEnds[static_cast<size_t>(script_.end)] + " sent " +
          std::to_string(sent_) + "/" + std::to_string(script_.send_bytes) + " received " +
          std::to_string(received_) + (saw_fin_ ? " saw_fin" : "") + (fin_sent_ ? " fin_sent" : "");
  if (saw_error_ != 0) text += std::string(" error ") + std::strerror(saw_error_);
  if (script_.rest_ns > 0) {
    text += " rest " + std::to_string(script_.rest_ns / 1000) + " us before " +
            std::to_string(resumes_at_ / 1000);
  }
  if (!script_.reads) text += " reads nothing";
  if (broke_off_) text += " broke_off";
  if (over_) text += " over";
  return text + ")";
}

}  // namespace parkway::sim
