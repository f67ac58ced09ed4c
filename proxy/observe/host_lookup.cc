#include "proxy/observe/host_lookup.h"

#include <sys/socket.h>

namespace parkway {

// What the resolver's thread reads and writes: its address never changes.
struct HostLookup::Request {
  std::string host;
  std::string port;
  addrinfo hints = {};
  gaicb block = {};
  gaicb* list[1] = {&block};
  int refused = 0;  // it could not even be asked
};

HostLookup::HostLookup(const std::string& host, uint16_t port)
    : request_(std::make_unique<Request>()) {
  request_->host = host;
  request_->port = std::to_string(port);
  request_->hints.ai_socktype = SOCK_DGRAM;
  request_->block.ar_name = request_->host.c_str();
  request_->block.ar_service = request_->port.c_str();
  request_->block.ar_request = &request_->hints;
  request_->refused = getaddrinfo_a(GAI_NOWAIT, request_->list, 1, nullptr);
}

HostLookup::~HostLookup() {
  if (request_->refused == 0 && gai_cancel(&request_->block) == EAI_NOTCANCELED) {
    // It is being answered now, into this memory, and nobody can say when: it is left to it.
    static_cast<void>(request_.release());
    return;
  }
  if (request_->block.ar_result != nullptr) freeaddrinfo(request_->block.ar_result);
}

int HostLookup::Wait(std::chrono::milliseconds patience) {
  if (request_->refused != 0) return request_->refused;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(patience);
  const std::chrono::nanoseconds rest = patience - seconds;
  const timespec time = {.tv_sec = seconds.count(), .tv_nsec = rest.count()};
  if (gai_error(&request_->block) == EAI_INPROGRESS) gai_suspend(request_->list, 1, &time);
  return gai_error(&request_->block);
}

const addrinfo* HostLookup::addresses() const { return request_->block.ar_result; }

}  // namespace parkway
