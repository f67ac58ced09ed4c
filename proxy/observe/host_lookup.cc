#include "proxy/observe/host_lookup.h"

#include <pthread.h>
#include <sys/socket.h>

#include <condition_variable>
#include <mutex>
#include <utility>

namespace parkway {

struct HostLookup::Question {
  Question(std::string name, uint16_t number)
      : host(std::move(name)), port(std::to_string(number)) {}
  ~Question() {
    if (found != nullptr) freeaddrinfo(found);
  }

  void Ask() {
    addrinfo hints = {};
    hints.ai_socktype = SOCK_DGRAM;
    addrinfo* list = nullptr;
    const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &list);
    const std::lock_guard<std::mutex> lock(mutex);
    found = list;
    answer = error;
    answered.notify_all();
  }

  const std::string host;
  const std::string port;
  std::mutex mutex;
  std::condition_variable answered;
  int answer = EAI_INPROGRESS;
  addrinfo* found = nullptr;  // owned; it stays as it is once there is an answer
};

HostLookup::HostLookup(std::string host, uint16_t port)
    : question_(std::make_shared<Question>(std::move(host), port)) {
  auto theirs = std::make_unique<std::shared_ptr<Question>>(question_);
  pthread_t thread;
  const int error = pthread_create(
      &thread, nullptr,
      [](void* pointer) -> void* {
        const std::unique_ptr<std::shared_ptr<Question>> own(
            static_cast<std::shared_ptr<Question>*>(pointer));
        (*own)->Ask();
        return nullptr;
      },
      theirs.get());
  if (error != 0) {
    question_->answer = EAI_AGAIN;
    return;
  }
  static_cast<void>(theirs.release());
  pthread_detach(thread);
}

HostLookup::~HostLookup() = default;

int HostLookup::Wait(std::chrono::milliseconds patience) {
  std::unique_lock<std::mutex> lock(question_->mutex);
  question_->answered.wait_for(lock, patience,
                               [this] { return question_->answer != EAI_INPROGRESS; });
  return question_->answer;
}

const addrinfo* HostLookup::addresses() const { return question_->found; }

}  // namespace parkway
