#include "proxy/inbound/syn_bytes.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "poller/socket.h"

namespace parkway {

namespace {

// More than a SYN holds on any network.
constexpr size_t kMostBytes = 4096;

}  // namespace

SynBytes::SynBytes(Session& session, std::string header, RelayTools& tools)
    : session_(session), header_(std::move(header)), tools_(tools) {
  const auto add = [this](std::string_view bytes) {
    if (!bytes.empty()) {
      parts_[first_.count++] = {const_cast<char*>(bytes.data()), bytes.size()};
    }
  };
  add(header_);
  held_ = session_.up().held() > 0;
  if (held_) {
    add(session_.up().held_bytes());
  } else if (!session_.up().source_ended()) {
    const IoResult peeked = TryPeek(session_.client(), tools_.buffer, kMostBytes);
    // What is wrong with the client its own reader finds, but an error is told only once.
    if (peeked.failed()) {
      session_.client().add_edge_bits(PollDesc::kError);
    } else {
      add({tools_.buffer, peeked.bytes});
    }
  }
  first_.parts = parts_;
}

size_t SynBytes::header_sent() const { return std::min(first_.sent, header_.size()); }

int SynBytes::Taken() {
  const size_t of_client = first_.sent - header_sent();
  if (of_client == 0) return 0;
  Relay& up = session_.up();
  if (held_) {
    up.HeldSent(of_client, tools_);
    return 0;
  }
  // It was there, so it is there: nobody else reads.
  for (size_t taken = 0; taken < of_client;) {
    const IoResult got = TryRead(session_.client(), tools_.buffer, of_client - taken);
    if (got.failed()) {
      session_.FailClient(got.error);
      return got.error;
    }
    if (got.bytes == 0) break;
    taken += got.bytes;
  }
  up.CountSent(of_client);
  up.set_source_drained(false);
  return 0;
}

}  // namespace parkway
