// HostLookup: asks the system's resolver (hosts file, DNS) for the addresses of one host, without
// waiting for longer than the caller likes: getaddrinfo() itself takes as long as the name servers
// are silent.
//
// One thread at a time. getaddrinfo runs on a thread of its own, which ends by itself: also when
// nobody wants the answer any more.
#ifndef PROXY_OBSERVE_HOST_LOOKUP_H_
#define PROXY_OBSERVE_HOST_LOOKUP_H_

#include <netdb.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

namespace parkway {

class HostLookup {
 public:
  // Begins. For datagrams to `host`, a name or an address.
  HostLookup(std::string host, uint16_t port);
  ~HostLookup();
  HostLookup(const HostLookup&) = delete;
  HostLookup& operator=(const HostLookup&) = delete;

  // Waits at most for `patience`. EAI_INPROGRESS: there is no answer yet; 0: there are addresses;
  // anything else is why there are none, for gai_strerror.
  int Wait(std::chrono::milliseconds patience);
  // After Wait has returned 0; this object's.
  const addrinfo* addresses() const;

 private:
  struct Question;

  // The thread's as well.
  std::shared_ptr<Question> question_;
};

}  // namespace parkway

#endif  // PROXY_OBSERVE_HOST_LOOKUP_H_
