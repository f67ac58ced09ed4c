#include "poller/stack_overflow.h"

#include "absl/base/config.h"

#if !defined(ABSL_HAVE_ADDRESS_SANITIZER) && !defined(ABSL_HAVE_THREAD_SANITIZER)

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <mutex>

#include "poller/check.h"
#include "poller/stack_pool.h"

namespace parkway {
namespace {

constexpr size_t kSignalStackBytes = 64 * 1024;

// A signal handler is one per process and is given nothing but the fault, so these are globals:
// the pool of the thread that faulted, and who handled SIGSEGV before.
thread_local const StackPool* pool_of_thread = nullptr;
struct sigaction previous_action;
std::once_flag installed;

// One line, cut at its end if it must be. Calls nothing that is not async-signal-safe.
class Line {
 public:
  Line& Add(const char* text) {
    while (*text != '\0' && size_ < sizeof(text_) - 1) text_[size_++] = *text++;
    return *this;
  }
  Line& Add(uint32_t number) {
    char digits[11];
    char* at = digits + sizeof(digits) - 1;
    *at = '\0';
    do {
      *--at = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number != 0);
    return Add(at);
  }
  void Write() {
    text_[size_++] = '\n';
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text_, size_);
  }

 private:
  char text_[256];
  size_t size_ = 0;
};

void OnSegmentationFault(int, siginfo_t* info, void*) {
  const StackPool* pool = pool_of_thread;
  const Stack* stack = pool == nullptr ? nullptr : pool->FindGuard(info->si_addr);
  if (stack == nullptr) {
    // Not ours. Whoever comes back from here faults again, and then meets the previous handler.
    sigaction(SIGSEGV, &previous_action, nullptr);
    if (info->si_code <= 0) raise(SIGSEGV);  // sent by somebody: nothing will fault again
    return;
  }
  const char* name = stack->owner_name();
  Line line;
  line.Add("stack overflow in task ").Add(name == nullptr ? "(unnamed)" : name);
  line.Add(" (stack ").Add(stack->index()).Add(" of worker ").Add(pool->worker()).Add(")");
  line.Write();
  signal(SIGSEGV, SIG_DFL);
}

}  // namespace

StackOverflowReporter::StackOverflowReporter(const StackPool& pool) {
  PARKWAY_CHECK(pool_of_thread == nullptr, "two reporters of stack overflows on one thread");
  void* memory = mmap(nullptr, kSignalStackBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  // Without a stack for the handler an overflow is a bare SIGSEGV; everything else works.
  if (memory == MAP_FAILED) return;
  signal_stack_ = memory;
  stack_t alternative = {};
  alternative.ss_sp = memory;
  alternative.ss_size = kSignalStackBytes;
  sigaltstack(&alternative, nullptr);
  // Workers block all signals, but the kernel ends a process at a fault that is blocked.
  sigset_t fault;
  sigemptyset(&fault);
  sigaddset(&fault, SIGSEGV);
  pthread_sigmask(SIG_UNBLOCK, &fault, nullptr);
  pool_of_thread = &pool;
  std::call_once(installed, [] {
    struct sigaction action = {};
    action.sa_sigaction = OnSegmentationFault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &previous_action);
  });
}

StackOverflowReporter::~StackOverflowReporter() {
  if (signal_stack_ == nullptr) return;
  pool_of_thread = nullptr;
  stack_t none = {};
  none.ss_flags = SS_DISABLE;
  sigaltstack(&none, nullptr);
  munmap(signal_stack_, kSignalStackBytes);
}

}  // namespace parkway

#else

namespace parkway {

StackOverflowReporter::StackOverflowReporter(const StackPool&) {}
StackOverflowReporter::~StackOverflowReporter() = default;

}  // namespace parkway

#endif
